"""What definitions of the built-in tasks share: their files, label words, and tasks that are classes of texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.formats import classify
from tasks.rows import Reader
from tasks.sources import Hub, Source
from tasks.task import TRAIN_AND_DEV, SplitKeys, Splits, Task

Labels = Mapping[str, str]

ENTAILMENT = {"entailment": "entailment", "not_entailment": "not_entailment"}
NO_YES_ENTAILMENT = {"0": "not_entailment", "1": "entailment"} | ENTAILMENT
SENTIMENT = {"0": "negative", "1": "positive", "negative": "negative", "positive": "positive", "neg": "negative",
             "pos": "positive"}  # fmt: skip
TRUTH = {"False": "False", "True": "True"}
DUPLICATE = {
    "0": "not_duplicate",
    "1": "duplicate",
    "not_duplicate": "not_duplicate",
    "duplicate": "duplicate",
}
INFERENCE = {"0": "entailment", "1": "neutral", "2": "contradiction"} | {
    word: word for word in ("entailment", "neutral", "contradiction")
}


def files(folder: str, parts: str, pattern: str) -> dict[str, Path]:
    """The file of each part, named by parts with spaces between; ``pattern`` has ``{}`` for the part."""
    return {part: Path(folder, pattern.format(part)) for part in parts.split()}


def classification(
    name: str,
    family: str,
    files: Mapping[str, Path],
    reader: Reader | None,
    keys: Mapping[str, str],
    labels: Labels,
    *,
    hub: Hub | None = None,
    splits: Splits = TRAIN_AND_DEV,
    metrics: tuple[str, ...] = ("accuracy",),
    label: str = "label",
    split_key: str | SplitKeys = "",
    unseen: str = "",
    notes: str = "",
) -> Task:
    """A task whose answer is the word of a row's label; ``keys`` are the fields of its input and their columns."""
    return Task(
        name=name,
        family=family,
        source=Source(files=files, reader=reader, hub=hub),
        formatter=classify(keys, labels, label=label),
        metrics=metrics,
        labels=tuple(dict.fromkeys(labels.values())),
        splits=splits,
        split_key=split_key,
        unseen=unseen,
        notes=notes,
    )
