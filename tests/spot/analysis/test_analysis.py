"""What prompts are made of: nearest pieces of prompts that are made of pieces, edits, and the line between two."""

from __future__ import annotations

import numpy as np
import pytest

from spot.analysis.edits import EDITS, interpolated
from spot.analysis.neighbours import discretised, neighbours, pieces_of
from spot.backbone.load import Backbone, load_backbone
from spot.errors import PromptError
from spot.inference.many import Given

IDS = [310, 42, 777, 42]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("tiny")


@pytest.fixture
def words(backbone: Backbone) -> np.ndarray:
    """Four pieces of the vocabulary, longer or shorter than they are there, and a little beside."""
    ids = [int(backbone.tokenizer.ordinary_ids()[place]) for place in IDS]
    table = np.asarray(backbone.embedding, np.float32)
    noise = np.random.default_rng(0).normal(size=(4, table.shape[1])).astype(np.float32)
    return np.array([[2.0], [1.0], [0.5], [3.0]], np.float32) * (table[ids] + 0.05 * noise)


def test_the_nearest_pieces_are_those_that_the_tokens_are_made_of(
    backbone: Backbone, words: np.ndarray
) -> None:
    ids = [int(backbone.tokenizer.ordinary_ids()[place]) for place in IDS]
    found = neighbours(backbone, words, count=3)
    assert [nearest[0] for nearest in found.pieces] == pieces_of(backbone, ids)
    assert found.cosines.shape == (4, 3)
    assert (found.cosines[:, 0] > 0.99).all()
    assert (np.diff(found.cosines, axis=1) <= 0).all()
    assert found.control.max() < 0.5 < found.cosines[:, 0].min()
    norms = np.linalg.norm(words, axis=1) / backbone.embedding_norm
    np.testing.assert_allclose(found.norms, norms, rtol=1e-5)
    assert found.shared == 2
    assert found.persisting([pieces_of(backbone, ids[1:2]), ["no such piece"]]) == [2, 0]
    np.testing.assert_array_equal(
        discretised(backbone, words), np.asarray(backbone.embedding, np.float32)[ids]
    )


def test_what_is_put_before_layers_has_no_nearest_pieces(
    backbone: Backbone, words: np.ndarray
) -> None:
    for look in (neighbours, discretised):
        with pytest.raises(PromptError, match="only the form 'prompt' has nearest pieces"):
            look(backbone, words[None])
    assert not list(EDITS["discretise"](backbone, Given(words[None], "deep"), 0))


@pytest.mark.parametrize("axes", [(), (3,), (2, 3)], ids=str)
def test_edits_move_tokens_and_nothing_else(backbone: Backbone, axes: tuple[int, ...]) -> None:
    prompt = np.random.default_rng(1).normal(size=(*axes, 5, 8)).astype(np.float32)
    given = Given(prompt)
    (shuffled,) = EDITS["shuffle"](backbone, given, 3)
    order = [
        next(i for i in range(5) if np.array_equal(prompt[..., i, :], shuffled.prompt[..., j, :]))
        for j in range(5)
    ]
    assert sorted(order) == list(range(5))
    assert order != list(range(5))
    (again,) = EDITS["shuffle"](backbone, given, 3)
    np.testing.assert_array_equal(again.prompt, shuffled.prompt)
    (back,) = EDITS["reverse"](backbone, given, 0)
    np.testing.assert_array_equal(back.prompt[..., ::-1, :], prompt)
    fewer = list(EDITS["drop"](backbone, given, 0))
    assert [edit.name for edit in fewer] == [f"drop {token}" for token in range(1, 6)]
    np.testing.assert_array_equal(fewer[1].prompt, prompt[..., [0, 2, 3, 4], :])
    assert not list(EDITS["drop"](backbone, Given(prompt[..., :1, :]), 0))


def test_a_line_has_both_its_ends() -> None:
    first, last = np.random.default_rng(2).normal(size=(2, 3, 4)).astype(np.float32)
    along = interpolated(first, last, 5)
    np.testing.assert_array_equal(along[0], first)
    np.testing.assert_array_equal(along[-1], last)
    np.testing.assert_allclose(along[2], (first + last) / 2, rtol=1e-6, atol=1e-6)
