"""Predictions against likelihoods and decoding worked out one example and one token at a time."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Sequence
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.batch import Inputs, Targets
from spot.backbone.load import Backbone
from spot.backbone.soft import Soft
from spot.errors import SpotError
from spot.inference.decoding import MAX_NEW_TOKENS, Decoding
from spot.inference.predict import (
    GREEDY,
    Questions,
    answer,
    longest_text,
    mean_losses,
    predict,
    predict_many,
)
from tasks.objectives import pad
from tasks.task import Example
from tasks.tokenize import Around, Lengths, tokenize
from tasks.tokenized import Tokenized
from tests.closeness import assert_close, tolerance
from tests.spot.training.conftest import SYLLABLES

INPUT, TARGET = 40, 12
"""Lengths that the references pad to, unlike any that predictions use."""


def tokens_of(backbone: Backbone, examples: Sequence[Example], targets: int = 16) -> Tokenized:
    return tokenize(
        examples,
        backbone.tokenizer.encode,
        tokenizer_fingerprint=backbone.tokenizer.fingerprint,
        around=Around(((), (1,)), ((), (1,))),
        lengths=Lengths(inputs=64, targets=targets),
    )


@dataclasses.dataclass(frozen=True)
class Reference:
    """One example at a time, without caches and without batches."""

    backbone: Backbone
    prompt: np.ndarray

    @functools.cached_property
    def model(self) -> Any:
        return nnx.merge(self.backbone.graph, self.backbone.weights)

    @functools.cached_property
    def losses(self) -> Callable[..., jax.Array]:
        return jax.jit(self.model.token_losses)

    @functools.cached_property
    def next_logits(self) -> Callable[..., jax.Array]:
        def logits(prompts: Any, inputs: Inputs, decoded: Any) -> jax.Array:
            encoded = self.model.read(Soft(prompts), jnp.zeros(1, jnp.int32), inputs)
            return self.model.logits(self.model.decode(encoded, decoded[None, None]))[0, 0]

        return jax.jit(logits)

    def inputs(self, ids: Sequence[int]) -> Inputs:
        return Inputs(*pad([ids], INPUT))

    def likelihood(self, text: str, choice: str) -> float:
        ids, target = (self.backbone.tokenizer.encode([part])[0] + [1] for part in (text, choice))
        targets = Targets(*pad([target], TARGET))
        by_token = self.losses(
            Soft(self.prompt[None]), np.zeros(1, np.int32), self.inputs(ids), targets
        )
        return -float(np.asarray(by_token).sum())

    def decode(self, text: str, longest: int) -> str:
        inputs = self.inputs(self.backbone.tokenizer.encode([text])[0] + [1])
        decoded = np.zeros(TARGET, np.int32)
        out: list[int] = []
        while len(out) < longest:
            logits = np.asarray(self.next_logits(self.prompt[None], inputs, decoded))[len(out)]
            out.append(int(logits.argmax()))
            if out[-1] == 1:
                break
            decoded[len(out)] = out[-1]
        return self.backbone.tokenizer.decode(out)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """Inputs of two buckets, with one to four choices of one to several pieces each."""
    rng = random.Random(4)
    texts = [" ".join(rng.choices(SYLLABLES, k=rng.randint(1, 8))) for _ in range(21)]
    options = ["kamo", "rilu", "tepo", "nusa", "ta", "ta ki"]
    choices = [tuple(rng.sample(options, k=rng.randint(1, 4))) for _ in texts]
    return [Example(inputs=t, target=c[0], choices=c) for t, c in zip(texts, choices, strict=True)]


@pytest.fixture(scope="module")
def prompt() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(5, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def reference(backbone: Backbone, prompt: np.ndarray) -> Reference:
    return Reference(backbone, prompt)


@pytest.fixture(scope="module")
def data(backbone: Backbone, examples: list[Example]) -> Tokenized:
    return tokens_of(backbone, examples)


def test_ranking_takes_the_choice_of_highest_likelihood(
    backbone: Backbone,
    examples: list[Example],
    data: Tokenized,
    prompt: np.ndarray,
    reference: Reference,
) -> None:
    expected = [max(e.choices, key=lambda c: reference.likelihood(e.inputs, c)) for e in examples]
    assert len(set(expected)) > 2
    assert any(
        answer != example.choices[0] for answer, example in zip(expected, examples, strict=True)
    )
    for method in ("rank", "auto"):
        assert predict(backbone, prompt, examples, data, method=method) == expected


def test_choices_rank_by_likelihood_a_token(
    backbone: Backbone,
    examples: list[Example],
    data: Tokenized,
    prompt: np.ndarray,
    reference: Reference,
) -> None:
    def value(text: str, choice: str) -> float:
        tokens = len(backbone.tokenizer.encode([choice])[0]) + 1
        return reference.likelihood(text, choice) / tokens

    expected = [max(e.choices, key=lambda c: value(e.inputs, c)) for e in examples]
    assert expected != predict(backbone, prompt, examples, data)
    way = Decoding(ranking="per_token")
    assert predict(backbone, prompt, examples, data, decoding=way) == expected


def test_calibrated_choices_rank_by_what_the_input_adds(
    backbone: Backbone,
    examples: list[Example],
    prompt: np.ndarray,
    reference: Reference,
) -> None:
    """Zhao et al. 2021: probabilities over the choices, divided by the mean of those behind "N/A", "" and "[MASK]"."""
    examples = [*examples, *(dataclasses.replace(e, choices=e.choices[::-1]) for e in examples[:5])]
    shown = "rilu nusa. "
    examples += [
        dataclasses.replace(e, inputs=shown + e.inputs, context=len(shown)) for e in examples[:8]
    ]

    def probabilities(text: str, choices: Sequence[str]) -> np.ndarray:
        logs = np.array([reference.likelihood(text, choice) for choice in choices])
        return np.asarray(np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum())

    expected = []
    for one in examples:
        bare = [one.inputs[: one.context] + text for text in ("N/A", "", "[MASK]")]
        prior = np.mean([probabilities(text, one.choices) for text in bare], axis=0)
        expected.append(one.choices[int((probabilities(one.inputs, one.choices) / prior).argmax())])
    data, way = tokens_of(backbone, examples), Decoding(ranking="calibrated")
    assert expected != predict(backbone, prompt, examples, data)
    assert predict(backbone, prompt, examples, data, decoding=way) == expected

    other = Reference(backbone, prompt[::-1].copy())
    soft = Soft(np.stack([prompt, other.prompt]))
    together = predict_many(
        backbone, soft, [Questions(1, examples, data), Questions(0, examples, data)], decoding=way
    )
    assert together[1] == expected
    assert together[0] == predict(backbone, other.prompt, examples, data, decoding=way)


def test_losses_are_those_of_likelihoods_however_choices_rank(
    backbone: Backbone, examples: list[Example], data: Tokenized, prompt: np.ndarray
) -> None:
    plain, calibrated = (
        answer(backbone, prompt, examples, data, decoding=Decoding(ranking=name)).losses
        for name in ("likelihood", "calibrated")
    )
    np.testing.assert_array_equal(plain, calibrated)


@pytest.mark.parametrize("longest", [1, 8])
def test_generating_takes_the_likeliest_token_at_every_step(
    longest: int,
    backbone: Backbone,
    examples: list[Example],
    data: Tokenized,
    prompt: np.ndarray,
    reference: Reference,
) -> None:
    expected = [reference.decode(example.inputs, longest) for example in examples]
    assert len(set(expected)) > 1
    assert (
        predict(
            backbone,
            prompt,
            examples,
            data,
            method="generate",
            decoding=Decoding(max_new_tokens=longest),
        )
        == expected
    )


def test_generating_stops_at_the_longest_target_of_the_data(
    backbone: Backbone, examples: list[Example], data: Tokenized, prompt: np.ndarray
) -> None:
    assert data.cut == 0
    assert 4 < data.targets.lengths.max() <= 8
    limited = predict(
        backbone, prompt, examples, data, method="generate", decoding=Decoding(max_new_tokens=8)
    )
    assert predict(backbone, prompt, examples, data, method="generate") == limited


WAYS = {
    "rank": Decoding(),
    "generate": Decoding(max_new_tokens=8),
    "beam": Decoding(policy="beam", max_new_tokens=8),
}


@pytest.mark.parametrize("way", WAYS)
def test_neither_batch_size_nor_order_changes_an_answer(
    way: str, backbone: Backbone, examples: list[Example], prompt: np.ndarray
) -> None:
    examples = [
        dataclasses.replace(example, choices=("kamo", "rilu", "nusa")) for example in examples
    ]

    def answers(order: Sequence[int], batch_size: int) -> list[str]:
        chosen = [examples[i] for i in order]
        tokens = tokens_of(backbone, chosen)
        found = predict(
            backbone,
            prompt,
            chosen,
            tokens,
            method="rank" if way == "rank" else "generate",
            batch_size=batch_size,
            decoding=WAYS[way],
        )
        return [answer for _, answer in sorted(zip(order, found, strict=True))]

    together = answers(range(21), 64)
    assert len(set(together)) > 1
    order = np.random.default_rng(0).permutation(21).tolist()
    assert answers(order, 5) == answers(order, 64) == together


def test_the_prompt_decides_answers(
    backbone: Backbone, examples: list[Example], data: Tokenized, prompt: np.ndarray
) -> None:
    first, second = (
        predict(backbone, p, examples, data, method="generate") for p in (prompt, 5 * prompt)
    )
    assert first != second


def test_examples_without_choices_are_generated_and_cannot_be_ranked(
    backbone: Backbone, examples: list[Example], data: Tokenized, prompt: np.ndarray
) -> None:
    mixed = [*examples[:-1], dataclasses.replace(examples[-1], choices=())]
    tokens = tokens_of(backbone, mixed)
    generated = predict(backbone, prompt, examples, data, method="generate")
    assert predict(backbone, prompt, mixed, tokens) == generated
    with pytest.raises(
        SpotError, match="rank classification needs label words; evaluate this task with `generate`"
    ):
        predict(backbone, prompt, mixed, tokens, method="rank")


def test_an_unknown_method_is_refused(
    backbone: Backbone, examples: list[Example], data: Tokenized, prompt: np.ndarray
) -> None:
    with pytest.raises(
        SpotError, match="evaluation method 'beam' is not known; choose from auto, rank, generate"
    ):
        predict(backbone, prompt, examples, data, method="beam")


def test_one_example_is_answered_too(
    backbone: Backbone, prompt: np.ndarray, reference: Reference
) -> None:
    text = "kamo rilu ta"
    examples = [Example(inputs=text, target="bad", choices=("bad", "good"))]
    expected = max(("bad", "good"), key=lambda choice: reference.likelihood(text, choice))
    assert predict(backbone, prompt, examples, tokens_of(backbone, examples)) == [expected]


def test_losses_of_prompts_are_means_over_examples_of_means_over_tokens(
    backbone: Backbone,
    examples: list[Example],
    data: Tokenized,
    prompt: np.ndarray,
    reference: Reference,
) -> None:
    other = Reference(backbone, prompt[::-1].copy())
    expected = [
        np.mean(
            [
                -r.likelihood(e.inputs, e.target)
                / (len(backbone.tokenizer.encode([e.target])[0]) + 1)
                for e in examples
            ]
        )
        for r in (reference, other)
    ]
    assert abs(expected[0] - expected[1]) > 10 * tolerance(expected)
    found = mean_losses(backbone, [reference.prompt, other.prompt], data, batch_size=8)
    assert_close(found, expected)


def test_losses_of_many_prompts_are_computed_in_stacks(
    backbone: Backbone, data: Tokenized, prompt: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [prompt, prompt[::-1].copy(), 2 * prompt]
    together = mean_losses(backbone, prompts, data)
    monkeypatch.setattr("spot.inference.predict.PROMPTS_AT_ONCE", 2)
    assert_close(mean_losses(backbone, prompts, data), together)
    assert mean_losses(backbone, [], data).shape == (0,)


def test_what_is_sampled_does_not_depend_on_what_is_beside_it(
    backbone: Backbone, examples: list[Example], data: Tokenized, prompt: np.ndarray
) -> None:
    way = Decoding(policy="sample", temperature=2.0, max_new_tokens=8)
    ask = functools.partial(predict, backbone, prompt, examples, data, method="generate")
    alone = ask(decoding=way)
    assert ask(decoding=way, batch_size=4) == alone
    assert ask(decoding=dataclasses.replace(way, seed=1)) != alone
    two = Soft(np.stack([2 * prompt, prompt]))
    questions = [Questions(row, examples, data) for row in (0, 1)]
    assert predict_many(backbone, two, questions, method="generate", decoding=way)[1] == alone


def test_texts_end_in_front_of_a_stop(
    backbone: Backbone, examples: list[Example], data: Tokenized, prompt: np.ndarray
) -> None:
    ask = functools.partial(predict, backbone, prompt, examples, data, method="generate")
    whole = ask()
    stop = next(text[1] for text in whole if len(text) > 1)
    assert ask(decoding=Decoding(stop=(stop,))) == [text.split(stop)[0] for text in whole]


def test_no_text_is_longer_for_what_is_generated_beside_it(
    backbone: Backbone, examples: list[Example], prompt: np.ndarray
) -> None:
    short = [dataclasses.replace(example, target="ta", choices=()) for example in examples]
    long = [
        dataclasses.replace(example, target="kamo rilu tepo nusa", choices=())
        for example in examples
    ]
    questions = [Questions(0, part, tokens_of(backbone, part)) for part in (short, long)]
    alone = [predict(backbone, prompt, one.examples, one.tokens) for one in questions]
    assert alone[0] != alone[1], "texts are cut at the length of the longest target"
    assert predict_many(backbone, Soft(prompt[None]), questions) == alone


def test_texts_may_be_as_long_as_the_longest_target(
    backbone: Backbone, examples: list[Example], prompt: np.ndarray
) -> None:
    long = [dataclasses.replace(example, target="ta " * 20, choices=()) for example in examples]
    tokens = tokens_of(backbone, long, targets=64)
    assert MAX_NEW_TOKENS < tokens.targets.lengths.max() < longest_text(tokens, GREEDY) == 64
    texts = predict(backbone, prompt, long, tokens)
    capped = predict(
        backbone, prompt, long, tokens, decoding=Decoding(max_new_tokens=MAX_NEW_TOKENS)
    )
    assert texts != capped
    assert all(text.startswith(start) for text, start in zip(texts, capped, strict=True))


@pytest.mark.parametrize("method", ["auto", "rank", "generate"])
def test_no_examples_have_no_answers(
    method: str, backbone: Backbone, examples: list[Example], data: Tokenized, prompt: np.ndarray
) -> None:
    nothing = Questions(0, [], tokens_of(backbone, []))
    assert predict_many(backbone, Soft(prompt[None]), [nothing], method=method) == [[]]
    assert predict_many(backbone, Soft(prompt[None]), [], method=method) == []
    some = Questions(0, examples, data)
    beside = predict_many(backbone, Soft(prompt[None]), [nothing, some, nothing], method=method)
    assert beside == [[], predict(backbone, prompt, examples, data, method=method), []]
