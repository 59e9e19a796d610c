"""Prefixes as a bank keeps them, and as models read them (Li and Liang 2021).

A prefix has a key and a value of ``K D`` numbers a token in every layer of every kind of attention. A bank keeps it as
it keeps all prompts, ``[2, R, P, H]``: of keys and of values, what a token has in all layers behind each other, in R
rows of the model's width H, with zeros behind the last.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spot.backbone.config import Config
from spot.backbone.layers import KeysValues
from spot.backbone.soft import Soft
from spot.errors import PromptError

if TYPE_CHECKING:
    from spot.backbone.load import Backbone


def layers(config: Config, kinds: Collection[str]) -> dict[str, int]:
    """Layers of the kinds of attention that have a prefix; of all without any.

    Raises:
        PromptError: the model has no such attention.
    """
    unknown = [kind for kind in kinds if kind not in config.attentions]
    if unknown:
        raise PromptError(
            f"a model without an encoder has no {unknown[0]} attention to put a prefix before; use --form prefix"
        )
    return {kind: count for kind, count in config.attentions.items() if not kinds or kind in kinds}


def axes(config: Config, kinds: Collection[str]) -> tuple[int, int]:
    """Keys and values, and R rows of each."""
    heads, depth = config.heads
    numbers = sum(layers(config, kinds).values()) * heads * depth
    return 2, math.ceil(numbers / config.width)


def soft(parameters: Array | np.ndarray, config: Config, kinds: Collection[str]) -> Soft:
    """A stack ``[N, 2, R, P, H]`` as models read it."""
    counts, (heads, depth) = layers(config, kinds), config.heads
    stacked, _, _, length, width = parameters.shape
    total = sum(counts.values())
    flat = jnp.moveaxis(jnp.asarray(parameters), 3, 2).reshape(stacked, 2, length, -1)
    each = flat[..., : total * heads * depth].reshape(stacked, 2, length, total, heads, depth)
    both = each.transpose(1, 0, 3, 4, 2, 5)
    begins = np.cumsum([0, *counts.values()])
    prefixes: Mapping[str, KeysValues] = {
        kind: (both[0][:, begin : begin + count], both[1][:, begin : begin + count])
        for (kind, count), begin in zip(counts.items(), begins, strict=False)
    }
    return Soft(jnp.zeros((stacked, 0, width), jnp.float32), prefixes=prefixes)


def rows(prefixes: Mapping[str, KeysValues], config: Config, kinds: Collection[str]) -> np.ndarray:
    """``[2, R, P, H]`` float32 of keys and values ``[A, K, P, D]`` by kind: what :func:`soft` undoes."""
    chosen = [prefixes[kind] for kind in layers(config, kinds)]
    both = np.stack([np.concatenate([np.asarray(each[i]) for each in chosen]) for i in (0, 1)])
    length = both.shape[3]
    flat = both.transpose(0, 3, 1, 2, 4).reshape(2, length, -1)
    count = axes(config, kinds)[1]
    spare = count * config.width - flat.shape[-1]
    padded = np.pad(flat, ((0, 0), (0, 0), (0, spare))).astype(np.float32)
    return np.moveaxis(padded.reshape(2, length, count, config.width), 1, 2)


def begun(tokens: np.ndarray, backbone: Backbone, kinds: Collection[str]) -> np.ndarray:
    """``[2, R, P, H]`` of the keys and values that tokens ``[P, H]`` leave in the model: real activations, from which
    prefixes learn better than from random numbers (Li and Liang 2021, section 7.4)."""
    left = _program(backbone.graph)(backbone.weights, jnp.asarray(tokens, jnp.float32))
    return rows(left, backbone.config, kinds)


@functools.lru_cache(maxsize=16)
def _program(graph: nnx.GraphDef[Any]) -> Callable[[Any, Array], dict[str, KeysValues]]:
    def left(weights: Any, tokens: Array) -> dict[str, KeysValues]:
        return nnx.merge(graph, weights).left(tokens)

    return jax.jit(left)
