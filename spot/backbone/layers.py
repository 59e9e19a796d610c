"""What the families of models share: named weights, the norm, dropout, and the mask's number."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.nnx as nnx
import jax
import jax.numpy as jnp
from jax import Array

MASKED = -1e9
"""Added to the scores of keys that may not be seen."""

Weights = Callable[[str, tuple[int, ...]], Array]
"""``weights(name, shape)`` gives the tensor of that Hugging Face name."""


KeysValues = tuple[Array, Array]
"""Keys and values of one layer's attention, two of ``[B, K, S, D]`` float32."""


def write(held: KeysValues, fresh: KeysValues, at: Array) -> KeysValues:
    """Put keys and values of new tokens into those held, from place ``at`` on."""
    keys, values = (
        jax.lax.dynamic_update_slice_in_dim(old, new, at, axis=2) for old, new in zip(held, fresh, strict=True)
    )
    return keys, values


class Dropout(NamedTuple):
    """Inverted dropout with one key per step; absent (``None``) wherever nobody asked for it."""

    rate: float
    key: Array


def drop(x: Array, dropout: Dropout | None, site: int) -> Array:
    """Drop elements of ``x``; ``site`` sets apart the places of one forward pass."""
    if dropout is None or dropout.rate == 0.0:
        return x
    keep = jax.random.bernoulli(jax.random.fold_in(dropout.key, site), 1.0 - dropout.rate, x.shape)
    return jnp.where(keep, x / (1.0 - dropout.rate), 0.0)


def parameter(weights: Weights, name: str, *shape: int) -> nnx.Param[Array]:
    """A frozen weight that remembers its Hugging Face name."""
    return nnx.Param(weights(name, shape), tensor=name)


class RMSNorm(nnx.Module):
    """Root mean square norm, float32, no mean and no bias (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, epsilon: float, weights: Weights, name: str) -> None:
        self.epsilon = epsilon
        self.scale = parameter(weights, f"{name}.weight", width)

    def __call__(self, x: Array) -> Array:
        variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(variance + self.epsilon) * self.scale[...].astype(jnp.float32)
