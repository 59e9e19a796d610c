"""The bank: record runs and transfers, get prompts and keys back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from bank import schema
from bank.engine import bank_url, open_engine, shown
from bank.errors import BankError
from bank.listing import unknown_run
from bank.records import RecipeRecord, RunIdentity, RunRecord, SnapshotRecord, TransferRecord
from bank.sessions import reading, transaction
from bank.vectors import average, average_normalized, checked_prompt, prompt_sha256

if TYPE_CHECKING:
    import numpy as np

Row = TypeVar("Row", bound=schema.Base)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Partition:
    """The runs whose keys can be compared: one backbone, length, key step and recipe family."""

    fingerprint: str
    prompt_length: int
    key_step: int
    family: str

    @classmethod
    def of(cls, recipe: RecipeRecord) -> Partition:
        return cls(
            fingerprint=recipe.backbone.fingerprint,
            prompt_length=recipe.prompt_length,
            key_step=recipe.key_step,
            family=recipe.family,
        )

    def __str__(self) -> str:
        return (
            f"backbone {self.fingerprint[:12]}, {self.prompt_length} tokens, key step {self.key_step}, "
            f"recipe family {self.family[:12]}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """A source's key, ready for ranking: its vectors ``[H]`` float32, not the prompt itself."""

    task: str
    task_family: str
    seed: int
    run: str
    """Digest of the run."""
    prompt: str
    """sha256 of the key prompt."""
    value: str
    """sha256 of the value prompt."""
    average: np.ndarray
    average_normalized: np.ndarray
    score: float = 0.0
    """Development score of the value."""
    start: np.ndarray | None = None
    """Mean token ``[H]`` of the prompt that the run started from, where that was stored."""
    started_from: str | None = None
    """Address of that prompt, where it came from a bank or file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run as the bank holds it; ``key`` and ``value`` are addresses of prompts."""

    digest: str
    task: str
    seed: int
    score: float
    metrics: Mapping[str, float]
    value: str
    key: str | None
    steps: int
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics and answers of a run's value on a test split."""

    metrics: Mapping[str, float]
    answers: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a source did for a target: the development scores of the target's run from it, and of that without.

    ``query`` is the address of the target's early prompt; ``baseline`` is ``None`` where none was trained.
    """

    target: str
    target_family: str
    seed: int
    query: str
    source: str
    source_family: str
    source_run: str
    score: float
    baseline: float | None


class Bank:
    """A SQL database of prompts and where they came from.

    ``Bank.open("bank.sqlite")`` or any SQLAlchemy URL. Every write is one transaction: it appears whole or not at
    all, and writing the same run twice keeps one. Safe for several processes at once.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, location: str | Path, *, create: bool = True) -> Bank:
        """Open a bank; ``create`` makes it where there is none and brings an older schema up to date.

        Raises:
            BankError: it cannot be reached, is no bank, or was written by a newer program.
        """
        return cls(open_engine(bank_url(location), create=create))

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

    # -- writing -----------------------------------------------------------------------------------------

    def record_run(self, record: RunRecord) -> str:
        """Store a run with its key, value, metrics and recipe in one transaction; returns its digest."""
        identity = record.identity
        with transaction(self.engine) as session:
            if _find(session, schema.Run, digest=identity.digest):
                return identity.digest
            task = _get_or_add(
                session,
                schema.Task,
                {"name": identity.task.name},
                family=identity.task.family,
                description=dict(identity.task.description),
            )
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
            )
            for kind, snapshot in (("key", record.key), ("value", record.value)):
                if snapshot is not None:
                    run.snapshots.append(_snapshot(session, kind, snapshot))
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
            )
            run = schema.Run(
                digest=identity.digest,
                role=identity.role,
                seed=identity.seed,
                started_from=identity.started_from,
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
            BankError: a run it names is not in the bank.
        """
        with transaction(self.engine) as session:
            if _find(session, schema.Transfer, digest=record.digest):
                return record.digest

            def run_id(digest: str | None) -> Any:
                return None if digest is None else _run(session, digest).id

            transfer = schema.Transfer(
                digest=record.digest,
                task_id=_run(session, record.chosen_run).task_id,
                method=record.method,
                similarity=record.similarity,
                top_k=len(record.candidates),
                budget=record.budget,
                steps=record.steps,
                seed=record.seed,
                metric=record.metric,
                query_run_id=run_id(record.query_run),
                baseline_run_id=run_id(record.baseline_run),
                chosen_run_id=run_id(record.chosen_run),
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
        with transaction(self.engine) as session:
            return put_prompt(session, prompt).sha256

    # -- reading -----------------------------------------------------------------------------------------

    def run(self, digest: str) -> StoredRun | None:
        """A stored run by its full digest, or ``None``."""
        with reading(self.engine) as session:
            row = _find(session, schema.Run, digest=digest)
            if row is None:
                return None
            prompts = {snapshot.kind: snapshot.prompt.sha256 for snapshot in row.snapshots}
            if "value" not in prompts:
                raise BankError(f"run {digest}: damaged (has no value prompt); see `spot bank verify`")
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
            found = session.scalars(
                select(schema.Prompt).where(schema.Prompt.sha256.startswith(sha256, autoescape=True)).limit(2)
            ).all()
            if len(found) != 1 or len(sha256) < 8:
                state = "is not in the bank" if not found else "is ambiguous; give more of its address"
                raise BankError(f"prompt {sha256!r} {state}; `spot bank prompts` lists addresses")
            row = found[0]
            if row.values.size != row.length * row.width:
                raise BankError(f"prompt {row.sha256}: damaged (wrong number of bytes); see `spot bank verify`")
            values = row.values.reshape(row.length, row.width)
            if prompt_sha256(values) != row.sha256:
                raise BankError(f"prompt {row.sha256}: damaged (checksum differs); see `spot bank verify`")
            return values

    def find_prompt(self, name: str, *, kind: str = "value") -> np.ndarray:
        """A prompt ``[P, H]`` by its address, or by the digest of a run, whose ``kind`` is meant.

        Raises:
            BankError: neither is in the bank, the name is ambiguous, or the run has no such snapshot.
        """
        with reading(self.engine) as session:
            runs = session.scalars(
                select(schema.Run).where(schema.Run.digest.startswith(name, autoescape=True)).limit(2)
            ).all()
            if len(runs) != 1 or len(name) < 8:
                return self.prompt(name)
            prompts = {snapshot.kind: snapshot.prompt.sha256 for snapshot in runs[0].snapshots}
            if kind not in prompts:
                raise BankError(f"run {name}: has no {kind}; it has {', '.join(sorted(prompts))}")
        return self.prompt(prompts[kind])

    def backbones_of(self, name: str) -> set[str]:
        """Fingerprints of the backbones that a prompt or run of that name was trained for."""
        query = (
            select(schema.Backbone.fingerprint)
            .join(schema.Recipe, schema.Recipe.backbone_id == schema.Backbone.id)
            .join(schema.Run, schema.Run.recipe_id == schema.Recipe.id)
            .join(schema.Run.snapshots)
            .join(schema.Snapshot.prompt)
            .where(
                or_(
                    schema.Run.digest.startswith(name, autoescape=True),
                    schema.Prompt.sha256.startswith(name, autoescape=True),
                )
            )
        )
        with reading(self.engine) as session:
            return set(session.scalars(query))

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
        """
        value = (
            select(schema.Snapshot.run_id, schema.Prompt.sha256)
            .join(schema.Snapshot.prompt)
            .where(schema.Snapshot.kind == "value")
            .subquery()
        )
        query = (
            select(schema.Run, schema.Task, schema.Prompt.sha256, schema.KeyVectors, value.c.sha256)
            .join(schema.Run.task)
            .join(schema.Run.recipe)
            .join(schema.Recipe.backbone)
            .join(schema.Run.snapshots)
            .join(schema.Snapshot.prompt)
            .join(schema.Prompt.vectors)
            .join(value, value.c.run_id == schema.Run.id)
            .where(
                schema.Run.role == "source",
                schema.Snapshot.kind == "key",
                schema.Backbone.fingerprint == partition.fingerprint,
                schema.Recipe.prompt_length == partition.prompt_length,
                schema.Recipe.key_step == partition.key_step,
                schema.Recipe.family == partition.family,
                schema.Task.name.not_in(exclude),
            )
            .order_by(schema.Task.name, schema.Run.seed, schema.Run.digest)
        )
        with reading(self.engine) as session:
            return [
                Key(
                    task=task.name,
                    task_family=task.family,
                    seed=run.seed,
                    run=run.digest,
                    prompt=key,
                    value=best,
                    average=vectors.average,
                    average_normalized=vectors.average_normalized,
                    score=run.score,
                    started_from=run.started_from,
                )
                for run, task, key, vectors, best in session.execute(query).all()
                if not set(task.description.get("tasks", ())) & set(exclude)
            ]

    def outcomes(self, partition: Partition) -> list[Outcome]:
        """What single sources did for targets in the transfers of a partition, once a target, seed and source run.

        Only runs that went to their end count, and only methods that start from one source at a time.
        """
        query_run, source, baseline = (aliased(schema.Run) for _ in range(3))
        of_target, of_source = aliased(schema.Task), aliased(schema.Task)
        query = (
            select(
                of_target.name, of_target.family, schema.Transfer.seed, schema.Prompt.sha256,
                of_source.name, of_source.family, source.digest, schema.Candidate.score, baseline.score,
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
                schema.Transfer.method.in_(("best", "oracle", "generic")),
                schema.Candidate.run_id.is_not(None),
                schema.Backbone.fingerprint == partition.fingerprint,
                schema.Recipe.prompt_length == partition.prompt_length,
                schema.Recipe.key_step == partition.key_step,
                schema.Recipe.family == partition.family,
            )
            .order_by(of_target.name, schema.Transfer.seed, of_source.name, source.digest, schema.Transfer.id)
        )  # fmt: skip
        names = [field.name for field in dataclasses.fields(Outcome)]
        with reading(self.engine) as session:
            rows: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in session.execute(query)]
        found = [Outcome(**row) for row in rows]
        return list({(o.target, o.seed, o.query, o.source_run): o for o in found}.values())


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


def _snapshot(session: Session, kind: str, record: SnapshotRecord) -> schema.Snapshot:
    return schema.Snapshot(
        kind=kind, step=record.step, score=record.score, prompt_id=put_prompt(session, record.prompt).id
    )


def put_prompt(session: Session, values: np.ndarray) -> schema.Prompt:
    """Store a prompt and its key vectors under its address; the same bytes are stored once."""
    values = checked_prompt(values)
    prompt = _get_or_add(
        session,
        schema.Prompt,
        {"sha256": prompt_sha256(values)},
        length=values.shape[0],
        width=values.shape[1],
        values=values,
    )
    _get_or_add(
        session,
        schema.KeyVectors,
        {"prompt_id": prompt.id},
        average=average(values),
        average_normalized=average_normalized(values),
    )
    return prompt


def _run(session: Session, digest: str) -> schema.Run:
    found = session.scalars(
        select(schema.Run).where(schema.Run.digest.startswith(digest, autoescape=True)).limit(2)
    ).all()
    if len(found) != 1 or not digest:
        raise unknown_run(digest, ambiguous=bool(found))
    return found[0]
