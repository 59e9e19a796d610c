"""The training loop: steps, evaluations, snapshots and checkpoints of any trainable part.

The loop knows no SQL and no task: batches come from a stream whose state is small, evaluations and snapshots go
to callables. A run that is killed at any moment and started again goes back to its last checkpoint and ends with
the same bits as one left alone.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from spot.errors import DivergenceError, TrainingError
from spot.training import checkpoint
from spot.training.step import Batch, Step, Variables

CHECKPOINT_FILE = "checkpoint.msgpack"
CHECKPOINT_SECONDS = 60.0


class Interrupted(Exception):
    """A signal asked the run to stop; its state is saved."""

    def __init__(self, number: int, step: int, path: Path | None) -> None:
        where = f"saved in {path}; run the same command again to go on" if path else "nothing was saved"
        super().__init__(f"stopped by {signal.Signals(number).name} at step {step}: {where}")
        self.number = number


class BatchStream(Protocol):
    """An endless stream of batches that can be put back to any point."""

    def next(self) -> Batch: ...

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
        evaluate_every: steps between evaluations; the last step is always evaluated.
        key_step: step whose parameters become the *key* (0: none).
        patience: evaluations without a better score before the run stops early (0: never). A run never stops
            before its key step.
        report_every: steps between looks at the loss; a loss that is not finite stops the run there.
        checkpoint_seconds: longest time between checkpoints, which fall on ``report_every`` steps.
    """

    steps: int
    evaluate_every: int
    key_step: int = 0
    patience: int = 0
    report_every: int = 10
    checkpoint_seconds: float = CHECKPOINT_SECONDS

    def __post_init__(self) -> None:
        if self.steps < 1 or self.evaluate_every < 1 or self.report_every < 1:
            raise TrainingError("steps, evaluation interval and report interval must be at least 1")
        if not 0 <= self.key_step <= self.steps:
            raise TrainingError(f"key step {self.key_step} lies outside the run's {self.steps} steps")


@dataclasses.dataclass
class Progress:
    """The part of a run's state that is not parameters: all of it is saved."""

    step: int = 0
    best_score: float = -math.inf
    best_step: int = -1
    stale: int = 0
    done: bool = False
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    """One row an evaluation: step, mean training loss since the last one, development metrics."""
    losses: list[float] = dataclasses.field(default_factory=list)
    """Training losses since the last evaluation."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run leaves: host copies of the trained part at three moments, and its history."""

    final: Any
    best: Any
    key: Any | None
    progress: Progress


def fit(
    *,
    variables: Variables,
    trainable: str,
    step: Step,
    stream: BatchStream,
    plan: Plan,
    seed: int,
    identity: str,
    evaluate: Callable[[Variables], Mapping[str, float]],
    select: str,
    folder: Path | None = None,
    reporter: Reporter | None = None,
) -> Result:
    """Train ``variables[trainable]`` and keep its key and its best state.

    Args:
        variables: the prompt stack and the model's weights.
        trainable: which of them trains.
        step: from :func:`spot.training.step.make_step` for the same part.
        stream: training batches.
        plan: steps and intervals.
        seed: of the dropout noise.
        identity: names the run in its checkpoint, so that another run's file is refused.
        evaluate: development metrics of the variables at a step.
        select: the metric whose largest value marks the best state; ties keep the earlier one.
        folder: where the checkpoint lies; ``None`` saves nothing.
        reporter: progress sink.

    Raises:
        DivergenceError: the loss is not finite.
        Interrupted: SIGINT or SIGTERM arrived; the state is saved.
        TrainingError: a damaged checkpoint, or one of another run.
    """
    reporter = reporter or Silent()
    trained = jax.tree.map(lambda leaf: leaf.copy(), variables[trainable])  # steps donate their input
    frozen = {name: part for name, part in variables.items() if name != trainable}
    optimizer_state = step.init(trained)
    progress, best, key = Progress(), _host(trained), _host(trained)
    path = folder / CHECKPOINT_FILE if folder else None

    def arrays() -> dict[str, Any]:
        return {"trained": trained, "optimizer": optimizer_state, "best": best, "key": key}

    def store() -> None:
        _check_parameters(trained, progress.step)
        if path:
            notes = {"stream": stream.state(), "progress": dataclasses.asdict(progress)}
            checkpoint.save(path, arrays(), notes, identity=identity)

    if path and (saved := checkpoint.load(path, arrays(), identity=identity)):
        restored, notes = saved
        trained, optimizer_state = jax.device_put((restored["trained"], restored["optimizer"]))
        best, key, progress = restored["best"], restored["key"], Progress(**notes["progress"])
        stream.restore(notes["stream"])

    noise = jax.random.key(seed)
    with _signals() as caught, _shown(reporter, progress.step, plan.steps):
        saved_at, pending, tokens = time.monotonic(), [], 0
        while not progress.done:
            batch = stream.next()
            tokens += int(batch.inputs.mask.sum()) + int(batch.targets.mask.sum())
            trained, optimizer_state, losses = step.run(
                trained, optimizer_state, frozen, batch, jax.random.fold_in(noise, progress.step)
            )
            progress.step += 1
            pending.append(losses)
            last = progress.step == plan.steps
            at_evaluation = last or progress.step % plan.evaluate_every == 0
            at_key = progress.step == plan.key_step
            if at_evaluation or at_key or caught or progress.step % plan.report_every == 0:
                values = [float(np.mean(value)) for value in pending]
                _check_finite(values, progress.step)
                progress.losses += values
                reporter.advance(progress.step, values[-1], tokens)
                pending, tokens = [], 0
            if at_evaluation or at_key:
                _check_parameters(trained, progress.step)
            if at_key:
                key = _host(trained)
            if at_evaluation:
                metrics = dict(evaluate({**frozen, trainable: trained}))
                _record(progress, metrics, metrics[select])
                if progress.best_step == progress.step:
                    best = _host(trained)
                reporter.evaluated(progress.step, progress.history[-1])
                tired = plan.patience and progress.stale >= plan.patience
                progress.done = last or bool(tired and progress.step >= plan.key_step)
            due = not pending and time.monotonic() - saved_at >= plan.checkpoint_seconds
            if (caught and not pending) or due or progress.done:
                store()
                saved_at = time.monotonic()
            if caught and not pending:
                raise Interrupted(caught[0], progress.step, path)
    return Result(_host(trained), best, key if plan.key_step else None, progress)


@contextmanager
def _shown(reporter: Reporter, step: int, steps: int) -> Iterator[None]:
    """A progress display that ends however the run does."""
    reporter.start(step, steps)
    try:
        yield
    finally:
        reporter.finish()


def _record(progress: Progress, metrics: Mapping[str, float], score: float) -> None:
    loss = float(np.mean(progress.losses)) if progress.losses else math.nan
    progress.history.append({"step": float(progress.step), "loss": loss, **metrics})
    progress.losses = []
    if score > progress.best_score:
        progress.best_score, progress.best_step, progress.stale = score, progress.step, 0
    else:
        progress.stale += 1


def _host(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.array(leaf), tree)


def _check_parameters(trained: Any, step: int) -> None:
    """A loss tells of the parameters before its step; what is kept must be sound after it too."""
    if all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(trained)):
        return
    raise DivergenceError(
        f"parameters are not finite near step {step}: try a smaller --learning-rate, --warmup-steps, "
        "or float32 instead of bfloat16"
    )


def _check_finite(losses: list[float], step: int) -> None:
    if all(math.isfinite(loss) for loss in losses):
        return
    raise DivergenceError(
        f"loss is {next(loss for loss in losses if not math.isfinite(loss))} near step {step}: "
        "try a smaller --learning-rate, --warmup-steps, or float32 instead of bfloat16"
    )


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying from them; a second one of either kills at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, signal.SIG_DFL)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
