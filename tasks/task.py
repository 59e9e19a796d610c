"""A task: where its rows come from, how a row becomes text, and how predictions are scored."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from tasks import metrics as scoring
from tasks.errors import TaskError
from tasks.sources import NO_LABEL, Row, Source


class Split(StrEnum):
    """``train`` trains, ``dev`` chooses (snapshots, sources, early stopping), ``test`` is only ever reported."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One text-to-text example.

    Attributes:
        inputs: what the encoder reads, in T5's ``key: text`` form.
        target: what the decoder shall write.
        choices: the allowed targets, in label order; empty where the answer is free text.
        group: examples of one group are scored together (the answers of a MultiRC question).
        answers: every accepted answer of free text; empty means only ``target``.
        cut: span ``[start, stop)`` of ``inputs`` that is shortened where the input is too long; empty: its tail.
    """

    inputs: str
    target: str
    choices: tuple[str, ...] = ()
    group: str = ""
    answers: tuple[str, ...] = ()
    cut: tuple[int, int] = (0, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """The rows of one published part whose hash falls in ``[low, high)``.

    A task that is published without one of our three splits has it cut from another by a hash of the row, so that
    the cut does not depend on the order of rows and never changes.
    """

    name: str
    low: float = 0.0
    high: float = 1.0


PUBLISHED = {split: Part(name=split.value) for split in Split}
"""Train, dev and test as published."""

TRAIN_AND_DEV = {
    Split.TRAIN: Part(name="train", high=0.9),
    Split.DEV: Part(name="train", low=0.9),
    Split.TEST: Part(name="dev"),
}
"""Only train and dev are published: selection gets a tenth of train, and the published dev is reported."""

DEV_AND_TEST = {
    Split.TRAIN: Part(name="dev", high=0.9),
    Split.DEV: Part(name="dev", low=0.9),
    Split.TEST: Part(name="test"),
}
"""Only dev and test are at hand: train and selection share dev."""

TRAIN_AND_TEST = TRAIN_AND_DEV | {Split.TEST: Part(name="test")}
"""Train and test: selection gets a tenth of train."""


def one_part(name: str) -> Mapping[Split, Part]:
    """Everything is in one part: 80 % train, 10 % dev, 10 % test."""
    return {
        Split.TRAIN: Part(name=name, high=0.8),
        Split.DEV: Part(name=name, low=0.8, high=0.9),
        Split.TEST: Part(name=name, low=0.9),
    }


Formatter = Callable[[Row], Sequence[Example]]
"""A row gives one example, several (MultiRC), or none (rows that are not used for training)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A text-to-text task.

    Attributes:
        name: what commands call it.
        family: kind of task, for grouping (``sentiment``, ``inference``, ...).
        source: where rows come from.
        formatter: row to examples.
        metrics: names in ``tasks.metrics``; the score that selects is their mean.
        labels: the label words in label order; empty for free text.
        splits: which published part serves as train, dev and test.
        split_key: column whose value keeps rows of one hash together (rows of a passage); default the whole row.
        notes: provenance and departures from the published form.
        content: digest of what a task from a file is: how its data is read, and the data; else empty.
    """

    name: str
    family: str
    source: Source
    formatter: Formatter
    metrics: tuple[str, ...] = ("accuracy",)
    labels: tuple[str, ...] = ()
    splits: Mapping[Split, Part] = dataclasses.field(default_factory=lambda: PUBLISHED)
    split_key: str = ""
    train_filter: Callable[[Row], bool] | None = None
    notes: str = ""
    content: str = ""

    def examples(self, split: Split, *, data_dir: Path | None = None) -> list[Example]:
        """All examples of a split, in file order.

        Args:
            split: which one.
            data_dir: folder of official files; without it the files a task carries, or the hub.

        Raises:
            TaskError: data that cannot be found or read, or a split without a row.
        """
        part = self.splits[split]
        keep = self.train_filter if split is Split.TRAIN else None
        found: list[Example] = []
        read = used_rows = 0
        rows = self.source.rows(part.name, data_dir)
        for row in rows.rows:
            read += 1
            try:
                used = (not keep or keep(row.values)) and part.low <= self._hash(row.values) < part.high
                used_rows += used
                found += self.formatter(row.values) if used else ()
            except KeyError as error:
                columns = ", ".join(map(str, row.values)) or "none"
                raise TaskError(
                    f"{rows.where}, row {row.number}: no column {error.args[0]!r} (columns: {columns})"
                ) from error
            except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
                raise TaskError(f"{rows.where}, row {row.number}: {error}") from error
        if not found:
            why = self._why_empty(read, used_rows, self.source.skipped.get(part.name, {}))
            raise TaskError(f"task {self.name}: split {split.value} is empty{why} ({rows.where})")
        return found

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
        """Every metric of the task in points (0 to 100), and ``score``, their mean.

        A prediction outside an example's choices counts as wrong, never as a class.
        """
        if len(predictions) != len(examples):
            raise TaskError(f"{len(predictions)} predictions for {len(examples)} examples")
        values: dict[str, float] = {}
        for name in self.metrics:
            values[name] = scoring.compute(name, predictions, examples, self.labels)
        return values | {"score": sum(values.values()) / len(values)}

    def describe(self) -> dict[str, Any]:
        """Plain facts for listings and for the bank."""
        return {
            "family": self.family,
            "metrics": list(self.metrics),
            "labels": list(self.labels),
            "source": self.source.describe(),
            "notes": self.notes,
        }

    @staticmethod
    def _why_empty(read: int, used: int, skipped: Mapping[str, int]) -> str:
        left_out = sum(skipped.values())
        if used or (left_out and not read):
            if all(why.startswith(NO_LABEL) for why in skipped):
                return f": none of its {used + left_out} rows has a label"
            reasons = ", ".join(f"{why}: {count}" for why, count in skipped.items())
            return f": none of its {used + left_out} rows can be used ({reasons})"
        return f": none of {read} rows falls into it; name a file for it, or give more rows" if read else ""

    def _hash(self, row: Row) -> float:
        key = row[self.split_key] if self.split_key else row
        text = json.dumps(key, sort_keys=True, ensure_ascii=False, default=str)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
