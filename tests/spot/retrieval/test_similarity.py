"""One vector a prompt gives the same similarities as all pairs of tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bank.vectors import average, average_normalized
from spot.errors import RetrievalError
from spot.retrieval.similarity import SPOT_MEASURES, Directions, compare, rounding, similarity
from tests.closeness import assert_close, tolerance

# magnitudes whose sums are exact in float64, so that a mean that cancels does so in every formula
ENTRIES = st.one_of(
    st.just(0.0),
    st.floats(2.0**-10, 2.0**10, width=32),
    st.floats(-(2.0**10), -(2.0**-10), width=32),
)


def prompts(width: int) -> st.SearchStrategy[np.ndarray]:
    return st.integers(1, 6).flatmap(
        lambda length: hnp.arrays(np.float32, (length, width), elements=ENTRIES)
    )


PAIRS = st.integers(1, 6).flatmap(lambda width: st.tuples(prompts(width), prompts(width)))


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    """Cosine of two vectors; a zero vector has none, and counts as zero."""
    norms = np.linalg.norm(left) * np.linalg.norm(right)
    return float(left @ right / norms) if norms > 0 else 0.0


def all_pairs(left: np.ndarray, right: np.ndarray, measure: str) -> float:
    """SPoT's formulae as they are written."""
    left, right = left.astype(np.float64), right.astype(np.float64)
    if measure == "average":
        return cosine(left.mean(axis=0), right.mean(axis=0))
    return float(np.mean([[cosine(l_token, r_token) for r_token in right] for l_token in left]))


@pytest.mark.parametrize("measure", SPOT_MEASURES)
@settings(max_examples=150, deadline=None)
@given(pair=PAIRS)
def test_one_vector_equals_all_pairs_of_tokens(
    measure: str, pair: tuple[np.ndarray, np.ndarray]
) -> None:
    left, right = pair
    assert_close(similarity(left, right, measure), all_pairs(left, right, measure), scale=1.0)


@pytest.mark.parametrize("measure", SPOT_MEASURES)
@settings(max_examples=60, deadline=None)
@given(pair=PAIRS)
def test_similarity_is_symmetric_and_bounded(
    measure: str, pair: tuple[np.ndarray, np.ndarray]
) -> None:
    left, right = pair
    there, back = similarity(left, right, measure), similarity(right, left, measure)
    assert_close(there, back, scale=1.0, dtype=np.float64)
    assert abs(there) <= 1 + tolerance(1.0)
    assert_close(similarity(-left, right, measure), -there, scale=1.0, dtype=np.float64)


@pytest.mark.parametrize("measure", SPOT_MEASURES)
@settings(max_examples=60, deadline=None)
@given(pair=PAIRS, data=st.data())
def test_the_order_of_tokens_does_not_matter(
    measure: str, pair: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    left, right = pair
    shuffled = left[data.draw(st.permutations(range(len(left))))]
    assert_close(similarity(shuffled, right, measure), similarity(left, right, measure), scale=1.0)


@settings(max_examples=60, deadline=None)
@given(pair=PAIRS, power=st.integers(-8, 8))
def test_the_scale_of_a_prompt_does_not_matter_to_average(
    pair: tuple[np.ndarray, np.ndarray], power: int
) -> None:
    left, right = pair
    scaled = left * np.float32(2.0**power)
    assert_close(similarity(scaled, right), similarity(left, right), scale=1.0)


@settings(max_examples=60, deadline=None)
@given(pair=PAIRS, data=st.data())
def test_the_scale_of_each_token_does_not_matter_to_per_token(
    pair: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    left, right = pair
    powers = data.draw(st.lists(st.integers(-8, 8), min_size=len(left), max_size=len(left)))
    scaled = left * np.exp2(np.array(powers, np.float32))[:, None]
    assert_close(
        similarity(scaled, right, "per_token"), similarity(left, right, "per_token"), scale=1.0
    )


@settings(max_examples=60, deadline=None)
@given(prompt=st.integers(1, 6).flatmap(prompts))
def test_the_vector_of_per_token_has_a_norm_of_at_most_one(prompt: np.ndarray) -> None:
    assert np.linalg.norm(average_normalized(prompt).astype(np.float64)) <= 1 + tolerance(1.0)


def test_the_vector_of_per_token_is_not_normalised_again() -> None:
    axes = np.eye(2, dtype=np.float32)
    assert_close(np.linalg.norm(average_normalized(axes)), np.sqrt(0.5))
    assert_close(similarity(axes, axes, "per_token"), 0.5)
    assert_close(similarity(axes, axes, "average"), 1.0)


def test_the_measures_differ_where_one_token_is_long() -> None:
    left = np.array([[100, 0], [0, 1]], np.float32)
    right = np.array([[1, 0]], np.float32)
    assert_close(similarity(left, right, "average"), 100 / np.hypot(100, 1))
    assert_close(similarity(left, right, "per_token"), 0.5)


@pytest.mark.parametrize("measure", SPOT_MEASURES)
def test_a_prompt_of_zeros_is_similar_to_nothing(measure: str) -> None:
    assert similarity(np.zeros((2, 3)), np.ones((2, 3)), measure) == 0.0


@pytest.mark.parametrize("measure", SPOT_MEASURES)
def test_many_keys_are_compared_as_one_by_one(measure: str) -> None:
    rng = np.random.default_rng(0)
    vector = {"average": average, "per_token": average_normalized}[measure]
    query, keys = rng.normal(size=(5, 8)), rng.normal(size=(7, 5, 8))
    together = compare(vector(query), np.stack([vector(key) for key in keys]), measure)
    assert together.dtype == np.float64
    alone = [similarity(query, key, measure) for key in keys]
    assert_close(together, alone, scale=1.0, dtype=np.float64)


@pytest.mark.parametrize("measure", SPOT_MEASURES)
@pytest.mark.parametrize("width", [4, 7, 64, 1000])
def test_equal_keys_are_equally_similar_wherever_they_stand(measure: str, width: int) -> None:
    query, key = np.random.default_rng(width).normal(size=(2, width)).astype(np.float32)
    for count in range(2, 40):
        assert len(set(compare(query, np.tile(key, (count, 1)), measure).tolist())) == 1


def test_similarities_are_computed_in_float64() -> None:
    query, *keys = np.random.default_rng(0).normal(size=(9, 768)).astype(np.float32)
    expected = [cosine(query.astype(np.float64), key.astype(np.float64)) for key in keys]
    assert_close(compare(query, np.stack(keys), "average"), expected, scale=1.0, dtype=np.float64)


def test_unknown_measures_and_other_widths_are_refused() -> None:
    prompt = np.ones((2, 3))
    with pytest.raises(
        RetrievalError, match="similarity 'euclidean' is not known; choose from average, per_token"
    ):
        similarity(prompt, prompt, "euclidean")
    with pytest.raises(RetrievalError, match="width 3 and 4 belong to different backbones"):
        similarity(prompt, np.ones((2, 4)))


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    width=st.sampled_from([1, 4, 300]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_a_quick_cosine_is_right_to_its_rounding(seed: int, width: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    keys = (scale * rng.normal(size=(20, width))).astype(np.float32)
    query = rng.normal(size=width)
    directions = Directions(keys)
    assert np.abs(directions.quick_cosines(query) - directions.cosines(query)).max() <= rounding(
        width
    )
