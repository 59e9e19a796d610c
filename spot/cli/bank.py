"""``spot bank``: look into a bank, check it, and move prompts in and out. Imports no JAX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spot.cli.groups import refuse_given, takes_groups
from spot.cli.options import BankOption, JsonOption
from spot.cli.output import noted, print_json, print_rows, say
from spot.training.settings import SEED, WHOLE

if TYPE_CHECKING:
    from spot.retrieval.cases import Case
    from spot.retrieval.judge import Judgement

app = typer.Typer(
    help="Look into a bank, check it, import and export prompts.", no_args_is_help=True
)

TaskFilter = Annotated[str, typer.Option("--task", help="Only this task.")]

Limit = Annotated[
    int, typer.Option(help="How many of the newest to list; 0 lists all.", min=0, max=WHOLE)
]

PAGE = 50
"""Rows of a listing that is not told otherwise."""


@app.command("tasks", epilog="Example: spot bank tasks --bank bank.sqlite")
@takes_groups
def tasks(*, bank: BankOption, out: JsonOption) -> None:
    """Tasks in the bank, with their runs by role."""
    from bank.listing import list_tasks

    with bank.connect() as engine:
        rows = list_tasks(engine)
    if out.json:
        print_json(rows)
    else:
        print_rows(rows)


@app.command("runs", epilog="Example: spot bank runs --task sst2 --role source --json")
@takes_groups
def runs(
    *,
    task: TaskFilter = "",
    role: Annotated[str, typer.Option(help="source, query, baseline or transfer.")] = "",
    limit: Limit = PAGE,
    bank: BankOption,
    out: JsonOption,
) -> None:
    """Runs in the bank, newest first."""
    from bank.listing import count, list_runs
    from bank.records import check_role

    if role:
        check_role(role)
    with bank.connect() as engine:
        rows, total = (
            list_runs(engine, task=task, role=role, limit=limit),
            count(engine, "runs", task=task, role=role),
        )
    _show_page(rows, "runs", limit, total, out)


@app.command("show", epilog="Example: spot bank show 1f3a9c0b2d44")
@takes_groups
def show(
    run: Annotated[str, typer.Argument(help="Digest of a run, or its start.")], *, bank: BankOption
) -> None:
    """Everything about one run, as JSON: recipe, snapshots, history, lineage."""
    from bank.listing import show_run

    with bank.connect() as engine:
        print_json(show_run(engine, run))


@app.command("prompts", epilog="Example: spot bank prompts --json")
@takes_groups
def prompts(*, limit: Limit = PAGE, bank: BankOption, out: JsonOption) -> None:
    """Stored prompts and what they are, newest first."""
    from bank.listing import count, list_prompts

    with bank.connect() as engine:
        rows, total = list_prompts(engine, limit=limit), count(engine, "prompts")
    _show_page(rows, "prompts", limit, total, out)


@app.command("transfers", epilog="Example: spot bank transfers --task rte")
@takes_groups
def transfers(
    *, task: TaskFilter = "", limit: Limit = PAGE, bank: BankOption, out: JsonOption
) -> None:
    """Transfers, newest first: ranked sources, why one was chosen, and what it gave."""
    from bank.listing import count, list_transfers

    with bank.connect() as engine:
        rows, total = (
            list_transfers(engine, task=task, limit=limit),
            count(engine, "transfers", task=task),
        )
    _show_page(rows, "transfers", limit, total, out, show=_show_transfers)


def _show_transfers(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        sources = row.pop("sources")
        print_rows(noted([row]))
        print_rows(sources)
        say()
    if not rows:
        say("no transfers")


@app.command("verify", epilog="Example: spot bank verify --bank bank.sqlite")
@takes_groups
def verify(*, bank: BankOption, out: JsonOption) -> None:
    """Check every row against the others and its own digest; exits with 1 if something is wrong."""
    from bank.integrity import verify as verify_bank

    with bank.open() as opened:
        problems = verify_bank(opened)
        counts = opened.count_rows()
    if out.json:
        print_json({"problems": problems, "rows": counts})
    else:
        for problem in problems:
            say(f"problem: {problem}")
        say(f"{counts['prompt']} prompts, {counts['run']} runs, {counts['transfer']} transfers: "
            f"{len(problems) or 'no'} problems")  # fmt: skip
    if problems:
        raise typer.Exit(1)


@app.command(
    "export", epilog="Example: spot bank export 1f3a9c0b2d44 sst2.safetensors --kind value"
)
@takes_groups
def export(
    name: Annotated[
        str, typer.Argument(help="A prompt's address, or the digest of a run; a start is enough.")
    ],
    path: Annotated[
        Path,
        typer.Argument(
            help="File to write, .npy or .safetensors; without an ending, the folder of a PEFT adapter."
        ),
    ],
    *,
    kind: Annotated[
        str, typer.Option(help="Which prompt of a run: value, also if left out, or key.")
    ] = "",
    format: Annotated[
        str, typer.Option(help="npy, safetensors or peft (a folder); else the name says it.")
    ] = "",
    bank: BankOption,
) -> None:
    """Write a prompt [P, H] to a file; all formats but .npy carry what is known about it."""
    from bank.files import exported
    from spot.prompts.write import write_prompt

    with bank.open() as opened:
        export = exported(opened, name, kind=kind)
    write_prompt(
        path,
        export.prompt,
        export.metadata,
        format=format,
        config=export.config,
        start=export.start,
    )
    say(f"wrote {path} {list(export.prompt.shape)}")


@app.command(
    "evaluate-retrieval",
    epilog="Example: spot bank evaluate-retrieval --measure average --measure evidence",
)
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


@app.command(
    "import-outcomes", epilog="Example: spot bank import-outcomes scores.csv --bank bank.sqlite"
)
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
) -> None:
    """Take in what others measured from a bank's sources, as if its own transfers had."""
    from bank.outcomes import import_outcomes, read_measured

    rows = read_measured(path, score=score, baseline=baseline)
    with bank.open(write=True) as opened:
        added, changed, held = import_outcomes(opened, rows, recipe=recipe)
        say(f"{added} outcomes added, {changed} changed, {held} there already, in {opened}")


@app.command(
    "import",
    epilog="Example: spot bank import mrpc.npy --task mrpc --backbone google/t5-base-lm-adapt",
)
@takes_groups
def import_file(
    path: Annotated[
        Path,
        typer.Argument(
            help="A prompt [P, H]: .npy, .safetensors, .pt or .bin, or the folder of a PEFT adapter."
        ),
    ],
    *,
    task: Annotated[str, typer.Option(help="Task it was trained on.")],
    family: Annotated[str, typer.Option(help="Family of the task.")] = "imported",
    backbone: Annotated[
        str, typer.Option(help="Name of the model it was trained for; else what the file says.")
    ] = "",
    fingerprint: Annotated[
        str,
        typer.Option(
            help="Fingerprint of that model, as `spot doctor` prints it; else what the file says; else its name "
            "stands in."
        ),
    ] = "",
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed it was trained with; else what the file says, or 0.", min=0, max=SEED
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Its early prompt; else the prompt stands in for its own key."),
    ] = None,
    bank: BankOption,
) -> None:
    """Store a prompt that others trained. It is never ranked against keys trained here."""
    from bank import TaskRecord
    from bank.files import import_prompt
    from spot.prompts.files import read_prompt
    from spot.prompts.made_for import backbone_of, check_backbone

    value = read_prompt(path)
    early = read_prompt(key) if key else None
    model = backbone_of(value, name=backbone, fingerprint=fingerprint)
    check_backbone(value, model)
    if early:
        check_backbone(early, model)
    with bank.open(create=True) as opened:
        run = import_prompt(
            opened,
            value.prompt,
            task=TaskRecord(name=task, family=family),
            backbone=model,
            key=early.prompt if early else None,
            seed=seed if seed is not None else value.number("seed") or 0,
            origin=path.name,
        )
    say(f"stored as run {run[:12]} in {opened}")


def _show_page(
    rows: list[dict[str, Any]],
    what: str,
    limit: int,
    total: int,
    out: JsonOption,
    *,
    show: Callable[[list[dict[str, Any]]], None] = lambda rows: print_rows(noted(rows)),
) -> None:
    """The newest rows of a listing; where there are more, a line says of how many."""
    if out.json:
        print_json({"total": total, what: rows})
        return
    show(rows)
    if 0 < limit < total:
        say(f"{limit:,} of {total:,} {what}, newest first; --limit 0 lists all")
