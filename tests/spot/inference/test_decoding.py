"""Beam search and sampling against their definitions, row by row and without caches."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.errors import SpotError
from spot.inference.decoding import Decoding, generate
from spot.inference.sampling import Draw, cut
from spot.inference.tokenwise import Limits
from tests.closeness import assert_close
from tests.spot.backbone.conftest import CONFIGS, Case, decoding_of, make_case

LENGTH = 6

NextLikelihoods = Callable[[int, list[int]], np.ndarray]


@pytest.fixture(scope="module", params=["llama", "v1.1"])
def case(request: pytest.FixtureRequest) -> Case:
    made = make_case(CONFIGS[request.param])
    made.model.embedding[...] = 1.5 * made.model.embedding[...]  # some tokens are likelier
    return made


@pytest.fixture(scope="module")
def next_likelihoods(case: Case) -> NextLikelihoods:
    """Log-likelihoods ``[V]`` float32 of what follows a row's tokens so far."""

    @jax.jit
    def logits(tokens: Any) -> Any:
        memory = case.model.read(case.soft, case.prompt_ids, case.inputs)
        rows = len(case.prompt_ids)
        repeated = jnp.repeat(tokens[None, None], rows, axis=0)
        return jax.nn.log_softmax(case.model.logits(case.model.decode(memory, repeated))[:, 0])

    def found(row: int, before: list[int]) -> np.ndarray:
        ids = np.zeros(LENGTH + 1, np.int32)
        ids[: len(before) + 1] = [case.model.config.start_token_id, *before]
        return np.asarray(logits(jnp.asarray(ids)))[row, len(before)]

    return found


def ends_of(case: Case) -> set[int]:
    return {case.model.config.eos_token_id, *case.model.config.more_end_token_ids}


def searched(
    following: NextLikelihoods, row: int, ends: set[int], beams: int, penalty: float, limit: int
) -> tuple[int, ...]:
    """Beam search by its definition: lists of sequences, sorted."""
    running: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    ended: list[tuple[float, tuple[int, ...]]] = []
    for length in range(1, limit + 1):
        candidates = sorted(
            (
                (score + float(gain), (*tokens, token))
                for score, tokens in running
                for token, gain in enumerate(following(row, list(tokens)))
            ),
            key=lambda one: -one[0],
        )[: max(2, 1 + len(ends)) * beams]
        over = [tokens[-1] in ends or length == limit for _, tokens in candidates]
        joining = [
            (score / length**penalty, tokens)
            for (score, tokens), finished in zip(candidates[:beams], over[:beams], strict=True)
            if finished
        ]
        ended = sorted([*ended, *joining], key=lambda one: -one[0])[:beams]
        running = [one for one, finished in zip(candidates, over, strict=True) if not finished]
        running = running[:beams]
        if not running:
            break
        if len(ended) == beams and running[0][0] / length**penalty <= ended[-1][0]:
            break
    return ended[0][1]


@pytest.mark.parametrize(("beams", "penalty"), [(1, 1.0), (3, 1.0), (4, 0.0), (4, 2.0)])
def test_beam_search_finds_what_its_definition_finds(
    case: Case, next_likelihoods: NextLikelihoods, beams: int, penalty: float
) -> None:
    way = Decoding(policy="beam", beams=beams, length_penalty=penalty)
    found = np.asarray(
        decoding_of(case.model, way)(case.soft, case.prompt_ids, case.inputs, LENGTH)
    )
    for row, tokens in enumerate(found):
        expected = searched(next_likelihoods, row, ends_of(case), beams, penalty, LENGTH)
        padding = [case.model.config.pad_token_id] * (LENGTH - len(expected))
        assert tokens.tolist() == [*expected, *padding]


def test_beam_search_finds_what_greedy_decoding_misses(case: Case) -> None:
    given = (case.soft, case.prompt_ids, case.inputs, LENGTH)
    greedy, beam = (
        np.asarray(decoding_of(case.model, way)(*given))
        for way in (Decoding(), Decoding(policy="beam", length_penalty=0.0))
    )
    assert (greedy != beam).any()


@pytest.mark.parametrize("policy", ["greedy", "beam", "sample"])
def test_a_row_ends_at_its_own_limit_whatever_is_beside_it(case: Case, policy: str) -> None:
    way, rows = Decoding(policy=policy), len(case.prompt_ids)
    each = np.array([1 + row % LENGTH for row in range(rows)], np.int32)

    @jax.jit
    def together(limits: Any) -> Any:
        draw = Draw(jnp.uint32(0), jnp.arange(rows))
        return generate(
            case.model,
            case.soft,
            case.prompt_ids,
            case.inputs,
            Limits(limits, LENGTH),
            draw,
            way,
        )

    found = np.asarray(together(jnp.asarray(each)))
    assert (found[np.arange(LENGTH)[None] >= each[:, None]] == case.model.config.pad_token_id).all()
    for row, limit in enumerate(each):
        alone = np.asarray(together(jnp.full(rows, limit, jnp.int32)))[row]
        assert found[row].tolist() == alone.tolist()


def test_one_token_to_draw_from_is_greedy(case: Case) -> None:
    given = (case.soft, case.prompt_ids, case.inputs, LENGTH)
    greedy = decoding_of(case.model, Decoding())(*given)
    for one in (
        Decoding(policy="sample", top_k=1),
        Decoding(policy="sample", top_p=1e-6),
        Decoding(policy="sample", temperature=1e-4),
    ):
        np.testing.assert_array_equal(decoding_of(case.model, one)(*given), greedy)


def test_tokens_are_drawn_as_often_as_they_are_likely(
    case: Case, next_likelihoods: NextLikelihoods
) -> None:
    draws, way = 2000, Decoding(policy="sample", temperature=0.7, top_k=5)

    @jax.jit
    def first(places: Any) -> Any:
        ids = jnp.full(len(places), case.prompt_ids[0])
        inputs = jax.tree.map(lambda x: jnp.repeat(x[:1], len(places), axis=0), case.inputs)
        limits = Limits(jnp.ones(len(places), jnp.int32), 1)
        return generate(
            case.model, case.soft, ids, inputs, limits, Draw(jnp.uint32(3), places), way
        )

    counts = collections.Counter(np.asarray(first(jnp.arange(draws)))[:, 0].tolist())
    logits = next_likelihoods(0, []) / 0.7
    likely = np.argsort(-logits)[:5]
    assert set(counts) <= set(likely.tolist())
    expected = np.exp(logits[likely]) / np.exp(logits[likely]).sum()
    shares = np.array([counts[token] / draws for token in likely.tolist()])
    assert np.abs(shares - expected).max() < 5 * np.sqrt(0.25 / draws)


def test_a_draw_depends_on_seed_and_place_alone(case: Case) -> None:
    def drawn(seed: int) -> np.ndarray:
        way = Decoding(policy="sample", seed=seed, temperature=2.0)
        given = (case.soft, case.prompt_ids, case.inputs, LENGTH)
        return np.asarray(decoding_of(case.model, way)(*given))

    np.testing.assert_array_equal(drawn(1), drawn(1))
    assert (drawn(1) != drawn(2)).any()


def kept(logits: np.ndarray, top_k: int, top_p: float) -> set[int]:
    """Tokens that may be drawn, by the definitions."""
    order = np.argsort(-logits, kind="stable").tolist()[: top_k or None]
    shares = np.exp(logits[order] - logits[order].max())
    shares /= shares.sum()
    count = next((n for n in range(1, len(order)) if shares[:n].sum() >= top_p), len(order))
    return set(order[:count])


@pytest.mark.parametrize("top_k", [0, 1, 4, 100])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.5, 0.01])
def test_cuts_keep_what_their_definitions_keep(top_k: int, top_p: float) -> None:
    logits = np.random.default_rng(0).normal(size=(20, 50)).astype(np.float32) * 2
    left = np.asarray(cut(jnp.asarray(logits), top_k, top_p))
    for given, row in zip(logits, left, strict=True):
        tokens = kept(given, top_k, top_p)
        assert set(np.flatnonzero(row == given).tolist()) == tokens
        shares = np.asarray(jax.nn.softmax(row))
        assert_close(shares[sorted(tokens)].sum(), 1.0, terms=50)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"policy": "beams"}, "'beams'"),
        ({"ranking": "length"}, "'length'"),
        ({"policy": "beam", "beams": 0}, "beams must be 1 to 64"),
        ({"policy": "beam", "length_penalty": float("nan")}, "length penalty must be a number"),
        ({"policy": "sample", "temperature": 0.0}, "temperature must be above 0"),
        ({"policy": "sample", "top_p": 1.5}, "top p must be above 0 and at most 1"),
        ({"policy": "sample", "top_k": -1}, "top k must be 0 or more"),
        ({"policy": "sample", "seed": 2**32}, "seed must be 0 to 4294967295"),
        ({"max_new_tokens": -1}, "max new tokens must be 0 or more"),
        ({"stop": ("",)}, "stop must be texts"),
        ({"beams": 2}, "beams belongs to the decoding policy 'beam', not to 'greedy'"),
        ({"policy": "beam", "top_k": 2}, "top k belongs to the decoding policy 'sample'"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SpotError, match=said):
        Decoding(**given)


def test_options_name_all_that_an_answer_depends_on() -> None:
    assert Decoding().options == {}
    assert Decoding(max_new_tokens=3, stop=(".",)).options == {"max_new_tokens": 3, "stop": (".",)}
    beam = {"policy": "beam", "beams": 4, "length_penalty": 0.5}
    assert Decoding(policy="beam", length_penalty=0.5).options == beam
    sampled = Decoding(policy="sample", top_p=0.9, seed=7)
    assert sampled.options == {
        "policy": "sample",
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 0.9,
        "seed": 7,
    }
    assert sampled.program == dataclasses.replace(sampled, seed=8, stop=("x",)).program
    assert sampled.program != dataclasses.replace(sampled, top_p=0.8).program


def test_a_text_ends_in_front_of_the_first_stop() -> None:
    way = Decoding(stop=("\n", " and"))
    assert way.stopped("one and two\nthree") == "one"
    assert way.stopped("one\ntwo and three") == "one"
    assert way.stopped("one") == "one"
    assert Decoding().stopped("one\n") == "one\n"
