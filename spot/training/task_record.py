"""A task as the bank stores it."""

from __future__ import annotations

from bank import TaskRecord
from tasks import Mixture, Task


def task_record(task: Task | Mixture) -> TaskRecord:
    """Name, family, description and content of a task or mixture."""
    return TaskRecord(
        name=task.name, family=task.family, description=task.describe(), content=task.content
    )
