"""TOML files of users, and their values asked for by key and kind."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tasks.choices import choose
from tasks.errors import TaskError, repeated, shown
from tasks.files import read_bytes

LARGEST = 2**22
"""Bytes of a TOML file; tables of labels are far smaller."""

DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){32}""")
"""A key of many parts, which the parser takes time for that grows with the square of their number."""

KINDS: Mapping[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    dict: "a table",
}

Kind = TypeVar("Kind", str, bool, int, list[Any], dict[str, Any])


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        TaskError: a file that is missing, cannot be read, or is no TOML in UTF-8.
    """
    if not path.name:
        raise TaskError(f"{shown(str(path))}: not the name of a file")
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise TaskError(
            f"{path}: no such file; `spot init-task` writes one to start from"
        ) from error
    except (OSError, ValueError):
        size = 0  # said when it is read
    if size > LARGEST:
        raise TaskError(f"{path}: {size} bytes, too many for a TOML file")
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: not UTF-8 text; save it as UTF-8") from error
    if DEEP_KEY.search(text):
        raise TaskError(f"{path}: not TOML (a key of too many parts)")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TaskError(f"{path}: not TOML ({error}){_hint(text)}") from error
    except RecursionError as error:
        raise TaskError(f"{path}: not TOML (nested too deeply)") from error
    except ValueError as error:
        raise TaskError(f"{path}: not TOML (a number of too many digits)") from error


def _hint(text: str) -> str:
    return "; write paths with / or in single quotes" if re.search(r'"[A-Za-z]:\\', text) else ""


@dataclasses.dataclass(frozen=True)
class TomlTable:
    """A table of a task file, whose values are asked for by key and kind."""

    path: Path
    values: Mapping[str, Any]
    prefix: str = ""

    def get(self, key: str, kind: type[Kind], default: Kind | None = None) -> Kind:
        """The value of a key, ``default`` without it; a text that must be there must say something."""
        if key not in self.values:
            if default is None:
                raise self.error(key, "is missing")
            return default
        value = self.values[key]
        if type(value) is not kind:
            raise self.error(key, f"is {shown(value)}; expected {KINDS[kind]}")
        if default is None and value == "":
            raise self.error(key, "is empty")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, empty without the key."""
        texts = self.get(key, list, [])
        if not all(isinstance(item, str) and item for item in texts):
            raise self.error(key, f"is {shown(texts)}; expected a list of texts")
        return tuple(texts)

    def columns(self, key: str) -> tuple[str, ...]:
        """A column, or a list of them, each once; empty without the key."""
        value = self.values.get(key)
        if isinstance(value, list) and value:
            texts = self.texts(key)
            if twice := repeated(texts):
                raise self.error(key, f"names {shown(twice[0])} more than once")
            return texts
        if isinstance(value, list):
            raise self.error(key, "is []; expected a column or several")
        text = self.get(key, str, "")
        return (text,) if text else ()

    def table(self, key: str, *, required: bool = True) -> TomlTable:
        """A table within."""
        value = self.values.get(key, None if required else {})
        if not isinstance(value, dict):
            raise TaskError(f"{self.path}: table [{key}] is missing")
        return TomlTable(self.path, value, f"{self.prefix}{key}.")

    def error(self, key: str, reason: str) -> TaskError:
        return TaskError(f"{self.path}: {self.prefix}{key} {reason}")

    def refuse_unknown(self, known: Collection[str]) -> None:
        within = f"[{self.prefix[:-1]}] " if self.prefix else ""
        for key in self.values:
            choose(key, sorted(known), f"{self.path}: {within}key")
