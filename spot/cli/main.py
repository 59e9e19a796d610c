"""The ``spot`` command and its edge: the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import gc
import sys
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
    app.callback(epilog="Example: spot train-source wn_noun_topic wn_pos --seeds 2, then: spot transfer wn_living")(
        root
    )
    if not only_bank:
        from spot.cli import study, tasks, tools, training

        for module in (training, study, tools, tasks):
            module.add_to(app)
    app.add_typer(bank.app, name="bank")
    return app


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"spot {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Entry of every command."""


def main() -> None:
    """Run the command line; every error that is the input's fault ends in one line and a non-zero exit."""
    gc.set_threshold(100_000)  # what imports make stays; looking through it for garbage took a sixth of the start
    try:
        make_app(only_bank=sys.argv[1:2] == ["bank"])()
    except OSError as error:
        _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)
    except ValueError as error:
        from bank.errors import BankError
        from spot.errors import SpotError
        from tasks.errors import TaskError

        if not isinstance(error, SpotError | BankError | TaskError):
            raise
        _fail(str(error), 1)
    except Exception as error:
        interruption = sys.modules.get("spot.training.loop")
        if interruption is None or not isinstance(error, interruption.Interrupted):
            raise
        _fail(str(error), 128 + error.number)


def _fail(line: str, code: int) -> None:
    sys.stderr.write(f"error: {line}\n")
    sys.exit(code)
