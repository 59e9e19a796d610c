"""A user's own task from one TOML file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from tasks.answers import UNANSWERABLE
from tasks.choices import choose
from tasks.errors import TaskError, repeated, shown
from tasks.files import checked_encoding, file_digest
from tasks.formats import UNLABELLED
from tasks.metrics import METRICS
from tasks.readers import FORMATS, OF_TABLES, SUFFIXES, Writing, format_of, labels_beside, reader_of
from tasks.sources import Hub, Skip, Source
from tasks.task import (
    DEV_AND_TEST,
    PUBLISHED,
    TRAIN_AND_DEV,
    TRAIN_AND_TEST,
    Part,
    Split,
    Task,
    one_part,
)
from tasks.template import Layout, formatter_of, read_layout
from tasks.tomlfile import TomlTable, read_toml

EXAMPLE = """\
# A task of your own. Use it wherever a task's name is asked for:
#     spot train-source {name}.toml
#     spot transfer {name}.toml
# Lines that begin with "# " and a key are options: take the "# " away to use one.

name = "{name}"
family = "sentiment"          # any word; groups tasks in listings and reports
metrics = ["accuracy"]        # {metrics}

[data]
# Paths are relative to this file; .csv, .tsv, .jsonl, .json (a list, or SQuAD's) and .parquet.
# With train alone, development and test rows are cut from it by a hash of each row.
train = "{name}_train.csv"
# dev = "{name}_dev.csv"
# test = "{name}_test.csv"

# How the files are written, where the suffix does not say it.
# format = "csv"              # {formats}
#   "label text": lines such as `1 a fine film`, columns label and text.
#   "text and labels": two files, a line each: train = ["texts.txt", "labels.txt"], columns text and label.
# columns = ["text", "label"] # names of the columns, where the first line is a row already
# delimiter = ";"             # what stands between columns
# quoted = true               # fields may stand between quotation marks (.csv: true; .tsv: false)
# encoding = "latin-1"        # default UTF-8; UTF-16 and UTF-32 are known by their byte-order mark

# Rows that cannot be used are errors, unless they are left out, which is counted and shown by `spot tasks`.
# skip = {{ label = ["-"] }}    # column = values of rows without a label; -1 is one where [labels] has it not
# skip_nulls = true           # rows with null or NaN in a column that is used
# allow_bad_rows = 2          # at most so many rows of another number of columns

# split_key = "text"          # rows with the same value of this column stay in one split, as those of one passage

# Or a data set of the Hugging Face hub (needs the extra spot-prompt-transfer[hub]) in place of train, dev and test:
# hub = "owner/name"
# config = ""
# revision = ""               # branch, tag or commit
# parts = {{ train = "train", dev = "validation", test = "test" }}
# columns = {{ label = "coarse_label" }}  # our names for its columns

[format]
# What the model reads: names in braces are columns. What it shall write: the label column.
template = "review: {{text}}"
label = "label"
# In place of label, where several answers are right: the first is the target, all are accepted. A text, a list of
# texts, or SQuAD's answers in any of their shapes.
# answers = "answers"
# unanswerable = "unanswerable"  # what the model shall write where there is no answer
# group = "text"              # rows of one value are scored together (metric group_exact_match)
# cut = "text"                # the column that is shortened where an input is too long; default: the longest of the row

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

PARTS = ("train", "dev", "test")
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")
OF_ROWS = ("split_key", "skip", "skip_nulls")
OF_HUB = ("hub", "config", "revision", "parts", "columns")


def example_task_file(name: str) -> str:
    """A commented task file to start from; ``name`` may be any text, and is quoted as TOML wants it."""
    quoted = json.dumps(name, ensure_ascii=False)[1:-1]
    return EXAMPLE.format(name=quoted, metrics=", ".join(METRICS), formats=", ".join(FORMATS))


def load_task_file(path: Path) -> Task:
    """Read a task from TOML; ``spot init-task`` writes one with comments.

    Raises:
        TaskError: a missing or malformed file, key, metric or template, naming what is wrong.
    """
    file = TomlTable(path, read_toml(path))
    file.refuse_unknown({"name", "family", "metrics", "data", "format", "labels", "notes"})
    labels = _labels(file)
    layout = read_layout(file.table("format"), labels)
    source, splits = _source(file.table("data"), layout, labels)
    split_key = file.table("data").get("split_key", str, "")
    metrics = _metrics(file, labels)
    return Task(
        name=file.get("name", str),
        family=file.get("family", str, "user"),
        source=source,
        formatter=formatter_of(layout, labels, split_key),
        metrics=metrics,
        labels=tuple(dict.fromkeys(labels.values())),
        splits=splits,
        split_key=split_key,
        notes=file.get("notes", str, f"from {path.name}"),
        content=_content(source, file.table("data"), layout, labels),
    )


# -- where rows come from ----------------------------------------------------------------------------------


def _source(data: TomlTable, layout: Layout, labels: Mapping[str, str]) -> tuple[Source, Mapping[Split, Part]]:
    data.refuse_unknown({*PARTS, "format", *OF_TABLES, *OF_ROWS, *OF_HUB})
    skip = _skip(data, layout, labels)
    if "hub" in data.values:
        hub = _hub(data)
        return Source(hub=hub, skip=skip), SPLITS_BY_PARTS[frozenset(hub.parts)]
    for key in OF_HUB:
        if key in data.values and key not in OF_TABLES:
            raise data.error(key, "goes with data.hub, which is not given")
    writing, paths = _writing(data), _paths(data)
    files = {part: pair[0] for part, pair in paths.items()}
    beside = {pair[0]: pair[1] for pair in paths.values() if len(pair) == 2}
    if not files:
        raise TaskError(f"{data.path}: [data] names neither a file for train, dev or test, nor a hub data set")
    for part, file in files.items():
        told = FORMATS[_format(data, part, file, writing)].told
        for key in OF_TABLES:
            if key in data.values and key not in told:
                raise data.error(key, f"is not for files such as {file.name}; remove it, or say another data.format")
    reader = reader_of(dataclasses.replace(writing, labels=beside))
    return Source(files=files, reader=reader, skip=skip), SPLITS_BY_PARTS[frozenset(files)]


def _hub(data: TomlTable) -> Hub:
    if set(PARTS) & set(data.values):
        raise TaskError(f"{data.path}: [data] names both data.hub and files; give one of them")
    for key in ("format", *OF_TABLES):
        if key in data.values and key not in OF_HUB:
            raise data.error(key, "is for files, and data.hub names none")
    parts = data.values.get("parts", {"train": "train", "dev": "validation", "test": "test"})
    if not _texts_by_text(parts) or frozenset(parts) not in SPLITS_BY_PARTS:
        raise TaskError(f"{data.path}: data.parts must name some of train, dev and test")
    columns = data.values.get("columns", {})
    if not _texts_by_text(columns):
        raise data.error(
            "columns", f'is {shown(columns)}; expected our names for the hub\'s, as in {{ label = "star" }}'
        )
    config, revision = data.get("config", str, ""), data.get("revision", str, "")
    return Hub(path=data.get("hub", str), config=config, revision=revision, parts=parts, columns=columns)


def _texts_by_text(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) and item for item in value.values())


def _writing(data: TomlTable) -> Writing:
    form = data.get("format", str, "")
    if form:
        choose(form, FORMATS, f"{data.path}: data.format")
    delimiter = data.get("delimiter", str, "")
    if "delimiter" in data.values and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise data.error("delimiter", f"is {shown(delimiter)}; expected one character, as in ';'")
    encoding = data.get("encoding", str, "")
    try:
        if "encoding" in data.values:
            checked_encoding(encoding)
    except LookupError as error:
        raise data.error(
            "encoding", f"is {shown(encoding)}, which is not known; known are utf-8, latin-1, cp1252"
        ) from error
    columns = data.texts("columns")
    if twice := repeated(columns):
        raise data.error("columns", f"names {shown(twice[0])} more than once")
    allowed = data.get("allow_bad_rows", int, 0)
    if allowed < 0 or not _fits(allowed):
        raise data.error("allow_bad_rows", f"is {shown(allowed)}; expected the number of rows")
    quoted = data.get("quoted", bool, False) if "quoted" in data.values else None
    return Writing(
        format=form, columns=columns, delimiter=delimiter, quoted=quoted, encoding=encoding, allow_bad_rows=allowed
    )


def _paths(data: TomlTable) -> dict[str, list[Path]]:
    """The file of every part, and for ``text and labels`` that of its labels."""
    pairs = data.values.get("format") == "text and labels"
    paths = {}
    for part in PARTS:
        if part not in data.values:
            continue
        value = data.values[part]
        names = value if pairs and isinstance(value, list) and len(value) == 2 else [value]
        if not all(isinstance(name, str) and name for name in names):
            raise data.error(part, f"is {shown(value)}; expected the name of a file")
        try:
            paths[part] = [(data.path.parent / name).resolve() for name in names]
        except (OSError, ValueError, RuntimeError) as error:
            raise TaskError(f"{data.path}: [data] names a file that cannot exist ({error})") from error
        if pairs and len(names) == 1:
            paths[part].append(labels_beside(paths[part][0]))
    return paths


def _format(data: TomlTable, part: str, file: Path, writing: Writing) -> str:
    if not writing.format and file.suffix.lower() in PACKED_SUFFIXES:
        raise data.error(part, f"is {file.name}, a compressed file; unpack it first")
    try:
        return format_of(file, writing)
    except TaskError as error:
        raise data.error(part, f'is {file.name}; expected one of {SUFFIXES}, or say format = "csv"') from error


def _skip(data: TomlTable, layout: Layout, labels: Mapping[str, str]) -> Skip:
    values: dict[str, frozenset[str]] = {}
    for column, given in data.get("skip", dict, {}).items():
        items = given if isinstance(given, list) else [given]
        if not items or not all(isinstance(item, str) or (isinstance(item, int) and _fits(item)) for item in items):
            raise data.error(f"skip.{column}", f'is {shown(given)}; expected a list of values, as in ["-", "-1"]')
        values[column] = frozenset(str(item).lower() if isinstance(item, bool) else str(item) for item in items)
    if labels and UNLABELLED not in labels:
        values[layout.label] = values.get(layout.label, frozenset()) | {UNLABELLED}
    used = (*layout.columns, layout.label, layout.group, data.get("split_key", str, ""))
    nulls = tuple(dict.fromkeys(column for column in used if column)) if data.get("skip_nulls", bool, False) else ()
    return Skip(values=values, nulls=nulls, label=layout.label)


def _fits(number: int) -> bool:
    """Whether data may hold this number; one of thousands of digits cannot even be written."""
    return abs(number) < 2**63


# -- labels, metrics and what a task is -----------------------------------------------------------------------


def _metrics(file: TomlTable, labels: Mapping[str, str]) -> tuple[str, ...]:
    metrics = file.values.get("metrics", ["accuracy"] if labels else ["exact_match"])
    if not isinstance(metrics, list) or not metrics:
        raise TaskError(f'{file.path}: metrics must be a list of names, such as ["accuracy"]')
    for metric in metrics:
        if not isinstance(metric, str):
            raise TaskError(f"{file.path}: metric {shown(metric)} is no text; choose from {', '.join(METRICS)}")
        needs = METRICS[choose(metric, METRICS, f"{file.path}: metric")]
        if needs.needs_labels and len(labels) < 2:
            raise TaskError(f"{file.path}: metric {metric!r} needs at least two [labels]")
        if needs.needs_groups and not file.table("format").values.get("group"):
            raise TaskError(f"{file.path}: metric {metric!r} needs format.group, the column of what is scored together")
    return tuple(metrics)


def _labels(file: TomlTable) -> dict[str, str]:
    labels = file.table("labels", required=False)
    for raw, word in labels.values.items():
        if not isinstance(word, str) or not word:
            raise labels.error(raw, "is no text")
    if len(labels.values) > 1 and len(set(labels.values.values())) == 1:
        raise TaskError(f"{file.path}: every value of [labels] is {shown(word)}; expected two words or more")
    return dict(labels.values)


def _content(source: Source, data: TomlTable, layout: Layout, labels: Mapping[str, str]) -> str:
    """sha256 of what a task is: how its data is read and turned into text, and the data itself.

    Paths, name, notes and metrics are left out, and so is an option that is not given: later ones change nothing.
    """
    options = {key: value for key, value in data.values.items() if key not in (*PARTS, "format", *OF_HUB)}
    if source.hub:
        options |= {key: value for key, value in dataclasses.asdict(source.hub).items() if value}
    else:
        options |= {"columns": data.values["columns"]} if "columns" in data.values else {}
        form = Writing(format=data.get("format", str, ""))
        options["files"] = {
            part: [format_of(files[0], form), *map(file_digest, files)] for part, files in _paths(data).items()
        }
    layout_of = {
        "template": layout.template,
        "answers" if layout.several else "label": layout.label,
        "unanswerable": layout.unanswerable if layout.unanswerable != UNANSWERABLE else "",
        "group": layout.group,
        "cut": layout.cut,
    }
    what = {
        "data": options,
        "format": {key: value for key, value in layout_of.items() if value},
        "labels": list(labels.items()),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
