"""Tables as text: fields between delimiters, with and without quotation marks around them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.errors import TaskError, repeated, shown
from tasks.files import read_text
from tasks.rows import Numbered, Reader, Skipped

Line = tuple[int, list[str]]
"""Number of the line on which a row begins, and its fields."""

MARK = '"'

SHORT = 40
"""Letters of a field that may be a label."""


def table(
    delimiter: str,
    *columns: str,
    quoted: bool | None = True,
    encoding: str = "",
    allow_bad_rows: int = 0,
) -> Reader:
    """A reader of a table with a header, or with the given ``columns`` and none.

    Args:
        delimiter: one character.
        columns: their names, where the first line is a row already.
        quoted: fields may stand between quotation marks and hold delimiters and line ends; ``False``: a quotation mark
            is a character like any other; ``None``: so, unless the file looks quoted, which is refused.
        encoding: as in :func:`read_text`.
        allow_bad_rows: rows of another number of columns that are left out, and counted, before one is an error.
    """

    def read(path: Path) -> Iterator[Numbered | Skipped]:
        text = read_text(path, encoding)
        if quoted is None and MARK in text:
            _refuse_quoted_look(path, text, delimiter)
        lines = _quoted(path, text, delimiter) if quoted else _unquoted(text, delimiter)
        yield from _rows(path, lines, columns, delimiter, allow_bad_rows)

    return read


def tsv(*columns: str, quoted: bool | None = False, encoding: str = "") -> Reader:
    """Tab-separated values; official GLUE files are unquoted and hold quotation marks of any kind."""
    return table("\t", *columns, quoted=quoted, encoding=encoding)


def text_lines(text: str) -> list[str]:
    """Lines of Unix, Windows or the first Macintosh."""
    text = text.replace("\r\n", "\n")
    return (text if "\n" in text else text.replace("\r", "\n")).split("\n")


def _unquoted(text: str, delimiter: str) -> Iterator[Line]:
    return (
        (i, line.split(delimiter)) for i, line in enumerate(text_lines(text), 1) if line.strip()
    )


def _quoted(path: Path, text: str, delimiter: str) -> Iterator[Line]:
    """Rows of fields that quotation marks may hold together, without blank lines.

    A mark that never closes is an error: at the end of the file, where text follows the next mark, or, if the next one
    happens to end a field, where the lines in between are rows by themselves.
    """
    # of the whole process, and 131072 by default: shorter than many a document
    csv.field_size_limit(2**31 - 1)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    known: list[set[str]] = []
    quoted_over_lines: list[Line] = []
    while True:
        start = lines.line_num + 1
        try:
            row = next(lines)
        except StopIteration:
            break
        except csv.Error as error:
            raise TaskError(
                f"{path}, row {start}: {_reason(str(error), lines.line_num)}"
            ) from error
        if not row:
            continue
        known += [set() for _ in row[len(known) :]]
        for column, field in zip(known, row, strict=False):
            if len(field) <= SHORT:
                column.add(field.strip())
        if lines.line_num > start and any("\n" in field or "\r" in field for field in row):
            quoted_over_lines.append((start, row))
        yield start, row
    for start, row in quoted_over_lines:
        for place in range(len(row)):
            if taken := _rows_within(row, place, delimiter, known):
                raise TaskError(
                    f"{path}, row {start}: a quotation mark opens there and takes in {taken} further lines that "
                    "are rows by themselves; close it, or say quoted = false under [data] if marks belong to the text"
                )


def _reason(error: str, line: int) -> str:
    if "unexpected end" in error:
        return "a quotation mark opens there and never closes; close it, or say quoted = false under [data]"
    if "expected after" in error:
        return (
            f"a quotation mark opens there and text follows its end in line {line}; double the marks inside a field, "
            "or say quoted = false under [data]"
        )
    return f"not a table ({error})"


def _rows_within(row: Sequence[str], place: int, delimiter: str, known: Sequence[set[str]]) -> int:
    """How many further lines a field takes in, if they look like rows that were swallowed, else 0.

    Every line then has as many fields as a row, the first with what stands before the field and the last with what
    stands behind it. Of the fields that such a line has within the field whole, one is held by the same column
    elsewhere, such as a label (on the first or the last line, which are cut); where three lines and more are taken in,
    it is enough that none is empty or begins with a space, as in prose.
    """
    first, *inner = text_lines(row[place])
    if not inner or len(known) < 2:
        return 0
    middle = [line for line in inner[:-1] if line.strip()]
    lines = [
        [*row[:place], *first.split(delimiter)],
        *(line.split(delimiter) for line in (*middle, inner[-1])),
    ]
    ends = len(lines[-1])
    lines[-1] += row[place + 1 :]
    if any(len(line) != len(known) for line in lines):
        return 0
    whole = [(place + 1, len(known)), *[(0, len(known))] * (len(lines) - 2), (0, ends - 1)]
    recognised, plain = [], []
    for line, (start, stop) in zip(lines, whole, strict=True):
        fields = [field.strip() for field in line[start:stop]]
        recognised.append(
            any(
                field and field in column
                for field, column in zip(fields, known[start:], strict=False)
            )
        )
        plain.append(
            len(inner) >= 3 and all(field and not field[0].isspace() for field in line[start:stop])
        )
    between = all(
        label or no_prose for label, no_prose in zip(recognised[1:-1], plain[1:-1], strict=True)
    )
    return (
        len(inner)
        if between and (recognised[0] or recognised[-1] or (plain[0] and plain[-1]))
        else 0
    )


def _refuse_quoted_look(path: Path, text: str, delimiter: str) -> None:
    """Refuse a table that was written with quotation marks around its fields while it is read as if without.

    A field between marks that holds doubled marks settles it; so do fields between marks where no field has any other.
    """
    between = stray = 0
    for number, row in _unquoted(text, delimiter):
        for field in row:
            if MARK not in field:
                continue
            inside = field.strip()[1:-1]
            if (
                len(field.strip()) > 1
                and field.strip()[0] == field.strip()[-1] == MARK
                and _doubled(inside)
            ):
                between = between or number
                if MARK in inside:
                    raise TaskError(_looks_quoted(path, number))
            else:
                stray += 1
    if between and not stray:
        raise TaskError(_looks_quoted(path, between))


def _doubled(inside: str) -> bool:
    return MARK not in inside.replace(MARK * 2, "")


def _looks_quoted(path: Path, number: int) -> str:
    return (
        f"{path}, row {number}: a field between quotation marks, while this table is read as unquoted; say "
        "quoted = true under [data], or quoted = false if the marks belong to the text"
    )


def _rows(
    path: Path, lines: Iterator[Line], columns: Sequence[str], delimiter: str, allow_bad_rows: int
) -> Iterator[Numbered | Skipped]:
    names = tuple(columns)
    if not names:
        number, header = next(lines, (1, []))
        names = tuple(header)
        _check_header(path, number, names, delimiter)
    bad = 0
    for number, values in lines:
        if number == 1 and tuple(values) == tuple(columns):
            raise TaskError(
                f"{path}, row 1: holds the names of the columns; leave columns under [data] out"
            )
        if len(values) == len(names):
            yield Numbered(number, dict(zip(names, values, strict=True)))
            continue
        bad += 1
        if bad > allow_bad_rows:
            raise TaskError(
                f"{path}, row {number}: {len(values)} columns, expected {len(names)}{_hint(values, bad)}"
            )
        yield Skipped(number, f"not {len(names)} columns")


def _hint(values: Sequence[str], bad: int) -> str:
    if any(field.startswith(MARK) and field.count(MARK) % 2 for field in values):
        return "; a quotation mark opens in it: if fields may hold line ends, say quoted = true under [data]"
    if bad > 1:
        return f"; allow_bad_rows under [data] leaves out {bad - 1}"
    return "; allow_bad_rows under [data] leaves some such rows out"


def _check_header(path: Path, number: int, names: Sequence[str], delimiter: str) -> None:
    if twice := repeated(name for name in names if name):
        raise TaskError(
            f"{path}, row {number}: two columns are called {shown(twice[0])}; rename one of them"
        )
    other = next(
        (mark for mark in ("\t", ";", "|", ",") if len(names) == 1 and mark in names[0]), None
    )
    if other is not None and other != delimiter:
        raise TaskError(
            f"{path}, row {number}: one column, {shown(names[0])}; if {shown(other)} stands between columns, "
            f"say delimiter = {json.dumps(other)} under [data]"
        )
