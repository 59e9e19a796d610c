"""Engines: writers keep the schema at the newest migration; readers change nothing."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from bank import sqlite
from bank.driver_errors import database_errors
from bank.errors import BankError, NoBankError, reason
from bank.location import bank_url, driver_url, file_of, shown
from bank.versions import HEAD, current_version, show_as_newest, upgrade

ROOM = 1 << 20
"""Bytes that a trial write takes: more than a run of a large backbone's short prompt, less than a user would miss."""


def open_engine(url: URL, *, create: bool, write: bool | None = None) -> Engine:
    """Connect for writing or for reading.

    A writer brings the schema to the newest migration. A reader of an older bank sees it as if it were up to date,
    and neither makes files nor changes any: what it needs from a write-ahead log it takes from there.

    Args:
        url: from :func:`bank.location.bank_url`.
        create: make a bank where there is none; for writers only.
        write: whether to write; as ``create`` says if not given.

    Raises:
        BankError: no such database, no driver for it, no answer, tables of another program, or a schema newer than
            this program.
    """
    write = create if write is None else write
    path = file_of(url)
    if path is not None:
        _check_place(path, create=create)
    engine = _connect(url, path, write=write)
    try:
        with database_errors(url), engine.connect() as connection:
            current = current_version(connection, url)
        if current is None and not create:
            raise NoBankError(f"bank {shown(url)}: holds no bank yet; train a source into it")
        if write:
            with database_errors(url):
                if path is not None:
                    sqlite.keep_log(engine)
            if current != HEAD:
                upgrade(engine, url)
        elif current is not None and current != HEAD:
            show_as_newest(engine, current)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _check_place(path: Path, *, create: bool) -> None:
    """A file that is there, or where one is made a folder for it."""
    if not create and not path.exists():
        raise NoBankError(
            f"bank {path}: no such file; train a source into it with `spot train-source`"
        )
    if path.is_dir():
        raise BankError(
            f"bank {path}: a folder, not a file; name the file in it, such as {path / 'bank.sqlite'}"
        )
    if path.exists() and not path.is_file():
        raise BankError(f"bank {path}: a pipe or device, not a file; name a file")
    if create:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BankError(
                f"bank {path}: its folder cannot be made ({error.strerror}); name another"
            ) from error


def _connect(url: URL, path: Path | None, *, write: bool) -> Engine:
    """An engine whose connections wait for others, of a driver that is installed."""
    try:
        engine = (
            sqlite.reader(url, path)
            if path is not None and not write
            else create_engine(driver_url(url))
        )
    except (NoSuchModuleError, ModuleNotFoundError, ImportError) as error:
        raise BankError(f"bank {shown(url)}: no driver for it is installed ({error})") from None
    except (ArgumentError, TypeError, ValueError):  # they may quote the URL
        raise BankError(f"bank {shown(url)}: its options are not those of a database URL") from None
    if engine.dialect.name == "sqlite":
        sqlite.prepare(engine)
    return engine


@contextmanager
def connected(location: str | Path) -> Iterator[Engine]:
    """The engine of a bank that is there, for reading, closed afterwards.

    Raises:
        BankError: as :func:`open_engine`.
    """
    engine = open_engine(bank_url(location), create=False)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def sound_reading(connection: Connection) -> Iterator[None]:
    """Reading that ends well, or in one line.

    Raises:
        BankError: a cell that cannot be what its column holds, or a file that a writer changed meanwhile.
    """
    place = shown(connection.engine.url)
    try:
        yield
    except BankError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError) as error:
        raise BankError(
            f"bank {place}: a damaged cell ({reason(error)}); see `spot bank verify`"
        ) from error
    look = connection.info.get("look")
    if look and connection.info["stamp"][:3] != look()[:3] and not connection.info["stamp"][-1]:
        raise BankError(f"bank {place}: was written while it was read; try again")


def copied(url: URL) -> Engine:
    """A bank's copy in memory, for those who may read it and have something to add for themselves.

    Raises:
        BankError: as :func:`open_engine` for a reader, and for what is no file of SQLite.
    """
    if file_of(url) is None:
        raise BankError(f"bank {shown(url)}: only a file can be copied; ask for the right to write")
    source, copy = (
        open_engine(url, create=False),
        open_engine(URL.create("sqlite", database=":memory:"), create=True),
    )
    try:
        with database_errors(url), source.connect() as one, copy.connect() as other:
            original: Any = one.connection.dbapi_connection
            original.backup(other.connection.dbapi_connection)
        with copy.connect() as connection:
            current = current_version(connection, url)
        if current != HEAD:
            upgrade(copy, url)
    finally:
        source.dispose()
    return copy


def try_write(engine: Engine) -> None:
    """Write as much as a small run and take it back: whether permissions, disk, schema and other writers let it.

    Raises:
        BankError: they do not.
    """
    path = file_of(engine.url)
    if path is not None:
        sqlite.check_writable(path)
        free = shutil.disk_usage(path.parent).free
        if free < ROOM:
            raise BankError(
                f"bank {path}: the disk is full ({free} bytes are left); free some space"
            )
    with database_errors(engine.url), engine.execution_options(writes=True).connect() as connection:
        transaction = connection.begin()
        try:
            version = current_version(connection, engine.url)
            if version != HEAD:
                raise BankError(
                    f"bank {shown(engine.url)}: its schema is {version}, not {HEAD}; open it for writing"
                )
            connection.execute(
                text(
                    'INSERT INTO prompt (sha256, length, width, "values") VALUES (:name, 1, 1, :room)'
                ),
                {"name": f"trial {os.getpid()} {random.random()}"[:64], "room": bytes(ROOM)},
            )
        finally:
            transaction.rollback()
