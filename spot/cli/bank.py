"""``spot bank``: look into a bank, check it, and move prompts in and out. Imports no JAX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spot.cli.options import SEED, WHOLE, BankOption, JsonOption, takes
from spot.cli.output import print_json, print_rows, say

app = typer.Typer(help="Look into a bank, check it, import and export prompts.", no_args_is_help=True)

TaskFilter = Annotated[str, typer.Option("--task", help="Only this task.")]


@app.command("tasks", epilog="Example: spot bank tasks --bank bank.sqlite")
@takes(bank=BankOption, out=JsonOption)
def tasks(*, bank: BankOption, out: JsonOption) -> None:
    """Tasks in the bank, with their runs by role."""
    from bank.listing import list_tasks

    with bank.connect() as engine:
        _show(list_tasks(engine), out)


@app.command("runs", epilog="Example: spot bank runs --task sst2 --role source --json")
@takes(bank=BankOption, out=JsonOption)
def runs(
    *,
    task: TaskFilter = "",
    role: Annotated[str, typer.Option(help="source, query, baseline or transfer.")] = "",
    bank: BankOption,
    out: JsonOption,
) -> None:
    """Runs in the bank, newest last."""
    from bank.errors import BankError
    from bank.listing import list_runs
    from bank.types import ROLES

    if role and role not in ROLES:
        raise BankError(f"role {role!r} is not known; choose from {', '.join(ROLES)}")
    with bank.connect() as engine:
        _show(list_runs(engine, task=task, role=role), out)


@app.command("show", epilog="Example: spot bank show 1f3a9c0b2d44")
@takes(bank=BankOption)
def show(run: Annotated[str, typer.Argument(help="Digest of a run, or its start.")], *, bank: BankOption) -> None:
    """Everything about one run, as JSON: recipe, snapshots, history, lineage."""
    from bank.listing import show_run

    with bank.connect() as engine:
        print_json(show_run(engine, run))


@app.command("prompts", epilog="Example: spot bank prompts --json")
@takes(bank=BankOption, out=JsonOption)
def prompts(*, bank: BankOption, out: JsonOption) -> None:
    """Stored prompts and what they are."""
    from bank.listing import list_prompts

    with bank.connect() as engine:
        _show(list_prompts(engine), out)


@app.command("transfers", epilog="Example: spot bank transfers --task rte")
@takes(bank=BankOption, out=JsonOption)
def transfers(*, task: TaskFilter = "", bank: BankOption, out: JsonOption) -> None:
    """Transfers: ranked sources, why one was chosen, and what it gave."""
    from bank.listing import list_transfers

    with bank.connect() as engine:
        rows = list_transfers(engine, task=task)
    if out.json:
        print_json(rows)
        return
    for row in rows:
        sources = row.pop("sources")
        print_rows([row])
        print_rows(sources)
        say()
    if not rows:
        say("no transfers")


@app.command("verify", epilog="Example: spot bank verify --bank bank.sqlite")
@takes(bank=BankOption, out=JsonOption)
def verify(*, bank: BankOption, out: JsonOption) -> None:
    """Check every prompt, key vector and reference; exits with 1 if something is wrong."""
    from bank import queries

    with bank.open() as opened:
        problems = queries.verify(opened)
        counts = queries.statistics(opened)
    if out.json:
        print_json({"problems": problems, "rows": counts})
    else:
        for problem in problems:
            say(f"problem: {problem}")
        say(f"{counts['prompt']} prompts, {counts['run']} runs, {counts['transfer']} transfers: "
            f"{len(problems) or 'no'} problems")  # fmt: skip
    if problems:
        raise typer.Exit(1)


@app.command("export", epilog="Example: spot bank export 1f3a9c0b2d44 sst2.safetensors --kind value")
@takes(bank=BankOption)
def export(
    name: Annotated[str, typer.Argument(help="A prompt's address, or the digest of a run; a start is enough.")],
    path: Annotated[Path, typer.Argument(help="File to write: .npy or .safetensors.")],
    *,
    kind: Annotated[str, typer.Option(help="Which snapshot of a run: value or key.")] = "value",
    bank: BankOption,
) -> None:
    """Write a prompt [P, H] to a file; safetensors carries what is known about it."""
    from bank import queries
    from bank.files import write_prompt

    with bank.open() as opened:
        prompt = opened.find_prompt(name, kind=kind)
        write_prompt(path, prompt, queries.prompt_metadata(opened, prompt))
    say(f"wrote {path} {list(prompt.shape)}")


@app.command("evaluate-retrieval", epilog="Example: spot bank evaluate-retrieval --measure average --measure evidence")
@takes(bank=BankOption, out=JsonOption)
def evaluate_retrieval(
    *,
    measure: Annotated[
        list[str],
        typer.Option(help="Measure to judge; give it several times. All that need prompts alone if left out."),
    ] = [],  # noqa: B006
    k: Annotated[
        list[int], typer.Option("--k", help="Length of the ranking's head; give it several times.", min=1, max=WHOLE)
    ] = [  # noqa: B006
        1,
        3,
    ],
    prompts: Annotated[
        Path | None, typer.Option(help="Folder of prompts <task>.npy of another study, in place of the bank.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="JSON {target: {source: score}} of that study.")] = None,
    bank: BankOption,
    out: JsonOption,
) -> None:
    """Judge retrieval measures by logged transfers, leaving each target's own outcomes out."""
    from bank import BankError
    from spot.retrieval.evaluate import calibration, cases_of_bank, cases_of_files, evaluate

    if bool(prompts) != bool(scores):
        raise BankError("another study needs both --prompts FOLDER and --scores FILE")
    if prompts and scores:
        studies = {f"{scores}": cases_of_files(prompts, scores)}
    else:
        with bank.open() as opened:
            studies = {str(partition): cases_of_bank(opened, partition) for partition in opened.partitions()}
            studies = {name: cases for name, cases in studies.items() if cases} or {str(opened): []}
    documents = []
    for name, cases in studies.items():
        evidence = any(case.baseline is not None for case in cases)
        chosen = measure or [*WITHOUT_BACKBONE, *(["evidence"] if evidence else [])]
        figures = evaluate(cases, chosen, k=k)
        targets = len({case.target for case in cases})
        documents.append({"study": name, "targets": targets, "cases": len(cases), "figures": figures})
        if evidence and "evidence" in chosen:
            documents[-1]["calibration"] = calibration(cases)
    if out.json:
        print_json(documents)
        return
    for document in documents:
        _show_figures(document)


WITHOUT_BACKBONE = ("average", "per_token", "centred", "seed_centred", "matching", "subspace")
"""Measures that look at prompts alone."""


def _show_figures(document: dict[str, Any]) -> None:
    rows = [
        {"measure": name} | {figure: f"{e.mean:.2f} [{e.low:.2f}, {e.high:.2f}]" for figure, e in estimates.items()}
        for name, estimates in document["figures"].items()
    ]
    targets = f"{document['targets']} targets, {document['cases']} cases with seeds"
    print_rows(rows, title=f"{document['study']}: {targets}; mean over targets [95 % bootstrap interval]")
    if calibrated := document.get("calibration"):
        say(
            f"evidence: {calibrated.covered:.0%} of {calibrated.pairs} gains lie in their 90 % interval, "
            f"{calibrated.width:.1f} points wide on average"
        )


@app.command("import", epilog="Example: spot bank import mrpc.npy --task mrpc --backbone google/t5-base-lm-adapt")
@takes(bank=BankOption)
def import_file(
    path: Annotated[Path, typer.Argument(help="A prompt [P, H]: .npy or .safetensors.")],
    *,
    task: Annotated[str, typer.Option(help="Task it was trained on.")],
    family: Annotated[str, typer.Option(help="Family of the task.")] = "imported",
    backbone: Annotated[str, typer.Option(help="Name of the model it was trained for.")],
    fingerprint: Annotated[
        str,
        typer.Option(help="Fingerprint of that model, as `spot doctor` prints it; else its name stands in."),
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed it was trained with.", min=0, max=SEED)] = 0,
    key: Annotated[
        Path | None, typer.Option(help="Its early prompt; else the prompt stands in for its own key.")
    ] = None,
    bank: BankOption,
) -> None:
    """Store a prompt that others trained. It is never ranked against keys trained here."""
    from bank import BackboneRecord, TaskRecord
    from bank.files import import_prompt, read_prompt
    from bank.records import digest

    width = read_prompt(path).prompt.shape[1]
    model = BackboneRecord(fingerprint=fingerprint or digest("by name", backbone), name=backbone, width=width)
    with bank.open(create=True) as opened:
        run = import_prompt(opened, path, task=TaskRecord(name=task, family=family), backbone=model, seed=seed, key=key)
    say(f"stored as run {run[:12]} in {opened}")


def _show(rows: list[dict[str, object]], out: JsonOption) -> None:
    if out.json:
        print_json(rows)
    else:
        print_rows(rows)
