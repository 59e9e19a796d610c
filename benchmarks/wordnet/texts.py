"""What is written beside the tasks: the corpus of glosses, and the licence."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.wordnet.synsets import SPLITS, Split, Synset, WordNet
from benchmarks.wordnet.words import digest

DERIVATION_NOTE = """\
The task files in this folder (*.jsonl) are derived from the database files of WordNet 3.0 by
benchmarks/wordnet: definitions, words, example sentences and relations were selected, cleaned, paired
and labelled. They are modified extracts, not WordNet itself, and come under its licence, which follows.
"""


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
        lambda line: line.startswith("  "),
        (folder / "data.noun").read_text(encoding="utf-8").splitlines(),
    )
    lines = (re.sub(r"^ +\d+ ?", "", line).rstrip() for line in head)
    return DERIVATION_NOTE + "\n" + "\n".join(lines).strip() + "\n"
