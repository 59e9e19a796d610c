"""The lists asked for most often, in plain SQL: the mapping of the schema takes longer to load than they run."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, text

from bank.engine import database_errors
from bank.types import ROLES

Rows = list[dict[str, Any]]

TASKS = """
SELECT task.name, task.family, run.role, count(*)
FROM task JOIN run ON run.task_id = task.id
GROUP BY task.name, task.family, run.role
ORDER BY task.name
"""

RUNS = """
SELECT run.digest, task.name, run.role, run.seed, backbone.name, recipe.prompt_length, recipe.key_step, run.steps,
       run.metric, run.score, run.seconds
FROM run
JOIN task ON task.id = run.task_id
JOIN recipe ON recipe.id = run.recipe_id
JOIN backbone ON backbone.id = recipe.backbone_id
WHERE (:task = '' OR task.name = :task) AND (:role = '' OR run.role = :role)
ORDER BY run.id
"""


def list_tasks(engine: Engine) -> Rows:
    """Tasks with their number of runs by role."""
    rows: dict[str, dict[str, Any]] = {}
    with database_errors(engine.url), engine.connect() as connection:
        for name, family, role, count in connection.execute(text(TASKS)):
            rows.setdefault(name, {"task": name, "family": family} | dict.fromkeys(ROLES, 0))[role] = count
    return list(rows.values())


def list_runs(engine: Engine, *, task: str = "", role: str = "") -> Rows:
    """Runs, newest last; of one task or role if given."""
    columns = ("run", "task", "role", "seed", "backbone", "length", "key step", "steps", "metric", "score", "seconds")
    with database_errors(engine.url), engine.connect() as connection:
        found = connection.execute(text(RUNS), {"task": task, "role": role})
        rows = [dict(zip(columns, values, strict=True)) for values in found]
    return [row | {"run": row["run"][:12], "seconds": round(row["seconds"], 1)} for row in rows]
