"""A user's own task from one TOML file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.answers import UNANSWERABLE
from tasks.choices import choose
from tasks.errors import TaskError, shown
from tasks.files import file_digest
from tasks.formatting import formatter_of
from tasks.guess import Guess
from tasks.metrics import METRICS
from tasks.readers import FORMATS, Writing, format_of
from tasks.sources import Source
from tasks.task import Task
from tasks.taskfile_data import OF_HUB, PARTS, paths_of, read_source, read_together
from tasks.template import LATER, Layout, read_layout
from tasks.tomlfile import TomlTable, read_toml

EXAMPLE = """\
# A task of your own. Use it wherever a task's name is asked for:
#     spot train-source {name}.toml
#     spot transfer {name}.toml
# Lines that begin with "# " and a key are options: take the "# " away to use one.

name = "{name}"
family = "{family}"          # any word; groups tasks in listings and reports
{metric}        # {metrics}

[data]
# Paths are relative to this file; .csv, .tsv, .jsonl, .json (a list, or SQuAD's) and .parquet.
# With train alone, development and test rows are cut from it by a hash of each row.
{data}

# How the files are written, where the suffix does not say it.
{writing}# format = "csv"              # {formats}
#   "label text": lines such as `1 a fine film`, columns label and text.
#   "text and labels": two files, a line each: train = ["texts.txt", "labels.txt"], columns text and label.
# columns = ["text", "label"] # names of the columns, where the first line is a row already
# delimiter = ";"             # what stands between columns
# quoted = true               # fields may stand between quotation marks (.csv: true; .tsv: false)
# encoding = "latin-1"        # default UTF-8; UTF-16 and UTF-32 are known by their byte-order mark

# Rows that cannot be used are errors, unless they are left out, which is counted and shown by `spot tasks`.
{skip}    # column = values of rows without a label; -1 is one where [labels] has it not
{nulls}           # rows with null or NaN in a column that is used
# allow_bad_rows = 2          # at most so many rows of another number of columns

# Rows that stay in one split where several are cut from one file; give split_key or shared_texts.
# split_key = "text"          # those with the same value of this column, or of every column of a list
# shared_texts = ["text"]     # those that share a text of 25 letters or more, in whichever of these columns
# equal_texts = "text"        # one of shared_texts, whose equal texts hold rows together however short they are

# Rows that do not train.
# train_where = {{ label = ["0", "1"] }}  # column = values of which a training row has one; dev and test keep all rows
# unseen = "text"             # training rows whose text holds one of the development file's are left out

# Values within others, in JSON and Parquet: a name with dots reaches in, as in "answer.text", here and under [format].
# unfold = "passage.questions"  # every item of the list at the end of this path becomes a row of its own

# Or a data set of the Hugging Face hub (needs the extra spot-prompt-transfer[hub]) in place of train, dev and test:
# hub = "owner/name"
# config = ""
# revision = ""               # branch, tag or commit
# parts = {{ train = "train", dev = "validation", test = "test" }}
# columns = {{ label = "coarse_label" }}  # our names for its columns

[format]
# What the model reads: names in braces are columns. What it shall write: the label column.
template = {template}
{label}
# In place of label, where several answers are right: the first is the target, all are accepted. A text, a list of
# texts, or SQuAD's answers in any of their shapes.
{answers}
# unanswerable = "unanswerable"  # what the model shall write where there is no answer
# choices = ["one", "other"]  # columns of the answers that a row allows; its label is the right one's text, or by
#                             # [labels] its column
# numbers = {{ low = 0, high = 5, step = 0.2 }}  # labels are numbers, rounded to a step (metrics pearson, spearman)
# truth = "label"             # column of whether the label is right (metric word_subset)
# group = "text"              # rows of one value, or of the same in every column of a list, are scored together
#                             # (metric group_exact_match)

# How the template's columns are written; answers have their punctuation spaced too.
# cut = "text"                # the column that is shortened where an input is too long; default: the longest of the row
# replace = {{ "<br>" = " " }}  # a text = what stands in its place
# spaced_punctuation = true   # a space on both sides of punctuation, as T5 reads SQuAD
# mark = {{ column = "text", word = "word", index = "index" }}  # asterisks around the word at or next to an index (WSC)

# Raw value in the data = word that the model writes. Without this table it writes free text.
{labels}
"""

OF_EXAMPLE = Guess(("text",), "label", {"0": "bad", "1": "good"})
"""What a task file says before it is edited."""


def example_task_file(name: str) -> str:
    """A commented task file to start from; ``name`` may be any text, and is quoted as TOML wants it."""
    files = {part: f"{name}_{part}.csv" for part in PARTS}
    return _written(name, "sentiment", "review: {text}", OF_EXAMPLE, files, given=["train"])


def guessed_task_file(name: str, guessed: Guess, files: Mapping[str, str]) -> str:
    """A commented task file that says what was guessed of its data; ``files`` are its parts."""
    template = " ".join(f"{column}: {{{column}}}" for column in guessed.texts)
    shown = {part: files.get(part, f"{name}_{part}.csv") for part in PARTS}
    return _written(name, "user", template, guessed, shown, given=list(files))


def _written(
    name: str,
    family: str,
    template: str,
    guessed: Guess,
    files: Mapping[str, str],
    *,
    given: Sequence[str],
) -> str:
    """The example filled in; what is not given stands there as an option."""
    labels = [f"{_quoted(raw)} = {_quoted(word)}" for raw, word in guessed.labels.items()]
    return EXAMPLE.format(
        name=_quoted(name)[1:-1],
        family=family,
        metric=_written_metrics(guessed),
        metrics=", ".join(METRICS),
        formats=", ".join(FORMATS),
        data="\n".join(
            f"{'' if part in given else '# '}{part} = {_quoted(file)}"
            for part, file in files.items()
        ),
        writing=_written_writing(guessed.writing),
        skip=_written_skip(guessed),
        nulls=f"{'' if guessed.nulls else '# '}skip_nulls = true",
        template=_quoted(template),
        **_written_columns(guessed),
        labels="\n".join(["[labels]", *labels] if labels else ["# [labels]"]),
    )


def _written_writing(writing: Writing) -> str:
    """The lines of how files are written that are no options."""
    said = {
        name: list(value) if isinstance(value, tuple) else value
        for name in ("format", "columns", "delimiter", "quoted", "encoding")
        if (value := getattr(writing, name)) not in ("", (), None)
    }
    return "".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in said.items()
    )


def _written_skip(guessed: Guess) -> str:
    """The line of rows that are left out, an option where all have a label."""
    if not guessed.lacking:
        return '# skip = { label = ["-"] }'
    lacking = ", ".join(map(_quoted, guessed.lacking))
    return f"skip = {{ {_quoted(guessed.label)} = [{lacking}] }}"


def _written_columns(guessed: Guess) -> dict[str, str]:
    """The lines of the column that is written, of which one is an option."""
    named = _quoted(guessed.label)
    if guessed.several:
        return {"label": '# label = "label"', "answers": f"answers = {named}"}
    return {"label": f"label = {named}", "answers": '# answers = "answers"'}


def _written_metrics(guessed: Guess) -> str:
    """The line of metrics; an option where nothing tells which."""
    if guessed.several:
        return 'metrics = ["exact_match", "token_f1"]'
    return f'{"" if guessed.labels else "# "}metrics = ["accuracy"]'


def _quoted(text: str) -> str:
    """As TOML wants it, which takes JSON's strings but for the one control character that JSON leaves."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def load_task_file(path: Path) -> Task:
    """Read a task from TOML; ``spot init-task`` writes one with comments.

    Raises:
        TaskError: a missing or malformed file, key, metric or template, naming what is wrong.
    """
    file = TomlTable(path, read_toml(path))
    file.refuse_unknown({"name", "family", "metrics", "data", "format", "labels", "notes"})
    labels = _labels(file)
    layout = read_layout(file.table("format"), labels)
    source, splits = read_source(file.table("data"), layout, labels)
    together = read_together(file.table("data"))
    words = () if layout.choices else tuple(dict.fromkeys(labels.values()))
    metrics = _metrics(file, layout, words)
    return Task(
        name=file.get("name", str),
        family=file.get("family", str, "user"),
        source=source,
        formatter=formatter_of(layout, labels, together.columns),
        metrics=metrics,
        labels=words,
        splits=splits,
        split_key=together.key,
        train_filter=together.train_filter,
        unseen=together.unseen,
        notes=file.get("notes", str, f"from {path.name}"),
        content=_content(source, file, layout, labels),
    )


def _usual_metrics(layout: Layout, words: tuple[str, ...]) -> list[str]:
    if layout.numbers:
        return ["pearson", "spearman"]
    if layout.truth:
        return ["word_subset"]
    return ["accuracy"] if words or layout.choices else ["exact_match"]


def _metrics(file: TomlTable, layout: Layout, words: tuple[str, ...]) -> tuple[str, ...]:
    metrics = file.values.get("metrics", _usual_metrics(layout, words))
    if not isinstance(metrics, list) or not metrics:
        raise TaskError(f'{file.path}: metrics must be a list of names, such as ["accuracy"]')
    for metric in metrics:
        if not isinstance(metric, str):
            raise TaskError(
                f"{file.path}: metric {shown(metric)} is no text; choose from {', '.join(METRICS)}"
            )
        needs = METRICS[choose(metric, METRICS, f"{file.path}: metric")]
        if problem := needs.problem(words):
            raise TaskError(f"{file.path}: metric {metric!r} {problem}")
        if needs.needs_groups and not layout.group:
            raise TaskError(
                f"{file.path}: metric {metric!r} needs format.group, the column of what is scored together"
            )
        if needs.needs_truth and not layout.truth:
            raise TaskError(
                f"{file.path}: metric {metric!r} needs format.truth, the column of whether the label is right"
            )
    return tuple(metrics)


def _labels(file: TomlTable) -> dict[str, str]:
    labels = file.table("labels", required=False)
    for raw, word in labels.values.items():
        if not isinstance(word, str) or not word:
            raise labels.error(raw, "is no text")
    if len(labels.values) > 1 and len(set(labels.values.values())) == 1:
        raise TaskError(
            f"{file.path}: every value of [labels] is {shown(word)}; expected two words or more"
        )
    return {raw.strip(): word for raw, word in labels.values.items()}


def _content(source: Source, file: TomlTable, layout: Layout, labels: Mapping[str, str]) -> str:
    """sha256 of what a task is: how its data is read and turned into text, and the data itself.

    Paths, name, notes and metrics are left out, and so is an option that is not given: later ones change nothing.
    """
    data, given = file.table("data"), file.table("format").values
    options = {
        key: value for key, value in data.values.items() if key not in (*PARTS, "format", *OF_HUB)
    }
    if source.hub:
        options |= {key: value for key, value in dataclasses.asdict(source.hub).items() if value}
    else:
        options |= {"columns": data.values["columns"]} if "columns" in data.values else {}
        form = Writing(format=data.get("format", str, ""))
        options["files"] = {
            part: [format_of(files[0], form), *map(file_digest, files)]
            for part, files in paths_of(data).items()
        }
    layout_of = {
        "template": layout.template,
        "answers" if layout.several else "label": layout.label,
        "unanswerable": layout.unanswerable if layout.unanswerable != UNANSWERABLE else "",
        "group": given.get("group", ""),
        "cut": layout.cut,
        **{key: given[key] for key in LATER if key in given},
    }
    what = {
        "data": options,
        "format": {key: value for key, value in layout_of.items() if value},
        "labels": list(labels.items()),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
