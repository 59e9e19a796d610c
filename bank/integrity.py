"""Integrity of a bank: what each cell may hold, and what rows say of each other. Nothing in a cell stops the rest.

First every cell is held against its column (:data:`bank.cells.COLUMNS`), and what it cannot be is named and left out;
then every row against the others (``CHECKS``), where each check sees sound cells or ``None``.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, UniqueConstraint, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from bank import schema
from bank.cells import CORRELATIONS, TOLERANCE, Contents, Problems, Row, as_bytes, cut
from bank.driver_errors import database_errors
from bank.errors import reason
from bank.identity import (
    IMPORTED,
    SHAPING,
    first_transfer_digest,
    imported_digest,
    recipe_digest,
    recipe_family,
    run_digest,
    transfer_digest,
)
from bank.records import ROLES
from bank.store import Bank
from bank.vectors import belong, prompt_sha256
from bank.versions import added_later, current_version, home, new_later

LINE = 300
"""The longest line about one problem."""


def verify(bank: Bank) -> list[str]:
    """Problems found, a line each; empty if the bank is sound.

    Raises:
        BankError: the database cannot be read at all.
    """
    with database_errors(bank.engine.url), bank.engine.connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        problems = list(_schema_problems(connection, current_version(connection, bank.engine.url)))
        raw: Any = connection.connection.dbapi_connection
        if sqlite:
            raw.text_factory = lambda content: content.decode("utf-8", "surrogateescape")
        try:
            problems += _all_problems(connection, sqlite=sqlite)
        finally:
            if sqlite:
                raw.text_factory = str
    return list(dict.fromkeys(map(_one_line, problems)))


def _all_problems(connection: Connection, *, sqlite: bool) -> Problems:
    if sqlite:
        try:
            yield from (
                f"database: {line}"
                for line in connection.execute(text("PRAGMA integrity_check")).scalars()
                if line != "ok"
            )
        except SQLAlchemyError as error:
            yield f"database: {reason(error)}"
    contents = Contents()
    for table in schema.Base.metadata.sorted_tables:
        yield from contents.read(connection, table.name)
    for table in schema.Base.metadata.sorted_tables:
        yield from _doubles(contents, table.name)
        yield from _lost_references(contents, table.name)
    for name, checks in CHECKS.items():
        for row in contents.tables.get(name, {}).values():
            for check in checks:
                yield from _guarded(str(row), lambda check=check, row=row: check(row, contents))  # type: ignore[misc]
    if sqlite:
        yield from _guarded("prompts", lambda: _out_of_order(contents))
    yield from _prompt_problems(connection, contents)


def _guarded(what: str, check: Callable[[], Iterable[str]]) -> Problems:
    try:
        yield from check()
    except Exception as error:  # whatever a cell holds
        yield f"{what}: cannot be checked ({reason(error)})"


def _one_line(problem: str) -> str:
    line = " ".join(problem.encode("utf-8", "backslashreplace").decode().split())
    return line if len(line) <= LINE else f"{line[:LINE]} ..."


# -- the schema ----------------------------------------------------------------------------------------------


def _schema_problems(connection: Connection, version: str | None) -> Problems:
    """Tables, columns, indexes and constraints that are missing."""
    found, place = inspect(connection), home(connection)
    tables = set(found.get_table_names(place))
    for table in schema.Base.metadata.sorted_tables:
        name = table.name
        if name not in tables:
            if name not in new_later(version or ""):
                yield f"schema: table {name} is missing"
            continue
        held = {column["name"] for column in found.get_columns(name, place)}
        expected: dict[str, set[Any]] = {
            "column": {column.name for column in table.columns} - added_later(version or "", name),
            "index": {index.name for index in table.indexes},
            "unique constraint on": {
                ", ".join(c.name for c in one.columns) for one in table.constraints if isinstance(one, UniqueConstraint)
            },
            "reference of": {key.parent.name for key in table.foreign_keys},
        }
        present: dict[str, set[Any]] = {
            "column": held,
            "index": {index["name"] for index in found.get_indexes(name, place)},
            "unique constraint on": {
                ", ".join(one["column_names"]) for one in found.get_unique_constraints(name, place)
            },
            "reference of": {
                column for key in found.get_foreign_keys(name, place) for column in key["constrained_columns"]
            },
        }
        for kind, names in expected.items():
            for lost in sorted(names - present[kind]):
                yield f"schema: {kind} {lost} of {name} is missing"


# -- rows against each other ---------------------------------------------------------------------------------


def _doubles(contents: Contents, name: str) -> Problems:
    for one in schema.Base.metadata.tables[name].constraints:
        if isinstance(one, UniqueConstraint):
            columns = [column.name for column in one.columns]
            counts = Counter(tuple(row[c] for c in columns) for row in contents.tables[name].values())
            for values, count in counts.items():
                if count > 1 and None not in values:
                    yield f"{name}: {count} rows have the same {', '.join(columns)} ({', '.join(map(str, values))})"


def _lost_references(contents: Contents, name: str) -> Problems:
    for key in schema.Base.metadata.tables[name].foreign_keys:
        parent = key.column.table.name
        if parent in contents.unread:
            continue
        for row in contents.tables[name].values():
            if row[key.parent.name] is not None and row[key.parent.name] not in contents.tables[parent]:
                yield f"database: row {row.id} of {name} refers to a missing {parent} ({key.parent.name})"


def _same(one: Any, other: Any) -> bool:
    return one is None or other is None or abs(one - other) <= TOLERANCE


def backbone_width(row: Row, contents: Contents) -> Problems:
    for name in ("d_model", "hidden_size", "width"):
        said = (row["config"] or {}).get(name)
        if said is not None and row["width"] is not None and said != row["width"]:
            yield f"{row}: is {row['width']} wide, but its config says {name} {said}"


def is_used(row: Row, contents: Contents) -> Problems:
    by = {"backbone": ("recipe", "backbone_id"), "recipe": ("run", "recipe_id"), "task": ("run", "task_id")}
    table, column = by[row.table]
    if table not in contents.unread and not contents.children(table, column, row.id):
        yield f"{row}: no {table} belongs to it"


def task_description(row: Row, contents: Contents) -> Problems:
    family = (row["description"] or {}).get("family", row["family"])
    if row["family"] is not None and family != row["family"]:
        yield f"{row}: is of family {row['family']}, but its description says {cut(family)}"
    members = (row["description"] or {}).get("tasks", [])
    if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
        yield f"{row}: its description names as tasks {cut(members)}, expected a list of names"
    elif row["description"] is not None and "member" not in contents.unread:
        stored = {member["name"] for member in contents.children("member", "task_id", row.id)}
        if stored != set(members):
            yield f"{row}: its members are {cut(sorted(map(str, stored)))}, its description says {cut(sorted(members))}"
    if row["texts"] is not None and len(row["texts"]) % 8:
        yield f"{row}: its hashes of texts end within one"


def recipe_digests(row: Row, contents: Contents) -> Problems:
    backbone, options = contents.parent(row, "backbone_id"), row["options"]
    for name in ("prompt_length", "key_step"):
        said = (options or {}).get(name, row[name])
        if row[name] is not None and said != row[name]:
            yield f"{row}: has {name} {row[name]}, but its options say {cut(said)}"
    if options is not None and set(SHAPING) <= options.keys() and row["family"] not in (None, recipe_family(options)):
        yield f"{row}: its family does not follow from its options"
    parts = (backbone and backbone["fingerprint"], *(row[n] for n in ("prompt_length", "key_step", "family")), options)
    if None not in parts and row["digest"] not in (None, recipe_digest(*parts)):
        yield f"{row}: its digest does not follow from its content"


def prompt_shape(row: Row, contents: Contents) -> Problems:
    last = [row["length"], row["width"]]
    if row["shape"] is not None and None not in last and row["shape"][-2:] != last:
        yield f"{row}: has shape {row['shape']}, whose last axes are not {last}"


def run_digests(row: Row, contents: Contents) -> Problems:
    recipe, task = contents.parent(row, "recipe_id"), contents.parent(row, "task_id")
    if recipe is None or task is None or row["data"] is None:
        return  # the first release did not store the digest of the data
    parts = (recipe["digest"], task["name"], row["data"], row["seed"], row["role"])
    if None not in parts and row["digest"] not in (None, run_digest(*parts, row["started_from"])):
        yield f"{row}: its digest does not follow from its content"


def run_snapshots(row: Row, contents: Contents) -> Problems:
    recipe = contents.parent(row, "recipe_id")
    shapes: list[Any] = []
    for kind in ("value", "key"):
        snapshot = contents.snapshot(row, kind)
        if snapshot is None:
            if kind == "value" or row["role"] in ("source", "query"):
                yield f"{row}: has no {kind} prompt"
            continue
        prompt = contents.parent(snapshot, "prompt_id")
        backbone = recipe and contents.parent(recipe, "backbone_id")
        if prompt and recipe and backbone:
            shape, expected = (prompt["length"], prompt["width"]), (recipe["prompt_length"], backbone["width"])
            if None not in (*shape, *expected) and shape != expected:
                yield f"{row}: its {kind} has shape {list(shape)}, its recipe and backbone {list(expected)}"
        shapes.append(prompt and prompt["shape"])
        if None not in (snapshot["step"], row["steps"]) and snapshot["step"] > row["steps"]:
            yield f"{row}: its {kind} is of step {snapshot['step']}, after its {row['steps']} steps"
    if len(shapes) == 2 and shapes[0] != shapes[1]:
        yield f"{row}: its key and value have different shapes"
    key = contents.snapshot(row, "key")
    if key and recipe and None not in (key["step"], recipe["key_step"]) and key["step"] != recipe["key_step"]:
        yield f"{row}: its key is of step {key['step']}, its recipe's key step is {recipe['key_step']}"


def run_steps(row: Row, contents: Contents) -> Problems:
    recipe = contents.parent(row, "recipe_id")
    options = (recipe and recipe["options"]) or {}
    if recipe is None or "steps" not in options or None in (row["steps"], recipe["key_step"]):
        return
    planned = recipe["key_step"] if row["role"] == "query" else options["steps"]
    early = recipe["key_step"] if options.get("patience") else planned
    if not early <= row["steps"] <= planned:
        yield f"{row}: took {row['steps']} steps, its recipe plans {planned}"


def run_scores(row: Row, contents: Contents) -> Problems:
    score, metrics, history, metric = (row[name] for name in ("score", "metrics", "history", "metric"))
    value = contents.snapshot(row, "value")
    low = -100 if CORRELATIONS & {metric, *(metrics or {})} else 0
    if score is not None and not low - TOLERANCE <= score <= 100 + TOLERANCE:
        yield f"{row}: its score {score:g} lies outside {low} to 100"
    if metrics and metric is not None:
        if metric not in metrics:
            yield f"{row}: its metrics do not tell its metric {metric}"
        elif not _same(score, metrics[metric]):
            yield f"{row}: its score is {score:g}, its metrics say {metrics[metric]:g}"
    if value and not _same(value["score"], score):
        yield f"{row}: its score is {score:g}, that of its value {value['score']:g}"
    recipe = contents.parent(row, "recipe_id")
    trained = recipe is not None and set(SHAPING) <= (recipe["options"] or {}).keys()
    if history:
        yield from _history_problems(row, history, value)
    elif history is not None and trained:
        yield f"{row}: was trained, but has no history"


def _history_problems(row: Row, history: list[dict[str, float]], value: Row | None) -> Problems:
    steps, metric, score = [evaluation["step"] for evaluation in history], row["metric"], row["score"]
    if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        yield f"{row}: its history does not go forward in steps"
    if row["steps"] is not None and steps[-1] != row["steps"]:
        yield f"{row}: its history ends at step {steps[-1]:g}, its training at {row['steps']}"
    if metric is None or not all(metric in evaluation for evaluation in history):
        yield f"{row}: its history does not tell its metric {metric}"
        return
    best = max(evaluation[metric] for evaluation in history)
    if not _same(best, score):
        yield f"{row}: its score is {score:g}, the best of its history {best:g}"
    if not row["metrics"] and row["metrics"] is not None:
        yield f"{row}: has a history, but no metrics"
    if value is None or value["step"] is None:
        return
    if row.raw.get("score") is not None and value["score"] is None:
        yield f"{row}: its value has no score"
    taken = next((evaluation for evaluation in history if evaluation["step"] == value["step"]), None)
    if taken is None:
        yield f"{row}: its value is of step {value['step']}, which was not evaluated"
        return
    if not _same(taken[metric], best):
        yield f"{row}: its value is of step {value['step']} with {taken[metric]:g}, its best was {best:g}"
    for name, said in (row["metrics"] or {}).items():
        if not _same(taken.get(name), said):
            yield f"{row}: its {name} is {said:g}, its history says {taken[name]:g}"


def run_start(row: Row, contents: Contents) -> Problems:
    import numpy as np

    recipe = contents.parent(row, "recipe_id")
    backbone = recipe and contents.parent(recipe, "backbone_id")
    if row["start"] is None or not backbone or backbone["width"] is None:
        return
    value = contents.snapshot(row, "value")
    prompt = value and contents.parent(value, "prompt_id")
    width = backbone["width"] * math.prod(((prompt and prompt["shape"]) or ())[:-2])
    if len(row["start"]) != 4 * width:
        yield f"{row}: its start has {len(row['start']) / 4:g} numbers, expected {width}"
    elif not np.isfinite(np.frombuffer(row["start"], "<f4")).all():
        yield f"{row}: its start is not finite"


def evaluation_fits(row: Row, contents: Contents) -> Problems:
    run = contents.parent(row, "run_id")
    name = f"evaluation {row.id} of {run}"
    if row["answers"] is not None and not row["answers"]:
        yield f"{name}: has no answers"
    others = contents.children("evaluation", "data", row["data"]) if row["data"] else []
    for other in others[:1]:
        first = contents.parent(other, "run_id")
        if run and first and run["task_id"] != first["task_id"]:
            yield f"{name}: is of the data of another task's evaluation {other.id}"
        counts = [len(one["answers"]) for one in (row, other) if one["answers"] is not None]
        if len(set(counts)) > 1:
            yield f"{name}: has {counts[0]} answers, evaluation {other.id} of the same data {counts[1]}"


def transfer_runs(row: Row, contents: Contents) -> Problems:
    query = contents.parent(row, "query_run_id")
    roles = {"query_run_id": ("query", "baseline"), "baseline_run_id": ("baseline",), "chosen_run_id": ROLES[1:]}
    for column, allowed in roles.items():
        run, name = contents.parent(row, column), column.removesuffix("_run_id")
        if run is None:
            continue
        if run["role"] is not None and run["role"] not in allowed:
            yield f"{row}: its {name} run {run['digest'][:12]} has the role {run['role']}"
        yield from _of_its_kind(row, f"its {name} run", run, query)
    chosen, candidates = row["chosen_run_id"], contents.children("candidate", "transfer_id", row.id)
    ended = [one["run_id"] for one in candidates if one["run_id"] is not None]
    if chosen is not None and chosen not in (row["query_run_id"], row["baseline_run_id"], *ended):
        yield f"{row}: its chosen run is none of its own"
    run = contents.parent(row, "chosen_run_id")
    scores = [one["score"] for one in candidates if one["run_id"] is not None and one["score"] is not None]
    if run and run["score"] is not None and scores and max(scores) > run["score"] + TOLERANCE:
        yield f"{row}: chose a run with {run['score']:g}, another had {max(scores):g}"


def _of_its_kind(row: Row, name: str, run: Row, query: Row | None) -> Problems:
    """A transfer's runs are of its task, its seed, and one recipe."""
    for column, what in (("task_id", "another task"), ("seed", "another seed")):
        if None not in (run[column], row[column]) and run[column] != row[column]:
            yield f"{row}: {name} {(run['digest'] or '')[:12]} is of {what}"
    if query and None not in (run["recipe_id"], query["recipe_id"]) and run["recipe_id"] != query["recipe_id"]:
        yield f"{row}: {name} {(run['digest'] or '')[:12]} is of another recipe than its query"


def transfer_metrics(row: Row, contents: Contents) -> Problems:
    if row["method"] != IMPORTED and (row.raw.get("baseline_run_id") is None) != (
        row.raw.get("baseline_metrics") in (None, "null")
    ):
        yield f"{row}: has a baseline run without metrics, or metrics without a run"
    for name in ("outcome", "baseline"):
        metrics = row[f"{name}_metrics"]
        if metrics is None or row["method"] == IMPORTED:
            continue
        if row["metric"] is not None and row["metric"] not in metrics:
            yield f"{row}: its {name} metrics do not tell its metric {row['metric']}"
        run = row["chosen_run_id" if name == "outcome" else "baseline_run_id"]
        known = [one["metrics"] for one in contents.children("evaluation", "run_id", run) if one["metrics"] is not None]
        if known and not any(
            metrics.keys() == one.keys() and all(_same(metrics[n], one[n]) for n in one) for one in known
        ):
            yield f"{row}: its {name} metrics are not those that its run's answers had"


def transfer_candidates(row: Row, contents: Contents) -> Problems:
    candidates = contents.children("candidate", "transfer_id", row.id)
    ranked = sorted((one for one in candidates if one["rank"] is not None), key=lambda one: one["rank"])
    ranks = [one["rank"] for one in ranked]
    if "candidate" in contents.unread:
        return
    if ranks != list(range(1, len(candidates) + 1)):
        yield f"{row}: its candidates have the ranks {ranks}, expected 1 to {len(candidates)}"
    if row["top_k"] is not None and row["top_k"] != len(candidates):
        yield f"{row}: has {len(candidates)} candidates, expected {row['top_k']}"
    found = [one["similarity"] for one in ranked if one["similarity"] is not None]
    if any(later > earlier + TOLERANCE for earlier, later in itertools.pairwise(found)):
        yield f"{row}: its candidates are not ranked by their similarities"
    weights = [one["weight"] for one in candidates if row["method"] != IMPORTED]
    if weights and None not in weights and (min(weights) < -TOLERANCE or abs(sum(weights) - 1) > 1e-3):
        yield f"{row}: the weights of its candidates are {', '.join(f'{w:g}' for w in weights)}, expected shares of 1"


def transfer_single(row: Row, contents: Contents) -> Problems:
    """Whether each run started from one source is told by where they started, if there are several."""
    runs = [contents.parent(one, "run_id") for one in contents.children("candidate", "transfer_id", row.id)]
    starts = {run["started_from"] for run in runs if run and run["started_from"]}
    if row["single"] is False and (row["method"] == IMPORTED or len(starts) > 1):
        yield f"{row}: each of its runs has a source of its own, but it says that they share them"


def transfer_digests(row: Row, contents: Contents) -> Problems:
    task = contents.parent(row, "task_id")
    runs = {name: contents.parent(row, f"{name}_run_id") for name in ("query", "baseline", "chosen")}
    candidates = sorted(contents.children("candidate", "transfer_id", row.id), key=lambda one: one["rank"] or 0)
    sources = [contents.parent(one, "source_run_id") for one in candidates]
    asked: list[Any] = [task and task["name"], *(row[name] for name in ("method", "similarity", "seed", "budget"))]
    if None in (*asked, *sources, row["digest"], runs["query"], runs["chosen"]):
        return
    named: dict[str, Any] = {name: run and run["digest"] for name, run in runs.items()}
    names = [source["digest"] for source in sources if source is not None]
    if row["method"] == IMPORTED:  # what others measured of a target and seed is one
        right = imported_digest(named["query"])
    elif row["options"] is None:
        right = first_transfer_digest(*asked, query=named["query"], sources=names)
    else:
        starts = [(name, one["weight"]) for name, one in zip(names, candidates, strict=True)]
        right = transfer_digest(*asked, options=row["options"], **named, starts=starts)
    if row["digest"] != right:
        yield f"{row}: its digest does not follow from its content"


def candidate_runs(row: Row, contents: Contents) -> Problems:
    transfer = contents.parent(row, "transfer_id")
    source, run = contents.parent(row, "source_run_id"), contents.parent(row, "run_id")
    if transfer is None:
        return
    name, query = f"run of its candidate {row['rank']}", contents.parent(transfer, "query_run_id")
    if source:
        if source["role"] not in (None, "source"):
            yield f"{transfer}: the source of its candidate {row['rank']} has the role {source['role']}"
        if source["task_id"] is not None and source["task_id"] == transfer["task_id"]:
            yield f"{transfer}: its candidate {row['rank']} is a source of the target itself"
    if run:
        yield from _of_its_kind(transfer, f"the {name}", run, query)
        if run["role"] not in (None, "transfer"):
            yield f"{transfer}: the {name} has the role {run['role']}"
        if not _same(row["score"], run["score"]):
            yield f"{transfer}: its candidate {row['rank']} has the score {row['score']:g}, its run {run['score']:g}"
        if None not in (row["steps"], run["steps"]) and row["steps"] != run["steps"]:
            yield f"{transfer}: its candidate {row['rank']} took {row['steps']} steps, its run {run['steps']}"
        value = source and contents.snapshot(source, "value")
        prompt = value and contents.parent(value, "prompt_id")
        begun = run["started_from"]
        if transfer["single"] and prompt and begun and prompt["sha256"] not in (None, begun):
            yield f"{transfer}: the {name} did not start from the value of its source"
    if row["score"] is not None and not -100 - TOLERANCE <= row["score"] <= 100 + TOLERANCE:
        yield f"{transfer}: its candidate {row['rank']} has the score {row['score']:g}"


Check = Callable[[Row, Contents], Problems]

CHECKS: Mapping[str, tuple[Check, ...]] = {
    "backbone": (backbone_width, is_used),
    "task": (task_description, is_used),
    "recipe": (recipe_digests, is_used),
    "prompt": (prompt_shape,),
    "run": (run_digests, run_snapshots, run_steps, run_scores, run_start),
    "evaluation": (evaluation_fits,),
    "transfer": (transfer_runs, transfer_metrics, transfer_candidates, transfer_single, transfer_digests),
    "candidate": (candidate_runs,),
}
"""What is checked of each row beside its cells."""


# -- prompts -------------------------------------------------------------------------------------------------


def _out_of_order(contents: Contents) -> Problems:
    """Snapshots whose prompts were exchanged: a file numbers prompts in the order in which snapshots bring them."""
    first: dict[int, Row] = {}
    for snapshot in sorted(contents.tables["snapshot"].values(), key=lambda row: row.id):
        prompt = contents.parent(snapshot, "prompt_id")
        if prompt is not None:
            first.setdefault(prompt.id, snapshot)
    for brought, (prompt_id, snapshot) in zip(sorted(first), first.items(), strict=True):
        if brought != prompt_id:
            run = contents.parent(snapshot, "run_id")
            yield f"{run or snapshot}: its {snapshot['kind']} is a prompt that another snapshot brought"


def _prompt_problems(connection: Connection, contents: Contents) -> Problems:
    query = text(
        'SELECT prompt.id, sha256, length, width, "values", average, average_normalized, prompt_id '
        "FROM prompt LEFT JOIN key_vectors ON key_vectors.prompt_id = prompt.id ORDER BY prompt.id"
    ).execution_options(yield_per=64)
    try:
        for cells in connection.execute(query):
            row = contents.tables["prompt"].get(cells[0]) or Row("prompt", cells[0])
            yield from _guarded(str(row), lambda cells=cells, row=row: _one_prompt(row, cells))  # type: ignore[misc]
    except SQLAlchemyError as error:
        yield f"prompts: cannot be read ({reason(error)})"


def _one_prompt(row: Row, cells: Any) -> Problems:
    import numpy as np

    blobs = [None if cell is None else as_bytes(cell) for cell in cells[4:7]]
    if None in (row["length"], row["width"], blobs[0]):
        return
    values, *vectors = (None if blob is None else np.frombuffer(blob, "<f4", len(blob) // 4) for blob in blobs)
    assert values is not None
    shape = row["shape"] or [row["length"], row["width"]]
    if len(blobs[0] or b"") != 4 * math.prod(shape):
        yield f"{row}: {values.size} numbers stored, expected {' x '.join(map(str, shape))}"
        return
    values = values.reshape(shape)
    if row["sha256"] is not None and prompt_sha256(values) != row["sha256"]:
        yield f"{row}: checksum differs from its address"
        return
    if not np.isfinite(values).all():
        yield f"{row}: {int((~np.isfinite(values)).sum())} of {values.size} numbers are not finite"
        return
    average, normalized = vectors
    if average is None or normalized is None:
        yield f"{row}: has no key vectors"
    elif not belong(values, (average, normalized)):
        yield f"{row}: key vectors do not belong to it"
