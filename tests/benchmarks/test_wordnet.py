"""The program behind the WordNet tasks: how it reads the database and places synsets in splits."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.wordnet.database import parse_synset, split_gloss, split_of
from benchmarks.wordnet.synsets import Synset
from benchmarks.wordnet.words import inflected_forms, leaks


def test_parse_synset() -> None:
    synset = parse_synset(
        "00001740 00 a 02 able 0 up_to(p) 0 002 = 05200169 n 0000 ! 00002098 a 0101 | "
        '(usually followed by `to\') having the necessary means; "able to swim"; "she was able"  '
    )
    assert isinstance(synset, Synset)
    assert (synset.identifier, synset.supersense) == ("a00001740", "adj.all")
    assert synset.words == ("able", "up to")
    assert synset.definition == "having the necessary means"
    assert synset.examples == ("able to swim", "she was able")
    assert synset.targets("!") == ["a00002098"]


@pytest.mark.parametrize(
    ("gloss", "definition"),
    [
        ("(botany) of or relating to plants", "of or relating to plants"),
        ('the rise; or "run" of a step', ""),
        ("two words", ""),
    ],
)
def test_split_gloss(gloss: str, definition: str) -> None:
    assert split_gloss(gloss)[0] == definition


def test_leaks_finds_words_of_the_same_stem() -> None:
    assert leaks("numbing", "causing numbness or insensitivity")
    assert not leaks("gain", "the amount of increase in signal power")


def test_inflected_forms() -> None:
    assert {"carries", "carried", "carrying"} <= inflected_forms("carry", "v", frozenset())
    assert {"stopped", "stopping", "stops"} <= inflected_forms("stop", "v", frozenset())
    assert {"made", "making", "makes"} <= inflected_forms("make", "v", frozenset({"made"}))
    assert {"happier", "happiest"} <= inflected_forms("happy", "a", frozenset())


def test_split_of_is_fixed_and_has_about_the_intended_shares() -> None:
    counts = Counter(split_of(f"n{number:08d}") for number in range(10_000))
    assert [
        round(counts[split] / 10_000, 2) for split in ("train", "dev", "test")
    ] == pytest.approx([0.70, 0.12, 0.18], abs=0.015)
