"""Answers and texts of rows: every shape that files hold them in, as plain text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from tasks.errors import shown

UNANSWERABLE = "unanswerable"
"""What answers a question that its text does not answer: a model writes words, and an empty target would teach it to
write nothing, which a prompt that fails does as well."""

PYTHON_LIST = re.compile(r"""\s*(\[\s*['"].*['"]\s*\]|\{\s*'text'\s*:.*\})\s*""", re.DOTALL)
"""A list or SQuAD's struct as Python shows them, which tools write into cells of a table."""


def is_null(value: object) -> bool:
    """Whether a row says nothing in this place: null, or a number that is none."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def text_in(row: Mapping[str, Any], column: str) -> str:
    """The text of a column.

    Raises:
        KeyError: no such column.
        ValueError: a value that is no text: null, infinity, a list, an object, bytes or characters that are not UTF-8.
    """
    value = row[column]
    if isinstance(value, str):
        text = value
    elif is_null(value):
        shape = "null" if value is None else "NaN"
        raise ValueError(
            f"column {shown(column)} is {shape}; skip_nulls = true under [data] leaves such rows out"
        )
    elif isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"column {shown(column)} holds bytes that are not UTF-8 text"
            ) from error
    elif isinstance(value, list | tuple | set | Mapping):
        kind = "an object" if isinstance(value, Mapping) else "a list"
        raise ValueError(f"column {shown(column)} holds {kind}, expected text")
    elif isinstance(value, float) and math.isinf(value):
        raise ValueError(f"column {shown(column)} holds a number out of range")
    else:
        text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"column {shown(column)} holds half a character (a lone surrogate)"
        ) from error
    return text


def spellings(row: Mapping[str, Any], column: str) -> tuple[str, ...]:
    """How a value may be spelled where it is named: a truth as Python or JSON does, a whole number without ``.0``.

    Raises:
        KeyError: no such column.
        ValueError: a value that is no text.
    """
    value, text = row[column], text_in(row, column).strip()
    if isinstance(value, bool):
        return text, text.lower()
    if isinstance(value, float) and value.is_integer():
        return text, str(int(value))
    return (text,)


def is_impossible(row: Mapping[str, Any]) -> bool:
    """Whether a row says by SQuAD 2's ``is_impossible`` that its text does not answer the question."""
    return str(row.get("is_impossible")).strip().lower() in ("true", "1")


def answer_texts(value: object) -> tuple[str, ...]:
    """The accepted answers of a question, none where it is unanswerable.

    Args:
        value: a text; a list of texts or of objects with ``text``; one such object, whose ``text`` may be a list; or
            any of them as JSON in a text. Blank answers are none.

    Raises:
        ValueError: any other shape.
    """
    if isinstance(value, str):
        if value.lstrip()[:1] in ("[", "{"):
            value = _from_json(value)
        if isinstance(value, str):
            return (value,) if value.strip() else ()
    if isinstance(value, Mapping):
        if "text" not in value:
            raise ValueError(f"answers are {shown(dict(value))}, an object without text")
        value = value["text"]
        if isinstance(value, Mapping):
            raise ValueError("answers hold an object in an object, expected text")
    if isinstance(value, list | tuple):
        texts: list[str] = []
        for item in value:
            if isinstance(item, list | tuple):
                raise ValueError("answers hold a list in a list, expected texts")
            texts += answer_texts(item)
        return tuple(texts)
    text = text_in({"answers": value}, "answers")
    return (text,) if text.strip() else ()


def _from_json(text: str) -> object:
    """What JSON in a text says, if it has a shape of answers; else the text itself."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        if PYTHON_LIST.fullmatch(text):
            raise ValueError(
                f"answers are {shown(text)}, a list as Python shows it; write it as JSON"
            ) from None
        return text
    items = value if isinstance(value, list) else [value]
    shaped = all(
        isinstance(item, str) or (isinstance(item, dict) and "text" in item) for item in items
    )
    return value if shaped else text
