"""Family "relation": words with their categories, parts with their wholes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.wordnet.examples import Example, Pair, is_familiar, next_accepted
from benchmarks.wordnet.labels import PHYSICAL
from benchmarks.wordnet.synsets import HYPERNYM, INSTANCE_OF, PART_OF, Split, Synset, WordNet
from benchmarks.wordnet.words import coin, digest, shares_word

LEAST_CATEGORY_DEPTH = 4
"""Categories nearer than this to the root "entity" are too abstract to ask about ("thing", "whole")."""

WHOLES_OF_ONE_PART = 3
"""The most wholes that one part is shown with, lest a "cell" of every "organism" prevail."""


def isa_examples(wordnet: WordNet, split: Split) -> Iterator[Example]:
    """Words with a category they fall under, or with another word's, half of these of a like kind."""
    pairs = category_pairs(wordnet, split)
    for position, pair in enumerate(pairs):
        yield pair.example(("word", "category"), "yes")
        for other in next_accepted(pairs, position, accepts_wrong_category(wordnet, pair), 1):
            wrong = Pair(pair.left, pair.left_synset, other.right, other.right_synset)
            yield wrong.example(("word", "category"), "no")


def accepts_wrong_category(wordnet: WordNet, pair: Pair) -> Callable[[Pair], bool]:
    """A test for pairs whose category the word of the given pair does not fall under in any sense."""
    ancestors = wordnet.reachable(wordnet.senses_of(pair.left, "n"), HYPERNYM, INSTANCE_OF)
    any_kind = coin("isa", pair.left, pair.right)

    def accepts(other: Pair) -> bool:
        return (
            (any_kind or other.right_synset.supersense == pair.right_synset.supersense)
            and ancestors.isdisjoint(wordnet.senses_of(other.right, "n"))
            and not shares_word(pair.left, other.right)
        )

    return accepts


def category_pairs(wordnet: WordNet, split: Split) -> list[Pair]:
    """Familiar nouns of the split with the categories one to three levels above that are in it too."""
    usable = {synset.identifier: synset for synset in wordnet.usable(split)}
    pairs = []
    for synset in usable.values():
        word = wordnet.best_word(synset)
        if synset.part_of_speech != "n" or not is_familiar(wordnet, word, synset, 1):
            continue
        for category in categories_above(wordnet, synset):
            if category.identifier in usable:
                name = wordnet.best_word(category)
                if is_familiar(wordnet, name, category, 2) and not shares_word(word, name):
                    pairs.append(Pair(word, synset, name, category))
    return sorted(pairs, key=lambda pair: digest("isa", pair.left, pair.right))


def categories_above(wordnet: WordNet, synset: Synset) -> list[Synset]:
    """The synset's hypernyms up to three levels above it, except for the most abstract ones."""
    categories: list[Synset] = []
    level = [synset]
    for _ in range(3):
        level = [wordnet.synsets[target] for each in level for target in each.targets(HYPERNYM)]
        categories += [each for each in level if depth(wordnet, each) >= LEAST_CATEGORY_DEPTH]
    return categories


def depth(wordnet: WordNet, synset: Synset) -> int:
    """The number of steps from the synset up to the root, along the first hypernym of each."""
    steps = 0
    while hypernyms := synset.targets(HYPERNYM):
        synset = wordnet.synsets[hypernyms[0]]
        steps += 1
    return steps


def part_examples(wordnet: WordNet, split: Split) -> Iterator[Example]:
    """Words for a part and its whole, and parts with the whole of another part."""
    pairs = part_pairs(wordnet, split)
    for position, pair in enumerate(pairs):
        yield pair.example(("part", "whole"), "yes")
        for other in next_accepted(pairs, position, accepts_wrong_whole(wordnet, pair), 1):
            wrong = Pair(pair.left, pair.left_synset, other.right, other.right_synset)
            yield wrong.example(("part", "whole"), "no")


def part_pairs(wordnet: WordNet, split: Split) -> list[Pair]:
    """Parts with their wholes, or the kinds of these, that are in the split as well; a few for each part."""
    usable = {synset.identifier: synset for synset in wordnet.usable(split)}
    pairs: list[Pair] = []

    def familiar_first(pair: Pair) -> tuple[bool, int]:
        return wordnet.total_count(pair.right, "n") == 0, digest("whole", pair.left, pair.right)

    for part in usable.values():
        kinds = wordnet.reachable(part.targets(*PART_OF), "~")
        wholes = [usable[identifier] for identifier in sorted(kinds & usable.keys())]
        named = (
            Pair(wordnet.best_word(part), part, wordnet.best_word(whole), whole) for whole in wholes
        )
        fit = [pair for pair in named if is_physical_part(wordnet, pair)]
        pairs += sorted(fit, key=familiar_first)[:WHOLES_OF_ONE_PART]
    return sorted(pairs, key=lambda pair: digest("part", pair.left, pair.right))


def is_physical_part(wordnet: WordNet, pair: Pair) -> bool:
    """Whether the whole is a physical thing, one word is well known, and both are understood as meant."""
    numbers = (
        wordnet.sense_number(pair.left, pair.left_synset),
        wordnet.sense_number(pair.right, pair.right_synset),
    )
    known = wordnet.total_count(pair.left, "n") + wordnet.total_count(pair.right, "n") > 0
    physical = pair.right_synset.supersense in PHYSICAL
    return known and physical and max(numbers) <= 2 and not shares_word(pair.left, pair.right)


def accepts_wrong_whole(wordnet: WordNet, pair: Pair) -> Callable[[Pair], bool]:
    """A test for pairs whose whole does not have the part of the given pair, directly or by inheritance."""
    wholes = wordnet.reachable(wordnet.senses_of(pair.left, "n"), *PART_OF)
    above = wordnet.reachable(wholes, HYPERNYM)
    any_kind = coin("part", pair.left, pair.right)

    def accepts(other: Pair) -> bool:
        senses = wordnet.senses_of(other.right, "n")
        return (
            (any_kind or other.right_synset.supersense == pair.right_synset.supersense)
            and wholes.isdisjoint(wordnet.reachable(senses, HYPERNYM, INSTANCE_OF))
            and above.isdisjoint(senses)
            and not shares_word(pair.left, other.right)
        )

    return accepts
