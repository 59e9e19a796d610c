"""The tiny backbone of the training tests, and a bank with a few sources."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bank import Bank
from spot.backbone.load import Backbone
from spot.training.recipe import Recipe
from spot.transfer.runs import Trainer
from tasks import get_task
from tasks.task import Task
from tests.spot.training.conftest import backbone, backbone_folder, recipe, write_task

__all__ = ["backbone", "backbone_folder", "recipe"]

SOURCES = ("first", "second", "third", "fourth")


@dataclasses.dataclass(frozen=True)
class World:
    """A trainer with its bank of sources, and a target that is among them too."""

    bank: Bank
    trainer: Trainer
    target: Task
    runs: Path


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    folder = tmp_path_factory.mktemp("tasks")
    return {
        name: get_task(str(write_task(folder, name, sizes=(32, 16, 16))))
        for name in (*SOURCES, "target")
    }


@pytest.fixture(scope="session")
def filled_bank(
    tmp_path_factory: pytest.TempPathFactory,
    backbone: Backbone,
    recipe: Recipe,
    tasks: dict[str, Task],
) -> Path:
    """Sources of one seed each, the first of two, and the target itself as a source."""
    path = tmp_path_factory.mktemp("bank") / "bank.sqlite"
    with Bank.open(path) as bank:
        trainer = Trainer(bank, backbone, recipe)
        for name, seed in [*((name, 0) for name in tasks), ("first", 1)]:
            trainer.run(tasks[name], seed=seed, role="source")
    return path


@pytest.fixture
def world(
    filled_bank: Path, tmp_path: Path, backbone: Backbone, recipe: Recipe, tasks: dict[str, Task]
) -> Iterator[World]:
    """A copy of the filled bank that a test may write to."""
    path = Path(shutil.copy(filled_bank, tmp_path / "bank.sqlite"))
    with Bank.open(path) as bank:
        runs = tmp_path / "runs"
        yield World(bank, Trainer(bank, backbone, recipe, folder=runs), tasks["target"], runs)
