"""A task: where its rows come from, how a row becomes text, and how predictions are scored."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from tasks import metrics as scoring
from tasks.errors import TaskError
from tasks.rows import Numbered, Row
from tasks.sources import NO_LABEL, Rows, Source
from tasks.texts import LONG, letters


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
        label: the row's own label, where the target is none (WSC: whether the target is the referent).
        cut: span ``[start, stop)`` of ``inputs`` that is shortened where the input is too long; empty: its tail.
        context: letters of ``inputs`` in front of the example's own text: an instruction and worked examples.
    """

    inputs: str
    target: str
    choices: tuple[str, ...] = ()
    group: str = ""
    answers: tuple[str, ...] = ()
    label: str = ""
    cut: tuple[int, int] = (0, 0)
    context: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """The rows of one published part whose hash falls in ``[low, high)``.

    A task that is published without one of our three splits has it cut from another by a hash of the row, so that
    the cut does not depend on the order of rows and never changes.
    """

    name: str
    low: float = 0.0
    high: float = 1.0

    @property
    def whole(self) -> bool:
        """Whether it has all rows."""
        return (self.low, self.high) == (0.0, 1.0)


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


Splits = Mapping[Split, Part]

SPLITS_BY_PARTS: Mapping[frozenset[str], Splits] = {
    frozenset({"train", "dev", "test"}): PUBLISHED,
    frozenset({"train", "dev"}): TRAIN_AND_DEV,
    frozenset({"train", "test"}): TRAIN_AND_TEST,
    frozenset({"dev", "test"}): DEV_AND_TEST,
    frozenset({"train"}): one_part("train"),
    frozenset({"dev"}): one_part("dev"),
    frozenset({"test"}): one_part("test"),
}
"""How splits are cut from whichever parts there are."""

PARTIAL = "partial data"
"""What is said of a score on splits that were cut because published parts are missing."""

Formatter = Callable[[Row], Sequence[Example]]
"""A row gives one example, several (MultiRC), or none (rows that are not used for training)."""

SplitKeys = Callable[[Sequence[Row]], Sequence[object]]
"""All rows of a part give the key of each."""


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
        partial: the same where published parts are missing and that is allowed, by the parts that are there.
        split_key: what keeps rows together (rows of a passage): a column, or a function of all rows of a part; default
            the whole row.
        unseen: column whose long development texts no training row may hold, where both parts are published; rows that
            do are left out of training.
        notes: provenance and departures from the published form.
        content: digest of what a task from a file is: how its data is read, and the data; else empty.
        file: the file that describes it; empty for a built-in task.
    """

    name: str
    family: str
    source: Source
    formatter: Formatter
    metrics: tuple[str, ...] = ("accuracy",)
    labels: tuple[str, ...] = ()
    splits: Splits = dataclasses.field(default_factory=lambda: PUBLISHED)
    partial: Mapping[frozenset[str], Splits] = dataclasses.field(
        default_factory=lambda: SPLITS_BY_PARTS, repr=False
    )
    split_key: str | SplitKeys = ""
    train_filter: Callable[[Row], bool] | None = None
    unseen: str = ""
    notes: str = ""
    content: str = ""
    file: str = dataclasses.field(default="", compare=False)

    def examples(
        self, split: Split, *, data_dir: Path | None = None, allow_partial: bool = False
    ) -> list[Example]:
        """All examples of a split, in file order.

        Args:
            split: which one.
            data_dir: folder of official files; without it the files a task carries, or the hub.
            allow_partial: where published parts are missing in the folder, cut splits from those that are there.

        Raises:
            TaskError: data that cannot be found or read, or a split without a row.
        """
        splits = self._splits(data_dir, allow_partial=allow_partial)
        part = splits[split]
        keep = self._kept(splits, data_dir) if split is Split.TRAIN else None
        examples: list[Example] = []
        read = used_rows = 0
        rows = self.source.rows(part.name, data_dir)
        for row, key in self._keyed(rows, part):
            read += 1
            with _at(rows, row):
                used = (not keep or keep(row.values)) and part.low <= place(key) < part.high
                used_rows += used
                examples += self.formatter(row.values) if used else ()
        if not examples:
            why = self._why_empty(read, used_rows, self.source.skipped.get(part.name, {}))
            raise TaskError(f"task {self.name}: split {split.value} is empty{why} ({rows.where})")
        return examples

    def is_partial(self, data_dir: Path | None) -> bool:
        """Whether a published part is missing in a folder of official files, so that splits can only be cut."""
        whole = self.source.present(data_dir).issuperset(self._wanted)
        return not whole and not self.source.of_hub(data_dir)

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
        return (
            f": none of {read} rows falls into it; name a file for it, or give more rows"
            if read
            else ""
        )

    @property
    def _wanted(self) -> tuple[str, ...]:
        """Parts that the splits are made of, each once."""
        return tuple(dict.fromkeys(part.name for part in self.splits.values()))

    def _splits(self, data_dir: Path | None, *, allow_partial: bool) -> Splits:
        """The task's splits, or what is cut from other parts: the hub's where it has others, or those of a folder.

        Raises:
            TaskError: published parts are missing in the folder, and nothing can or may be cut.
        """
        present = self.source.present(data_dir)
        missing = [part for part in self._wanted if part not in present]
        of_hub = self.source.of_hub(data_dir)
        used = present.intersection(self._wanted) or present
        if missing and used in self.partial and (allow_partial or of_hub):
            return self.partial[used]
        published = next((part for part in missing if part in self.source.files), None)
        if published and not of_hub:
            raise TaskError(self._missing(published, data_dir))
        return self.splits

    def _missing(self, part: str, data_dir: Path | None) -> str:
        """What to say of a part that is nowhere, and what to do."""
        place, hub = self.source.files[part], self.source.hub
        if data_dir is None:
            return (
                f"task {self.name}: its part {part} ({place}) lies in a folder of official files; "
                "name that by --data-dir or SPOT_DATA"
            )
        remedies = ["put the official file there"]
        remedies += [f"leave --data-dir out to read it from the hub ({hub.path})"] if hub else []
        if present := self.source.present(data_dir):
            cut = ", ".join(sorted(present))
            remedies.append(f"cut all splits from what is there ({cut}) by --allow-partial-data")
        return (
            f"{data_dir / place}: no such file, the part {part} of task {self.name} as published; "
            + ", or ".join(remedies)
        )

    def _kept(self, splits: Splits, data_dir: Path | None) -> Callable[[Row], bool] | None:
        """Whether a row trains."""
        if not self.unseen:
            return self.train_filter
        part = splits[Split.DEV]
        rows = self.source.rows(part.name, data_dir)
        selecting = collections.defaultdict(list)
        for row, key in self._keyed(rows, part):
            with _at(rows, row):
                text = letters(str(row.values[self.unseen]))
            if len(text) >= LONG and part.low <= place(key) < part.high:
                selecting[text[:LONG]].append(text)

        def keep(row: Row) -> bool:
            text = letters(str(row[self.unseen]))
            for i in range(len(text) - LONG + 1):
                if any(
                    text.startswith(other, i) for other in selecting.get(text[i : i + LONG], ())
                ):
                    return False
            return not self.train_filter or self.train_filter(row)

        return keep

    def _keyed(self, rows: Rows, part: Part) -> Iterator[tuple[Numbered, object]]:
        """Every row and what is hashed to place it; what all rows must be read for only where the part is cut."""
        if callable(self.split_key) and part.whole:
            yield from ((row, "") for row in rows.rows)
            return
        if callable(self.split_key):
            read = list(rows.rows)
            yield from zip(read, _split_keys(self.split_key, rows, read), strict=True)
            return
        for row in rows.rows:
            with _at(rows, row):
                key = row.values[self.split_key] if self.split_key else row.values
            yield row, key


def most_frequent_target(examples: Sequence[Example]) -> str:
    """The target of most examples, of several the first: what always answering it scores is a task's floor."""
    ((target, _count),) = collections.Counter(example.target for example in examples).most_common(1)
    return target


def take(examples: Sequence[Example], limit: int, sample: int = 0) -> Sequence[Example]:
    """The ``limit`` examples of smallest hash, in their order; 0 takes all. Every ``sample`` hashes in its own way."""
    if not limit or limit >= len(examples):
        return examples

    def rank(index: int) -> bytes:
        example = examples[index]
        salt = f"{sample}\0" if sample else ""
        return hashlib.sha256(f"{salt}{example.inputs}\0{example.target}".encode()).digest()

    return [examples[i] for i in sorted(sorted(range(len(examples)), key=rank)[:limit])]


@contextlib.contextmanager
def _at(rows: Rows, row: Numbered) -> Iterator[None]:
    """Errors about a row's values name the file and the row."""
    where = f"{rows.where}, row {row.number}"
    try:
        yield
    except KeyError as error:
        columns = ", ".join(map(str, row.values)) or "none"
        raise TaskError(f"{where}: no column {error.args[0]!r} (columns: {columns})") from error
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise TaskError(f"{where}: {error}") from error


def _split_keys(keys: SplitKeys, rows: Rows, read: Sequence[Numbered]) -> Sequence[object]:
    """The key of each row; an error names the first row that alone has it too."""
    try:
        return keys([row.values for row in read])
    except Exception:
        for row in read:
            with _at(rows, row):
                keys([row.values])
        raise


def place(key: object) -> float:
    """Where a split key falls in ``[0, 1)``, by its hash."""
    text = json.dumps(key, sort_keys=True, ensure_ascii=False, default=str)
    return (
        int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big")
        / 2**64
    )
