"""What others measured: scores of targets that started from a bank's sources, taken in from a table."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from bank import schema
from bank.errors import BankError
from bank.identity import IMPORTED, imported_digest
from bank.sessions import transaction
from bank.store import Bank

COLUMNS = ("target", "source", "seed", "score")
"""What a row must say; ``baseline`` and ``source_seed`` may be left out or empty."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A score that a target reached from a source.

    Attributes:
        where: file and row, for messages.
        target: a task of which the bank has a baseline or query.
        source: a task of which it has a source run.
        seed: of the target's run.
        score: on development data, in points.
        baseline: the target's score without transfer with this seed; that of the bank's own baseline if not given.
        source_seed: of the source's run; of its best if not given.
    """

    where: str
    target: str
    source: str
    seed: int
    score: float
    baseline: float | None = None
    source_seed: int | None = None


class Imported(NamedTuple):
    """How many rows were new, had another score before, and were there already."""

    added: int
    changed: int
    unchanged: int


def read_measured(
    path: Path, *, score: str = "score", baseline: str = "baseline"
) -> list[Measured]:
    """Rows of a table: CSV with a header, or JSON, a list of objects.

    Args:
        path: ``.csv`` or ``.json``.
        score: its column of scores.
        baseline: its column of scores without transfer.

    Raises:
        BankError: another format, a column that is missing or there twice, or a cell that is not what it should be.
    """
    readers = {".csv": _csv_rows, ".json": _json_rows}
    if path.suffix not in readers:
        raise BankError(f"{path}: unknown format {path.suffix!r}; expected .csv or .json")
    try:
        rows = list(readers[path.suffix](path))
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise BankError(
            f"{path}: cannot be read as {path.suffix[1:].upper()} in UTF-8 ({error})"
        ) from error
    if not rows:
        raise BankError(f"{path}: has no rows; expected one a target, source and seed")
    return [_measured(f"{path}, {place}", row, score, baseline) for place, row in rows]


def import_outcomes(bank: Bank, rows: Sequence[Measured], *, recipe: str = "") -> Imported:
    """Store what rows say, all or nothing, so that :meth:`Bank.outcomes` has it. Doing it twice keeps one.

    Args:
        bank: which has the targets' baselines or queries and the sources' runs.
        rows: what was measured.
        recipe: start of the digest of the targets' recipe, where the bank has their runs of several.

    Raises:
        BankError: a task or seed that the bank does not have, a run that could be one of several, or two rows that
            contradict each other.
    """
    with transaction(bank.engine) as session:
        runs = cache(partial(_runs, session))
        written: dict[tuple[int, int], Measured] = {}
        transfers: dict[int, tuple[schema.Transfer, Measured]] = {}
        counts = dict.fromkeys(Imported._fields, 0)
        for row in rows:
            query = _query_run(runs, row, recipe)
            source = _source_run(runs, row, query)
            if source.task_id == query.task_id:
                raise BankError(f"{row.where}: {row.source} is the target itself; remove the row")
            if (first := written.setdefault((query.id, source.id), row)) is not row:
                raise BankError(
                    f"{row.where}: {row.target} from {row.source}, seed {row.seed}, is in {first.where} too; keep one"
                )
            if query.id not in transfers:
                transfers[query.id] = _transfer(session, query, row), row
            transfer, first = transfers[query.id]
            if row.baseline != first.baseline:
                raise BankError(
                    f"{row.where}: baseline {row.baseline}, but {first.baseline} in {first.where}; a target and seed "
                    "have one"
                )
            counts[_candidate(transfer, source, row)] += 1
    return Imported(**counts)


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        names = [name.strip() for name in next(reader, [])]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"column {twice[0]!r} is there {names.count(twice[0])} times")
        for cells in reader:
            if cells and len(cells) != len(names):
                raise ValueError(
                    f"line {reader.line_num}: {len(cells)} cells, expected {len(names)}"
                )
            if cells:
                yield f"line {reader.line_num}", dict(zip(names, cells, strict=True))


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    rows = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected a list of objects")
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row


def _measured(where: str, row: Mapping[str, Any], score: str, baseline: str) -> Measured:
    names = {name: score if name == "score" else name for name in COLUMNS} | {"baseline": baseline}

    def cell(name: str) -> Any:
        value = row.get(names.get(name, name))
        return None if isinstance(value, str) and not value.strip() else value

    missing = [names[name] for name in COLUMNS if cell(name) is None]
    if missing:
        raise BankError(f"{where}: no {missing[0]}; it has {', '.join(map(str, row))}")

    def number(name: str) -> float:
        try:
            value = math.nan if isinstance(cell(name), bool) else float(cell(name))
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise BankError(
                f"{where}: {names.get(name, name)} is {str(cell(name))[:40]!r}; expected a number"
            )
        return value

    def points(name: str) -> float:
        value = number(name)
        if not -100 <= value <= 100:
            raise BankError(f"{where}: {names[name]} is {value:g}; expected points, 100 at most")
        return value

    def seed(name: str) -> int:
        value = number(name)
        if not value.is_integer() or not 0 <= value < 2**63:
            raise BankError(
                f"{where}: {name} is {str(cell(name))[:40]!r}; expected a whole number from 0"
            )
        return int(value)

    return Measured(
        where=where,
        target=str(cell("target")),
        source=str(cell("source")),
        seed=seed("seed"),
        score=points("score"),
        baseline=None if cell("baseline") is None else points("baseline"),
        source_seed=None if cell("source_seed") is None else seed("source_seed"),
    )


Runs = Callable[[str, tuple[str, ...]], list[schema.Run]]


def _runs(session: Session, task: str, roles: tuple[str, ...]) -> list[schema.Run]:
    """Runs of a task that have a key."""
    query = (
        select(schema.Run)
        .join(schema.Run.task)
        .join(schema.Run.snapshots.and_(schema.Snapshot.kind == "key"))
        .where(schema.Task.name == task, schema.Run.role.in_(roles), schema.Run.removed.is_(None))
        .order_by(schema.Run.id)
    )
    return list(session.scalars(query))


def _query_run(runs: Runs, row: Measured, recipe: str) -> schema.Run:
    """The target's run whose key is the query: its baseline, or where it has none its query run."""
    of_task = runs(row.target, ("baseline", "query"))
    of_recipe = [run for run in of_task if run.recipe.digest.startswith(recipe)]
    matching = [run for run in of_recipe if run.seed == row.seed]
    matching = [run for run in matching if run.role == "baseline"] or matching
    if len(matching) == 1:
        return matching[0]
    if matching:
        recipes = ", ".join(run.recipe.digest[:12] for run in matching)
        raise BankError(f"{row.where}: the bank has {len(matching)} runs of {row.target} with seed {row.seed}, of the "
                        f"recipes {recipes}; name one with --recipe")  # fmt: skip
    if not of_task:
        raise BankError(f"{row.where}: the bank has no baseline or query of target {row.target!r}; train it with "
                        "`spot transfer TARGET --method none`")  # fmt: skip
    seeds = ", ".join(map(str, sorted({run.seed for run in of_recipe}))) or "none of that recipe"
    raise BankError(
        f"{row.where}: the bank has no run of {row.target} with seed {row.seed}; it has {seeds}"
    )


def _source_run(runs: Runs, row: Measured, query: schema.Run) -> schema.Run:
    """The source's run, comparable with the query: of its seed, or the best by its development score."""
    of_task = runs(row.source, ("source",))
    comparable = [run for run in of_task if _partition(run) == _partition(query)]
    matching = [run for run in comparable if row.source_seed in (None, run.seed)]
    if matching:
        return max(matching, key=lambda run: run.score)
    if comparable:
        seeds = ", ".join(map(str, sorted({run.seed for run in comparable})))
        raise BankError(f"{row.where}: the bank has no run of source {row.source} with seed {row.source_seed}; "
                        f"it has {seeds}")  # fmt: skip
    state = "none that can be compared with this target's" if of_task else "none"
    raise BankError(
        f"{row.where}: of source {row.source!r} the bank has {state}; train it with `spot train-source`"
    )


def _partition(run: schema.Run) -> tuple[Any, ...]:
    recipe = run.recipe
    return recipe.backbone_id, recipe.prompt_length, recipe.key_step, recipe.family


def _transfer(session: Session, query: schema.Run, row: Measured) -> schema.Transfer:
    """The transfer of what was measured of a target and seed, added if missing; it trained nothing."""
    name = imported_digest(query.digest)
    transfer = session.scalars(
        select(schema.Transfer).where(schema.Transfer.digest == name)
    ).one_or_none()
    if transfer is None:
        transfer = schema.Transfer(
            digest=name,
            task_id=query.task_id,
            method=IMPORTED,
            similarity="",
            top_k=0,
            budget="full",
            single=True,
            steps=None,
            seed=query.seed,
            metric="score",
            query_run_id=query.id,
            baseline_run_id=query.id if query.role == "baseline" else None,
            chosen_run_id=query.id,
            outcome_metrics={},
        )
        session.add(transfer)
    if row.baseline is not None:
        transfer.baseline_metrics = {"score": row.baseline}
    return transfer


def _candidate(transfer: schema.Transfer, source: schema.Run, row: Measured) -> str:
    """Write a source's score into a transfer; says which of the counts of :class:`Imported` it is."""
    for candidate in transfer.candidates:
        if candidate.source_run_id == source.id:
            changed = candidate.score != row.score
            candidate.score = row.score
            return "changed" if changed else "unchanged"
    rank = max((candidate.rank for candidate in transfer.candidates), default=0) + 1
    transfer.candidates.append(
        schema.Candidate(
            rank=rank, source_run_id=source.id, similarity=0.0, weight=1.0, score=row.score
        )
    )
    transfer.top_k = len(transfer.candidates)
    return "added"
