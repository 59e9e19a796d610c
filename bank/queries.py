"""What a bank holds and where it came from, as plain rows for people and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, text

from bank import schema
from bank.listing import Rows
from bank.sessions import reading
from bank.store import Bank, _run
from bank.vectors import belong, prompt_sha256

if TYPE_CHECKING:
    import numpy as np


def show_run(bank: Bank, digest: str) -> dict[str, Any]:
    """Everything about one run: recipe, snapshots, metrics, history, where it started, who used it.

    Raises:
        BankError: no such run.
    """
    with reading(bank.engine) as session:
        run = _run(session, digest)
        used = session.scalars(select(schema.Candidate).where(schema.Candidate.source_run_id == run.id)).all()
        return {
            "run": run.digest,
            "task": run.task.name,
            "family": run.task.family,
            "role": run.role,
            "seed": run.seed,
            "steps": run.steps,
            "metric": run.metric,
            "score": run.score,
            "metrics": run.metrics,
            "backbone": {
                "name": run.recipe.backbone.name,
                "fingerprint": run.recipe.backbone.fingerprint,
                "width": run.recipe.backbone.width,
            },
            "recipe": run.recipe.options,
            "recipe family": run.recipe.family,
            "snapshots": [
                {
                    "kind": snapshot.kind,
                    "step": snapshot.step,
                    "score": snapshot.score,
                    "prompt": snapshot.prompt.sha256,
                    "shape": [snapshot.prompt.length, snapshot.prompt.width],
                }
                for snapshot in sorted(run.snapshots, key=lambda s: s.step)
            ],
            "started from": run.started_from,
            "source of transfers": [
                {"transfer": c.transfer.digest[:12], "target": c.transfer.task.name, "rank": c.rank} for c in used
            ],
            "environment": run.environment,
            "seconds": run.seconds,
            "created": run.created.isoformat(),
            "history": run.history,
        }


def list_prompts(bank: Bank) -> Rows:
    """Stored prompts and the runs they are snapshots of."""
    query = (
        select(schema.Prompt, schema.Snapshot, schema.Run, schema.Task)
        .outerjoin(schema.Snapshot, schema.Snapshot.prompt_id == schema.Prompt.id)
        .outerjoin(schema.Run, schema.Snapshot.run_id == schema.Run.id)
        .outerjoin(schema.Task, schema.Run.task_id == schema.Task.id)
        .order_by(schema.Prompt.id)
    )
    with reading(bank.engine) as session:
        return [
            {
                "prompt": prompt.sha256[:12],
                "length": prompt.length,
                "width": prompt.width,
                "kind": snapshot.kind if snapshot else None,
                "step": snapshot.step if snapshot else None,
                "task": task.name if task else None,
                "seed": run.seed if run else None,
                "run": run.digest[:12] if run else None,
            }
            for prompt, snapshot, run, task in session.execute(query).all()
        ]


def prompt_metadata(bank: Bank, prompt: np.ndarray) -> dict[str, str]:
    """What the bank knows about a prompt, as text, for the header of an exported file."""
    query = (
        select(schema.Snapshot)
        .join(schema.Snapshot.prompt)
        .where(schema.Prompt.sha256 == prompt_sha256(prompt))
        .order_by(schema.Snapshot.id)
        .limit(1)
    )
    with reading(bank.engine) as session:
        snapshot = session.scalars(query).one_or_none()
        if snapshot is None:
            return {"sha256": prompt_sha256(prompt)}
        run = snapshot.run
        return {
            "sha256": snapshot.prompt.sha256,
            "kind": snapshot.kind,
            "step": str(snapshot.step),
            "task": run.task.name,
            "seed": str(run.seed),
            "run": run.digest,
            "score": str(run.score),
            "backbone": run.recipe.backbone.name,
            "fingerprint": run.recipe.backbone.fingerprint,
        }


def list_transfers(bank: Bank, *, task: str | None = None) -> Rows:
    """Transfers with their ranked sources, what each gave, the baseline and the outcome."""
    query = select(schema.Transfer).join(schema.Transfer.task).order_by(schema.Transfer.id)
    if task:
        query = query.where(schema.Task.name == task)
    with reading(bank.engine) as session:
        return [
            {
                "transfer": transfer.digest[:12],
                "target": transfer.task.name,
                "method": transfer.method,
                "similarity": transfer.similarity,
                "budget": transfer.budget,
                "steps": transfer.steps,
                "seed": transfer.seed,
                "metric": transfer.metric,
                "baseline": (transfer.baseline_metrics or {}).get(transfer.metric),
                "outcome": transfer.outcome_metrics.get(transfer.metric),
                "sources": [
                    {
                        "rank": c.rank,
                        "task": c.source_run.task.name,
                        "seed": c.source_run.seed,
                        "similarity": c.similarity,
                        "weight": c.weight,
                        "dev score": c.score,
                        "steps": c.steps,
                    }
                    for c in transfer.candidates
                ],
                "created": transfer.created.isoformat(),
            }
            for transfer in session.scalars(query)
        ]


def verify(bank: Bank) -> list[str]:
    """Problems found: damaged prompts, missing or wrong key vectors, runs without a value; empty if sound."""
    problems = []
    with reading(bank.engine) as session:
        if bank.engine.dialect.name == "sqlite":
            answer = session.execute(text("PRAGMA integrity_check")).scalars().all()
            problems += [f"database: {line}" for line in answer if line != "ok"]
            broken = session.execute(text("PRAGMA foreign_key_check")).all()
            problems += [f"database: row {row[1]} of {row[0]} refers to a missing {row[2]}" for row in broken]
        for prompt in session.scalars(select(schema.Prompt)).yield_per(64):
            problems += _prompt_problems(prompt)
        with_value = select(schema.Snapshot.run_id).where(schema.Snapshot.kind == "value")
        for run in session.scalars(select(schema.Run).where(schema.Run.id.not_in(with_value))):
            problems.append(f"run {run.digest[:12]}: has no value prompt")
    return problems


def _prompt_problems(prompt: schema.Prompt) -> list[str]:
    name = f"prompt {prompt.sha256[:12]}"
    if prompt.values.size != prompt.length * prompt.width:
        return [f"{name}: {prompt.values.size} numbers stored, expected {prompt.length} x {prompt.width}"]
    values = prompt.values.reshape(prompt.length, prompt.width)
    if prompt_sha256(values) != prompt.sha256:
        return [f"{name}: checksum differs from its address"]
    if prompt.vectors is None:
        return [f"{name}: has no key vectors"]
    if not belong(values, (prompt.vectors.average, prompt.vectors.average_normalized)):
        return [f"{name}: key vectors do not belong to it"]
    return []


def statistics(bank: Bank) -> dict[str, int]:
    """Rows of every table."""
    with reading(bank.engine) as session:
        return {
            table.name: session.execute(select(func.count()).select_from(table)).scalar_one()
            for table in schema.Base.metadata.sorted_tables
        }
