"""What commands print when they have trained or ranked: tables for people, or one document for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spot.cli.curves import show_curves
from spot.cli.diagnosed import (
    diagnostics_of,
    document_of,
    say_diagnostics,
    tested_diagnostics,
)
from spot.cli.output import noted, print_json, print_rows, say
from spot.cli.searching import found_document, found_rows
from spot.cli.shown import (
    gain_document,
    left_out_line,
    ranking_document,
    ranking_rows,
    run_row,
    show_transfers,
    transfer_document,
)

if TYPE_CHECKING:
    from bank import Bank, StoredRun
    from spot.cli.options import JsonOption
    from spot.retrieval.rank import Ranked, Retriever
    from spot.training.found import Found
    from spot.transfer.planner import RunSpec
    from spot.transfer.recipes import Chosen
    from spot.transfer.runs import Trainer
    from spot.transfer.transfer import TransferOptions, Transferred


def report_sources(
    trainer: Trainer,
    chosen: Chosen,
    specs: Sequence[RunSpec],
    runs: Sequence[StoredRun],
    found: Found | None,
    out: JsonOption,
) -> None:
    """Runs of sources, with what they tell, and the search before them if there was one."""
    rows = [_source_row(trainer, spec, run) for spec, run in zip(specs, runs, strict=True)]
    told = diagnostics_of(trainer.bank, [run.digest for run in runs])
    if out.json:
        documents = [
            row | {"diagnostics": document_of(told.get(run.digest))}
            for row, run in zip(rows, runs, strict=True)
        ]
        document: dict[str, Any] = {
            "bank": str(trainer.bank),
            "backbone": trainer.backbone.fingerprint,
            "recipe": chosen.document(),
            "runs": documents,
        }
        print_json(document | ({"search": found_document(found)} if found else {}))
        return
    if found:
        print_rows(found_rows(found), title="search by development loss")
    print_rows(noted(rows))
    for row, run in zip(rows, runs, strict=True):
        say_diagnostics(f"{row['task']} seed {row['seed']}", told.get(run.digest))
    say(f"in {trainer.bank}")


def _source_row(trainer: Trainer, spec: RunSpec, run: StoredRun) -> dict[str, Any]:
    task = trainer.datasets.task(spec.task)
    return run_row(task.name, spec.seed, run, trainer.data(task), trainer.recipe)


def report_transfers(
    trainer: Trainer,
    chosen: Chosen,
    results: Sequence[Transferred],
    options: TransferOptions,
    out: JsonOption,
) -> None:
    """Transfers to a target, one a seed, with what their runs tell, and the gain of all."""
    from spot.transfer.transfer import gain_of, gain_over_restarts

    target, gain, further = results[0].target, gain_of(results), gain_over_restarts(results)
    told = tested_diagnostics(trainer.bank, results, evaluate_by=trainer.recipe.evaluate_by)
    if out.json:
        documents = [
            transfer_document(result)
            | {"diagnostics": {name: document_of(one) for name, one in of_runs.items()}}
            for result, of_runs in zip(results, told, strict=True)
        ]
        print_json(
            {
                "bank": str(trainer.bank),
                "recipe": chosen.document(),
                "transfers": documents,
                "gain": gain_document(gain),
                "gain over restarts": gain_document(further),
            }
        )
        return
    show_transfers(target, results, options, recipe_steps=trainer.recipe.steps)
    for result, of_runs in zip(results, told, strict=True):
        for name, one in of_runs.items():
            say_diagnostics(f"seed {result.seed}, {name}", one)
    show_curves(trainer.bank, results)
    for known in filter(None, (gain, further)):
        say(known.line())
    say(f"in {trainer.bank}; `spot bank transfers --task {target}` shows them again")


def report_ranking(
    bank: Bank,
    retriever: Retriever,
    ranked: Sequence[Ranked],
    cautions: Sequence[str],
    similarity: str,
    left_out: Sequence[str],
    out: JsonOption,
) -> None:
    """A ranking by the measure ``similarity``, what makes it doubtful, and sources that share texts with the target."""
    partition = retriever.partition
    if out.json:
        document = ranking_document(
            ranked, cautions, left_out, partition=partition, similarity=similarity
        )
        print_json(document)
        return
    print_rows(ranking_rows(ranked), title=f"sources in {bank}: {partition}")
    if left_out:
        say(left_out_line(left_out))
    for caution in cautions:
        say(f"caution: {caution}")
