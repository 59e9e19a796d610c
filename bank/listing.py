"""What a bank holds, as plain rows, in plain SQL: the mapping of the schema takes longer to load than these run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import JSON, Engine, text

from bank.driver_errors import database_errors
from bank.engine import sound_reading
from bank.errors import BankError
from bank.identity import DIGEST
from bank.names import digest_named
from bank.records import ROLES
from bank.types import UtcTime

Rows = list[dict[str, Any]]

FLOOR = "most frequent answer"
"""What always giving it scores: on development data in a run's environment, on test in a transfer's options."""

PARTIAL = "partial data"
"""In a run's environment: that its task's splits were cut because published parts are missing."""

TASKS = """
SELECT task.name, task.family, run.role, count(*)
FROM task JOIN run ON run.task_id = task.id
WHERE run.removed IS NULL
GROUP BY task.name, task.family, run.role
ORDER BY task.name
"""

RUNS = """
SELECT run.digest, task.name, run.role, run.seed, backbone.name, recipe.prompt_length, recipe.key_step, run.steps,
       run.metric, run.score, run.environment, run.seconds, run.removed
FROM run
JOIN task ON task.id = run.task_id
JOIN recipe ON recipe.id = run.recipe_id
JOIN backbone ON backbone.id = recipe.backbone_id
WHERE (:task = '' OR task.name = :task) AND (:role = '' OR run.role = :role) AND (run.removed IS NULL) = :there
ORDER BY run.id DESC
LIMIT :limit
"""

TAGS = "SELECT run.digest, tag.name FROM tag JOIN run ON run.id = tag.run_id ORDER BY tag.name"

TASK_TAGS = """
SELECT DISTINCT task.name, tag.name AS tag
FROM tag JOIN run ON run.id = tag.run_id JOIN task ON task.id = run.task_id
WHERE run.removed IS NULL
ORDER BY tag
"""

RECYCLERS = """
SELECT recycler.digest, source.name, target.name, recycler.method, recycler.shared, recycler.cosine, recycler.error,
       recycler.created
FROM recycler
JOIN backbone AS source ON source.id = recycler.source_id
JOIN backbone AS target ON target.id = recycler.target_id
ORDER BY recycler.id DESC
"""

RUN = """
SELECT run.id AS id, run.digest AS digest, task.name AS task, task.family AS task_family, run.role AS role,
       run.seed AS seed, run.steps AS steps, run.metric AS metric, run.score AS score, run.metrics AS metrics,
       backbone.name AS backbone, backbone.fingerprint AS fingerprint, backbone.width AS width,
       recipe.options AS options, recipe.family AS recipe_family, run.started_from AS started_from,
       run.environment AS environment, run.seconds AS seconds, run.created AS created, run.history AS history,
       run.removed AS removed
FROM run
JOIN task ON task.id = run.task_id
JOIN recipe ON recipe.id = run.recipe_id
JOIN backbone ON backbone.id = recipe.backbone_id
WHERE {matches}
LIMIT 2
"""

SNAPSHOTS = """
SELECT snapshot.kind, snapshot.step, snapshot.score, prompt.sha256, prompt.length, prompt.width, prompt.shape
FROM snapshot JOIN prompt ON prompt.id = snapshot.prompt_id
WHERE snapshot.run_id = :run
ORDER BY snapshot.step
"""

EVALUATIONS = """
SELECT evaluation.data, evaluation.decoding, evaluation.metrics
FROM evaluation
WHERE evaluation.run_id = :run
ORDER BY evaluation.id
"""

USES = """
SELECT transfer.digest, task.name, candidate.rank
FROM candidate
JOIN transfer ON transfer.id = candidate.transfer_id
JOIN task ON task.id = transfer.task_id
WHERE candidate.source_run_id = :run
ORDER BY candidate.id
"""

SEEN = """
(prompt.id NOT IN (SELECT prompt_id FROM snapshot) OR prompt.id IN (
  SELECT snapshot.prompt_id FROM snapshot JOIN run ON run.id = snapshot.run_id WHERE run.removed IS NULL
))
"""
"""Prompts that are not those of removed runs alone."""

PROMPTS = f"""
SELECT prompt.sha256, prompt.length, prompt.width, prompt.shape, snapshot.kind, snapshot.step, task.name, run.seed,
       run.digest
FROM (SELECT id, sha256, length, width, shape FROM prompt WHERE {SEEN} ORDER BY id DESC LIMIT :limit) AS prompt
LEFT JOIN snapshot ON snapshot.prompt_id = prompt.id
LEFT JOIN run ON run.id = snapshot.run_id
LEFT JOIN task ON task.id = run.task_id
WHERE run.removed IS NULL
ORDER BY prompt.id DESC, snapshot.id
"""

TRANSFERS = """
SELECT transfer.id AS id, transfer.digest AS digest, task.name AS target, transfer.method AS method,
       transfer.similarity AS similarity, transfer.budget AS budget, transfer.steps AS steps, transfer.seed AS seed,
       transfer.metric AS metric, transfer.baseline_metrics AS baseline, transfer.outcome_metrics AS outcome,
       transfer.created AS created, transfer.options AS options, run.environment AS environment
FROM transfer
JOIN task ON task.id = transfer.task_id
LEFT JOIN run ON run.id = transfer.chosen_run_id
WHERE :task = '' OR task.name = :task
ORDER BY transfer.id DESC
LIMIT :limit
"""

CANDIDATES = """
SELECT candidate.transfer_id, candidate.rank, task.name, run.seed, candidate.similarity, candidate.weight,
       candidate.score, candidate.steps
FROM candidate
JOIN run ON run.id = candidate.source_run_id
JOIN task ON task.id = run.task_id
JOIN transfer ON transfer.id = candidate.transfer_id
JOIN task AS target ON target.id = transfer.task_id
WHERE (:task = '' OR target.name = :task) AND transfer.id >= :oldest
ORDER BY candidate.transfer_id, candidate.rank
"""

COUNTS = {
    "runs": """
SELECT count(*) FROM run
WHERE (:task = '' OR run.task_id = (SELECT id FROM task WHERE name = :task)) AND (:role = '' OR run.role = :role)
AND (run.removed IS NULL) = :there
""",
    "prompts": f"SELECT count(*) FROM prompt WHERE {SEEN}",
    "transfers": """
SELECT count(*) FROM transfer
WHERE :task = '' OR transfer.task_id = (SELECT id FROM task WHERE name = :task)
""",
}

ALL = 1 << 62
"""More rows than any table has."""

Ask = Callable[..., Any]


@contextmanager
def _asking(engine: Engine) -> Iterator[Ask]:
    """``ask(query, types, **parameters)`` over one connection; ``types`` of columns that are not plain.

    Rows are made of answers inside, so that what a damaged cell breaks is one line.
    """

    def ask(query: str, types: dict[str, Any] | None = None, **parameters: Any) -> Any:
        return connection.execute(text(query).columns(**types or {}), parameters)

    with database_errors(engine.url), engine.connect() as connection, sound_reading(connection):
        yield ask


def list_recyclers(engine: Engine) -> Rows:
    """Maps between backbones, newest first, with how well each does on pieces that it was not fitted on."""
    columns = ("recycler", "of", "for", "method", "shared pieces", "cosine", "error", "created")
    with _asking(engine) as ask:
        rows = [
            dict(zip(columns, values, strict=True))
            for values in ask(RECYCLERS, {"created": UtcTime})
        ]
        return [
            row | {"recycler": row["recycler"][:12], "created": row["created"].isoformat()}
            for row in rows
        ]


def list_tasks(engine: Engine) -> Rows:
    """Tasks with their number of runs by role, and the tags of these."""
    rows: dict[str, dict[str, Any]] = {}
    with _asking(engine) as ask:
        for name, family, role, count in ask(TASKS):
            rows.setdefault(name, {"task": name, "family": family} | dict.fromkeys(ROLES, 0))[
                role
            ] = count
        tags = _lists(ask(TASK_TAGS))
    return [row | {"tags": tags.get(name, [])} for name, row in rows.items()]


def _lists(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The second of each pair, in lists by the first."""
    lists: dict[str, list[str]] = {}
    for name, item in pairs:
        lists.setdefault(name, []).append(item)
    return lists


def count(
    engine: Engine, what: str, *, task: str = "", role: str = "", removed: bool = False
) -> int:
    """How many ``runs``, ``prompts`` or ``transfers`` there are to list, of one task or role if given."""
    with _asking(engine) as ask:
        return int(ask(COUNTS[what], task=task, role=role, there=not removed).scalar_one())


def list_runs(
    engine: Engine, *, task: str = "", role: str = "", limit: int = 0, removed: bool = False
) -> Rows:
    """Runs, newest first; of one task or role if given, and no more than a limit that is not 0.

    Those that are removed are listed alone, with the time of that, or not at all.
    """
    columns = (
        "run", "task", "role", "seed", "backbone", "length", "key step", "steps", "metric", "score", FLOOR, "seconds",
        "removed",
    )  # fmt: skip
    types = {"environment": JSON, "removed": UtcTime}
    with _asking(engine) as ask:
        answer = ask(RUNS, types, task=task, role=role, limit=limit or ALL, there=not removed)
        rows = [dict(zip(columns, values, strict=True)) for values in answer]
        tags = _lists(ask(TAGS))
        return [_run_row(row, tags.get(row["run"], [])) for row in rows]


def _run_row(row: dict[str, Any], tags: list[str]) -> dict[str, Any]:
    """A row as it is listed; when a run was removed stands only in rows of removed ones."""
    removed = row.pop("removed")
    shown = {
        "run": row["run"][:12],
        FLOOR: row[FLOOR].get(FLOOR),
        "seconds": round(row["seconds"], 1),
        "partial_data": bool(row[FLOOR].get(PARTIAL)),
        "tags": tags,
    }
    return row | shown | ({"removed": removed.isoformat()} if removed else {})


def show_run(engine: Engine, digest: str) -> dict[str, Any]:
    """Everything about one run: recipe, snapshots, metrics, history, where it started, who used it.

    Raises:
        BankError: no such run, or several whose digests begin so.
    """
    with _asking(engine) as ask:
        run = _run_named(ask, digest_named(ask, digest))
        snapshots = ask(SNAPSHOTS, {"shape": JSON}, run=run["id"]).all()
        evaluations = ask(EVALUATIONS, {"decoding": JSON, "metrics": JSON}, run=run["id"])
        removed = run["removed"]
        return {
            "run": run["digest"],
            "task": run["task"],
            "family": run["task_family"],
            **{name: run[name] for name in ("role", "seed", "steps", "metric", "score", "metrics")},
            "backbone": {
                "name": run["backbone"],
                "fingerprint": run["fingerprint"],
                "width": run["width"],
            },
            "recipe": run["options"],
            "recipe family": run["recipe_family"],
            "snapshots": [_snapshot(*row) for row in snapshots],
            "evaluations": [dict(row) for row in evaluations.mappings().all()],
            "started from": run["started_from"],
            "source of transfers": [
                {"transfer": transfer[:12], "target": target, "rank": rank}
                for transfer, target, rank in ask(USES, run=run["id"]).all()
            ],
            "environment": run["environment"],
            "partial_data": bool(run["environment"].get(PARTIAL)),
            "seconds": run["seconds"],
            "created": run["created"].isoformat(),
            "tags": _lists(ask(TAGS)).get(run["digest"], []),
            **({"removed": removed.isoformat()} if removed else {}),
            "history": run["history"],
        }


def _run_named(ask: Ask, digest: str) -> Mapping[str, Any]:
    """The row of :data:`RUN` whose digest this is, or begins so.

    Raises:
        BankError: none, or several.
    """
    types = {
        "metrics": JSON,
        "options": JSON,
        "environment": JSON,
        "history": JSON,
        "created": UtcTime,
        "removed": UtcTime,
    }
    whole = len(digest) == DIGEST  # found by its index
    query = RUN.format(
        matches="run.digest = :digest" if whole else "substr(run.digest, 1, :length) = :digest"
    )
    given = {"digest": digest} | ({} if whole else {"length": len(digest)})
    runs = ask(query, types, **given).mappings().all()
    if len(runs) != 1 or not digest:
        raise unknown_run(digest, ambiguous=bool(runs))
    run: Mapping[str, Any] = runs[0]
    return run


def _snapshot(
    kind: str,
    step: int,
    score: float | None,
    prompt: str,
    length: int,
    width: int,
    shape: list[int] | None,
) -> dict[str, Any]:
    return {
        "kind": kind,
        "step": step,
        "score": score,
        "prompt": prompt,
        "shape": shape or [length, width],
    }


def unknown_run(digest: str, *, ambiguous: bool) -> BankError:
    """What to say of a digest that names no single run."""
    state = "is ambiguous; give more of its digest" if ambiguous else "is not in the bank"
    return BankError(f"run {digest!r} {state}; `spot bank runs` lists them")


def list_prompts(engine: Engine, *, limit: int = 0) -> Rows:
    """Stored prompts and the runs they are snapshots of, newest first; no more prompts than a limit that is not 0."""
    columns = ("prompt", "length", "width", "shape", "kind", "step", "task", "seed", "run")
    with _asking(engine) as ask:
        rows = [
            dict(zip(columns, values, strict=True))
            for values in ask(PROMPTS, {"shape": JSON}, limit=limit or ALL)
        ]
        return [
            row
            | {
                "prompt": row["prompt"][:12],
                "shape": row["shape"] or [row["length"], row["width"]],
                "run": row["run"] and row["run"][:12],
            }
            for row in rows
        ]


def list_transfers(engine: Engine, *, task: str = "", limit: int = 0) -> Rows:
    """Transfers with their ranked sources, what each gave, the baseline and the outcome; newest first, and no more than
    a limit that is not 0."""
    columns = ("rank", "task", "seed", "similarity", "weight", "dev score", "steps")
    types = {
        "baseline": JSON,
        "outcome": JSON,
        "created": UtcTime,
        "options": JSON,
        "environment": JSON,
    }
    sources: dict[int, Rows] = {}
    with _asking(engine) as ask:
        transfers = ask(TRANSFERS, types, task=task, limit=limit or ALL).mappings().all()
        oldest = transfers[-1]["id"] if transfers else 0
        for transfer, *values in ask(CANDIDATES, task=task, oldest=oldest):
            sources.setdefault(transfer, []).append(dict(zip(columns, values, strict=True)))
        titles = ("target", "method", "similarity", "budget", "steps", "seed", "metric")
        return [
            {
                "transfer": row["digest"][:12],
                **{name: row[name] for name in titles},
                "baseline": (row["baseline"] or {}).get(row["metric"]),
                "outcome": row["outcome"].get(row["metric"]),
                FLOOR: (row["options"] or {}).get("floor"),
                "partial_data": bool((row["environment"] or {}).get(PARTIAL)),
                "sources": sources.get(row["id"], []),
                "created": row["created"].isoformat(),
            }
            for row in transfers
        ]
