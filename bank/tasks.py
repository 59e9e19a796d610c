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
from bank.sessions import get, get_or_add, reading, some_at_once, transaction

UNKNOWN = "imported"
"""Family of a task of which a bank knows but that it has a prompt that others trained."""

TEXTS = ("texts", "signature")
"""What is kept of a task's training texts."""


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
        **{name: getattr(record, name) or None for name in TEXTS},
        members=[schema.Member(name=name) for name in record.members],
    )
    check_same(session, task, record)
    if record.content and not task.content:
        task.content = record.content
    if task.family == UNKNOWN and not task.description:
        task.family, task.description = record.family, dict(record.description)
    _add_texts(task, record)
    return task


def _add_texts(task: schema.Task, record: TaskRecord) -> None:
    """What the record knows of texts and the row does not."""
    for name in TEXTS:
        if getattr(record, name) and not getattr(task, name):
            setattr(task, name, getattr(record, name))


def record_texts(engine: Engine, record: TaskRecord) -> None:
    """See :meth:`bank.store.Bank.record_texts`."""
    with transaction(engine) as session:
        task = get(session, schema.Task, name=record.name)
        if task is None:
            raise BankError(
                f"bank {shown(engine.url)}: holds no task {record.name!r}; train on it first"
            )
        check_same(session, task, record)
        _add_texts(task, record)


def check_same(session: Session, stored: schema.Task, record: TaskRecord) -> None:
    """Refuse a task that is another one than that which is stored under its name.

    Raises:
        BankError: another content, or other members.
    """
    differs = stored.content and record.content and stored.content != record.content
    bank = shown(session.get_bind().engine.url)
    members = sorted(member.name for member in stored.members)
    if set(members) != set(record.members) and members and record.members:
        raise BankError(
            f"mixture {record.name!r} in bank {bank} is another one: there it is made of {', '.join(members)}; use "
            f"another bank, or train yours under a name of its own, as {'+'.join(record.members)} or from a file"
        )
    if differs or set(members) != set(record.members):
        raise BankError(
            f"task {record.name!r} in bank {bank} is another one: its file or data differ; give yours another name "
            "or use another bank"
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


def texts_of(engine: Engine, names: Sequence[str], kind: str) -> dict[str, bytes]:
    """One of ``TEXTS`` of tasks, by name, of those where it is known; see :meth:`bank.store.Bank.texts`."""
    task = schema.Task
    with reading(engine) as session:
        known = [
            session.execute(select(task.name, getattr(task, kind)).where(task.name.in_(some)))
            for some in some_at_once(names)
        ]
        return {name: bytes(cell) for rows in known for name, cell in rows if cell}


def lacking_texts(engine: Engine) -> list[str]:
    """See :meth:`bank.store.Bank.lacking_texts`."""
    task = schema.Task
    query = select(task.name).where(task.signature.is_(None)).order_by(task.name)
    with reading(engine) as session:
        return list(session.scalars(query))
