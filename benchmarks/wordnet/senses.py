"""Family "sense": which meaning a word has in a sentence."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.wordnet.examples import Example
from benchmarks.wordnet.synsets import RELATED, Split, Synset, WordNet, plain_words
from benchmarks.wordnet.words import coin, digest, inflected_forms, is_single, tokens

SENTENCE_WORDS = range(4, 31)

EXAMPLES_OF_ONE_WORD = 3
"""The most examples of each label that one word contributes to the tasks on senses in context."""


@dataclass(frozen=True)
class Usage:
    """A sentence that uses a word in the sense of a synset."""

    word: str
    sentence: str
    synset: Synset


def usages(wordnet: WordNet, split: Split) -> dict[tuple[str, str], list[Usage]]:
    """For each word of several senses and its part of speech, the split's example sentences that hold it."""
    by_word: dict[tuple[str, str], list[Usage]] = defaultdict(list)
    for synset in wordnet.usable(split):
        for word in plain_words(synset):
            key = (word, synset.part_of_speech)
            if not is_single(word) or len(wordnet.senses_of(*key)) < 2:
                continue
            forms = inflected_forms(*key, wordnet.irregular_forms.get(key, frozenset()))
            for sentence in synset.examples:
                if len(sentence.split()) in SENTENCE_WORDS and forms.intersection(tokens(sentence)):
                    by_word[key].append(Usage(word, sentence, synset))
    return by_word


def same_sense_examples(wordnet: WordNet, split: Split) -> Iterator[Example]:
    """Two sentences with a word, in one sense or in two; each word gives few, lest common verbs prevail."""
    for (word, part_of_speech), sentences in sorted(usages(wordnet, split).items()):
        pairs = sorted(
            itertools.combinations(sentences, 2),
            key=lambda pair: digest(
                "wic", word, part_of_speech, pair[0].sentence, pair[1].sentence
            ),
        )
        for label in ("yes", "no"):
            chosen = (
                (first, second)
                for first, second in pairs
                if sense_label(first.synset, second.synset) == label
                and first.sentence != second.sentence
            )
            for first, second in itertools.islice(chosen, EXAMPLES_OF_ONE_WORD):
                fields = (
                    ("word", word),
                    ("sentence1", first.sentence),
                    ("sentence2", second.sentence),
                )
                identifiers = dict.fromkeys((first.synset.identifier, second.synset.identifier))
                yield Example(fields, label, tuple(identifiers))


def sense_label(first: Synset, second: Synset) -> str | None:
    """Whether two senses of a word are the same, "yes" or "no"; None where they are too near to tell."""
    if first.identifier == second.identifier:
        return "yes"
    near = second.identifier in first.targets(*RELATED) or first.identifier in second.targets(
        *RELATED
    )
    return None if near else "no"


def usage_examples(wordnet: WordNet, split: Split) -> Iterator[Example]:
    """A sentence with a word, and the definition of the sense it has there or of another of its senses."""
    usable = {synset.identifier: synset for synset in wordnet.usable(split)}
    for (word, part_of_speech), sentences in sorted(usages(wordnet, split).items()):
        others = [
            usable[sense] for sense in wordnet.senses_of(word, part_of_speech) if sense in usable
        ]
        for usage in sorted(sentences, key=lambda usage: digest("usage", usage.sentence))[
            :EXAMPLES_OF_ONE_WORD
        ]:
            wrong = [synset for synset in others if sense_label(usage.synset, synset) == "no"]
            if not wrong:
                continue
            right = coin("usage", word, usage.sentence)
            synset = usage.synset if right else wrong[digest(usage.sentence) % len(wrong)]
            fields = (
                ("sentence", usage.sentence),
                ("word", word),
                ("definition", synset.definition),
            )
            identifiers = dict.fromkeys((usage.synset.identifier, synset.identifier))
            yield Example(fields, "yes" if right else "no", tuple(identifiers))
