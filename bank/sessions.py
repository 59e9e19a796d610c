"""Sessions of a bank: whole writes, reads that never wait, and rows that are there once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from bank import schema
from bank.driver_errors import database_errors
from bank.engine import sound_reading
from bank.identity import DIGEST

Row = TypeVar("Row", bound=schema.Base)
Value = TypeVar("Value")

AT_ONCE = 500
"""Values that one query looks for; databases limit how many a query may name."""

ATTEMPTS = 100
"""How often a write starts again after another process was first; every time it finds more of its rows there."""


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A writing transaction: all of it or none."""
    with (
        database_errors(engine.url),
        Session(engine.execution_options(writes=True)) as session,
        session.begin(),
    ):
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A reading session; readers never wait for a writer.

    Raises:
        BankError: a cell that cannot be what its column holds.
    """
    with (
        database_errors(engine.url),
        Session(engine) as session,
        sound_reading(session.connection()),
    ):
        yield session


def get(session: Session, table: type[Row], **where: Any) -> Row | None:
    """The one row that ``where`` names, or ``None``."""
    return session.scalars(select(table).filter_by(**where)).one_or_none()


def get_or_add(session: Session, table: type[Row], where: dict[str, Any], **rest: Any) -> Row:
    """The row that ``where`` names, added if missing; a process that adds it first wins."""

    def write() -> Row:
        row = get(session, table, **where)
        if row is None:
            row = table(**where, **rest)
            session.add(row)
            session.flush()
        return row

    return unless_first(session, write)


def unless_first(session: Session, write: Callable[[], Value]) -> Value:
    """Do ``write``, again where another process has just added one of its rows: it must look for them first."""
    for attempt in range(ATTEMPTS):
        try:
            with session.begin_nested():
                return write()
        except IntegrityError as error:
            if "unique" not in str(error.orig).lower() or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def some_at_once(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """The values in their order, as many at a time as one query may name."""
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]


def ids_by(
    session: Session, column: InstrumentedAttribute[Any], values: Sequence[Any]
) -> dict[Any, Any]:
    """Primary keys of the rows of a table that have one of ``values`` in a column, by that value."""
    (key,) = column.class_.__table__.primary_key.columns
    pairs: dict[Any, Any] = {}
    for some in some_at_once(list(dict.fromkeys(values))):
        for value, identity in session.execute(select(column, key).where(column.in_(some))):
            pairs[value] = identity
    return pairs


def named(column: InstrumentedAttribute[str], name: str) -> ColumnElement[bool]:
    """A digest or address that is given whole, which its index finds, or by its start."""
    return column == name if len(name) == DIGEST else column.startswith(name, autoescape=True)
