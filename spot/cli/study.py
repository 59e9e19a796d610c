"""``spot study``: sources, targets, methods and measures compared, as tables and plots."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spot.cli.options import (
    BackboneOption,
    BankOption,
    DataOption,
    JsonOption,
    RecipeOptions,
    RunOptions,
    find_learnable,
    find_tasks,
    make_trainer,
    takes,
)
from spot.cli.output import errors, print_json, print_rows, say

if TYPE_CHECKING:
    from spot.transfer.runs import Trainer


@takes(bank=BankOption, where=BackboneOption, data=DataOption, runs=RunOptions, out=JsonOption)
def study(
    plan_file: Annotated[Path | None, typer.Argument(metavar="STUDY.TOML", help="What to compare.")] = None,
    *,
    folder: Annotated[Path, typer.Option("--out", help="Folder for tables and plots.")] = Path("study"),
    plots: Annotated[bool, typer.Option(help="Also draw plots (needs matplotlib).")] = True,
    example: Annotated[bool, typer.Option("--example", help="Print an example of a study file and exit.")] = False,
    bank: BankOption,
    where: BackboneOption,
    data: DataOption,
    runs: RunOptions,
    out: JsonOption,
) -> None:
    """Transfer from every source to every target, and compare methods, measures and budgets. Resumable."""
    from spot.study.plan import EXAMPLE, read_plan
    from spot.study.plots import write_plots
    from spot.study.run import run_study
    from spot.study.tables import write_tables

    if example:
        say(EXAMPLE.rstrip())
        return
    if plan_file is None:
        raise typer.BadParameter("name a study file; `spot study --example` prints one")
    plan = read_plan(plan_file)
    sources, targets = find_learnable(plan.sources), find_tasks(plan.targets)
    recipe, began = recipe_options(plan.recipe, plan_file), time.monotonic()
    with bank.open(create=True) as opened:
        trainer = make_trainer(opened, where, data, recipe, runs)

        def of_size(size: int) -> Trainer:
            return trainer.with_recipe(dataclasses.replace(trainer.recipe, train_limit=size))

        shown, findings = (
            str(opened),
            run_study(
                plan, sources, targets, trainer=trainer, trainer_of_size=of_size, say=lambda line: errors().print(line)
            ),
        )
    written = write_tables(findings, folder)
    pictures = write_plots(findings, folder) if plots else []
    if out.json:
        print_json({"folder": str(folder), "plots": [str(path) for path in pictures]} | written)
        return
    keep = ("method", "mean", "gain", "gain low", "gain high", "share of the oracle's gain", "steps")
    print_rows([{name: row[name] for name in keep} for row in written["methods"]], title=f"{len(targets)} targets")
    say(f"tables and {len(pictures)} plots in {folder}; {time.monotonic() - began:.0f} s; bank {shown}")


def recipe_options(given: object, where: Path) -> RecipeOptions:
    """The recipe of a study file.

    Raises:
        SpotError: an option that the command line does not know.
    """
    from spot.errors import SpotError

    assert isinstance(given, dict)
    known = {field.name for field in dataclasses.fields(RecipeOptions)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise SpotError(f"{where}: recipe has no option {unknown[0]!r}; it has {', '.join(sorted(known))}")
    return RecipeOptions(**given)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("study", epilog="Example: spot study --example > study.toml, then: spot study study.toml --out study")(
        study
    )
