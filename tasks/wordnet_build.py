"""Derive small text-to-text tasks from the WordNet 3.0 database files.

    python -m tasks.wordnet_build --wordnet /usr/share/wordnet --out tasks/data/wordnet --baselines

The script reads the database files of WordNet (``data.noun``, ``index.noun``, ``noun.exc`` and so on, as the
Debian package ``wordnet-base`` installs them) and writes one ``<task>.<split>.jsonl`` file for each task and
split. Every line holds the text fields of one example, its ``label`` (the words that a model shall produce)
and the ``synsets`` (WordNet's sets of synonyms) that it was made from.

Two rules make the tasks safe to use together when prompts are transferred from one to another:

* A synset belongs to one split only, and to the same one in every task. An example is made from synsets of
  its own split, so nothing that a task is tested on was seen in the training of any other task.
* Every choice is drawn by a SHA-256 digest of the text it concerns, so the same database gives the same
  bytes.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import hashlib
import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

Item = TypeVar("Item")
Split = Literal["train", "dev", "test"]

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
#: Cumulative shares of the splits: 70 % train, 12 % dev, 18 % test.
SPLIT_BOUNDS: tuple[tuple[float, Split], ...] = ((0.70, "train"), (0.82, "dev"), (1.0, "test"))

#: WordNet's one-letter parts of speech, with the name that its files use for each.
FILE_NAMES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}

#: Names of WordNet's "lexicographer files", or supersenses, at the index by which ``data.*`` cites them.
SUPERSENSES = (
    "adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact",
    "noun.attribute", "noun.body", "noun.cognition", "noun.communication", "noun.event", "noun.feeling",
    "noun.food", "noun.group", "noun.location", "noun.motive", "noun.object", "noun.person",
    "noun.phenomenon", "noun.plant", "noun.possession", "noun.process", "noun.quantity", "noun.relation",
    "noun.shape", "noun.state", "noun.substance", "noun.time", "verb.body", "verb.change",
    "verb.cognition", "verb.communication", "verb.competition", "verb.consumption", "verb.contact",
    "verb.creation", "verb.emotion", "verb.motion", "verb.perception", "verb.possession", "verb.social",
    "verb.stative", "verb.weather", "adj.ppl",
)  # fmt: skip

PART_OF_SPEECH_LABELS = {
    name: {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}[name.split(".")[0]]
    for name in SUPERSENSES
}
NOUN_LABELS = {
    "noun.act": "act",
    "noun.animal": "animal",
    "noun.artifact": "object",
    "noun.body": "body",
    "noun.communication": "communication",
    "noun.feeling": "feeling",
    "noun.food": "food",
    "noun.location": "place",
    "noun.person": "person",
    "noun.plant": "plant",
    "noun.substance": "substance",
    "noun.time": "time",
}
VERB_LABELS = {
    "verb.body": "body",
    "verb.change": "change",
    "verb.cognition": "thought",
    "verb.communication": "communication",
    "verb.contact": "contact",
    "verb.motion": "motion",
    "verb.perception": "perception",
    "verb.possession": "possession",
    "verb.social": "social",
}
LIVING_LABELS = {name: NOUN_LABELS[name] for name in ("noun.animal", "noun.plant", "noun.person", "noun.food")}
VERB_MOTION_LABELS = {
    name: VERB_LABELS[name] for name in ("verb.motion", "verb.communication", "verb.contact", "verb.possession")
}

HYPERNYM = "@"
INSTANCE_OF = "@i"
ANTONYM = "!"
#: Pointers from a part to its wholes. Members ("#m") are left out: most of them are biological taxonomy.
PART_OF = ("#p", "#s")
#: Pointers between synsets too near in meaning for one to stand as a wrong answer for the other.
RELATED = (HYPERNYM, "~", ANTONYM, "&", "^", "$", "+", "\\", "=")

#: Supersenses of things that have parts in the plain sense of the word.
PHYSICAL = (
    "noun.animal", "noun.artifact", "noun.body", "noun.food", "noun.object", "noun.plant", "noun.substance",
)  # fmt: skip

#: Synsets with this in their words or gloss are left out of the tasks and the corpus.
INDECENT = re.compile(
    r"offensive (term|name|word)|obscen|\bslurs?\b|derogatory|disparag|vulgar|sexual|genital|penis|vagina"
    r"|prostitut|\brap(e|ed|ing|ist)s?\b"
)
DEFINITION_WORDS = range(3, 41)
SENTENCE_WORDS = range(4, 31)
#: Categories nearer than this to the root "entity" are too abstract to ask about ("thing", "whole").
LEAST_CATEGORY_DEPTH = 4
#: How often a sense must occur in WordNet's sense-tagged texts before its word is to be named freely.
LEAST_COUNT_TO_NAME = 2
#: The most wholes that one part is shown with, lest a "cell" of every "organism" prevail.
WHOLES_OF_ONE_PART = 3
#: Of the antonyms spelled much alike, one in this many is kept.
ALIKE_KEPT_ONE_IN = 2
#: The most pairs of words that are taken from two opposite synsets.
PAIRS_OF_ONE_OPPOSITION = 3
#: The most examples of each label that one word contributes to the tasks on senses in context.
EXAMPLES_OF_ONE_WORD = 3

DERIVATION_NOTE = """\
The task files in this folder (*.jsonl) are derived from the database files of WordNet 3.0 by
tasks/wordnet_build.py: definitions, words, example sentences and relations were selected, cleaned, paired
and labelled. They are modified extracts, not WordNet itself, and come under its licence, which follows.
"""


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
        return sum(self.count(word, identifier) for identifier in self.senses_of(word, part_of_speech))

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
        found = set(start)
        waiting = list(found)
        while waiting:
            targets = self.synsets[waiting.pop()].targets(*symbols)
            waiting.extend(target for target in targets if target not in found)
            found.update(targets)
        return found


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
class Sizes:
    """The most examples that a task has in each split."""

    train: int = 2000
    dev: int = 200
    test: int = 400


@dataclass(frozen=True)
class Task:
    """A task: how its candidate examples are made from one split, and how many of them are kept."""

    name: str
    family: str
    labels: tuple[str, ...] | None
    candidates: Callable[[WordNet, Split], Iterable[Example]]
    sizes: Sizes = Sizes()


@dataclass(frozen=True)
class Usage:
    """A sentence that uses a word in the sense of a synset."""

    word: str
    sentence: str
    synset: Synset


def digest(*parts: str) -> int:
    """A number that depends on the parts alone; it stands in for a random draw."""
    return int(hashlib.sha256("|".join(parts).encode()).hexdigest()[:16], 16)


def coin(*parts: str) -> bool:
    """A fair coin toss that the parts decide."""
    return digest("coin", *parts) % 2 == 0


def tokens(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"[a-z']+", text.lower())


def plain_words(synset: Synset) -> list[str]:
    """The synset's words of lower-case letters, hyphens and spaces; leaves out proper and Latin names."""
    return [word for word in synset.words if re.fullmatch(r"[a-z]+([ -][a-z]+)*", word)]


def is_single(word: str) -> bool:
    """Whether the word is one word of at least two lower-case letters."""
    return word.isalpha() and word.islower() and len(word) >= 2


def shares_word(left: str, right: str) -> bool:
    """Whether a word is in both texts, as in "oak tree" and "tree", which would give an answer away."""
    return bool(set(tokens(left)) & set(tokens(right)))


def looks_alike(left: str, right: str) -> bool:
    """Whether two words are nearly spelled alike, such as "grey" and "gray"."""
    return difflib.SequenceMatcher(None, left, right, autojunk=False).ratio() > 0.7


def leaks(word: str, definition: str) -> bool:
    """Whether the definition holds the word or a word with the same stem, and so gives it away."""
    stems = {part[: max(4, len(part) - 3)] for part in tokens(word) if len(part) >= 3}
    return any(token.startswith(tuple(stems)) for token in tokens(definition)) if stems else True


# Reading the database.


def split_gloss(gloss: str) -> tuple[str, tuple[str, ...]]:
    """Parts a gloss into its definition and example sentences; the definition is empty where it is unfit.

    A gloss reads ``(botany) of or relating to plants; "botanical garden"; "a botanical name"``. The subject
    in parentheses goes, and so do definitions with quotation marks, which cannot be told from examples.
    """
    definition, mark, rest = gloss.partition('; "')
    examples = tuple(example.strip() for example in re.findall(r'"([^"]+)"', mark + rest))
    definition = re.sub(r"^(\([^()]*\)\s*)+", "", definition).strip(" ;:,.")
    fit = '"' not in definition and len(definition.split()) in DEFINITION_WORDS
    return (definition if fit else "", examples)


def parse_synset(line: str) -> Synset:
    """Reads one line of a ``data.*`` file (the format is described in WordNet's manual page wndb(5))."""
    record, _, gloss = line.partition(" | ")
    columns = record.split()
    offset, supersense, kind = columns[:3]
    part_of_speech = "a" if kind == "s" else kind
    pointers_at = 4 + 2 * int(columns[3], 16)
    words = (re.sub(r"\([a-z]+\)$", "", word).replace("_", " ") for word in columns[4:pointers_at:2])
    starts = range(pointers_at + 1, pointers_at + 1 + 4 * int(columns[pointers_at]), 4)
    pointers = (parse_pointer(columns[start : start + 4]) for start in starts)
    definition, examples = split_gloss(gloss.strip())
    return Synset(
        identifier=part_of_speech + offset,
        supersense=SUPERSENSES[int(supersense)],
        words=tuple(words),
        pointers=tuple(pointers),
        gloss=gloss.strip(),
        definition=definition,
        examples=examples,
    )


def parse_pointer(columns: Sequence[str]) -> Pointer:
    """Reads the four columns of a pointer: symbol, offset, part of speech, and two word numbers in one."""
    symbol, offset, part_of_speech, numbers = columns
    return Pointer(symbol, part_of_speech + offset, int(numbers[:2], 16), int(numbers[2:], 16))


def read_lines(path: Path) -> list[str]:
    """The lines of a database file without its licence header, whose lines are indented."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("  ")]


def read_senses(folder: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    """Reads the ``index.*`` files: for each word and part of speech its synsets, most frequent first."""
    senses = {}
    for part_of_speech, name in FILE_NAMES.items():
        for line in read_lines(folder / f"index.{name}"):
            columns = line.split()
            offsets = columns[-int(columns[2]) :]
            word = columns[0].replace("_", " ")
            senses[word, part_of_speech] = tuple(part_of_speech + offset for offset in offsets)
    return senses


def read_sense_counts(folder: Path, senses: Mapping[tuple[str, str], tuple[str, ...]]) -> dict[tuple[str, str], int]:
    """Reads ``cntlist.rev``: how often each word was tagged with each synset."""
    counts = {}
    for line in read_lines(folder / "cntlist.rev"):
        sense_key, sense_number, count = line.split()
        word, _, rest = sense_key.partition("%")
        word = word.replace("_", " ")
        part_of_speech = "nvara"[int(rest[0]) - 1]  # The fifth kind are the satellite adjectives.
        found = senses.get((word, part_of_speech), ())
        if int(sense_number) <= len(found):
            counts[word, found[int(sense_number) - 1]] = int(count)
    return counts


def read_irregular_forms(folder: Path) -> dict[tuple[str, str], frozenset[str]]:
    """Reads the ``*.exc`` files: the irregular inflected forms of each word."""
    forms: dict[tuple[str, str], set[str]] = defaultdict(set)
    for part_of_speech, name in FILE_NAMES.items():
        for line in read_lines(folder / f"{name}.exc"):
            inflected, *bases = line.split()
            for base in bases:
                forms[base, part_of_speech].add(inflected)
    return {key: frozenset(values) for key, values in forms.items()}


def assign_splits(synsets: Mapping[str, Synset]) -> dict[str, Split]:
    """Gives every synset its split by the digest of its part of speech and offset.

    Antonyms go together, by the first of their identifiers: both synsets of a pair have to be in one split,
    and too few of the few thousand pairs would remain for testing if each synset went its own way.
    """
    return {member: split_of(min(group)) for group in antonym_groups(synsets) for member in group}


def split_of(identifier: str) -> Split:
    """The split that the digest of an identifier such as n02084071 falls into."""
    number = int(hashlib.sha256(f"{identifier[0]}-{identifier[1:]}".encode()).hexdigest()[:8], 16)
    return next(split for bound, split in SPLIT_BOUNDS if number / 2**32 < bound)


def antonym_groups(synsets: Mapping[str, Synset]) -> Iterator[set[str]]:
    """Yields the synsets grouped with those that chains of antonyms lead to; most are alone."""
    seen: set[str] = set()
    for identifier in synsets:
        if identifier in seen:
            continue
        group, waiting = {identifier}, [identifier]
        while waiting:
            fresh = set(synsets[waiting.pop()].targets(ANTONYM)) - group
            group |= fresh
            waiting.extend(fresh)
        seen |= group
        yield group


def antonym_pairs(synsets: Mapping[str, Synset]) -> Iterator[tuple[str, Synset, str, Synset]]:
    """Yields each pair of antonyms among the synsets once, as word and synset, word and synset."""
    for synset in synsets.values():
        for pointer in synset.pointers:
            target = synsets.get(pointer.target)
            if pointer.symbol == ANTONYM and target and synset.identifier < target.identifier:
                words = synset.words[pointer.source_word - 1], target.words[pointer.target_word - 1]
                yield words[0], synset, words[1], target


def read_wordnet(folder: Path) -> WordNet:
    """Reads the database files in a folder."""
    lines = (line for name in FILE_NAMES.values() for line in read_lines(folder / f"data.{name}"))
    synsets = {synset.identifier: synset for synset in map(parse_synset, lines)}
    senses = read_senses(folder)
    return WordNet(
        synsets=synsets,
        senses=senses,
        sense_counts=read_sense_counts(folder, senses),
        irregular_forms=read_irregular_forms(folder),
        splits=assign_splits(synsets),
        antonyms=frozenset(frozenset((left, right)) for left, _, right, _ in antonym_pairs(synsets)),
    )


# Family "topic": which class does a definition belong to?


def topic_examples(wordnet: WordNet, split: Split, labels: Mapping[str, str]) -> Iterator[Example]:
    """Definitions labelled with the plain name of their synset's supersense."""
    for synset in wordnet.usable(split):
        if synset.supersense in labels:
            fields = (("definition", synset.definition),)
            yield Example(fields, labels[synset.supersense], (synset.identifier,))


# Family "relation": how are two words related?


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


def is_familiar(wordnet: WordNet, word: str, synset: Synset, least_sense_number: int) -> bool:
    """Whether the word is a known one, and readily understood in this sense when it stands alone."""
    return (
        wordnet.total_count(word, synset.part_of_speech) > 0
        and wordnet.sense_number(word, synset) <= least_sense_number
    )


def categories_above(wordnet: WordNet, synset: Synset) -> list[Synset]:
    """The synset's hypernyms up to three levels above it, except for the most abstract ones."""
    found: list[Synset] = []
    level = [synset]
    for _ in range(3):
        level = [wordnet.synsets[target] for each in level for target in each.targets(HYPERNYM)]
        found += [each for each in level if depth(wordnet, each) >= LEAST_CATEGORY_DEPTH]
    return found


def depth(wordnet: WordNet, synset: Synset) -> int:
    """The number of steps from the synset up to the root, along the first hypernym of each."""
    steps = 0
    while hypernyms := synset.targets(HYPERNYM):
        synset = wordnet.synsets[hypernyms[0]]
        steps += 1
    return steps


def next_accepted(items: Sequence[Item], position: int, accepts: Callable[[Item], bool], count: int) -> list[Item]:
    """The first items after the position, going round, that are accepted; fewer where there are no more."""
    following = itertools.chain(items[position + 1 :], items[:position])
    return list(itertools.islice(filter(accepts, following), count))


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
        named = (Pair(wordnet.best_word(part), part, wordnet.best_word(whole), whole) for whole in wholes)
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


def synonym_examples(wordnet: WordNet, split: Split) -> Iterator[Example]:
    """Pairs of synonyms and pairs of antonyms."""
    labelled = (("synonym", synonym_pairs(wordnet, split)), ("antonym", opposite_pairs(wordnet, split)))
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
        others = itertools.product(known_words(wordnet, left_synset), known_words(wordnet, right_synset))
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


# Family "sense": which meaning does a word have?


def inflected_forms(word: str, part_of_speech: str, irregular: frozenset[str]) -> set[str]:
    """The word with the forms it may take in a sentence; a few that do not exist do no harm."""
    stem = re.sub(r"(?<=[^aeiou])y$", "i", word)
    short = stem.removesuffix("e")
    forms = {word, *irregular}
    if part_of_speech in "nv":
        forms |= {word + "s", stem + "es"}
    if part_of_speech == "v":
        forms |= {start + "ed" for start in (short, word + word[-1])}
        forms |= {start + "ing" for start in (short, word, word + word[-1])}
    if part_of_speech in "ar":
        forms |= {start + ending for start in (short, word + word[-1]) for ending in ("er", "est")}
    return forms


def usages(wordnet: WordNet, split: Split) -> dict[tuple[str, str], list[Usage]]:
    """For each word of several senses and its part of speech, the split's example sentences that hold it."""
    found: dict[tuple[str, str], list[Usage]] = defaultdict(list)
    for synset in wordnet.usable(split):
        for word in plain_words(synset):
            key = (word, synset.part_of_speech)
            if not is_single(word) or len(wordnet.senses_of(*key)) < 2:
                continue
            forms = inflected_forms(*key, wordnet.irregular_forms.get(key, frozenset()))
            for sentence in synset.examples:
                if len(sentence.split()) in SENTENCE_WORDS and forms.intersection(tokens(sentence)):
                    found[key].append(Usage(word, sentence, synset))
    return found


def same_sense_examples(wordnet: WordNet, split: Split) -> Iterator[Example]:
    """Two sentences with a word, in one sense or in two; each word gives few, lest common verbs prevail."""
    for (word, part_of_speech), found in sorted(usages(wordnet, split).items()):
        pairs = sorted(
            itertools.combinations(found, 2),
            key=lambda pair: digest("wic", word, part_of_speech, pair[0].sentence, pair[1].sentence),
        )
        for label in ("yes", "no"):
            chosen = (
                (first, second)
                for first, second in pairs
                if sense_label(first.synset, second.synset) == label and first.sentence != second.sentence
            )
            for first, second in itertools.islice(chosen, EXAMPLES_OF_ONE_WORD):
                fields = (("word", word), ("sentence1", first.sentence), ("sentence2", second.sentence))
                identifiers = dict.fromkeys((first.synset.identifier, second.synset.identifier))
                yield Example(fields, label, tuple(identifiers))


def sense_label(first: Synset, second: Synset) -> str | None:
    """Whether two senses of a word are the same, "yes" or "no"; None where they are too near to tell."""
    if first.identifier == second.identifier:
        return "yes"
    near = second.identifier in first.targets(*RELATED) or first.identifier in second.targets(*RELATED)
    return None if near else "no"


def usage_examples(wordnet: WordNet, split: Split) -> Iterator[Example]:
    """A sentence with a word, and the definition of the sense it has there or of another of its senses."""
    usable = {synset.identifier: synset for synset in wordnet.usable(split)}
    for (word, part_of_speech), found in sorted(usages(wordnet, split).items()):
        others = [usable[sense] for sense in wordnet.senses_of(word, part_of_speech) if sense in usable]
        for usage in sorted(found, key=lambda usage: digest("usage", usage.sentence))[:EXAMPLES_OF_ONE_WORD]:
            wrong = [synset for synset in others if sense_label(usage.synset, synset) == "no"]
            if not wrong:
                continue
            right = coin("usage", word, usage.sentence)
            synset = usage.synset if right else wrong[digest(usage.sentence) % len(wrong)]
            fields = (("sentence", usage.sentence), ("word", word), ("definition", synset.definition))
            identifiers = dict.fromkeys((usage.synset.identifier, synset.identifier))
            yield Example(fields, "yes" if right else "no", tuple(identifiers))


# Families "sense" and "definition": which word does a definition belong to?


def defined_words(wordnet: WordNet, split: Split) -> list[tuple[str, Synset]]:
    """The split's synsets by their best words, if these are known and not given away by their definitions."""
    pairs = ((wordnet.best_word(synset), synset) for synset in wordnet.usable(split))
    return [
        (word, synset)
        for word, synset in pairs
        if wordnet.total_count(word, synset.part_of_speech) > 0 and not leaks(word, synset.definition)
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
            others = next_accepted(defined, position, accepts_distractor(wordnet, word, synset, same_kind), 1)
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


# The tasks, and the selection of their examples.

YES_NO = ("no", "yes")
FEW = Sizes(train=128)
SOME = Sizes(train=192)


def topic_task(name: str, labels: Mapping[str, str], sizes: Sizes = Sizes()) -> Task:
    """A task of the family "topic" with the labels of these supersenses."""
    candidates = functools.partial(topic_examples, labels=labels)
    return Task(name, "topic", tuple(sorted(set(labels.values()))), candidates, sizes)


TASKS = (
    topic_task("wn_noun_topic", NOUN_LABELS),
    topic_task("wn_verb_topic", VERB_LABELS),
    topic_task("wn_pos", PART_OF_SPEECH_LABELS),
    topic_task("wn_living", LIVING_LABELS, FEW),
    topic_task("wn_verb_motion", VERB_MOTION_LABELS, FEW),
    Task("wn_isa", "relation", YES_NO, isa_examples),
    Task("wn_part", "relation", YES_NO, part_examples),
    Task("wn_synonym", "relation", ("antonym", "synonym"), synonym_examples),
    Task("wn_opposite", "relation", YES_NO, opposite_examples, SOME),
    Task("wn_wic", "sense", YES_NO, same_sense_examples),
    Task("wn_gloss_word", "sense", YES_NO, gloss_word_examples),
    Task("wn_usage", "sense", YES_NO, usage_examples, SOME),
    Task("wn_choose_word", "definition", None, choose_word_examples),
    Task("wn_define", "definition", None, define_examples),
)


def build_task(wordnet: WordNet, task: Task) -> dict[Split, list[Example]]:
    """Selects the task's examples; drops inputs with several labels, and all but the first of repeats."""
    candidates = {split: list(task.candidates(wordnet, split)) for split in SPLITS}
    labels: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for example in itertools.chain(*candidates.values()):
        labels[example.input_key].add(example.label)
    seen: set[tuple[str, ...]] = set()
    selected: dict[Split, list[Example]] = {}
    for split in reversed(SPLITS):
        fresh = []
        for example in candidates[split]:
            if len(labels[example.input_key]) == 1 and example.input_key not in seen:
                seen.add(example.input_key)
                fresh.append(example)
        selected[split] = select(task, fresh, getattr(task.sizes, split))
    return selected


def select(task: Task, examples: Sequence[Example], size: int) -> list[Example]:
    """Draws up to ``size`` examples, as many of each label, in a shuffled order."""

    def order(example: Example) -> int:
        return digest(task.name, *example.input_key)

    by_label: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=order):
        by_label[example.label if task.labels else ""].append(example)
    rounds = zip(*(by_label[label] for label in sorted(by_label)), strict=False)
    chosen = itertools.chain.from_iterable(rounds)
    return sorted(itertools.islice(chosen, size), key=order)


def corpus_lines(wordnet: WordNet) -> Iterator[str]:
    """The glosses of the training synsets as lines of text, for language modelling."""
    by_split: dict[Split, list[Synset]] = {split: [] for split in SPLITS}
    for synset in wordnet.synsets.values():
        by_split[wordnet.splits[synset.identifier]].append(synset)
    held_out = {synset.gloss for synset in by_split["dev"] + by_split["test"]}
    for synset in sorted(by_split["train"], key=lambda synset: digest("corpus", synset.identifier)):
        if synset.gloss not in held_out and synset.is_decent:
            yield f"{', '.join(synset.words)}: {corpus_text(synset.gloss)}"


def corpus_text(gloss: str) -> str:
    """A gloss with its examples set off as sentences: ``definition. "example" "example"``."""
    definition, mark, rest = gloss.partition('; "')
    examples = re.sub(r'";\s*', '" ', mark.removeprefix("; ") + rest).strip()
    return " ".join(filter(None, (definition.strip(" ;:,.") + ".", examples)))


def licence_text(folder: Path) -> str:
    """WordNet's licence, as the head of its database files has it, with a note on the derived files."""
    head = itertools.takewhile(
        lambda line: line.startswith("  "), (folder / "data.noun").read_text(encoding="utf-8").splitlines()
    )
    lines = (re.sub(r"^ +\d+ ?", "", line).rstrip() for line in head)
    return DERIVATION_NOTE + "\n" + "\n".join(lines).strip() + "\n"


# Baselines: what the majority class and a bag of words reach.


def read_rows(folder: Path, task: Task, split: Split) -> list[dict[str, Any]]:
    """The rows of a task's file."""
    lines = (folder / f"{task.name}.{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def input_text(row: Mapping[str, Any]) -> str:
    """All fields of a row in one text, each after its name."""
    return " ".join(f"{name}: {value}" for name, value in row.items() if name not in ("label", "synsets"))


def majority_accuracy(train: Sequence[Mapping[str, Any]], test: Sequence[Mapping[str, Any]]) -> float:
    """Test accuracy of always giving the most frequent training label, or the first of several such."""
    counts = Counter(row["label"] for row in train)
    majority = min(counts, key=lambda label: (-counts[label], label))
    return accuracy([majority] * len(test), test)


def accuracy(predictions: Sequence[str], test: Sequence[Mapping[str, Any]]) -> float:
    """The share of predictions that are right, to four digits."""
    right = [guess == row["label"] for guess, row in zip(predictions, test, strict=True)].count(True)
    return round(right / len(test), 4)


def predict_by_regression(train: Sequence[Mapping[str, Any]], test: Sequence[Mapping[str, Any]]) -> list[str]:
    """Logistic regression on TF-IDF weights of the words and pairs of words in all fields."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1000))
    model.fit([input_text(row) for row in train], [row["label"] for row in train])
    return [str(label) for label in model.predict([input_text(row) for row in test])]


def predict_by_spelling(train: Sequence[Mapping[str, Any]], test: Sequence[Mapping[str, Any]]) -> list[str]:
    """The choice most like the definition in its TF-IDF weights of two to four letters; learns no labels."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    model = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).fit([input_text(row) for row in train])
    predictions = []
    for row in test:
        choices = [row[f"choice{number}"] for number in range(1, 5)]
        scores = (model.transform(choices) @ model.transform([row["definition"]]).T).toarray()
        predictions.append(choices[int(scores.argmax())])
    return predictions


def predict_by_neighbour(train: Sequence[Mapping[str, Any]], test: Sequence[Mapping[str, Any]]) -> list[str]:
    """The label of the training row with the nearest TF-IDF weights."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    model = TfidfVectorizer(ngram_range=(1, 2))
    known = model.fit_transform([input_text(row) for row in train])
    scores = (model.transform([input_text(row) for row in test]) @ known.T).toarray()
    return [train[int(nearest)]["label"] for nearest in scores.argmax(axis=1)]


Predictor = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], list[str]]

#: Tasks without a fixed set of labels, for which logistic regression does not serve.
OTHER_BASELINES: dict[str, tuple[Predictor, str]] = {
    "wn_choose_word": (
        predict_by_spelling,
        "tfidf_logreg: the choice nearest to the definition by TF-IDF of its letters; chance is 0.25",
    ),
    "wn_define": (
        predict_by_neighbour,
        "tfidf_logreg: the label of the training definition nearest by TF-IDF of its words",
    ),
}


def baselines(folder: Path) -> dict[str, dict[str, object]]:
    """Counts and baseline scores of every task, from the files in the folder."""
    report: dict[str, dict[str, object]] = {}
    for task in TASKS:
        rows = {split: read_rows(folder, task, split) for split in SPLITS}
        predict, note = OTHER_BASELINES.get(task.name, (predict_by_regression, ""))
        report[task.name] = {
            "family": task.family,
            "labels": list(task.labels) if task.labels else None,
            **{split: len(rows[split]) for split in SPLITS},
            "majority": majority_accuracy(rows["train"], rows["test"]),
            "tfidf_logreg": accuracy(predict(rows["train"], rows["test"]), rows["test"]),
            **({"note": note} if note else {}),
        }
    return report


# The command.


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes a text file with the same line ends on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def supervised_rows(wordnet: WordNet, size: int) -> Iterator[dict[str, object]]:
    """Up to ``size`` training examples of every task but the few-example ones, for multi-task pre-training."""
    for task in TASKS:
        if task.sizes == Sizes():
            larger = replace(task, sizes=replace(task.sizes, train=size))
            for example in build_task(wordnet, larger)["train"]:
                source = " ".join(f"{key}: {text}" for key, text in example.fields)
                yield {
                    "task": task.name.removeprefix("wn_").replace("_", " "),
                    "input": source,
                    "target": example.label,
                    "choices": task.labels or (),
                }


def build(database: Path, out: Path, corpus: Path | None, supervised: Path | None = None, rows: int = 20_000) -> None:
    """Writes the task files, their licence and, if asked, the corpus and the supervised examples."""
    wordnet = read_wordnet(database)
    if supervised is not None:
        larger = supervised_rows(wordnet, rows)
        write_lines(supervised, (json.dumps(row, ensure_ascii=False) for row in larger))
    for task in TASKS:
        for split, examples in build_task(wordnet, task).items():
            lines = (json.dumps(example.row, ensure_ascii=False) for example in examples)
            write_lines(out / f"{task.name}.{split}.jsonl", lines)
    write_lines(out / "LICENSE", licence_text(database).splitlines())
    if corpus is not None:
        write_lines(corpus, corpus_lines(wordnet))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.wordnet_build", description="Derive small text-to-text tasks from WordNet 3.0."
    )
    parser.add_argument("--wordnet", type=Path, help="folder of the WordNet 3.0 database files to build from")
    parser.add_argument("--out", type=Path, required=True, help="folder of the task files")
    parser.add_argument("--corpus", type=Path, help="also write the training synsets' glosses to this file")
    parser.add_argument("--supervised", type=Path, help="also write larger training sets to this file")
    parser.add_argument("--rows", type=int, default=20_000, help="examples of a task in that file")
    parser.add_argument("--baselines", action="store_true", help="recompute baselines.json")
    options = parser.parse_args(arguments)
    if options.wordnet is None and (options.corpus is not None or not options.baselines):
        parser.error("--wordnet is needed unless only --baselines are recomputed")
    if options.wordnet is not None:
        build(options.wordnet, options.out, options.corpus, options.supervised, options.rows)
    if options.baselines:
        report = json.dumps(baselines(options.out), indent=2)
        write_lines(options.out / "baselines.json", report.splitlines())


if __name__ == "__main__":
    main()
