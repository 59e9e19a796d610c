"""A job of the training loop: what it is given, what it leaves, and how far it has come."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spot.errors import DivergenceError, TrainingError
from spot.training.parts import Batch
from spot.training.settings import REGULAR
from spot.training.spacing import evaluates, evaluations
from tasks.pipeline import RaggedBatch

CHECKPOINT_SECONDS = 60.0


class BatchStream(Protocol):
    """An endless stream of batches that can be put back to any point.

    Rows of slots are ragged, so that those of all slots are cut and padded together; batches of weights are whole.
    """

    def next(self) -> RaggedBatch | Batch: ...

    def state(self) -> dict[str, int]: ...

    def restore(self, state: Mapping[str, int]) -> None: ...


class Reporter(Protocol):
    """Where progress goes."""

    def start(self, step: int, steps: int) -> None: ...

    def advance(self, step: int, loss: float, tokens: int) -> None: ...

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def finish(self) -> None: ...


class Silent:
    """Reports nothing."""

    def start(self, step: int, steps: int) -> None: ...

    def advance(self, step: int, loss: float, tokens: int) -> None: ...

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def finish(self) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """When things happen in a run.

    Attributes:
        steps: optimiser steps.
        evaluate_every: steps between evaluations, or to the first; the last step is always evaluated.
        spacing: ``regular`` or ``doubling``, see :mod:`spot.training.spacing`.
        key_step: step whose parameters become the *key* (0: none).
        patience: evaluations without a better score before the run stops early (0: never). A run never stops
            before its key step.
        report_every: steps between looks at the loss; a loss that is not finite stops the run there.
        checkpoint_seconds: longest time between checkpoints, which fall on evaluations and ``report_every`` steps.
    """

    steps: int
    evaluate_every: int
    spacing: str = REGULAR
    key_step: int = 0
    patience: int = 0
    report_every: int = 10
    checkpoint_seconds: float = CHECKPOINT_SECONDS

    def __post_init__(self) -> None:
        if self.steps < 1 or self.evaluate_every < 1 or self.report_every < 1:
            raise TrainingError("steps, evaluation interval and report interval must be at least 1")
        if not 0 <= self.key_step <= self.steps:
            raise TrainingError(
                f"key step {self.key_step} lies outside the run's {self.steps} steps"
            )

    def evaluates(self, step: int) -> bool:
        """Whether a run is evaluated at a step."""
        return step == self.steps or evaluates(step, self.evaluate_every, self.spacing)

    @property
    def evaluations(self) -> list[int]:
        """All steps at which a run is evaluated that goes to its end."""
        return evaluations(self.steps, self.evaluate_every, self.spacing)


@dataclasses.dataclass
class Progress:
    """The part of a run's state that is not parameters: all of it is saved."""

    step: int = 0
    best_score: float = -math.inf
    best_step: int = -1
    best_loss: float | None = None
    """Development loss of the best state, once a tie has asked for it."""
    stale: int = 0
    done: bool = False
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    """One row an evaluation: step, mean training loss since the last one, development metrics."""
    losses: list[float] = dataclasses.field(default_factory=list)
    """Training losses since the last evaluation."""
    best_facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What the job said of its best evaluation beside metrics; plain data."""
    diverged: bool = False
    """Whether it ended since its loss or its parameters were not finite."""

    def record(
        self,
        metrics: Mapping[str, float],
        score: float,
        *,
        wins_tie: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take in an evaluation; of equal scores the first stays the best unless the later ``wins_tie``."""
        loss = float(np.mean(self.losses)) if self.losses else math.nan
        self.history.append({"step": float(self.step), "loss": loss, **metrics})
        self.losses = []
        if score > self.best_score:
            self.best_score, self.best_step, self.best_loss, self.stale = score, self.step, None, 0
            return
        self.stale += 1
        if score == self.best_score and wins_tie():
            self.best_step = self.step


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run leaves: host copies of the trained parameters at three moments, and its history."""

    final: Any
    best: Any
    key: Any | None
    progress: Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One run among those that train together.

    Attributes:
        identity: names the run in a checkpoint; no two jobs have the same.
        plan: when things happen; ``checkpoint_seconds`` and ``report_every`` of the first job hold for all.
        start: gives the parameters to begin with when a slot is free: ``[1, ..., P, H]``, or the weights.
        stream: gives its training batches then.
        loss: development loss of parameters, as ``start`` gives them, and of the facts of their evaluation, which may
            know it; it breaks ties of the score, and without it the earlier one wins.
        seed: of the dropout noise, 0 to 2**32 - 1.
        facts: what there is to say of its last evaluation beside metrics, as plain data; kept of the best.
        learning_rate: of its slot; that of the step where it says none.
        title: what messages call it.
        shares: names those that it shares a part of its parameters with; empty where it is alone.
        may_diverge: a loss that is not finite gives it up, and is no error.
        known: whether its result is there already, asked when its turn comes.
        done: takes the result when the run has ended; may be called again with the same after a restart.
        given_up: takes the progress of a run that was given up before its end; may be called again likewise.
        reporter: progress sink.
    """

    identity: str
    plan: Plan
    start: Callable[[], Any]
    stream: Callable[[], BatchStream]
    loss: Callable[[Any, Mapping[str, Any]], float] | None = None
    seed: int = 0
    facts: Callable[[], Mapping[str, Any]] = dict
    learning_rate: float | None = None
    title: str = ""
    shares: str = ""
    may_diverge: bool = False
    known: Callable[[], bool] = lambda: False
    done: Callable[[Result], None] = lambda _result: None
    given_up: Callable[[Progress], object] = lambda _progress: None
    reporter: Reporter = dataclasses.field(default_factory=lambda: Silent())


Evaluate = Callable[[Sequence[Job], Any], Sequence[Mapping[str, float]]]
"""Development metrics of jobs, ``score`` among them, given all their parameters: a stack in their order, or the weights
of the one there is."""

GiveUp = Callable[[Mapping[str, Progress]], Collection[str]]
"""Told the progress of all jobs under way by their identities after evaluations; says which to give up."""


class Slot:
    """A job under way: everything about it that is not on the device."""

    def __init__(self, number: int, job: Job, start: Any) -> None:
        self.number, self.job, self.stream = number, job, job.stream()
        self.progress, self.best, self.key = Progress(), on_host(start), on_host(start)
        self.pending: list[Array] = []
        self.tokens = 0

    def notes(self) -> dict[str, Any]:
        """What a checkpoint says of this slot, beside its arrays."""
        return {
            "job": self.job.identity,
            "stream": self.stream.state(),
            "progress": dataclasses.asdict(self.progress),
        }

    def next(self) -> Any:
        batch = self.stream.next()
        self.tokens += count_tokens(batch)
        return batch

    @property
    def last(self) -> bool:
        return self.progress.step == self.job.plan.steps

    @property
    def at_key(self) -> bool:
        return self.progress.step == self.job.plan.key_step

    @property
    def at_evaluation(self) -> bool:
        return self.job.plan.evaluates(self.progress.step)

    def collect_losses(self) -> None:
        """Take in the losses since the last call.

        Raises:
            DivergenceError: one of them is not finite.
        """
        values = [float(losses[self.number]) for losses in map(np.asarray, self.pending)]
        values = values if self.tokens else []  # it trained on nothing of its own
        check_finite(values, self.progress.step)
        self.progress.losses += values
        if values:
            self.job.reporter.advance(self.progress.step, values[-1], self.tokens)
        self.pending, self.tokens = [], 0


def count_tokens(batch: RaggedBatch | Batch) -> int:
    """Real tokens of inputs and targets."""
    if isinstance(batch, RaggedBatch):
        return sum(map(len, batch.inputs)) + sum(map(len, batch.targets))
    return int(batch.inputs.mask.sum()) + int(batch.targets.mask.sum())


def on_device(tree: Any) -> Any:
    """A copy on the device, which a program may take over (donated)."""
    return jax.tree.map(lambda leaf: jnp.array(leaf), tree)


def on_host(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.array(leaf), tree)


def check_parameters(trained: Any, step: int) -> None:
    """A loss tells of the parameters before its step; what is kept must be sound after it too."""
    if all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(trained)):
        return
    raise DivergenceError(
        f"parameters are not finite near step {step}: try a smaller --learning-rate, --warmup-steps, "
        "or float32 instead of bfloat16"
    )


def check_finite(losses: list[float], step: int) -> None:
    if all(math.isfinite(loss) for loss in losses):
        return
    raise DivergenceError(
        f"loss is {next(loss for loss in losses if not math.isfinite(loss))} near step {step}: "
        "try a smaller --learning-rate, --warmup-steps, or float32 instead of bfloat16"
    )
