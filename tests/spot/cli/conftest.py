"""Commands run in this process through the edge, and a small bank to run them on."""

from __future__ import annotations

import dataclasses
import gc
import json
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
from spot.cli.main import main

LENGTH, WIDTH = 3, 4


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON on stdout."""
        return json.loads(self.out, parse_constant=pytest.fail)

    @property
    def error(self) -> str:
        """The one line of a user's error."""
        assert (self.code, self.out) == (1, "")
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line.removeprefix("error: ")


Spot = Callable[..., Answer]


@pytest.fixture
def spot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Spot:
    """Runs ``spot`` with arguments, in an empty folder."""
    for name in ("SPOT_BANK", "SPOT_BACKBONE", "SPOT_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["spot", *map(str, arguments)])
        capfd.readouterr()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        hook, threshold, show = sys.unraisablehook, gc.get_threshold(), warnings.showwarning
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:  # the command owns its process; here it is a guest
            for number, handler in handlers.items():
                signal.signal(number, handler)
            sys.unraisablehook, warnings.showwarning = hook, show
            gc.set_threshold(*threshold)
        captured = capfd.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


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
            identity=RunIdentity(recipe=recipe, task=TaskRecord(name=task, family="toy"), seed=seed, role=role),
            steps=steps,
            metric="accuracy",
            score=90.0,
            metrics={"accuracy": 90.0},
            history=[{"step": float(steps), "loss": 0.5, "accuracy": 90.0}],
            key=SnapshotRecord(prompt=key, step=10),
            value=SnapshotRecord(prompt=value, step=steps, score=90.0),
        )
    )


@pytest.fixture
def bank_path(tmp_path: Path) -> Path:
    """``bank.sqlite``, where commands look without ``--bank``: three sources and a transfer."""
    path = tmp_path / "bank.sqlite"
    with Bank.open(path) as bank:
        sources = [_run(bank, task, seed, "source") for task, seed in (("mnli", 0), ("mnli", 1), ("boolq", 0))]
        query, outcome = (_run(bank, "rte", 0, role) for role in ("query", "transfer"))
        bank.record_transfer(
            TransferRecord(
                task="rte",
                method="best",
                similarity="average",
                seed=0,
                metric="accuracy",
                query_run=query,
                chosen_run=outcome,
                outcome_metrics={"accuracy": 70.0},
                candidates=[
                    CandidateRecord(source_run=source, similarity=0.5, weight=1 / 3, run=outcome) for source in sources
                ],
            )
        )
    return path
