"""A user's own task from one TOML file."""

from __future__ import annotations

import dataclasses
import json
import string
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.errors import TaskError
from tasks.formats import classify, free_text
from tasks.metrics import METRICS, NEED_LABELS
from tasks.sources import BY_SUFFIX, Hub, Row, Source
from tasks.task import (
    DEV_AND_TEST,
    PUBLISHED,
    TRAIN_AND_DEV,
    TRAIN_AND_TEST,
    Example,
    Formatter,
    Part,
    Split,
    Task,
    one_part,
)

EXAMPLE = """\
# A task of your own. Use it wherever a task's name is asked for:
#     spot train-source {name}.toml
#     spot transfer {name}.toml

name = "{name}"
family = "sentiment"          # any word; groups tasks in listings and reports
metrics = ["accuracy"]        # {metrics}

[data]
# Paths are relative to this file; .csv, .tsv, .jsonl, .json (a list, or SQuAD's) and .parquet.
# With train alone, development and test rows are cut from it by a hash of each row.
train = "{name}_train.csv"
# dev = "{name}_dev.csv"
# test = "{name}_test.csv"
# Or a data set of the Hugging Face hub (needs the extra spot-prompt-transfer[hub]):
# hub = "owner/name"
# config = ""
# parts = {{ train = "train", dev = "validation", test = "test" }}

[format]
# What the model reads: names in braces are columns. What it shall write: the label column.
template = "review: {{text}}"
label = "label"

[labels]
# Raw value in the data = word that the model writes. Leave the table out for free text.
"0" = "bad"
"1" = "good"
"""

SPLITS_BY_PARTS: Mapping[frozenset[str], Mapping[Split, Part]] = {
    frozenset({"train", "dev", "test"}): PUBLISHED,
    frozenset({"train", "dev"}): TRAIN_AND_DEV,
    frozenset({"train", "test"}): TRAIN_AND_TEST,
    frozenset({"dev", "test"}): DEV_AND_TEST,
    frozenset({"train"}): one_part("train"),
    frozenset({"dev"}): one_part("dev"),
    frozenset({"test"}): one_part("test"),
}


def example_task_file(name: str) -> str:
    """A commented task file to start from; ``name`` may be any text, and is quoted as TOML wants it."""
    quoted = json.dumps(name, ensure_ascii=False)[1:-1]
    return EXAMPLE.format(name=quoted, metrics=", ".join(METRICS))


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        TaskError: a file that is missing, cannot be read, or is no TOML in UTF-8.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise TaskError(f"{path}: no such file; `spot init-task` writes one to start from") from error
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: not UTF-8 text") from error
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise TaskError(f"{path}: not TOML ({error})") from error


def load_task_file(path: Path) -> Task:
    """Read a task from TOML; ``spot init-task`` writes one with comments.

    Raises:
        TaskError: a missing or malformed file, key, metric or template, naming what is wrong.
    """
    content = read_toml(path)
    _refuse_unknown(path, "", content, {"name", "family", "metrics", "data", "format", "labels", "notes"})
    name = _string(path, content, "name")
    layout = _table(path, content, "format")
    _refuse_unknown(path, "format.", layout, {"template", "label"})
    template, label = _string(path, layout, "template"), _string(path, layout, "label")
    labels = _labels(path, content)
    source = _source(path, _table(path, content, "data"))
    parts = frozenset(source.hub.parts if source.hub else source.files)
    return Task(
        name=name,
        family=str(content.get("family", "user")),
        source=source,
        formatter=_formatter(path, template, label, labels),
        metrics=_metrics(path, content, labels),
        labels=tuple(dict.fromkeys(labels.values())),
        splits=SPLITS_BY_PARTS[parts],
        notes=str(content.get("notes", f"from {path.name}")),
    )


def _source(path: Path, data: Mapping[str, Any]) -> Source:
    _refuse_unknown(path, "data.", data, {"train", "dev", "test", "hub", "config", "parts"})
    if "hub" in data:
        if {"train", "dev", "test"} & set(data):
            raise TaskError(f"{path}: [data] names both data.hub and files; give one of them")
        parts = data.get("parts", {"train": "train", "dev": "validation", "test": "test"})
        named = isinstance(parts, dict) and all(isinstance(part, str) for part in parts.values())
        if not named or frozenset(parts) not in SPLITS_BY_PARTS:
            raise TaskError(f"{path}: data.parts must name some of train, dev and test")
        return Source(hub=Hub(path=str(data["hub"]), config=str(data.get("config", "")), parts=parts))
    parts = [part for part in ("train", "dev", "test") if part in data]
    try:
        files = {part: (path.parent / str(data[part])).resolve() for part in parts}
    except (OSError, ValueError) as error:
        raise TaskError(f"{path}: [data] names a file that cannot exist ({error})") from error
    if not files:
        raise TaskError(f"{path}: [data] names neither a file for train, dev or test, nor a hub data set")
    for part, file in files.items():
        if file.suffix not in BY_SUFFIX:
            raise TaskError(f"{path}: data.{part} is {file.name}; expected one of {', '.join(BY_SUFFIX)}")
    return Source(files=files)


def _formatter(path: Path, template: str, label: str, labels: Mapping[str, str]) -> Formatter:
    try:
        columns = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise TaskError(f"{path}: format.template: {error}") from error
    if not columns or not all(columns):
        raise TaskError(f"{path}: format.template names no column; write them in braces, as in {{text}}")
    inner = classify({}, labels, label=label) if labels else free_text({}, label)

    def formatter(row: Row) -> list[Example]:
        text = "".join(
            literal + (str(row[field]) if field is not None else "")
            for literal, field, _, _ in string.Formatter().parse(template)
        )
        return [dataclasses.replace(answer, inputs=" ".join(text.split())) for answer in inner(row)]

    return formatter


def _metrics(path: Path, content: Mapping[str, Any], labels: Mapping[str, str]) -> tuple[str, ...]:
    metrics = content.get("metrics", ["accuracy"] if labels else ["exact_match"])
    if not isinstance(metrics, list) or not metrics:
        raise TaskError(f'{path}: metrics must be a list of names, such as ["accuracy"]')
    for metric in metrics:
        if not isinstance(metric, str) or metric not in METRICS:
            raise TaskError(f"{path}: metric {metric!r} is not known; choose from {', '.join(METRICS)}")
        if metric in NEED_LABELS and len(labels) < 2:
            raise TaskError(f"{path}: metric {metric!r} needs at least two [labels]")
    return tuple(metrics)


def _labels(path: Path, content: Mapping[str, Any]) -> dict[str, str]:
    labels = _table(path, content, "labels", required=False)
    for raw, word in labels.items():
        if not isinstance(word, str) or not word:
            raise TaskError(f"{path}: labels.{raw} is no text")
    return dict(labels)


def _refuse_unknown(path: Path, prefix: str, table: Mapping[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise TaskError(f"{path}: unknown key {prefix}{key}; expected {', '.join(sorted(known))}")


def _string(path: Path, table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise TaskError(f"{path}: {key} is missing or not a text")
    return value


def _table(path: Path, content: Mapping[str, Any], key: str, *, required: bool = True) -> Mapping[str, Any]:
    value = content.get(key, None if required else {})
    if not isinstance(value, dict):
        raise TaskError(f"{path}: table [{key}] is missing")
    return value
