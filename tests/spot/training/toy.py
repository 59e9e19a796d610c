"""A run without a model: parameters that wander with every batch, so that nothing can be lost unnoticed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spot.training.jobs import Evaluate, Job, Plan, Result
from spot.training.loop import fit
from spot.training.parts import Batch, cut
from spot.training.step import Step
from tasks.pipeline import RaggedBatch

START = np.arange(6, dtype=np.float32).reshape(1, 2, 3)


@jax.jit
def _accumulate(
    total: Any, trained: Any, frozen: Any, tokens: Any, part: Batch, keys: jax.Array
) -> Any:
    """A gradient that differs by the batch, and the loss of where the slot stands."""
    counts = jax.ops.segment_sum(part.inputs.mask.sum(axis=-1), part.prompt_ids, len(trained))
    means = jax.ops.segment_sum(
        jnp.where(part.inputs.mask, part.inputs.ids, 0).sum(axis=-1), part.prompt_ids, len(trained)
    )
    noise = jax.vmap(lambda key: jax.random.normal(key, trained.shape[1:]))(keys)
    pushed = (means / jnp.maximum(counts, 1))[:, None, None] + noise
    lost = jnp.abs(trained).mean(axis=(1, 2))
    return total[0] + pushed, total[1] + lost


@jax.jit
def _update(
    trained: Any, state: Any, gradient: Any, active: Any, rates: Any, firsts: Any
) -> tuple[Any, Any]:
    moved = 0.9 * state + gradient
    active = active[:, None, None]
    return jnp.where(active, 0.99 * trained + 0.01 * moved, trained), jnp.where(
        active, moved, state
    )


STEP = Step(init=jnp.zeros_like, accumulate=_accumulate, update=_update, slots=True, noisy=True)
SEED = 5


class Stream:
    """Batches that tell their index; ``act`` is called with it first."""

    def __init__(self, act: Callable[[int], None] = lambda _index: None) -> None:
        self._index, self._act = 0, act

    def next(self) -> RaggedBatch:
        self._act(self._index)
        ids = np.full(3, self._index, np.int32)
        self._index += 1
        return RaggedBatch([ids] * 2, [ids[:1]] * 2)

    def state(self) -> dict[str, int]:
        return {"index": self._index}

    def restore(self, state: Mapping[str, int]) -> None:
        self._index = state["index"]


@dataclasses.dataclass
class Recorder:
    """A progress sink that keeps what it is told."""

    calls: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    on_advance: Callable[[int], None] = lambda _step: None

    def start(self, step: int, steps: int) -> None:
        self.calls.append(("start", step, steps))

    def advance(self, step: int, loss: float, tokens: int) -> None:
        self.calls.append(("advance", step, loss, tokens))
        self.on_advance(step)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        self.calls.append(("evaluated", step, dict(metrics)))

    def finish(self) -> None:
        self.calls.append(("finish",))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


def score(one: Any) -> dict[str, float]:
    """A score that rises and falls as the parameters wander."""
    return {"score": float(np.sin(3 * np.asarray(one).sum()))}


def each(evaluate: Callable[[Any], Mapping[str, float]]) -> Evaluate:
    """Jobs evaluated one after another."""
    return lambda jobs, trained: [evaluate(trained[row : row + 1]) for row in range(len(jobs))]


def scripted(scores: Sequence[float]) -> Callable[[Any], dict[str, float]]:
    """The given scores, one an evaluation."""
    rest = iter(scores)
    return lambda _one: {"score": next(rest), "other": 1.0}


def job(plan: Plan, done: Callable[[Result], None], **changes: Any) -> Job:
    given: dict[str, Any] = {
        "identity": "toy",
        "start": lambda: START,
        "stream": Stream,
        "seed": SEED,
    }
    return Job(plan=plan, done=done, **given | changes)


def run(
    plan: Plan,
    *,
    step: Step = STEP,
    folder: Path | None = None,
    stream: Any = None,
    evaluate: Callable[[Any], Mapping[str, float]] = score,
    **changes: Any,
) -> Result:
    """One job alone."""
    results: list[Result] = []
    given = changes | ({"stream": lambda: stream} if stream else {})
    fit(
        [job(plan, results.append, **given)],
        frozen=jnp.float32(0.99),
        step=step,
        evaluate=each(evaluate),
        folder=folder,
    )
    return results[-1]


def states(steps: int) -> list[np.ndarray]:
    """Parameters after 0, 1, ... ``steps`` steps, from the step alone."""
    trained, state, stream = jnp.asarray(START), jnp.zeros_like(START), Stream()
    found = [np.asarray(trained)]
    for i in range(steps):
        keys = jax.random.fold_in(jax.random.key(SEED), i)[None]
        batches = cut({0: stream.next()}, START.shape[1])
        trained, state, _ = STEP.run(trained, state, {}, batches, keys, np.ones(1, bool))
        found.append(np.asarray(trained))
    return found
