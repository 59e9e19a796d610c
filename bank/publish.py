"""Out of a bank what is published, and what is published into a bank: all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from bank import schema
from bank.errors import BankError
from bank.integrity import verify
from bank.location import shown
from bank.manifest import KINDS, Kind, Published, runs_of
from bank.prompts import addressed, put_prompts
from bank.recipes import put_recipe
from bank.records import BackboneRecord, RecipeRecord, TaskRecord
from bank.repository import OF_TASKS, start_name, text_name
from bank.selection import Selection, select_runs
from bank.sessions import get, get_or_add, ids_by, reading, some_at_once, transaction, unless_first
from bank.store import Bank
from bank.tags import put_tags
from bank.tasks import check_same, put_task

if TYPE_CHECKING:
    import numpy as np

LICENCE = "licence"
"""Entry of a task's description: under what its data may be used, in words."""


class Stored(NamedTuple):
    """What came of runs and transfers that were pulled into a bank.

    Attributes:
        added: digests of runs that it did not hold.
        held: of those that it did.
        differing: of the held ones, those whose prompts are other ones there, which are kept.
        restored: of the held ones, those that were removed there.
        transfers: how many it did not hold.
        left_out: transfers that name a run whose prompts are other ones there.
    """

    added: Sequence[str]
    held: Sequence[str]
    differing: Sequence[str]
    restored: Sequence[str]
    transfers: int
    left_out: int


# -- out of a bank -----------------------------------------------------------------------------------------------


def published(
    bank: Bank,
    selection: Selection,
    *,
    program: str,
    evidence: bool = False,
    answers: bool = False,
    licences: Mapping[str, str] | None = None,
    usual: Mapping[str, str] | None = None,
) -> Published:
    """The runs of a selection with all that makes them, as they are published.

    Args:
        bank: where they are.
        selection: which runs; without runs, roles or tags only sources.
        program: version of the program.
        evidence: also the transfers whose sources are all among them, with the runs of their targets.
        answers: also what runs answered to test splits, by which intervals are computed; else their metrics alone.
        licences: of the data of tasks, in words, beside those that the bank knows.
        usual: those of built-in tasks, where neither says one.

    Raises:
        BankError: what :func:`bank.selection.select_runs` raises, a licence of a task that is not among them, or a
            bank that is not sound.
    """
    with reading(bank.engine) as session:
        runs = select_runs(session, selection.published())
        if not runs:
            raise BankError(f"bank {bank}: has no sources to publish; train some, or name --role")
        transfers = _transfers_of(session, runs) if evidence else []
        runs += _target_runs(transfers, known=runs)
        arrays: dict[str, np.ndarray] = {}
        content = Published(
            program=program,
            rows={
                "backbones": _distinct(runs, _backbone_row),
                "tasks": _distinct(
                    runs, lambda run: _task_row(run.task, arrays, licences or {}, usual or {})
                ),
                "recipes": _distinct(runs, _recipe_row),
                "runs": [_run_row(session, run, arrays, answers=answers) for run in runs],
                "transfers": [_transfer_row(transfer) for transfer in transfers],
            },
            arrays=arrays,
        )
    _check_licences(licences or {}, content)
    check_sound(content, f"bank {bank}")
    return content


def _transfers_of(session: Session, sources: Sequence[schema.Run]) -> list[schema.Transfer]:
    """Transfers of which every source is among these, and no run is removed."""
    known = {run.id for run in sources}
    transfers = session.scalars(select(schema.Transfer).order_by(schema.Transfer.id))
    return [
        transfer
        for transfer in transfers
        if {candidate.source_run_id for candidate in transfer.candidates} <= known
        and not any(run.removed for run in _runs_of(transfer))
    ]


def _runs_of(transfer: schema.Transfer) -> list[schema.Run]:
    """Runs of the target that a transfer and its candidates name."""
    runs = [transfer.query_run, transfer.baseline_run, transfer.chosen_run]
    runs += [candidate.run for candidate in transfer.candidates]
    return [run for run in runs if run is not None]


def _target_runs(
    transfers: Sequence[schema.Transfer], known: Sequence[schema.Run]
) -> list[schema.Run]:
    """Runs of the targets of transfers, each once, in the order in which they were stored."""
    runs = {run.id: run for transfer in transfers for run in _runs_of(transfer)}
    there = {run.id for run in known}
    return [runs[row] for row in sorted(runs) if row not in there]


def _distinct(
    runs: Sequence[schema.Run], row_of: Callable[[schema.Run], dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row of each run, each once, by its first field, which names it."""
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        row = row_of(run)
        rows.setdefault(next(iter(row.values())), row)
    return list(rows.values())


def _columns(row: Any, kind: Kind) -> dict[str, Any]:
    return {column: getattr(row, column) for column in kind.columns}


def _backbone_row(run: schema.Run) -> dict[str, Any]:
    return _columns(run.recipe.backbone, KINDS["backbones"])


def _recipe_row(run: schema.Run) -> dict[str, Any]:
    recipe = run.recipe
    return _columns(recipe, KINDS["recipes"]) | {"backbone": recipe.backbone.fingerprint}


def _task_row(
    task: schema.Task,
    arrays: dict[str, np.ndarray],
    licences: Mapping[str, str],
    usual: Mapping[str, str],
) -> dict[str, Any]:
    import numpy as np

    row = _columns(task, KINDS["tasks"]) | dict.fromkeys(OF_TASKS)
    known = licences.get(task.name) or task.description.get(LICENCE)
    if words := known or (not task.content and usual.get(task.name)):
        row["description"] = {**task.description, LICENCE: words}
    for field, dtype in OF_TASKS.items():
        if stored := getattr(task, field):
            array = np.frombuffer(stored, dtype)
            row[field] = text_name(field, array)
            arrays.setdefault(row[field], array)
    return row


def _run_row(
    session: Session, run: schema.Run, arrays: dict[str, np.ndarray], *, answers: bool
) -> dict[str, Any]:
    kind = KINDS["runs"]
    row = _columns(run, kind) | {"recipe": run.recipe.digest, "task": run.task.name, "start": None}
    if run.start is not None:
        row["start"] = start_name(run.start)
        arrays.setdefault(row["start"], run.start)
    row["tags"] = [{"name": tag.name} for tag in run.tags]
    row["snapshots"] = []
    for snapshot in sorted(run.snapshots, key=lambda snapshot: snapshot.id):
        prompt = snapshot.prompt
        columns = _columns(snapshot, kind.lists["snapshots"])
        row["snapshots"].append(columns | {"prompt": prompt.sha256})
        if prompt.sha256 not in arrays:
            shape = prompt.shape or [prompt.length, prompt.width]
            arrays[prompt.sha256] = prompt.values.reshape(shape)
    evaluations = session.scalars(
        select(schema.Evaluation).filter_by(run_id=run.id).order_by(schema.Evaluation.id)
    )
    row["evaluations"] = [
        _columns(one, kind.lists["evaluations"]) | ({} if answers else {"answers": None})
        for one in evaluations
    ]
    return row


def _transfer_row(transfer: schema.Transfer) -> dict[str, Any]:
    kind, runs = (
        KINDS["transfers"],
        (transfer.query_run, transfer.baseline_run, transfer.chosen_run),
    )
    named = dict(zip(("query_run", "baseline_run", "chosen_run"), map(_digest, runs), strict=True))
    candidates = [
        _columns(one, kind.lists["candidates"])
        | {"source_run": _digest(one.source_run), "run": _digest(one.run)}
        for one in transfer.candidates
    ]
    columns = _columns(transfer, kind)
    return columns | {"task": transfer.task.name, **named, "candidates": candidates}


def _digest(run: schema.Run | None) -> str | None:
    return run.digest if run else None


def _check_licences(licences: Mapping[str, str], content: Published) -> None:
    known = content.by_name("tasks")
    for name in licences:
        if name not in known:
            raise BankError(f"licence of task {name!r}: it is not among {', '.join(known)}")


def check_sound(content: Published, where: str) -> None:
    """Refuse what no bank would hold: it is put into one in memory, which is then verified.

    Raises:
        BankError: the first problem, and how many there are.
    """
    with Bank.open("sqlite:///:memory:") as trial:
        try:
            store(trial, content)
            problems = verify(trial)
        except BankError as error:
            problems = [str(error)]
    if problems:
        more = f" and {len(problems) - 1} more problems" if len(problems) > 1 else ""
        raise BankError(f"{where}: not sound: {problems[0]}{more}; nothing was written")


# -- into a bank ---------------------------------------------------------------------------------------------------


def store(bank: Bank, content: Published, *, where: str = "") -> Stored:
    """Put what was published into a bank, in one transaction; what the bank holds already is kept.

    Raises:
        BankError: a task whose name stands for another one there, or a backbone of another width; nothing is written.
    """
    # other writers wait from the transaction on: what takes time comes first
    prompts = {
        snapshot["prompt"]: addressed(content.arrays[snapshot["prompt"]])
        for run in content.rows["runs"]
        for snapshot in run["snapshots"]
    }
    with transaction(bank.engine) as session:
        _check_tasks(session, content, where)
        return unless_first(session, lambda: _put(session, content, prompts))


def _task_record(row: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> TaskRecord:
    texts = {
        field: arrays[row[field]].astype(dtype).tobytes() if row[field] else b""
        for field, dtype in OF_TASKS.items()
    }
    return TaskRecord(
        name=row["name"],
        family=row["family"],
        description=row["description"],
        content=row["content"] or "",
        **texts,
    )


def _check_tasks(session: Session, content: Published, where: str) -> None:
    """Refuse tasks whose names stand for others in the bank, all of them in one line."""
    others = []
    for row in content.rows["tasks"]:
        stored = get(session, schema.Task, name=row["name"])
        if stored is not None:
            try:
                check_same(session, stored, _task_record(row, content.arrays))
            except BankError:
                others.append(row["name"])
    if others:
        left = " ".join(f"--skip {name}" for name in others)
        raise BankError(
            f"{where or 'what is published'}: {', '.join(others)}: bank {shown(session.get_bind().engine.url)} holds "  # type: ignore[union-attr]
            f"other tasks of that name, whose file or data differ; nothing was written; leave them out with {left}, or "
            "use another bank"
        )


def _put(session: Session, content: Published, prompts: Mapping[str, Any]) -> Stored:
    tasks = {
        row["name"]: put_task(session, _task_record(row, content.arrays)).id
        for row in content.rows["tasks"]
    }
    backbones = {
        name: BackboneRecord(**{field: row[field] for field in KINDS["backbones"].columns})
        for name, row in content.by_name("backbones").items()
    }
    recipes = {
        row["digest"]: _put_recipe(session, row, backbones) for row in content.rows["recipes"]
    }
    rows = content.by_name("runs")
    known = ids_by(session, schema.Run.digest, list(rows))
    added = [row for digest, row in rows.items() if digest not in known]
    ids: dict[str, int] = {}
    for some in some_at_once([s["prompt"] for row in added for s in row["snapshots"]]):
        ids |= put_prompts(session, [prompts[address] for address in some])
    for row in added:
        _add_run(session, row, content.arrays, recipes, tasks, ids)
    session.flush()
    differing, restored = _keep(session, [rows[digest] for digest in known])
    put, left_out = _put_transfers(session, content, tasks, set(differing))
    digests = [row["digest"] for row in added]
    return Stored(digests, list(known), differing, restored, put, left_out)


def _put_recipe(
    session: Session, row: Mapping[str, Any], backbones: Mapping[str, BackboneRecord]
) -> int:
    record = RecipeRecord(
        backbone=backbones[row["backbone"]],
        prompt_length=row["prompt_length"],
        key_step=row["key_step"],
        family=row["family"],
        options=row["options"],
    )
    if record.digest != row["digest"]:
        raise BankError(f"recipe {row['digest'][:12]}: its digest does not follow from its content")
    return put_recipe(session, record).id


def _add_run(
    session: Session,
    row: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    recipes: Mapping[str, int],
    tasks: Mapping[str, int],
    prompts: Mapping[str, int],
) -> None:
    kind = KINDS["runs"]
    snapshots = [
        schema.Snapshot(
            **{column: one[column] for column in kind.lists["snapshots"].columns},
            prompt_id=prompts[one["prompt"]],
        )
        for one in row["snapshots"]
    ]
    run = schema.Run(
        **{column: row[column] for column in kind.columns},
        recipe_id=recipes[row["recipe"]],
        task_id=tasks[row["task"]],
        start=arrays[row["start"]] if row["start"] else None,
        snapshots=snapshots,
        tags=[schema.Tag(name=tag["name"]) for tag in row["tags"]],
    )
    session.add(run)
    session.flush()  # prompts are numbered as snapshots bring them, a run after the other
    _put_evaluations(session, run.id, row)


def _put_evaluations(session: Session, run_id: int, row: Mapping[str, Any]) -> None:
    """Those with answers: metrics alone are for the card."""
    for one in row["evaluations"]:
        if one["answers"] is not None:
            where = {"run_id": run_id, "data": one["data"]}
            rest = {name: one[name] for name in ("metrics", "answers", "decoding")}
            get_or_add(session, schema.Evaluation, where, **rest)


def _keep(session: Session, rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Runs that are held: those with the same prompts get tags and answers that they lack, and are restored.

    Returns:
        Digests of those with other prompts, and of those that were restored.
    """
    differing, restored = [], []
    for row in rows:
        run = session.scalars(select(schema.Run).filter_by(digest=row["digest"])).one()
        held = {snapshot.kind: snapshot.prompt.sha256 for snapshot in run.snapshots}
        if run.removed is not None:
            run.removed = None
            restored.append(run.digest)
        if held != {snapshot["kind"]: snapshot["prompt"] for snapshot in row["snapshots"]}:
            differing.append(run.digest)
            continue
        put_tags(session, run.id, [tag["name"] for tag in row["tags"]])
        _put_evaluations(session, run.id, row)
    return differing, restored


def _put_transfers(
    session: Session, content: Published, tasks: Mapping[str, int], differing: set[str]
) -> tuple[int, int]:
    """How many transfers were added, and how many left out for runs whose prompts are other ones here."""
    rows = content.by_name("transfers")
    known = ids_by(session, schema.Transfer.digest, list(rows))
    new = [row for digest, row in rows.items() if digest not in known]
    fitting = [row for row in new if not runs_of(row) & differing]
    runs = ids_by(session, schema.Run.digest, [run["digest"] for run in content.rows["runs"]])
    kind = KINDS["transfers"]
    for row in fitting:
        candidates = [
            schema.Candidate(
                **{column: one[column] for column in kind.lists["candidates"].columns},
                source_run_id=runs[one["source_run"]],
                run_id=runs.get(one["run"]),
            )
            for one in row["candidates"]
        ]
        session.add(
            schema.Transfer(
                **{column: row[column] for column in kind.columns},
                task_id=tasks[row["task"]],
                **{f"{name}_id": runs.get(row[name]) for name in kind.references if name != "task"},
                candidates=candidates,
            )
        )
    return len(fitting), len(new) - len(fitting)
