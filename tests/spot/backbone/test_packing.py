"""A packed sequence gives every target the loss that it has where it is padded and alone."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone import packing
from spot.backbone.soft import Soft, stack
from spot.prompts.forms import FORMS
from tests.closeness import assert_close
from tests.spot.backbone.conftest import CONFIGS, Case, make_case

TERMS = 300


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case(CONFIGS["llama"])


def real(tokens, place) -> np.ndarray:
    return np.asarray(tokens.ids[place])[np.asarray(tokens.mask[place])]


def rows_of(case: Case) -> list[packing.Row]:
    """All choices of every example as its targets; those of one prompt together."""
    order = np.argsort(np.asarray(case.prompt_ids), kind="stable")
    return [
        packing.Row(
            int(case.prompt_ids[row]),
            real(case.inputs, row),
            [real(case.choices, (row, choice)) for choice in range(case.choices.ids.shape[1])],
        )
        for row in order
    ]


def scores_of(case: Case, soft: Soft, tokens: int) -> np.ndarray:
    """Log-likelihoods ``[B, C]`` in the order of the case, from sequences of so many tokens."""
    found: list[np.ndarray] = []
    for portion in packing.portions(rows_of(case), soft.length, tokens=tokens):
        packed = portion.packed
        losses = np.asarray(case.packed_losses(soft.take(portion.stack), packed))
        summed = np.zeros(sum(len(row.targets) for row in portion.rows))
        np.add.at(summed, packed.owners[packed.mask], losses[packed.mask])
        assert not losses[~packed.mask].any()
        found.extend(-summed.reshape(len(portion.rows), -1))
    order = np.argsort(np.argsort(np.asarray(case.prompt_ids), kind="stable"), kind="stable")
    return np.array(found)[order]


@pytest.mark.parametrize("tokens", [30, 1000])
def test_choices_score_as_they_do_padded(case: Case, tokens: int) -> None:
    expected = case.choice_scores(case.soft, case.prompt_ids, case.inputs, case.choices)
    assert_close(scores_of(case, case.soft, tokens), expected, terms=TERMS)


def test_prompts_of_several_lengths_share_a_sequence(case: Case) -> None:
    short = Soft(case.prompts[2:, 2:])
    soft = stack([Soft(case.prompts[:2]), short])
    expected = case.choice_scores(soft, case.prompt_ids, case.inputs, case.choices)
    assert_close(scores_of(case, soft, 1000), expected, terms=TERMS)


def test_other_forms_and_none_score_as_they_do_padded(case: Case) -> None:
    rng = np.random.default_rng(3)
    layers = rng.normal(size=(3, case.model.config.layers - 1, *case.prompts.shape[1:]))
    prefixes = rng.normal(size=(3, *FORMS["prefix"].shape(case.model.config, 4)))
    for soft in (
        Soft(case.prompts, layers=jnp.asarray(layers, jnp.float32)),
        Soft(case.prompts[:, :0]),
        FORMS["prefix"].soft(jnp.asarray(prefixes, jnp.float32), case.model.config),
    ):
        expected = case.choice_scores(soft, case.prompt_ids, case.inputs, case.choices)
        assert_close(scores_of(case, soft, 1000), expected, terms=TERMS)


@pytest.mark.parametrize("tokens", [1, 30, 50, 70, 1000])
def test_sequences_are_few_and_alike(case: Case, tokens: int) -> None:
    rows = rows_of(case)
    portions = packing.portions(rows, 4, tokens=tokens)
    assert [row for portion in portions for row in portion.rows] == rows
    sizes = [size_of(portion.rows) for portion in portions]
    assert all(
        size <= tokens or len(portion.rows) == 1
        for size, portion in zip(sizes, portions, strict=True)
    )
    assert len(portions) == fewest(rows, tokens)
    shapes = {
        (len(portion.stack), *(array.shape for array in portion.packed)) for portion in portions
    }
    assert len(shapes) == 1  # so that they share a program


def test_sequences_are_no_longer_than_they_need_be(case: Case) -> None:
    row = rows_of(case)[0]
    tokens = size_of([row] * 12)
    lengths = [len(p.packed.ids) for p in packing.portions([row] * 13, 4, tokens=tokens)]
    assert len(lengths) == 2
    assert max(lengths) < bucket_of(12 * row.tokens)


def test_no_rows_are_no_sequence() -> None:
    assert packing.portions([], 4) == []


def size_of(rows: Sequence[packing.Row]) -> int:
    """Tokens of a sequence, its prompts of four included."""
    return sum(row.tokens for row in rows) + 4 * len({row.prompt for row in rows})


def fewest(rows: Sequence[packing.Row], tokens: int) -> int:
    """Sequences that hold the rows in their order, each as full as may be."""
    count, begin = 0, 0
    while begin < len(rows):
        ends = range(begin + 1, len(rows) + 1)
        begin = max([begin + 1, *(end for end in ends if size_of(rows[begin:end]) <= tokens)])
        count += 1
    return count


def test_a_sequence_is_filled_up_and_its_spare_tokens_count_for_nothing(case: Case) -> None:
    rows = [*rows_of(case), rows_of(case)[-1]]
    (portion,) = packing.portions(rows, 4)
    packed = portion.packed
    assert packed.ids.shape == (bucket_of(sum(row.tokens for row in rows)),)
    assert packed.grid.shape[0] == 6
    assert (packed.grid[5] == len(packed.ids)).all()
    soft = case.soft.take(np.array([0, 2]))
    before = case.packed_losses(soft, packed)
    ids = packed.ids.copy()
    ids[sum(row.tokens for row in rows) :] = 7
    assert_close(case.packed_losses(soft, packed._replace(ids=ids)), before, terms=TERMS)


def bucket_of(tokens: int) -> int:
    return min(length for length in packing.LENGTHS if length >= tokens)
