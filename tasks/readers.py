"""Readers by the name of their format, and those of lines of labels and texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tasks.errors import TaskError
from tasks.files import read_text
from tasks.json_files import json_document, jsonl
from tasks.parquet import read_parquet
from tasks.rows import Numbered, Reader, Skipped
from tasks.tables import table, text_lines


def label_first(encoding: str = "") -> Reader:
    """A reader of lines of ``label text`` (TREC, MR, SST-5), a space or tab between them."""

    def read(path: Path) -> Iterator[Numbered]:
        for number, line in enumerate(text_lines(read_text(path, encoding)), 1):
            if line.strip():
                label, *text = line.split(maxsplit=1)
                yield Numbered(number, {"label": label, "text": "".join(text).strip()})

    return read


def labels_beside(path: Path) -> Path:
    """The file of the labels of ``NAME_text.txt``; the file itself where its name does not say that it holds texts."""
    return path.with_name(path.name.replace("_text", "_labels"))


def text_and_labels(encoding: str = "", labels: Mapping[Path, Path] | None = None) -> Reader:
    """A reader of texts in one file and their labels in another, a line each.

    Args:
        encoding: of both.
        labels: file of texts to file of labels; by default ``NAME_text.txt`` has ``NAME_labels.txt`` (TweetEval).
    """

    def read(path: Path) -> Iterator[Numbered]:
        texts = _lines_with_blanks(path, encoding)
        beside = (labels or {}).get(path) or labels_beside(path)
        if beside == path:
            raise TaskError(
                f"{path}: its labels are not known; expected NAME_text beside NAME_labels"
            )
        words = _lines_with_blanks(beside, encoding)
        if len(texts) != len(words):
            raise TaskError(
                f"{path}: {len(texts)} texts, but {beside.name} has {len(words)} labels"
            )
        for number, (text, word) in enumerate(zip(texts, words, strict=True), 1):
            yield Numbered(number, {"text": text.strip(), "label": word.strip()})

    return read


def _lines_with_blanks(path: Path, encoding: str) -> list[str]:
    return text_lines(read_text(path, encoding).rstrip("\r\n"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Writing:
    """How the files of a task are written, as its task file says.

    Attributes:
        format: a name of ``FORMATS``; empty: by each file's suffix.
        columns: their names in a table without a header.
        delimiter: what stands between the columns of a table.
        quoted: whether the fields of a table may stand between quotation marks.
        encoding: of text; empty: what a byte-order mark says, else UTF-8.
        allow_bad_rows: rows of a table with another number of columns that are left out.
        labels: files of texts to files of labels, of the format ``text and labels``.
    """

    format: str = ""
    columns: tuple[str, ...] = ()
    delimiter: str = ""
    quoted: bool | None = None
    encoding: str = ""
    allow_bad_rows: int = 0
    labels: Mapping[Path, Path] = dataclasses.field(default_factory=dict)


def _table(delimiter: str, quoted: bool | None) -> Callable[[Writing], Reader]:
    def make(writing: Writing) -> Reader:
        return table(
            writing.delimiter or delimiter,
            *writing.columns,
            quoted=quoted if writing.quoted is None else writing.quoted,
            encoding=writing.encoding,
            allow_bad_rows=writing.allow_bad_rows,
        )

    return make


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of files: suffixes, how a reader of it is made, and what of ``Writing`` it can be told."""

    suffixes: tuple[str, ...]
    make: Callable[[Writing], Reader]
    told: tuple[str, ...] = ("encoding",)


OF_TABLES = ("columns", "delimiter", "quoted", "encoding", "allow_bad_rows")
"""What of ``Writing`` a table can be told: all that any format can."""

FORMATS: Mapping[str, Format] = {
    "jsonl": Format((".jsonl", ".ndjson"), lambda writing: jsonl(writing.encoding)),
    "json": Format((".json",), lambda writing: json_document(writing.encoding)),
    "csv": Format((".csv",), _table(",", True), OF_TABLES),
    "tsv": Format((".tsv", ".tab"), _table("\t", None), OF_TABLES),
    "parquet": Format((".parquet",), lambda writing: read_parquet, ()),
    "label text": Format((), lambda writing: label_first(writing.encoding)),
    "text and labels": Format(
        (), lambda writing: text_and_labels(writing.encoding, writing.labels)
    ),
}
"""Formats of files by the name that a task file calls them; those without a suffix are only read when named."""


SUFFIXES = ", ".join(format.suffixes[0] for format in FORMATS.values() if format.suffixes)


def format_of(path: Path, writing: Writing) -> str:
    """The format's name, by what is said or by the suffix.

    Raises:
        TaskError: a suffix that no format has.
    """
    if writing.format:
        return writing.format
    for name, format in FORMATS.items():
        if path.suffix.lower() in format.suffixes:
            return name
    raise TaskError(
        f"{path}: unknown format {path.suffix!r}; expected one of {SUFFIXES}, or say format under [data]"
    )


def reader_of(writing: Writing) -> Reader:
    """A reader that goes by what is said, and by a file's suffix where nothing is."""

    def read(path: Path) -> Iterator[Numbered | Skipped]:
        return FORMATS[format_of(path, writing)].make(writing)(path)

    return read
