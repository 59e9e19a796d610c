"""A bank of its own for every test, and runs to put into it."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

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

RunMaker = Callable[..., RunRecord]


def prompt_of(name: str, length: int = LENGTH, width: int = WIDTH) -> np.ndarray:
    """A prompt that depends on nothing but its name."""
    return (
        np.random.default_rng(zlib.crc32(name.encode()))
        .normal(size=(length, width))
        .astype(np.float32)
    )


def run_of(
    task: str = "sst2",
    seed: int = 0,
    *,
    role: str = "source",
    length: int = LENGTH,
    width: int = WIDTH,
    fingerprint: str = "f" * 64,
    family: str = "a" * 64,
    key_step: int = 10,
    key: np.ndarray | None = None,
    value: np.ndarray | None = None,
    with_key: bool = True,
    **changes: Any,
) -> RunRecord:
    """A run of a small recipe; prompts follow from task, seed and role unless they are given."""
    model = BackboneRecord(
        fingerprint=fingerprint, name="toy", width=width, config={"d_model": width}
    )
    recipe = RecipeRecord(
        backbone=model,
        prompt_length=length,
        key_step=key_step,
        family=family,
        options={"steps": 30},
    )
    name, steps = f"{task}/{seed}/{role}", key_step if role == "query" else 30
    key = prompt_of(f"{name}/key", length, width) if key is None else key
    value = prompt_of(f"{name}/value", length, width) if value is None else value
    return RunRecord(
        identity=RunIdentity(
            recipe=recipe, task=TaskRecord(name=task, family="sentiment"), seed=seed, role=role
        ),
        value=SnapshotRecord(prompt=value, step=steps, score=changes.get("score", 90.0)),
        key=SnapshotRecord(prompt=key, step=key_step) if with_key else None,
        **{
            "steps": steps,
            "metric": "accuracy",
            "score": 90.0,
            "metrics": {"accuracy": changes.get("score", 90.0)},
        }
        | changes,
    )


def transfer_of(source: str, query: str, outcome: str, **changes: object) -> TransferRecord:
    fields: dict[str, object] = {
        "task": "rte",
        "method": "best",
        "similarity": "average",
        "single": True,
        "seed": 0,
        "metric": "accuracy",
        "query_run": query,
        "chosen_run": outcome,
        "outcome_metrics": {"accuracy": 70.0},
        "candidates": [
            CandidateRecord(source_run=source, similarity=0.5, weight=1.0, run=outcome, score=90.0)
        ],
    }
    return TransferRecord(**fields | changes)  # type: ignore[arg-type]


def damage(bank: Bank, *statements: str) -> None:
    """Change the file behind the bank's back."""
    connection = sqlite3.connect(str(bank.engine.url.database))
    connection.executescript(";".join(("PRAGMA foreign_keys = OFF", *statements)))
    connection.close()


@contextmanager
def statements(bank: Bank) -> Iterator[list[str]]:
    """Every SQL statement sent meanwhile."""
    sent: list[str] = []

    def listen(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    event.listen(bank.engine, "before_cursor_execute", listen)
    yield sent
    event.remove(bank.engine, "before_cursor_execute", listen)


@pytest.fixture(scope="session")
def make_run() -> RunMaker:
    return run_of


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    with Bank.open(tmp_path / "bank.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """One bank for all examples of a property."""
    with Bank.open(tmp_path_factory.mktemp("bank") / "bank.sqlite") as opened:
        yield opened
