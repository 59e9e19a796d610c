"""The bank's tables. Change them together with a new migration in ``bank/migrations/versions``."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from bank.types import Float32Array, UtcTime, ndarray


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Base(DeclarativeBase):
    """Named constraints, so that migrations can change them on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        dict[str, Any]: JSON,
        list[Any]: JSON,
        dt.datetime: UtcTime,
    }


class Backbone(Base):
    """A frozen language model, known by its fingerprint."""

    __tablename__ = "backbone"

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str]
    width: Mapped[int]
    config: Mapped[dict[str, Any]]


class Recycler(Base):
    """A map that makes prompts of one backbone into prompts of another (Lester et al. 2022), fitted once.

    ``numbers`` are its arrays, as a file ``.safetensors``; ``shared``, ``cosine`` and ``error`` say how well it does on
    pieces that it was not fitted on. ``digest`` is that of backbones, method and numbers.
    """

    __tablename__ = "recycler"
    __table_args__ = (UniqueConstraint("source_id", "target_id", "method"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("backbone.id"))
    target_id: Mapped[int] = mapped_column(ForeignKey("backbone.id"))
    method: Mapped[str] = mapped_column(String(64))
    shared: Mapped[int]
    cosine: Mapped[float]
    error: Mapped[float]
    numbers: Mapped[bytes] = mapped_column(LargeBinary)
    created: Mapped[dt.datetime] = mapped_column(default=_now)

    source: Mapped[Backbone] = relationship(foreign_keys=[source_id])
    target: Mapped[Backbone] = relationship(foreign_keys=[target_id])


class Task(Base):
    """A task or mixture that prompts were trained on.

    ``content`` is the digest of what a task from a file is, or of a mixture's members: a task is its name and that.
    ``texts`` are hashes of its training sentences, little-endian uint64; ``signature`` is how often words of each hash
    occur in its training examples, little-endian float16.
    """

    __tablename__ = "task"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    family: Mapped[str]
    description: Mapped[dict[str, Any]]
    content: Mapped[str | None] = mapped_column(String(64))
    texts: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    signature: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)

    members: Mapped[list[Member]] = relationship(cascade="all, delete-orphan", order_by="Member.id")


class Member(Base):
    """A task that a mixture holds, by its name: it need not be in the bank itself."""

    __tablename__ = "member"
    __table_args__ = (UniqueConstraint("task_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"))
    name: Mapped[str]


class Recipe(Base):
    """Everything that shapes a run except task and seed.

    Keys are comparable only where backbone, ``prompt_length``, ``key_step`` and ``family`` agree; ``family`` is
    the digest of what shapes a prompt up to its key step.
    """

    __tablename__ = "recipe"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    backbone_id: Mapped[int] = mapped_column(ForeignKey("backbone.id"))
    family: Mapped[str] = mapped_column(String(64), index=True)
    prompt_length: Mapped[int]
    key_step: Mapped[int]
    options: Mapped[dict[str, Any]]

    backbone: Mapped[Backbone] = relationship()


class Prompt(Base):
    """A prompt ``[..., P, H]`` float32, addressed by the sha256 of its shape and bytes.

    ``length`` and ``width`` are the last two axes, ``shape`` is all of them where there are more.
    """

    __tablename__ = "prompt"

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    length: Mapped[int]
    width: Mapped[int]
    values: Mapped[ndarray] = mapped_column(Float32Array, deferred=True)
    shape: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))

    vectors: Mapped[KeyVectors | None] = relationship(
        back_populates="prompt", cascade="all, delete-orphan"
    )


class KeyVectors(Base):
    """One vector ``[W]`` a similarity measure, kept apart so that ranking never reads whole prompts."""

    __tablename__ = "key_vectors"

    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), primary_key=True)
    average: Mapped[ndarray] = mapped_column(Float32Array)
    average_normalized: Mapped[ndarray] = mapped_column(Float32Array)

    prompt: Mapped[Prompt] = relationship(back_populates="vectors")


class Run(Base):
    """One training of one recipe on one task with one seed.

    ``data`` is the digest of the training data, ``start`` the mean token ``[W]`` of the prompt that it started from.
    ``removed`` is when it was removed: such a run is neither ranked nor listed, until it is restored.
    """

    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint("role in ('source','query','baseline','transfer')", name="role"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    recipe_id: Mapped[int] = mapped_column(ForeignKey("recipe.id"), index=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"), index=True)
    role: Mapped[str]
    seed: Mapped[int]
    steps: Mapped[int]
    metric: Mapped[str]
    score: Mapped[float]
    metrics: Mapped[dict[str, Any]]
    history: Mapped[list[Any]] = mapped_column(deferred=True)
    environment: Mapped[dict[str, Any]]
    started_from: Mapped[str | None] = mapped_column(String(64))
    seconds: Mapped[float]
    created: Mapped[dt.datetime] = mapped_column(default=_now)
    data: Mapped[str | None] = mapped_column(String(64))
    start: Mapped[ndarray | None] = mapped_column(Float32Array, deferred=True)
    removed: Mapped[dt.datetime | None]

    recipe: Mapped[Recipe] = relationship()
    task: Mapped[Task] = relationship()
    tags: Mapped[list[Tag]] = relationship(cascade="all, delete-orphan", order_by="Tag.name")
    snapshots: Mapped[list[Snapshot]] = relationship(
        back_populates="run", cascade="all, delete-orphan"
    )


class Tag(Base):
    """A name that users gave a run; several runs of a task may share it, such as the seeds of one recipe."""

    __tablename__ = "tag"
    __table_args__ = (UniqueConstraint("run_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    name: Mapped[str] = mapped_column(String(64))


class Snapshot(Base):
    """A run's prompt at one moment: its early *key* or its best *value*; of one in two parts also its *own* at best."""

    __tablename__ = "snapshot"
    __table_args__ = (
        UniqueConstraint("run_id", "kind"),
        CheckConstraint("kind in ('key','value','own')", name="kind"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), index=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), index=True)
    kind: Mapped[str]
    step: Mapped[int]
    score: Mapped[float | None]

    run: Mapped[Run] = relationship(back_populates="snapshots")
    prompt: Mapped[Prompt] = relationship()


class Evaluation(Base):
    """What a run's value answers to the examples of a test split, whose digest is ``data``.

    ``decoding`` says how the answers were found, and then ``data`` is the digest of both; greedily, or by the scores of
    the choices, where it is silent.
    """

    __tablename__ = "evaluation"
    __table_args__ = (UniqueConstraint("run_id", "data"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    data: Mapped[str] = mapped_column(String(64))
    metrics: Mapped[dict[str, Any]]
    answers: Mapped[list[Any]] = mapped_column(deferred=True)
    decoding: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class Transfer(Base):
    """A target run that started from source values, with its baseline and its outcome.

    ``steps`` counts the optimiser steps of all its candidates; under the budget ``halving`` most were stopped early.
    ``single`` says whether every candidate's run started from one source.
    """

    __tablename__ = "transfer"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"), index=True)
    method: Mapped[str]
    similarity: Mapped[str]
    top_k: Mapped[int]
    budget: Mapped[str] = mapped_column(server_default="full")
    steps: Mapped[int | None]
    seed: Mapped[int]
    metric: Mapped[str]
    query_run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    baseline_run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    chosen_run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    baseline_metrics: Mapped[dict[str, Any] | None]
    outcome_metrics: Mapped[dict[str, Any]]
    created: Mapped[dt.datetime] = mapped_column(default=_now)
    options: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    single: Mapped[bool] = mapped_column(server_default=false())

    task: Mapped[Task] = relationship()
    query_run: Mapped[Run] = relationship(foreign_keys=[query_run_id])
    baseline_run: Mapped[Run | None] = relationship(foreign_keys=[baseline_run_id])
    chosen_run: Mapped[Run] = relationship(foreign_keys=[chosen_run_id])
    candidates: Mapped[list[Candidate]] = relationship(
        back_populates="transfer", cascade="all, delete-orphan", order_by="Candidate.rank"
    )


class Candidate(Base):
    """One ranked source of a transfer, and the target run that started from it: none if it was stopped early."""

    __tablename__ = "candidate"
    __table_args__ = (UniqueConstraint("transfer_id", "rank"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    transfer_id: Mapped[int] = mapped_column(ForeignKey("transfer.id"), index=True)
    rank: Mapped[int]
    source_run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    similarity: Mapped[float]
    weight: Mapped[float]
    score: Mapped[float | None]
    steps: Mapped[int | None]

    transfer: Mapped[Transfer] = relationship(back_populates="candidates")
    source_run: Mapped[Run] = relationship(foreign_keys=[source_run_id])
    run: Mapped[Run | None] = relationship(foreign_keys=[run_id])
