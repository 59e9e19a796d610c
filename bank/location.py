"""Where a bank lies: file paths and database URLs, read and shown so that no secret is."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import NoReturn

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from bank.errors import BankError

HIDDEN = "***"

DIALECTS = ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle")

SHOWN_OPTIONS = ("host", "port")
"""Options of a URL that say where it leads; what the others say is hidden."""

SQLITE_OPTIONS = {
    "timeout",
    "isolation_level",
    "detect_types",
    "check_same_thread",
    "cached_statements",
    "uri",
}

PLAIN = re.compile(r"[\w.\-+]*")
"""What a name in a URL looks like where it was taken apart as its writer meant it."""

PLAIN_VALUE = re.compile(r"[\w./+\-]*")


def bank_url(location: str | Path) -> URL:
    """A URL from a URL or a file path, in which ``~`` and ``~user`` stand for home folders.

    Raises:
        BankError: what is no URL and no path, or a URL that would be taken apart otherwise than it was meant.
    """
    text = str(location)
    if "\0" in text:
        raise BankError("bank: a path or URL holds no zero bytes")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return URL.create("sqlite", database=_file(_checked_path(text)))
    dialect = scheme.partition("+")[0].lower()
    if dialect == "postgres":
        raise BankError(
            f"bank {_scheme(scheme)}://{HIDDEN}: write postgresql:// in place of postgres://"
        )
    if dialect != "sqlite" and rest.count("@") > 1:
        _refuse(scheme, "more than one @; write %40 for those in a user, password or name")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number. Both quote the URL
        url = None
    if url is None:
        _refuse(scheme, "not a database URL or path")
    if dialect == "sqlite":
        database = url.database or ""
        if url.host:
            _refuse(scheme, "not a database URL or path (sqlite:/// has three slashes)")
        if set(url.query) - SQLITE_OPTIONS and not url.query.get("uri"):
            _refuse(
                scheme, f"its options are not those of SQLite ({', '.join(sorted(SQLITE_OPTIONS))})"
            )
        if database.startswith("file:") and not url.query.get("uri"):
            _refuse(
                scheme,
                "a file: address of SQLite's is read with uri=true among the options; or give a path",
            )
        if database in ("", ":memory:") or database.startswith("file:"):
            return url
        return url.set(database=_file(_checked_path(database)))
    if ":" in (url.database or "") or "@" in (url.database or ""):
        _refuse(scheme, "no host where one is expected; write scheme://user:password@host/name")
    return url


def in_memory(url: URL) -> bool:
    """Whether a database lies in the memory of the process that opened it."""
    database = url.database or ":memory:"
    named = database == ":memory:" or (
        database.startswith("file:") and "memory" in f"{database} {url.query}"
    )
    return url.get_backend_name() == "sqlite" and named


def file_of(url: URL) -> Path | None:
    """The file that a URL names by its path."""
    database = url.database
    if (
        url.get_backend_name() != "sqlite"
        or database in (None, "", ":memory:")
        or database.startswith("file:")
    ):
        return None
    return Path(database)


def driver_url(url: URL) -> URL:
    """The URL with a driver that is here: ``postgresql://`` takes psycopg where psycopg2 is not installed."""
    if url.drivername == "postgresql" and not _installed("psycopg2") and _installed("psycopg"):
        return url.set(drivername="postgresql+psycopg")
    return url


def shown(url: URL) -> str:
    """The URL as it may be printed: of its secrets, and of what may be part of one, nothing."""
    if url.get_backend_name() == "sqlite":
        place, name = "", url.database or ""
    else:
        user = (
            ""
            if url.username is None
            else _plain(url.username) + (f":{HIDDEN}" if url.password is not None else "")
        )
        host = _plain(url.host or "") + (f":{url.port}" if url.port else "")
        place, name = (f"{user}@" if user else "") + host, _plain(url.database or "")
    options = [
        f"{key}={value if key in SHOWN_OPTIONS and PLAIN_VALUE.fullmatch(value) else HIDDEN}"
        for key, values in url.query.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    end = f"?{'&'.join(options)}" if options else ""
    return f"{_scheme(url.drivername)}://{place}{f'/{name}' if name or place else ''}{end}"


def shown_location(location: str | Path) -> str:
    """A location as it was given, as it may be printed."""
    try:
        return (
            shown(bank_url(location))
            if "://" in str(location)
            else str(_checked_path(str(location)))
        )
    except BankError as error:
        return str(error).partition(": ")[0].removeprefix("bank ")


def secrets(url: URL) -> set[str]:
    """Words of a URL that must not be printed, and those they are made of."""
    hidden = [str(url.password)] if url.password is not None else []
    for key, values in url.query.items():
        if key not in SHOWN_OPTIONS:
            hidden += [values] if isinstance(values, str) else list(values)
    words = {word for text in hidden for word in (text, *re.split(r"[^\w]+", text))}
    return {word for word in words if len(word) > 1}


def _plain(name: str) -> str:
    return name if PLAIN.fullmatch(name) else HIDDEN


def _scheme(scheme: str) -> str:
    return scheme if re.fullmatch(r"[A-Za-z][\w+.\-]*", scheme) else HIDDEN


def _refuse(scheme: str, reason: str) -> NoReturn:
    raise BankError(f"bank {_scheme(scheme)}://{HIDDEN}: {reason}")


def _checked_path(path: str) -> str:
    """A path; what is a URL with a slash or colon left out is refused, since it may hold a password."""
    start = re.match(r"([a-z0-9]+)(\+\w+)?(:|//)", path.lower())
    if start and start[1] in DIALECTS:
        meant = "postgresql" if start[1] == "postgres" else start[1]
        slashes = "///" if meant == "sqlite" else "//"
        raise BankError(
            f"bank {start[1]}:{HIDDEN}: not a database URL or path; write {meant}:{slashes}..."
        )
    if path.startswith("file:"):
        raise BankError(
            f"bank file:{HIDDEN}: an address, not a path; give the path, or ./ before it"
        )
    if not path.startswith(("/", ".", "~")) and re.match(
        r"[^@]*:[^@]*@|.*\bpass(wd|word)?\s*=", path, re.I | re.S
    ):
        raise BankError(
            f"bank {HIDDEN}: not a database URL or path; write scheme://user:password@host/name, or ./ before a path"
        )
    return path


def _file(path: str) -> str:
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise BankError(
            f"bank {path}: no home folder is known for {path.partition('/')[0]}; write ./ before a file"
        )
    return str(Path(expanded))


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:
        return False
