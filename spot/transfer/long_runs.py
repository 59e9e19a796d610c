"""What a run costs a CPU at the very least, so that nobody begins days of work unwarned."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp

from spot.backbone.load import Backbone
from spot.training.recipe import Recipe

LONG = 3600.0
"""Seconds of a run of which a user is told before it begins."""

PASSES = 4
"""Operations of a weight and position: multiply and add forward, and the same back to what came in; the weights
themselves are frozen."""

SIDE = 1024
"""Of the square matrices that are multiplied to see how fast a CPU is."""


def operations(recipe: Recipe, backbone: Backbone) -> float:
    """Floating-point operations of a run whose inputs all have the longest length; attention is not counted."""
    weights = sum(leaf.size for leaf in jax.tree.leaves(backbone.weights))
    weights -= backbone.embedding.size
    positions = recipe.batch_size * (recipe.prompt_length + recipe.max_input)
    return float(PASSES * weights * positions * recipe.steps)


def speed() -> float:
    """Floating-point operations a second of this machine's matrix products, the best of five: others work here too."""
    square = jnp.ones((SIDE, SIDE), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    multiply(square, square).block_until_ready()  # compiles

    def seconds() -> float:
        began = time.perf_counter()
        multiply(square, square).block_until_ready()
        return time.perf_counter() - began

    return 2 * SIDE**3 / min(seconds() for _ in range(5))


def warning(recipe: Recipe, seconds: float) -> str:
    """The line that a user is told of a run that takes so long; empty where it is short."""
    if seconds < LONG:
        return ""
    hours = seconds / 3600
    time_taken = f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
    return (
        f"warning: {recipe.steps} steps of {recipe.batch_size} examples of up to "
        f"{recipe.prompt_length + recipe.max_input} tokens are about {time_taken} a run on this CPU where inputs are "
        "that long; --steps, --batch-size, --prompt-length and --max-input make it shorter"
    )
