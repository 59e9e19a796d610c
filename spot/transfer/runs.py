"""Runs that a bank holds, or trains when it does not."""

from __future__ import annotations

import dataclasses
import platform
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from bank import Bank, Partition, RunIdentity, RunRecord, SnapshotRecord, StoredRun, TaskRecord
from spot.backbone.load import Backbone
from spot.inference.predict import predict
from spot.prompts.initializers import file_address
from spot.training.loop import CHECKPOINT_SECONDS, Reporter
from spot.training.prompt_tuning import train_prompt
from spot.training.recipe import Recipe
from spot.training.task_data import MixtureData, TaskData, data_of
from tasks.mixture import Mixture
from tasks.pipeline import summary
from tasks.task import Split, Task

Reporters = Callable[[str], Reporter | None]
"""A progress sink for a run of the given title."""


class Trainer:
    """Trains prompts of one backbone and recipe into a bank, each run at most once.

    Args of the constructor:
        bank: where finished runs go and are looked up.
        backbone: the frozen model.
        recipe: how to train.
        data_dir: folder of official data sets.
        folder: where checkpoints of unfinished runs lie; a finished run's checkpoint is removed.
        checkpoint_seconds: longest time between checkpoints.
        reporters: gives every run its progress sink.
    """

    def __init__(
        self,
        bank: Bank,
        backbone: Backbone,
        recipe: Recipe,
        *,
        data_dir: Path | None = None,
        folder: Path | None = None,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        reporters: Reporters = lambda _title: None,
    ) -> None:
        self.bank, self.backbone, self.recipe = bank, backbone, recipe
        self._data_dir, self._folder, self._reporters = data_dir, folder, reporters
        self._checkpoint_seconds = checkpoint_seconds
        self._data: dict[str, TaskData | MixtureData] = {}

    @property
    def partition(self) -> Partition:
        """Where this recipe's keys and queries can be compared."""
        return Partition.of(self.recipe.record(self.backbone))

    def data(self, task: Task | Mixture) -> TaskData | MixtureData:
        """The task's splits, read once."""
        if task.name not in self._data:
            self._data[task.name] = data_of(task, self.backbone, self.recipe, data_dir=self._data_dir)
        return self._data[task.name]

    def run(self, task: Task | Mixture, *, seed: int, role: str, start: str | None = None) -> StoredRun:
        """The run from the bank, trained first if it is not there.

        Args:
            task: what to train on.
            seed: of initialiser and batches.
            role: ``source``, ``baseline``, ``transfer``, or ``query``, which ends at the key step.
            start: address of the bank's prompt to start from; the recipe's initialiser where not given.
        """
        data = self.data(task)
        identity = RunIdentity(
            recipe=self.recipe.record(self.backbone),
            task=TaskRecord(name=task.name, family=task.family, description=task.describe()),
            seed=seed,
            role=role,
            data=data.digest,
            started_from=start or file_address(self.recipe.init),
        )
        stored = self.bank.run(identity.digest)
        return stored or self._twin(identity) or self._train(identity, data, start)

    def _twin(self, identity: RunIdentity) -> StoredRun | None:
        """A source and a baseline of one recipe, task and seed train alike: the second takes what the first has."""
        role = {"source": "baseline", "baseline": "source"}.get(identity.role)
        held = role and self.bank.run(dataclasses.replace(identity, role=role).digest)
        return self.bank.run(self.bank.record_twin(identity, held.digest)) if held else None

    def _train(self, identity: RunIdentity, data: TaskData | MixtureData, start: str | None) -> StoredRun:
        folder = self._folder / identity.digest[:20] if self._folder else None
        trained = train_prompt(
            self.backbone,
            data,
            self.recipe,
            seed=identity.seed,
            initial=self.bank.prompt(start) if start else None,
            stop_at_key=identity.role == "query",
            folder=folder,
            checkpoint_seconds=self._checkpoint_seconds,
            reporter=self._reporters(f"{identity.role} {identity.task.name} seed {identity.seed}"),
        )
        score = trained.metrics["score"]
        self.bank.record_run(
            RunRecord(
                identity=identity,
                steps=trained.steps,
                metric="score",
                score=score,
                value=SnapshotRecord(prompt=trained.value, step=trained.value_step, score=score),
                key=SnapshotRecord(prompt=trained.key, step=self.recipe.key_step),
                metrics=trained.metrics,
                history=trained.history,
                environment=environment() | {"data": self.data_summary(data)},
                seconds=trained.seconds,
            )
        )
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        stored = self.bank.run(identity.digest)
        assert stored is not None
        return stored

    def data_summary(self, data: TaskData | MixtureData) -> Mapping[str, float | int]:
        """Size, lengths and padding share of the training split."""
        return summary(data[Split.TRAIN].tokens, data.batches(self.recipe.batch_size, seed=0))

    def test(self, task: Task | Mixture, run: StoredRun) -> Mapping[str, float]:
        """Metrics of a run's value on the test split, which selection never sees."""
        data = self.data(task)
        split = data[Split.TEST]
        answers = predict(
            self.backbone,
            self.bank.prompt(run.value),
            split.examples,
            split.tokens,
            method=self.recipe.evaluate_by,
        )
        return data.score(Split.TEST, answers)


def environment() -> dict[str, Any]:
    """Versions and device of this process, for the record."""
    packages = ("spot-prompt-transfer", "jax", "jaxlib", "flax", "optax", "numpy")
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "device": f"{device.platform}: {device.device_kind}",
    }
