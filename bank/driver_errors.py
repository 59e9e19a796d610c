"""What a database's driver says, as one line that shows no secret and tells what to do."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from bank.errors import BankError
from bank.location import file_of, secrets, shown

HINTS = (
    ("database is locked", "another process holds it; try again"),
    ("database or disk is full", "the disk is full; free some space, nothing was lost"),
    (
        "disk i/o error",
        "the disk failed, or a limit on the size of files was reached; nothing was lost",
    ),
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
    path = file_of(url)
    if (
        path is not None
        and "check the folder" in hint
        and path.exists()
        and not os.access(path, os.R_OK)
    ):
        hint = "this user may not read it"
    if any(word.lower() in told.lower() for word in secrets(url)):
        told = "its server or driver refused"  # a driver quotes what it cannot read
    return BankError(f"bank {shown(url)}: {told} ({hint})")
