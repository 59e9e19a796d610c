"""The cells of a bank's tables: what each may hold, and all rows with those that are sound.

Rows are read by plain SQL, since the types of the schema would raise at what is looked for here.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from bank import schema
from bank.errors import reason
from bank.identity import DIGEST
from bank.records import ROLES
from bank.versions import ADDED, NEW, home

TOLERANCE = 1e-6
"""How far numbers that say the same may lie apart."""

CORRELATIONS = {"matthews_correlation", "pearson", "spearman"}
"""Metrics that may lie below 0."""

Problems = Iterator[str]


def _digest(cell: Any) -> str:
    if isinstance(cell, str) and len(cell) == DIGEST and set(cell) <= set("0123456789abcdef"):
        return cell
    raise ValueError("64 hexadecimal digits")


def _words(cell: Any) -> str:
    if isinstance(cell, str) and cell.strip() and cell.isprintable():
        return cell
    raise ValueError("a text")


def _text(cell: Any) -> str:
    return "" if cell == "" else _words(cell)


def _role(cell: Any) -> str:
    if cell in ROLES:
        return str(cell)
    raise ValueError(f"one of {', '.join(ROLES)}")


def _kind(cell: Any) -> str:
    if cell in ("key", "value"):
        return str(cell)
    raise ValueError("key or value")


def _budget(cell: Any) -> str:
    if cell in ("full", "halving"):
        return str(cell)
    raise ValueError("full or halving")


def _count(cell: Any) -> int:
    if isinstance(cell, int) and not isinstance(cell, bool) and cell >= 0:
        return cell
    raise ValueError("a whole number of at least 0")


def _positive(cell: Any) -> int:
    if isinstance(cell, int) and not isinstance(cell, bool) and cell > 0:
        return cell
    raise ValueError("a whole number of at least 1")


def _number(cell: Any) -> float:
    if isinstance(cell, int | float) and not isinstance(cell, bool) and math.isfinite(cell):
        return float(cell)
    raise ValueError("a finite number")


def _seconds(cell: Any) -> float:
    if _number(cell) >= 0:
        return float(cell)
    raise ValueError("a number of at least 0")


def as_bytes(cell: Any) -> bytes:
    """The bytes of a cell, whatever a driver makes of them.

    Raises:
        ValueError: something else.
    """
    if isinstance(cell, bytes | memoryview):
        return bytes(cell)
    raise ValueError("bytes")


def _json(cell: Any) -> Any:
    return json.loads(cell) if isinstance(cell, str | bytes) else cell


def _mapping(cell: Any) -> dict[str, Any]:
    found = _parsed(cell, "a JSON object")
    if isinstance(found, dict):
        return found
    raise ValueError("a JSON object")


def _shape(cell: Any) -> list[int]:
    axes = _parsed(cell, "a JSON list of axes")
    if isinstance(axes, list) and len(axes) > 2:
        return [_positive(axis) for axis in axes]
    raise ValueError("a JSON list of three axes or more")


def _flag(cell: Any) -> bool:
    if isinstance(cell, int) and cell in (0, 1):
        return bool(cell)
    raise ValueError("true or false")


def _metrics(cell: Any) -> dict[str, float]:
    found = _parsed(cell, "a JSON object of numbers")
    if isinstance(found, dict):
        low = -100 if CORRELATIONS & found.keys() else 0
        if all(low - TOLERANCE <= _number(value) <= 100 + TOLERANCE for value in found.values()):
            return found
        raise ValueError(f"a JSON object of numbers from {low} to 100")
    raise ValueError("a JSON object of numbers")


def _answers(cell: Any) -> list[str]:
    found = _parsed(cell, "a JSON list of texts")
    if isinstance(found, list) and all(isinstance(answer, str) for answer in found):
        return found
    raise ValueError("a JSON list of texts")


def _history(cell: Any) -> list[dict[str, float]]:
    found = _parsed(cell, "a JSON list of evaluations")
    if not isinstance(found, list) or not all(isinstance(row, dict) and "step" in row for row in found):
        raise ValueError("a JSON list of evaluations with their steps")
    for row in found:
        for name, value in row.items():
            if name != "loss" or value is None or not (isinstance(value, float) and math.isnan(value)):
                _number(value)  # the first evaluation may have no training loss
    return found


def _parsed(cell: Any, expected: str) -> Any:
    try:
        return _json(cell)
    except (ValueError, RecursionError):
        raise ValueError(expected) from None


def _time(cell: Any) -> dt.datetime:
    try:
        found = cell if isinstance(cell, dt.datetime) else dt.datetime.fromisoformat(cell)
    except (ValueError, TypeError):
        raise ValueError("a time") from None
    found = found.replace(tzinfo=dt.UTC)
    if not dt.datetime(2020, 1, 1, tzinfo=dt.UTC) <= found <= dt.datetime.now(dt.UTC) + dt.timedelta(days=1):
        raise ValueError("a time since 2020 that has been")
    return found


COLUMNS: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "backbone": {"fingerprint": _digest, "name": _words, "width": _positive, "config": _mapping},
    "task": {"name": _words, "family": _words, "description": _mapping, "content": _digest, "texts": as_bytes},
    "recipe": {
        "digest": _digest, "backbone_id": _count, "family": _digest, "prompt_length": _positive, "key_step": _count,
        "options": _mapping,
    },
    "member": {"task_id": _count, "name": _words},
    "prompt": {"sha256": _digest, "length": _positive, "width": _positive, "shape": _shape},
    "key_vectors": {"prompt_id": _count},
    "run": {
        "digest": _digest, "recipe_id": _count, "task_id": _count, "role": _role, "seed": _count, "steps": _count,
        "metric": _words, "score": _number, "metrics": _metrics, "history": _history, "environment": _mapping,
        "started_from": _digest, "seconds": _seconds, "created": _time, "data": _words, "start": as_bytes,
    },
    "snapshot": {"run_id": _count, "prompt_id": _count, "kind": _kind, "step": _count, "score": _number},
    "evaluation": {"run_id": _count, "data": _digest, "metrics": _metrics, "answers": _answers, "decoding": _mapping},
    "transfer": {
        "digest": _digest, "task_id": _count, "method": _words, "similarity": _text, "top_k": _count,
        "budget": _budget, "steps": _count, "seed": _count, "metric": _words, "query_run_id": _count,
        "baseline_run_id": _count, "chosen_run_id": _count, "baseline_metrics": _metrics, "outcome_metrics": _metrics,
        "created": _time, "options": _mapping, "single": _flag,
    },
    "candidate": {
        "transfer_id": _count, "rank": _positive, "source_run_id": _count, "run_id": _count, "similarity": _number,
        "weight": _number, "score": _number, "steps": _count,
    },
}  # fmt: skip
"""What each column may hold; a cell that does not is described by what was expected."""


class Row(dict[str, Any]):
    """A row with its sound cells; the others are ``None``."""

    def __init__(self, table: str, identity: Any) -> None:
        super().__init__()
        self.table, self.id = table, identity
        self.raw: Any = {}

    def __missing__(self, column: str) -> None:
        return None

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
        wanted = schema.Base.metadata.tables[name].columns
        key = next(iter(schema.Base.metadata.tables[name].primary_key)).name
        rows = self.tables.setdefault(name, {})
        try:
            found_in, place = inspect(connection), home(connection)
            known = name in found_in.get_table_names(place)
            there = {column["name"] for column in found_in.get_columns(name, place)} if known else set()
            columns = [column for column in (key, *COLUMNS[name]) if column in there or _shown_late(name, column)]
            found = connection.execute(text(f"SELECT {', '.join(dict.fromkeys(columns))} FROM {name}")).mappings()
            for cells in found:
                row = rows[cells[key]] = Row(name, cells[key])
                row.raw = cells
                bad = []
                for column, kind in COLUMNS[name].items():
                    if column in cells and not (cells[column] in (None, "null") and wanted[column].nullable):
                        try:
                            row[column] = kind(cells[column])
                        except ValueError as error:
                            bad.append((column, error))
                yield from (f"{row}: {column} is {cut(cells[column])}, expected {error}" for column, error in bad)
        except SQLAlchemyError as error:
            self.unread.add(name)
            yield f"{name}: cannot be read ({reason(error)})"

    def parent(self, row: Row, column: str) -> Row | None:
        """The row that a column of another refers to."""
        (key,) = schema.Base.metadata.tables[row.table].columns[column].foreign_keys
        return self.tables.get(key.column.table.name, {}).get(row[column])

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
        return next((one for one in self.children("snapshot", "run_id", run.id) if one["kind"] == kind), None)


def _shown_late(table: str, column: str) -> bool:
    """Whether a reader of an older bank finds the column in a view of its own."""
    return any(table in tables for tables in NEW.values()) or any(
        column in tables.get(table, {}) for tables in ADDED.values()
    )


def cut(cell: Any) -> str:
    """A cell as a line shows it."""
    shown = repr(cell)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."
