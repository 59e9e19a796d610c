"""What a task's data says of the task: which columns are read, which is written, and the label words."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.answers import answer_texts, is_null
from tasks.choices import choose
from tasks.errors import TaskError, shown
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
        nulls: whether rows lack a value that is read or written, and are left out too.
    """

    texts: Sequence[str]
    label: str
    labels: dict[str, str]
    untrained: Sequence[str] = ()
    several: bool = False
    writing: Writing = Writing()
    lacking: Sequence[str] = ()
    nulls: bool = False


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
    _check_names(path, texts)
    later = [row for other in others for row in rows_of(other, writing)]
    guessed = Guess(
        texts,
        label,
        {},
        several=label in answers,
        writing=writing,
        lacking=("",) if any(_is_blank(row.get(label)) for row in (*rows, *later)) else (),
        nulls=any(is_null(row.get(name)) for row in (*rows, *later) for name in (*texts, label)),
    )
    if not guessed.several and are_labels(_values(rows, label)):
        trained, met = set(_values(rows, label)), set(_values(later, label))
        lacking = ({NO_LABEL} & (trained | met)) | ({UNLABELLED} & (met - trained))
        guessed = guessed._replace(
            labels=words_of(sorted((trained | met) - lacking)),
            untrained=tuple(sorted(met - trained - lacking)),
            lacking=(*guessed.lacking, *sorted(lacking)),
        )
    _check_letters(path, [*texts, label, *guessed.labels])
    return _named(guessed) if writing.columns else guessed


def _check_names(path: Path, columns: Sequence[str]) -> None:
    """Refuse columns that a template cannot name.

    Raises:
        TaskError: naming the first.
    """
    for name in columns:
        if set("{}") & set(name):
            raise TaskError(
                f"{path}: column {shown(name)} cannot stand in a template, whose braces name columns; rename it"
            )


def _check_letters(path: Path, texts: Sequence[str]) -> None:
    """Refuse what no file of text can hold: half of a character, as broken JSON has.

    Raises:
        TaskError: naming the first.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TaskError(
                f"{path}: column or label {shown(text)} has a character that is no Unicode text; mend the file"
            ) from error


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
    """What a model writes for a raw label: small letters, and words apart. Of a number or a sign, itself."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label.strip())
    apart = re.sub(r"(?<=[^\W_])_+(?=[^\W_])|(?<=[^\W\d_])-+(?=[^\W\d_])", " ", apart)
    return re.sub(r"\s+", " ", apart).lower() or label


def words_of(labels: Iterable[str]) -> dict[str, str]:
    """Words by raw label; labels that would get one word keep their own spelling, unless they differ in case alone."""
    words = {label: word_of(label) for label in labels}
    spelt: dict[str, set[str]] = {}
    for label, word in words.items():
        spelt.setdefault(word, set()).add(label.lower())
    return {label: word if len(spelt[word]) == 1 else label for label, word in words.items()}


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
    found = (row.get(name) for row in rows)
    return [str(value).strip() for value in found if not (is_null(value) or _is_blank(value))]


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


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
