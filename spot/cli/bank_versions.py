"""``spot bank tag``, ``untag``, ``remove``, ``restore`` and ``purge``. Imports no JAX."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Annotated

import typer

from spot.cli.bank_selection import SelectionOption
from spot.cli.groups import takes_groups
from spot.cli.options import BankOption, JsonOption
from spot.cli.recipes import finite

Name = Annotated[
    str,
    typer.Argument(
        help="A run: its digest, the start of that, TASK@TAG, or the address of its prompt."
    ),
]
Tags = Annotated[list[str], typer.Argument(help="Letters, digits, and . _ - behind the first.")]
Runs = Annotated[
    list[str] | None,
    typer.Argument(help="Runs: their digests, the starts of these, or TASK@TAG; else by options."),
]

FEW = 8
"""Runs that a line names."""

DAYS = 365_000
"""The most that a purge looks back."""


def add_to(app: typer.Typer) -> None:
    for name, command, example in (
        (
            "tag",
            tag,
            "spot bank tag 1f3a9c0b2d44 released, then: spot eval sst2 --prompt sst2@released",
        ),
        ("untag", untag, "spot bank untag sst2@released released"),
        ("remove", remove, "spot bank remove --task sst2 --seed 3"),
        ("restore", restore, "spot bank restore --task sst2"),
        ("purge", purge, "spot bank purge --older-than 30"),
    ):
        app.command(name, epilog=f"Example: {example}")(command)


@takes_groups
def tag(run: Name, tags: Tags, *, bank: BankOption, out: JsonOption) -> None:
    """Give a run tags, by which TASK@TAG names it: the best one, where several runs of a task share a tag.

    TASK@best and TASK@latest need no tags: the run with the highest development score, and the last one.
    """
    with bank.open(write=True) as opened:
        digest = opened.tag(run, tags)
        document = {"bank": str(opened), "run": digest, "tagged": tags}
        out.report(document, f"run {digest[:12]} in {opened}: tagged {', '.join(tags)}")


@takes_groups
def untag(run: Name, tags: Tags, *, bank: BankOption, out: JsonOption) -> None:
    """Take tags from a run."""
    with bank.open(write=True) as opened:
        digest = opened.untag(run, tags)
        document = {"bank": str(opened), "run": digest, "untagged": tags}
        out.report(document, f"run {digest[:12]} in {opened}: no longer tagged {', '.join(tags)}")


@takes_groups
def remove(
    runs: Runs = None, *, selection: SelectionOption, bank: BankOption, out: JsonOption
) -> None:
    """Hide runs: they are neither ranked nor listed nor found, until `spot bank restore` brings them back.

    Nothing is deleted, and a command that asks for such a run to be trained has it restored.
    """
    chosen = _chosen(selection, runs)
    with bank.open(write=True) as opened:
        digests = opened.remove(chosen.selection)
        few = (
            [digest[:12] for digest in digests] if len(digests) <= FEW else ["with the same words"]
        )
        out.report(
            {"bank": str(opened), "removed": digests},
            f"{len(digests)} runs removed in {opened}; back by: spot bank restore {' '.join(few)}",
        )


@takes_groups
def restore(
    runs: Runs = None, *, selection: SelectionOption, bank: BankOption, out: JsonOption
) -> None:
    """Bring removed runs back; `spot bank runs --removed` lists them."""
    chosen = _chosen(selection, runs)
    with bank.open(write=True) as opened:
        digests = opened.restore(chosen.selection)
        document = {"bank": str(opened), "restored": digests}
        out.report(document, f"{len(digests)} runs restored in {opened}")


@takes_groups
def purge(
    *,
    older_than: Annotated[
        float,
        typer.Option(
            help="Days since they were removed; 0 takes all.", min=0, max=DAYS, callback=finite
        ),
    ] = 30.0,
    bank: BankOption,
    out: JsonOption,
) -> None:
    """Delete removed runs for good, with their prompts where no other run has them.

    Runs that transfers name are kept, since a transfer is its runs.
    """
    with bank.open(write=True) as opened:
        done = opened.purge(dt.datetime.now(dt.UTC) - dt.timedelta(days=older_than))
        lines = [f"{len(done.runs)} runs and {done.prompts} prompts deleted in {opened}"]
        if done.kept:
            names = ", ".join(digest[:12] for digest in done.kept[:10])
            lines.append(
                f"{len(done.kept)} removed runs are kept, for transfers name them: {names}"
            )
        document = {"deleted": done.runs, "prompts": done.prompts, "kept": done.kept}
        out.report({"bank": str(opened), **document}, *lines)


def _chosen(selection: SelectionOption, runs: list[str] | None) -> SelectionOption:
    """The selection with the runs that are named.

    Raises:
        SpotError: nothing says which runs are meant.
    """
    from spot.errors import SpotError

    chosen = dataclasses.replace(selection, run=[*(selection.run or ()), *(runs or ())])
    if not chosen.selection.named:
        raise SpotError("no run is named; give digests, TASK@TAG, or options such as --task")
    return chosen
