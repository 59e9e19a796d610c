"""``spot bank evaluate-retrieval`` and ``import-outcomes``: how well measures rank, and outcomes to judge them by.

Imports no JAX.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spot.cli.groups import refuse_given, takes_groups
from spot.cli.options import BankOption, JsonOption
from spot.cli.output import print_json, print_rows, say
from spot.training.settings import WHOLE

if TYPE_CHECKING:
    from spot.retrieval.cases import Case
    from spot.retrieval.judge import Judgement


def add_to(app: typer.Typer) -> None:
    for name, command, example in (
        (
            "evaluate-retrieval",
            evaluate_retrieval,
            "spot bank evaluate-retrieval --measure average --measure evidence",
        ),
        (
            "import-outcomes",
            import_scores,
            "spot bank import-outcomes scores.csv --bank bank.sqlite",
        ),
    ):
        app.command(name, epilog=f"Example: {example}")(command)


@takes_groups
def evaluate_retrieval(
    context: typer.Context,
    *,
    measure: Annotated[
        list[str],
        typer.Option(
            help="Measure to judge; give it several times. All that need prompts alone if left out."
        ),
    ] = [],  # noqa: B006
    k: Annotated[
        list[int],
        typer.Option(
            "--k", help="Length of the ranking's head; give it several times.", min=1, max=WHOLE
        ),
    ] = [  # noqa: B006
        1,
        3,
    ],
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Count targets of which only some sources were tried beside the others.",
        ),
    ] = False,
    prompts: Annotated[
        Path | None,
        typer.Option(help="Folder of prompts <task>.npy of another study, in place of the bank."),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="JSON {target: {source: score}} of that study.")
    ] = None,
    bank: BankOption,
    out: JsonOption,
) -> None:
    """Judge retrieval measures by logged transfers, leaving each target's own outcomes out.

    regret@k: points between the best source and the best of the first k; relative regret@k: the same as a share of the
    points between the best source and the worst. gain@k: points of the best of the first k over no transfer. Rows for
    comparison: random (k random sources), restarts (k runs without transfer), best on average, same family.
    """
    from bank import BankError
    from spot.retrieval.judge import judge

    if bool(prompts) != bool(scores):
        raise BankError("another study needs both --prompts FOLDER and --scores FILE")
    if prompts and scores:
        refuse_given(context, ["bank"], "--prompts and --scores stand in place of a bank")
        studies, notes = _study_of_files(prompts, scores)
    else:
        studies, notes = _studies_of_bank(bank), []
    judged = {
        name: judge(cases, measures=measure, k=k, partial=partial)
        for name, cases in studies.items()
    }
    if out.json:
        print_json(
            [_judgement_document(name, judgement, notes) for name, judgement in judged.items()]
        )
        return
    for name, judgement in judged.items():
        _show_judgement(name, judgement, notes)


def _study_of_files(prompts: Path, scores: Path) -> tuple[dict[str, list[Case]], list[str]]:
    """Cases of one study by its name, and what of it was left out."""
    from spot.retrieval.cases import cases_of_files

    cases, missing = cases_of_files(prompts, scores)
    notes = [f"left out, for there is no prompt of theirs: {', '.join(missing)}"] if missing else []
    return {str(scores): cases}, notes


def _studies_of_bank(bank: BankOption) -> dict[str, list[Case]]:
    """Cases by partition; of a bank without any, an empty study by its name."""
    from spot.retrieval.cases import cases_of_bank

    with bank.open() as opened:
        studies = {
            str(partition): cases_of_bank(opened, partition) for partition in opened.partitions()
        }
        return {name: cases for name, cases in studies.items() if cases} or {str(opened): []}


def _judgement_document(study: str, judgement: Judgement, notes: list[str]) -> dict[str, Any]:
    document = {"study": study, **vars(judgement), "notes": [*notes, *judgement.notes]}
    if judgement.calibration is None:
        del document["calibration"]
    return document


def _show_judgement(study: str, judgement: Judgement, notes: list[str]) -> None:
    """A table for every k, and lines of what else there is to know."""
    say(f"{study}: {judgement.targets} targets, {judgement.cases} cases with seeds; mean over targets "
        "[95 % bootstrap interval]")  # fmt: skip
    for head in [f"@{at}" for at in judgement.k] or [""]:
        columns = dict.fromkeys(
            figure
            for estimates in judgement.figures.values()
            for figure in estimates
            if figure.endswith(head) or "@" not in figure
        )
        rows: list[dict[str, Any]] = [
            {"measure": name, **{figure: estimates.get(figure) for figure in columns}}
            for name, estimates in judgement.figures.items()
        ]
        print_rows([row for row in rows if any(row[figure] for figure in columns)])
    if calibrated := judgement.calibration:
        say(
            f"evidence: {calibrated.covered:.0%} of {calibrated.pairs} gains lie in their 90 % interval, "
            f"{calibrated.width:.1f} points wide on average"
        )
    for note in (*notes, *judgement.notes):
        say(note)


@takes_groups
def import_scores(
    path: Annotated[
        Path,
        typer.Argument(
            help="CSV with a header, or JSON, a list of objects: target, source, seed, score, and if known baseline "
            "(the score without transfer) and source_seed."
        ),
    ],
    *,
    score: Annotated[str, typer.Option(help="Column of the scores on development data.")] = "score",
    baseline: Annotated[str, typer.Option(help="Column of those without transfer.")] = "baseline",
    recipe: Annotated[
        str,
        typer.Option(
            help="Recipe of the targets' runs, or the start of its digest, where the bank has several."
        ),
    ] = "",
    bank: BankOption,
    out: JsonOption,
) -> None:
    """Take in what others measured from a bank's sources, as if its own transfers had."""
    from bank.outcomes import import_outcomes, read_measured

    rows = read_measured(path, score=score, baseline=baseline)
    with bank.open(write=True) as opened:
        added, changed, held = import_outcomes(opened, rows, recipe=recipe)
        out.report(
            {"bank": str(opened), "added": added, "changed": changed, "held": held},
            f"{added} outcomes added, {changed} changed, {held} there already, in {opened}",
        )
