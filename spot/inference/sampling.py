"""Sampling of tokens: cuts of their distribution, and draws that no other row has a part in."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spot.backbone.batch import Tokens
from spot.backbone.layers import MASKED
from spot.inference.tokenwise import Pick


class Draw(NamedTuple):
    """What chance depends on."""

    seed: Array | np.uint32
    """``[]`` uint32."""
    places: Tokens
    """``[B]`` int32, of every row's example among those of its prompt."""


def sampled(draw: Draw, temperature: float, top_k: int, top_p: float) -> Pick:
    """Draws from what the cuts leave; a row's depend on the seed, its place and the step alone."""
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(draw.seed), draw.places)

    def pick(logits: Array, step: Array) -> Array:
        now_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, step)
        left_BV = cut(logits / temperature, top_k, top_p)
        return jax.vmap(jax.random.categorical)(now_B, left_BV).astype(jnp.int32)

    return pick


def cut(logits: Array, top_k: int = 0, top_p: float = 1.0) -> Array:
    """Logits ``[B, V]`` float32, ``MASKED`` for tokens that are not drawn.

    Args:
        logits: ``[B, V]`` float32.
        top_k: so many most likely tokens are kept, and those that equal the last of them; 0 keeps all (Fan et al.
            2018).
        top_p: of these, the fewest most likely ones are kept that have this probability together, at least one (nucleus
            sampling, Holtzman et al. 2020, equation 2).
    """
    if 0 < top_k < logits.shape[-1]:
        least_B1 = jax.lax.top_k(logits, top_k)[0][:, -1:]
        logits = jnp.where(logits >= least_B1, logits, MASKED)
    if top_p < 1:
        order_BV = jnp.argsort(-logits, axis=-1)
        falling_BV = jnp.take_along_axis(jax.nn.softmax(logits, axis=-1), order_BV, axis=-1)
        above_BV = falling_BV.cumsum(axis=-1) - falling_BV
        kept_BV = jnp.put_along_axis(
            jnp.zeros(logits.shape, bool), order_BV, above_BV < top_p, axis=-1, inplace=False
        )
        logits = jnp.where(kept_BV, logits, MASKED)
    return logits
