"""How a file is written, found by reading it: format, delimiter, quotation marks, and whether columns have names."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.errors import TaskError, shown
from tasks.files import checked_encoding
from tasks.readers import FORMATS, OF_TABLES, Writing, format_of, labels_beside, reader_of
from tasks.rows import Numbered, Row

DELIMITERS = ("", ";", "\t", "|", ",")
"""What may stand between the columns of a table, what its format says first."""

QUOTED = (None, True, False)
"""Whether the fields of a table may stand between quotation marks, what its format says first."""

PLAIN = ("", ".txt", ".text", ".dat")
"""Suffixes of a text that may be written in any way."""

OF_PLAIN = ("label text", "tsv", "csv")
"""Formats that are tried for such a text."""

CLASSES = 100
"""Most different labels that are listed; a column of more is free text."""

WORDS = 12
"""Most words of a label, and of a column's name."""


def are_labels(values: Sequence[str]) -> bool:
    """Whether these are few values, none of them long, which come again and again."""
    few = 2 <= len(set(values)) <= min(CLASSES, len(values) / 2)
    return few and all(len(value.split()) <= WORDS for value in set(values))


def rows_of(path: Path, writing: Writing) -> list[Row]:
    """All rows of a file.

    Raises:
        TaskError: it is not written so.
    """
    return [row.values for row in reader_of(writing)(path) if isinstance(row, Numbered)]


def guess_writing(path: Path, encoding: str = "") -> tuple[Writing, list[Row]]:
    """How a file is written: as its suffix says, or else the first way by which it has rows of several columns; and
    these rows.

    Columns of a table without names are called ``column1`` and so on.

    Raises:
        TaskError: it is written in no way that is known.
    """
    if encoding:
        try:
            checked_encoding(encoding)
        except LookupError as error:
            raise TaskError(
                f"encoding {shown(encoding)} is not known; name one such as utf-8, latin-1 or cp1252"
            ) from error
    first: TaskError | None = None
    for way in _ways(path):
        writing = dataclasses.replace(way, encoding=encoding)
        try:
            rows = rows_of(path, writing)
        except TaskError as error:
            first = first or error
            continue
        if _is_sound(rows, writing):
            return _with_names(path, writing, rows)
    if first is None:
        writing = Writing(encoding=encoding)
        return writing, rows_of(path, writing)
    if not path.is_file():
        raise first
    raise TaskError(
        f"{first}; `spot init-task` takes an --encoding, and without --train writes a task file to edit, whose [data] "
        "says how files are written"
    ) from first


def _ways(path: Path) -> Iterator[Writing]:
    if path.suffix.lower() not in PLAIN:
        formats: Sequence[str] = [""]  # what the suffix says, or that it is not known
    elif labels_beside(path) != path and labels_beside(path).is_file():
        formats = ["text and labels"]
    else:
        formats = OF_PLAIN
    for format in formats:
        plain = Writing(format=format)
        if _is_table(path, plain):
            for quoted, delimiter in itertools.product(QUOTED, DELIMITERS):
                yield dataclasses.replace(plain, quoted=quoted, delimiter=delimiter)
        else:
            yield plain


def _is_table(path: Path, writing: Writing) -> bool:
    return FORMATS[format_of(path, writing)].told == OF_TABLES


def _is_sound(rows: Sequence[Row], writing: Writing) -> bool:
    """Whether rows that were read look as if they were written so."""
    if writing.format == "label text":
        return are_labels([row["label"] for row in rows])
    return not rows or len(rows[0]) > 1


def _with_names(path: Path, writing: Writing, rows: list[Row]) -> tuple[Writing, list[Row]]:
    """The same; where a table's first line is a row like the others, with names for its columns."""
    if not rows or not _is_table(path, writing):
        return writing, rows
    names = list(rows[0])
    if not any(_is_cell(name, [str(row[name]) for row in rows]) for name in names):
        return writing, rows
    numbered = tuple(f"column{i}" for i in range(1, len(names) + 1))
    writing = dataclasses.replace(writing, columns=numbered)
    return writing, rows_of(path, writing)


def _is_cell(name: str, values: Sequence[str]) -> bool:
    """Whether a column's name is too long for one, or is one of its labels."""
    return len(name.split()) > WORDS or (name in values and are_labels(values))
