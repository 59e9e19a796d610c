"""What a task's data says of the task: which columns are read, which is written, and the label words."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.answers import answer_texts, is_null
from tasks.choices import choose
from tasks.errors import TaskError
from tasks.formats import UNLABELLED
from tasks.guess_writing import are_labels, guess_writing, rows_of
from tasks.readers import Writing
from tasks.rows import Row

WRITTEN = (
    "label", "labels", "class", "category", "topic", "sentiment", "intent", "target", "answer", "output", "summary",
)  # fmt: skip
"""Names of a column that is written, the surest first."""

NO_LABEL = "-"
"""What stands for a label that a row lacks, as where SNLI's annotators did not agree."""

OF_ANSWERS = ("text", "answer_start")
"""What SQuAD's answers say; an object that says more is something else, in which there may be a text."""

IDENTIFIER = re.compile(r"(.*[_-])?(id|idx|qid|uid|uuid|guid)", re.IGNORECASE)
"""Names of a column that numbers rows, in whatever letters."""


class Guess(NamedTuple):
    """What a task file would say.

    Attributes:
        texts: columns that the model reads, in the file's order.
        label: the column that it writes.
        labels: words by raw label, in alphabetical order; none of free text.
        untrained: raw labels that no training row has.
        several: whether that column holds answers, all of which are right.
        writing: how the files are written, where their suffix does not say it.
        lacking: what stands for a label in rows without one, which are left out.
    """

    texts: Sequence[str]
    label: str
    labels: dict[str, str]
    untrained: Sequence[str] = ()
    several: bool = False
    writing: Writing = Writing()
    lacking: Sequence[str] = ()


def guess(path: Path, label: str = "", others: Sequence[Path] = (), *, encoding: str = "") -> Guess:
    """Guess from a file of training rows.

    Args:
        path: of any format that tasks are read from; written as its suffix says, or as it turns out to be.
        label: the column that is written, where that is known.
        others: files of development and test rows, written alike, which may have labels of their own.
        encoding: of the files, where it is not UTF-8.

    Raises:
        TaskError: no such file or column, no rows, no column to read, or none that is surely the one to write.
    """
    writing, rows = guess_writing(path, encoding)
    columns, answers = _plain_columns(rows), _answer_columns(rows)
    if not columns:
        raise TaskError(
            f"{path}: has no rows of plain values to guess a task from; the task file that `spot init-task` writes "
            "without --train says how values within others are reached"
        )
    if label:
        choose(label, [*columns, *answers], f"{path}: column", error=TaskError)
    else:
        label = _written(path, rows, columns, answers)
    texts = [name for name in columns if name != label and _is_read(rows, name)]
    if not texts:
        raise TaskError(f"{path}: has no column of text beside {label!r}")
    guessed = Guess(texts, label, {}, several=label in answers, writing=writing)
    if not guessed.several and are_labels(_values(rows, label)):
        trained = set(_values(rows, label))
        met = {value for other in others for value in _values(rows_of(other, writing), label)}
        lacking = ({NO_LABEL} & (trained | met)) | ({UNLABELLED} & (met - trained))
        guessed = guessed._replace(
            labels={value: word_of(value) for value in sorted((trained | met) - lacking)},
            untrained=tuple(sorted(met - trained - lacking)),
            lacking=tuple(sorted(lacking)),
        )
    return _named(guessed) if writing.columns else guessed


def _named(guessed: Guess) -> Guess:
    """The same with names for columns that have none: ``text``, or several of them, and ``label``."""
    texts, columns = guessed.texts, guessed.writing.columns
    names = {guessed.label: "label"} | {
        name: f"text{i}" if len(texts) > 1 else "text" for i, name in enumerate(texts, 1)
    }
    return guessed._replace(
        texts=[names[name] for name in texts],
        label="label",
        writing=dataclasses.replace(
            guessed.writing, columns=tuple(names.get(name, name) for name in columns)
        ),
    )


def word_of(label: str) -> str:
    """What a model writes for a raw label: small letters, and words apart. Of a number, itself."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label.strip())
    return re.sub(r"[_\s-]+", " ", apart).strip().lower() or label


def _plain_columns(rows: Sequence[Row]) -> list[str]:
    """Names of the columns that hold texts, numbers, truths or nothing."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [
        name
        for name in names
        if all(isinstance(row.get(name), str | int | float | None) for row in rows)
    ]


def _answer_columns(rows: Sequence[Row]) -> list[str]:
    """Names of the columns that hold lists of answers, in any of the shapes that tasks read."""
    names = dict.fromkeys(
        name for row in rows for name, value in row.items() if isinstance(value, list | dict)
    )
    return [name for name in names if _are_answers([row.get(name) for row in rows])]


def _are_answers(values: Sequence[object]) -> bool:
    if any(isinstance(value, dict) and not value.keys() <= {*OF_ANSWERS} for value in values):
        return False
    try:
        texts = [answer_texts(value) for value in values if not is_null(value)]
    except ValueError:
        return False
    return any(texts)


def _values(rows: Iterable[Row], name: str) -> list[str]:
    return [str(value) for row in rows if (value := row.get(name)) not in (None, "")]


def _written(
    path: Path, rows: Sequence[Row], columns: Sequence[str], answers: Sequence[str]
) -> str:
    """The column that is written: by its name, else the only one of answers, else the only one whose values repeat.

    Raises:
        TaskError: there is none, or there are several.
    """
    by_name = {name.lower(): name for name in columns}
    for name in WRITTEN:
        if name in by_name:
            return by_name[name]
    repeating = [name for name in columns if are_labels(_values(rows, name))]
    if len(answers) == 1:
        return answers[0]
    if len(repeating) != 1 or answers:
        found = ", ".join([*answers, *repeating]) or ", ".join(columns)
        raise TaskError(
            f"{path}: which column the model shall write is not clear among {found}; say it by --label"
        )
    return repeating[0]


def _is_read(rows: Sequence[Row], name: str) -> bool:
    """Whether most values of a column have letters, as numbers and dates have not, and name no row and no truth."""
    if IDENTIFIER.fullmatch(name) or all(isinstance(row.get(name, True), bool) for row in rows):
        return False
    values = _values(rows, name)
    with_letters = sum(any(letter.isalpha() for letter in value) for value in values)
    return with_letters * 2 > len(values)
