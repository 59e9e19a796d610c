"""Tasks of a bank: a name stands for one content."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from bank import schema
from bank.errors import BankError
from bank.location import shown
from bank.recipes import in_partition
from bank.records import Partition, TaskRecord
from bank.sessions import get, get_or_add, reading


def check_task(engine: Engine, record: TaskRecord) -> None:
    """See :meth:`bank.store.Bank.check_task`."""
    with reading(engine) as session:
        stored = get(session, schema.Task, name=record.name)
        if stored is not None:
            check_same(session, stored, record)


def put_task(session: Session, record: TaskRecord) -> schema.Task:
    """The task's row, added if missing, with what an earlier record of it did not know.

    Raises:
        BankError: the bank's task of that name is another one.
    """
    task = get_or_add(
        session,
        schema.Task,
        {"name": record.name},
        family=record.family,
        description=dict(record.description),
        content=record.content or None,
        texts=record.texts or None,
        members=[schema.Member(name=name) for name in record.members],
    )
    check_same(session, task, record)
    if record.content and not task.content:
        task.content = record.content
    if record.texts and not task.texts:
        task.texts = record.texts
    return task


def check_same(session: Session, stored: schema.Task, record: TaskRecord) -> None:
    """Refuse a task that is another one than that which is stored under its name.

    Raises:
        BankError: another content, or other members.
    """
    differs = stored.content and record.content and stored.content != record.content
    if differs or {member.name for member in stored.members} != set(record.members):
        raise BankError(
            f"task {record.name!r} in bank {shown(session.get_bind().engine.url)} is another one: its file or data "
            "differ; give yours another name or use another bank"
        )


def source_tasks(engine: Engine, partition: Partition) -> list[str]:
    """See :meth:`bank.store.Bank.sources`."""
    query = (
        select(schema.Task.name)
        .join(schema.Run, schema.Run.task_id == schema.Task.id)
        .join(schema.Run.recipe)
        .join(schema.Recipe.backbone)
        .where(schema.Run.role == "source", schema.Run.removed.is_(None), *in_partition(partition))
        .distinct()
        .order_by(schema.Task.name)
    )
    with reading(engine) as session:
        return list(session.scalars(query))


def texts_of(engine: Engine, names: Sequence[str]) -> dict[str, bytes]:
    """See :meth:`bank.store.Bank.texts`."""
    query = select(schema.Task.name, schema.Task.texts).where(schema.Task.name.in_(names))
    with reading(engine) as session:
        return {name: bytes(texts) for name, texts in session.execute(query) if texts}
