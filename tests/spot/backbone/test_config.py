"""The shape of a T5, to and from ``config.json``."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.backbone.config import LlamaConfig, T5Config, config_from_huggingface
from spot.errors import BackboneError

SIZES = {"vocab_size": 140, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 3}
PLAIN = {"model_type": "t5", **SIZES}

sizes = st.integers(10, 4096)
configs = st.builds(
    T5Config,
    **dict.fromkeys((*SIZES, "num_decoder_layers"), sizes),
    relative_attention_num_buckets=st.sampled_from([8, 32]),
    relative_attention_max_distance=st.sampled_from([64, 128]),
    layer_norm_epsilon=st.floats(1e-9, 1e-3),
    gated=st.booleans(),
    activation=st.just("relu"),
    tied=st.booleans(),
    scaled=st.booleans(),
    pad_token_id=st.integers(0, 9),
    eos_token_id=st.integers(0, 6),
    decoder_start_token_id=st.integers(0, 9),
    more_end_token_ids=st.sampled_from([(), (7,), (9, 8)]),
) | st.builds(T5Config, **dict.fromkeys((*SIZES, "num_decoder_layers"), sizes), tied=st.booleans())


@given(configs)
def test_a_config_comes_back_from_its_json(config):
    assert T5Config.from_huggingface(config.to_huggingface()) == config


def test_absent_fields_have_the_values_of_the_first_t5():
    config = T5Config.from_huggingface(PLAIN)
    assert (config.gated, config.activation, config.tied) == (False, "relu", True)
    assert config.num_decoder_layers == config.num_layers
    assert (config.relative_attention_num_buckets, config.relative_attention_max_distance) == (
        32,
        128,
    )


@pytest.mark.parametrize(
    ("given", "tied", "scaled"),
    [
        ({}, True, True),
        ({"tie_word_embeddings": False}, False, False),
        ({"tie_word_embeddings": True, "scale_decoder_outputs": False}, True, False),
        ({"tie_word_embeddings": False, "scale_decoder_outputs": True}, False, True),
        ({"model_type": "mt5"}, True, False),
        ({"model_type": "mt5", "tie_word_embeddings": True}, True, False),
        (
            {"model_type": "mt5", "scale_decoder_outputs": True, "tie_word_embeddings": False},
            False,
            False,
        ),
    ],
)
def test_tying_and_scaling_are_read_apart_and_an_mt5_is_never_scaled(given, tied, scaled):
    config = config_from_huggingface(PLAIN | {"feed_forward_proj": "gated-gelu"} | given)
    assert (config.tied, config.scaled) == (tied, scaled)


def test_an_mt5_is_gated_where_it_does_not_say():
    assert config_from_huggingface(PLAIN | {"model_type": "mt5"}).gated


def test_umt5_is_refused_with_the_reason():
    with pytest.raises(
        BackboneError, match="'umt5' is not supported: each of its layers has a position bias"
    ):
        config_from_huggingface(PLAIN | {"model_type": "umt5"})


@pytest.mark.parametrize(
    ("given", "first", "more"),
    [(7, 7, ()), ([7], 7, ()), ([7, 8, 7], 7, (8,)), ([0, 5, 9], 0, (5, 9))],
)
@pytest.mark.parametrize("family", ["t5", "llama"])
def test_the_first_end_token_ends_targets_and_all_of_them_end_texts(family, given, first, more):
    config = config_from_huggingface(
        {"t5": PLAIN, "llama": LLAMA}[family] | {"eos_token_id": given}
    )
    assert (config.eos_token_id, config.more_end_token_ids) == (first, more)
    assert config.around.targets[1] == (first,)


NUMBERS = [
    ("layer_norm_epsilon", "rms_norm_eps", float("nan"), "finite number"),
    ("layer_norm_epsilon", "rms_norm_eps", float("inf"), "finite number"),
    ("layer_norm_epsilon", "rms_norm_eps", -1e-6, "finite number"),
    ("layer_norm_epsilon", "rms_norm_eps", 10**400, "expected float"),
    ("pad_token_id", "pad_token_id", 140, "no token of a vocabulary of 140"),
    ("pad_token_id", "pad_token_id", -2, "no token of a vocabulary of 140"),
    ("eos_token_id", "eos_token_id", 10**6, "no token of a vocabulary of 140"),
    ("eos_token_id", "eos_token_id", [1, 140], "no token of a vocabulary of 140"),
    ("eos_token_id", "eos_token_id", [1, "2"], "eos_token_id is"),
    ("eos_token_id", "eos_token_id", True, "eos_token_id is True"),
    ("decoder_start_token_id", "eos_token_id", 10**12, "no token of a vocabulary of 140"),
    ("d_ff", "intermediate_size", 10**12, "at most"),
    ("num_layers", "num_hidden_layers", 10**4000, "at most"),
    ("num_heads", "num_attention_heads", True, "expected int"),
    ("d_model", "hidden_size", -(10**4000), "at least 1"),
    ("tie_word_embeddings", "tie_word_embeddings", "false", "expected bool"),
    ("model_type", "model_type", [[[["t5"]]]], "model_type is"),
]


@pytest.mark.parametrize(("t5", "llama", "value", "message"), NUMBERS)
@pytest.mark.parametrize("family", ["t5", "llama"])
def test_a_value_that_the_maths_cannot_use_is_refused_in_one_short_line(
    family, t5, llama, value, message
):
    given = PLAIN | {t5: value} if family == "t5" else LLAMA | {llama: value}
    with pytest.raises(BackboneError, match=message) as caught:
        config_from_huggingface(given)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("family", ["t5", "mt5"])
def test_gated_gelu_with_its_own_output_layer_is_the_second_generation(family):
    given = PLAIN | {
        "model_type": family,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    }
    config = T5Config.from_huggingface(given)
    assert (config.gated, config.activation, config.tied) == (True, "gelu_new", False)


def test_null_fields_count_as_absent():
    nulls = {
        "num_decoder_layers": None,
        "relative_attention_max_distance": None,
        "pad_token_id": None,
    }
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


LLAMA = {
    "model_type": "llama",
    "vocab_size": 140,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@given(
    st.builds(
        LlamaConfig,
        **dict.fromkeys(
            ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"), sizes
        ),
        num_attention_heads=st.sampled_from([4, 8]),
        num_key_value_heads=st.sampled_from([1, 2, 4]),
        head_dim=st.sampled_from([2, 64]),
        rope_theta=st.floats(1, 1e6),
        rms_norm_eps=st.floats(1e-9, 1e-3),
        input_bias=st.booleans(),
        tied=st.booleans(),
        pad_token_id=st.integers(0, 9),
        eos_token_id=st.integers(0, 9),
    )
)
def test_a_llama_config_comes_back_from_its_json(config):
    assert config_from_huggingface(config.to_huggingface()) == config


def test_absent_fields_of_a_llama_follow_from_its_sizes():
    config = config_from_huggingface(LLAMA)
    assert (config.num_key_value_heads, config.head_dim, config.rope_theta) == (4, 6, 10_000.0)
    assert not (config.tied or config.input_bias or config.output_bias)


def test_biases_of_the_two_llama_families():
    assert config_from_huggingface(LLAMA | {"model_type": "qwen2"}).input_bias
    both = config_from_huggingface(LLAMA | {"attention_bias": True})
    assert (both.input_bias, both.output_bias) == (True, True)


def test_rotary_bases_are_read_from_either_place_and_ends_from_a_list():
    old = config_from_huggingface(LLAMA | {"rope_theta": 5, "eos_token_id": [7, 8]})
    new = config_from_huggingface(
        LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 5}}
    )
    assert (old.rope_theta, new.rope_theta, old.eos_token_id) == (5.0, 5.0, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act is not supported"),
        ({"mlp_bias": True}, "mlp_bias is not supported"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope_type is not supported"),
        ({"use_sliding_window": True}, "use_sliding_window is not supported"),
        ({"rope_scaling": "linear"}, "rotary positions are 'linear'; expected an object"),
        ({"rope_parameters": [1]}, "expected an object"),
        ({"rope_theta": 0.0}, "rope_theta must be above 0"),
        ({"rope_theta": float("nan")}, "finite number"),
        ({"attention_bias": "false"}, "input_bias is 'false'"),
        ({"num_key_value_heads": 3}, "4 query heads cannot share 3 key heads"),
        ({"head_dim": 5}, "even head_dim, found 5"),
        ({"num_attention_heads": 0}, "num_attention_heads must be at least 1"),
        ({"num_attention_heads": "4"}, "num_attention_heads is '4'"),
        ({"rope_theta": "large"}, "rope_theta is 'large'"),
        ({"hidden_size": None}, "missing hidden_size"),
    ],
)
def test_a_llama_that_is_not_supported_is_refused_by_name(change, message):
    with pytest.raises(BackboneError, match=message):
        config_from_huggingface(LLAMA | change)


@pytest.mark.parametrize("value", ["16", 16.5, None, [16]])
def test_a_size_that_is_no_whole_number_is_refused(value):
    with pytest.raises(BackboneError, match="d_model"):
        T5Config.from_huggingface(PLAIN | {"d_model": value})


def test_a_llama_that_says_it_has_no_padding_is_padded_with_the_first_token():
    assert LlamaConfig.from_huggingface(LLAMA | {"pad_token_id": -1}).pad_token_id == 0
