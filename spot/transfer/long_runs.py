"""What a run costs a CPU at the very least, so that nobody begins days of work unwarned.

It takes no time to know, since nothing of the model is compiled; what it really takes is timed for ``--dry-run`` alone
(:mod:`spot.training.timing`).
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp

from spot.backbone.load import Backbone
from spot.training.recipe import Recipe

PASSES = 4
"""Operations of a weight and position: multiply and add forward, and the same back to what came in; the weights
themselves are frozen."""

SIDE = 1024
"""Of the square matrices that are multiplied to see how fast a CPU is."""


def least_seconds(recipe: Recipe, backbone: Backbone) -> float:
    """Of a run on this machine, whose inputs all have the longest length."""
    return operations(recipe, backbone) / speed()


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
