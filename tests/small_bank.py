"""A small sound bank: three sources of two tasks, and a transfer to a third."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bank import (
    BackboneRecord,
    Bank,
    CandidateRecord,
    RecipeRecord,
    RunIdentity,
    RunRecord,
    SnapshotRecord,
    TaskRecord,
    TransferRecord,
)

LENGTH, WIDTH = 3, 4


def _run(bank: Bank, task: str, seed: int, role: str) -> str:
    recipe = RecipeRecord(
        backbone=BackboneRecord(fingerprint="f" * 64, name="toy", width=WIDTH),
        prompt_length=LENGTH,
        key_step=10,
        family="a" * 64,
        options={"steps": 30},
    )
    steps = 10 if role == "query" else 30
    key, value = np.random.default_rng([len(task), seed, len(role)]).normal(size=(2, LENGTH, WIDTH))
    return bank.record_run(
        RunRecord(
            identity=RunIdentity(
                recipe=recipe, task=TaskRecord(name=task, family="toy"), seed=seed, role=role
            ),
            steps=steps,
            metric="accuracy",
            score=90.0,
            metrics={"accuracy": 90.0},
            history=[{"step": float(steps), "loss": 0.5, "accuracy": 90.0}],
            key=SnapshotRecord(prompt=key, step=10),
            value=SnapshotRecord(prompt=value, step=steps, score=90.0),
        )
    )


def write_small_bank(path: Path) -> None:
    """Make the bank; its prompts are ``[3, 4]``, of a backbone that there is not."""
    with Bank.open(path) as bank:
        sources = [
            _run(bank, task, seed, "source")
            for task, seed in (("mnli", 0), ("mnli", 1), ("boolq", 0))
        ]
        query, outcome = (_run(bank, "rte", 0, role) for role in ("query", "transfer"))
        bank.record_transfer(
            TransferRecord(
                task="rte",
                method="best",
                similarity="average",
                single=True,
                seed=0,
                metric="accuracy",
                query_run=query,
                chosen_run=outcome,
                outcome_metrics={"accuracy": 70.0},
                candidates=[
                    CandidateRecord(source_run=source, similarity=0.5, weight=1 / 3, run=outcome)
                    for source in sources
                ],
            )
        )
