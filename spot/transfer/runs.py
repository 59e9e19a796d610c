"""Runs that a bank holds, or trains when it does not."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bank import Bank, Evaluation, Partition, RunIdentity, StoredRun
from spot.backbone.load import Backbone
from spot.backbone.placement import placement
from spot.errors import TrainingError
from spot.prompts.lengths import RESIZES
from spot.training.configurations import configurations
from spot.training.found import Found
from spot.training.jobs import CHECKPOINT_SECONDS, Progress
from spot.training.prompt_tuning import run_identity, together
from spot.training.recipe import Recipe
from spot.training.search import TASKS, Search
from spot.training.task_data import MixtureData, TaskData
from spot.training.task_record import task_record
from spot.transfer.datasets import Datasets
from spot.transfer.evaluator import Evaluator
from spot.transfer.executors import Executor, Group, LocalExecutor, Reporters
from spot.transfer.halving import Halving, rungs
from spot.transfer.planner import PlannedRun, RunSpec, adopt, chunks, distinct, missing
from tasks import Mixture, Task
from tasks.choices import choose


class Ended(NamedTuple):
    """What became of a run in a race: the run if it went to its end, and its best development score either way."""

    run: StoredRun | None
    score: float
    steps: int


class Trainer:
    """Trains prompts of one backbone and recipe into a bank, each run at most once.

    Args of the constructor:
        bank: where finished runs go and are looked up.
        backbone: the frozen model.
        recipe: how to train.
        sources: recipe of the bank's sources, by which queries are trained; as ``recipe`` if not given. Both have
            prompts of one form, and of one length unless ``resize`` says how they get there.
        resize: name in :data:`spot.prompts.lengths.RESIZES`, of how a source's prompt gets the recipe's length.
        datasets: tasks and splits for the backbone.
        executor: trains what the bank lacks; in this process if not given.
        evaluator: answers test splits.
        folder: where checkpoints of unfinished runs lie; a finished run's checkpoint is removed.
        checkpoint_seconds: longest time between checkpoints.
        slots: prompts under way at once; 0 chooses by memory.
        reporters: gives what a search tries its progress sinks.
        announce: called before anything trains: before a search, and before the executor is asked.
    """

    def __init__(
        self,
        bank: Bank,
        backbone: Backbone,
        recipe: Recipe,
        *,
        sources: Recipe | None = None,
        resize: str = "",
        datasets: Datasets | None = None,
        executor: Executor | None = None,
        evaluator: Evaluator | None = None,
        folder: Path | None = None,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        slots: int = 0,
        reporters: Reporters = lambda _title: None,
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        self.bank, self.backbone, self.recipe, self.sources = bank, backbone, recipe, sources
        self.resize = resize
        check_alike(recipe, sources, resize)
        self.datasets = datasets or Datasets(backbone)
        self.executor = executor or LocalExecutor(bank, self.datasets)
        self.evaluator = evaluator or Evaluator(bank, self.datasets)
        self.folder, self.checkpoint_seconds = folder, checkpoint_seconds
        self._slots, self._reporters, self._announce = slots, reporters, announce

    def with_recipe(self, recipe: Recipe, *, sources: Recipe | None = None) -> Trainer:
        """The same with another recipe, and if given another of the sources."""
        other = copy.copy(self)
        other.recipe, other.sources = recipe, sources or self.sources
        check_alike(other.recipe, other.sources, self.resize)
        return other

    def alone(self, recipe: Recipe) -> Trainer:
        """The same with another recipe, for runs that no source is compared with."""
        other = copy.copy(self)
        other.recipe, other.sources = recipe, None
        return other

    @property
    def querying(self) -> Trainer:
        """Trains the queries of this trainer's targets: by the sources' recipe, on as many examples as targets have.

        It is this trainer itself where both recipes shape a prompt up to its key step alike: the baseline's key is then
        the query.
        """
        if self.sources is None:
            return self
        mine = self.recipe
        asking = self.with_recipe(
            dataclasses.replace(
                self.sources,
                train_limit=mine.train_limit,
                dev_limit=mine.dev_limit,
                sample=mine.sample,
            )
        )
        return self if asking.partition == self.partition else asking

    @property
    def slots(self) -> int:
        """Prompts under way at once in one program."""
        recipe = self.recipe
        return self._slots or placement().slots_that_fit(
            batch_size=recipe.batch_size,
            positions=recipe.prompt_length + recipe.max_input,
            width=self.backbone.width,
        )

    @property
    def partition(self) -> Partition:
        """Where this recipe's keys and queries can be compared."""
        return Partition.of(self.recipe.record(self.backbone))

    def data(self, task: Task | Mixture) -> TaskData | MixtureData:
        """The task's splits for this recipe."""
        return self.datasets.splits(task, self.recipe)

    def task_data(self, task: Task) -> TaskData:
        """The same of a single task."""
        data = self.data(task)
        assert isinstance(data, TaskData)
        return data

    def spec(self, task: Task | Mixture, seed: int, role: str, start: str | None = None) -> RunSpec:
        """A run of this task, to be asked for; see :class:`RunSpec`."""
        return RunSpec(task=self.datasets.spec(task), seed=seed, role=role, start=start)

    def search(
        self,
        tasks: Sequence[Task | Mixture],
        searched: Sequence[str],
        *,
        seed: int,
        initial: np.ndarray | None = None,
    ) -> Found:
        """Search for settings of the recipe on the first of these tasks, in this process; see :class:`Search`.

        One recipe is found for all of them, so that their keys can be compared.

        Args:
            tasks: what the recipe is for.
            searched: names of settings, see :func:`spot.training.configurations.configurations`.
            seed: of the runs that are tried.
            initial: a prompt ``[..., P, H]`` that runs start from, in place of the recipe's initialiser.

        Raises:
            Interrupted: a signal stopped it; its state is saved.
            TrainingError: nothing that was tried keeps its loss finite.
        """
        self._announce()
        distinct_tasks = list({task.name: task for task in tasks}.values())
        return Search(
            backbone=self.backbone,
            data=[self.data(task) for task in distinct_tasks[:TASKS]],
            recipe=self.recipe,
            tried=configurations(self.recipe, searched, distinct_tasks),
            seed=seed,
            initial=initial,
        ).run(
            folder=self.folder,
            checkpoint_seconds=self.checkpoint_seconds,
            reporters=self._reporters,
        )

    def run(
        self, task: Task | Mixture, *, seed: int, role: str, start: str | None = None
    ) -> StoredRun:
        """One run; see :meth:`run_all`."""
        return self.run_all([self.spec(task, seed, role, start)])[0]

    def run_all(self, specs: Sequence[RunSpec]) -> list[StoredRun]:
        """Runs from the bank, in the order asked for; what is not there is trained first.

        Raises:
            Interrupted: a signal stopped training; what has ended is in the bank, the rest in the checkpoint.
            SpotError: what training raises; runs that it does not concern have ended.
        """
        if self.recipe.together and any(spec.role == "source" for spec in specs):
            return self.run_together(specs)
        runs = self.plan(specs)
        lacking = missing(self.bank, runs)
        self.bank.restore_wanted([run.digest for run in runs])
        stored = dict(lacking.stored)
        if lacking.train or lacking.adopt:
            adopt(
                self.bank,
                runs,
                {run: twin for run, twin in lacking.adopt.items() if twin in stored},
            )
            groups = [
                self._group(chunk, set(stored))
                for chunk in chunks(distinct(runs), self.executor.workers)
            ]
            self._train(groups, lacking.train)
            adopt(
                self.bank,
                runs,
                {run: twin for run, twin in lacking.adopt.items() if twin not in stored},
            )
            stored |= self.bank.runs([*lacking.adopt, *(run.digest for run in lacking.train)])
        return [stored[run.digest] for run in runs if run.digest in stored]

    def run_together(self, specs: Sequence[RunSpec]) -> list[StoredRun]:
        """Runs that share a part of their prompts (:func:`sharing`), those of a seed in one program; or from the bank,
        where that holds all of a seed. The mixture's is the last of each seed, and the tasks' stand in its order.

        Raises:
            Interrupted: as :meth:`run_all`.
            TrainingError: of a seed, not all who share are asked for; what training raises.
        """
        runs = self.plan(specs)
        digests = [run.digest for run in runs]
        self.bank.restore_wanted(digests)
        stored = self.bank.runs(digests)
        by_seed: dict[int, list[PlannedRun]] = {}
        for run in runs:
            by_seed.setdefault(run.identity.seed, []).append(run)
        mixture, _ = self.recipe.together.rsplit(" ", 1)
        for each in by_seed.values():
            names = [run.identity.task.name for run in each]
            if names[-1] != mixture or "+".join(names[:-1]) != mixture:
                sharers = mixture.replace("+", ", ")
                raise TrainingError(f"{sharers} share a part, and train together alone")
        lacking = [
            each for each in by_seed.values() if not {run.digest for run in each} <= stored.keys()
        ]
        groups = [dataclasses.replace(self._group(each, ()), slots=len(each)) for each in lacking]
        self._train(groups, [run for each in lacking for run in each])
        stored = self.bank.runs(digests)
        return [stored[digest] for digest in digests]

    def plan(self, specs: Sequence[RunSpec]) -> list[PlannedRun]:
        """Runs with their identities, for which their data is read.

        Raises:
            BankError: a task whose name stands for another one in the bank.
            TaskError: data that cannot be read.
        """
        tasks = {spec.task: self.datasets.task(spec.task) for spec in specs}
        for task in tasks.values():
            self.bank.check_task(task_record(task))

        def identity(spec: RunSpec) -> RunIdentity:
            data = self.data(tasks[spec.task])
            return run_identity(
                self.backbone,
                data,
                self.recipe,
                seed=spec.seed,
                role=spec.role,
                started_from=spec.start,
            )

        return [PlannedRun(spec, identity(spec)) for spec in specs]

    def race(self, heats: Sequence[Sequence[RunSpec]]) -> list[list[Ended]]:
        """Successive halving in every heat; runs that reach its end are in the bank, as trained alone up to rounding.

        The runs of a heat compete with each other, the more promising first; a run that the bank holds already takes
        part with its history. All of a heat train at once, however many slots that takes, and as many heats together
        as there are slots for.

        Raises:
            Interrupted: as :meth:`run_all`.
            SpotError: a recipe with patience, which would end runs behind the race's back; what training raises.
        """
        if self.recipe.patience:
            raise TrainingError("halving and --patience both stop runs early; use one of them")
        every, spacing = self.recipe.plan().evaluate_every, self.recipe.evaluate_spacing
        rivals = {len(heat) for heat in heats if len(heat) > 1}
        if not all(rungs(count, self.recipe.steps, every, spacing) for count in rivals):
            raise TrainingError(
                f"halving gives runs up at evaluations before the last, and there is none: give --evaluate-every "
                f"less than {every}"
            )
        planned = [self.plan(heat) for heat in heats]
        runs = [run for heat in planned for run in heat]
        lacking = missing(self.bank, runs)
        self.bank.restore_wanted([run.digest for run in runs])
        adopt(self.bank, runs, lacking.adopt)
        known = self.bank.runs([*lacking.stored, *lacking.adopt])
        histories = {
            run.digest: self.bank.history(run.digest) for run in runs if run.digest in known
        }
        groups = [self._race_group(heats, histories) for heats in self._rounds(planned)]
        stopped = self._train(groups, lacking.train)
        stored = self.bank.runs([run.digest for run in runs])

        def ended(digest: str) -> Ended:
            if digest in stored:
                return Ended(stored[digest], stored[digest].score, stored[digest].steps)
            return Ended(None, stopped[digest].best_score, stopped[digest].step)

        return [[ended(run.digest) for run in heat] for heat in planned]

    def _train(self, groups: Sequence[Group], lacking: Sequence[PlannedRun]) -> dict[str, Progress]:
        """Have the groups trained that hold a lacking run; the progress of runs given up, by digest."""
        digests = {run.digest for run in lacking}
        groups = [group for group in groups if digests & {run.digest for run in group.runs}]
        if not groups:
            return {}
        self._announce()
        return dict(self.executor.train(groups))

    def _group(
        self, runs: Sequence[PlannedRun], stored: Collection[str], halving: Halving | None = None
    ) -> Group:
        return Group(
            backbone=self.backbone.name,
            dtype=self.backbone.dtype,
            recipe=self.recipe,
            runs=tuple(runs),
            stored=frozenset(run.digest for run in runs if run.digest in stored),
            slots=len(runs) if halving else min(self.slots, len(runs)),
            data_dir=self.datasets.data_dir,
            allow_partial=self.datasets.allow_partial,
            folder=self.folder,
            checkpoint_seconds=self.checkpoint_seconds,
            halving=halving,
        )

    def _race_group(
        self, heats: Sequence[Sequence[PlannedRun]], histories: dict[str, list[dict[str, float]]]
    ) -> Group:
        runs = distinct([run for heat in heats for run in heat])
        halving = Halving(
            heats=[[run.digest for run in heat] for heat in heats],
            histories={
                run.digest: histories[run.digest] for run in runs if run.digest in histories
            },
            steps=self.recipe.steps,
            evaluate_every=self.recipe.plan().evaluate_every,
            spacing=self.recipe.evaluate_spacing,
        )
        return self._group(runs, histories, halving)

    def _rounds(
        self, heats: Sequence[Sequence[PlannedRun]]
    ) -> Iterator[Sequence[Sequence[PlannedRun]]]:
        """Heats that race in one program: as many as slots allow, and no more than one worker's share of them."""
        most = -(-len(heats) // self.executor.workers)
        rest = list(heats)
        while rest:
            together = 1
            while (
                together < min(most, len(rest))
                and sum(map(len, rest[: together + 1])) <= self.slots
            ):
                together += 1
            yield rest[:together]
            rest = rest[together:]

    def start_from(self, prompt: np.ndarray) -> np.ndarray:
        """A source's prompt ``[..., P, H]`` as a start of this recipe's length."""
        if prompt.shape[-2] == self.recipe.prompt_length:
            return prompt
        return RESIZES[self.resize](prompt, self.recipe.prompt_length)

    def test_all(self, task: Task | Mixture, runs: Sequence[StoredRun]) -> list[Evaluation]:
        """What the values of runs score on the test split; see :meth:`Evaluator.test_all`."""
        return self.evaluator.test_all(task, runs, self.recipe)


def sharing(
    trainer: Trainer, tasks: Sequence[Task | Mixture]
) -> tuple[Trainer, list[Task | Mixture]]:
    """The trainer of tasks whose prompts share a part, and whom it trains: these, and their mixture.

    The mixture's run trains on nothing: its prompt is the shared part with an own one that says nothing, from which a
    new task can start, and is scored on all of their development examples.

    Raises:
        TrainingError: fewer than two tasks, or a mixture among them.
    """
    alone = [task for task in tasks if isinstance(task, Task)]
    if len(alone) < max(2, len(tasks)):
        raise TrainingError(
            f"--shared {trainer.recipe.shared} is for two tasks or more, and for no mixture: each has a part of its "
            "own; name them one by one, or give --shared '' to train each alone"
        )
    mixture = Mixture(name="+".join(task.name for task in alone), members=tuple(alone))
    recipe = dataclasses.replace(trainer.recipe, together=together(trainer.data(mixture)))
    return trainer.with_recipe(recipe), [*alone, mixture]


def check_alike(recipe: Recipe, sources: Recipe | None, resize: str = "") -> None:
    """Refuse a recipe whose prompts cannot start from the values of sources.

    Raises:
        TrainingError: another form, or another length without a known way to it.
    """
    if resize:
        choose(resize, RESIZES, "way to another length", error=TrainingError)
    for name in ("form",) if resize else ("prompt_length", "form"):
        mine, theirs = getattr(recipe, name), getattr(sources or recipe, name)
        if mine != theirs:
            way = "--resize says how it changes" if name == "prompt_length" else "it keeps its form"
            raise TrainingError(
                f"{name.replace('_', ' ')} {mine} of the target's recipe is not the sources' {theirs}, from whose "
                f"prompts it starts; {way}"
            )
