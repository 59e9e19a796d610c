"""Files of SQLite: writers keep them in WAL mode and take turns; readers leave nothing behind."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

from bank.errors import BankError

BUSY_SECONDS = 60
"""How long a writer waits for another before it gives up."""


def check_writable(path: Path) -> None:
    for place, what in (
        (path, "the file"),
        (path.parent, "its folder"),
        *((p, p.name) for p in _logs(path)),
    ):
        if place.exists() and not os.access(place, os.W_OK):
            raise BankError(
                f"bank {path}: this user may not write {what} ({os.strerror(errno.EACCES)})"
            )


def _logs(path: Path) -> tuple[Path, Path]:
    """The write-ahead log of a file and its index."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def prepare(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = (
            None  # SQLAlchemy, not the driver, says when a transaction begins
        )
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # a writer takes its lock at once: a reader that turns writer half-way could not wait for it
        if not connection.get_execution_options().get("writes", False):
            connection.exec_driver_sql("BEGIN")
        elif not _begin_in_turn(connection.connection.dbapi_connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_in_turn(connection: Any) -> bool:
    """Take the writers' lock; false where it was not to be had in time.

    SQLite's own wait looks ever more seldom, up to 100 ms apart, so that who comes last looks most often and wins.
    Here who has waited longest looks most often.
    """
    began = time.monotonic()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return True
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - began
                if "locked" not in str(error) or waited > BUSY_SECONDS:
                    return False
            time.sleep(random.uniform(0.5, 1.5) * max(0.0005, 0.004 / (1 + 20 * waited)))
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")


def keep_log(engine: Engine) -> None:
    """Switch to WAL; SQLite does not wait for others here, so we do."""
    connection = engine.raw_connection()
    deadline = time.monotonic() + BUSY_SECONDS
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "readonly" in str(error):
                    return  # said where something is written, and by `try_write`
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
    finally:
        connection.close()


def reader(url: URL, path: Path) -> Engine:
    """An engine whose connections read a file as it lies there, and follow it when it changes."""

    def stamp() -> tuple[int, ...]:
        """What a file and its log look like: three numbers each, and whether a writer has the log open."""
        numbers = []
        for place in (path, _logs(path)[0]):
            try:
                status = place.stat()
                numbers += [status.st_ino, status.st_size, status.st_mtime_ns]
            except OSError:
                numbers += [0, 0, 0]
        return (*numbers, int(_logs(path)[1].exists()))

    copies: list[str] = []
    engine = create_engine(url, creator=lambda: _connect_reader(path, copies))

    @event.listens_for(engine, "connect")
    def connected(_connection: Any, record: Any) -> None:
        record.info.update(stamp=stamp(), look=stamp, new=True)

    @event.listens_for(engine, "checkout")
    def taken(_connection: Any, record: Any, _proxy: Any) -> None:
        if not record.info.pop("new", False) and record.info["stamp"] != stamp():
            raise DisconnectionError  # the pool connects anew

    weakref.finalize(engine, _remove, copies)
    return engine


def _remove(folders: list[str]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _connect_reader(path: Path, copies: list[str]) -> sqlite3.Connection:
    """Open a file so that nothing is made beside it.

    A log that a writer has open is read through its index. Without one nobody writes, and the file stands for itself;
    what a killed writer left in a log without an index is read from a copy, since SQLite would make that index.
    """
    log, index = _logs(path)
    journal = path.with_name(f"{path.name}-journal")
    has_rest = log.exists() and log.stat().st_size > 0
    if index.exists() or journal.exists():
        options = "mode=ro&readonly_shm=1"
    elif has_rest:
        copies.append(tempfile.mkdtemp(prefix="spot-bank-"))
        copy = Path(copies[-1]) / path.name
        shutil.copyfile(path, copy)
        shutil.copyfile(log, _logs(copy)[0])
        path, options = copy, "mode=rw"
    else:
        options = "mode=ro&immutable=1"
    return sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?{options}", uri=True, check_same_thread=False
    )
