"""What the architectures share: named weights, the norm, dropout, and the mask's number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def write(past: KeysValues, new: KeysValues, at: Array) -> KeysValues:
    """Put new keys and values ``[B, K, L, D]`` into those ``[B, K, S, D]`` of the past, from place ``at`` of S on."""
    keys, values = (
        jax.lax.dynamic_update_slice_in_dim(old, added, at, axis=2)
        for old, added in zip(past, new, strict=True)
    )
    return keys, values


def layers_of(layers: Sequence[KeysValues]) -> KeysValues:
    """What each of A layers has of one row, ``[1, K, S, D]``, as two of ``[A, K, S, D]``."""
    keys, values = (jnp.concatenate(each) for each in zip(*layers, strict=True))
    return keys, values


def behind(first: KeysValues, second: KeysValues) -> KeysValues:
    """Keys and values ``[B, K, S, D]`` behind others."""
    keys, values = (
        jnp.concatenate([one, other], axis=2) for one, other in zip(first, second, strict=True)
    )
    return keys, values


class Dropout(NamedTuple):
    """Inverted dropout; absent (``None``) wherever nobody asked for it.

    A row's noise follows from its own key, so that it does not depend on what shares a batch or how it is padded.
    """

    rate: float
    keys: Array
    """``[B]``, one a row."""


def drop(x: Array, dropout: Dropout | None, site: int) -> Array:
    """Drop features of ``x[B, ..., L, H]``, the same at all L positions; ``site`` sets apart the places of one pass.

    T5X, which the released prompt tuning is built on, broadcasts its noise along the length likewise.
    """
    if dropout is None or dropout.rate == 0.0:
        return x
    return _dropped(x, dropout, site, (1, x.shape[-1]))


def drop_keys(values: Array, dropout: Dropout | None, site: int) -> Array:
    """Drop attention's probabilities by key position, alike for all queries: ``values[B, K, S, D]`` lose theirs."""
    if dropout is None or dropout.rate == 0.0:
        return values
    heads, length = values.shape[1:3]
    keep = _kept(dropout, site, len(values), (length, heads)).transpose(0, 2, 1)[..., None]
    return jnp.where(keep, values / (1.0 - dropout.rate), 0.0)


def _dropped(x: Array, dropout: Dropout, site: int, shape: tuple[int, ...]) -> Array:
    keep = _kept(dropout, site, len(x), shape)
    return jnp.where(
        keep.reshape(len(x), *[1] * (x.ndim - 3), *shape), x / (1.0 - dropout.rate), 0.0
    )


def _kept(dropout: Dropout, site: int, rows: int, shape: tuple[int, ...]) -> Array:
    """``[rows, *shape]`` bool; the targets of one input, where rows are more than keys, differ."""

    def draw(key: Array, target: Array) -> Array:
        return jax.random.bernoulli(
            jax.random.fold_in(jax.random.fold_in(key, site), target), 1 - dropout.rate, shape
        )

    each = rows // len(dropout.keys)
    return jax.vmap(draw)(
        jnp.repeat(dropout.keys, each), jnp.tile(jnp.arange(each), len(dropout.keys))
    )


def ranked(x: Array, rank: int) -> Array:
    """``x[...]`` with axes of size 1 in front, up to ``rank`` of them."""
    return jax.lax.expand_dims(x, range(rank - x.ndim))


def siblings(parents: Array) -> Array:
    """Candidates ``parents[B, C]`` int32 of their own rows as rows ``[B * C]`` of what has all candidates in front."""
    rows, candidates = parents.shape
    return (candidates * jnp.arange(rows, dtype=parents.dtype)[:, None] + parents).reshape(-1)


def parameter(weights: Weights, name: str, *shape: int) -> nnx.Param[Array]:
    """A frozen weight ``[...]`` of the given shape that remembers its Hugging Face name."""
    return nnx.Param(weights(name, shape), tensor=name)


class RMSNorm(nnx.Module):
    """Root mean square norm, float32, no mean and no bias (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, epsilon: float, weights: Weights, name: str) -> None:
        self.epsilon = epsilon
        self.scale = parameter(weights, f"{name}.weight", width)

    def __call__(self, x: Array) -> Array:
        variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return (
            x
            * jax.lax.rsqrt(variance + self.epsilon)
            * ranked(self.scale[...].astype(jnp.float32), x.ndim)
        )
