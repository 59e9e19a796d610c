"""Search for a recipe's learning rate, and for where its prompts start: successive halving in the slots of one program.

All configurations train for a little, along the schedule of a full run; the half of smaller development loss goes on,
and so forth (Jamieson and Talwalkar 2016). What is found is a recipe like any other: who trains it trains an ordinary
run from its beginning, and nothing of the search is in it but the number. The search costs at most half a run a task,
so that one run and its search cost about one and a half.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax import Array

from bank.vectors import prompt_sha256
from spot.backbone.load import Backbone
from spot.errors import TrainingError
from spot.inference.predict import mean_losses
from spot.prompts.initializers import file_address
from spot.training.checkpoint import write_atomically
from spot.training.jobs import CHECKPOINT_SECONDS, Plan, Progress, Reporter, Silent
from spot.training.loop import fit
from spot.training.optimizers import Optimizer
from spot.training.prompt_tuning import PromptJob, TaskStream, start_of, step_of
from spot.training.recipe import Recipe
from spot.training.task_data import MixtureData, TaskData
from tasks.mixture import Mixture
from tasks.task import Split, Task
from tasks.tokenized import Tokenized, subset

FACTORS = (0.0, -0.5, 0.5, -1.0, 1.0, -1.5)
"""Powers of ten by which learning rates differ from the recipe's own, nearest first; more of them below it, since a
rate that is too high fails altogether."""

NEAR = FACTORS[:3]
"""Those that are tried with another start than the recipe's."""

STARTS = ("vocabulary", "labels", "uniform")
"""Initialisers that are tried."""

TASKS = 3
"""The most tasks that a search trains on."""

SHARE = 0.5
"""The most that a search costs, in full runs of each of its tasks."""

DEV_EXAMPLES = 256
"""Development examples that losses are computed on, spread over all there are."""

WORST = 1e9
"""Development loss of what is not finite."""

Data = TaskData | MixtureData


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a search tries.

    Attributes:
        learning_rate: at the peak of its schedule.
        init: name of an initialiser.
    """

    learning_rate: float
    init: str

    def of(self, recipe: Recipe) -> Recipe:
        """The recipe with it."""
        optimizer = dataclasses.replace(recipe.optimizer, learning_rate=self.learning_rate)
        return dataclasses.replace(recipe, optimizer=optimizer, init=self.init)

    def __str__(self) -> str:
        return f"learning rate {self.learning_rate:g}, start {self.init}"


def configurations(
    recipe: Recipe, searched: Sequence[str], tasks: Sequence[Task | Mixture]
) -> list[Configuration]:
    """What to try, the more promising first.

    Learning rates stand around the recipe's in half decades, of two digits, so that who types the one that was found
    asks for the same run. With both searched for, other starts are tried at the rates nearest to the recipe's.

    Args:
        recipe: whose learning rate and initialiser are the first to be tried.
        searched: ``learning_rate``, ``init``, or both.
        tasks: all that prompts will be trained on; their labels are tried where all have some that fit the prompt.
    """
    starts = list(
        dict.fromkeys([recipe.init, *(_starts(recipe, tasks) if "init" in searched else ())])
    )
    rate = recipe.optimizer.learning_rate
    wide, near = (FACTORS, NEAR) if "learning_rate" in searched else ((0.0,), (0.0,))
    return [
        Configuration(learning_rate=_rate(rate, power), init=start)
        for start in starts
        for power in (wide if start == recipe.init else near)
    ]


def _rate(rate: float, power: float) -> float:
    return float(f"{rate * 10**power:.2g}") if power else rate


def _starts(recipe: Recipe, tasks: Sequence[Task | Mixture]) -> list[str]:
    labelled = all(0 < len(task.labels) <= recipe.prompt_length for task in tasks)
    return [start for start in STARTS if start != "labels" or labelled]


# -- the rounds ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Rounds:
    """When a search looks, and how many go on.

    Attributes:
        every: steps between looks at development losses.
        survivors: how many are left at the steps that end a round; the last round ends the search.
        steps: of those who reach its end.
        cost: steps of all, on one task.
    """

    every: int
    survivors: Mapping[int, int]
    steps: int
    cost: int

    @classmethod
    def of(cls, field: int, steps: int) -> Rounds:
        """For a field of configurations and full runs of ``steps``.

        Rounds end after r, 2r, 4r, ... steps, and each leaves the better half, until the last has two. r is as large
        as :data:`SHARE` of a full run allows, but at least one step: 6 configurations cost 13 r (6, then 3 for another
        r, then 2 for another 2 r), so r is a 26th of a run's steps, and the two best train for 15 % of it.
        """
        fields = [field]
        while fields[-1] > 2:
            fields.append(math.ceil(fields[-1] / 2))
        ends = [2**i for i in range(len(fields))]
        lengths = np.diff([0, *ends])
        each = int(np.dot(fields, lengths))
        every = max(1, int(SHARE * steps / each))
        survivors = {every * end: left for end, left in zip(ends, fields[1:], strict=False)}
        return cls(every, survivors, min(steps, every * ends[-1]), every * each)

    @property
    def plan(self) -> Plan:
        """Of every job of the search."""
        return Plan(steps=self.steps, evaluate_every=min(self.every, self.steps))


def best_first(losses: np.ndarray) -> list[int]:
    """Rows of finite development losses ``[configurations, tasks]`` in their order, the best first.

    By mean rank over the tasks, since losses of different tasks have no common scale; of equals by the mean distance
    to each task's best loss, then as they stand.
    """
    ranks = (losses[:, None] > losses[None]).sum(axis=1).mean(axis=1)
    behind = (losses - losses.min(axis=0)).mean(axis=1)
    return sorted(range(len(losses)), key=lambda row: (ranks[row], behind[row]))


def last_loss(progress: Progress) -> float:
    """Development loss of a job's last evaluation; ``WORST`` where that is not finite."""
    loss = progress.history[-1]["development loss"] if progress.history else math.nan
    return min(loss, WORST) if math.isfinite(loss) else WORST


@dataclasses.dataclass(frozen=True)
class GivesUpWorse:
    """Which jobs to give up when a round ends: the ``give_up`` of :func:`spot.training.loop.fit`.

    Args of the constructor:
        names: identities of every configuration's jobs, one a task; the more promising configuration first.
        survivors: see :class:`Rounds`.
    """

    names: Sequence[Sequence[str]]
    survivors: Mapping[int, int]

    def __call__(self, progress: Mapping[str, Progress]) -> list[str]:
        """A configuration is given up on all tasks; one that has diverged on any of them is, too."""
        step = min((one.step for one in progress.values()), default=0)
        if step not in self.survivors:
            return []
        whole = [names for names in self.names if all(name in progress for name in names)]
        losses = np.array([[last_loss(progress[name]) for name in names] for names in whole])
        kept = (
            {name for row in best_first(losses)[: self.survivors[step]] for name in whole[row]}
            if whole
            else set()
        )
        return [name for name in progress if name not in kept]


# -- what was found ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of a configuration.

    Attributes:
        configuration: what was tried.
        losses: steps and development losses of its evaluations, by task.
        steps: that it trained for, on all tasks together.
        diverged: whether a loss was not finite on one of them.
    """

    configuration: Configuration
    losses: Mapping[str, Sequence[tuple[int, float]]]
    steps: int
    diverged: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What a search found.

    Attributes:
        tasks: that it trained on.
        seed: of its runs.
        trials: one a configuration.
        chosen: the best among those that came furthest.
        steps: of all of them.
        runs: the same in full runs.
    """

    tasks: Sequence[str]
    seed: int
    trials: Sequence[Trial]
    chosen: int
    steps: int
    runs: float

    @property
    def configuration(self) -> Configuration:
        return self.trials[self.chosen].configuration

    def write(self, path: Path) -> None:
        """Into a JSON file.

        Raises:
            TrainingError: it cannot be written.
        """
        write_atomically(path, json.dumps(dataclasses.asdict(self), indent=1).encode())

    @classmethod
    def read(cls, path: Path) -> Found:
        """From a file that :meth:`write` wrote.

        Raises:
            TrainingError: the file is damaged.
        """
        try:
            fields = json.loads(path.read_bytes())
            trials = [
                Trial(**trial | {"configuration": Configuration(**trial["configuration"])})
                for trial in fields["trials"]
            ]
            found = cls(**fields | {"trials": trials})
            assert 0 <= found.chosen < len(found.trials)
        except (OSError, ValueError, TypeError, LookupError, AssertionError) as error:
            raise TrainingError(
                f"{path}: not the outcome of a search, or damaged; remove it to search again"
            ) from error
        return found


def found_by(
    tried: Sequence[Configuration],
    ends: Sequence[Sequence[Progress]],
    *,
    tasks: Sequence[str],
    seed: int,
    steps: int,
) -> Found:
    """The outcome of a search, from how far every configuration came on each task; full runs take ``steps``.

    Raises:
        TrainingError: all of them diverged.
    """
    trials = [
        _trial(configuration, tasks, end) for configuration, end in zip(tried, ends, strict=True)
    ]
    furthest = max((trial.steps for trial in trials if not trial.diverged), default=0)
    finalists = [
        i for i, trial in enumerate(trials) if not trial.diverged and trial.steps == furthest
    ]
    if not finalists:
        rates = [configuration.learning_rate for configuration in tried]
        raise TrainingError(
            f"no learning rate from {min(rates):g} to {max(rates):g} keeps the loss on {', '.join(tasks)} finite: "
            "give a smaller --learning-rate, --warmup-steps, or float32 instead of bfloat16"
        )
    losses = np.array([[last_loss(progress) for progress in ends[i]] for i in finalists])
    spent = sum(trial.steps for trial in trials)
    return Found(
        tasks=tasks,
        seed=seed,
        trials=trials,
        chosen=finalists[best_first(losses)[0]],
        steps=spent,
        runs=spent / steps / len(tasks),
    )


def _trial(configuration: Configuration, tasks: Sequence[str], ends: Sequence[Progress]) -> Trial:
    return Trial(
        configuration=configuration,
        losses={
            task: [(int(row["step"]), row["development loss"]) for row in progress.history]
            for task, progress in zip(tasks, ends, strict=True)
        },
        steps=sum(progress.step for progress in ends),
        diverged=any(progress.diverged or last_loss(progress) == WORST for progress in ends),
    )


# -- the search ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """Configurations of a recipe that are tried on tasks, all at once.

    Attributes:
        backbone: the frozen model.
        data: the tasks' splits; the tasks have different names.
        recipe: everything else.
        tried: from :func:`configurations`.
        seed: of starts and batches.
        initial: a prompt ``[..., P, H]`` to start from, in place of initialisers.
    """

    backbone: Backbone
    data: Sequence[Data]
    recipe: Recipe
    tried: Sequence[Configuration]
    seed: int
    initial: np.ndarray | None = None

    @functools.cached_property
    def question(self) -> str:
        """Digest of what is asked: all but the values at which the search begins.

        These may follow from a bank, where the first search has left runs of what it found.
        """
        rates, starts = (
            {one.learning_rate for one in self.tried},
            {one.init for one in self.tried},
        )
        searched = len(rates) > 1
        rate = Optimizer().learning_rate if searched else self.recipe.optimizer.learning_rate
        recipe = Configuration(learning_rate=rate, init=STARTS[0]).of(self.recipe)
        address = prompt_sha256(self.initial) if self.initial is not None else None
        files = [file_address(start, recipe.prompt_length) for start in sorted(starts)]
        data = [[one.task.name, one.digest] for one in self.data]
        content = [recipe.record(self.backbone).digest, sorted(starts), searched, files, address]
        return _sha256([*content, data, self.seed])

    @functools.cached_property
    def digest(self) -> str:
        """Of everything that the outcome depends on."""
        return _sha256([self.question, *(dataclasses.asdict(one) for one in self.tried)])

    @functools.cached_property
    def rounds(self) -> Rounds:
        """When it looks."""
        return Rounds.of(len(self.tried), self.recipe.steps)

    def path(self, folder: Path) -> Path:
        """The file of its outcome."""
        return folder / f"search-{self.question[:20]}.json"

    def run(
        self,
        *,
        folder: Path | None = None,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        reporters: Callable[[str], Reporter | None] = lambda _title: None,
    ) -> Found:
        """Find the configuration of least development loss; one that diverges is given up.

        A search that was killed at any moment goes on, and one that has ended is read from its file: both find the
        same, on one machine.

        Args:
            folder: where its outcome and its checkpoint lie; ``None`` saves nothing.
            checkpoint_seconds: longest time between checkpoints.
            reporters: gives every configuration and task its progress sink.

        Raises:
            Interrupted: a signal stopped it; its state is saved.
            TrainingError: all configurations diverged; a damaged file.
        """
        if folder is None:
            return self._train(None, checkpoint_seconds, reporters)
        path, checkpoint = self.path(folder), folder / f"search-{self.digest[:20]}"
        if not path.exists():
            self._train(checkpoint, checkpoint_seconds, reporters).write(path)
        shutil.rmtree(checkpoint, ignore_errors=True)
        return Found.read(path)

    def _train(
        self,
        checkpoint: Path | None,
        checkpoint_seconds: float,
        reporters: Callable[[str], Reporter | None],
    ) -> Found:
        ends: dict[str, Progress] = {}
        jobs = [
            self._job(data, configuration, ends, checkpoint_seconds, reporters)
            for configuration, data in itertools.product(self.tried, self.data)
        ]
        names = [
            [self._name(data, configuration) for data in self.data] for configuration in self.tried
        ]
        samples = {one.task.name: subset(one[Split.DEV].tokens, DEV_EXAMPLES) for one in self.data}
        fit(
            jobs,
            frozen=self.backbone.weights,
            step=step_of(self.backbone, self.recipe),
            evaluate=functools.partial(_development_losses, self.backbone, self.recipe, samples),
            slots=len(jobs),
            folder=checkpoint,
            give_up=GivesUpWorse(names, self.rounds.survivors),
        )
        return found_by(
            self.tried,
            [[ends[name] for name in some] for some in names],
            tasks=[one.task.name for one in self.data],
            seed=self.seed,
            steps=self.recipe.steps,
        )

    def _name(self, data: Data, configuration: Configuration) -> str:
        return f"{self.digest} {data.task.name}: {configuration}"

    def _job(
        self,
        data: Data,
        configuration: Configuration,
        ends: dict[str, Progress],
        checkpoint_seconds: float,
        reporters: Callable[[str], Reporter | None],
    ) -> PromptJob:
        """A configuration on a task; its progress goes into ``ends`` when it has ended, however that came."""
        identity, plan = self._name(data, configuration), self.rounds.plan
        start = self.initial
        if start is None:
            start = start_of(configuration.of(self.recipe), self.backbone, data.task, self.seed)

        def ended(progress: Progress) -> None:
            ends[identity] = progress

        return PromptJob(
            identity=identity,
            plan=dataclasses.replace(plan, checkpoint_seconds=checkpoint_seconds),
            start=lambda: start[None],
            stream=lambda: TaskStream(data.batches(self.recipe.batch_size, self.seed)),
            seed=self.seed,
            learning_rate=configuration.learning_rate,
            may_diverge=True,
            done=lambda result: ended(result.progress),
            given_up=ended,
            reporter=reporters(f"{data.task.name}: {configuration}") or Silent(),
            data=data,
        )


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _development_losses(
    backbone: Backbone,
    recipe: Recipe,
    samples: Mapping[str, Tokenized],
    jobs: Sequence[Any],
    trained: Array,
) -> list[Mapping[str, float]]:
    """Development losses of prompts ``trained[N, ..., P, H]``, one a job, in one pass a task."""
    losses = np.zeros(len(jobs))
    for name, tokens in samples.items():
        rows = [row for row, job in enumerate(jobs) if job.data.task.name == name]
        prompts = [np.asarray(trained[row]) for row in rows]
        losses[rows] = mean_losses(backbone, prompts, tokens, form=recipe.form)
    return [{"development loss": float(loss), "score": -float(loss)} for loss in losses]
