"""Random weights: the start of pre-training, and models of any shape for tests and benchmarks."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from spot.backbone.config import T5Config
from spot.backbone.t5 import T5


def random_t5(config: T5Config, *, seed: int, dtype: DTypeLike = jnp.float32) -> T5:
    """A T5 with the initial weights of Raffel et al. (2020), as ``mesh_tensorflow`` draws them.

    Since scores are not scaled, queries start a factor ``D ** -0.5`` smaller. Every tensor has its own stream
    derived from its name, so that the weights do not depend on the order of construction.
    """

    def draw(name: str, shape: tuple[int, ...]) -> Array:
        key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
        if name.endswith("layer_norm.weight"):
            return jnp.ones(shape, jnp.float32)
        return jax.random.normal(key, shape, jnp.float32) * _deviation(config, name)

    return T5(config, draw, dtype=dtype)


def _deviation(config: T5Config, name: str) -> float:
    width = config.d_model
    by_part: dict[str, float] = {
        "shared": 1.0,
        "lm_head": width**-0.5,
        "relative_attention_bias": width**-0.5,
        "q": (width * config.d_kv) ** -0.5,
        "k": width**-0.5,
        "v": width**-0.5,
        "o": config.inner**-0.5,
        "wi": width**-0.5,
        "wi_0": width**-0.5,
        "wi_1": width**-0.5,
        "wo": config.d_ff**-0.5,
    }
    return by_part[name.removesuffix(".weight").rsplit(".", 1)[-1]]
