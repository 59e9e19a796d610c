"""``spot bank``: look into a bank and check it; what else it does with one is added. Imports no JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from spot.cli import bank_judging, bank_prompts, bank_publishing, bank_versions
from spot.cli.groups import takes_groups
from spot.cli.options import BankOption, JsonOption
from spot.cli.output import noted, print_json, print_rows, say
from spot.training.settings import WHOLE

app = typer.Typer(
    help="Look into a bank, check it, publish it, import and export prompts.", no_args_is_help=True
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
    """Tasks in the bank, with their runs by role, and the tags of these."""
    from bank.listing import list_tasks

    with bank.connect() as engine:
        _show_all(list_tasks(engine), out)


def _show_all(rows: list[dict[str, Any]], out: JsonOption) -> None:
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
    removed: Annotated[
        bool, typer.Option("--removed", help="Those that are removed, which else are not listed.")
    ] = False,
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
            list_runs(engine, task=task, role=role, limit=limit, removed=removed),
            count(engine, "runs", task=task, role=role, removed=removed),
        )
    _show_page(rows, "runs", limit, total, out)


@app.command("show", epilog="Example: spot bank show 1f3a9c0b2d44")
@takes_groups
def show(
    run: Annotated[str, typer.Argument(help="Digest of a run, its start, or TASK@TAG.")],
    *,
    bank: BankOption,
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


@app.command("recyclers", epilog="Example: spot bank recyclers --json")
@takes_groups
def recyclers(*, bank: BankOption, out: JsonOption) -> None:
    """Maps of prompts from one backbone to another, which `spot recycle --into` fitted."""
    from bank.listing import list_recyclers

    with bank.connect() as engine:
        _show_all(list_recyclers(engine), out)


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


for _module in (bank_prompts, bank_judging, bank_publishing, bank_versions):
    _module.add_to(app)
