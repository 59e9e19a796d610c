"""Progress of runs: a live board on a terminal, plain lines elsewhere, TensorBoard event files on request."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from spot.training.jobs import Reporter


class Rates:
    """Steps and tokens per second since the last evaluation."""

    def __init__(self, step: int) -> None:
        self._step, self._tokens, self._since = step, 0, time.monotonic()

    def add(self, step: int, tokens: int) -> tuple[float, float]:
        self._tokens += tokens
        seconds = max(time.monotonic() - self._since, 1e-9)
        return (step - self._step) / seconds, self._tokens / seconds


class Board:
    """A live table with a line for every run under way; it is there while one is."""

    def __init__(self, console: Console) -> None:
        self.table = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rates]}"),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[score]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def add(self, title: str, step: int, steps: int) -> TaskID:
        row = self.table.add_task(title, completed=step, total=steps, rates="", loss="", score="")
        self.table.start()
        return row

    def remove(self, row: TaskID) -> None:
        self.table.remove_task(row)
        if not self.table.tasks:
            self.table.stop()


class Bar:
    """A run's line on a board: steps, rates, loss, last score, time left."""

    def __init__(self, title: str, board: Board) -> None:
        self._title, self._board, self._progress = title, board, board.table
        self._row: TaskID | None = None

    def start(self, step: int, steps: int) -> None:
        self._rates = Rates(step)
        self._row = self._board.add(self._title, step, steps)

    def advance(self, step: int, loss: float, tokens: int) -> None:
        per_second, token_rate = self._rates.add(step, tokens)
        rates = f"{per_second:.1f} steps/s {token_rate:,.0f} tokens/s"
        if self._row is not None:
            self._progress.update(self._row, completed=step, rates=rates, loss=f"loss {loss:.3f}")

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._row is not None:
            self._progress.update(self._row, score=f"dev {metrics['score']:.2f}")

    def finish(self) -> None:
        if self._row is not None:
            self._board.remove(self._row)
            self._row = None


class Lines:
    """One line an evaluation, for logs and pipes."""

    def __init__(self, title: str, console: Console) -> None:
        self._title, self._console = title, console

    def start(self, step: int, steps: int) -> None:
        self._rates, self._steps, self._last = Rates(step), steps, ""
        if step:
            self._console.print(
                f"{self._title}: goes on at step {step}", highlight=False, markup=False
            )

    def advance(self, step: int, loss: float, tokens: int) -> None:
        per_second, token_rate = self._rates.add(step, tokens)
        seconds_left = (self._steps - step) / per_second if per_second else math.inf
        self._last = (
            f"{per_second:.1f} steps/s {token_rate:.0f} tokens/s, {seconds_left:.0f} s left"
        )

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        shown = " ".join(
            f"{name} {value:.3f}"
            for name, value in metrics.items()
            if name != "step" and not math.isnan(value)
        )
        rates = f" ({self._last})" if self._last else ""
        self._console.print(
            f"{self._title}: step {step}/{self._steps} {shown}{rates}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def finish(self) -> None: ...


class TensorBoard:
    """Event files with loss, rate and development metrics."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def start(self, step: int, steps: int) -> None:
        self._rates = Rates(step)

    def advance(self, step: int, loss: float, tokens: int) -> None:
        per_second, token_rate = self._rates.add(step, tokens)
        self._writer.add_scalar("train/loss", loss, step)
        self._writer.add_scalar("train/steps_per_second", per_second, step)
        self._writer.add_scalar("train/tokens_per_second", token_rate, step)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if name not in ("step", "loss"):
                self._writer.add_scalar(f"dev/{name}", value, step)

    def finish(self) -> None:
        self._writer.close()


class Several:
    """Passes everything on to several reporters."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = reporters

    def start(self, step: int, steps: int) -> None:
        for reporter in self._reporters:
            reporter.start(step, steps)

    def advance(self, step: int, loss: float, tokens: int) -> None:
        for reporter in self._reporters:
            reporter.advance(step, loss, tokens)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        for reporter in self._reporters:
            reporter.evaluated(step, metrics)

    def finish(self) -> None:
        for reporter in self._reporters:
            reporter.finish()


class Display:
    """Where the progress of many runs goes: a board on a terminal, lines elsewhere, event files under ``log_dir``."""

    def __init__(self, console: Console, *, log_dir: Path | None = None) -> None:
        self._console, self._log_dir = console, log_dir
        self._board = Board(console) if console.is_terminal else None

    def reporter(self, title: str) -> Reporter:
        """The progress sink of one run."""
        shown: Reporter = Bar(title, self._board) if self._board else Lines(title, self._console)
        if self._log_dir is None:
            return shown
        return Several([shown, TensorBoard(self._log_dir / title.replace(" ", "_"))])


def make_reporter(title: str, console: Console, *, log_dir: Path | None = None) -> Reporter:
    """The progress sink of a run that is alone."""
    return Display(console, log_dir=log_dir).reporter(title)
