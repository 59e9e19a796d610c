"""Transfers of a bank: in with their ranked sources, and out as what single sources did for targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, or_, select
from sqlalchemy.orm import Session, aliased

from bank import schema
from bank.errors import BankError
from bank.identity import IMPORTED
from bank.recipes import in_partition
from bank.records import Outcome, Partition, TransferRecord
from bank.runs import check_scores, find_run
from bank.sessions import get, reading, transaction, unless_first


def record_transfer(engine: Engine, record: TransferRecord) -> str:
    """See :meth:`bank.store.Bank.record_transfer`."""
    with transaction(engine) as session:
        return unless_first(session, lambda: _put_transfer(session, record))


def _put_transfer(session: Session, record: TransferRecord) -> str:
    if get(session, schema.Transfer, digest=record.digest):
        return record.digest
    first = get(session, schema.Transfer, digest=record.first_digest, options=None)
    if first is not None and _same_transfer(first, record):
        return first.digest

    def run_id(digest: str | None) -> Any:
        return None if digest is None else find_run(session, digest).id

    chosen = find_run(session, record.chosen_run)
    if chosen.task.name != record.task:
        raise BankError(
            f"transfer to {record.task}: its chosen run {chosen.digest[:12]} is {chosen.task.name}'s"
        )
    transfer = schema.Transfer(
        digest=record.digest,
        task_id=chosen.task_id,
        method=record.method,
        similarity=record.similarity,
        top_k=len(record.candidates),
        options=record.options,
        single=record.single,
        budget=record.budget,
        steps=record.steps,
        seed=record.seed,
        metric=record.metric,
        query_run_id=run_id(record.query_run),
        baseline_run_id=run_id(record.baseline_run),
        chosen_run_id=chosen.id,
        baseline_metrics=dict(record.baseline_metrics) if record.baseline_metrics else None,
        outcome_metrics=dict(record.outcome_metrics),
    )
    for rank, candidate in enumerate(record.candidates, start=1):
        transfer.candidates.append(
            schema.Candidate(
                rank=rank,
                source_run_id=run_id(candidate.source_run),
                run_id=run_id(candidate.run),
                similarity=candidate.similarity,
                weight=candidate.weight,
                score=candidate.score,
                steps=candidate.steps,
            )
        )
    session.add(transfer)
    return record.digest


def _same_transfer(stored: schema.Transfer, record: TransferRecord) -> bool:
    """Whether a transfer that the first release stored, which left out some options, is this one."""
    return (
        (record.aggregate, record.allow_overlap) == ("mean", False)
        and stored.chosen_run.digest == record.chosen_run
        and (stored.baseline_run.digest if stored.baseline_run else None) == record.baseline_run
        and [candidate.weight for candidate in stored.candidates]
        == [c.weight for c in record.candidates]
    )


def get_outcomes(engine: Engine, partition: Partition, recipe: str = "") -> list[Outcome]:
    """See :meth:`bank.store.Bank.outcomes`."""
    query_run, source, baseline, chosen = (aliased(schema.Run) for _ in range(4))
    of_target, of_source = aliased(schema.Task), aliased(schema.Task)
    trained = aliased(schema.Recipe)
    query = (
        select(
            of_target.name.label("target"), of_target.family.label("target_family"),
            schema.Transfer.seed.label("seed"), schema.Prompt.sha256.label("query"),
            of_source.name.label("source"), of_source.family.label("source_family"),
            source.digest.label("source_run"), schema.Candidate.score.label("score"),
            baseline.score.label("baseline"), query_run.data.label("data"), query_run.start.label("start"),
            schema.Recipe.options.label("options"),
            schema.Transfer.method.label("method"), schema.Transfer.baseline_metrics.label("measured"),
            trained.digest.label("recipe"),
        )
        .join_from(schema.Candidate, schema.Candidate.transfer)
        .join(of_target, schema.Transfer.task_id == of_target.id)
        .join(query_run, schema.Transfer.query_run_id == query_run.id)
        .join(query_run.snapshots.and_(schema.Snapshot.kind == "key"))
        .join(schema.Snapshot.prompt)
        .join(query_run.recipe)
        .join(schema.Recipe.backbone)
        .join(source, schema.Candidate.source_run_id == source.id)
        .join(of_source, source.task_id == of_source.id)
        .outerjoin(baseline, schema.Transfer.baseline_run_id == baseline.id)
        .outerjoin(chosen, schema.Transfer.chosen_run_id == chosen.id)
        .outerjoin(trained, chosen.recipe_id == trained.id)
        .where(
            schema.Transfer.single,
            schema.Transfer.budget == "full",
            or_(schema.Candidate.run_id.is_not(None), schema.Transfer.method == IMPORTED),
            schema.Candidate.score.is_not(None),
            source.removed.is_(None), query_run.removed.is_(None),
            *in_partition(partition),
            *([trained.digest == recipe] if recipe else []),
        )
        .order_by(of_target.name, schema.Transfer.seed, of_source.name, source.digest, schema.Transfer.id)
    )  # fmt: skip
    with reading(engine) as session:
        outcomes = [_outcome(**row) for row in session.execute(query).mappings()]
    check_scores(
        [(f"{o.target} from run {o.source_run[:12]}", score) for o in outcomes for score in (o.score, o.baseline)
         if score is not None or score is o.score]
    )  # fmt: skip
    once = {(o.target, o.train_limit, o.recipe, o.seed, o.query, o.source_run): o for o in outcomes}
    return list(once.values())


def _outcome(
    *,
    options: Mapping[str, Any],
    method: str,
    measured: Any,
    data: str | None,
    recipe: str | None,
    **row: Any,
) -> Outcome:
    """Of a row of :func:`get_outcomes`; what others measured has its score without a source in the transfer."""
    if method == IMPORTED and measured:
        row["baseline"] = measured["score"]
    limit = int(options.get("train_limit", 0))
    return Outcome(**row, data=data or "", recipe=recipe or "", train_limit=limit)
