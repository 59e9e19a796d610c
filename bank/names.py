"""Runs by name: a digest, or the version of a task, ``TASK@TAG``, ``TASK@best`` or ``TASK@latest``.

In plain SQL, as the listings that ask for them (:mod:`bank.listing`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from bank.errors import BankError
from bank.identity import OF_ENSEMBLE

BEST, LATEST = "best", "latest"

ALIASES = (BEST, LATEST)
"""Tags that are computed: the highest development score among a task's runs, and the run that ended last; ensembles,
which have tags of their own, only where there is nothing else."""

VERSIONS = f"""
SELECT run.digest, run.score, run.created, backbone.name AS backbone, backbone.fingerprint,
       run.id IN (SELECT chosen_run_id FROM transfer WHERE transfer.task_id = task.id) AS chosen,
       coalesce(CAST(recipe.options AS TEXT), '') LIKE '{OF_ENSEMBLE}' AS ensemble
FROM run
JOIN task ON task.id = run.task_id
JOIN recipe ON recipe.id = run.recipe_id
JOIN backbone ON backbone.id = recipe.backbone_id
WHERE task.name = :task AND run.role <> 'query'
"""

FOUND, REMOVED = " AND run.removed IS NULL", " AND run.removed IS NOT NULL"

TAGGED = " AND run.id IN (SELECT run_id FROM tag WHERE name = :tag)"


Ask = Callable[..., Any]
"""Rows of ``ask(query, **parameters)``."""


class Version(NamedTuple):
    """A run of a task, as a name with a tag finds it."""

    digest: str
    score: float
    created: Any
    backbone: str
    fingerprint: str
    chosen: bool
    ensemble: bool


def is_version(name: str) -> bool:
    """Whether a name is ``TASK@TAG`` or one with an alias."""
    task, at, tag = name.rpartition("@")
    return bool(task and at and tag)


def ask_of(connection: Connection) -> Ask:
    """Asks over a connection."""
    return lambda query, **parameters: connection.execute(text(query), parameters)


def digest_named(ask: Ask, name: str, *, removed: bool = False) -> str:
    """The digest of the run that ``TASK@TAG`` names; any other name as it is.

    Of several runs the best one stands for them, by its development score; of equal ones that which a transfer chose,
    whose test score it reported; and the last of those. An ensemble stands for others by its own tags alone: its score
    is of the examples that it was made on. Runs whose only purpose was a query are none of a task's versions, and
    removed ones are not found, or they alone where ``removed`` asks for them.

    Raises:
        BankError: no such task or tag, or runs for several backbones, of which none is the better one.
    """
    if not is_version(name):
        return name
    task, _, tag = name.rpartition("@")
    query = VERSIONS + (REMOVED if removed else FOUND)
    rows = ask(query, task=task) if tag in ALIASES else ask(query + TAGGED, task=task, tag=tag)
    runs = [Version(*row) for row in rows]
    if not runs:
        raise BankError(_unknown(task, tag))
    if tag in ALIASES:
        runs = [run for run in runs if not run.ensemble] or runs
    _check_one_backbone(name, runs)
    if tag == LATEST:
        return max(runs, key=lambda run: (str(run.created), run.digest)).digest
    return max(runs, key=lambda run: (run.score, run.chosen, str(run.created), run.digest)).digest


def _unknown(task: str, tag: str) -> str:
    if tag in ALIASES:
        return f"task {task!r} has no runs in the bank; `spot bank tasks` lists those that have"
    return (
        f"no run of task {task!r} has the tag {tag!r}; `spot bank runs --task {task}` shows the tags of each, "
        f"and {task}@{BEST} and {task}@{LATEST} need none"
    )


def _check_one_backbone(name: str, runs: Sequence[Version]) -> None:
    backbones = {run.fingerprint: run.backbone for run in runs}
    if len(backbones) > 1:
        listed = ", ".join(sorted(backbones.values()))
        raise BankError(
            f"{name} names runs for {len(backbones)} backbones ({listed}); name a run by its digest"
        )
