"""All rows of a bank with the cells that are sound, for checks of what rows say of each other.

Rows are read by plain SQL, since the types of the schema would raise at what is looked for here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from bank import schema
from bank.cells import COLUMNS, cut
from bank.errors import reason
from bank.versions import ADDED, NEW, home

AT_ONCE = 1000
"""Rows that are read together."""

PARENTS = {
    (table.name, key.parent.name): key.column.table.name
    for table in schema.Base.metadata.tables.values()
    for key in table.foreign_keys
}
"""The table to which a column of another refers."""

Problems = Iterator[str]


class Row(dict[str, Any]):
    """A row with its sound cells; the others are ``None``."""

    __slots__ = ("id", "table", "unsound")

    def __init__(self, table: str, identity: Any) -> None:
        super().__init__()
        self.table, self.id = table, identity
        self.unsound: tuple[str, ...] = ()

    def __missing__(self, column: str) -> None:
        return None

    def has(self, column: str) -> bool:
        """Whether there is something in a cell, sound or not."""
        return self[column] is not None or column in self.unsound

    def take(self, cells: Mapping[str, Any], nullable: set[str]) -> list[str]:
        """Take in the cells of a row; says of those that are not sound what they are and what was expected."""
        bad = []
        for column, kind in COLUMNS[self.table].items():
            cell = cells.get(column)
            if (cell is None or cell == "null") and (column in nullable or column not in cells):
                continue
            try:
                self[column] = kind(cell)
            except ValueError as error:
                bad.append(f"{column} is {cut(cell)}, expected {error}")
                if cell is not None and cell != "null":
                    self.unsound += (column,)
        return bad

    def __str__(self) -> str:
        name = self["digest"] or self["sha256"] or self["fingerprint"]
        return f"{self.table} {name[:12] if name else self['name'] or self.id}"


class Contents:
    """All rows of a bank by table and id, without the numbers of prompts."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, Row]] = {}
        self.unread: set[str] = set()
        self._groups: dict[tuple[str, str], dict[Any, list[Row]]] = {}

    def read(self, connection: Connection, name: str) -> Problems:
        """Take in a table, and say of its cells what they cannot be."""
        table = schema.Base.metadata.tables[name]
        (key,) = (column.name for column in table.primary_key)
        nullable = {column.name for column in table.columns if column.nullable}
        rows = self.tables.setdefault(name, {})
        try:
            inspector, place = inspect(connection), home(connection)
            known = name in inspector.get_table_names(place)
            there = (
                {column["name"] for column in inspector.get_columns(name, place)}
                if known
                else set()
            )
            columns = [
                column for column in COLUMNS[name] if column in there or _shown_late(name, column)
            ]
            query = text(f"SELECT {', '.join([key, *columns])} FROM {name}").execution_options(
                yield_per=AT_ONCE
            )
            for identity, *cells in connection.execute(query):
                row = rows[identity] = Row(name, identity)
                bad = row.take(dict(zip(columns, cells, strict=True)), nullable)
                yield from (f"{row}: {what}" for what in bad)
        except SQLAlchemyError as error:
            self.unread.add(name)
            yield f"{name}: cannot be read ({reason(error)})"

    def parent(self, row: Row, column: str) -> Row | None:
        """The row that a column of another refers to."""
        return self.tables.get(PARENTS[row.table, column], {}).get(row[column])

    def children(self, table: str, column: str, parent: Any) -> list[Row]:
        """Rows of a table that refer to a parent by a column, in their order."""
        groups = self._groups.get((table, column))
        if groups is None:
            groups = self._groups[table, column] = {}
            for row in self.tables.get(table, {}).values():
                groups.setdefault(row[column], []).append(row)
        return groups.get(parent, [])

    def snapshot(self, run: Row, kind: str) -> Row | None:
        """A run's key or value."""
        return next(
            (
                child
                for child in self.children("snapshot", "run_id", run.id)
                if child["kind"] == kind
            ),
            None,
        )


def _shown_late(table: str, column: str) -> bool:
    """Whether a reader of an older bank finds the column in a view of its own."""
    return any(table in tables for tables in NEW.values()) or any(
        column in tables.get(table, {}) for tables in ADDED.values()
    )


Check = Callable[[Row, Contents], Problems]


def guarded(what: object, check: Callable[..., Iterable[str]], *arguments: object) -> Problems:
    """What a check finds; where it cannot go on, that is a problem of what it looked at."""
    try:
        yield from check(*arguments)
    except Exception as error:  # whatever a cell holds
        yield f"{what}: cannot be checked ({reason(error)})"
