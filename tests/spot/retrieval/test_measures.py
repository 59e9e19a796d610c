"""Every measure against its definition written out, and what it must not care about."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest

from bank.keys import keys_of_prompts
from spot.cli.training import Similarity
from spot.errors import RetrievalError
from spot.retrieval.keys import Context, KeySet
from spot.retrieval.measures import MEASURES, checked_measure
from spot.retrieval.query import Query
from spot.retrieval.similarity import similarity
from tests.closeness import assert_close

RNG = np.random.default_rng(5)
LENGTH, WIDTH, COUNT = 4, 6, 5
QUERY = RNG.normal(size=(LENGTH, WIDTH)).astype(np.float32)
PROMPTS = RNG.normal(size=(COUNT, LENGTH, WIDTH)).astype(np.float32)
START = RNG.normal(size=WIDTH).astype(np.float32)
EMBEDDING = RNG.normal(size=(40, WIDTH)).astype(np.float32)


def key_set(
    prompts: np.ndarray, context: Context | None = None, seeds: Sequence[int] | None = None
) -> KeySet:
    names = [f"task {i}" for i in range(len(prompts))]
    keys = keys_of_prompts(
        names, prompts, addresses=[str(i) for i in range(len(prompts))], seeds=seeds
    )
    return KeySet(keys, lambda address: prompts[int(address)], context=context)


def score(measure: str, query: np.ndarray = QUERY, prompts: np.ndarray = PROMPTS) -> np.ndarray:
    context = Context(
        embedding=lambda: EMBEDDING,
        losses=lambda values: np.array([np.abs(v).sum() for v in values]),
        start=lambda _seed: START,
    )
    return MEASURES[measure](Query(query, START), key_set(prompts, context))


def unit(tokens: np.ndarray) -> np.ndarray:
    return np.asarray(tokens / np.linalg.norm(tokens, axis=1, keepdims=True))


@pytest.mark.parametrize("measure", ["average", "per_token"])
def test_measures_of_the_paper_are_the_similarities_of_pairs(measure: str) -> None:
    assert_close(
        score(measure), [similarity(QUERY, prompt, measure) for prompt in PROMPTS], scale=1.0
    )


@pytest.mark.parametrize("measure", [name for name in MEASURES if name != "trial"])
def test_the_order_of_virtual_tokens_does_not_matter(measure: str) -> None:
    shuffled = PROMPTS[:, [2, 0, 3, 1]]
    assert_close(score(measure, QUERY[::-1], shuffled), score(measure), scale=1.0)


@pytest.mark.parametrize("measure", ["average", "per_token", "matching", "subspace", "vocabulary"])
def test_longer_tokens_all_alike_do_not_matter(measure: str) -> None:
    assert_close(score(measure, 3 * QUERY, 7 * PROMPTS), score(measure), scale=1.0)


def test_displacement_is_the_cosine_of_ways_from_the_starts() -> None:
    expected = [similarity(QUERY - START, prompt - START, "average") for prompt in PROMPTS]
    assert_close(score("displacement"), expected, scale=1.0)


def test_centred_does_not_care_what_all_prompts_share() -> None:
    shared = 10 * np.ones(WIDTH, np.float32)
    assert_close(score("centred", QUERY + shared, PROMPTS + shared), score("centred"), scale=10.0)
    assert score("average", QUERY + shared, PROMPTS + shared) == pytest.approx(
        np.ones(COUNT), abs=0.05
    )


def test_seed_centred_does_not_care_where_a_seed_starts() -> None:
    tasks, starts = RNG.normal(size=(3, 1, WIDTH)), 9 * RNG.normal(size=(2, 1, WIDTH))
    prompts = np.concatenate([tasks + start for start in starts]).astype(np.float32)
    keys = key_set(prompts, seeds=[0, 0, 0, 1, 1, 1])
    query = (tasks[1] + starts[1]).astype(np.float32)
    assert np.argsort(-MEASURES["average"](query, keys)).tolist()[:3] != [1, 4]
    found = MEASURES["seed_centred"](query, keys)
    assert_close(found[:3], found[3:], scale=10.0)
    assert_close(found[[1, 4]], 1.0, scale=10.0)


def test_matching_is_the_best_of_all_permutations() -> None:
    def best(prompt: np.ndarray) -> float:
        orders = itertools.permutations(range(LENGTH))
        return max(
            float(np.mean(np.sum(unit(QUERY) * unit(prompt)[list(order)], axis=1)))
            for order in orders
        )

    assert_close(score("matching"), [best(prompt) for prompt in PROMPTS], scale=1.0)


def test_subspace_sees_only_what_tokens_span() -> None:
    mixed = (RNG.normal(size=(LENGTH, LENGTH)) @ QUERY).astype(np.float32)
    inside, outside = np.eye(LENGTH, 2 * LENGTH), np.eye(LENGTH, 2 * LENGTH, LENGTH)
    assert_close(score("subspace", QUERY, mixed[None]), [1.0], terms=1000)
    assert_close(score("subspace", inside, np.stack([inside, outside])), [1.0, 0.0])


def test_vocabulary_correlates_profiles_over_words() -> None:
    def profile(prompt: np.ndarray) -> np.ndarray:
        return np.asarray((unit(EMBEDDING) @ unit(prompt).T).mean(axis=1))

    expected = [np.corrcoef(profile(QUERY), profile(prompt))[0, 1] for prompt in PROMPTS]
    assert_close(score("vocabulary"), expected, scale=1.0)


def test_trial_prefers_the_value_of_least_loss() -> None:
    assert (
        np.argsort(-score("trial")).tolist()
        == np.argsort([np.abs(prompt).sum() for prompt in PROMPTS]).tolist()
    )


@pytest.mark.parametrize("measure", ["vocabulary", "trial"])
def test_a_measure_that_needs_more_than_prompts_says_so(measure: str) -> None:
    with pytest.raises(RetrievalError, match="rank for a TARGET task"):
        MEASURES[measure](QUERY, key_set(PROMPTS))


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(
        RetrievalError, match="'euclidean' is not known; choose from auto, displacement, average"
    ):
        checked_measure("euclidean")


def test_the_commands_help_says_of_every_measure_what_the_table_does() -> None:
    text = get_args(Similarity)[1].help
    assert all(re.search(rf"\b{name}\b", text) for name in MEASURES)
    described = re.findall(r"(\w+) \(([^)]*)\)", text)
    assert len(described) > 7
    assert all(MEASURES[name].about.endswith(said) for name, said in described)
