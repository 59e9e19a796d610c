"""Files of users, opened with care: what is no file, or not the file that was meant, is one line."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from functools import lru_cache
from pathlib import Path

from tasks.errors import TaskError, shown

POINTER = b"version https://git-lfs.github.com/spec/"

PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
}
"""First bytes of compressed files; an Excel workbook is a zip."""

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order marks, by which a file says its encoding."""

PROBE = 4096

NAME_ANOTHER = 'a task file names another encoding under [data], as in encoding = "latin-1"'


def checked_file(path: Path) -> os.stat_result:
    """The state of a plain file that holds what its name says, unopened where it is anything else.

    Raises:
        TaskError: no such file, a folder, a pipe or device, a git-LFS pointer, or a compressed file.
    """
    start = b""
    try:
        state = path.stat()
        if stat.S_ISREG(state.st_mode):
            with path.open("rb") as file:
                start = file.read(len(POINTER))
    except FileNotFoundError as error:
        raise TaskError(f"{path}: no such file") from error
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # a name that no file can have
        raise TaskError(f"{shown(str(path))}: cannot be read ({error})") from error
    if stat.S_ISDIR(state.st_mode):
        raise TaskError(f"{path}: cannot be read (a folder, expected a file)")
    if not stat.S_ISREG(state.st_mode):
        raise TaskError(
            f"{path}: cannot be read (a pipe or device, expected a file); write it to a file first"
        )
    if start == POINTER:
        raise TaskError(f"{path}: a git-LFS pointer, not the file; fetch it with `git lfs pull`")
    for magic, kind in PACKED.items():
        if start.startswith(magic):
            raise TaskError(f"{path}: compressed ({kind}); unpack it first")
    return state


def read_bytes(path: Path) -> bytes:
    """The bytes of a plain file.

    Raises:
        TaskError: as :func:`checked_file`, or a file that cannot be read.
    """
    checked_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror})") from error


def read_text(path: Path, encoding: str = "") -> str:
    """The text of a file, without its byte-order mark.

    Args:
        path: the file.
        encoding: any name that Python knows; empty: what a byte-order mark says, and UTF-8 without one.

    Raises:
        TaskError: as :func:`checked_file`, or bytes that are no text of that encoding, with their row.
    """
    content = read_bytes(path)
    marked = next((name for mark, name in MARKS.items() if content.startswith(mark)), "")
    codec = encoding or marked or "utf-8"
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        if not marked and (zeros := _zeros(content[:PROBE])):
            raise TaskError(f"{path}: {zeros}") from error
        line = content[: error.start].count(b"\n") + 1
        other = (
            f"leave encoding out: its mark says {marked}" if encoding and marked else NAME_ANOTHER
        )
        raise TaskError(
            f"{path}, row {line}: not {codec.removesuffix('-sig')} text; {other}"
        ) from error
    except UnicodeError as error:
        raise TaskError(f"{path}: not {codec} text ({error})") from error
    if "\0" in text[:PROBE] and (zeros := _zeros(text[:PROBE].encode(errors="surrogatepass"))):
        raise TaskError(f"{path}: {zeros}")
    return text.removeprefix("\ufeff")


def _zeros(start: bytes) -> str:
    """What the zeros among a file's first bytes say of its encoding; empty where there are few."""
    even, odd = start[::2].count(0), start[1::2].count(0)
    if (even + odd) * 4 <= len(start):
        return ""
    if min(even, odd) * 4 >= len(start) - 4:
        return 'most of its bytes are zero; it is no text, or UTF-32 without its mark: encoding = "utf-32-le"'
    name = "utf-16-le" if odd > even else "utf-16-be"
    return f'every other byte is zero, as in UTF-16 without its mark; name it under [data], as in encoding = "{name}"'


def checked_encoding(name: str) -> str:
    """The name of an encoding of text that Python knows.

    Raises:
        LookupError: there is none of this name.
    """
    try:
        b"a".decode(name)
    except UnicodeError:  # half a character of UTF-16
        pass
    except (LookupError, ValueError) as error:  # ValueError: a name that no encoding can have
        raise LookupError(name) from error
    return name


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, read once a process for as long as the file stays as it is; empty without a file."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return ""
    if not stat.S_ISREG(state.st_mode):
        return ""
    try:
        return _digest(
            path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
        )
    except OSError:
        return ""


@lru_cache(maxsize=256)
def _digest(path: Path, *state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
