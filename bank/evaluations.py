"""Evaluations of a bank: what a run's value answers to a test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, select

from bank import schema
from bank.records import Evaluation
from bank.runs import find_run
from bank.sessions import get_or_add, reading, transaction


def record_evaluation(
    engine: Engine,
    run: str,
    data: str,
    *,
    metrics: Mapping[str, float],
    answers: Sequence[str],
    decoding: Mapping[str, Any] | None,
) -> None:
    """See :meth:`bank.store.Bank.record_evaluation`."""
    with transaction(engine) as session:
        where = {"run_id": find_run(session, run).id, "data": data}
        how = None if decoding is None else dict(decoding)
        get_or_add(
            session,
            schema.Evaluation,
            where,
            metrics=dict(metrics),
            answers=list(answers),
            decoding=how,
        )


def get_evaluation(engine: Engine, run: str, data: str) -> Evaluation | None:
    """See :meth:`bank.store.Bank.evaluation`."""
    query = (
        select(schema.Evaluation.metrics, schema.Evaluation.answers, schema.Evaluation.decoding)
        .join(schema.Run, schema.Evaluation.run_id == schema.Run.id)
        .where(schema.Run.digest == run, schema.Evaluation.data == data)
    )
    with reading(engine) as session:
        row = session.execute(query).mappings().one_or_none()
        return Evaluation(**row) if row else None
