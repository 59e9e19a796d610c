"""What a reader of a file yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class Numbered(NamedTuple):
    """A row and its number in the file, counted from 1 as an editor shows it."""

    number: int
    values: Row


class Skipped(NamedTuple):
    """The number of a row that is left out as the task says, and why."""

    number: int
    why: str


Reader = Callable[[Path], Iterator[Numbered | Skipped]]
