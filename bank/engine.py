"""Engines: writers keep the schema at the newest migration and SQLite in WAL mode; readers leave nothing behind."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, NoSuchModuleError

from bank.errors import BankError, reason
from bank.location import bank_url, driver_url, secrets, shown

HEAD = "0003"
"""The newest migration; a test compares it with the folder."""

VERSIONS = ("0001", "0002", "0003")

ADDED: dict[str, dict[str, str]] = {
    "0002": {
        "transfer": "'full' AS budget, CAST(NULL AS INTEGER) AS steps",
        "candidate": "CAST(NULL AS INTEGER) AS steps",
        "evaluation": "",
    },
    "0003": {
        "run": "NULL AS data, NULL AS start",
        "task": "NULL AS content, NULL AS texts",
        "transfer": "NULL AS options",
    },
}
"""What each migration added to which tables, as a reader of an older bank finds it; no columns: the table is new."""

TABLES = frozenset({"backbone", "task", "recipe", "prompt", "key_vectors", "run", "snapshot", "transfer", "candidate"})
"""Those of the first schema: where they are missing, the tables are another program's."""

BUSY_SECONDS = 60
"""How long a writer waits for another before it gives up."""

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
    path = _file_of(url)
    if path is not None:
        if not create and not path.exists():
            raise BankError(f"bank {path}: no such file; train a source into it with `spot train-source`")
        if path.is_dir():
            raise BankError(f"bank {path}: a folder, not a file; name the file in it, such as {path / 'bank.sqlite'}")
        if path.exists() and not path.is_file():
            raise BankError(f"bank {path}: a pipe or device, not a file; name a file")
        if create:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BankError(f"bank {path}: its folder cannot be made ({error.strerror}); name another") from error
    try:
        engine = _reader(url, path) if path is not None and not write else create_engine(driver_url(url))
    except (NoSuchModuleError, ModuleNotFoundError, ImportError) as error:
        raise BankError(f"bank {shown(url)}: no driver for it is installed ({error})") from None
    except (ArgumentError, TypeError, ValueError):  # they may quote the URL
        raise BankError(f"bank {shown(url)}: its options are not those of a database URL") from None
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    try:
        with database_errors(url), engine.connect() as connection:
            current = current_version(connection, url)
        if current is None and not create:
            raise BankError(f"bank {shown(url)}: holds no bank yet; train a source into it")
        if write:
            with database_errors(url):
                if path is not None:
                    _keep_log(engine)
            if current != HEAD:
                _upgrade(engine, url)
        elif current is not None and current != HEAD:
            _show_as_newest(engine, current)
    except BaseException:
        engine.dispose()
        raise
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
        raise BankError(f"bank {place}: a damaged cell ({reason(error)}); see `spot bank verify`") from error
    look = connection.info.get("look")
    if look and connection.info["stamp"][:3] != look()[:3] and not connection.info["stamp"][-1]:
        raise BankError(f"bank {place}: was written while it was read; try again")


def copied(url: URL) -> Engine:
    """A bank's copy in memory, for those who may read it and have something to add for themselves.

    Raises:
        BankError: as :func:`open_engine` for a reader, and for what is no file of SQLite.
    """
    if _file_of(url) is None:
        raise BankError(f"bank {shown(url)}: only a file can be copied; ask for the right to write")
    source, copy = open_engine(url, create=False), open_engine(URL.create("sqlite", database=":memory:"), create=True)
    try:
        with database_errors(url), source.connect() as one, copy.connect() as other:
            held: Any = one.connection.dbapi_connection
            held.backup(other.connection.dbapi_connection)
        with copy.connect() as connection:
            current = current_version(connection, url)
        if current != HEAD:
            _upgrade(copy, url)
    finally:
        source.dispose()
    return copy


def try_write(engine: Engine) -> None:
    """Write as much as a small run and take it back: whether permissions, disk, schema and other writers let it.

    Raises:
        BankError: they do not.
    """
    path = _file_of(engine.url)
    if path is not None:
        _check_writable(path)
        free = shutil.disk_usage(path.parent).free
        if free < ROOM:
            raise BankError(f"bank {path}: the disk is full ({free} bytes are left); free some space")
    with database_errors(engine.url), engine.execution_options(writes=True).connect() as connection:
        transaction = connection.begin()
        try:
            version = current_version(connection, engine.url)
            if version != HEAD:
                raise BankError(f"bank {shown(engine.url)}: its schema is {version}, not {HEAD}; open it for writing")
            connection.execute(
                text('INSERT INTO prompt (sha256, length, width, "values") VALUES (:name, 1, 1, :room)'),
                {"name": f"trial {os.getpid()} {random.random()}"[:64], "room": bytes(ROOM)},
            )
        finally:
            transaction.rollback()


# -- errors --------------------------------------------------------------------------------------------------

HINTS = (
    ("database is locked", "another process holds it; try again"),
    ("database or disk is full", "the disk is full; free some space, nothing was lost"),
    ("disk i/o error", "the disk failed, or a limit on the size of files was reached; nothing was lost"),
    ("file is not a database", "the file is something else"),
    ("malformed", "the file is damaged; take a copy that is sound"),
    ("readonly database", "the file or its folder is read-only, or another user's"),
    ("unable to open database file", "check the folder and its permissions"),
    ("no such table", "its tables are not those of a bank; see `spot bank verify`"),
    ("no such column", "its tables are not those of a bank; see `spot bank verify`"),
    ("could not decode", "a text in it is damaged; see `spot bank verify`"),
    ("constraint failed", "see `spot bank verify`"),
    ("could not translate host", "no such host; check the URL"),
    ("resolve host", "no such host; check the URL"),
    ("name or service not known", "no such host; check the URL"),
    ("unknown host", "no such host; check the URL"),
    ("authentication failed", "wrong user or password"),
    ("no password supplied", "wrong user or password"),
    ("access denied", "wrong user or password"),
    ("no pg_hba.conf entry", "the server does not let this user in from here"),
    ("permission denied", "this user may not do that; ask the owner of the database"),
    ('role "', "no such user; check the URL"),
    ('database "', "no such database; create it first"),
)
"""What to do about an error of a driver, by words in it; the first that fits."""

ELSE = "check that the database is up and can be reached"


@contextmanager
def database_errors(url: URL) -> Iterator[None]:
    """Turn a driver's errors into one line without secrets."""
    try:
        yield
    except DBAPIError as error:
        raise _refusal(url, str(error.orig or error)) from (None if secrets(url) else error)
    except sqlite3.Error as error:
        raise _refusal(url, str(error)) from error
    except UnicodeDecodeError as error:  # SQLite quotes the schema that it cannot read
        raise _refusal(url, "malformed database schema") from error


def _refusal(url: URL, said: str) -> BankError:
    lines = said.strip().splitlines() or ["no reason given"]
    told = next((line for line in lines if "failed" in line or "FATAL" in line), lines[0]).strip()
    known = said.lower()
    hint = next((hint for words, hint in HINTS if words in known), ELSE)
    path = _file_of(url)
    if path is not None and "check the folder" in hint and path.exists() and not os.access(path, os.R_OK):
        hint = "this user may not read it"
    if any(word.lower() in told.lower() for word in secrets(url)):
        told = "its server or driver refused"  # a driver quotes what it cannot read
    return BankError(f"bank {shown(url)}: {told} ({hint})")


# -- SQLite --------------------------------------------------------------------------------------------------


def _file_of(url: URL) -> Path | None:
    """The file that a URL names by its path."""
    database = url.database
    if url.get_backend_name() != "sqlite" or database in (None, "", ":memory:") or database.startswith("file:"):
        return None
    return Path(database)


def _check_writable(path: Path) -> None:
    for place, what in ((path, "the file"), (path.parent, "its folder"), *((p, p.name) for p in _logs(path))):
        if place.exists() and not os.access(place, os.W_OK):
            raise BankError(f"bank {path}: this user may not write {what} ({os.strerror(errno.EACCES)})")


def _logs(path: Path) -> tuple[Path, Path]:
    """The write-ahead log of a file and its index."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy, not the driver, says when a transaction begins
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


def _keep_log(engine: Engine) -> None:
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


def _reader(url: URL, path: Path) -> Engine:
    """An engine whose connections read a file as it lies there, and follow it when it changes."""

    def stamp() -> tuple[int, ...]:
        """What a file and its log look like: three numbers each, and whether a writer has the log open."""
        found = []
        for place in (path, _logs(path)[0]):
            try:
                status = place.stat()
                found += [status.st_ino, status.st_size, status.st_mtime_ns]
            except OSError:
                found += [0, 0, 0]
        return (*found, int(_logs(path)[1].exists()))

    copies: list[str] = []
    engine = create_engine(url, creator=lambda: _connect_reader(path, copies))

    @event.listens_for(engine, "connect")
    def connected(_connection: Any, record: Any) -> None:
        record.info.update(stamp=stamp(), look=stamp)

    @event.listens_for(engine, "checkout")
    def taken(_connection: Any, record: Any, _proxy: Any) -> None:
        if record.info["stamp"] != stamp():
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
    left = log.exists() and log.stat().st_size > 0
    if index.exists() or journal.exists():
        options = "mode=ro&readonly_shm=1"
    elif left:
        copies.append(tempfile.mkdtemp(prefix="spot-bank-"))
        copy = Path(copies[-1]) / path.name
        shutil.copyfile(path, copy)
        shutil.copyfile(log, _logs(copy)[0])
        path, options = copy, "mode=rw"
    else:
        options = "mode=ro&immutable=1"
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?{options}", uri=True, check_same_thread=False)


# -- the schema ----------------------------------------------------------------------------------------------


def home(connection: Connection) -> str | None:
    """The schema of a server in which a bank's tables lie, to be named where views of a reader hide them."""
    return connection.dialect.default_schema_name if connection.dialect.name == "postgresql" else None


def current_version(connection: Connection, url: URL) -> str | None:
    """The migration that a database stands at, or ``None`` where it holds no bank.

    Raises:
        BankError: tables of another program, or of a newer version of this one.
    """
    tables = set(inspect(connection).get_table_names(home(connection)))
    versions = []
    if "alembic_version" in tables:
        versions = list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
    ours = tables >= TABLES
    foreign = tables - {"alembic_version"} if connection.dialect.name == "sqlite" else tables & TABLES
    if (versions or foreign) and not ours:
        raise BankError(f"bank {shown(url)}: holds tables of another program, or not all of a bank's; name another")
    if not versions and not ours:
        return None
    current = str(versions[0]) if len(versions) == 1 else ""
    if current in VERSIONS:
        return current
    if not (current.isdigit() and len(current) == 4 and current > HEAD):
        raise BankError(f"bank {shown(url)}: does not say which schema it has; take a copy that is sound")
    raise BankError(
        f"bank {shown(url)}: its schema is {current}, newer than {HEAD} that this version knows; upgrade the program"
    )


def _upgrade(engine: Engine, url: URL) -> None:
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
        if current_version(connection, url) != HEAD:  # another process may have come first
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)


def _show_as_newest(engine: Engine, current: str) -> None:
    """Let every further connection see an older bank with the columns that came later, empty: as views of its own."""
    later: dict[str, list[str]] = {}
    for version, tables in ADDED.items():
        if version > current:
            for table, columns in tables.items():
                later.setdefault(table, []).append(columns)
    sqlite = engine.dialect.name == "sqlite"
    place = "main" if sqlite else engine.dialect.default_schema_name
    whole = "CAST(NULL AS INTEGER)"
    nothing = f"{whole} AS id, {whole} AS run_id, NULL AS data, NULL AS metrics, NULL AS answers WHERE 1 = 0"
    views = [
        f"CREATE TEMPORARY VIEW {table} AS SELECT "
        + (f"*, {', '.join(columns)} FROM {place}.{table}" if all(columns) else nothing)
        for table, columns in later.items()
    ]

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        if sqlite:
            cursor.execute("PRAGMA temp_store = MEMORY")
        for view in views:
            cursor.execute(view)
        cursor.close()
        if not sqlite:
            connection.commit()

    engine.dispose()
