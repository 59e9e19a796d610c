"""Optimisers and schedules, as frozen options that build optax transformations."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spot.training.checks import check_settings
from spot.training.settings import OptimizerSettings

Rate = float | Array
"""A learning rate: a number of the settings, or a float32 scalar that a program is given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(OptimizerSettings):
    """Settings of an optimiser, and the transformation that they make.

    Defaults: constant learning rate 0.3, weight decay 1e-5 (not scaled by the learning rate), second-moment
    decay exponent 0.8, no momentum, update clipping at root mean square 1.0, no parameter scaling, unfactored
    statistics. ``schedule`` applies after ``warmup_steps`` of linear warm-up; ``linear`` and ``cosine`` end at
    zero after ``steps``.

    Raises:
        TrainingError: an unknown name, or a number out of its bounds.
    """

    def __post_init__(self) -> None:
        check_settings(self)

    def rate(self, steps: int, peak: Rate | None = None) -> optax.Schedule:
        """Learning rate by step for a run of ``steps``; ``peak`` stands in for ``learning_rate``."""
        peak, warm = self.learning_rate if peak is None else peak, self.warmup_steps
        rest = max(1, steps - warm)
        after = {
            "constant": optax.constant_schedule(cast(float, peak)),
            "linear": optax.linear_schedule(peak, 0.0, rest),
            "cosine": optax.cosine_decay_schedule(cast(float, peak), rest),
            "inverse_sqrt": lambda step: peak * jnp.sqrt(max(warm, 1) / (step + max(warm, 1))),
        }[self.schedule]
        if not warm:
            return promoting(after)
        return promoting(
            optax.join_schedules([optax.linear_schedule(0.0, peak, warm), after], [warm])
        )

    def build(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The transformation for one set of parameters.

        ``update(updates, state, params, peak=...)`` takes the learning rate as data, so that optimisers that differ in
        it alone share a program; without it that of the settings holds. No state depends on it.
        """

        def update(updates: Any, state: Any, params: Any = None, **peak: Rate) -> tuple[Any, Any]:
            return self._at(self.rate(steps, **peak)).update(updates, state, params)

        return optax.GradientTransformationExtraArgs(
            promoting(self._at(self.rate(steps)).init), promoting(update)
        )

    def _at(self, rate: optax.Schedule) -> optax.GradientTransformation:
        """Optax's transformation at a learning rate by step."""
        if self.name == "adamw":
            return optax.adamw(rate, weight_decay=self.weight_decay)
        return optax.adafactor(
            rate,
            factored=self.factored,
            decay_rate=0.8,
            clipping_threshold=1.0,
            multiply_by_parameter_scale=self.scale_by_parameter,
            momentum=None,
            weight_decay_rate=self.weight_decay or None,
        )


Function = TypeVar("Function", bound=Callable[..., Any])


def promoting(function: Function) -> Function:
    """The function under JAX's standard promotion: optax makes floats of its int32 counts of steps that way."""

    @functools.wraps(function)
    def promoted(*args: Any, **more: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return function(*args, **more)

    return cast(Function, promoted)


def per_prompt(
    transformation: optax.GradientTransformationExtraArgs,
) -> optax.GradientTransformationExtraArgs:
    """Map a transformation over the leading N axis, so that no prompt sees another's statistics or clipping.

    What ``update`` is given beside parameters has that axis too: a ``peak`` is ``[N]``.
    """

    def update(updates: Any, state: Any, params: Any = None, **each: Array) -> tuple[Any, Any]:
        def one(updates: Any, state: Any, params: Any, each: dict[str, Array]) -> tuple[Any, Any]:
            return transformation.update(updates, state, params, **each)

        return jax.vmap(one)(updates, state, params, each)

    return optax.GradientTransformationExtraArgs(jax.vmap(transformation.init), update)
