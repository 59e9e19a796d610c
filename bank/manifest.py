"""What a published bank says of itself: rows by their names, as JSON, and the fields that each of them has.

A row has the columns of its table; it refers to others by name (a backbone by its fingerprint, a run by its digest),
and to arrays by address.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bank import schema
from bank.cells import COLUMNS, cut
from bank.errors import BankError

if TYPE_CHECKING:
    import numpy as np

FORMAT = "spot-bank"
VERSION = 1
"""Of the format; another one is refused."""

LARGEST = 2**63 - 1
"""Whole number that a database's cell holds."""

HEAD = ("format", "version", "program")

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """Rows of one kind.

    Attributes:
        table: whose rows they are.
        name: the field by which others refer to them.
        columns: fields that are columns.
        references: fields that name rows, with where these are.
        arrays: fields that name arrays.
        lists: fields with rows of another kind.
        optional: fields that may be ``None`` beside the columns that may be.
    """

    table: str
    name: str = ""
    columns: Sequence[str] = ()
    references: Mapping[str, str] = dataclasses.field(default_factory=dict)
    arrays: Sequence[str] = ()
    lists: Mapping[str, Kind] = dataclasses.field(default_factory=dict)
    optional: Sequence[str] = ()

    @property
    def fields(self) -> set[str]:
        return {*self.columns, *self.references, *self.arrays, *self.lists}

    def may_lack(self, field: str) -> bool:
        """Whether a field may be ``None``."""
        column = schema.Base.metadata.tables[self.table].columns.get(field)
        return field in self.optional or (column is not None and bool(column.nullable))


KINDS: Mapping[str, Kind] = {
    "backbones": Kind(
        table="backbone", name="fingerprint", columns=("fingerprint", "name", "width", "config")
    ),
    "tasks": Kind(
        table="task",
        name="name",
        columns=("name", "family", "description", "content"),
        arrays=("texts", "signature"),
        optional=("texts", "signature"),
    ),
    "recipes": Kind(
        table="recipe",
        name="digest",
        columns=("digest", "family", "prompt_length", "key_step", "options"),
        references={"backbone": "backbones"},
    ),
    "runs": Kind(
        table="run",
        name="digest",
        columns=(
            "digest", "role", "seed", "steps", "metric", "score", "metrics", "history", "environment",
            "started_from", "seconds", "created", "data",
        ),
        references={"recipe": "recipes", "task": "tasks"},
        arrays=("start",),
        lists={
            "tags": Kind(table="tag", columns=("name",)),
            "snapshots": Kind(
                table="snapshot", columns=("kind", "step", "score"), arrays=("prompt",)
            ),
            "evaluations": Kind(
                table="evaluation",
                columns=("data", "metrics", "answers", "decoding"),
                optional=("answers",),
            ),
        },
        optional=("start",),
    ),
    "transfers": Kind(
        table="transfer",
        name="digest",
        columns=(
            "digest", "method", "similarity", "top_k", "budget", "steps", "seed", "metric", "baseline_metrics",
            "outcome_metrics", "created", "options", "single",
        ),
        references={
            "task": "tasks", "query_run": "runs", "baseline_run": "runs", "chosen_run": "runs",
        },
        lists={
            "candidates": Kind(
                table="candidate",
                columns=("rank", "similarity", "weight", "score", "steps"),
                references={"source_run": "runs", "run": "runs"},
                optional=("run",),
            )
        },
        optional=("baseline_run",),
    ),
}  # fmt: skip
"""Lists of a manifest, by name; each may refer to those before it, and to itself never."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """A bank, or a part of one, as it is published.

    Attributes:
        program: version of the program that published it.
        rows: by kind (``KINDS``).
        arrays: by address: prompts ``[..., P, H]`` float32, ``start.`` mean tokens ``[W]`` float32 that runs started
            from, ``texts.`` hashes ``[n]`` uint64 of the training sentences of tasks, and ``signature.`` how often
            words occur there, ``[n]`` float16.
    """

    program: str
    rows: Mapping[str, Rows]
    arrays: Mapping[str, np.ndarray]

    def by_name(self, kind: str) -> dict[str, dict[str, Any]]:
        """Rows of a kind by their names."""
        return {row[KINDS[kind].name]: row for row in self.rows[kind]}

    def of_tasks(self, only: Sequence[str] = (), skip: Sequence[str] = ()) -> Published:
        """The part that is about some tasks, or not about others; transfers that lack a run then are left out.

        Raises:
            BankError: a task that is not in it, or no run that is left.
        """
        known = self.by_name("tasks")
        for name in (*only, *skip):
            if name not in known:
                raise BankError(f"task {name!r} is not published here; {', '.join(known)} are")
        if not (only or skip):
            return self
        tasks = {name for name in known if (not only or name in only) and name not in skip}
        runs = [run for run in self.rows["runs"] if run["task"] in tasks]
        if not runs:
            raise BankError("no run is left; name other tasks with --only and --skip")
        digests = {run["digest"] for run in runs}
        transfers = [row for row in self.rows["transfers"] if runs_of(row) <= digests]
        recipes = [
            row for row in self.rows["recipes"] if row["digest"] in {run["recipe"] for run in runs}
        ]
        backbones = {row["backbone"] for row in recipes}
        rows = {
            "backbones": [r for r in self.rows["backbones"] if r["fingerprint"] in backbones],
            "tasks": [row for row in self.rows["tasks"] if row["name"] in tasks],
            "recipes": recipes,
            "runs": runs,
            "transfers": transfers,
        }
        named = named_arrays(rows)
        arrays = {name: array for name, array in self.arrays.items() if name in named}
        return dataclasses.replace(self, rows=rows, arrays=arrays)


def runs_of(transfer: Mapping[str, Any]) -> set[str]:
    """Digests of the runs that a transfer and its candidates name."""
    named = [transfer[field] for field in ("query_run", "baseline_run", "chosen_run")]
    for candidate in transfer["candidates"]:
        named += [candidate["source_run"], candidate["run"]]
    return {digest for digest in named if digest is not None}


def named_arrays(rows: Mapping[str, Rows]) -> dict[str, str]:
    """Addresses that rows name, each with one of the rows."""
    named: dict[str, str] = {}
    for task in rows["tasks"]:
        for field in KINDS["tasks"].arrays:
            named.setdefault(task[field] or "", f"task {task['name']}")
    for run in rows["runs"]:
        name = f"run {run['digest'][:12]}"
        named.setdefault(run["start"] or "", name)
        for snapshot in run["snapshots"]:
            named.setdefault(snapshot["prompt"], name)
    named.pop("", None)
    return named


# -- to JSON and back --------------------------------------------------------------------------------------------


def document_of(published: Published) -> dict[str, Any]:
    """The manifest as JSON holds it: times as text, and a training loss that is none as null."""
    head = {"format": FORMAT, "version": VERSION, "program": published.program}
    return head | {kind: [_plain(row) for row in rows] for kind, rows in published.rows.items()}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    plain = dict(row)
    if "created" in plain:
        plain["created"] = plain["created"].isoformat()
    if "history" in plain:
        plain["history"] = [_exchanged(evaluation, None) for evaluation in plain["history"]]
    return plain


def _exchanged(evaluation: Mapping[str, Any], none: float | None) -> dict[str, Any]:
    """An evaluation of a history with another word for a training loss of no steps: JSON knows no NaN."""
    loss = evaluation.get("loss")
    known = "loss" not in evaluation or (loss is not None and math.isfinite(loss))
    return dict(evaluation) if known else {**evaluation, "loss": none}


def rows_of(document: Any, where: object) -> tuple[str, dict[str, Rows]]:
    """The program and the rows of a manifest, each held against its columns.

    Raises:
        BankError: another format or version, a field that is missing or unknown, a cell that cannot be, a name that
            stands twice, or one that nothing has.
    """
    _check_head(document, where)
    rows: dict[str, Rows] = {}
    for kind_name, kind in KINDS.items():
        rows[kind_name] = list(_checked_rows(document[kind_name], kind, f"{where}, {kind_name}"))
        _check_distinct(rows[kind_name], kind, f"{where}, {kind_name}")
    names = {kind: {row[KINDS[kind].name] for row in rows[kind]} for kind in KINDS}
    for kind_name, kind in KINDS.items():
        _check_references(rows[kind_name], kind, names, f"{where}, {kind_name}")
    return str(document["program"]), rows


def _check_head(document: Any, where: object) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BankError(f"{where}: no manifest of a bank; expected one that `spot bank push` wrote")
    if document.get("version") != VERSION:
        raise BankError(
            f"{where}: has version {cut(document.get('version'))} of the format, this program knows {VERSION}; "
            "upgrade the program, or publish the bank again"
        )
    _check_fields(document, {*HEAD, *KINDS}, str(where))


def _check_fields(row: Any, expected: set[str], where: str) -> None:
    if not isinstance(row, dict):
        raise BankError(f"{where}: is {cut(row)}, expected an object")
    for what, fields in (
        ("lacks", expected - row.keys()),
        ("has an unknown", row.keys() - expected),
    ):
        if fields:
            raise BankError(f"{where}: {what} field {cut(min(fields))}; publish the bank again")


def _checked_rows(content: Any, kind: Kind, where: str) -> Iterator[dict[str, Any]]:
    if not isinstance(content, list):
        raise BankError(f"{where}: is {cut(content)}, expected a list")
    for number, row in enumerate(content):
        place = f"{where}[{number}]"
        _check_fields(row, kind.fields, place)
        yield _checked_row(row, kind, place)


def _checked_row(row: dict[str, Any], kind: Kind, where: str) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for field, cell in row.items():
        if field in kind.lists:
            checked[field] = list(_checked_rows(cell, kind.lists[field], f"{where}, {field}"))
        elif cell is None and kind.may_lack(field):
            checked[field] = None
        elif field in kind.columns:
            checked[field] = _checked_cell(kind.table, field, cell, where)
        elif isinstance(cell, str):
            checked[field] = cell
        else:
            raise BankError(f"{where}: {field} is {cut(cell)}, expected a name")
    return checked


def _checked_cell(table: str, column: str, cell: Any, where: str) -> Any:
    if column == "history" and isinstance(cell, list):
        cell = [_exchanged(one, math.nan) if isinstance(one, dict) else one for one in cell]
    try:
        if (
            isinstance(cell, str) and column in COMPOUND
        ):  # a cell of a database may be text that holds JSON
            raise ValueError("a JSON object or list")
        if isinstance(cell, int) and cell > LARGEST:
            raise ValueError(f"at most {LARGEST}")
        checked = COLUMNS[table][column](cell)
    except (ValueError, TypeError) as error:
        raise BankError(f"{where}: {column} is {cut(cell)}, expected {error}") from None
    return dt.datetime.fromisoformat(cell).astimezone(dt.UTC) if column == "created" else checked


COMPOUND = {
    "config", "description", "options", "metrics", "history", "environment", "answers", "decoding",
    "baseline_metrics", "outcome_metrics",
}  # fmt: skip
"""Columns whose cells are objects or lists."""


def _check_distinct(rows: Rows, kind: Kind, where: str) -> None:
    names = set()
    for row in rows:
        if row[kind.name] in names:
            raise BankError(f"{where}: {kind.name} {row[kind.name]} stands there twice")
        names.add(row[kind.name])


def _check_references(rows: Rows, kind: Kind, names: Mapping[str, set[str]], where: str) -> None:
    for number, row in enumerate(rows):
        for field, there in kind.references.items():
            if row[field] is not None and row[field] not in names[there]:
                raise BankError(
                    f"{where}[{number}]: {field} {cut(row[field])} is none of its {there}"
                )
        for field, other in kind.lists.items():
            _check_references(row[field], other, names, f"{where}[{number}], {field}")
