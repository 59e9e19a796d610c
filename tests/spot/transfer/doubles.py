"""What stands for training and its progress where a test looks at what is around it."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping, Sequence

import numpy as np

from bank import Bank, RunRecord, SnapshotRecord, StoredRun
from spot.training.jobs import Progress, Silent
from spot.training.recipe import Recipe
from spot.training.task_data import MixtureData, TaskData
from spot.transfer.evaluator import Evaluator
from spot.transfer.executors import Group
from spot.transfer.runs import Trainer


class RefusingExecutor:
    """Fails where anything is to be trained."""

    workers = 1

    def train(self, groups: Sequence[Group]) -> Mapping[str, Progress]:
        raise AssertionError(f"trained {[run.title for group in groups for run in group.runs]}")


@dataclasses.dataclass(frozen=True)
class FailingExecutor:
    """Raises an error of training."""

    error: Exception
    workers: int = 1

    def train(self, groups: Sequence[Group]) -> Mapping[str, Progress]:
        raise self.error


@dataclasses.dataclass(frozen=True)
class ScriptedExecutor:
    """Stores runs of role ``transfer`` with given development scores, in their order; one of ``None`` is given up.

    Prompts are drawn at random.
    """

    bank: Bank
    scores: Sequence[float | None]
    workers: int = 1

    def train(self, groups: Sequence[Group]) -> Mapping[str, Progress]:
        given_up = {}
        runs = [
            (run, group.recipe)
            for group in groups
            for run in group.runs
            if run.spec.role == "transfer"
        ]
        for (run, recipe), score in zip(runs, self.scores, strict=True):
            if score is None:
                given_up[run.digest] = Progress(step=recipe.evaluate_every, best_score=0.0)
                continue
            shape = recipe.prompt_length, run.identity.recipe.backbone.width
            prompt = np.random.default_rng(run.spec.seed).normal(size=shape).astype(np.float32)
            value = SnapshotRecord(prompt=prompt, step=recipe.steps, score=score)
            self.bank.record_run(
                RunRecord(
                    identity=run.identity,
                    steps=recipe.steps,
                    metric="score",
                    score=score,
                    value=value,
                )
            )
        return given_up


class RefusingEvaluator(Evaluator):
    """Fails where a test split is to be answered anew."""

    def answers(
        self, data: TaskData | MixtureData, runs: Sequence[StoredRun], recipe: Recipe
    ) -> list[list[str]]:
        assert not runs, "answered again"
        return []


def refusing(trainer: Trainer) -> Trainer:
    """The same trainer, which must neither train nor answer a test split anew."""
    evaluator = RefusingEvaluator(trainer.bank, trainer.datasets)
    return Trainer(
        trainer.bank,
        trainer.backbone,
        trainer.recipe,
        sources=trainer.sources,
        executor=RefusingExecutor(),
        evaluator=evaluator,
    )


class StopsAt(Silent):
    """Asks its process to stop at the n-th evaluation of all runs, and notes where runs begin."""

    def __init__(self, evaluation: int) -> None:
        self.left, self.began = evaluation, list[int]()

    def start(self, step: int, steps: int) -> None:
        self.began.append(step)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGTERM)
