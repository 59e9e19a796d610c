"""Maps between models: exact where one model's words are a turned copy of the other's, honest where they are not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.load import Backbone, load_backbone
from spot.errors import PromptError
from spot.prompts.recycling import (
    FEWEST,
    MAPS,
    NEAREST,
    Pieces,
    fit_recycler,
    shared_pieces,
)
from tests.closeness import assert_close


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("tiny")


@pytest.fixture(scope="module")
def turned(backbone: Backbone) -> tuple[Backbone, np.ndarray]:
    """The same model with its embedding turned and stretched, and what turns it."""
    width = backbone.width
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(width, width)))[0]
    turn = (2.0 * rotation).astype(np.float32)
    model = nnx.merge(backbone.graph, jax.tree.map(jnp.copy, backbone.weights))
    model.embedding[...] = np.asarray(model.embedding[...]) @ turn
    graph, weights = nnx.split(model)
    return dataclasses.replace(backbone, name="turned", graph=graph, weights=weights), turn


@pytest.mark.parametrize("name", ["linear", "network"])
def test_a_turned_embedding_is_found_again(
    backbone: Backbone, turned: tuple[Backbone, np.ndarray], name: str
) -> None:
    other, turn = turned
    recycler = fit_recycler(backbone, other, name)
    assert recycler.shared == len(backbone.tokenizer.ordinary_ids())
    assert recycler.cosine > 0.99
    assert recycler.error < 0.02
    table = np.asarray(backbone.embedding, np.float32)
    sums = np.random.default_rng(1).normal(size=(5, len(table))).astype(np.float32)
    prompt = sums @ table  # words span few of the directions there are
    mapped, expected = recycler.recycle(prompt), prompt @ turn
    assert mapped.dtype == np.float32
    cosines = (mapped * expected).sum(1) / np.linalg.norm(mapped, axis=1)
    assert (cosines / np.linalg.norm(expected, axis=1) > 0.98).all()


def test_sums_of_pieces_are_the_same_sums_of_the_other_model_s() -> None:
    rng = np.random.default_rng(2)
    pieces = Pieces(rng.normal(size=(300, 2 * NEAREST)), rng.normal(size=(300, 12)))
    method = MAPS["combination"]
    numbers = method.fit(pieces)
    assert_close(method.apply(numbers, pieces.source[:7]), pieces.target[:7], terms=1000)
    pair = np.array([[2.0, -1.0]]) @ pieces.source[:2]
    assert_close(
        method.apply(numbers, pair), np.array([[2.0, -1.0]]) @ pieces.target[:2], terms=1000
    )


def test_the_network_goes_beyond_what_is_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spot.prompts.recycling.MLP_STEPS", 3000)
    rng = np.random.default_rng(3)
    source = rng.normal(size=(800, 6)).astype(np.float32)
    target = (np.abs(source) @ rng.normal(size=(6, 4))).astype(np.float32)
    train, unseen = Pieces(source[:700], target[:700]), Pieces(source[700:], target[700:])

    def error(name: str) -> float:
        method = MAPS[name]
        mapped = method.apply(method.fit(train), unseen.source)
        return float(np.square(mapped - unseen.target).mean())

    assert error("network") < 0.5 * error("linear")


def test_pieces_are_shared_by_what_they_stand_for(backbone: Backbone) -> None:
    @dataclasses.dataclass(frozen=True)
    class Other:
        """A byte-level vocabulary: the third and first of ours, and one that is no piece there."""

        size = 3

        def piece(self, index: int) -> str:
            ours = [int(i) for i in backbone.tokenizer.ordinary_ids()[[2, 0]]]
            written = [backbone.tokenizer.piece(i).replace("\u2581", "\u0120") for i in ours]
            return [*written, "no such piece"][index]

        def ordinary_ids(self) -> np.ndarray:
            return np.arange(3, dtype=np.int32)

    other = dataclasses.replace(backbone, tokenizer=Other())
    pieces = shared_pieces(other, backbone)
    table = np.asarray(backbone.embedding, np.float32)
    np.testing.assert_array_equal(pieces.source, table[[0, 1]])
    np.testing.assert_array_equal(pieces.target, table[backbone.tokenizer.ordinary_ids()[[2, 0]]])
    with pytest.raises(
        PromptError, match=f"share 2 pieces of their vocabularies; a map needs {FEWEST}"
    ):
        fit_recycler(other, backbone)


def test_letters_of_several_bytes_are_shared_and_single_bytes_stand_for_none(
    backbone: Backbone,
) -> None:
    @dataclasses.dataclass(frozen=True)
    class Written:
        """A vocabulary of these pieces."""

        pieces: Sequence[str]

        def piece(self, index: int) -> str:
            return self.pieces[index]

        def ordinary_ids(self) -> np.ndarray:
            return np.arange(len(self.pieces), dtype=np.int32)

    def spelt(*pieces: str) -> Backbone:
        return dataclasses.replace(backbone, tokenizer=Written(pieces))

    byte_level = spelt("\u0120caf\u00c3\u00a9", "\u00c3", "\u00e9", "\u0120a")
    ours = spelt("\u2581a", "\u00e9", "\u00c3", "\u2581caf\u00e9")
    table = np.asarray(backbone.embedding, np.float32)
    pieces = shared_pieces(byte_level, ours)
    np.testing.assert_array_equal(pieces.source, table[[0, 3]])
    np.testing.assert_array_equal(pieces.target, table[[3, 0]])


def test_other_forms_and_maps_are_refused(backbone: Backbone) -> None:
    with pytest.raises(PromptError, match="map 'linea' is not known; did you mean 'linear'"):
        fit_recycler(backbone, backbone, "linea")
    with pytest.raises(PromptError, match="only the form 'prompt' is mapped"):
        fit_recycler(backbone, backbone).recycle(np.ones((3, 2, backbone.width), np.float32))
