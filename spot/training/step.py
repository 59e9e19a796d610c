"""One training step: the trainable pytree, the frozen rest, and nothing else.

What trains is chosen by name: ``prompts`` (the stack, weights frozen) or ``weights`` (the whole model, for
pre-training and LM adaptation). Gradients are taken with respect to that part alone; for the frozen part none
is ever computed.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from spot.backbone.batch import Inputs, Targets, Tokens
from spot.backbone.layers import Dropout
from spot.errors import TrainingError
from spot.training.optimizers import Optimizer, per_prompt

TRAINABLE = ("prompts", "weights")

Variables = dict[str, Any]
"""``{"prompts": [N, P, H] float32, "weights": state of the model}``."""


class Batch(NamedTuple):
    """One step's examples; ``prompt_ids[B]`` int32 says which prompt each belongs to."""

    prompt_ids: Tokens
    inputs: Inputs
    targets: Targets


@dataclasses.dataclass(frozen=True)
class Step:
    """A compiled step and the optimiser's start."""

    init: Callable[[Any], Any]
    """``init(trained) -> optimiser state``."""
    run: Callable[..., tuple[Any, Any, Array]]
    """``run(trained, state, frozen, batch, key) -> trained, state, losses[N]``."""


def partition(variables: Variables, trainable: str) -> tuple[Any, Variables]:
    """Take the trainable part out: ``(trained, frozen rest)``."""
    if trainable not in TRAINABLE:
        raise TrainingError(f"trainable part {trainable!r} is not known; choose from {', '.join(TRAINABLE)}")
    return variables[trainable], {name: part for name, part in variables.items() if name != trainable}


@functools.lru_cache(maxsize=32)
def make_step(
    graph: nnx.GraphDef[Any], optimizer: Optimizer, *, steps: int, trainable: str, dropout: float = 0.0
) -> Step:
    """Build the step for a model's graph; equal arguments share one compiled program.

    The loss of prompt n is the mean over the target tokens of its own examples, and the objective is the sum of
    these means, so that each prompt's gradient is what it would be alone.
    """
    transformation = optimizer.build(steps)
    if trainable == "prompts":
        transformation = per_prompt(transformation)

    def objective(trained: Any, frozen: Variables, batch: Batch, key: Array) -> tuple[Array, Array]:
        variables = {**frozen, trainable: trained}
        model, prompts = nnx.merge(graph, variables["weights"]), variables["prompts"]
        noise = Dropout(dropout, key) if dropout else None
        losses = model.token_losses(prompts, batch.prompt_ids, batch.inputs, batch.targets, noise)
        count = len(prompts)
        sums = jax.ops.segment_sum(losses.sum(axis=-1), batch.prompt_ids, count)
        tokens = jax.ops.segment_sum(batch.targets.mask.sum(axis=-1), batch.prompt_ids, count)
        means = sums / jnp.maximum(tokens, 1)
        return means.sum(), means

    def run(trained: Any, state: Any, frozen: Variables, batch: Batch, key: Array) -> tuple[Any, Any, Array]:
        gradient, losses = jax.grad(objective, has_aux=True)(trained, frozen, batch, key)
        updates, state = transformation.update(gradient, state, trained)
        return optax.apply_updates(trained, updates), state, losses

    return Step(jax.jit(transformation.init), jax.jit(run, donate_argnums=(0, 1)))
