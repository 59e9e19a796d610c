"""What commands that train and rank show: rows of tables, and documents for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spot.cli.output import PARTIAL_DATA, noted, print_rows, say

if TYPE_CHECKING:
    from bank import Partition, StoredRun
    from spot.retrieval.rank import Ranked
    from spot.training.recipe import Recipe
    from spot.training.task_data import MixtureData, TaskData
    from spot.transfer.gain import Gain
    from spot.transfer.transfer import TransferOptions, Transferred


def run_row(
    task: str, seed: int, run: StoredRun, data: TaskData | MixtureData, recipe: Recipe
) -> dict[str, Any]:
    """A source's run, beside what its data is like."""
    from spot.transfer.executors import data_summary
    from tasks import Split

    return {
        "task": task,
        "seed": seed,
        "dev score": run.score,
        "most frequent answer": data.floor(Split.DEV),
        "steps": run.steps,
        "padding": data_summary(data, recipe)["padding share"],
        "seconds": round(run.seconds, 1),
        "run": run.digest[:12],
        "value": run.value[:12],
        PARTIAL_DATA: data.partial,
    }


def gain_document(gain: Gain | None) -> dict[str, Any] | None:
    """The gain of several seeds over no transfer, where it is known."""
    if gain is None:
        return None
    document = dataclasses.asdict(gain) | {"verdict": gain.verdict}
    document["most frequent answer"] = document.pop("floor")
    return document


def left_out_line(names: Sequence[str]) -> str:
    """Sources that a ranking does not hold."""
    return f"left out: {', '.join(names)}, whose training texts may hold the target's test examples (--allow-overlap)"


def show_transfers(
    target: str, results: Sequence[Transferred], options: TransferOptions, *, recipe_steps: int
) -> None:
    """Tables of rankings and runs, a seed each, and what a reader of all of them must know."""
    for result in results:
        if result.ranked:
            print_rows(
                ranking_rows(result.ranked),
                title=f"sources for {target}, query of seed {result.seed}",
            )
        rows = [row | {PARTIAL_DATA: result.partial} for row in _candidate_rows(result)]
        print_rows(noted(rows), title="runs of the target")
        if options.budget != "full":
            competing = len(result.candidates) + 1  # and training without transfer
            say(f"{result.steps} steps for the choice, {competing * recipe_steps} by full runs")
        say()
    if results[0].left_out:
        say(left_out_line(results[0].left_out))
    for caution in dict.fromkeys(line for result in results for line in result.cautions):
        say(f"caution: {caution}")
    if options.method == "none":
        scores = ", ".join(f"{result.outcome_test.metrics['score']:.2f}" for result in results)
        note = "; partial data" if results[0].partial else ""
        say(
            f"{target}, test score by seed: {scores}; most frequent answer {results[0].floor['test']:.2f}{note}"
        )


def ranking_document(
    ranked: Sequence[Ranked],
    cautions: Sequence[str],
    left_out: Sequence[str],
    *,
    partition: Partition,
    similarity: str,
) -> dict[str, Any]:
    """A ranking by ``similarity``, what makes it doubtful, and what it does not hold."""
    return {
        "partition": str(partition),
        "similarity": similarity,
        "cautions": list(cautions),
        "left_out": list(left_out),
        "ranked": [dataclasses.asdict(source) for source in ranked],
    }


def ranking_rows(ranked: Sequence[Ranked]) -> list[dict[str, Any]]:
    """A row a source."""
    return [
        {
            "rank": r.rank,
            "source": r.task,
            **{name.replace("_", " "): value for name, value in r.similarities.items()},
            **(
                {"expected gain": f"{r.expected.low:+.1f} to {r.expected.high:+.1f}"}
                if r.expected
                else {}
            ),
            "best seed": r.seed,
            "run": r.run[:12],
        }
        for r in ranked
    ]


def _candidate_rows(result: Transferred) -> list[dict[str, Any]]:
    rows = [
        {
            "start": f"value of {candidate.source.task} (seed {candidate.source.seed})",
            "weight": candidate.weight,
            "steps": candidate.steps,
            "dev": candidate.score,
            "test": result.outcome_test.metrics["score"] if i == result.chosen else None,
            "": "chosen" if i == result.chosen else "" if candidate.run else "stopped",
        }
        for i, candidate in enumerate(result.candidates)
    ]
    floor = result.floor
    rows.append(
        {
            "start": "most frequent answer",
            "weight": None,
            "steps": 0,
            "dev": floor["dev"],
            "test": floor["test"],
            "": "",
        }
    )
    if result.baseline and result.baseline_test:
        test, chosen = result.baseline_test.metrics["score"], result.chosen_run == result.baseline
        rows.append(
            {
                "start": "no transfer",
                "weight": None,
                "steps": result.baseline.steps,
                "dev": result.baseline.score,
                "test": test,
                "": "baseline, chosen" if chosen else "baseline",
            }
        )
    if result.restarts_best and result.restarts_test:
        steps = sum(run.steps for run in result.restarts)
        rows.append(
            {
                "start": f"best of {len(result.restarts)} restarts",
                "weight": None,
                "steps": steps,
                "dev": result.restarts_best.score,
                "test": result.restarts_test.metrics["score"],
                "": "equal cost" if steps == result.steps else "",
            }
        )
    return rows


def transfer_document(result: Transferred) -> dict[str, Any]:
    """A transfer of one seed, whole."""
    return {
        "transfer": result.digest,
        "target": result.target,
        "seed": result.seed,
        "ranked": [dataclasses.asdict(source) for source in result.ranked],
        "similarity": result.similarity,
        "cautions": list(result.cautions),
        "left out": list(result.left_out),
        "attempts": [
            {
                "source": candidate.source.task,
                "source run": candidate.source.run,
                "weight": candidate.weight,
                "score": candidate.score,
                "steps": candidate.steps,
                "run": dataclasses.asdict(candidate.run) if candidate.run else None,
            }
            for candidate in result.candidates
        ],
        "chosen": result.chosen,
        "outcome": dataclasses.asdict(result.chosen_run),
        "steps": result.steps,
        PARTIAL_DATA: result.partial,
        "most frequent answer": dict(result.floor),
        "outcome_test": dict(result.outcome_test.metrics),
        "baseline": dataclasses.asdict(result.baseline) if result.baseline else None,
        "baseline_test": dict(result.baseline_test.metrics) if result.baseline_test else None,
        "restarts": [dataclasses.asdict(run) for run in result.restarts],
        "restarts_test": dict(result.restarts_test.metrics) if result.restarts_test else None,
    }
