"""Prefixes: what they are to a model, against other ways to compute the same, and as a bank keeps them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.batch import Inputs, Targets
from spot.backbone.config import Config
from spot.backbone.layers import KeysValues, layers_of
from spot.backbone.llama import Llama
from spot.backbone.soft import Soft
from spot.backbone.t5 import T5
from spot.errors import PromptError
from spot.prompts import prefix_rows, prefixes
from spot.prompts.forms import FORMS
from tests.closeness import assert_close
from tests.spot.backbone.conftest import CONFIGS, Case, make_case

T5_CONFIG = dataclasses.replace(CONFIGS["v1.1"], num_layers=3)
PARTS = {
    "prefix": (),
    "prefix_encoder": ("encoder",),
    "prefix_decoder": ("decoder",),
    "prefix_cross": ("cross",),
}
NEW_TOKENS = 6


@pytest.fixture(scope="module")
def t5() -> Case:
    return make_case(T5_CONFIG)


@pytest.fixture(scope="module")
def llama() -> Case:
    return make_case(CONFIGS["llama"])


def random_prompts(form: str, config: Config, *, rows: int = 3, length: int = 4) -> np.ndarray:
    shape = (rows, *FORMS[form].shape(config, length))
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("form", PARTS)
def test_what_is_kept_and_what_is_read_are_the_same_numbers(form: str) -> None:
    config, rng = T5_CONFIG, np.random.default_rng(3)
    heads, depth = config.heads
    given = {
        kind: tuple(rng.normal(size=(count, heads, 4, depth)).astype(np.float32) for _ in range(2))
        for kind, count in prefix_rows.layers(config, PARTS[form]).items()
    }
    kept = prefixes.rows(given, config, PARTS[form])  # type: ignore[arg-type]
    assert kept.shape == FORMS[form].shape(config, 4)
    read = FORMS[form].soft(kept[None], config)
    assert read.prefixes is not None
    assert read.prefixes.keys() == given.keys()
    for kind, both in given.items():
        for ours, theirs in zip(read.prefixes[kind], both, strict=True):
            np.testing.assert_array_equal(np.asarray(ours)[0], theirs)


def test_a_model_without_an_encoder_has_no_prefix_before_one() -> None:
    for form in ("prefix_encoder", "prefix_cross"):
        with pytest.raises(PromptError, match=r"without an encoder has no .* use --form prefix"):
            FORMS[form].shape(CONFIGS["llama"], 4)
    assert FORMS["prefix"].shape(CONFIGS["llama"], 4) == FORMS["prefix_decoder"].shape(
        CONFIGS["llama"], 4
    )


def test_behind_the_prefix_that_a_prompt_leaves_a_decoder_only_model_computes_the_same(
    llama: Case,
) -> None:
    left = [llama.model.left(prompt) for prompt in llama.prompts]
    prefix = Soft(
        jnp.zeros((3, 0, 16)),
        prefixes={"decoder": layers_of_stack([one["decoder"] for one in left])},
    )
    for name in ("token_losses", "choice_scores"):
        more = llama.targets if name == "token_losses" else llama.choices
        expected = getattr(llama, name)(llama.soft, llama.prompt_ids, llama.inputs, more)
        ours = getattr(llama, name)(prefix, llama.prompt_ids, llama.inputs, more)
        assert_close(ours, expected, terms=300)
    expected = llama.greedy(llama.soft, llama.prompt_ids, llama.inputs, NEW_TOKENS)
    ours = llama.greedy(prefix, llama.prompt_ids, llama.inputs, NEW_TOKENS)
    np.testing.assert_array_equal(ours, expected)


def test_behind_the_deep_prompt_that_a_prompt_begins_as_a_decoder_only_model_computes_the_same(
    llama: Case,
) -> None:
    each = [llama.model.layer_inputs(prompt) for prompt in llama.prompts]
    assert each[0].shape == FORMS["deep"].shape(CONFIGS["llama"], llama.prompts.shape[1])
    deep = Soft(llama.prompts, layers=jnp.stack(each)[:, 1:])
    expected = llama.token_losses(llama.soft, llama.prompt_ids, llama.inputs, llama.targets)
    ours = llama.token_losses(deep, llama.prompt_ids, llama.inputs, llama.targets)
    assert_close(ours, expected, terms=300)


def test_a_deep_prompt_of_an_encoder_begins_as_what_its_tokens_alone_leave(t5: Case) -> None:
    """Of an input without text the deep prompt is the prompt."""
    model, tokens = t5.model, t5.prompts[0]
    states = model.layer_inputs(tokens)
    np.testing.assert_array_equal(states[0], tokens)
    deep = Soft(tokens[None], layers=states[None, 1:])
    nothing = Inputs(t5.inputs.ids[:1], jnp.zeros_like(t5.inputs.mask[:1]))
    alone = jnp.zeros(1, jnp.int32)
    for soft in (deep, Soft(tokens[None])):
        read = model.read(soft, alone, nothing).hidden[0, : len(tokens)]  # type: ignore[attr-defined]
        assert_close(read, model.encoder_norm(_last(model, tokens)), terms=300)  # type: ignore[arg-type]


def _last(model: T5, tokens: jax.Array) -> jax.Array:
    """States behind the last encoder layer, of tokens alone."""
    length, x = len(tokens), tokens[None]
    bias = model._position_bias(model.encoder_bias[...], length, length, bidirectional=True)
    for block in model.encoder:
        x = block(x, block.project(x), bias, jnp.zeros((1, 1, 1, length)), None, 0)
    return x[0]


def layers_of_stack(each: list[KeysValues]) -> KeysValues:
    """``[A, K, P, D]`` of several prompts as two of ``[N, A, K, P, D]``."""
    keys, values = (jnp.stack(both) for both in zip(*each, strict=True))
    return keys, values


def test_prefixes_of_an_encoder_and_of_attention_to_it_are_what_deep_prompts_leave(
    t5: Case,
) -> None:
    """The states that deep prompts set before every layer are keys and values there; what the encoder makes of the
    prompt's last states is what the decoder sees of it."""
    model, rng = t5.model, np.random.default_rng(4)
    assert isinstance(model, T5)
    tokens_1PH = t5.prompts[:1]
    layers_1EPH = jnp.asarray(rng.normal(size=(1, 2, 4, 16)), jnp.float32)
    deep = Soft(tokens_1PH, layers=layers_1EPH)
    inputs = Inputs(t5.inputs.ids[:1], t5.inputs.mask[:1])
    targets = Targets(t5.targets.ids[:1], t5.targets.mask[:1])
    alone = jnp.zeros(1, jnp.int32)
    states = [tokens_1PH, *layers_1EPH.swapaxes(0, 1)]
    encoder = [block.project(x)[1] for block, x in zip(model.encoder, states, strict=True)]
    encoded = model.read(deep, alone, inputs).hidden[:, :4]
    cross = [block.cross_attention.keys_values(encoded) for block in model.decoder]
    prefix = Soft(
        jnp.zeros((1, 0, 16)),
        prefixes={
            kind: layers_of_stack([layers_of(each)])
            for kind, each in (("encoder", encoder), ("cross", cross))
        },
    )
    expected = t5.token_losses(deep, alone, inputs, targets)
    assert_close(t5.token_losses(prefix, alone, inputs, targets), expected, terms=300)


def test_a_decoder_goes_on_behind_a_prefix_as_behind_the_tokens_that_left_it(t5: Case) -> None:
    model = t5.model
    assert isinstance(model, T5)
    inputs = Inputs(t5.inputs.ids[:1], t5.inputs.mask[:1])
    memory = model.read(Soft.none(16), jnp.zeros(1, jnp.int32), inputs)
    ids = jnp.asarray(np.random.default_rng(5).integers(2, 140, (1, 1, 7)), jnp.int32)
    left = []
    x = model._embed(ids[0, :, :4])
    bias, mask = (
        model._decoder_bias(memory, 4),
        jnp.where(jnp.tril(jnp.ones((4, 4), bool)), 0.0, -1e9),
    )
    for block in model.decoder:
        left.append(block.self_attention.keys_values(block.self_norm(x)))
        x = x + block.attend_self(x, bias, mask[None, None])
        x = x + block.attend_encoded(x, memory, block.crossed(memory, None, 4))
        x = x + block.feed(x)
    keys, values = layers_of_stack([layers_of(left)])
    behind = memory._replace(decoder=(keys, values), decoder_mask=jnp.zeros((1, 1, 1, 4)))
    expected = model.decode(memory, ids)[:, :, 4:]
    assert_close(model.decode(behind, ids[:, :, 4:]), expected, terms=300)
    cache, steps = model.start_cache(behind, 3), []
    for step in range(3):
        state, cache = model.advance(behind, cache, ids[:, 0, 4 + step][:, None], jnp.asarray(step))
        steps.append(state)
    assert_close(jnp.stack(steps, axis=2), expected, terms=300)


@pytest.mark.parametrize("form", PARTS)
def test_ways_to_compute_with_prefixes_agree(t5: Case, form: str) -> None:
    """Losses, scores of choices and decoding; beside others, with a shorter one in the stack, and alone."""
    config, model = T5_CONFIG, t5.model
    prompts = list(random_prompts(form, config))
    short = random_prompts(form, config, rows=1, length=2)[0]
    soft = FORMS[form].stack([*prompts, short], config)
    prompt_ids = jnp.array([0, 3, 3, 2])
    losses = t5.token_losses(soft, prompt_ids, t5.inputs, t5.targets)
    one = Targets(t5.targets.ids[:, None], t5.targets.mask[:, None])
    scores = t5.choice_scores(soft, prompt_ids, t5.inputs, one)
    assert_close(-losses.sum(axis=-1), scores[:, 0], terms=300)
    for row, number in enumerate([0, 3, 3, 2]):
        alone = FORMS[form].stack([[*prompts, short][number]], config)
        inputs, targets = (
            type(both)(both.ids[row : row + 1], both.mask[row : row + 1])
            for both in (t5.inputs, t5.targets)
        )
        expected = t5.token_losses(alone, jnp.zeros(1, jnp.int32), inputs, targets)
        assert_close(losses[row], expected[0], terms=300)
    tokens = t5.greedy(soft, prompt_ids, t5.inputs, NEW_TOKENS)
    memory = model.read(soft, prompt_ids, t5.inputs)
    fed = jnp.concatenate([jnp.zeros((4, 1), jnp.int32), tokens[:, :-1]], axis=1)
    likely = model.logits(model.decode(memory, fed[:, None])).argmax(axis=-1)[:, 0]
    ended = np.asarray(tokens) == config.eos_token_id
    going = np.cumsum(ended, axis=1) - ended == 0
    np.testing.assert_array_equal(np.asarray(likely)[going], np.asarray(tokens)[going])


@pytest.mark.parametrize("architecture", [Llama, T5])
def test_gradients_reach_every_number_that_is_read(
    architecture: type[Any], t5: Case, llama: Case
) -> None:
    case = t5 if architecture is T5 else llama
    config = case.model.config

    def loss(parameters: jax.Array) -> jax.Array:
        soft = FORMS["prefix"].soft(parameters, config)
        losses = case.model.token_losses(soft, case.prompt_ids, case.inputs, case.targets)
        return jnp.asarray(losses.sum())

    gradient = np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(random_prompts("prefix", config))))
    heads, depth = config.heads
    numbers = sum(config.attentions.values()) * heads * depth
    flat = np.moveaxis(gradient, 3, 2).reshape(3, 2, 4, -1)
    assert (flat[[0, 2], ..., :numbers] != 0).mean() > 0.99
    assert (flat[..., numbers:] == 0).all()
    assert (flat[1] == 0).all(), "no example uses the second"
