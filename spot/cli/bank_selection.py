"""Options by which commands about banks select runs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bank.selection import Selection

PANEL = "Which runs"


@dataclasses.dataclass(frozen=True)
class SelectionOption:
    """Which runs; each option may be given several times, and a run must be one of each that is given."""

    task: Annotated[list[str] | None, typer.Option(help="Of this task.", rich_help_panel=PANEL)] = (
        None
    )
    seed: Annotated[
        list[int] | None, typer.Option(help="With this seed.", rich_help_panel=PANEL)
    ] = None
    role: Annotated[
        list[str] | None,
        typer.Option(help="source, query, baseline or transfer.", rich_help_panel=PANEL),
    ] = None
    tag: Annotated[list[str] | None, typer.Option(help="With this tag.", rich_help_panel=PANEL)] = (
        None
    )
    run: Annotated[
        list[str] | None,
        typer.Option(
            help="This one: its digest, the start of that, or TASK@TAG.", rich_help_panel=PANEL
        ),
    ] = None

    @property
    def selection(self) -> Selection:
        """What a bank is asked for.

        Raises:
            BankError: a role that no run can have.
        """
        from bank.selection import Selection

        return Selection(
            tasks=self.task or (),
            seeds=self.seed or (),
            roles=self.role or (),
            tags=self.tag or (),
            runs=self.run or (),
        )
