"""``spot study``: sources, targets, methods and measures compared, as tables and plots."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer

from spot.cli.groups import takes_groups
from spot.cli.options import (
    BackboneOption,
    BankOption,
    DataOption,
    ExecutorOption,
    JsonOption,
    RunOptions,
    TrainerOptions,
    find_learnable,
    find_tasks,
)
from spot.cli.output import PARTIAL_DATA, errors, print_json, print_rows, say
from spot.cli.plans import DryRunOption, opened_to_plan, show_plan
from spot.cli.recipes import SETTINGS, RecipeOptions

if TYPE_CHECKING:
    from spot.training.recipe import Recipe
    from spot.transfer.runs import Trainer

SHOWN = {
    "methods": (
        "method", "mean", "gain", "gain low", "gain high", "share of the oracle's gain", "steps",
    ),
    "rows": (
        "row", "targets", "area", "area gain", "area gain low", "area gain high", "in half the steps", "gain",
        "gain low", "gain high", "over restarts", "over restarts low", "over restarts high", "sd",
    ),
    "goals": ("goal", "training examples", "row", "budget", "found", "found low", "found high", "wanted", "met"),
}  # fmt: skip
"""Tables that the terminal shows, and their columns there, of which a study has some."""


@takes_groups
def study(
    context: typer.Context,
    plan_file: Annotated[
        Path | None, typer.Argument(metavar="STUDY.TOML", help="What to compare.")
    ] = None,
    *,
    folder: Annotated[Path, typer.Option("--out", help="Folder for tables and plots.")] = Path(
        "study"
    ),
    plots: Annotated[bool, typer.Option(help="Also draw plots (needs matplotlib).")] = True,
    example: Annotated[
        bool, typer.Option("--example", help="Print an example of a study file and exit.")
    ] = False,
    dry_run: DryRunOption = False,
    bank: BankOption,
    where: BackboneOption,
    data: DataOption,
    runs: RunOptions,
    executor: ExecutorOption,
    out: JsonOption,
) -> None:
    """Transfer from every source to every target, and compare methods, measures and budgets. Resumable."""
    from spot.paths import prepare_folders
    from spot.study.along import check_study, run_at_budgets
    from spot.study.budget_tables import write_budget_tables
    from spot.study.forecast import foresee_study
    from spot.study.plan import EXAMPLE, read_plan
    from spot.study.plots import write_budget_plots, write_plots
    from spot.study.run import Study
    from spot.study.tables import Row, write_tables
    from tasks.registry import check_distinct

    if example:
        say(EXAMPLE.rstrip())
        return
    executor.check(context)
    if plan_file is None:
        raise typer.BadParameter("name a study file; `spot study --example` prints one")
    plan = read_plan(plan_file)
    sources, targets = find_learnable(plan.sources), find_tasks(plan.targets)
    check_distinct([*sources, *targets])
    of_sources = recipe_options(plan.recipe, f"{plan_file}: recipe")
    of_targets = recipe_options(plan.target_recipe, f"{plan_file}: target_recipe")
    for options in (of_sources, of_targets):
        options.check()
    training = TrainerOptions(where, data, of_sources, runs)
    began = time.monotonic()
    if dry_run:
        with opened_to_plan(bank) as opened:
            trainer, _ = training.make(opened, sources, what="sources", surely=False)
            recipe = _target_recipe(of_targets, trainer)
            told = Study(plan, sources, targets, trainer, recipe, errors().print)
            check_study(told)
            show_plan(foresee_study(told), trainer, bank.shown, out)
        return
    with bank.open(create=True) as opened:
        trainer, _ = training.make(opened, sources, what="sources", executor=executor)
        recipe = _target_recipe(of_targets, trainer)
        told = Study(plan, sources, targets, trainer, recipe, errors().print)
        check_study(told)
        prepare_folders(folder)
        shown = str(opened)
        written: dict[str, list[Row]]
        if plan.at_budgets:
            found = run_at_budgets(told)
            written, partial = write_budget_tables(found, folder), found.partial
            pictures = write_budget_plots(found, folder) if plots else []
        else:
            findings = told.run()
            written, partial = write_tables(findings, folder), findings.partial
            pictures = write_plots(findings, folder) if plots else []
    if out.json:
        facts = {"folder": str(folder), "plots": [str(path) for path in pictures]}
        print_json(facts | {PARTIAL_DATA: bool(partial)} | written)
        return
    for name, keep in SHOWN.items():
        if rows := written.get(name):
            print_rows(
                [{column: row[column] for column in keep if column in row} for row in rows],
                title=f"{len(targets)} targets" if name != "goals" else "goals",
            )
    if partial:
        say(f"partial data: {', '.join(sorted(partial))}")
    say(
        f"tables and {len(pictures)} plots in {folder}; {time.monotonic() - began:.0f} s; bank {shown}"
    )


def _target_recipe(options: RecipeOptions, trainer: Trainer) -> Recipe:
    """The sources' recipe, or a preset, with what is otherwise for targets."""
    preset = options.named()
    return (preset.recipe if preset else trainer.recipe).changed(options.given)


def recipe_options(given: Mapping[str, Any], where: str) -> RecipeOptions:
    """A recipe of a study file.

    Args:
        given: its options.
        where: file and table, for messages.

    Raises:
        SpotError: an option that the command line does not know, or a value that it would not take.
    """
    from spot.errors import SpotError
    from tasks.choices import choose
    from tasks.errors import shown

    known = get_type_hints(RecipeOptions, include_extras=True)
    for name, value in given.items():
        kind, _ = get_args(known[choose(name, sorted(known), f"{where} option", error=SpotError)])
        kinds = {each for each in (kind, *get_args(kind)) if isinstance(each, type)} - {NoneType}
        accepted = kinds | ({int} if float in kinds else set())
        if type(value) not in accepted:
            raise SpotError(f"{where}.{name} is {shown(value)}; expected {kinds.pop().__name__}")
        setting = SETTINGS.get(name)  # the preset is none
        if setting is None or setting.least is None:
            continue
        if not setting.least <= value <= setting.most:  # NaN is in no range
            raise SpotError(
                f"{where}.{name} is {shown(value)}; expected {setting.least} to {setting.most}"
            )
    return RecipeOptions(**given)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "study",
        epilog="Example: spot study --example > study.toml, then: spot study study.toml --out study",
    )(study)
