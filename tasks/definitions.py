"""The built-in tasks, as data: official file formats, hub names, label words and metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tasks.formats import classify, fields, free_text, multiple_choice
from tasks.generation import generation
from tasks.inference import inference
from tasks.json_files import read_jsonl
from tasks.language_modelling import language_modelling
from tasks.opinions import opinions
from tasks.reading import reading
from tasks.reasoning import reasoning
from tasks.singles import singles
from tasks.sources import Source
from tasks.suites import glue, super_glue
from tasks.task import Split, Task

WORDNET_FOLDER = Path(__file__).parent / "data" / "wordnet"

WORDNET_FIELDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "wn_noun_topic": ("topic", ("definition",)),
    "wn_verb_topic": ("topic", ("definition",)),
    "wn_pos": ("topic", ("definition",)),
    "wn_living": ("topic", ("definition",)),
    "wn_verb_motion": ("topic", ("definition",)),
    "wn_isa": ("relation", ("word", "category")),
    "wn_part": ("relation", ("part", "whole")),
    "wn_synonym": ("relation", ("word", "other")),
    "wn_opposite": ("relation", ("word", "other")),
    "wn_wic": ("sense", ("word", "sentence1", "sentence2")),
    "wn_gloss_word": ("sense", ("word", "definition")),
    "wn_usage": ("sense", ("word", "sentence", "definition")),
    "wn_choose_word": ("definition", ("definition", "choice1", "choice2", "choice3", "choice4")),
    "wn_define": ("definition", ("definition",)),
}


def wordnet() -> Iterator[Task]:
    """Small tasks derived from WordNet 3.0 by ``benchmarks/wordnet``; their files come with the package."""
    facts = json.loads((WORDNET_FOLDER / "baselines.json").read_text(encoding="utf-8"))
    for name, (family, keys) in WORDNET_FIELDS.items():
        labels = tuple(facts[name]["labels"] or ())
        if name == "wn_choose_word":
            formatter = multiple_choice(fields(*keys), keys[1:])
        elif labels:
            formatter = classify(fields(*keys), {word: word for word in labels})
        else:
            formatter = free_text(fields(*keys), "label")
        files = {split.value: WORDNET_FOLDER / f"{name}.{split.value}.jsonl" for split in Split}
        yield Task(
            name=name,
            family=f"wordnet_{family}",
            source=Source(files=files, reader=read_jsonl),
            formatter=formatter,
            metrics=("accuracy",) if labels or name == "wn_choose_word" else ("exact_match",),
            labels=labels,
            notes=f"WordNet 3.0; majority class {100 * facts[name]['majority']:.1f}, "
            f"TF-IDF baseline {100 * facts[name]['tfidf_logreg']:.1f} on test",
        )


def built_in() -> Iterator[Task]:
    """Every built-in task."""
    for group in (
        wordnet,
        glue,
        super_glue,
        singles,
        opinions,
        inference,
        reading,
        reasoning,
        generation,
        language_modelling,
    ):
        yield from group()
