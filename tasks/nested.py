"""Values inside others: columns by dotted names, and lists that become rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.errors import shown
from tasks.rows import Row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """What rows become before anything else is done with them.

    Attributes:
        unfold: names along a path to a list, each within the one before; every item is a row of its own.
        columns: dotted names of values within others (``answer.text``), which become columns of that name.
    """

    unfold: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def rows(self, row: Row) -> Iterator[Row]:
        """The rows that a row becomes, most often itself.

        Raises:
            KeyError: nothing of a name along the path.
            ValueError: what holds no further names.
        """
        for one in _unfolded(row, self.unfold):
            found = {name: value_at(one, name) for name in self.columns if name not in one}
            yield {**one, **found} if found else one


def value_at(row: Row, name: str) -> Any:
    """The value of a dotted name.

    Raises:
        KeyError: there is none; with the whole name.
    """
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise KeyError(name)
        value = value[part]
    return value


def _unfolded(row: Row, path: Sequence[str]) -> Iterator[Row]:
    """A row for every item of the lists along a path, each of which gives way to its item."""
    if not path:
        yield row
        return
    name, *rest = path
    value = row[name]
    for item in value if isinstance(value, list | tuple) else (value,):
        if not rest:
            yield {**row, name: item}
            continue
        if not isinstance(item, Mapping):
            raise ValueError(f"{name} holds {shown(item)}, nothing named {rest[0]!r}")
        yield from ({**row, name: inner} for inner in _unfolded(item, rest))
