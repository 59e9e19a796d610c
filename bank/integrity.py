"""Integrity of a bank: what each cell may hold, and what rows say of each other. Nothing in a cell stops the rest.

First every cell is held against its column (:data:`bank.cells.COLUMNS`), and what it cannot be is named and left out;
then every row against the others (``CHECKS``), where each check sees sound cells or ``None``.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, UniqueConstraint, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from bank import run_checks, schema, transfer_checks
from bank.contents import Contents, Problems, guarded
from bank.driver_errors import database_errors
from bank.errors import reason
from bank.prompt_checks import out_of_order, prompt_problems
from bank.store import Bank
from bank.versions import added_later, current_version, home, new_later

CHECKS = {**run_checks.CHECKS, **transfer_checks.CHECKS}
"""What is checked of each row beside its cells, by table."""

LINE = 300
"""The longest line about one problem."""


def verify(bank: Bank) -> list[str]:
    """Problems found, a line each; empty if the bank is sound.

    Raises:
        BankError: the database cannot be read at all.
    """
    with database_errors(bank.engine.url), bank.engine.connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        problems = list(_schema_problems(connection, current_version(connection, bank.engine.url)))
        raw: Any = connection.connection.dbapi_connection
        if sqlite:
            raw.text_factory = lambda content: content.decode("utf-8", "surrogateescape")
        try:
            with _without_collection():
                problems += _all_problems(connection, sqlite=sqlite)
        finally:
            if sqlite:
                raw.text_factory = str
    return list(dict.fromkeys(map(_one_line, problems)))


@contextmanager
def _without_collection() -> Iterator[None]:
    """Rows by the million hold no cycles, and looking for some among them takes as long as the rest."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _all_problems(connection: Connection, *, sqlite: bool) -> Problems:
    if sqlite:
        try:
            yield from (
                f"database: {line}"
                for line in connection.execute(text("PRAGMA integrity_check")).scalars()
                if line != "ok"
            )
        except SQLAlchemyError as error:
            yield f"database: {reason(error)}"
    contents = Contents()
    for table in schema.Base.metadata.sorted_tables:
        yield from contents.read(connection, table.name)
    for table in schema.Base.metadata.sorted_tables:
        yield from _doubles(contents, table.name)
        yield from _lost_references(contents, table.name)
    for name, checks in CHECKS.items():
        for row in contents.tables.get(name, {}).values():
            for check in checks:
                yield from guarded(row, check, row, contents)
    if sqlite:
        yield from guarded("prompts", out_of_order, contents)
    yield from prompt_problems(connection, contents)


def _one_line(problem: str) -> str:
    line = " ".join(problem.encode("utf-8", "backslashreplace").decode().split())
    return line if len(line) <= LINE else f"{line[:LINE]} ..."


# -- the schema ----------------------------------------------------------------------------------------------


def _schema_problems(connection: Connection, version: str | None) -> Problems:
    """Tables, columns, indexes and constraints that are missing."""
    inspector, place = inspect(connection), home(connection)
    tables = set(inspector.get_table_names(place))
    for table in schema.Base.metadata.sorted_tables:
        name = table.name
        if name not in tables:
            if name not in new_later(version or ""):
                yield f"schema: table {name} is missing"
            continue
        columns = {column["name"] for column in inspector.get_columns(name, place)}
        expected: dict[str, set[Any]] = {
            "column": {column.name for column in table.columns} - added_later(version or "", name),
            "index": {index.name for index in table.indexes},
            "unique constraint on": {
                ", ".join(column.name for column in constraint.columns)
                for constraint in table.constraints
                if isinstance(constraint, UniqueConstraint)
            },
            "reference of": {key.parent.name for key in table.foreign_keys},
        }
        present: dict[str, set[Any]] = {
            "column": columns,
            "index": {index["name"] for index in inspector.get_indexes(name, place)},
            "unique constraint on": {
                ", ".join(constraint["column_names"])
                for constraint in inspector.get_unique_constraints(name, place)
            },
            "reference of": {
                column
                for key in inspector.get_foreign_keys(name, place)
                for column in key["constrained_columns"]
            },
        }
        for kind, names in expected.items():
            for lost in sorted(names - present[kind]):
                yield f"schema: {kind} {lost} of {name} is missing"


# -- rows against each other ---------------------------------------------------------------------------------


def _doubles(contents: Contents, name: str) -> Problems:
    for constraint in schema.Base.metadata.tables[name].constraints:
        if isinstance(constraint, UniqueConstraint):
            columns = [column.name for column in constraint.columns]
            counts = Counter(
                tuple(row[c] for c in columns) for row in contents.tables[name].values()
            )
            for values, count in counts.items():
                if count > 1 and None not in values:
                    yield f"{name}: {count} rows have the same {', '.join(columns)} ({', '.join(map(str, values))})"


def _lost_references(contents: Contents, name: str) -> Problems:
    for key in schema.Base.metadata.tables[name].foreign_keys:
        parent = key.column.table.name
        if parent in contents.unread:
            continue
        for row in contents.tables[name].values():
            if (
                row[key.parent.name] is not None
                and row[key.parent.name] not in contents.tables[parent]
            ):
                yield f"database: row {row.id} of {name} refers to a missing {parent} ({key.parent.name})"
