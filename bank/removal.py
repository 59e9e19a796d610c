"""Runs that are removed: hidden until they are restored, or purged, which nothing undoes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Engine, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from bank import schema
from bank.selection import Selection, select_runs
from bank.sessions import reading, some_at_once, transaction


class Purged(NamedTuple):
    """What a purge deleted, and the runs that it kept since transfers name them."""

    runs: Sequence[str]
    prompts: int
    kept: Sequence[str]


def remove(engine: Engine, selection: Selection) -> list[str]:
    """See :meth:`bank.store.Bank.remove`."""
    with transaction(engine) as session:
        runs, now = select_runs(session, selection), dt.datetime.now(dt.UTC)
        for run in runs:
            run.removed = now
        return [run.digest for run in runs]


def restore(engine: Engine, selection: Selection) -> list[str]:
    """See :meth:`bank.store.Bank.restore`."""
    with transaction(engine) as session:
        runs = select_runs(session, selection, removed=True)
        for run in runs:
            run.removed = None
        return [run.digest for run in runs]


def restore_wanted(engine: Engine, digests: Sequence[str]) -> None:
    """See :meth:`bank.store.Bank.restore_wanted`; writes only where there is something to restore."""
    removed = schema.Run.removed.is_not(None)
    with reading(engine) as session:
        query = select(schema.Run.id).where(removed)
        hidden = [
            row
            for some in some_at_once(digests)
            for row in session.scalars(query.where(schema.Run.digest.in_(some)))
        ]
    if hidden:
        with transaction(engine) as session:
            for some in some_at_once(hidden):
                session.execute(
                    update(schema.Run).where(schema.Run.id.in_(some)).values(removed=None)
                )


# -- purging ---------------------------------------------------------------------------------------------------


def purge(engine: Engine, before: dt.datetime) -> Purged:
    """See :meth:`bank.store.Bank.purge`."""
    with transaction(engine) as session:
        query = select(schema.Run.id, schema.Run.digest).where(schema.Run.removed < before)
        old = session.execute(query.order_by(schema.Run.id)).all()
        named = _named_by_transfers(session)
        gone = {row: digest for row, digest in old if row not in named}
        prompts = _prompts_of(session, list(gone))
        for some in some_at_once(list(gone)):
            for table in (schema.Snapshot, schema.Evaluation, schema.Tag):
                session.execute(delete(table).where(table.run_id.in_(some)))
            session.execute(delete(schema.Run).where(schema.Run.id.in_(some)))
        deleted = _delete_orphans(session, prompts)
        _delete_unused(session)
    kept = [digest for row, digest in old if row in named]
    return Purged(list(gone.values()), deleted, kept)


def _named_by_transfers(session: Session) -> set[int]:
    """Ids of the runs that transfers or their candidates name."""
    columns = (
        schema.Transfer.query_run_id,
        schema.Transfer.baseline_run_id,
        schema.Transfer.chosen_run_id,
        schema.Candidate.source_run_id,
        schema.Candidate.run_id,
    )
    return {row for column in columns for row in session.scalars(select(column)) if row is not None}


def _prompts_of(session: Session, runs: Sequence[int]) -> list[int]:
    """Ids of the prompts that these runs have as snapshots, each once."""
    query = select(schema.Snapshot.prompt_id)
    return list(
        dict.fromkeys(
            row
            for some in some_at_once(runs)
            for row in session.scalars(query.where(schema.Snapshot.run_id.in_(some)))
        )
    )


def _delete_orphans(session: Session, prompts: Sequence[int]) -> int:
    """Delete those prompts that no run has any more; returns how many."""
    deleted = 0
    for some in some_at_once(prompts):
        query = select(schema.Snapshot.prompt_id).where(schema.Snapshot.prompt_id.in_(some))
        orphans = sorted(set(some) - set(session.scalars(query)))
        session.execute(delete(schema.KeyVectors).where(schema.KeyVectors.prompt_id.in_(orphans)))
        session.execute(delete(schema.Prompt).where(schema.Prompt.id.in_(orphans)))
        deleted += len(orphans)
    return deleted


def _delete_unused(session: Session) -> None:
    """Delete tasks, recipes and backbones to which nothing belongs any more."""
    run_of_task = exists().where(schema.Run.task_id == schema.Task.id)
    transfer_of_task = exists().where(schema.Transfer.task_id == schema.Task.id)
    unused = list(
        session.scalars(select(schema.Task.id).where(~or_(run_of_task, transfer_of_task)))
    )
    session.execute(delete(schema.Member).where(schema.Member.task_id.in_(unused)))
    session.execute(delete(schema.Task).where(schema.Task.id.in_(unused)))
    run_of_recipe = exists().where(schema.Run.recipe_id == schema.Recipe.id)
    session.execute(delete(schema.Recipe).where(~run_of_recipe))
    recipe_of_backbone = exists().where(schema.Recipe.backbone_id == schema.Backbone.id)
    recycler_of_backbone = exists().where(
        or_(
            schema.Recycler.source_id == schema.Backbone.id,
            schema.Recycler.target_id == schema.Backbone.id,
        )
    )
    session.execute(delete(schema.Backbone).where(~or_(recipe_of_backbone, recycler_of_backbone)))
