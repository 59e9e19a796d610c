"""Tags of a bank: names that users give to runs."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from bank import schema
from bank.cells import TAG
from bank.errors import BankError
from bank.identity import DIGEST
from bank.names import ALIASES
from bank.runs import find_run
from bank.sessions import get_or_add, named, transaction


def check_tags(names: Sequence[str]) -> None:
    """Refuse what cannot be a tag.

    Raises:
        BankError: an alias, or letters that no tag has.
    """
    for name in names:
        if name in ALIASES:
            raise BankError(
                f"{name!r} is computed for every task and can be no tag; choose another"
            )
        if not TAG.fullmatch(name):
            raise BankError(
                f"{name[:80]!r} is no tag; expected letters, digits, and . _ - behind the first, at most 64"
            )


def tag(engine: Engine, name: str, tags: Sequence[str]) -> str:
    """See :meth:`bank.store.Bank.tag`."""
    check_tags(tags)
    with transaction(engine) as session:
        run = tagged_run(session, name)
        put_tags(session, run.id, tags)
        return run.digest


def untag(engine: Engine, name: str, tags: Sequence[str]) -> str:
    """See :meth:`bank.store.Bank.untag`."""
    with transaction(engine) as session:
        run = tagged_run(session, name)
        held = {one.name: one for one in run.tags}
        for each in tags:
            if each not in held:
                has = ", ".join(held) or "none"
                raise BankError(f"run {run.digest[:12]} has no tag {each!r}; it has {has}")
        for each in dict.fromkeys(tags):
            session.delete(held[each])
        return run.digest


def put_tags(session: Session, run_id: int, tags: Sequence[str]) -> None:
    """Give a run those tags that it lacks."""
    for name in tags:
        get_or_add(session, schema.Tag, {"run_id": run_id, "name": name})


def tagged_run(session: Session, name: str) -> schema.Run:
    """A run by its digest or version, or by the address of one of its prompts.

    Raises:
        BankError: nothing of that name, or a prompt of several runs, or of none.
    """
    try:
        return find_run(session, name)
    except BankError:
        runs = _runs_of_prompt(session, name)
        if len(runs) == 1:
            return runs[0]
        if not runs:
            raise
    listed = ", ".join(run.digest[:12] for run in runs)
    raise BankError(f"prompt {name!r} is one of several runs ({listed}); name one of them")


def _runs_of_prompt(session: Session, address: str) -> list[schema.Run]:
    if not 8 <= len(address) <= DIGEST:
        return []
    query = (
        select(schema.Run)
        .join(schema.Run.snapshots)
        .join(schema.Snapshot.prompt)
        .where(named(schema.Prompt.sha256, address))
        .order_by(schema.Run.id)
        .distinct()
    )
    return list(session.scalars(query))
