"""The shape of a T5, to and from ``config.json``."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.backbone.config import T5Config, config_from_huggingface
from spot.errors import BackboneError

SIZES = {"vocab_size": 140, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 3}
PLAIN = {"model_type": "t5", **SIZES}

sizes = st.integers(1, 4096)
configs = st.builds(
    T5Config,
    **dict.fromkeys((*SIZES, "num_decoder_layers"), sizes),
    relative_attention_num_buckets=st.sampled_from([8, 32]),
    relative_attention_max_distance=st.sampled_from([64, 128]),
    layer_norm_epsilon=st.floats(1e-9, 1e-3),
    gated=st.booleans(),
    activation=st.just("relu"),
    tied=st.booleans(),
    pad_token_id=st.integers(0, 9),
    eos_token_id=st.integers(0, 9),
    decoder_start_token_id=st.integers(0, 9),
) | st.builds(T5Config, **dict.fromkeys((*SIZES, "num_decoder_layers"), sizes), tied=st.booleans())


@given(configs)
def test_a_config_comes_back_from_its_json(config):
    assert T5Config.from_huggingface(config.to_huggingface()) == config


def test_absent_fields_have_the_values_of_the_first_t5():
    config = T5Config.from_huggingface(PLAIN)
    assert (config.gated, config.activation, config.tied) == (False, "relu", True)
    assert config.num_decoder_layers == config.num_layers
    assert (config.relative_attention_num_buckets, config.relative_attention_max_distance) == (32, 128)


@pytest.mark.parametrize("family", ["t5", "mt5"])
def test_gated_gelu_with_its_own_output_layer_is_the_second_generation(family):
    given = PLAIN | {"model_type": family, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    config = T5Config.from_huggingface(given)
    assert (config.gated, config.activation, config.tied) == (True, "gelu_new", False)


def test_null_fields_count_as_absent():
    nulls = {"num_decoder_layers": None, "relative_attention_max_distance": None, "pad_token_id": None}
    assert T5Config.from_huggingface(PLAIN | nulls) == T5Config.from_huggingface(PLAIN)


def test_heads_times_their_width_is_the_inner_width():
    assert T5Config.from_huggingface(PLAIN).inner == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'"),
        ({"feed_forward_proj": "gated-silu"}, "feed_forward_proj is 'gated-silu'"),
        ({"d_model": 0}, "d_model must be at least 1, found 0"),
        ({"num_heads": -2}, "num_heads must be at least 1, found -2"),
    ],
)
def test_an_impossible_config_is_refused_by_name(change, message):
    with pytest.raises(BackboneError, match=message):
        config_from_huggingface(PLAIN | change)


@pytest.mark.parametrize("name", SIZES)
def test_a_missing_size_is_named(name):
    with pytest.raises(BackboneError, match=f"missing {name}"):
        T5Config.from_huggingface({k: v for k, v in PLAIN.items() if k != name})


def test_an_unknown_activation_is_refused():
    with pytest.raises(BackboneError, match="activation 'tanh'"):
        dataclasses.replace(T5Config.from_huggingface(PLAIN), activation="tanh")


@pytest.mark.parametrize("value", ["16", 16.5, None, [16]])
def test_a_size_that_is_no_whole_number_is_refused(value):
    with pytest.raises(BackboneError, match="d_model"):
        T5Config.from_huggingface(PLAIN | {"d_model": value})
