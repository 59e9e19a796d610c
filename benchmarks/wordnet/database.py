"""WordNet's database files, read (their formats are described in its manual pages)."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.wordnet.labels import SUPERSENSES
from benchmarks.wordnet.synsets import ANTONYM, Pointer, Split, Synset, WordNet

FILE_NAMES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
"""WordNet's one-letter parts of speech, with the name that its files use for each."""

DEFINITION_WORDS = range(3, 41)

SPLIT_BOUNDS: tuple[tuple[float, Split], ...] = ((0.70, "train"), (0.82, "dev"), (1.0, "test"))
"""Cumulative shares of the splits: 70 % train, 12 % dev, 18 % test."""


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
    words = (
        re.sub(r"\([a-z]+\)$", "", word).replace("_", " ") for word in columns[4:pointers_at:2]
    )
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
    return [
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("  ")
    ]


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


def read_sense_counts(
    folder: Path, senses: Mapping[tuple[str, str], tuple[str, ...]]
) -> dict[tuple[str, str], int]:
    """Reads ``cntlist.rev``: how often each word was tagged with each synset."""
    counts = {}
    for line in read_lines(folder / "cntlist.rev"):
        sense_key, sense_number, count = line.split()
        word, _, rest = sense_key.partition("%")
        word = word.replace("_", " ")
        part_of_speech = "nvara"[int(rest[0]) - 1]  # The fifth kind are the satellite adjectives.
        synsets = senses.get((word, part_of_speech), ())
        if int(sense_number) <= len(synsets):
            counts[word, synsets[int(sense_number) - 1]] = int(count)
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
        antonyms=frozenset(
            frozenset((left, right)) for left, _, right, _ in antonym_pairs(synsets)
        ),
    )
