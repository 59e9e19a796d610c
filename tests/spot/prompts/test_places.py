"""Where prompts stand beside the input: behind it, between it and the answer, and before the decoder's own input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.batch import Inputs
from spot.backbone.layers import Dropout
from spot.backbone.soft import Soft, stack
from spot.backbone.t5 import T5
from spot.errors import PromptError
from spot.prompts.forms import FORMS
from tests.closeness import assert_close
from tests.spot.backbone.conftest import CONFIGS, Case, make_case

NEW_TOKENS = 6
PIECES = np.array([[5, 9, 7, 11], [3, 20, 31, 8], [60, 4, 17, 99]], np.int32)
"""Of three prompts."""


@pytest.fixture(scope="module", params=["v1.1", "llama"])
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(CONFIGS[request.param])


@pytest.fixture(scope="module")
def t5() -> Case:
    return make_case(CONFIGS["v1.1"])


@pytest.fixture(scope="module")
def llama() -> Case:
    return make_case(CONFIGS["llama"])


def words(case: Case) -> np.ndarray:
    """The pieces' embeddings ``[N, P, H]``."""
    return np.asarray(case.model.embedding[...])[PIECES]


def soft_of(form: str, prompts: Any, case: Case) -> Soft:
    return FORMS[form].soft(jnp.asarray(prompts), case.model.config)


def rows_of(case: Case) -> list[np.ndarray]:
    """The inputs without their padding."""
    ids, mask = np.asarray(case.inputs.ids), np.asarray(case.inputs.mask)
    return [row[real] for row, real in zip(ids, mask, strict=True)]


def padded(rows: list[np.ndarray]) -> Inputs:
    longest = max(map(len, rows))
    ids = np.stack([np.pad(row, (0, longest - len(row))) for row in rows])
    mask = np.stack([np.arange(longest) < len(row) for row in rows])
    return Inputs(jnp.asarray(ids), jnp.asarray(mask))


def followed(case: Case, soft: Soft) -> Inputs:
    """Inputs with the suffixes of their prompts."""
    prompt_ids = np.asarray(case.prompt_ids)
    return padded(
        [soft.follow(row, int(each)) for row, each in zip(rows_of(case), prompt_ids, strict=True)]
    )


def test_a_suffix_of_words_is_these_words_behind_the_text(case: Case) -> None:
    soft = soft_of("suffix", words(case), case)
    bare, none = Soft.none(16), jnp.zeros(4, jnp.int32)
    texts = padded(
        [
            np.concatenate([row, PIECES[int(prompt)]])
            for row, prompt in zip(rows_of(case), np.asarray(case.prompt_ids), strict=True)
        ]
    )
    inputs = followed(case, soft)
    for name in ("token_losses", "choice_scores"):
        more = case.targets if name == "token_losses" else case.choices
        expected = getattr(case, name)(bare, none, texts, more)
        assert_close(getattr(case, name)(soft, case.prompt_ids, inputs, more), expected, terms=300)
    np.testing.assert_array_equal(
        case.greedy(soft, case.prompt_ids, inputs, NEW_TOKENS),
        case.greedy(bare, none, texts, NEW_TOKENS),
    )


def test_suffixes_of_several_lengths_stand_right_behind_their_texts(case: Case) -> None:
    prompts = [words(case)[0], words(case)[1][:2], words(case)[2][:3]]
    each = [FORMS["suffix"].stack([prompt], case.model.config) for prompt in prompts]
    together = stack(each)
    assert together.lengths is not None
    inputs = followed(case, together)
    losses = case.token_losses(together, case.prompt_ids, inputs, case.targets)
    for row, prompt in enumerate(np.asarray(case.prompt_ids)):
        text = padded([each[prompt].follow(rows_of(case)[row], 0)])
        targets = type(case.targets)(
            case.targets.ids[row : row + 1], case.targets.mask[row : row + 1]
        )
        alone = case.token_losses(each[prompt], jnp.zeros(1, jnp.int32), text, targets)
        assert_close(losses[row : row + 1], alone, terms=300)


def test_units_fire_behind_a_suffix_as_behind_its_words(case: Case) -> None:
    soft = soft_of("suffix", words(case), case)
    fires = case.model.activated(soft)
    in_front = case.model.activated(Soft(words(case)))
    np.testing.assert_array_equal(fires, in_front)  # without a text there is one place


def test_an_input_sees_no_infix_and_answers_do(case: Case) -> None:
    config = case.model.config
    rng = np.random.default_rng(2)
    shape = FORMS["infix"].shape(config, 4)
    one, other = (rng.normal(size=(3, *shape)).astype(np.float32) for _ in range(2))
    memories = [
        case.model.read(soft_of("infix", prompts, case), case.prompt_ids, case.inputs)
        for prompts in (one, other)
    ]
    if isinstance(case.model, T5):
        np.testing.assert_array_equal(memories[0].hidden, memories[1].hidden)
    else:
        for first, second in zip(memories[0].layers, memories[1].layers, strict=True):
            for mine, theirs in zip(first, second, strict=True):
                np.testing.assert_array_equal(mine[:, :, 4:], theirs[:, :, 4:])
                assert np.abs(np.asarray(mine - theirs)[:, :, :4]).max() > 0.1
    losses = [
        case.token_losses(
            soft_of("infix", prompts, case), case.prompt_ids, case.inputs, case.targets
        )
        for prompts in (one, other)
    ]
    real = np.asarray(case.targets.mask)
    assert (np.abs(np.asarray(losses[0] - losses[1]))[real] > 1e-4).all()


def test_an_infix_of_an_encoder_decoder_is_a_prefix_of_its_decoder(t5: Case) -> None:
    config = t5.model.config
    infix = soft_of("infix", np.ones((1, *FORMS["infix"].shape(config, 2)), np.float32), t5)
    assert infix.prefixes is not None
    assert (set(infix.prefixes), infix.blind) == ({"decoder", "cross"}, None)


def test_a_decoders_prompt_of_words_is_these_words_before_the_answer(t5: Case) -> None:
    model = t5.model
    assert isinstance(model, T5)
    soft = soft_of("decoder", words(t5), t5)
    memory = model.read(Soft.none(16), jnp.zeros(4, jnp.int32), t5.inputs)
    behind = model.read(soft, t5.prompt_ids, t5.inputs)
    np.testing.assert_array_equal(behind.hidden, memory.hidden)
    answers = jnp.concatenate([jnp.zeros((4, 1), jnp.int32), t5.targets.ids[:, :-1]], axis=1)
    ids = jnp.concatenate([PIECES[np.asarray(t5.prompt_ids)], answers], axis=1)
    expected = model.decode(memory, ids[:, None])[:, :, 4:]
    assert_close(model.decode(behind, answers[:, None]), expected, terms=300)
    cache, states = model.start_cache(behind, answers.shape[1]), []
    for place in range(answers.shape[1]):
        state, cache = model.advance(behind, cache, answers[:, place : place + 1], jnp.int32(place))
        states.append(state)
    assert_close(jnp.concatenate(states, axis=1), expected[:, 0], terms=300)


def test_decoders_prompts_of_several_lengths_read_as_each_alone(t5: Case) -> None:
    prompts = [words(t5)[0], words(t5)[1][:2], words(t5)[2][:3]]
    each = [FORMS["decoder"].stack([prompt], t5.model.config) for prompt in prompts]
    losses = t5.token_losses(stack(each), t5.prompt_ids, t5.inputs, t5.targets)
    for row, prompt in enumerate(np.asarray(t5.prompt_ids)):
        inputs, targets = (
            type(part)(*(leaf[row : row + 1] for leaf in part)) for part in (t5.inputs, t5.targets)
        )
        alone = t5.token_losses(each[prompt], jnp.zeros(1, jnp.int32), inputs, targets)
        assert_close(losses[row : row + 1], alone, terms=300)


def test_a_model_without_a_decoder_of_its_own_has_no_prompt_before_one(llama: Case) -> None:
    with pytest.raises(PromptError, match=r"has one input, .* use --form prompt"):
        FORMS["decoder"].shape(llama.model.config, 4)
    with pytest.raises(PromptError, match="use --form prompt"):
        soft_of("decoder", words(llama), llama)


def test_dropout_reaches_prompts_wherever_they_stand(t5: Case) -> None:
    noise = Dropout(0.5, jax.random.split(jax.random.key(0), 4))
    for form in ("suffix", "decoder"):
        soft = soft_of(form, words(t5), t5)
        inputs = followed(t5, soft) if form == "suffix" else t5.inputs
        dropped = t5.model.token_losses(soft, t5.prompt_ids, inputs, t5.targets, noise)
        whole = t5.model.token_losses(soft, t5.prompt_ids, inputs, t5.targets)
        assert np.abs(np.asarray(dropped - whole)).max() > 1e-3
        assert np.isfinite(np.asarray(dropped)).all()
