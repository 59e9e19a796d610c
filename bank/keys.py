"""Keys of a bank: the early prompts of its sources, ready for ranking."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import aliased

from bank import schema
from bank.errors import BankError
from bank.recipes import in_partition
from bank.records import Partition
from bank.runs import check_scores
from bank.sessions import reading

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """A source's key, ready for ranking: its vectors ``[H]`` float32, not the prompt itself."""

    task: str
    task_family: str
    seed: int
    run: str
    """Digest of the run."""
    prompt: str
    """sha256 of the key prompt."""
    value: str
    """sha256 of the value prompt."""
    average: np.ndarray
    average_normalized: np.ndarray
    score: float = 0.0
    """Development score of the value."""
    start: np.ndarray | None = None
    """Mean token ``[H]`` of the prompt that the run started from, where that was stored."""
    started_from: str | None = None
    """Address of that prompt, where it came from a bank or file."""


def get_keys(engine: Engine, partition: Partition, exclude: Sequence[str]) -> list[Key]:
    """See :meth:`bank.store.Bank.keys`."""
    of_key, of_value = aliased(schema.Snapshot), aliased(schema.Snapshot)
    early, best = aliased(schema.Prompt), aliased(schema.Prompt)
    query = (
        select(
            schema.Run.digest, schema.Run.seed, schema.Run.score, schema.Run.started_from, schema.Run.start,
            schema.Task.name, schema.Task.family, schema.Task.description, early.sha256.label("key"),
            best.sha256.label("value"), schema.KeyVectors.average, schema.KeyVectors.average_normalized,
            schema.Backbone.width,
        )
        .join(schema.Run.recipe)
        .join(schema.Recipe.backbone)
        .outerjoin(schema.Run.task)
        .outerjoin(of_key, (of_key.run_id == schema.Run.id) & (of_key.kind == "key"))
        .outerjoin(early, early.id == of_key.prompt_id)
        .outerjoin(schema.KeyVectors, schema.KeyVectors.prompt_id == early.id)
        .outerjoin(of_value, (of_value.run_id == schema.Run.id) & (of_value.kind == "value"))
        .outerjoin(best, best.id == of_value.prompt_id)
        .where(schema.Run.role == "source", *in_partition(partition))
        .order_by(schema.Task.name, schema.Run.seed, schema.Run.digest)
    )  # fmt: skip
    lost = select(schema.Run.digest).outerjoin(schema.Run.recipe).outerjoin(schema.Recipe.backbone)
    lost = lost.where(schema.Run.role == "source", schema.Backbone.id.is_(None)).limit(1)
    with reading(engine) as session:
        for digest in session.scalars(lost):
            raise BankError(f"run {digest[:12]}: has no recipe or backbone; see `spot bank verify`")
        rows = [
            row
            for row in session.execute(query)
            if row.name is None or not {row.name, *row.description.get("tasks", ())} & set(exclude)
        ]
        _check_keys(rows)
        return [
            Key(
                task=row.name,
                task_family=row.family,
                seed=row.seed,
                run=row.digest,
                prompt=row.key,
                value=row.value,
                average=row.average,
                average_normalized=row.average_normalized,
                score=row.score,
                start=row.start,
                started_from=row.started_from,
            )
            for row in rows
        ]


def _check_keys(rows: Sequence[Any]) -> None:
    """Refuse sources that a ranking would lose or misplace."""
    import numpy as np

    parts = {"task": "name", "key": "key", "key vectors": "average", "value": "value"}
    for row in rows:
        for part, column in parts.items():
            if getattr(row, column) is None:
                raise BankError(
                    f"source {row.name or 'of no task'}, run {row.digest[:12]}: has no {part}; see `spot bank verify`"
                )
        for vector in (row.average, row.average_normalized, row.start):
            if vector is not None and vector.size != row.width:
                raise BankError(
                    f"source {row.name}, run {row.digest[:12]}: a key vector has {vector.size} numbers, its backbone "
                    f"{row.width}; see `spot bank verify`"
                )
    for vectors in ([r.average for r in rows], [r.average_normalized for r in rows], [r.start for r in rows]):
        held = [i for i, vector in enumerate(vectors) if vector is not None]
        if held:
            bad = ~np.isfinite(np.stack([vectors[i] for i in held])).all(axis=1)
            for i in np.flatnonzero(bad):
                row = rows[held[i]]
                raise BankError(
                    f"source {row.name}, run {row.digest[:12]}: a key vector is not finite; see `spot bank verify`"
                )
    check_scores([(f"source {row.name}, run {row.digest[:12]}", row.score) for row in rows])
