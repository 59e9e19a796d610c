"""The tasks, and the selection of their examples."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.wordnet.definitions import (
    choose_word_examples,
    define_examples,
    gloss_word_examples,
    topic_examples,
)
from benchmarks.wordnet.examples import Example
from benchmarks.wordnet.hierarchy import isa_examples, part_examples
from benchmarks.wordnet.labels import (
    LIVING_LABELS,
    NOUN_LABELS,
    PART_OF_SPEECH_LABELS,
    VERB_LABELS,
    VERB_MOTION_LABELS,
)
from benchmarks.wordnet.opposites import opposite_examples, synonym_examples
from benchmarks.wordnet.senses import same_sense_examples, usage_examples
from benchmarks.wordnet.synsets import SPLITS, Split, WordNet
from benchmarks.wordnet.words import digest


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
