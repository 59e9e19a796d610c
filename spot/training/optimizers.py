"""Optimisers and schedules, as frozen options that build optax transformations."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from spot.errors import TrainingError
from tasks.choices import choose

OPTIMIZERS = ("adafactor", "adamw")
SCHEDULES = ("constant", "linear", "cosine", "inverse_sqrt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Adafactor as Lester et al. (2021, appendix A.1) run it for prompts, or AdamW.

    Defaults: constant learning rate 0.3, weight decay 1e-5 (not scaled by the learning rate), second-moment
    decay exponent 0.8, no momentum, update clipping at root mean square 1.0, no parameter scaling, unfactored
    statistics. ``schedule`` applies after ``warmup_steps`` of linear warm-up; ``linear`` and ``cosine`` end at
    zero after ``steps``.

    Raises:
        TrainingError: an unknown name or a negative number.
    """

    name: str = "adafactor"
    learning_rate: float = 0.3
    schedule: str = "constant"
    warmup_steps: int = 0
    weight_decay: float = 1e-5
    scale_by_parameter: bool = False
    factored: bool = False

    def __post_init__(self) -> None:
        for field, value, choices in (
            ("optimizer", self.name, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            choose(value, choices, field, error=TrainingError)
        if not self.learning_rate > 0:
            raise TrainingError(f"learning rate must be positive, found {self.learning_rate}")
        if self.warmup_steps < 0 or self.weight_decay < 0:
            raise TrainingError("warm-up steps and weight decay must not be negative")

    def rate(self, steps: int) -> optax.Schedule:
        """Learning rate by step for a run of ``steps``."""
        peak, warm = self.learning_rate, self.warmup_steps
        rest = max(1, steps - warm)
        after = {
            "constant": optax.constant_schedule(peak),
            "linear": optax.linear_schedule(peak, 0.0, rest),
            "cosine": optax.cosine_decay_schedule(peak, rest),
            "inverse_sqrt": lambda step: peak * jnp.sqrt(max(warm, 1) / (step + max(warm, 1))),
        }[self.schedule]
        if not warm:
            return after
        return optax.join_schedules([optax.linear_schedule(0.0, peak, warm), after], [warm])

    def build(self, steps: int) -> optax.GradientTransformation:
        """The transformation for one set of parameters."""
        rate = self.rate(steps)
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


def per_prompt(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """Map a transformation over the leading N axis, so that no prompt sees another's statistics or clipping."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.vmap(transformation.update)(updates, state, params)

    return optax.GradientTransformation(jax.vmap(transformation.init), update)
