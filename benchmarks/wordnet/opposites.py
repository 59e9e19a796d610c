"""Family "relation": synonyms and antonyms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from benchmarks.wordnet.database import antonym_pairs
from benchmarks.wordnet.examples import Example, Pair, is_familiar, next_accepted
from benchmarks.wordnet.synsets import RELATED, Split, Synset, WordNet, plain_words
from benchmarks.wordnet.words import digest, is_single, looks_alike

ALIKE_KEPT_ONE_IN = 2
"""Of the antonyms spelled much alike, one in this many is kept."""

PAIRS_OF_ONE_OPPOSITION = 3
"""The most pairs of words that are taken from two opposite synsets."""


def synonym_examples(wordnet: WordNet, split: Split) -> Iterator[Example]:
    """Pairs of synonyms and pairs of antonyms."""
    labelled = (
        ("synonym", synonym_pairs(wordnet, split)),
        ("antonym", opposite_pairs(wordnet, split)),
    )
    for label, pairs in labelled:
        for pair in pairs:
            if not pair.for_target_task:
                yield pair.swapped_by_chance().example(("word", "other"), label)


def opposite_examples(wordnet: WordNet, split: Split) -> Iterator[Example]:
    """Pairs of antonyms, against synonyms and the words of two unrelated pairs of antonyms."""
    opposites = [pair for pair in opposite_pairs(wordnet, split) if pair.for_target_task]
    synonyms = [pair for pair in synonym_pairs(wordnet, split) if pair.for_target_task]
    unrelated = [
        Pair(pair.left, pair.left_synset, other.right, other.right_synset)
        for position, pair in enumerate(opposites)
        for other in next_accepted(opposites, position, accepts_unrelated(wordnet, pair), 1)
    ]
    negatives = itertools.chain.from_iterable(zip(synonyms, unrelated, strict=False))
    for label, pairs in (("yes", opposites), ("no", negatives)):
        for pair in pairs:
            yield pair.swapped_by_chance().example(("word", "other"), label)


def opposite_pairs(wordnet: WordNet, split: Split) -> list[Pair]:
    """The split's pairs of antonyms that are single words; those spelled much alike are kept to a few.

    Most antonyms differ by a prefix or suffix alone. Where the synsets of a pair ("increase", "decrease")
    have other familiar words ("increase", "lessen"), these take its place; half of the rest are dropped.
    """
    synsets = {synset.identifier: synset for synset in wordnet.usable(split)}
    pairs: list[Pair] = []
    for left, left_synset, right, right_synset in antonym_pairs(synsets):
        others = itertools.product(
            known_words(wordnet, left_synset), known_words(wordnet, right_synset)
        )
        single = [words for words in ((left, right), *others) if all(map(is_single, words))]
        fit = list(dict.fromkeys(words for words in single if not looks_alike(*words)))
        if single and not fit and digest("alike", left, right) % ALIKE_KEPT_ONE_IN == 0:
            fit = single
        chosen = fit[:PAIRS_OF_ONE_OPPOSITION]
        pairs += [Pair(first, left_synset, second, right_synset) for first, second in chosen]
    return sorted(pairs, key=lambda pair: digest("opposite", pair.left, pair.right))


def synonym_pairs(wordnet: WordNet, split: Split) -> list[Pair]:
    """One pair of familiar words from each synset of the split that has two.

    Two spelled much alike ("ironic", "ironical") are preferred: so are many antonyms ("happy", "unhappy"),
    and a likeness in spelling shall not tell synonyms from antonyms.
    """
    pairs: list[Pair] = []
    for synset in wordnet.usable(split):
        fit = [
            Pair(left, synset, right, synset)
            for left, right in itertools.combinations(known_words(wordnet, synset), 2)
            if frozenset((left, right)) not in wordnet.antonyms
        ]
        if fit:
            pairs.append(max(fit, key=lambda pair: looks_alike(pair.left, pair.right)))
    return sorted(pairs, key=lambda pair: digest("synonym", pair.left, pair.right))


def known_words(wordnet: WordNet, synset: Synset) -> list[str]:
    """The synset's single words that are familiar in its sense."""
    singles = filter(is_single, plain_words(synset))
    return [word for word in singles if is_familiar(wordnet, word, synset, 2)]


def accepts_unrelated(wordnet: WordNet, pair: Pair) -> Callable[[Pair], bool]:
    """A test for pairs of the same part of speech whose right word is not tied to the given left word."""
    part_of_speech = pair.left_synset.part_of_speech
    senses = wordnet.senses_of(pair.left, part_of_speech)
    near = set(senses).union(*(wordnet.synsets[sense].targets(*RELATED) for sense in senses))

    def accepts(other: Pair) -> bool:
        return other.right_synset.part_of_speech == part_of_speech and near.isdisjoint(
            wordnet.senses_of(other.right, part_of_speech)
        )

    return accepts
