"""Matrix products in the compute dtype, and attention: the two places where a step spends its time."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike


def project(x: Array, weight: Array, dtype: DTypeLike) -> Array:
    """``x[..., in] @ weight[out, in].T -> [..., out]``, float32, with operands in ``dtype``.

    Weights keep the orientation of their file, so nothing is transposed at loading.
    """
    if jnp.dtype(dtype) == jnp.bfloat16:
        return _project_bfloat16(x, weight)
    return jnp.einsum("...i,oi->...o", x, weight.astype(x.dtype))


@jax.custom_vjp
def _project_bfloat16(x: Array, weight: Array) -> Array:
    """bfloat16 operands, float32 sums.

    Differentiation alone would multiply float32 cotangents by bfloat16 weights, which XLA's CPU upcasts to a
    slow float32 product; the backward pass therefore casts the cotangent. The weight's gradient stays a
    float32 product: contracting over rows gains nothing from bfloat16 on a CPU.
    """
    return jnp.einsum(
        "...i,oi->...o",
        x.astype(jnp.bfloat16),
        weight.astype(jnp.bfloat16),
        preferred_element_type=jnp.float32,
    )


def _project_forward(x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return _project_bfloat16(x, weight), (x.astype(jnp.bfloat16), weight)


def _project_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, weight = saved
    for_x = jnp.einsum(
        "...o,oi->...i",
        cotangent.astype(jnp.bfloat16),
        weight.astype(jnp.bfloat16),
        preferred_element_type=jnp.float32,
    )
    rows = x.astype(jnp.float32).reshape(-1, x.shape[-1])
    for_weight = jnp.einsum("ro,ri->oi", cotangent.reshape(-1, cotangent.shape[-1]), rows)
    return for_x, for_weight.astype(weight.dtype)


_project_bfloat16.defvjp(_project_forward, _project_backward)


def attention(query: Array, key: Array, value: Array, bias: Array | float, mask: Array) -> Array:
    """Unscaled dot-product attention with a float32 softmax.

    Args:
        query: ``[B, K, Q, D]`` (heads before tokens: several times faster on a CPU than the reverse).
        key: ``[B, K, S, D]``, float32, or bfloat16 to be multiplied as such.
        value: ``[B, K, S, D]``, likewise.
        bias: ``[1, K, Q, S]`` relative position bias, or 0.
        mask: ``[B, 1, 1 or Q, S]`` float32, 0 where a key may be seen and a large negative number elsewhere.

    Returns:
        ``[B, K, Q, D]`` float32.
    """
    scores_BKQS = jnp.einsum(
        "bkqd,bksd->bkqs", query.astype(key.dtype), key, preferred_element_type=jnp.float32
    )
    return _weigh(scores_BKQS + bias + mask, value)


@jax.custom_vjp
def _weigh(scores: Array, value: Array) -> Array:
    """``softmax(scores) @ value``; keeps the exponentials and their reciprocal sums for the backward pass."""
    return _weigh_forward(scores, value)[0]


def _weigh_forward(scores: Array, value: Array) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    exponential_BKQS = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    reciprocal_BKQ1 = 1.0 / exponential_BKQS.sum(axis=-1, keepdims=True)
    weights_BKQS = exponential_BKQS.astype(value.dtype)
    sum_BKQD = jnp.einsum(
        "bkqs,bksd->bkqd", weights_BKQS, value, preferred_element_type=jnp.float32
    )
    out_BKQD = sum_BKQD * reciprocal_BKQ1
    return out_BKQD, (exponential_BKQS, reciprocal_BKQ1, value, out_BKQD)


def _weigh_backward(
    saved: tuple[Array, Array, Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    exponential_BKQS, reciprocal_BKQ1, value_BKSD, out_BKQD = saved
    scaled_BKQD = cotangent * reciprocal_BKQ1
    for_value_BKSD = jnp.einsum("bkqs,bkqd->bksd", exponential_BKQS, scaled_BKQD)
    # d scores = p * (d p - sum(p * d p)), and sum_s(p * d p) = sum_d(cotangent * out)
    inner_BKQS = jnp.einsum("bkqd,bksd->bkqs", scaled_BKQD, value_BKSD)
    for_scores_BKQS = exponential_BKQS * (
        inner_BKQS - jnp.sum(scaled_BKQD * out_BKQD, axis=-1, keepdims=True)
    )
    return for_scores_BKQS, for_value_BKSD.astype(value_BKSD.dtype)


_weigh.defvjp(_weigh_forward, _weigh_backward)


def relative_position_buckets(
    query_length: int, key_length: int, *, bidirectional: bool, buckets: int, max_distance: int
) -> np.ndarray:
    """Bucket of every (query, key) distance, ``[Q, S]`` int32 (Raffel et al. 2020, section 2.1).

    Half of the buckets hold exact small distances, the other half grow logarithmically up to ``max_distance``;
    a bidirectional stack splits them between the two directions. Computed by NumPy, once per compiled shape.
    """
    distance = np.arange(key_length)[None, :] - np.arange(query_length)[:, None]
    offset = np.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        offset = np.where(distance > 0, buckets, 0)
        distance = np.abs(distance)
    else:
        distance = -np.minimum(distance, 0)
    exact = buckets // 2
    growth = np.log(np.maximum(distance, 1).astype(np.float32) / exact) / math.log(
        max_distance / exact
    )
    large = exact + (growth * (buckets - exact)).astype(np.int32)
    nearest = np.where(distance < exact, distance, np.minimum(large, buckets - 1))
    return (offset + nearest).astype(np.int32)
