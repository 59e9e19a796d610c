"""Tasks by name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from tasks.definitions import built_in
from tasks.errors import TaskError
from tasks.task import Task
from tasks.taskfile import load_task_file


@cache
def registry() -> dict[str, Task]:
    """The built-in tasks by name."""
    return {task.name: task for task in built_in()}


def get_task(name: str) -> Task:
    """A built-in task by name, or a user's own by the path of its TOML file.

    Raises:
        TaskError: no such task (with the nearest names), or a TOML file that does not describe one.
    """
    if name.endswith(".toml"):
        return load_task_file(Path(name))
    tasks = registry()
    if name not in tasks:
        raise TaskError(f"task {name!r} is not known; {_suggestion(name, tasks)}")
    return tasks[name]


def _suggestion(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, list(names), n=3)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return "`spot tasks` lists them, and a path ending in .toml is a task of your own"
