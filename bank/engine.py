"""Engines: any SQLAlchemy URL, SQLite in WAL mode by default, and the schema kept at the newest migration."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from bank.errors import BankError

HEAD = "0002"
"""The newest migration; a test compares it with the folder."""

BUSY_SECONDS = 60
"""How long a writer waits for another before it gives up."""


def bank_url(location: str | Path) -> URL:
    """A URL from a URL or a file path.

    Raises:
        BankError: a URL that cannot be parsed.
    """
    given = str(location)
    if "://" not in given:
        return URL.create("sqlite", database=str(Path(given).expanduser()))
    try:
        return make_url(given)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        hidden = _hide_option(re.sub(r"://.*@", "://***@", given))
        raise BankError(f"bank {hidden!r}: not a database URL or path") from error


def open_engine(url: URL, *, create: bool) -> Engine:
    """Connect, and bring the schema to the newest migration where ``create`` allows writing it.

    Raises:
        BankError: no such database, no driver for it, no answer, or a schema newer than this program.
    """
    database = url.database
    on_disk = url.get_backend_name() == "sqlite" and database not in (None, "", ":memory:")
    if on_disk and database and not database.startswith("file:"):
        if not create and not Path(database).exists():
            raise BankError(f"bank {database}: no such file; train a source into it with `spot train-source`")
        if create:
            try:
                Path(database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BankError(f"bank {database}: its folder cannot be made ({error.strerror})") from error
    try:
        engine = create_engine(url)
    except (NoSuchModuleError, ModuleNotFoundError, ImportError) as error:
        raise BankError(f"bank {shown(url)}: no driver for it is installed ({error})") from error
    except ArgumentError as error:  # sqlite://file with two slashes
        raise BankError(f"bank {shown(url)}: not a database URL or path (sqlite:/// has three slashes)") from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    try:
        with database_errors(url), engine.connect() as connection:
            current = _current(connection)
        if current != HEAD:
            _upgrade(engine, url, current, create=create)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def connected(location: str | Path) -> Iterator[Engine]:
    """The engine of a bank that is there, closed afterwards.

    Raises:
        BankError: as :func:`open_engine`.
    """
    engine = open_engine(bank_url(location), create=False)
    try:
        yield engine
    finally:
        engine.dispose()


def shown(url: URL) -> str:
    """The URL without its password, wherever it stands."""
    return _hide_option(url.render_as_string(hide_password=True))


def _hide_option(url: str) -> str:
    return re.sub(r"(?<=password=)[^&]*", "***", url)


@contextmanager
def database_errors(url: URL) -> Iterator[None]:
    """Turn a driver's errors into one line."""
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
        hint = {
            "database is locked": "another process holds it; try again",
            "database or disk is full": "free some space; nothing was lost",
            "file is not a database": "the file is something else",
            "unable to open database file": "check the folder and its permissions",
        }.get(reason, "check that the database is up and can be reached")
        raise BankError(f"bank {shown(url)}: {reason} ({hint})") from error


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy, not the driver, says when a transaction begins
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        cursor.execute("PRAGMA foreign_keys = ON")
        try:
            _keep_log(cursor)
            cursor.execute("PRAGMA synchronous = NORMAL")
        except Exception as error:
            if "readonly" not in str(error):
                raise
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # a writer takes its lock at once: a reader that turns writer half-way could not wait for it
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _keep_log(cursor: Any) -> None:
    """Switch to WAL; SQLite does not wait for others here, so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(engine: Engine, url: URL, current: str | None, *, create: bool) -> None:
    if current is not None and current > HEAD:
        raise BankError(
            f"bank {shown(url)}: its schema is {current}, newer than {HEAD} that this version knows; "
            "upgrade the program"
        )
    if current is None and not create:
        raise BankError(f"bank {shown(url)}: holds no bank yet; train a source into it")
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with (
        database_errors(url),
        engine.execution_options(writes=True).begin() as connection,
    ):
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(731852)"))
        if _current(connection) != HEAD:  # another process may have come first
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)
