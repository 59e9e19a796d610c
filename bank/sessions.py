"""Sessions of a bank: whole writes, and reads that never wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from bank.engine import database_errors, sound_reading


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
    with database_errors(engine.url), Session(engine) as session, sound_reading(session.connection()):
        yield session
