"""Every measure against its definition written out, and what it must not care about."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
import pytest

from bank.keys import keys_of_prompts
from spot.cli.transfer_options import Similarity
from spot.errors import RetrievalError
from spot.retrieval.keys import Context, KeySet
from spot.retrieval.measures import MEASURES, checked_measure, overlaps, standardised
from spot.retrieval.query import Query
from spot.retrieval.similarity import similarity
from tasks.signatures import BUCKETS
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
        activated=lambda prompts: np.array([p.mean(axis=0) @ EMBEDDING.T > 0 for p in prompts]),
        demonstrated=lambda: EMBEDDING[:3] @ EMBEDDING.T > 0,
    )
    return MEASURES[measure](Query(query, START), key_set(prompts, context))


def unit(tokens: np.ndarray) -> np.ndarray:
    return np.asarray(tokens / np.linalg.norm(tokens, axis=1, keepdims=True))


@pytest.mark.parametrize("measure", ["average", "per_token"])
def test_measures_of_the_paper_are_the_similarities_of_pairs(measure: str) -> None:
    assert_close(
        score(measure), [similarity(QUERY, prompt, measure) for prompt in PROMPTS], scale=1.0
    )


@pytest.mark.parametrize("measure", [name for name in MEASURES if name not in ("trial", "text")])
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


def test_fused_is_the_mean_of_average_and_centred_in_standard_deviations() -> None:
    expected = np.zeros(COUNT)
    for name in ("average", "centred"):
        scores = score(name)
        expected += (scores - np.mean(scores)) / np.std(scores) / 2
    assert_close(score("fused"), expected, scale=1.0)
    assert score("fused").sum() == pytest.approx(0, abs=1e-6)


def test_standardised_values_are_standard_deviations_from_the_mean() -> None:
    assert standardised(np.array([1.0, 2.0, 3.0])) == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])
    assert standardised(np.array([2.0, 2.0, 5.0])) == pytest.approx([-(0.5**0.5)] * 2 + [2**0.5])
    for count in range(6):
        assert standardised(np.full(count, 0.1)).tolist() == [0.0] * count


def test_equal_keys_tie_in_fused_and_alone_score_zero() -> None:
    alike = np.concatenate([PROMPTS, PROMPTS[1:2]])
    scores = score("fused", prompts=alike)
    assert scores[1] == scores[-1] != scores[0]
    assert score("fused", prompts=PROMPTS[[2, 2, 2]]).tolist() == [0.0] * 3
    assert score("fused", prompts=PROMPTS[:1]).tolist() == [0.0]


def test_overlaps_are_cosines_of_units_that_fire() -> None:
    fired = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]], bool)
    found = overlaps(fired, np.array([1, 0, 1, 0], bool))
    assert found == pytest.approx([0.5, 0.5**0.5, 0.0, 0.0])
    assert overlaps(fired, np.zeros(4, bool)).tolist() == [0.0] * 4


def test_neurons_compares_units_under_the_query_and_under_keys() -> None:
    def units(prompt: np.ndarray) -> np.ndarray:
        return np.asarray(EMBEDDING @ prompt.mean(axis=0) > 0, np.float64)

    expected = [
        units(QUERY) @ units(p) / np.sqrt(units(QUERY).sum() * units(p).sum()) for p in PROMPTS
    ]
    assert_close(score("neurons"), expected, scale=1.0)
    assert score("neurons", prompts=QUERY[None]) == pytest.approx([1.0])


def test_demonstrations_means_over_examples_and_looks_at_no_query() -> None:
    shown = np.asarray(EMBEDDING[:3] @ EMBEDDING.T > 0, np.float64)
    fired = np.asarray(PROMPTS.mean(axis=1) @ EMBEDDING.T > 0, np.float64)
    cosines = fired @ shown.T / np.sqrt(np.outer(fired.sum(axis=1), shown.sum(axis=1)))
    assert_close(score("demonstrations"), cosines.mean(axis=1), scale=1.0)
    assert np.array_equal(score("demonstrations", 2 - QUERY), score("demonstrations"))


def shares(**words: float) -> np.ndarray:
    """A signature of three words."""
    vector = np.zeros(BUCKETS, np.float16)
    vector[[3, 5, 8]] = [words.get(word, 0.0) for word in "abc"]
    return vector


def of_words(known: Mapping[str, np.ndarray], target: np.ndarray | None) -> KeySet:
    names = ["one", "one", "two"]
    return KeySet(
        keys_of_prompts(names, PROMPTS[:3]),
        lambda _address: PROMPTS[0],
        context=Context(signature=(lambda: target) if target is not None else None),
        signatures=lambda tasks: {task: known[task].tobytes() for task in tasks if task in known},
    )


def test_text_is_the_cosine_of_tf_idf_of_words() -> None:
    known = {"one": shares(a=1, b=0.5), "two": shares(a=1, c=0.5)}
    keys = of_words(known, shares(a=1, b=0.25))
    rare = 1 + np.log(
        2001 / 501
    )  # of two thousand examples five hundred hold it; a word of all has 1
    one, target = np.array([1, 0.5 * rare]), np.array([1, 0.25 * rare])
    length = np.linalg.norm(one) * np.linalg.norm(target)
    assert MEASURES["text"](None, keys) == pytest.approx(
        [one @ target / length, one @ target / length, 1 / length]
    )
    assert MEASURES["text"](None, keys)[0] == pytest.approx(0.9443, abs=1e-4)
    assert MEASURES["text"](None, of_words(known, shares())).tolist() == [0.0] * 3


def test_text_names_the_sources_whose_words_are_not_known_and_what_to_do() -> None:
    keys = of_words({"two": shares(a=1)}, shares(a=1))
    with pytest.raises(RetrievalError, match="not know those of one; `spot bank add-texts` reads"):
        MEASURES["text"](None, keys)


@pytest.mark.parametrize("damaged", [np.zeros(3, np.float16), np.full(BUCKETS, np.nan, np.float16)])
def test_a_damaged_signature_is_refused(damaged: np.ndarray) -> None:
    keys = of_words({"one": shares(a=1), "two": damaged}, shares(a=1))
    with pytest.raises(RetrievalError, match="signature of two is damaged; see `spot bank verify`"):
        MEASURES["text"](None, keys)


@pytest.mark.parametrize("measure", [name for name, one in MEASURES.items() if one.compares_query])
def test_a_measure_that_compares_a_query_says_that_there_is_none(measure: str) -> None:
    with pytest.raises(RetrievalError, match="compares a query; rank for a TARGET task or give"):
        MEASURES[measure](None, key_set(PROMPTS))


@pytest.mark.parametrize("measure", ["vocabulary", "trial", "text", "neurons", "demonstrations"])
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
