"""Prefixes as models read them (Li and Liang 2021), from the rows that a bank keeps of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spot.backbone.config import Config
from spot.backbone.layers import KeysValues
from spot.backbone.model import AnyModel
from spot.backbone.soft import Soft
from spot.prompts.prefix_rows import folded, layers

if TYPE_CHECKING:
    from spot.backbone.load import Backbone


def soft(parameters: Array | np.ndarray, config: Config, kinds: Collection[str]) -> Soft:
    """A stack ``[N, 2, R, P, H]`` as models read it."""
    counts, (heads, depth) = layers(config, kinds), config.heads
    stacked, _, _, length, width = parameters.shape
    total = sum(counts.values())
    flat = jnp.moveaxis(jnp.asarray(parameters), 3, 2).reshape(stacked, 2, length, -1)
    each = flat[..., : total * heads * depth].reshape(stacked, 2, length, total, heads, depth)
    keys, values = each.transpose(1, 0, 3, 4, 2, 5)
    begins = np.cumsum([0, *counts.values()])
    prefixes: Mapping[str, KeysValues] = {
        kind: (keys[:, begin : begin + count], values[:, begin : begin + count])
        for (kind, count), begin in zip(counts.items(), begins, strict=False)
    }
    return Soft(jnp.zeros((stacked, 0, width), jnp.float32), prefixes=prefixes)


def rows(prefixes: Mapping[str, KeysValues], config: Config, kinds: Collection[str]) -> np.ndarray:
    """``[2, R, P, H]`` float32 of keys and values ``[A, K, P, D]`` by kind: what :func:`soft` undoes."""
    chosen = [prefixes[kind] for kind in layers(config, kinds)]
    both = np.stack([np.concatenate([np.asarray(each[i]) for each in chosen]) for i in (0, 1)])
    _, count, _, length, _ = both.shape
    return folded(both.swapaxes(2, 3).reshape(2, count, length, -1), config.width)


def begun(tokens: np.ndarray, backbone: Backbone, kinds: Collection[str]) -> np.ndarray:
    """``[2, R, P, H]`` of the keys and values that tokens ``[P, H]`` leave in the model: real activations, from which
    prefixes learn better than from random numbers (Li and Liang 2021, section 7.4)."""
    return rows(_computed("left", tokens, backbone), backbone.config, kinds)


def layer_inputs(tokens: np.ndarray, backbone: Backbone) -> np.ndarray:
    """``[E, P, H]`` of what every layer reads of tokens ``[P, H]``: a deep prompt that is, of a decoder-only model,
    these tokens still."""
    return np.asarray(_computed("layer_inputs", tokens, backbone))


def _computed(what: str, tokens: np.ndarray, backbone: Backbone) -> Any:
    """What a method of the model says of tokens ``[P, H]``."""
    return _program(backbone.graph, what)(backbone.weights, jnp.asarray(tokens, jnp.float32))


@functools.lru_cache(maxsize=16)
def _program(graph: nnx.GraphDef[Any], what: str) -> Callable[[Any, Array], Any]:
    def compute(weights: Any, tokens: Array) -> Any:
        model: AnyModel = nnx.merge(graph, weights)
        return getattr(model, what)(tokens)

    return jax.jit(compute)
