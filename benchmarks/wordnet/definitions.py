"""Families "topic" and "definition": which class or word a definition belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from benchmarks.wordnet.examples import Example, next_accepted
from benchmarks.wordnet.synsets import RELATED, Split, Synset, WordNet
from benchmarks.wordnet.words import coin, digest, is_single, leaks

LEAST_COUNT_TO_NAME = 2
"""How often a sense must occur in WordNet's sense-tagged texts before its word is to be named freely."""


def topic_examples(wordnet: WordNet, split: Split, labels: Mapping[str, str]) -> Iterator[Example]:
    """Definitions labelled with the plain name of their synset's supersense."""
    for synset in wordnet.usable(split):
        if synset.supersense in labels:
            fields = (("definition", synset.definition),)
            yield Example(fields, labels[synset.supersense], (synset.identifier,))


def defined_words(wordnet: WordNet, split: Split) -> list[tuple[str, Synset]]:
    """The split's synsets by their best words, if these are known and not given away by their definitions."""
    pairs = ((wordnet.best_word(synset), synset) for synset in wordnet.usable(split))
    return [
        (word, synset)
        for word, synset in pairs
        if wordnet.total_count(word, synset.part_of_speech) > 0
        and not leaks(word, synset.definition)
    ]


def accepts_distractor(
    wordnet: WordNet, word: str, synset: Synset, same_kind: bool
) -> Callable[[tuple[str, Synset]], bool]:
    """A test for defined words that could not be confused with the given one by right.

    They have its part of speech and, if asked, its supersense. Neither definition gives the other word away.
    """
    near = {synset.identifier, *synset.targets(*RELATED)}

    def accepts(other: tuple[str, Synset]) -> bool:
        other_word, other_synset = other
        return (
            other_synset.part_of_speech == synset.part_of_speech
            and (not same_kind or other_synset.supersense == synset.supersense)
            and other_synset.identifier not in near
            and near.isdisjoint(wordnet.senses_of(other_word, synset.part_of_speech))
            and word not in other_synset.words
            and not leaks(other_word, synset.definition)
            and not leaks(word, other_synset.definition)
        )

    return accepts


def gloss_word_examples(wordnet: WordNet, split: Split) -> Iterator[Example]:
    """Words with their own definition or another word's, half of these of the same supersense."""
    defined = defined_words(wordnet, split)
    for position, (word, synset) in enumerate(defined):
        shown = synset
        if coin("gloss", synset.identifier):
            same_kind = coin("kind", synset.identifier)
            others = next_accepted(
                defined, position, accepts_distractor(wordnet, word, synset, same_kind), 1
            )
            if not others:
                continue
            shown = others[0][1]
        fields = (("word", word), ("definition", shown.definition))
        identifiers = dict.fromkeys((synset.identifier, shown.identifier))
        yield Example(fields, "yes" if shown is synset else "no", tuple(identifiers))


def choose_word_examples(wordnet: WordNet, split: Split) -> Iterator[Example]:
    """Definitions with four words to choose from, of the same part of speech and supersense."""
    defined = defined_words(wordnet, split)
    for position, (word, synset) in enumerate(defined):
        accepts = accepts_distractor(wordnet, word, synset, same_kind=True)
        choices = {word: synset, **dict(next_accepted(defined, position, accepts, 3))}
        if len(choices) < 4:
            continue
        order = sorted(choices, key=lambda choice: digest("choice", synset.identifier, choice))
        fields = [("definition", synset.definition)]
        fields += [(f"choice{number}", choice) for number, choice in enumerate(order, start=1)]
        yield Example(tuple(fields), word, tuple(choices[choice].identifier for choice in order))


def define_examples(wordnet: WordNet, split: Split) -> Iterator[Example]:
    """Definitions of the most frequent senses of frequent single words, to be named freely."""
    for word, synset in defined_words(wordnet, split):
        frequent = wordnet.count(word, synset.identifier) >= LEAST_COUNT_TO_NAME
        if frequent and is_single(word) and wordnet.sense_number(word, synset) == 1:
            yield Example((("definition", synset.definition),), word, (synset.identifier,))
