"""Random weights: the start of pre-training, and models of any shape for tests and benchmarks."""

from __future__ import annotations

import zlib
from typing import overload

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from spot.backbone.architectures import ARCHITECTURES
from spot.backbone.config import Config, LlamaConfig, T5Config
from spot.backbone.llama import Llama
from spot.backbone.model import AnyModel
from spot.backbone.t5 import T5


@overload
def random_model(config: T5Config, *, seed: int, dtype: DTypeLike = jnp.float32) -> T5: ...
@overload
def random_model(config: LlamaConfig, *, seed: int, dtype: DTypeLike = jnp.float32) -> Llama: ...
def random_model(config: Config, *, seed: int, dtype: DTypeLike = jnp.float32) -> AnyModel:
    """A model with random weights; for a T5 the initial ones of Raffel et al. (2020), as ``mesh_tensorflow`` draws.

    Since T5's scores are not scaled, its queries start a factor ``D ** -0.5`` smaller. Every tensor has its own stream
    derived from its name, so that the weights do not depend on the order of construction.
    """

    def draw(name: str, shape: tuple[int, ...]) -> Array:
        key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
        if "norm" in name:
            return jnp.ones(shape, jnp.float32)
        return jax.random.normal(key, shape, jnp.float32) * deviation(config, name, shape)

    return ARCHITECTURES[type(config)](config, draw, dtype=dtype)  # type: ignore[arg-type]


def deviation(config: Config, name: str, shape: tuple[int, ...]) -> float:
    """Standard deviation of a tensor's entries: the width of what it multiplies to the power of -1/2, but for these."""
    part = name.rsplit(".", 2)[-2]
    if part in ("shared", "embed_tokens"):
        return 1.0
    if isinstance(config, T5Config):
        if part == "q":
            return float((config.d_model * config.d_kv) ** -0.5)
        if part == "relative_attention_bias":
            return float(config.d_model**-0.5)
    return float(shape[-1] ** -0.5)
