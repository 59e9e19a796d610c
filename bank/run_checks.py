"""What rows about models, tasks, recipes, runs and their answers must say of each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from bank.cells import CORRELATIONS, TOLERANCE, cut, same
from bank.contents import Check, Contents, Problems, Row
from bank.identity import SHAPING, recipe_digest, recipe_family, recycler_digest, run_digest


def backbone_width(row: Row, contents: Contents) -> Problems:
    for name in ("d_model", "hidden_size", "width"):
        stated = (row["config"] or {}).get(name)
        if stated is not None and row["width"] is not None and stated != row["width"]:
            yield f"{row}: is {row['width']} wide, but its config says {name} {stated}"


def is_used(row: Row, contents: Contents) -> Problems:
    by = {
        "backbone": (
            ("recipe", "backbone_id"), ("recycler", "source_id"), ("recycler", "target_id"),
        ),
        "recipe": (("run", "recipe_id"),),
        "task": (("run", "task_id"),),
    }[row.table]  # fmt: skip
    if not any(
        table in contents.unread or contents.children(table, column, row.id) for table, column in by
    ):
        yield f"{row}: no {by[0][0]} belongs to it"


def recycler_digests(row: Row, contents: Contents) -> Problems:
    backbones = [contents.parent(row, column) for column in ("source_id", "target_id")]
    parts: list[Any] = [backbone and backbone["fingerprint"] for backbone in backbones]
    parts += [row["method"], row["numbers"]]
    if None not in parts and row["digest"] not in (None, recycler_digest(*parts)):
        yield f"{row}: its digest does not follow from its content"


def task_description(row: Row, contents: Contents) -> Problems:
    family = (row["description"] or {}).get("family", row["family"])
    if row["family"] is not None and family != row["family"]:
        yield f"{row}: is of family {row['family']}, but its description says {cut(family)}"
    if row["description"] is not None and "member" not in contents.unread:
        members = row["description"].get("tasks", [])
        stored = {member["name"] for member in contents.children("member", "task_id", row.id)}
        if stored != set(members):
            yield f"{row}: its members are {cut(sorted(map(str, stored)))}, its description says {cut(sorted(members))}"
    if row["texts"] is not None and len(row["texts"]) % 8:
        yield f"{row}: its hashes of texts end within one"


def recipe_digests(row: Row, contents: Contents) -> Problems:
    backbone, options = contents.parent(row, "backbone_id"), row["options"]
    for name in ("prompt_length", "key_step"):
        stated = (options or {}).get(name, row[name])
        if row[name] is not None and stated != row[name]:
            yield f"{row}: has {name} {row[name]}, but its options say {cut(stated)}"
    if (
        options is not None
        and set(SHAPING) <= options.keys()
        and row["family"] not in (None, recipe_family(options))
    ):
        yield f"{row}: its family does not follow from its options"
    parts = (
        backbone and backbone["fingerprint"],
        *(row[n] for n in ("prompt_length", "key_step", "family")),
        options,
    )
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
            shape, expected = (
                (prompt["length"], prompt["width"]),
                (recipe["prompt_length"], backbone["width"]),
            )
            if None not in (*shape, *expected) and shape != expected:
                yield f"{row}: its {kind} has shape {list(shape)}, its recipe and backbone {list(expected)}"
        shapes.append(prompt and prompt["shape"])
        if None not in (snapshot["step"], row["steps"]) and snapshot["step"] > row["steps"]:
            yield f"{row}: its {kind} is of step {snapshot['step']}, after its {row['steps']} steps"
    own, value = (
        snapshot and contents.parent(snapshot, "prompt_id")
        for snapshot in (contents.snapshot(row, kind) for kind in ("own", "value"))
    )
    if own and value:
        length, width = own["length"], own["width"]
        known = None not in (length, width, value["length"], value["width"])
        if known and (width != value["width"] or length > value["length"]):
            yield f"{row}: its own part has shape {[length, width]}, which is none of its value's"
    if len(shapes) == 2 and shapes[0] != shapes[1]:
        yield f"{row}: its key and value have different shapes"
    key = contents.snapshot(row, "key")
    if (
        key
        and recipe
        and None not in (key["step"], recipe["key_step"])
        and key["step"] != recipe["key_step"]
    ):
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
    score, metrics, history, metric = (
        row[name] for name in ("score", "metrics", "history", "metric")
    )
    value = contents.snapshot(row, "value")
    low = -100 if CORRELATIONS & {metric, *(metrics or {})} else 0
    if score is not None and not low - TOLERANCE <= score <= 100 + TOLERANCE:
        yield f"{row}: its score {score:g} lies outside {low} to 100"
    if metrics and metric is not None:
        if metric not in metrics:
            yield f"{row}: its metrics do not tell its metric {metric}"
        elif not same(score, metrics[metric]):
            yield f"{row}: its score is {score:g}, its metrics say {metrics[metric]:g}"
    if value and not same(value["score"], score):
        yield f"{row}: its score is {score:g}, that of its value {value['score']:g}"
    recipe = contents.parent(row, "recipe_id")
    trained = recipe is not None and set(SHAPING) <= (recipe["options"] or {}).keys()
    if history:
        yield from _history_problems(row, history, value)
    elif history is not None and trained:
        yield f"{row}: was trained, but has no history"


def _history_problems(row: Row, history: list[dict[str, float]], value: Row | None) -> Problems:
    steps, metric, score = (
        [evaluation["step"] for evaluation in history],
        row["metric"],
        row["score"],
    )
    if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        yield f"{row}: its history does not go forward in steps"
    if row["steps"] is not None and steps[-1] != row["steps"]:
        yield f"{row}: its history ends at step {steps[-1]:g}, its training at {row['steps']}"
    if metric is None or not all(metric in evaluation for evaluation in history):
        yield f"{row}: its history does not tell its metric {metric}"
        return
    best = max(evaluation[metric] for evaluation in history)
    if not same(best, score):
        yield f"{row}: its score is {score:g}, the best of its history {best:g}"
    if not row["metrics"] and row["metrics"] is not None:
        yield f"{row}: has a history, but no metrics"
    if value is None or value["step"] is None:
        return
    if row.has("score") and value["score"] is None:
        yield f"{row}: its value has no score"
    taken = next(
        (evaluation for evaluation in history if evaluation["step"] == value["step"]), None
    )
    if taken is None:
        yield f"{row}: its value is of step {value['step']}, which was not evaluated"
        return
    if not same(taken[metric], best):
        yield f"{row}: its value is of step {value['step']} with {taken[metric]:g}, its best was {best:g}"
    for name, stated in (row["metrics"] or {}).items():
        if not same(taken.get(name), stated):
            yield f"{row}: its {name} is {stated:g}, its history says {taken[name]:g}"


def run_start(row: Row, contents: Contents) -> Problems:
    recipe = contents.parent(row, "recipe_id")
    backbone = recipe and contents.parent(recipe, "backbone_id")
    if row["start"] is None or not backbone or backbone["width"] is None:
        return
    value = contents.snapshot(row, "value")
    prompt = value and contents.parent(value, "prompt_id")
    width = backbone["width"] * math.prod(((prompt and prompt["shape"]) or ())[:-2])
    if row["start"].size != width:
        yield f"{row}: its start has {row['start'].size:g} numbers, expected {width}"
    elif not row["start"].finite:
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
        counts = [
            len(either["answers"]) for either in (row, other) if either["answers"] is not None
        ]
        if len(set(counts)) > 1:
            yield f"{name}: has {counts[0]} answers, evaluation {other.id} of the same data {counts[1]}"


CHECKS: Mapping[str, tuple[Check, ...]] = {
    "backbone": (backbone_width, is_used),
    "recycler": (recycler_digests,),
    "task": (task_description, is_used),
    "recipe": (recipe_digests, is_used),
    "prompt": (prompt_shape,),
    "run": (run_digests, run_snapshots, run_steps, run_scores, run_start),
    "evaluation": (evaluation_fits,),
}
