"""Rows of task files, and pairs of words that many of them ask about."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.wordnet.synsets import Synset, WordNet
from benchmarks.wordnet.words import coin

Item = TypeVar("Item")


@dataclass(frozen=True)
class Example:
    """One row of a task file: named text fields, the label to produce, and the synsets it was made from."""

    fields: tuple[tuple[str, str], ...]
    label: str
    synsets: tuple[str, ...]

    @property
    def input_key(self) -> tuple[str, ...]:
        """Equal for two examples with the same input, also where their fields are merely swapped."""
        return tuple(sorted(value.lower() for _, value in self.fields))

    @property
    def row(self) -> dict[str, object]:
        """The example as the JSON object that is written to its file."""
        return {**dict(self.fields), "label": self.label, "synsets": list(self.synsets)}


@dataclass(frozen=True)
class Pair:
    """Two words, each with the synset that gives it its meaning."""

    left: str
    left_synset: Synset
    right: str
    right_synset: Synset

    def example(self, names: tuple[str, str], label: str) -> Example:
        """The example that asks about the two words in this order."""
        fields = ((names[0], self.left), (names[1], self.right))
        return Example(fields, label, (self.left_synset.identifier, self.right_synset.identifier))

    def swapped_by_chance(self) -> Pair:
        """The pair or, half the time, its mirror image, so that the order of the words tells nothing."""
        if coin("swap", *sorted((self.left, self.right))):
            return self
        return Pair(self.right, self.right_synset, self.left, self.left_synset)

    @property
    def for_target_task(self) -> bool:
        """Whether the pair is set aside for wn_opposite, which shares no pair of words with wn_synonym."""
        return coin("opposite", *sorted((self.left, self.right)))


def is_familiar(wordnet: WordNet, word: str, synset: Synset, least_sense_number: int) -> bool:
    """Whether the word is a known one, and readily understood in this sense when it stands alone."""
    return (
        wordnet.total_count(word, synset.part_of_speech) > 0
        and wordnet.sense_number(word, synset) <= least_sense_number
    )


def next_accepted(
    items: Sequence[Item], position: int, accepts: Callable[[Item], bool], count: int
) -> list[Item]:
    """The first items after the position, going round, that are accepted; fewer where there are no more."""
    following = itertools.chain(items[position + 1 :], items[:position])
    return list(itertools.islice(filter(accepts, following), count))
