"""The bank: record runs and transfers, get prompts and keys back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Engine, and_, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, joinedload, selectinload

from bank import schema
from bank.engine import copied, open_engine, try_write
from bank.errors import BankError
from bank.listing import unknown_run
from bank.location import bank_url, in_memory, shown
from bank.records import RecipeRecord, RunIdentity, RunRecord, TaskRecord, TransferRecord
from bank.sessions import reading, transaction
from bank.stored import Evaluation, Key, Outcome, Partition, StoredRun
from bank.types import DIGEST
from bank.vectors import average, average_normalized, checked_prompt, prompt_sha256

if TYPE_CHECKING:
    import numpy as np

Row = TypeVar("Row", bound=schema.Base)

SINGLE = ("best", "oracle", "generic")
"""Methods of a transfer whose target runs start from one source each."""

AT_ONCE = 500
"""The most values that one query names; every database takes as many."""

IMPORTED = "imported"
"""Method of a transfer that trained nothing: what others measured of a target and its sources."""


class Bank:
    """A SQL database of prompts and where they came from.

    ``Bank.open("bank.sqlite")`` or any SQLAlchemy URL. Every write is one transaction: it appears whole or not at
    all, and writing the same run twice keeps one. Safe for several processes at once.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, location: str | Path, *, create: bool = True, write: bool | None = None) -> Bank:
        """Open a bank for reading, or for writing, which brings an older schema up to date.

        Args:
            location: file or URL.
            create: make it where there is none.
            write: whether to write; as ``create`` says if not given. A reader makes and changes no file.

        Raises:
            BankError: it cannot be reached, is no bank, or was written by a newer program.
        """
        return cls(open_engine(bank_url(location), create=create, write=write))

    @classmethod
    def copied(cls, location: str | Path) -> Bank:
        """A copy in memory of a bank that may be read but not written: what is recorded in it is gone with it.

        Raises:
            BankError: it cannot be read, or is no file.
        """
        return cls(copied(bank_url(location)))

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> Bank:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __str__(self) -> str:
        return shown(self.engine.url)

    @property
    def location(self) -> str | None:
        """Where another process opens this bank, secrets and all; ``None`` for one in this process's memory."""
        url = self.engine.url
        return None if in_memory(url) else url.render_as_string(hide_password=False)

    # -- writing -----------------------------------------------------------------------------------------

    def try_write(self) -> None:
        """Write and take it back, so that training need not find at its end that it cannot be stored.

        Raises:
            BankError: permissions, disk, schema or another writer do not let it.
        """
        try_write(self.engine)

    def check_task(self, record: TaskRecord) -> None:
        """Refuse a task whose name stands for another one in this bank.

        Raises:
            BankError: the bank's task of that name has other content, or is a mixture of other tasks.
        """
        with reading(self.engine) as session:
            held = _find(session, schema.Task, name=record.name)
            if held is not None:
                self._same_task(held, record)

    def _same_task(self, held: schema.Task, record: TaskRecord) -> None:
        described = [set(d.get("tasks", ())) for d in (held.description, record.description)]
        other = held.content and record.content and held.content != record.content
        if other or described[0] != described[1]:
            raise BankError(
                f"task {record.name!r} in bank {self} is another one: its file or data differ; give yours another name "
                "or use another bank"
            )

    def _task(self, session: Session, record: TaskRecord) -> schema.Task:
        """The task's row, with what an earlier record of it did not know."""
        task = _get_or_add(
            session,
            schema.Task,
            {"name": record.name},
            family=record.family,
            description=dict(record.description),
            content=record.content or None,
            texts=record.texts or None,
        )
        self._same_task(task, record)
        if record.content and not task.content:
            task.content = record.content
        if record.texts and not task.texts:
            task.texts = record.texts
        return task

    def record_run(self, record: RunRecord) -> str:
        """Store a run with its key, value, metrics and recipe in one transaction; returns its digest.

        Raises:
            BankError: as :meth:`check_task`, or a backbone that the bank holds with another width.
        """
        identity = record.identity
        with reading(self.engine) as session:
            if _find(session, schema.Run, digest=identity.digest):
                return identity.digest
        # other writers wait from here on: what takes time comes first
        snapshots = [
            (kind, snapshot, _addressed(snapshot.prompt))
            for kind, snapshot in (("key", record.key), ("value", record.value))
            if snapshot is not None
        ]
        with transaction(self.engine) as session:
            if _find(session, schema.Run, digest=identity.digest):
                return identity.digest
            task = self._task(session, identity.task)
            run = schema.Run(
                digest=identity.digest,
                recipe_id=_recipe(session, identity.recipe).id,
                task_id=task.id,
                role=identity.role,
                seed=identity.seed,
                started_from=identity.started_from,
                steps=record.steps,
                metric=record.metric,
                score=record.score,
                metrics=dict(record.metrics),
                history=[dict(row) for row in record.history],
                environment=dict(record.environment),
                seconds=record.seconds,
                data=identity.data or None,
                start=record.start,
            )
            for kind, snapshot, prompt in snapshots:
                run.snapshots.append(
                    schema.Snapshot(
                        kind=kind, step=snapshot.step, score=snapshot.score, prompt_id=put_prompt(session, prompt).id
                    )
                )
            _add_once(session, run)
        return identity.digest

    def record_twin(self, identity: RunIdentity, twin: str) -> str:
        """Store a run that was trained exactly as another one, whose snapshots and history it shares.

        Args:
            identity: of the new run.
            twin: digest of the run in the bank.

        Raises:
            BankError: ``twin`` is not in the bank, or of another recipe or task.
        """
        with transaction(self.engine) as session:
            held = _run(session, twin)
            if (held.recipe.digest, held.task.name) != (identity.recipe.digest, identity.task.name):
                raise BankError(f"run {twin[:12]} is of another recipe or task; it cannot stand for this one")
            shared = (
                "recipe_id",
                "task_id",
                "steps",
                "metric",
                "score",
                "metrics",
                "history",
                "environment",
                "seconds",
                "start",
            )
            self._task(session, identity.task)
            run = schema.Run(
                digest=identity.digest,
                role=identity.role,
                seed=identity.seed,
                started_from=identity.started_from,
                data=identity.data or None,
                **{name: getattr(held, name) for name in shared},
            )
            for snapshot in held.snapshots:
                run.snapshots.append(
                    schema.Snapshot(
                        kind=snapshot.kind, step=snapshot.step, score=snapshot.score, prompt_id=snapshot.prompt_id
                    )
                )
            _add_once(session, run)
        return identity.digest

    def record_transfer(self, record: TransferRecord) -> str:
        """Store a transfer whose runs are in the bank; returns its digest.

        Raises:
            BankError: a run it names is not in the bank, or its chosen run is another task's.
        """
        with transaction(self.engine) as session:
            if _find(session, schema.Transfer, digest=record.digest):
                return record.digest
            first = _find(session, schema.Transfer, digest=record.first_digest, options=None)
            if first is not None and _same_transfer(first, record):
                return first.digest

            def run_id(digest: str | None) -> Any:
                return None if digest is None else _run(session, digest).id

            chosen = _run(session, record.chosen_run)
            if chosen.task.name != record.task:
                raise BankError(
                    f"transfer to {record.task}: its chosen run {chosen.digest[:12]} is {chosen.task.name}'s"
                )

            transfer = schema.Transfer(
                digest=record.digest,
                task_id=chosen.task_id,
                method=record.method,
                similarity=record.similarity,
                top_k=len(record.candidates),
                options=record.options,
                budget=record.budget,
                steps=record.steps,
                seed=record.seed,
                metric=record.metric,
                query_run_id=run_id(record.query_run),
                baseline_run_id=run_id(record.baseline_run),
                chosen_run_id=chosen.id,
                baseline_metrics=dict(record.baseline_metrics) if record.baseline_metrics else None,
                outcome_metrics=dict(record.outcome_metrics),
            )
            for rank, candidate in enumerate(record.candidates, start=1):
                transfer.candidates.append(
                    schema.Candidate(
                        rank=rank,
                        source_run_id=run_id(candidate.source_run),
                        run_id=run_id(candidate.run),
                        similarity=candidate.similarity,
                        weight=candidate.weight,
                        score=candidate.score,
                        steps=candidate.steps,
                    )
                )
            _add_once(session, transfer)
        return record.digest

    def record_evaluation(self, run: str, data: str, *, metrics: Mapping[str, float], answers: Sequence[str]) -> None:
        """Store what a run's value answers to a test split, once.

        Args:
            run: digest of the run.
            data: digest of the split.
            metrics: of the answers.
            answers: to every example, in their order.

        Raises:
            BankError: the run is not in the bank.
        """
        with transaction(self.engine) as session:
            where = {"run_id": _run(session, run).id, "data": data}
            _get_or_add(session, schema.Evaluation, where, metrics=dict(metrics), answers=list(answers))

    def put(self, prompt: np.ndarray) -> str:
        """Store a prompt ``[P, H]`` that no run made, such as an average; returns its address.

        Raises:
            BankError: not a prompt.
        """
        addressed = _addressed(prompt)
        with transaction(self.engine) as session:
            return put_prompt(session, addressed).sha256

    # -- reading -----------------------------------------------------------------------------------------

    def run(self, digest: str) -> StoredRun | None:
        """A stored run by its full digest, or ``None``.

        Raises:
            BankError: as :meth:`runs`.
        """
        return self.runs([digest]).get(digest)

    def runs(self, digests: Sequence[str]) -> dict[str, StoredRun]:
        """Those of these runs that are stored, by their full digests.

        Raises:
            BankError: one has no value, or a score that is no number.
        """
        whole = select(schema.Run).options(
            joinedload(schema.Run.task).load_only(schema.Task.name),
            selectinload(schema.Run.snapshots).joinedload(schema.Snapshot.prompt).load_only(schema.Prompt.sha256),
        )
        stored: dict[str, StoredRun] = {}
        with reading(self.engine) as session:
            for first in range(0, len(digests), AT_ONCE):
                some = schema.Run.digest.in_(digests[first : first + AT_ONCE])
                stored |= {row.digest: _stored_run(row) for row in session.scalars(whole.where(some))}
        return stored

    def history(self, digest: str) -> list[dict[str, float]]:
        """One row an evaluation of a run: step, mean training loss since the last one, development metrics.

        Raises:
            BankError: no such run.
        """
        with reading(self.engine) as session:
            return list(_run(session, digest).history)

    def evaluation(self, run: str, data: str) -> Evaluation | None:
        """What :meth:`record_evaluation` stored for this run and split, or ``None``."""
        query = (
            select(schema.Evaluation.metrics, schema.Evaluation.answers)
            .join(schema.Run, schema.Evaluation.run_id == schema.Run.id)
            .where(schema.Run.digest == run, schema.Evaluation.data == data)
        )
        with reading(self.engine) as session:
            found = session.execute(query).one_or_none()
            return Evaluation(metrics=found.metrics, answers=found.answers) if found else None

    def prompt(self, sha256: str) -> np.ndarray:
        """A prompt ``[P, H]`` float32 by its address, or an unambiguous start of it (8 characters or more).

        Raises:
            BankError: unknown or ambiguous address, or damaged bytes.
        """
        with reading(self.engine) as session:
            found = session.scalars(select(schema.Prompt).where(_named(schema.Prompt.sha256, sha256)).limit(2)).all()
            if len(found) != 1 or len(sha256) < 8:
                state = "is not in the bank" if not found else "is ambiguous; give more of its address"
                state = (
                    "is too short to name one; give 8 characters or more" if not found and len(sha256) < 8 else state
                )
                raise BankError(f"prompt {sha256!r} {state}; `spot bank prompts` lists addresses")
            row = found[0]
            if row.values.size != row.length * row.width:
                raise BankError(f"prompt {row.sha256}: damaged (wrong number of bytes); see `spot bank verify`")
            values = row.values.reshape(row.length, row.width)
            if prompt_sha256(values) != row.sha256:
                raise BankError(f"prompt {row.sha256}: damaged (checksum differs); see `spot bank verify`")
            return checked_prompt(values, where=f"prompt {row.sha256}")

    def find_prompt(self, name: str, *, kind: str = "value") -> np.ndarray:
        """A prompt ``[P, H]`` by its address, or by the digest of a run, whose ``kind`` is meant.

        Raises:
            BankError: neither is in the bank, the name is ambiguous, or the run has no such snapshot.
        """
        with reading(self.engine) as session:
            runs = session.scalars(select(schema.Run).where(_named(schema.Run.digest, name)).limit(2)).all()
            if len(runs) != 1 or len(name) < 8:
                return self.prompt(name)
            prompts = {snapshot.kind: snapshot.prompt.sha256 for snapshot in runs[0].snapshots}
            if kind not in prompts:
                raise BankError(f"run {name}: has no {kind}; it has {', '.join(sorted(prompts))}")
        return self.prompt(prompts[kind])

    def partitions(self) -> list[Partition]:
        """Every combination of backbone, length, key step and recipe family that has source keys."""
        query = (
            select(
                schema.Backbone.fingerprint,
                schema.Recipe.prompt_length,
                schema.Recipe.key_step,
                schema.Recipe.family,
            )
            .join(schema.Recipe.backbone)
            .join(schema.Run, schema.Run.recipe_id == schema.Recipe.id)
            .join(schema.Run.snapshots)
            .where(schema.Run.role == "source", schema.Snapshot.kind == "key")
            .distinct()
        )
        with reading(self.engine) as session:
            return [
                Partition(fingerprint=f, prompt_length=p, key_step=s, family=r)
                for f, p, s, r in session.execute(query).all()
            ]

    def keys(self, partition: Partition, *, exclude: Sequence[str] = ()) -> list[Key]:
        """Keys of the source runs of a partition, by task and seed.

        Args:
            partition: whose keys.
            exclude: tasks left out, and with them the mixtures that hold one of them.

        Raises:
            BankError: a source without its key, value, vectors or task, or with numbers that are none: a ranking
                without it would be another one.
        """
        of_key, of_value = aliased(schema.Snapshot), aliased(schema.Snapshot)
        early, best = aliased(schema.Prompt), aliased(schema.Prompt)
        query = (
            select(
                schema.Run.digest, schema.Run.seed, schema.Run.score, schema.Run.started_from, schema.Run.start,
                schema.Task.name, schema.Task.family, schema.Task.description, early.sha256.label("key"),
                best.sha256.label("value"), schema.KeyVectors.average, schema.KeyVectors.average_normalized,
                schema.Backbone.width,
            )
            .join(schema.Run.recipe)
            .join(schema.Recipe.backbone)
            .outerjoin(schema.Run.task)
            .outerjoin(of_key, (of_key.run_id == schema.Run.id) & (of_key.kind == "key"))
            .outerjoin(early, early.id == of_key.prompt_id)
            .outerjoin(schema.KeyVectors, schema.KeyVectors.prompt_id == early.id)
            .outerjoin(of_value, (of_value.run_id == schema.Run.id) & (of_value.kind == "value"))
            .outerjoin(best, best.id == of_value.prompt_id)
            .where(schema.Run.role == "source", *_in(partition))
            .order_by(schema.Task.name, schema.Run.seed, schema.Run.digest)
        )  # fmt: skip
        lost = select(schema.Run.digest).outerjoin(schema.Run.recipe).outerjoin(schema.Recipe.backbone)
        lost = lost.where(schema.Run.role == "source", schema.Backbone.id.is_(None)).limit(1)
        with reading(self.engine) as session:
            for digest in session.scalars(lost):
                raise BankError(f"run {digest[:12]}: has no recipe or backbone; see `spot bank verify`")
            rows = [
                row
                for row in session.execute(query)
                if row.name is None or not {row.name, *row.description.get("tasks", ())} & set(exclude)
            ]
            _check_keys(rows)
            return [
                Key(
                    task=row.name,
                    task_family=row.family,
                    seed=row.seed,
                    run=row.digest,
                    prompt=row.key,
                    value=row.value,
                    average=row.average,
                    average_normalized=row.average_normalized,
                    score=row.score,
                    start=row.start,
                    started_from=row.started_from,
                )
                for row in rows
            ]

    def sources(self, partition: Partition) -> list[str]:
        """Names of the tasks that have keys in a partition, in alphabetical order."""
        query = (
            select(schema.Task.name)
            .join(schema.Run, schema.Run.task_id == schema.Task.id)
            .join(schema.Run.recipe)
            .join(schema.Recipe.backbone)
            .where(schema.Run.role == "source", *_in(partition))
            .distinct()
            .order_by(schema.Task.name)
        )
        with reading(self.engine) as session:
            return list(session.scalars(query))

    def recipe_options(self, partition: Partition) -> dict[str, Any]:
        """Options of a recipe of a partition, to say by what others differ from it; empty where there is none."""
        query = select(schema.Recipe.options).join(schema.Recipe.backbone).where(*_in(partition))
        with reading(self.engine) as session:
            return dict(session.scalars(query.order_by(schema.Recipe.id).limit(1)).one_or_none() or {})

    def texts(self, names: Sequence[str]) -> dict[str, bytes]:
        """Hashes of the training sentences of tasks, little-endian uint64, of those where they are known."""
        query = select(schema.Task.name, schema.Task.texts).where(schema.Task.name.in_(names))
        with reading(self.engine) as session:
            return {name: bytes(texts) for name, texts in session.execute(query) if texts}

    def outcomes(self, partition: Partition) -> list[Outcome]:
        """What single sources did for targets in the transfers of a partition, once a target, seed and source run.

        Only methods that start from one source at a time count, and only transfers that ran every source to its end:
        whom a race left over is no fair sample of what sources do. What others measured counts as they say it is.
        Outcomes of one target can be compared where their ``data`` and ``train_limit`` are the same.

        Args:
            partition: of the targets' queries.

        Raises:
            BankError: a score that is no number.
        """
        query_run, source, baseline = (aliased(schema.Run) for _ in range(3))
        of_target, of_source = aliased(schema.Task), aliased(schema.Task)
        query = (
            select(
                of_target.name.label("target"), of_target.family.label("target_family"),
                schema.Transfer.seed.label("seed"), schema.Prompt.sha256.label("query"),
                of_source.name.label("source"), of_source.family.label("source_family"),
                source.digest.label("source_run"), schema.Candidate.score.label("score"),
                baseline.score.label("baseline"), query_run.data.label("data"), query_run.start.label("start"),
                schema.Recipe.options.label("options"),
                schema.Transfer.method.label("method"), schema.Transfer.baseline_metrics.label("measured"),
            )
            .join_from(schema.Candidate, schema.Candidate.transfer)
            .join(of_target, schema.Transfer.task_id == of_target.id)
            .join(query_run, schema.Transfer.query_run_id == query_run.id)
            .join(query_run.snapshots.and_(schema.Snapshot.kind == "key"))
            .join(schema.Snapshot.prompt)
            .join(query_run.recipe)
            .join(schema.Recipe.backbone)
            .join(source, schema.Candidate.source_run_id == source.id)
            .join(of_source, source.task_id == of_source.id)
            .outerjoin(baseline, schema.Transfer.baseline_run_id == baseline.id)
            .where(
                or_(
                    and_(
                        schema.Transfer.method.in_(SINGLE),
                        schema.Transfer.budget == "full",
                        schema.Candidate.run_id.is_not(None),
                    ),
                    schema.Transfer.method == IMPORTED,
                ),
                schema.Candidate.score.is_not(None),
                *_in(partition),
            )
            .order_by(of_target.name, schema.Transfer.seed, of_source.name, source.digest, schema.Transfer.id)
        )  # fmt: skip
        with reading(self.engine) as session:
            found = [_outcome(**row) for row in session.execute(query).mappings()]
        _check_scores(
            [(f"{o.target} from run {o.source_run[:12]}", score) for o in found for score in (o.score, o.baseline)
             if score is not None or score is o.score]
        )  # fmt: skip
        return list({(o.target, o.train_limit, o.seed, o.query, o.source_run): o for o in found}.values())


def _outcome(*, options: Mapping[str, Any], method: str, measured: Any, data: str | None, **row: Any) -> Outcome:
    """Of a row of :meth:`Bank.outcomes`; what others measured has its score without a source in the transfer."""
    if method == IMPORTED and measured:
        row["baseline"] = measured["score"]
    return Outcome(**row, data=data or "", train_limit=int(options.get("train_limit", 0)))


def _in(partition: Partition) -> tuple[ColumnElement[bool], ...]:
    """Recipes and backbones of a partition."""
    return (
        schema.Backbone.fingerprint == partition.fingerprint,
        schema.Recipe.prompt_length == partition.prompt_length,
        schema.Recipe.key_step == partition.key_step,
        schema.Recipe.family == partition.family,
    )


def _named(column: InstrumentedAttribute[str], name: str) -> ColumnElement[bool]:
    """A digest or address that is given whole, which its index finds, or by its start."""
    return column == name if len(name) == DIGEST else column.startswith(name, autoescape=True)


def _check_keys(rows: Sequence[Any]) -> None:
    """Refuse sources that a ranking would lose or misplace."""
    import numpy as np

    parts = {"task": "name", "key": "key", "key vectors": "average", "value": "value"}
    for row in rows:
        for part, column in parts.items():
            if getattr(row, column) is None:
                raise BankError(
                    f"source {row.name or 'of no task'}, run {row.digest[:12]}: has no {part}; see `spot bank verify`"
                )
        for vector in (row.average, row.average_normalized, row.start):
            if vector is not None and vector.size != row.width:
                raise BankError(
                    f"source {row.name}, run {row.digest[:12]}: a key vector has {vector.size} numbers, its backbone "
                    f"{row.width}; see `spot bank verify`"
                )
    for vectors in ([r.average for r in rows], [r.average_normalized for r in rows], [r.start for r in rows]):
        held = [i for i, vector in enumerate(vectors) if vector is not None]
        if held:
            bad = ~np.isfinite(np.stack([vectors[i] for i in held])).all(axis=1)
            for i in np.flatnonzero(bad):
                row = rows[held[i]]
                raise BankError(
                    f"source {row.name}, run {row.digest[:12]}: a key vector is not finite; see `spot bank verify`"
                )
    _check_scores([(f"source {row.name}, run {row.digest[:12]}", row.score) for row in rows])


def _check_scores(scores: Sequence[tuple[str, Any]]) -> None:
    for name, score in scores:
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise BankError(f"{name}: its score is {score!r}, not a number; see `spot bank verify`")


def _stored_run(row: schema.Run) -> StoredRun:
    prompts = {snapshot.kind: snapshot.prompt.sha256 for snapshot in row.snapshots}
    if "value" not in prompts:
        raise BankError(f"run {row.digest}: damaged (has no value prompt); see `spot bank verify`")
    _check_scores([(f"run {row.digest[:12]}", row.score)])
    return StoredRun(
        digest=row.digest,
        task=row.task.name,
        seed=row.seed,
        score=row.score,
        metrics=row.metrics,
        value=prompts["value"],
        key=prompts.get("key"),
        steps=row.steps,
        seconds=row.seconds,
    )


def _find(session: Session, table: type[Row], **where: Any) -> Row | None:
    return session.scalars(select(table).filter_by(**where)).one_or_none()


def _get_or_add(session: Session, table: type[Row], where: dict[str, Any], **rest: Any) -> Row:
    """The row that ``where`` names, added if missing; a process that adds it first wins."""
    found = _find(session, table, **where)
    if found is not None:
        return found
    row = table(**where, **rest)
    try:
        with session.begin_nested():
            session.add(row)
        return row
    except IntegrityError:
        return session.scalars(select(table).filter_by(**where)).one()


def _add_once(session: Session, row: schema.Base) -> None:
    """Add a row; where another process has just added the same one, keep that."""
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        if "unique" not in str(error.orig).lower():
            raise


def _recipe(session: Session, record: RecipeRecord) -> schema.Recipe:
    backbone = _get_or_add(
        session,
        schema.Backbone,
        {"fingerprint": record.backbone.fingerprint},
        name=record.backbone.name,
        width=record.backbone.width,
        config=dict(record.backbone.config),
    )
    if backbone.width != record.backbone.width:
        raise BankError(
            f"backbone {record.backbone.name} is {backbone.width} wide in this bank, and the prompt "
            f"{record.backbone.width}; it was made for another model, whose name or fingerprint it needs"
        )
    return _get_or_add(
        session,
        schema.Recipe,
        {"digest": record.digest},
        backbone_id=backbone.id,
        family=record.family,
        prompt_length=record.prompt_length,
        key_step=record.key_step,
        options=dict(record.options),
    )


class _Addressed(NamedTuple):
    """A prompt with all that is computed from it."""

    values: np.ndarray
    sha256: str
    vectors: dict[str, np.ndarray]


def _addressed(prompt: np.ndarray) -> _Addressed:
    values = checked_prompt(prompt)
    vectors = {"average": average(values), "average_normalized": average_normalized(values)}
    return _Addressed(values, prompt_sha256(values), vectors)


def put_prompt(session: Session, prompt: _Addressed) -> schema.Prompt:
    """Store a prompt and its key vectors under its address; the same bytes are stored once."""
    length, width = prompt.values.shape
    row = _get_or_add(
        session, schema.Prompt, {"sha256": prompt.sha256}, length=length, width=width, values=prompt.values
    )
    _get_or_add(session, schema.KeyVectors, {"prompt_id": row.id}, **prompt.vectors)
    return row


def _same_transfer(held: schema.Transfer, record: TransferRecord) -> bool:
    """Whether a transfer that the first release stored, which left out some options, is this one."""
    return (
        (record.aggregate, record.allow_overlap) == ("mean", False)
        and held.chosen_run.digest == record.chosen_run
        and (held.baseline_run.digest if held.baseline_run else None) == record.baseline_run
        and [candidate.weight for candidate in held.candidates] == [c.weight for c in record.candidates]
    )


def _run(session: Session, digest: str) -> schema.Run:
    found = session.scalars(select(schema.Run).where(_named(schema.Run.digest, digest)).limit(2)).all()
    if len(found) != 1 or not digest:
        raise unknown_run(digest, ambiguous=bool(found))
    return found[0]
