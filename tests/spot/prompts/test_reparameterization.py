"""Prompts through a network: where they begin, what they are, and that nothing else is kept."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.prompts.reparameterization import (
    Reparameterized,
    prompt_length,
    prompts_of,
    trainable,
)
from tests.closeness import assert_close

SHAPES = [(4, 6), (3, 4, 6), (2, 5, 4, 6)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_begins_where_it_is_told(shape: tuple[int, ...]) -> None:
    start = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    trained = trainable(start, hidden=7, seed=3)
    assert prompt_length(trained) == prompt_length(trainable(start, hidden=0, seed=3)) == 4
    np.testing.assert_array_equal(prompts_of(trained), start[None])
    np.testing.assert_array_equal(prompts_of(trainable(start, hidden=0, seed=3)), start[None])
    again, other = (trainable(start, hidden=7, seed=seed) for seed in (3, 4))
    assert np.array_equal(again.table, trained.table)
    assert not np.array_equal(other.table, trained.table)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_token_is_the_prompt_s_own_and_what_the_network_makes_of_its_row(
    shape: tuple[int, ...],
) -> None:
    rng = np.random.default_rng(1)
    start = rng.normal(size=shape).astype(np.float32)
    trained = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), trainable(start, 7, 0)
    )
    given = np.asarray(trained.output())[0]
    for token in range(4):
        hidden = np.tanh(trained.into[0] @ trained.table[0, token] + trained.into_bias[0])
        made = trained.out[0] @ hidden + trained.out_bias[0]
        expected = trained.prompt[0][..., token, :] + made.reshape(*shape[:-2], 6)
        assert_close(given[..., token, :], expected, terms=20)


def test_a_step_reaches_the_network_through_its_last_layer() -> None:
    trained = trainable(np.ones((4, 6), np.float32), hidden=7, seed=0)
    gradient = jax.grad(lambda tree: jnp.square(tree.output()).sum())(
        jax.tree.map(jnp.asarray, trained)
    )
    assert isinstance(gradient, Reparameterized)
    moving = {name: bool(jnp.any(leaf != 0)) for name, leaf in gradient._asdict().items()}
    assert moving["prompt"]
    assert moving["out"]
    assert moving["out_bias"]
    assert not moving["table"], "the last layer begins at zero"
