"""A run without a model: parameters that wander with every batch, so that nothing can be lost unnoticed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spot.backbone.batch import Inputs, Targets
from spot.training.loop import Plan, Result, fit
from spot.training.step import Batch, Step

START = np.arange(6, dtype=np.float32).reshape(1, 2, 3)


@jax.jit
def _wander(trained: Any, state: Any, frozen: Any, batch: Batch, key: jax.Array) -> tuple[Any, Any, jax.Array]:
    drawn = jax.random.normal(key, trained.shape)
    state = 0.9 * state + batch.inputs.ids.mean() + drawn
    trained = trained * frozen["weights"] + 0.01 * state
    return trained, state, jnp.abs(trained).mean(axis=(1, 2))


STEP = Step(init=jnp.zeros_like, run=_wander)


class Stream:
    """Batches that tell their index; ``act`` is called with it first."""

    def __init__(self, act: Callable[[int], None] = lambda _index: None) -> None:
        self._index, self._act = 0, act

    def next(self) -> Batch:
        self._act(self._index)
        ids = np.full((2, 3), self._index, np.int32)
        self._index += 1
        mask = np.ones((2, 3), bool)
        return Batch(np.zeros(2, np.int32), Inputs(ids, mask), Targets(ids[:, :1], mask[:, :1]))

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


def score(variables: Mapping[str, Any]) -> dict[str, float]:
    """A score that rises and falls as the parameters wander."""
    return {"score": float(np.sin(3 * np.asarray(variables["prompts"]).sum()))}


def scripted(scores: Sequence[float]) -> Callable[[Any], dict[str, float]]:
    """The given scores, one an evaluation."""
    rest = iter(scores)
    return lambda _variables: {"score": next(rest), "other": 1.0}


def run(plan: Plan, **changes: Any) -> Result:
    settings: dict[str, Any] = {
        "variables": {"prompts": jnp.asarray(START), "weights": jnp.float32(0.99)},
        "trainable": "prompts",
        "step": STEP,
        "stream": Stream(),
        "seed": 5,
        "identity": "toy",
        "evaluate": score,
        "select": "score",
    }
    return fit(plan=plan, **settings | changes)


def states(steps: int) -> list[np.ndarray]:
    """Parameters after 0, 1, ... ``steps`` steps, from the step alone."""
    trained, state, stream = jnp.asarray(START), jnp.zeros_like(START), Stream()
    found = [np.asarray(trained)]
    for i in range(steps):
        noise = jax.random.fold_in(jax.random.key(5), i)
        trained, state, _ = _wander(trained, state, {"weights": jnp.float32(0.99)}, stream.next(), noise)
        found.append(np.asarray(trained))
    return found
