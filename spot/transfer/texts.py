"""What a bank keeps of a task's training texts: hashes of sentences, by which tasks that share texts are known, and the
signature of its words, by which the measure ``text`` ranks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bank import Bank, TaskRecord
from spot.training.task_record import task_record
from tasks import Mixture, Task, get_learnable
from tasks.overlaps import task_sketch
from tasks.signatures import task_signature


def with_texts(
    record: TaskRecord,
    task: Task | Mixture,
    bank: Bank,
    data_dir: Path | None = None,
    *,
    allow_partial: bool = False,
) -> TaskRecord:
    """A task's record with what a bank lacks of its texts, for which the task's training data are read.

    Raises:
        TaskError: data that cannot be read.
    """
    if bank.signatures([task.name]):  # what sentences there are came with it
        return record
    texts = b""
    if not bank.texts([task.name]):
        sentences = task_sketch(task, data_dir, allow_partial=allow_partial)
        texts = sentences.astype("<u8").tobytes()
    words = task_signature(task, data_dir, allow_partial=allow_partial)
    signature = words.astype("<f2").tobytes()
    return dataclasses.replace(record, texts=texts, signature=signature)


def add_texts(
    bank: Bank, name: str, data_dir: Path | None = None, *, allow_partial: bool = False
) -> bool:
    """Add to a bank what it lacks of the texts of a task or mixture, which is named or in a file; says whether that was
    anything.

    Raises:
        BankError: the bank holds no such task, or another one under its name.
        TaskError: no such task, or data that cannot be read.
    """
    task = get_learnable(name)
    record = task_record(task)
    bank.check_task(record)
    known = with_texts(record, task, bank, data_dir, allow_partial=allow_partial)
    if known is record:
        return False
    bank.record_texts(known)
    return True
