"""The commands of ``spot``, as Typer shows and parses them."""

from __future__ import annotations

from typing import Annotated

import typer

from spot import __version__


def make_app(*, only_bank: bool = False) -> typer.Typer:
    """The command line; for ``spot bank ...``, which shall start fast, without the modules of the other commands."""
    from spot.cli import bank

    app = typer.Typer(
        name="spot",
        help="Train soft prompts for one frozen language model, bank them, and transfer the best to a new task.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(
        epilog="Example: spot train-source wn_noun_topic wn_pos --seeds 2, then: spot transfer wn_living"
    )(root)
    if not only_bank:
        from spot.cli import (
            adaptation,
            analysis,
            comparing,
            demo,
            embedding,
            ensembling,
            evaluation,
            matrix,
            pretraining,
            recycling,
            study,
            tasks,
            tools,
            training,
            tuning,
        )

        for module in (
            training,
            pretraining,
            adaptation,
            tuning,
            study,
            evaluation,
            comparing,
            matrix,
            ensembling,
            analysis,
            recycling,
            tools,
            embedding,
            tasks,
            demo,
        ):
            module.add_to(app)
    app.add_typer(bank.app, name="bank")
    return app


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"spot {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Entry of every command."""
