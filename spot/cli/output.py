"""Tables and JSON on stdout, progress and errors on stderr, and lines from stdin."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from unicodedata import combining, east_asian_width

if TYPE_CHECKING:
    from rich.console import Console


PARTIAL_DATA = "partial_data"
"""What rows and documents call it that splits were cut because published parts are missing."""


def noted(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table for people: what programs read as ``partial_data`` is a note, where any row has one."""
    shown = [{name: row[name] for name in row if name != PARTIAL_DATA} for row in rows]
    if not any(row.get(PARTIAL_DATA) for row in rows):
        return shown
    note = PARTIAL_DATA.replace("_", " ")
    return [
        row | {"note": note if of.get(PARTIAL_DATA) else ""}
        for row, of in zip(shown, rows, strict=True)
    ]


@cache
def errors() -> Console:
    """The console on stderr."""
    from rich.console import Console

    return Console(stderr=True)


def tell(line: str) -> None:
    """A line on stderr, whole however long it is."""
    errors().print(line, highlight=False, markup=False, soft_wrap=True)


def print_json(content: Any) -> None:
    """One JSON document; NaN and infinities become null."""
    utf8 = (sys.stdout.encoding or "").lower().replace("_", "-") in ("utf-8", "utf8")
    json.dump(_plain(content), sys.stdout, indent=2, ensure_ascii=not utf8)
    sys.stdout.write("\n")


def print_rows(
    rows: Sequence[Mapping[str, Any]], *, title: str = "", empty: str = "nothing here"
) -> None:
    """A table with the columns of the first row: plain text, numbers to the right."""
    if not rows:
        say(empty)
        return
    if title:
        say(title)
    columns = list(rows[0])
    lines = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(map(_width, cells)) for cells in zip(*lines, strict=True)]
    numeric = [
        all(isinstance(row.get(column), int | float | None) for row in rows) for column in columns
    ]
    for line in lines:
        padded = [
            " " * (width - _width(cell)) + cell if right else cell + " " * (width - _width(cell))
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        say("  ".join(padded).rstrip())


def say(text: str = "") -> None:
    """A line on stdout."""
    sys.stdout.write(text + "\n")


def stdin_lines() -> list[str]:
    """The lines of stdin that are not blank, as UTF-8 in whatever locale.

    Raises:
        SpotError: bytes that are no UTF-8.
    """
    from spot.errors import SpotError

    if sys.stdin is None:  # closed
        return []
    content = sys.stdin.buffer.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpotError(f"standard input, line {line}: not UTF-8 text") from error
    return [line.removesuffix("\r") for line in text.split("\n") if line.strip()]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 2 else f"{value:.2f}"
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    return "".join(c if c.isprintable() else " " for c in str(value))


def _width(text: str) -> int:
    """Columns that a terminal gives a text: two for a wide character, none for a mark that joins the one before."""
    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    return value


def duration(seconds: float) -> str:
    """In the unit that a reader would choose."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"


def size(count: float) -> str:
    """Bytes in the unit that a reader would choose."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count:.0f} bytes"
