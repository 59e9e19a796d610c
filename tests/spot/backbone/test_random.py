"""Random weights follow from the seed and the tensor's name alone."""

import dataclasses

import numpy as np

from spot.backbone.export import named_tensors
from spot.backbone.random import random_model


def test_the_same_seed_gives_the_same_weights(config):
    first, second = (named_tensors(random_model(config, seed=1)) for _ in range(2))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_another_seed_gives_other_weights(config):
    first, second = (named_tensors(random_model(config, seed=seed)) for seed in (1, 2))
    drawn = [name for name in first if not name.endswith("layer_norm.weight")]
    assert not any(np.array_equal(first[name], second[name]) for name in drawn)


def test_a_deeper_model_shares_the_weights_of_a_shallow_one(config):
    deeper = dataclasses.replace(config, num_layers=config.num_layers + 1)
    shallow, deep = (
        named_tensors(random_model(config, seed=1)),
        named_tensors(random_model(deeper, seed=1)),
    )
    assert shallow.keys() < deep.keys()
    assert all(np.array_equal(shallow[name], deep[name]) for name in shallow)


def test_no_two_tensors_are_drawn_alike(config):
    tensors = named_tensors(random_model(config, seed=1))
    starts = [
        t.ravel()[:4] / t.std() for name, t in tensors.items() if not name.endswith("norm.weight")
    ]
    assert len({tuple(np.round(start, 3)) for start in starts}) == len(starts)


def test_scores_and_states_start_with_unit_variance(config):
    wide = dataclasses.replace(config, d_model=128, d_kv=16, d_ff=256)
    tensors = named_tensors(random_model(wide, seed=1))
    query = tensors["encoder.block.0.layer.0.SelfAttention.q.weight"]
    assert np.isclose(query.std(), (128 * 16) ** -0.5, rtol=0.05)
    assert np.isclose(tensors["shared.weight"].std(), 1.0, rtol=0.05)
    assert (tensors["encoder.final_layer_norm.weight"] == 1).all()
