"""Runs of a bank: in with their snapshots, whole or not at all, and out by their digests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Engine, insert, select
from sqlalchemy.orm import Session, joinedload, selectinload

from bank import schema
from bank.errors import BankError
from bank.listing import unknown_run
from bank.names import ask_of, digest_named
from bank.prompts import Addressed, addressed, put_prompts
from bank.recipes import put_recipe
from bank.records import RunIdentity, RunRecord, SnapshotRecord, StoredRun
from bank.sessions import get, ids_by, named, reading, some_at_once, transaction, unless_first
from bank.tasks import put_task

SHARED = (
    "recipe_id", "task_id", "steps", "metric", "score", "metrics", "history", "environment", "seconds", "start",
)  # fmt: skip
"""Columns that a run has in common with one that was trained exactly like it."""


class _Prepared(NamedTuple):
    """A run with all that is computed from it."""

    digest: str
    record: RunRecord
    snapshots: dict[str, tuple[SnapshotRecord, Addressed]]


def record_runs(engine: Engine, records: Sequence[RunRecord]) -> list[str]:
    """See :meth:`bank.store.Bank.record_runs`."""
    by_digest = {record.identity.digest: record for record in records}
    with reading(engine) as session:
        known = ids_by(session, schema.Run.digest, list(by_digest))
    # other writers wait from the transaction on: what takes time comes first
    prepared = [
        _prepared(digest, record) for digest, record in by_digest.items() if digest not in known
    ]
    if prepared:
        with transaction(engine) as session:
            for some in some_at_once(prepared):
                unless_first(session, lambda some=some: _add_runs(session, some))  # type: ignore[misc]
    return [record.identity.digest for record in records]


def _prepared(digest: str, record: RunRecord) -> _Prepared:
    snapshots = {"key": record.key, "value": record.value, "own": record.own}
    return _Prepared(
        digest,
        record,
        {
            kind: (snapshot, addressed(snapshot.prompt))
            for kind, snapshot in snapshots.items()
            if snapshot is not None
        },
    )


def _add_runs(session: Session, runs: Sequence[_Prepared]) -> None:
    known = ids_by(session, schema.Run.digest, [run.digest for run in runs])
    runs = [run for run in runs if run.digest not in known]
    if not runs:
        return
    identities = [run.record.identity for run in runs]
    ids = {
        "task": _ids(
            session, put_task, [(identity.task.name, identity.task) for identity in identities]
        ),
        "recipe": _ids(
            session,
            put_recipe,
            [(identity.recipe.digest, identity.recipe) for identity in identities],
        ),
        "prompt": put_prompts(
            session, [prompt for run in runs for _, prompt in run.snapshots.values()]
        ),
    }
    session.execute(insert(schema.Run), [_run_row(run, ids) for run in runs])
    ids["run"] = ids_by(session, schema.Run.digest, [run.digest for run in runs])
    session.execute(
        insert(schema.Snapshot),
        [_snapshot_row(run, kind, ids) for run in runs for kind in run.snapshots],
    )


def _ids(
    session: Session, put: Callable[[Session, Any], Any], records: Sequence[tuple[str, Any]]
) -> dict[str, int]:
    """Ids of records by name, each put once, and again where another record has its name, so that it is checked."""
    ids: dict[str, int] = {}
    last: dict[str, Any] = {}
    for name, record in records:
        if last.get(name) != record:
            ids[name], last[name] = put(session, record).id, record
    return ids


def _run_row(run: _Prepared, ids: dict[str, dict[str, int]]) -> dict[str, Any]:
    record, identity = run.record, run.record.identity
    return {
        "digest": run.digest,
        "recipe_id": ids["recipe"][identity.recipe.digest],
        "task_id": ids["task"][identity.task.name],
        "role": identity.role,
        "seed": identity.seed,
        "started_from": identity.started_from,
        "data": identity.data or None,
        "steps": record.steps,
        "metric": record.metric,
        "score": record.score,
        "metrics": dict(record.metrics),
        "history": [dict(row) for row in record.history],
        "environment": dict(record.environment),
        "seconds": record.seconds,
        "start": record.start,
    }


def _snapshot_row(run: _Prepared, kind: str, ids: dict[str, dict[str, int]]) -> dict[str, Any]:
    snapshot, prompt = run.snapshots[kind]
    return {
        "run_id": ids["run"][run.digest],
        "prompt_id": ids["prompt"][prompt.sha256],
        "kind": kind,
        "step": snapshot.step,
        "score": snapshot.score,
    }


def record_twin(engine: Engine, identity: RunIdentity, twin: str) -> str:
    """See :meth:`bank.store.Bank.record_twin`."""

    def write() -> None:
        if get(session, schema.Run, digest=identity.digest):
            return
        run = schema.Run(
            digest=identity.digest,
            role=identity.role,
            seed=identity.seed,
            started_from=identity.started_from,
            data=identity.data or None,
            **{name: getattr(trained, name) for name in SHARED},
        )
        for snapshot in trained.snapshots:
            run.snapshots.append(
                schema.Snapshot(
                    kind=snapshot.kind,
                    step=snapshot.step,
                    score=snapshot.score,
                    prompt_id=snapshot.prompt_id,
                )
            )
        session.add(run)

    with transaction(engine) as session:
        trained = find_run(session, twin)
        if (trained.recipe.digest, trained.task.name) != (
            identity.recipe.digest,
            identity.task.name,
        ):
            raise BankError(
                f"run {twin[:12]} is of another recipe or task; it cannot stand for this one"
            )
        put_task(session, identity.task)
        unless_first(session, write)
    return identity.digest


def get_runs(engine: Engine, digests: Sequence[str]) -> dict[str, StoredRun]:
    """See :meth:`bank.store.Bank.runs`."""
    query = select(schema.Run).options(
        joinedload(schema.Run.task).load_only(schema.Task.name),
        selectinload(schema.Run.snapshots)
        .joinedload(schema.Snapshot.prompt)
        .load_only(schema.Prompt.sha256),
    )
    stored: dict[str, StoredRun] = {}
    with reading(engine) as session:
        for some in some_at_once(digests):
            stored |= {
                row.digest: _stored(row)
                for row in session.scalars(query.where(schema.Run.digest.in_(some)))
            }
    return stored


def _stored(row: schema.Run) -> StoredRun:
    prompts = {snapshot.kind: snapshot.prompt.sha256 for snapshot in row.snapshots}
    if "value" not in prompts:
        raise BankError(f"run {row.digest}: damaged (has no value prompt); see `spot bank verify`")
    check_scores([(f"run {row.digest[:12]}", row.score)])
    return StoredRun(
        digest=row.digest,
        task=row.task.name,
        seed=row.seed,
        score=row.score,
        metrics=row.metrics,
        value=prompts["value"],
        key=prompts.get("key"),
        steps=row.steps,
        seconds=row.seconds,
    )


def find_run(session: Session, digest: str, *, removed: bool = False) -> schema.Run:
    """A run by its digest, an unambiguous start of it, or as a version of its task (:mod:`bank.names`), which is among
    the ``removed`` ones or the others.

    Raises:
        BankError: no such run, or several whose digests begin so.
    """
    digest = digest_named(ask_of(session.connection()), digest, removed=removed)
    rows = session.scalars(
        select(schema.Run).where(named(schema.Run.digest, digest)).limit(2)
    ).all()
    if len(rows) != 1 or not digest:
        raise unknown_run(digest, ambiguous=bool(rows))
    return rows[0]


def history(engine: Engine, digest: str) -> list[dict[str, float]]:
    """See :meth:`bank.store.Bank.history`."""
    with reading(engine) as session:
        return list(find_run(session, digest).history)


def environments(engine: Engine, digests: Sequence[str]) -> dict[str, Any]:
    """See :meth:`bank.store.Bank.environments`."""
    query = select(schema.Run.digest, schema.Run.environment)
    found: dict[str, Any] = {}
    with reading(engine) as session:
        for some in some_at_once(digests):
            for row in session.execute(query.where(schema.Run.digest.in_(some))):
                found[row.digest] = row.environment
    return found


def check_scores(scores: Sequence[tuple[str, Any]]) -> None:
    """Refuse scores that are no numbers, each with the name of what has it.

    Raises:
        BankError: the first of them.
    """
    for name, score in scores:
        if (
            isinstance(score, bool)
            or not isinstance(score, int | float)
            or not math.isfinite(score)
        ):
            raise BankError(f"{name}: its score is {score!r}, not a number; see `spot bank verify`")
