"""What rows about transfers and their candidates must say of each other and of their runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from bank.cells import TOLERANCE, same
from bank.contents import Check, Contents, Problems, Row
from bank.identity import IMPORTED, first_transfer_digest, imported_digest, transfer_digest
from bank.records import ROLES


def transfer_runs(row: Row, contents: Contents) -> Problems:
    trained = contents.parent(row, "chosen_run_id")
    roles = {
        "query_run_id": ("query", "baseline"),
        "baseline_run_id": ("baseline",),
        "chosen_run_id": ROLES[1:],
    }
    for column, allowed in roles.items():
        run, name = contents.parent(row, column), column.removesuffix("_run_id")
        if run is None:
            continue
        if run["role"] is not None and run["role"] not in allowed:
            yield f"{row}: its {name} run {run['digest'][:12]} has the role {run['role']}"
        compared = None if name == "query" else trained
        yield from _of_its_kind(row, f"its {name} run", run, compared, contents)
    yield from _query_recipe(row, contents)
    chosen, candidates = row["chosen_run_id"], contents.children("candidate", "transfer_id", row.id)
    ended = [candidate for candidate in candidates if candidate["run_id"] is not None]
    possible = {
        row["query_run_id"],
        row["baseline_run_id"],
        *(candidate["run_id"] for candidate in ended),
    }
    if chosen is not None and chosen not in possible:
        yield f"{row}: its chosen run is none of its own"
    run = contents.parent(row, "chosen_run_id")
    scores = [candidate["score"] for candidate in ended if candidate["score"] is not None]
    if run and run["score"] is not None and scores and max(scores) > run["score"] + TOLERANCE:
        yield f"{row}: chose a run with {run['score']:g}, another had {max(scores):g}"


def _of_its_kind(
    row: Row, name: str, run: Row, trained: Row | None, contents: Contents
) -> Problems:
    """A transfer's runs are of its task and its seed, and those that it compares of one recipe but for their form."""
    for column, what in (("task_id", "another task"), ("seed", "another seed")):
        if None not in (run[column], row[column]) and run[column] != row[column]:
            yield f"{row}: {name} {(run['digest'] or '')[:12]} is of {what}"
    if trained and not _alike(run, trained, contents):
        yield f"{row}: {name} {(run['digest'] or '')[:12]} is of another recipe than its chosen run"


def _alike(run: Row, other: Row, contents: Contents) -> bool:
    """Whether two runs are of one recipe, or of two that differ in the form of their prompts alone."""
    if None in (run["recipe_id"], other["recipe_id"]) or run["recipe_id"] == other["recipe_id"]:
        return True
    recipes = [contents.parent(each, "recipe_id") for each in (run, other)]
    options = [recipe and recipe["options"] for recipe in recipes]
    mine, theirs = ({**each, "form": ""} if each else None for each in options)
    return mine is not None and mine == theirs


def _query_recipe(row: Row, contents: Contents) -> Problems:
    """A query may be trained by the sources' recipe: its prompt is as long as theirs, or as the target's, of the same
    backbone."""
    query, chosen = (contents.parent(row, f"{name}_run_id") for name in ("query", "chosen"))
    asked, trained = (run and contents.parent(run, "recipe_id") for run in (query, chosen))
    if query is None or asked is None or trained is None:
        return
    name = f"{row}: its query run {(query['digest'] or '')[:12]}"
    backbones = {asked["backbone_id"], trained["backbone_id"]}
    if len(backbones) > 1 and None not in backbones:
        yield f"{name} is of another backbone than its chosen run"
    lengths = {trained["prompt_length"], *_source_lengths(row, contents)}
    if asked["prompt_length"] is not None and not lengths & {asked["prompt_length"], None}:
        yield f"{name} is of another prompt length than its chosen run"


def _source_lengths(row: Row, contents: Contents) -> Iterator[int | None]:
    """How long the values are that a transfer started from."""
    for candidate in contents.children("candidate", "transfer_id", row.id):
        if prompt := _value_of(contents.parent(candidate, "source_run_id"), contents):
            yield prompt["length"]


def _value_of(run: Row | None, contents: Contents) -> Row | None:
    """The prompt that is a run's value."""
    value = run and contents.snapshot(run, "value")
    return value and contents.parent(value, "prompt_id")


def transfer_metrics(row: Row, contents: Contents) -> Problems:
    if row["method"] != IMPORTED and row.has("baseline_run_id") != row.has("baseline_metrics"):
        yield f"{row}: has a baseline run without metrics, or metrics without a run"
    for name in ("outcome", "baseline"):
        metrics = row[f"{name}_metrics"]
        if metrics is None or row["method"] == IMPORTED:
            continue
        if row["metric"] is not None and row["metric"] not in metrics:
            yield f"{row}: its {name} metrics do not tell its metric {row['metric']}"
        run = row["chosen_run_id" if name == "outcome" else "baseline_run_id"]
        evaluations = contents.children("evaluation", "run_id", run)
        known = [
            evaluation["metrics"] for evaluation in evaluations if evaluation["metrics"] is not None
        ]
        if known and not any(_same_metrics(metrics, other) for other in known):
            yield f"{row}: its {name} metrics are not those that its run's answers had"


def _same_metrics(metrics: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return metrics.keys() == other.keys() and all(
        same(metrics[name], other[name]) for name in other
    )


def transfer_candidates(row: Row, contents: Contents) -> Problems:
    candidates = contents.children("candidate", "transfer_id", row.id)
    with_rank = [candidate for candidate in candidates if candidate["rank"] is not None]
    ranked = sorted(with_rank, key=lambda candidate: candidate["rank"])
    ranks = [candidate["rank"] for candidate in ranked]
    if "candidate" in contents.unread:
        return
    if ranks != list(range(1, len(candidates) + 1)):
        yield f"{row}: its candidates have the ranks {ranks}, expected 1 to {len(candidates)}"
    if row["top_k"] is not None and row["top_k"] != len(candidates):
        yield f"{row}: has {len(candidates)} candidates, expected {row['top_k']}"
    similarities = [
        candidate["similarity"] for candidate in ranked if candidate["similarity"] is not None
    ]
    if any(later > earlier + TOLERANCE for earlier, later in itertools.pairwise(similarities)):
        yield f"{row}: its candidates are not ranked by their similarities"
    weights = [candidate["weight"] for candidate in candidates if row["method"] != IMPORTED]
    if (
        weights
        and None not in weights
        and (min(weights) < -TOLERANCE or abs(sum(weights) - 1) > 1e-3)
    ):
        yield f"{row}: the weights of its candidates are {', '.join(f'{w:g}' for w in weights)}, expected shares of 1"


def transfer_single(row: Row, contents: Contents) -> Problems:
    """Whether each run started from one source is told by where they started, if there are several."""
    runs = [
        contents.parent(candidate, "run_id")
        for candidate in contents.children("candidate", "transfer_id", row.id)
    ]
    starts = {run["started_from"] for run in runs if run and run["started_from"]}
    if row["single"] is False and (row["method"] == IMPORTED or len(starts) > 1):
        yield f"{row}: each of its runs has a source of its own, but it says that they share them"


def transfer_digests(row: Row, contents: Contents) -> Problems:
    task = contents.parent(row, "task_id")
    runs = {
        name: contents.parent(row, f"{name}_run_id") for name in ("query", "baseline", "chosen")
    }
    candidates = contents.children("candidate", "transfer_id", row.id)
    candidates = sorted(candidates, key=lambda candidate: candidate["rank"] or 0)
    sources = [contents.parent(candidate, "source_run_id") for candidate in candidates]
    asked: list[Any] = [
        task and task["name"],
        *(row[name] for name in ("method", "similarity", "seed", "budget")),
    ]
    if None in (*asked, *sources, row["digest"], runs["query"], runs["chosen"]):
        return
    named: dict[str, Any] = {name: run and run["digest"] for name, run in runs.items()}
    names = [source["digest"] for source in sources if source is not None]
    if row["method"] == IMPORTED:  # what others measured of a target and seed is one
        right = imported_digest(named["query"])
    elif row["options"] is None:
        right = first_transfer_digest(*asked, query=named["query"], sources=names)
    else:
        starts = [
            (name, candidate["weight"]) for name, candidate in zip(names, candidates, strict=True)
        ]
        right = transfer_digest(*asked, options=row["options"], **named, starts=starts)
    if row["digest"] != right:
        yield f"{row}: its digest does not follow from its content"


def candidate_runs(row: Row, contents: Contents) -> Problems:
    transfer = contents.parent(row, "transfer_id")
    source, run = contents.parent(row, "source_run_id"), contents.parent(row, "run_id")
    if transfer is None:
        return
    name, trained = (
        f"run of its candidate {row['rank']}",
        contents.parent(transfer, "chosen_run_id"),
    )
    if source:
        if source["role"] not in (None, "source"):
            yield f"{transfer}: the source of its candidate {row['rank']} has the role {source['role']}"
        if source["task_id"] is not None and source["task_id"] == transfer["task_id"]:
            yield f"{transfer}: its candidate {row['rank']} is a source of the target itself"
    if run:
        yield from _of_its_kind(transfer, f"the {name}", run, trained, contents)
        if run["role"] not in (None, "transfer"):
            yield f"{transfer}: the {name} has the role {run['role']}"
        if not same(row["score"], run["score"]):
            yield f"{transfer}: its candidate {row['rank']} has the score {row['score']:g}, its run {run['score']:g}"
        if None not in (row["steps"], run["steps"]) and row["steps"] != run["steps"]:
            yield f"{transfer}: its candidate {row['rank']} took {row['steps']} steps, its run {run['steps']}"
        prompt = _value_of(source, contents)
        begun = run["started_from"]
        recipe = contents.parent(run, "recipe_id")
        resized = recipe and prompt and recipe["prompt_length"] != prompt["length"]
        if (
            transfer["single"]
            and prompt
            and begun
            and not resized
            and prompt["sha256"] not in (None, begun)
        ):
            yield f"{transfer}: the {name} did not start from the value of its source"
    if row["score"] is not None and not -100 - TOLERANCE <= row["score"] <= 100 + TOLERANCE:
        yield f"{transfer}: its candidate {row['rank']} has the score {row['score']:g}"


CHECKS: Mapping[str, tuple[Check, ...]] = {
    "transfer": (
        transfer_runs,
        transfer_metrics,
        transfer_candidates,
        transfer_single,
        transfer_digests,
    ),
    "candidate": (candidate_runs,),
}
