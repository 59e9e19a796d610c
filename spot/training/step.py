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

CACHED_POSITIONS = 2048
"""Rows times positions of a micro-batch on a CPU."""

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

    def objective(trained: Any, frozen: Variables, tokens: Array, batch: Batch, key: Array) -> tuple[Array, Array]:
        variables = {**frozen, trainable: trained}
        model, prompts = nnx.merge(graph, variables["weights"]), variables["prompts"]
        noise = Dropout(dropout, key) if dropout else None
        losses = model.token_losses(prompts, batch.prompt_ids, batch.inputs, batch.targets, noise)
        means = jax.ops.segment_sum(losses.sum(axis=-1), batch.prompt_ids, len(prompts)) / tokens
        return means.sum(), means

    def run(trained: Any, state: Any, frozen: Variables, batch: Batch, key: Array) -> tuple[Any, Any, Array]:
        prompts = trained if trainable == "prompts" else frozen["prompts"]
        tokens = jax.ops.segment_sum(batch.targets.mask.sum(axis=-1), batch.prompt_ids, len(prompts))
        slope = functools.partial(jax.grad(objective, has_aux=True), trained, frozen, jnp.maximum(tokens, 1))
        parts = 1
        if trainable == "prompts":
            parts = micro_batches(batch.inputs.ids.shape[0], prompts.shape[1] + batch.inputs.ids.shape[1])
        gradient, losses = in_parts(slope, batch, key, parts)
        updates, state = transformation.update(gradient, state, trained)
        return optax.apply_updates(trained, updates), state, losses

    return Step(jax.jit(transformation.init), jax.jit(run, donate_argnums=(0, 1)))


def micro_batches(rows: int, positions: int) -> int:
    """Into how many equal parts a batch is cut, whose gradients are summed: a divisor of ``rows``.

    A CPU is fastest, and needs least memory, where the activations of a part stay in its caches; an accelerator
    where the batch is whole.
    """
    if jax.default_backend() != "cpu":
        return 1
    wanted = -(-rows * positions // CACHED_POSITIONS)
    return next(parts for parts in range(min(wanted, rows), rows + 1) if rows % parts == 0)


def in_parts(slope: Callable[[Batch, Array], tuple[Any, Array]], batch: Batch, key: Array, parts: int) -> Any:
    """Sum of ``slope(part, key)`` over equal parts of the batch, each with its own key."""
    if parts == 1:
        return slope(batch, key)

    def add(total: Any, part: tuple[Batch, Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, slope(*part)), None

    cut = jax.tree.map(lambda x: jnp.reshape(x, (parts, -1, *x.shape[1:])), batch)
    start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(slope, batch, key))
    return jax.lax.scan(add, start, (cut, jax.random.split(key, parts)))[0]
