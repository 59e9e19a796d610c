"""Runs that a bank holds, or trains when it does not."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bank import Bank, Evaluation, Partition, RunIdentity, RunRecord, SnapshotRecord, StoredRun, TaskRecord
from bank.vectors import average
from spot import paths
from spot.backbone.load import Backbone
from spot.errors import TrainingError
from spot.inference.predict import mean_losses, predict
from spot.prompts.initializers import drawn_by_seed, file_address, make_initializer
from spot.retrieval.measures import Context, Query
from spot.retrieval.rank import Retriever
from spot.training.jobs import CHECKPOINT_SECONDS, GiveUp, Job, Progress, Reporter
from spot.training.prompt_tuning import TrainedPrompt, prompt_job, train_prompts
from spot.training.recipe import Recipe
from spot.training.task_data import MixtureData, TaskData, data_of
from spot.transfer.halving import Halving
from tasks.errors import TaskError
from tasks.mixture import Mixture
from tasks.overlaps import OVERLAP, containment, overlapping, task_sentences, task_sketch
from tasks.pipeline import summary
from tasks.task import Split, Task

Reporters = Callable[[str], Reporter | None]
"""A progress sink for a run of the given title."""


class Request(NamedTuple):
    """A run that is wanted.

    ``role`` is ``source``, ``baseline``, ``transfer``, or ``query``, which ends at the key step; ``start`` is the
    address of a prompt of the bank to start from, or ``None`` for the recipe's initialiser.
    """

    task: Task | Mixture
    seed: int
    role: str
    start: str | None = None


SLOTS = 16
"""The most prompts trained at once unless asked for. A CPU's memory does not depend on it: its batches are cut."""


TRIAL_EXAMPLES = 64
"""Most training examples of a target on which the measure ``trial`` tries the sources."""


class Contestant(NamedTuple):
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
        data_dir: folder of official data sets.
        folder: where checkpoints of unfinished runs lie; a finished run's checkpoint is removed.
        checkpoint_seconds: longest time between checkpoints.
        slots: prompts under way at once; 0 chooses by memory.
        reporters: gives every run its progress sink.
        tell: takes a line on what a user should know before a run: the floor, rows left out, inputs cut.
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
        slots: int = 0,
        reporters: Reporters = lambda _title: None,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.bank, self.backbone, self.recipe = bank, backbone, recipe
        self._data_dir, self._folder, self._reporters = data_dir, folder, reporters
        self._checkpoint_seconds, self._slots = checkpoint_seconds, slots
        self._tell = tell
        self._data: dict[tuple[str, str, tuple[str, ...]], TaskData | MixtureData] = {}
        self._sharing: dict[str, Any] = {}

    def with_recipe(self, recipe: Recipe) -> Trainer:
        """The same with another recipe."""
        return Trainer(
            self.bank,
            self.backbone,
            recipe,
            data_dir=self._data_dir,
            folder=self._folder,
            checkpoint_seconds=self._checkpoint_seconds,
            slots=self._slots,
            reporters=self._reporters,
            tell=self._tell,
        )

    @property
    def partition(self) -> Partition:
        """Where this recipe's keys and queries can be compared."""
        return Partition.of(self.recipe.record(self.backbone))

    def data(self, task: Task | Mixture) -> TaskData | MixtureData:
        """The task's splits, read once; says what a score must be above, and what is left out or cut."""
        known = (task.name, task.content, getattr(task, "whole", ()))
        if known not in self._data:
            data = self._data[known] = data_of(task, self.backbone, self.recipe, data_dir=self._data_dir)
            tokens = data[Split.TRAIN].tokens
            self._tell(f"{task.name}: the most frequent answer scores {data.floor(Split.DEV):.2f} on dev")
            for line in _skipped(task):
                self._tell(line)
            if tokens.cut:
                self._tell(
                    f"{task.name}: {tokens.cut} of {len(tokens)} training inputs are cut at "
                    f"{self.recipe.max_input} tokens (--max-input)"
                )
        return self._data[known]

    def task_data(self, task: Task) -> TaskData:
        """The same of a single task."""
        data = self.data(task)
        assert isinstance(data, TaskData)
        return data

    def retriever(self, target: Task, *, allow_overlap: bool = False) -> Retriever:
        """Ranks the bank's sources for a target, without those that share texts with it unless allowed.

        Raises:
            RetrievalError: no comparable source in the bank.
        """
        exclude = [target.name, *(() if allow_overlap else self.overlapping(target))]
        record = self.recipe.record(self.backbone)
        return Retriever(
            self.bank,
            Partition.of(record),
            exclude=exclude,
            context=self.context(target),
            options=record.options,
        )

    def overlapping(self, target: Task) -> list[str]:
        """Sources of the bank whose training texts may hold the target's development or test texts.

        Built-in tasks are known by name; of all others, and of mixtures, the bank keeps hashes of training sentences.
        """
        named, sketches = set(overlapping(target.name)), self.bank.texts(self.bank.sources(self.partition))
        sketches.pop(target.name, None)
        sentences = self._sentences(target) if sketches else np.zeros(0, np.uint64)
        shared = {
            name for name, texts in sketches.items() if containment(sentences, np.frombuffer(texts, "<u8")) >= OVERLAP
        }
        return sorted((named | shared) - {target.name})

    def _sentences(self, target: Task) -> np.ndarray:
        """Hashes of what selects and reports: of dev alone, which is said, where the test split is not at hand."""
        try:
            return task_sentences(target, self._data_dir)
        except TaskError as error:
            self._tell(f"{target.name}: sources that hold its test texts are not known, for these are not ({error})")
            return task_sentences(target, self._data_dir, splits=[Split.DEV])

    def _texts(self, task: Task | Mixture) -> bytes:
        """Hashes of a task's training sentences, for the bank, or nothing where that has them."""
        if self.bank.texts([task.name]):
            return b""
        return task_sketch(task, self._data_dir).astype("<u8").tobytes()

    def context(self, task: Task) -> Context:
        """What retrieval measures look at beside prompts, for this target: its examples are training ones."""

        limit = min(TRIAL_EXAMPLES, self.recipe.train_limit or TRIAL_EXAMPLES)
        limited = dataclasses.replace(self.recipe, train_limit=limit)
        few = TaskData(task, self.backbone, limited, data_dir=self._data_dir)  # read when first asked for, and once

        def losses(prompts: Sequence[np.ndarray]) -> np.ndarray:
            return mean_losses(self.backbone, prompts, few[Split.TRAIN].tokens)

        return Context(
            embedding=lambda: np.asarray(self.backbone.embedding, np.float32),
            losses=losses,
            start=functools.cache(lambda seed: self._start(task, seed)) if drawn_by_seed(self.recipe.init) else None,
            train_limit=self.recipe.train_limit,
        )

    def query(self, task: Task, run: StoredRun) -> Query:
        """The query that a run of a target gives: its key, and where it started."""
        if run.key is None:
            raise TrainingError(f"run {run.digest[:12]} of {task.name} has no key to rank by; see `spot bank verify`")
        return Query(self.bank.prompt(run.key), self._start(task, run.seed))

    def _start(self, task: Task | Mixture, seed: int) -> np.ndarray:
        """Mean token ``[H]`` of the prompt that the recipe's initialiser gives a run."""
        return average(
            make_initializer(
                self.recipe.init, self.backbone, self.recipe.prompt_length, labels=task.labels, task=task.name
            )(seed)
        )

    def run(self, task: Task | Mixture, *, seed: int, role: str, start: str | None = None) -> StoredRun:
        """One run; see :meth:`run_all`."""
        return self.run_all([Request(task, seed, role, start)])[0]

    def run_all(self, requests: Sequence[Request]) -> list[StoredRun]:
        """Runs from the bank, in the order asked for; what is not there is trained first, in one program.

        Raises:
            Interrupted: a signal stopped training; what has ended is in the bank, the rest in the checkpoint.
            SpotError: what training raises; runs that it does not concern have ended.
        """
        identities = [self._identity(request) for request in requests]
        todo = {
            identity.digest: self._job(identity, request)
            for identity, request in zip(identities, requests, strict=True)
            if not self._held(identity)
        }
        self._train(list(todo.values()), asked=[identity.digest for identity in identities])
        found = [self.bank.run(identity.digest) for identity in identities]
        return [run for run in found if run]

    def race(self, heats: Sequence[Sequence[Request]]) -> list[list[Contestant]]:
        """Successive halving in every heat; who is left at its end is in the bank, as trained alone up to
        rounding.

        The requests of a heat compete with each other, the more promising first; a run that the bank holds already
        takes part with its history. All of a heat train at once, however many slots that takes, and as many heats
        together as there are slots for.

        Raises:
            Interrupted: as :meth:`run_all`.
            SpotError: a recipe with patience, which would end runs behind the race's back; what training raises.
        """
        if self.recipe.patience:
            raise TrainingError("halving and --patience both stop runs early; use one of them")
        results: list[list[Contestant]] = []
        rest = list(heats)
        while rest:
            together = 1
            while together < len(rest) and sum(map(len, rest[: together + 1])) <= self._room():
                together += 1
            results += self._race(rest[:together])
            rest = rest[together:]
        return results

    def _race(self, heats: Sequence[Sequence[Request]]) -> list[list[Contestant]]:
        """Heats that share one program."""
        identities = [[self._identity(request) for request in heat] for heat in heats]
        stopped: dict[str, Progress] = {}
        held: dict[str, list[dict[str, float]]] = {}
        jobs: dict[str, Job] = {}
        for identity, request in zip(itertools.chain(*identities), itertools.chain(*heats), strict=True):
            digest = identity.digest
            if self._held(identity):
                held[digest] = self.bank.history(digest)
            else:
                jobs[digest] = self._job(identity, request, functools.partial(stopped.setdefault, digest))
        names = {digest: job.identity for digest, job in jobs.items()}
        halving = Halving(
            heats=[[names.get(identity.digest, identity.digest) for identity in heat] for heat in identities],
            histories=held,
            steps=self.recipe.steps,
            evaluate_every=self.recipe.plan().evaluate_every,
        )
        asked = ["race", *(identity.digest for heat in identities for identity in heat)]
        self._train(list(jobs.values()), asked=asked, slots=len(jobs), give_up=halving)

        def contestant(digest: str) -> Contestant:
            run = self.bank.run(digest)
            if run:
                return Contestant(run, run.score, run.steps)
            return Contestant(None, stopped[digest].best_score, stopped[digest].step)

        return [[contestant(identity.digest) for identity in heat] for heat in identities]

    def _train(
        self,
        jobs: Sequence[Job],
        *,
        asked: Sequence[str],
        slots: int = 0,
        give_up: GiveUp = lambda _progress: (),
    ) -> None:
        """Train what is missing. ``asked`` is all that was wanted: it names the checkpoint's folder, so that this is
        found again when some of it is done."""
        if not jobs:
            return
        self.bank.try_write()
        paths.prepare_folders(self._folder)
        folder = self._folder / hashlib.sha256("\n".join(asked).encode()).hexdigest()[:20] if self._folder else None
        slots = min(slots or self._room(), len(jobs))
        self._sharing = {"slots": slots, "shared with": [job.identity for job in jobs] if slots > 1 else []}
        train_prompts(self.backbone, self.recipe, jobs, slots=slots, folder=folder, give_up=give_up)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)

    def _room(self) -> int:
        return self._slots or slots_that_fit(self.backbone, self.recipe)

    def _held(self, identity: RunIdentity) -> bool:
        return bool(self.bank.run(identity.digest) or self._twin(identity))

    def _identity(self, request: Request) -> RunIdentity:
        task = request.task
        record = TaskRecord(name=task.name, family=task.family, description=task.describe(), content=task.content)
        self.bank.check_task(record)
        return RunIdentity(
            recipe=self.recipe.record(self.backbone),
            task=record,
            seed=request.seed,
            role=request.role,
            data=self.data(task).digest,
            started_from=request.start or file_address(self.recipe.init, self.recipe.prompt_length),
        )

    def _twin(self, identity: RunIdentity) -> StoredRun | None:
        """A source and a baseline of one recipe, task and seed train alike: the second takes what the first has."""
        role = {"source": "baseline", "baseline": "source"}.get(identity.role)
        held = role and self.bank.run(dataclasses.replace(identity, role=role).digest)
        return self.bank.run(self.bank.record_twin(identity, held.digest)) if held else None

    def _job(
        self,
        identity: RunIdentity,
        request: Request,
        dropped: Callable[[Progress], object] = lambda _progress: None,
    ) -> Job:
        data = self.data(request.task)

        def done(trained: TrainedPrompt) -> None:
            score = trained.metrics["score"]
            record = dataclasses.replace(identity.task, texts=self._texts(request.task))
            self.bank.record_run(
                RunRecord(
                    identity=dataclasses.replace(identity, task=record),
                    steps=trained.steps,
                    metric="score",
                    score=score,
                    value=SnapshotRecord(prompt=trained.value, step=trained.value_step, score=score),
                    key=SnapshotRecord(prompt=trained.key, step=self.recipe.key_step),
                    metrics=trained.metrics,
                    history=trained.history,
                    environment=environment()
                    | {
                        "data": self.data_summary(data),
                        "program": self._sharing,
                        "most frequent answer": data.floor(Split.DEV),
                    },
                    seconds=trained.seconds,
                    start=trained.start,
                )
            )

        return prompt_job(
            self.backbone,
            data,
            self.recipe,
            identity=identity.digest,
            seed=identity.seed,
            done=done,
            initial=self.bank.prompt(request.start) if request.start else None,
            stop_at_key=identity.role == "query",
            held=lambda: self.bank.run(identity.digest) is not None,
            dropped=dropped,
            checkpoint_seconds=self._checkpoint_seconds,
            reporter=self._reporters(f"{identity.role} {identity.task.name} seed {identity.seed}"),
        )

    def data_summary(self, data: TaskData | MixtureData) -> Mapping[str, float | int]:
        """Size, lengths and padding share of the training split."""
        return summary(data[Split.TRAIN].tokens, data.batches(self.recipe.batch_size, seed=0))

    def test(self, task: Task | Mixture, run: StoredRun) -> Evaluation:
        """Metrics and answers of a run's value on the test split, which selection never sees; kept in the bank."""
        data = self.data(task)
        split = data[Split.TEST]
        digest = hashlib.sha256("\n".join([split.tokens.digest, *data.task.metrics]).encode()).hexdigest()
        known = self.bank.evaluation(run.digest, digest)
        if known:
            return known
        answers = predict(
            self.backbone,
            self.bank.prompt(run.value),
            split.examples,
            split.tokens,
            method=self.recipe.evaluate_by,
        )
        found = Evaluation(metrics=data.score(Split.TEST, answers), answers=answers)
        self.bank.record_evaluation(run.digest, digest, metrics=found.metrics, answers=found.answers)
        return found


def slots_that_fit(backbone: Backbone, recipe: Recipe) -> int:
    """Prompts that an accelerator's memory holds at once, by a rough count of activations; at most ``SLOTS``.

    Half of the memory that is free is counted on; a position keeps about ``24 * width * 4`` bytes in each of some 30
    layers, and its row of attention scores.
    """
    facts = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if not facts:
        return SLOTS
    free = facts["bytes_limit"] - facts["bytes_in_use"]
    positions = recipe.prompt_length + recipe.max_input
    each = recipe.batch_size * positions * 30 * 4 * (24 * backbone.width + backbone.width // 64 * positions)
    return int(max(1, min(SLOTS, free // 2 // each)))


def environment() -> dict[str, Any]:
    """Versions and device of this process, for the record."""
    packages = ("spot-prompt-transfer", "jax", "jaxlib", "flax", "optax", "numpy")
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "device": f"{device.platform}: {device.device_kind}",
    }


def _skipped(task: Task | Mixture) -> Iterator[str]:
    """A line on every part read of which the task's file leaves rows out."""
    for member in task.members if isinstance(task, Mixture) else (task,):
        for part, counts in member.source.skipped.items():
            if counts:
                reasons = ", ".join(f"{why}: {count}" for why, count in counts.items())
                yield f"{member.name}: {counts.total()} rows of {part} are left out ({reasons})"
