"""JSON lines and documents, of bounded depth, with the rows of SQuAD's nested shape."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tasks.answers import answer_texts
from tasks.errors import TaskError, repeated, shown
from tasks.files import read_text
from tasks.rows import Numbered, Row
from tasks.tables import text_lines

DEEPEST = 100
"""Lists and objects within each other in JSON."""


def parse_json(where: str, text: str) -> Any:
    """A JSON document of bounded depth, in which no object says a key twice.

    Raises:
        TaskError: anything else, beginning with ``where``.
    """
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise TaskError(f"{where}: not JSON ({error.msg})") from error
    except RecursionError as error:
        raise TaskError(f"{where}: not JSON (nested too deeply)") from error
    except ValueError as error:
        why = str(error) if isinstance(error, _Twice) else "a number of too many digits"
        raise TaskError(f"{where}: not JSON ({why})") from error
    if text.count("[") + text.count("{") > DEEPEST and _depth_exceeds(content, DEEPEST):
        raise TaskError(f"{where}: not JSON (nested too deeply)")
    return content


class _Twice(ValueError):
    """A key that an object says twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _Twice(f"key {shown(repeated(key for key, _ in pairs)[0])} twice in one object")
    return values


def _depth_exceeds(content: object, deepest: int) -> bool:
    level = [content]
    for _ in range(deepest):
        inner = [
            item.values() if isinstance(item, dict) else item
            for item in level
            if isinstance(item, dict | list)
        ]
        level = [value for values in inner for value in values]
    return any(isinstance(item, dict | list) for item in level)


def jsonl(encoding: str = "") -> Callable[[Path], Iterator[Numbered]]:
    """A reader of JSON lines: one object a line, a row or an article of SQuAD's nested shape."""

    def read(path: Path) -> Iterator[Numbered]:
        for number, line in enumerate(text_lines(read_text(path, encoding)), 1):
            if line.strip():
                row = _as_row(path, number, _line(path, number, line))
                questions = (
                    _squad_questions(f"{path}, row {number}", [row])
                    if "paragraphs" in row
                    else [row]
                )
                yield from (Numbered(number, question) for question in questions)

    return read


def _line(path: Path, number: int, line: str) -> Any:
    try:
        return parse_json(f"{path}, row {number}", line)
    except TaskError as error:
        whole = number == 1 and line.strip() in ("[", "{", "[{")
        hint = (
            '; if the file is one list of objects, say format = "json" under [data]'
            if whole
            else ""
        )
        raise TaskError(f"{error}{hint}") from error.__cause__


def json_document(encoding: str = "") -> Callable[[Path], Iterator[Numbered]]:
    """A reader of a JSON list of objects, or such a list under ``data``, flat or in SQuAD's nested shape."""

    def read(path: Path) -> Iterator[Numbered]:
        text = read_text(path, encoding)
        try:
            content = parse_json(str(path), text)
        except TaskError as error:
            raise _located(path, text, error) from error
        rows = content
        if isinstance(content, dict):
            rows = content.get("data", [content] if "paragraphs" in content else None)
        if not isinstance(rows, list):
            raise TaskError(
                f"{path}: expected a list of objects, or SQuAD's format, found {_outline(content)}"
            )
        if any(isinstance(row, dict) and "paragraphs" in row for row in rows):
            rows = list(_squad_questions(str(path), rows))
        for number, row in enumerate(rows, 1):
            yield Numbered(number, _as_row(path, number, row))

    return read


def _located(path: Path, text: str, error: TaskError) -> TaskError:
    """The error with the row where the document stops being one, and a word where it is one of lines."""
    cause = error.__cause__
    if not isinstance(cause, json.JSONDecodeError):
        return error
    lines = cause.msg == "Extra data" and text.lstrip().startswith("{")
    hint = (
        '; if every line is an object of its own, say format = "jsonl" under [data]'
        if lines
        else ""
    )
    return TaskError(f"{path}, row {cause.lineno}: not JSON ({cause.msg}){hint}")


def _outline(content: object) -> str:
    """What a document is instead of a list of rows, and how columns become one."""
    if not isinstance(content, dict):
        return f"{type(content).__name__}"
    keys = ", ".join(shown(key) for key in list(content)[:5])
    columns = content and all(isinstance(value, dict | list) for value in content.values())
    hint = (
        '; write a list of rows, as pandas does with to_json(orient="records")' if columns else ""
    )
    return f"an object with {keys or 'nothing in it'}{hint}"


def _as_row(path: Path, number: int, row: object) -> Row:
    if not isinstance(row, dict):
        raise TaskError(f"{path}, row {number}: expected a JSON object, found {type(row).__name__}")
    return row


def _squad_questions(where: str, articles: Iterable[Any]) -> Iterator[Row]:
    """One row a question; the answers of one that its text does not answer are an empty list."""
    number = 0
    try:
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    number += 1
                    answers = (
                        () if question.get("is_impossible") else answer_texts(question["answers"])
                    )
                    yield {
                        "context": paragraph["context"],
                        "question": question["question"],
                        "answers": list(answers),
                    }
    except KeyError as error:
        raise TaskError(
            f"{where}: not in SQuAD's format (question {number}: no {error})"
        ) from error
    except (TypeError, AttributeError, ValueError) as error:
        raise TaskError(f"{where}: not in SQuAD's format (question {number}: {error})") from error


read_jsonl, read_json = jsonl(), json_document()
