"""Tasks by name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tasks.choices import choose
from tasks.definitions import built_in
from tasks.errors import TaskError, shown
from tasks.mixture import MIXTURES, Mixture
from tasks.task import Task
from tasks.taskfile import load_task_file
from tasks.tomlfile import read_toml

LISTING = "`spot tasks` lists them, and a path ending in .toml is a task of your own"


@cache
def registry() -> dict[str, Task]:
    """The built-in tasks by name."""
    return {task.name: task for task in built_in()}


def get_task(name: str) -> Task:
    """A built-in task by name, or a user's own by the path of its TOML file.

    Raises:
        TaskError: no such task (with the nearest names), or a TOML file that does not describe one.
    """
    task = get_learnable(name)
    if isinstance(task, Mixture):
        raise TaskError(f"{name!r} is a mixture; expected a single task")
    return task


def get_learnable(name: str) -> Task | Mixture:
    """What a prompt can be trained on: a task, or a mixture of tasks.

    Args:
        name: a task; a named mixture (``glue``); tasks joined by ``+`` (``sst2+mrpc``); or the path of a TOML file that
            describes a task, or a mixture by ``name``, ``tasks``, ``cap`` and ``temperature``.

    Raises:
        TaskError: no such task or mixture (with the nearest names), a file that describes neither, or one that takes a
            built-in name.
    """
    if name.endswith(".toml"):
        return _from_file(Path(name))
    if name in MIXTURES:
        return Mixture(name=name, members=tuple(get_task(member) for member in MIXTURES[name]))
    if "+" in name:
        return Mixture(name=name, members=tuple(get_task(member) for member in name.split("+")))
    return registry()[choose(name, [*registry(), *MIXTURES], "task", listing=LISTING)]


def check_distinct(tasks: Iterable[Task | Mixture]) -> None:
    """Refuse tasks of one name and different content, members of mixtures included: a name is all that a run keeps.

    Raises:
        TaskError: naming both.
    """
    known: dict[str, Task | Mixture] = {}
    for learnable in tasks:
        for task in (learnable, *(learnable.members if isinstance(learnable, Mixture) else ())):
            other = known.setdefault(task.name, task)
            if other.content != task.content:
                raise TaskError(
                    f"two different tasks are called {task.name!r}: {_origin(other)} and {_origin(task)}; "
                    "give one of them another name"
                )


def _origin(task: Task | Mixture) -> str:
    return task.file or f"the built-in {'mixture' if isinstance(task, Mixture) else 'task'}"


def _from_file(path: Path) -> Task | Mixture:
    content = read_toml(path)
    learnable = _mixture_file(path, content) if "tasks" in content else load_task_file(path)
    name = learnable.name
    if name in registry() or name in MIXTURES:
        kind = "mixture" if name in MIXTURES else "task"
        raise TaskError(f"{path}: name is {name!r}, which is a built-in {kind}; choose another")
    if name != name.strip() or not name.isprintable() or re.search(r"[+,]|\.toml$", name):
        raise TaskError(
            f"{path}: name is {shown(name)}; expected a word or more on one line, without + and a comma, which "
            "join tasks to mixtures, and without .toml at its end"
        )
    return dataclasses.replace(learnable, file=str(path))


def _mixture_file(path: Path, content: Mapping[str, Any]) -> Mixture:
    kinds: dict[str, type | tuple[type, ...]] = {
        "name": str,
        "tasks": list,
        "cap": int,
        "temperature": (int, float),
    }
    for key, value in content.items():
        choose(key, kinds, f"{path}: mixture's key")
        if not isinstance(value, kinds[key]) or isinstance(value, bool):
            raise TaskError(f"{path}: {key} is {shown(value)}, which is of the wrong kind")
    members = []
    for member in content["tasks"]:
        if not isinstance(member, str):
            raise TaskError(f"{path}: tasks holds {shown(member)}; expected names of tasks")
        beside = path.parent / member
        if member.endswith(".toml") and "tasks" in read_toml(beside):  # perhaps this very file
            raise TaskError(
                f"{path}: tasks holds {member}, which is a mixture; expected single tasks"
            )
        members.append(get_task(str(beside) if member.endswith(".toml") else member))
    options = {key: content[key] for key in ("cap", "temperature") if key in content}
    return Mixture(name=content.get("name", path.stem), members=tuple(members), **options)
