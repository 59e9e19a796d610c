"""The database in memory: synsets, the senses of words, and the split of each synset."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.wordnet.words import digest

Split = Literal["train", "dev", "test"]

SPLITS: tuple[Split, ...] = ("train", "dev", "test")

HYPERNYM = "@"

INSTANCE_OF = "@i"

ANTONYM = "!"

PART_OF = ("#p", "#s")
"""Pointers from a part to its wholes. Members ("#m") are left out: most of them are biological taxonomy."""

RELATED = (HYPERNYM, "~", ANTONYM, "&", "^", "$", "+", "\\", "=")
"""Pointers between synsets too near in meaning for one to stand as a wrong answer for the other."""

INDECENT = re.compile(
    r"offensive (term|name|word)|obscen|\bslurs?\b|derogatory|disparag|vulgar|sexual|genital|penis|vagina"
    r"|prostitut|\brap(e|ed|ing|ist)s?\b"
)
"""Synsets with this in their words or gloss are left out of the tasks and the corpus."""


@dataclass(frozen=True)
class Pointer:
    """A relation of a synset to another; the word numbers are 0 where it concerns the synsets as a whole."""

    symbol: str
    target: str
    source_word: int
    target_word: int


@dataclass(frozen=True)
class Synset:
    """A set of synonyms with its gloss. ``definition`` is empty where the gloss gives none fit for a task."""

    identifier: str
    supersense: str
    words: tuple[str, ...]
    pointers: tuple[Pointer, ...]
    gloss: str
    definition: str
    examples: tuple[str, ...]

    @property
    def is_decent(self) -> bool:
        """Whether nobody need object to meeting the synset in a data set."""
        return not INDECENT.search(" ".join((*self.words, self.gloss)))

    @property
    def part_of_speech(self) -> str:
        """One of n, v, a and r, the first letter of the identifier."""
        return self.identifier[0]

    def targets(self, *symbols: str) -> list[str]:
        """The synsets that pointers with one of the symbols lead to."""
        return [pointer.target for pointer in self.pointers if pointer.symbol in symbols]


def plain_words(synset: Synset) -> list[str]:
    """The synset's words of lower-case letters, hyphens and spaces; leaves out proper and Latin names."""
    return [word for word in synset.words if re.fullmatch(r"[a-z]+([ -][a-z]+)*", word)]


@dataclass(frozen=True)
class WordNet:
    """The database: its synsets, the senses of each word in order of frequency, and every synset's split."""

    synsets: Mapping[str, Synset]
    senses: Mapping[tuple[str, str], tuple[str, ...]]
    sense_counts: Mapping[tuple[str, str], int]
    irregular_forms: Mapping[tuple[str, str], frozenset[str]]
    splits: Mapping[str, Split]
    antonyms: frozenset[frozenset[str]]

    def senses_of(self, word: str, part_of_speech: str) -> tuple[str, ...]:
        """Identifiers of the synsets that the word is in, its most frequent sense first."""
        return self.senses.get((word.lower(), part_of_speech), ())

    def count(self, word: str, identifier: str) -> int:
        """How often the word has this sense in WordNet's sense-tagged texts."""
        return self.sense_counts.get((word.lower(), identifier), 0)

    def total_count(self, word: str, part_of_speech: str) -> int:
        """How often the word occurs, in any sense, in WordNet's sense-tagged texts."""
        return sum(
            self.count(word, identifier) for identifier in self.senses_of(word, part_of_speech)
        )

    def sense_number(self, word: str, synset: Synset) -> int:
        """1 where the synset is the word's most frequent sense, 2 for the next and so on."""
        return self.senses_of(word, synset.part_of_speech).index(synset.identifier) + 1

    def usable(self, split: Split) -> list[Synset]:
        """The split's synsets that tasks may use, in a fixed order that is as good as random."""
        chosen = (
            synset
            for synset in self.synsets.values()
            if self.splits[synset.identifier] == split
            and synset.definition
            and plain_words(synset)
            and not synset.targets(INSTANCE_OF)
            and synset.is_decent
        )
        return sorted(chosen, key=lambda synset: digest("order", synset.identifier))

    def best_word(self, synset: Synset) -> str:
        """The synset's most frequent plain word."""
        return max(plain_words(synset), key=lambda word: self.count(word, synset.identifier))

    def reachable(self, start: Iterable[str], *symbols: str) -> set[str]:
        """All synsets that pointers with these symbols lead to from the given ones, which are included."""
        reached = set(start)
        waiting = list(reached)
        while waiting:
            targets = self.synsets[waiting.pop()].targets(*symbols)
            waiting.extend(target for target in targets if target not in reached)
            reached.update(targets)
        return reached
