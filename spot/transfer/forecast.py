"""What a command would train, before it does: runs that are held and missing, their steps, time, disk and memory.

Foreseeing only reads: banks are asked and not written to, and what is timed trains prompts that are forgotten.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence

from bank import Bank, StoredRun
from bank.vectors import prompt_sha256
from spot.inference.predict import ranks
from spot.prompts.forms import FORMS
from spot.retrieval.rank import Retriever
from spot.training.recipe import Recipe
from spot.training.spacing import evaluations
from spot.training.task_data import MixtureData, TaskData
from spot.training.timing import (
    Timing,
    answered_positions,
    mean_positions,
    shaped,
    time_training,
)
from spot.transfer.halving import race_steps
from spot.transfer.methods import (
    METHODS,
    FindTask,
    Selection,
    Starts,
    attending_start,
    average_of,
    from_attention,
    from_average,
    from_each,
    from_mixture,
    from_weights,
    mixture_spec,
)
from spot.transfer.planner import Missing, PlannedRun, RunSpec, missing
from spot.transfer.runs import Trainer
from spot.transfer.transfer import (
    TransferOptions,
    baseline_specs,
    queries_apart,
    retriever_of,
    select,
)
from tasks import Mixture, Split, Task, get_learnable

ROW_BYTES = 4096
"""Rough size of what a bank keeps of a run beside its prompts: history, metrics, environment."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """Runs of one role, task and recipe that a command wants.

    Attributes:
        role: of the runs.
        task: what they train on.
        recipe: how.
        runs: those that are known by their digests.
        missing: digests of those of them that must be trained.
        later: how many more there are, at most, whose starts follow from what runs that are missing find.
        after: what these wait for, in words.
        steps: of a run, at most.
    """

    role: str
    task: Task | Mixture
    recipe: Recipe
    runs: Sequence[PlannedRun] = ()
    missing: Sequence[str] = ()
    later: int = 0
    after: str = ""
    steps: int

    @property
    def held(self) -> int:
        """Runs that the bank holds, or that train exactly like one that it holds or will."""
        return len(self.runs) - len(self.missing)

    @property
    def train(self) -> int:
        """Runs that are trained, at most."""
        return len(self.missing) + self.later

    @property
    def total_steps(self) -> int:
        """Of all of them."""
        return self.train * self.steps


@dataclasses.dataclass(frozen=True)
class _Known:
    """A run that is wanted, by its digest."""

    run: PlannedRun
    task: Task | Mixture
    recipe: Recipe
    steps: int


class Foresight:
    """Collects the runs that a command wants, each once.

    Args of the constructor:
        bank: which of them it holds is asked; it is not written to.
    """

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._known: dict[str, _Known] = {}
        self._later: list[Wanted] = []

    def add(
        self, trainer: Trainer, specs: Sequence[RunSpec], *, steps: int = 0
    ) -> list[PlannedRun]:
        """Runs that a trainer would be asked for; ``steps`` where they take others than the recipe says.

        Raises:
            BankError: a task whose name stands for another one in the bank.
            TaskError: data that cannot be read.
        """
        runs = trainer.plan(specs)
        for run in runs:
            task = trainer.datasets.task(run.spec.task)
            plan = trainer.recipe.plan(stop_at_key=run.spec.role == "query")
            takes = steps or plan.steps
            if trainer.recipe.shared and isinstance(task, Mixture):
                takes = 0  # it is what its members share
            known = _Known(run, task, trainer.recipe, takes)
            self._known.setdefault(run.digest, known)
        return runs

    def add_later(
        self, trainer: Trainer, task: Task | Mixture, count: int, *, after: str, steps: int = 0
    ) -> None:
        """So many runs of role ``transfer`` that are not known before others have ended."""
        if count:
            later = Wanted(
                role="transfer",
                task=task,
                recipe=trainer.recipe,
                later=count,
                after=after,
                steps=steps or trainer.recipe.steps,
            )
            self._later.append(later)

    def held(self, runs: Sequence[PlannedRun]) -> list[StoredRun | None]:
        """What the bank holds of runs, or of their twins, which trained alike."""
        found = missing(self._bank, runs)
        return [
            found.stored.get(run.digest) or found.stored.get(found.adopt.get(run.digest, ""))
            for run in runs
        ]

    @property
    def lacking(self) -> Missing:
        """What the bank lacks of all that is known."""
        return missing(self._bank, [known.run for known in self._known.values()])

    def wanted(self) -> list[Wanted]:
        """Everything, a row a role, task and recipe, in the order of asking; behind it what is not known yet."""
        train = {run.digest for run in self.lacking.train}
        rows: dict[tuple[object, ...], list[_Known]] = {}
        for known in self._known.values():
            row = known.run.spec.role, known.run.spec.task, known.recipe, known.steps
            rows.setdefault(row, []).append(known)
        of_known = [
            Wanted(
                role=first.run.spec.role,
                task=first.task,
                recipe=first.recipe,
                runs=[known.run for known in (first, *rest)],
                missing=[k.run.digest for k in (first, *rest) if k.run.digest in train],
                steps=first.steps,
            )
            for first, *rest in rows.values()
        ]
        return of_known + self._later


# -- what a transfer wants -----------------------------------------------------------------------------------


def foresee_transfers(
    foresight: Foresight,
    trainer: Trainer,
    target: Task,
    *,
    seeds: Sequence[int],
    options: TransferOptions,
    find_task: FindTask = get_learnable,
    coming: Collection[str] | None = None,
    counted: bool = True,
) -> None:
    """The runs of :func:`spot.transfer.transfer.run_transfers`, whose arguments these are.

    What the ranking decides is known where the queries are held; else it is counted.

    Args:
        foresight: takes them.
        trainer: likewise.
        target: likewise.
        seeds: likewise.
        options: likewise.
        find_task: likewise.
        coming: names of the sources that there will be, where some of them are still missing: then nothing can be
            ranked yet.
        counted: whether runs that are not known yet are counted; not where they are among others that are.

    Raises:
        RetrievalError: no comparable source in the bank, or not the one asked for.
    """
    method = METHODS[options.method]
    asking = trainer.querying
    ranking = method.retrieves and coming is None
    retriever = retriever_of(asking, target, options) if ranking else None
    queries: list[PlannedRun] = []
    if options.baseline:
        restarts = foresight.add(trainer, baseline_specs(trainer, target, seeds, options))
        queries = restarts[:: options.restarts]
    if queries_apart(trainer, options):
        queries = foresight.add(asking, [asking.spec(target, seed, "query") for seed in seeds])
    if not method.retrieves:
        return
    waiting = 0
    for seed, query in zip(seeds, foresight.held(queries), strict=True):
        if retriever is None or query is None:
            waiting += 1
            continue
        selection = select(asking, target, retriever, options, Selection(seed, query))
        _add_target_runs(foresight, trainer, target, options, selection, find_task)
    if not counted:
        return
    sources = list(coming or ()) if retriever is None else _to_rank(options, retriever)
    _add_counted(foresight, trainer, target, options, waiting, len(sources))


def _to_rank(options: TransferOptions, retriever: Retriever) -> Sequence[str]:
    """The task of everything that is ranked: of sources, or of every prompt."""
    keys = retriever.key_set
    return keys.keys.tasks if options.aggregate == "none" else keys.tasks


def _add_target_runs(
    foresight: Foresight,
    trainer: Trainer,
    target: Task,
    options: TransferOptions,
    selection: Selection,
    find_task: FindTask,
) -> None:
    """Runs of a target from the sources that a ranking gave it."""
    method = METHODS[options.method]
    starts = STARTS[method.starts](foresight, trainer, target, selection, find_task)
    known = [start for start in dict.fromkeys(starts) if start]
    trainer = method.training(trainer)
    specs = [trainer.spec(target, selection.seed, "transfer", start) for start in known]
    steps = 0
    if options.budget == "halving":
        specs.append(trainer.spec(target, selection.seed, "baseline"))
        steps = _race_share(foresight, trainer, specs)
    foresight.add(trainer, specs, steps=steps)
    foresight.add_later(trainer, target, starts.count(None), after="the prompt that it starts from")


def _race_share(foresight: Foresight, trainer: Trainer, specs: Sequence[RunSpec]) -> int:
    """Steps of a race for each of its runs that is missing, at most."""
    held = foresight.held(trainer.plan(specs))
    return race_share(trainer.recipe, len(specs), held.count(None))


def race_share(recipe: Recipe, candidates: int, lacking: int) -> int:
    """Steps of a race divided by the candidates that must be trained for it, rounded up."""
    if not lacking:
        return 0
    steps = race_steps(
        candidates,
        lacking,
        steps=recipe.steps,
        evaluate_every=recipe.plan().evaluate_every,
        spacing=recipe.evaluate_spacing,
    )
    return math.ceil(steps / lacking)


Foresee = Callable[[Foresight, Trainer, Task, Selection, FindTask], list[str | None]]
"""Addresses of the prompts that a target will start from for one seed, ``None`` for one that is not there yet."""


def _from_each(
    _foresight: Foresight, trainer: Trainer, _target: Task, selection: Selection, _find: FindTask
) -> list[str | None]:
    if trainer.recipe.prompt_length == (trainer.sources or trainer.recipe).prompt_length:
        return [source.value for source in selection.sources]
    values = (trainer.bank.prompt(source.value) for source in selection.sources)
    return [prompt_sha256(trainer.start_from(value)) for value in values]


def _from_average(
    _foresight: Foresight, trainer: Trainer, _target: Task, selection: Selection, _find: FindTask
) -> list[str | None]:
    return [prompt_sha256(trainer.start_from(average_of(trainer.bank, selection.sources)))]


def _from_mixture(
    foresight: Foresight, trainer: Trainer, target: Task, selection: Selection, find: FindTask
) -> list[str | None]:
    runs = foresight.add(trainer, [mixture_spec(trainer, target, selection, find)])
    return [run.value if run else None for run in foresight.held(runs)]


def _from_attention(
    _foresight: Foresight, trainer: Trainer, target: Task, selection: Selection, _find: FindTask
) -> list[str | None]:
    return [prompt_sha256(attending_start(trainer, target, selection))]


def _unknown(
    _foresight: Foresight, _trainer: Trainer, _target: Task, _selection: Selection, _find: FindTask
) -> list[str | None]:
    return [None]


STARTS: dict[Starts, Foresee] = {
    from_weights: _unknown,
    from_attention: _from_attention,
    from_each: _from_each,
    from_average: _from_average,
    from_mixture: _from_mixture,
}
"""Where a target will start, by where :data:`spot.transfer.methods.METHODS` start it."""


def _add_counted(
    foresight: Foresight,
    trainer: Trainer,
    target: Task,
    options: TransferOptions,
    seeds: int,
    sources: int,
) -> None:
    """Runs of a target of so many seeds that cannot be ranked for yet, among so many sources."""
    method, after = METHODS[options.method], "the query"
    taken = _taken(options, sources)
    each = taken if method.starts is from_each else 1
    mixed = seeds if method.starts is from_mixture else 0
    steps = 0
    if options.budget == "halving":
        steps = race_share(trainer.recipe, taken + 1, taken + (not options.baseline))
    foresight.add_later(trainer, target, mixed, after=f"{after}, on mixed tasks")
    foresight.add_later(trainer, target, each * seeds, after=after, steps=steps)


def _taken(options: TransferOptions, sources: int) -> int:
    """Sources that a method takes of so many."""
    method = METHODS[options.method]
    if method.names_source:
        return 1
    return sources if "top_k" in method.unused else min(options.top_k, sources)


# -- what it costs -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What runs of a row take.

    Attributes:
        seconds: of all steps and development evaluations of the row.
        low: the same at the quickest steps that were timed.
        high: at the slowest.
    """

    seconds: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """Runs that a command wants, and what they cost.

    Attributes:
        wanted: rows of runs.
        costs: of every row.
        timing: what was timed; ``None`` where nothing is missing.
        slots: prompts under way at once.
        bank_bytes: by which the bank grows, at most.
        checkpoint_bytes: of the checkpoint while runs are under way.
        weight_bytes: of the backbone.
    """

    wanted: Sequence[Wanted]
    costs: Sequence[Cost]
    timing: Timing | None
    slots: int
    bank_bytes: int
    checkpoint_bytes: int
    weight_bytes: int

    @property
    def train(self) -> int:
        """Runs that are trained, at most."""
        return sum(row.train for row in self.wanted)

    @property
    def steps(self) -> int:
        """Optimiser steps of all of them, at most."""
        return sum(row.total_steps for row in self.wanted)

    @property
    def cost(self) -> Cost:
        """Of all rows, and of compiling."""
        compiling = self.timing.compile_seconds if self.timing else 0.0
        return Cost(
            seconds=sum(cost.seconds for cost in self.costs) + compiling,
            low=sum(cost.low for cost in self.costs),
            high=sum(cost.high for cost in self.costs) + compiling,
        )


def forecast(foresight: Foresight, trainer: Trainer) -> Forecast:
    """What all that is wanted takes, for which a few steps are timed where something is missing.

    Args:
        foresight: what is wanted.
        trainer: of the backbone, slots and data; recipes are those of the rows.

    Raises:
        TaskError: data that cannot be read.
    """
    wanted = foresight.wanted()
    rows = [row for row in wanted if row.train]
    train = sum(row.train for row in rows)
    slots = min(trainer.slots, train)
    timing = None
    if rows:
        data = {(row.task.name, row.recipe): _data(trainer, row) for row in rows}
        timing = time_training(trainer.backbone, rows[0].recipe, list(data.values()), slots=slots)
    shape = FORMS[trainer.recipe.form].shape(trainer.backbone.config, trainer.recipe.prompt_length)
    return Forecast(
        wanted=wanted,
        costs=[_cost(trainer, row, timing) for row in wanted],
        timing=timing,
        slots=slots,
        bank_bytes=train * (2 * 4 * math.prod(shape) + ROW_BYTES),
        checkpoint_bytes=slots * timing.state_bytes if timing else 0,
        weight_bytes=trainer.backbone.weight_bytes,
    )


def _data(trainer: Trainer, row: Wanted) -> TaskData | MixtureData:
    return trainer.with_recipe(row.recipe).data(row.task)


def _cost(trainer: Trainer, row: Wanted, timing: Timing | None) -> Cost:
    """Steps at the mean length of the task's batches, and evaluations of its development examples."""
    if timing is None or not row.train:
        return Cost(seconds=0.0, low=0.0, high=0.0)
    data, recipe, backbone = _data(trainer, row), row.recipe, trainer.backbone
    dev = data[Split.DEV]
    ranked = ranks(recipe.evaluate_by, dev.examples)
    times = len(evaluations(row.steps, recipe.evaluate_every, recipe.evaluate_spacing))
    asked = answered_positions(backbone, recipe, dev)
    if curve := data.curve(recipe.curve_limit):
        asked += answered_positions(backbone, recipe, curve[Split.TEST])
    answering = row.train * times * asked * timing.answering[ranked]
    positions = mean_positions(shaped(backbone, recipe, data))
    least, most = timing.rates
    steps = row.total_steps
    return Cost(
        seconds=steps * timing.step_seconds(positions) + answering,
        low=steps * positions * least + answering,
        high=steps * positions * most + answering,
    )
