"""Which runs of a bank are meant: by task, seed, role, tag or name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from bank import schema
from bank.errors import BankError
from bank.records import check_role
from bank.runs import find_run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Runs that have all that is asked for; each field that is empty asks for nothing.

    Attributes:
        tasks: names of their tasks.
        seeds: their seeds.
        roles: their roles.
        tags: they have one of these.
        runs: digests, starts of digests, or versions of tasks (``TASK@TAG``).

    Raises:
        BankError: a role that no run can have.
    """

    tasks: Sequence[str] = ()
    seeds: Sequence[int] = ()
    roles: Sequence[str] = ()
    tags: Sequence[str] = ()
    runs: Sequence[str] = ()

    def __post_init__(self) -> None:
        for role in self.roles:
            check_role(role)

    @property
    def named(self) -> bool:
        """Whether it asks for anything at all."""
        return any((self.tasks, self.seeds, self.roles, self.tags, self.runs))

    def published(self) -> Selection:
        """The same of the runs that others can use: the sources, unless runs, roles or tags say which."""
        chosen = self.runs or self.roles or self.tags
        return self if chosen else dataclasses.replace(self, roles=("source",))


def select_runs(
    session: Session, selection: Selection, *, removed: bool = False
) -> list[schema.Run]:
    """The runs of a selection, in the order in which they were stored.

    Args:
        session: of the bank.
        selection: which runs.
        removed: those that are removed, in place of those that are not.

    Raises:
        BankError: a task, tag or run that is not there, or no run that has all that is asked for.
    """
    _check_known(session, schema.Task.name, selection.tasks, "task")
    _check_known(session, schema.Tag.name, selection.tags, "tag")
    state = schema.Run.removed.is_not(None) if removed else schema.Run.removed.is_(None)
    query = (
        select(schema.Run)
        .join(schema.Run.task)
        .where(state, *_conditions(session, selection, removed))
    )
    runs = list(session.scalars(query.order_by(schema.Run.id)))
    if not runs and selection.named:
        raise BankError(
            f"no {'removed ' if removed else ''}run is all of that; `spot bank runs` lists them, "
            "`spot bank runs --removed` those that are removed"
        )
    return runs


def _conditions(session: Session, selection: Selection, removed: bool) -> list[ColumnElement[bool]]:
    """What a selection asks of runs and their tasks."""
    tagged = select(schema.Tag.run_id).where(schema.Tag.name.in_(selection.tags))
    named = [find_run(session, name, removed=removed).id for name in selection.runs]
    asked = {
        schema.Task.name.in_(selection.tasks): selection.tasks,
        schema.Run.seed.in_(selection.seeds): selection.seeds,
        schema.Run.role.in_(selection.roles): selection.roles,
        schema.Run.id.in_(tagged): selection.tags,
        schema.Run.id.in_(named): selection.runs,
    }
    return [condition for condition, given in asked.items() if given]


def _check_known(session: Session, column: object, names: Sequence[str], what: str) -> None:
    known = set(session.scalars(select(column))) if names else set()  # type: ignore[call-overload]
    for name in names:
        if name not in known:
            raise BankError(
                f"no {what} {name!r} is in the bank; it has {', '.join(sorted(known)) or 'none'}"
            )
