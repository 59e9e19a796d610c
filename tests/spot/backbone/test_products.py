"""Products in the compute dtype, attention with its own backward pass, and position buckets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from spot.backbone.products import attention, project, relative_position_buckets
from tests.closeness import assert_close


def random_arrays(*shapes):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


def plain_attention(query, key, value, bias, mask):
    return jax.nn.softmax(query @ key.swapaxes(-1, -2) + bias + mask, axis=-1) @ value


@pytest.fixture(scope="module")
def attention_arguments():
    query, key, value, bias = random_arrays((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4), (1, 3, 5, 6))
    seen = jnp.arange(6)[None] < jnp.array([[6], [2]])
    return query, key, value, bias, jnp.where(seen, 0.0, -1e9)[:, None, None]


def test_attention_is_a_softmax_over_the_keys_that_may_be_seen(attention_arguments):
    assert_close(attention(*attention_arguments), plain_attention(*attention_arguments))


def test_backward_of_attention_is_that_of_the_plain_softmax(attention_arguments):
    (weights,) = random_arrays((2, 3, 5, 4))
    *differentiable, mask = attention_arguments

    def gradients(function):
        return jax.grad(lambda args: jnp.sum(weights * function(*args, mask)))(differentiable)

    for ours, plain in zip(gradients(attention), gradients(plain_attention), strict=True):
        assert_close(ours, plain)


def test_backward_of_attention_agrees_with_finite_differences(attention_arguments):
    *differentiable, mask = attention_arguments
    check_grads(
        lambda *args: attention(*args, mask), differentiable, order=1, modes=["rev"], rtol=2e-2
    )


def test_attention_survives_large_scores():
    query, key, value = random_arrays((1, 1, 2, 4), (1, 1, 3, 4), (1, 1, 3, 4))
    out = attention(1e3 * query, 1e3 * key, value, jnp.zeros((1, 1, 1, 1)), jnp.zeros((1, 1, 1, 3)))
    assert jnp.isfinite(out).all()


def test_bfloat16_product_and_gradients_are_close_to_float32():
    x, weight, cotangent = random_arrays((2, 7, 32), (24, 32), (2, 7, 24))

    def run(dtype):
        out, backward = jax.vjp(lambda x, w: project(x, w, dtype), x, weight)
        return out, *backward(cotangent)

    for rough, exact in zip(run(jnp.bfloat16), run(jnp.float32), strict=True):
        assert rough.dtype == exact.dtype == jnp.float32
        assert_close(rough, exact, dtype=jnp.bfloat16, terms=2)


def test_gradient_of_a_bfloat16_weight_keeps_its_dtype():
    x, weight = random_arrays((3, 8), (5, 8))
    gradient = jax.grad(lambda w: project(x, w, jnp.bfloat16).sum())(weight.astype(jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16


lengths = st.integers(1, 300)
tables = st.tuples(st.sampled_from([4, 8, 16, 32, 64]), st.sampled_from([33, 64, 128, 256]))


@settings(deadline=None, max_examples=40)
@given(lengths, lengths, tables, st.booleans())
def test_buckets_lie_within_the_table(queries, keys, table, bidirectional):
    buckets, max_distance = table
    found = relative_position_buckets(
        queries, keys, bidirectional=bidirectional, buckets=buckets, max_distance=max_distance
    )
    assert found.shape == (queries, keys)
    assert found.dtype == np.int32
    assert found.min() >= 0
    assert found.max() < buckets


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 300), tables)
def test_buckets_grow_with_the_distance_alike_in_both_directions(length, table):
    buckets, max_distance = table
    found = relative_position_buckets(
        length, length, bidirectional=True, buckets=buckets, max_distance=max_distance
    )
    later, earlier = found[0], found[:, 0]
    assert (np.diff(earlier) >= 0).all()
    assert (np.diff(later[1:]) >= 0).all()
    assert np.array_equal(later[1:] - buckets // 2, earlier[1:])
    assert np.array_equal(found[1:, 1:], found[:-1, :-1])


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 300), tables)
def test_causal_buckets_grow_backwards_and_put_the_future_with_the_present(length, table):
    buckets, max_distance = table
    found = relative_position_buckets(
        length, length, bidirectional=False, buckets=buckets, max_distance=max_distance
    )
    assert not found[np.triu_indices(length)].any()
    assert (np.diff(found[:, 0]) >= 0).all()
    exact = min(length, buckets // 2)
    assert np.array_equal(found[:exact, 0], np.arange(exact))


def test_distances_beyond_the_largest_share_the_last_bucket():
    found = relative_position_buckets(500, 1, bidirectional=False, buckets=32, max_distance=128)[
        :, 0
    ]
    assert (found[128:] == 31).all()
    assert found[64] < 31
