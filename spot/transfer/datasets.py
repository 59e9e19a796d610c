"""Tasks and their splits, tokenised for one backbone, each read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spot.backbone.load import Backbone
from spot.training.recipe import Recipe
from spot.training.task_data import MixtureData, TaskData, data_of
from spot.transfer.planner import TaskSpec
from tasks import Mixture, Split, Task
from tasks.mixture import members_of
from tasks.task import PARTIAL


class Datasets:
    """Splits of tasks by recipe, and tasks by their specs.

    Args of the constructor:
        backbone: whose tokenizer and end tokens hold.
        data_dir: folder of official data sets.
        allow_partial: where published parts are missing there, cut splits from those that are there.
        tell: takes a line on what a user should know of a task before a run: what a score must be above, rows left out,
            inputs cut.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        data_dir: Path | None = None,
        allow_partial: bool = False,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.backbone, self.data_dir, self.tell = backbone, data_dir, tell
        self.allow_partial = allow_partial
        self._tasks: dict[TaskSpec, Task | Mixture] = {}
        self._splits: dict[tuple[Any, ...], TaskData | MixtureData] = {}

    def spec(self, task: Task | Mixture) -> TaskSpec:
        """The task's spec, by which it need not be read again here."""
        spec = TaskSpec.from_task(task)
        self._tasks.setdefault(spec, task)
        return spec

    def task(self, spec: TaskSpec) -> Task | Mixture:
        """The task of a spec, read where this process has not made it.

        Raises:
            TaskError: as :meth:`TaskSpec.read`.
        """
        if spec not in self._tasks:
            self._tasks[spec] = spec.read()
        return self._tasks[spec]

    def splits(self, task: Task | Mixture, recipe: Recipe) -> TaskData | MixtureData:
        """The task's splits for a recipe, as far as it shapes them; tells of them when they are read.

        Raises:
            TaskError: data that cannot be read.
        """
        limits = recipe.train_limit, recipe.dev_limit, recipe.sample
        asked = self.spec(task), recipe.lengths, limits
        if asked not in self._splits:
            self._splits[asked] = self.read(task, recipe)
            for line in _notes(task, self._splits[asked], recipe):
                self.tell(line)
        return self._splits[asked]

    def read(
        self, task: Task | Mixture, recipe: Recipe, *, named: bool = False
    ) -> TaskData | MixtureData:
        """The same for who looks at a part of it once: nothing is told of it or kept. ``named`` as of
        :func:`data_of`."""
        return data_of(
            task,
            self.backbone,
            recipe,
            data_dir=self.data_dir,
            allow_partial=self.allow_partial,
            named=named,
        )


def _notes(task: Task | Mixture, data: TaskData | MixtureData, recipe: Recipe) -> Iterator[str]:
    tokens = data[Split.TRAIN].tokens
    if data.partial:
        yield f"{task.name}: {PARTIAL}; its splits are cut from the published parts that are there"
    yield f"{task.name}: the most frequent answer scores {data.floor(Split.DEV):.2f} on dev"
    for member in members_of(task):
        for part, counts in member.source.skipped.items():
            if counts:
                reasons = ", ".join(f"{why}: {count}" for why, count in counts.items())
                yield f"{member.name}: {counts.total()} rows of {part} are left out ({reasons})"
    for cut, what, longest, option in (
        (tokens.cut, "inputs", recipe.max_input, "--max-input"),
        (tokens.cut_targets, "targets", recipe.max_target, "--max-target"),
    ):
        if cut:
            yield f"{task.name}: {cut} of {len(tokens)} training {what} are cut at {longest} tokens ({option})"
