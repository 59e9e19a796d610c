"""Progress sinks: lines for logs, a bar for terminals, event files."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from spot.training.jobs import Plan, Reporter
from spot.training.progress import Bar, Board, Lines, Several, TensorBoard, make_reporter
from tests.spot.training import toy


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120)


def written(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def report(reporter: Reporter, *, start: int = 0) -> None:
    """A run of 40 steps with two evaluations."""
    reporter.start(start, 40)
    for step in range(start + 10, 41, 10):
        reporter.advance(step, 1.5, 1000)
        if step % 20 == 0:
            reporter.evaluated(step, {"step": step, "loss": 1.625, "accuracy": 75.0, "score": 75.0})
    reporter.finish()


def test_lines_show_step_loss_score_and_rates() -> None:
    out = console(terminal=False)
    report(Lines("source cues seed 0", out))
    lines = written(out).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        "source cues seed 0: step 20/40 loss 1.625 accuracy 75.000 score 75.000 ("
    )
    assert re.search(r"\(\d+\.\d steps/s \d+ tokens/s, \d+ s left\)$", lines[0])
    assert lines[1].endswith(", 0 s left)")


def test_lines_say_where_a_run_goes_on() -> None:
    out = console(terminal=False)
    report(Lines("title", out), start=20)
    assert written(out).splitlines()[0] == "title: goes on at step 20"


def test_lines_are_not_wrapped_at_the_width_of_the_console() -> None:
    out = Console(file=io.StringIO(), force_terminal=False, width=30)
    report(Lines("a title longer than the console is wide", out))
    assert len(written(out).splitlines()) == 2


def test_a_bar_shows_title_steps_loss_and_score_and_gives_the_cursor_back() -> None:
    out = console(terminal=True)
    bar = Bar("source cues", Board(out))
    bar.start(0, 40)
    bar.advance(20, 1.5, 1000)
    bar.evaluated(20, {"score": 75.0})
    bar._progress.refresh()
    bar.finish()
    text = written(out)
    for shown in ("source cues", "20/40", "steps/s", "tokens/s", "loss 1.500", "dev 75.00"):
        assert shown in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_a_bar_goes_on_where_a_run_does() -> None:
    out = console(terminal=True)
    bar = Bar("title", Board(out))
    bar.start(30, 40)
    bar._progress.refresh()
    bar.finish()
    assert "30/40" in written(out)


def test_event_files_hold_losses_rates_and_metrics(tmp_path: Path) -> None:
    report(TensorBoard(tmp_path))
    (events,) = tmp_path.glob("events.out.tfevents.*")
    content = events.read_bytes()
    for tag in (
        b"train/loss",
        b"train/steps_per_second",
        b"train/tokens_per_second",
        b"dev/score",
        b"dev/accuracy",
    ):
        assert tag in content
    assert b"dev/loss" not in content
    assert b"dev/step" not in content


def test_several_reporters_hear_the_same() -> None:
    first, second = toy.Recorder(), toy.Recorder()
    toy.run(Plan(steps=6, evaluate_every=3), reporter=Several([first, second]))
    assert first.calls == second.calls
    assert len(first.calls) > 4


@pytest.mark.parametrize(("terminal", "kind"), [(True, Bar), (False, Lines)])
def test_a_terminal_gets_a_bar_and_everything_else_lines(terminal: bool, kind: type) -> None:
    assert isinstance(make_reporter("title", console(terminal=terminal)), kind)


def test_a_log_folder_gets_event_files_under_the_title(tmp_path: Path) -> None:
    out = console(terminal=False)
    report(make_reporter("source cues seed 0", out, log_dir=tmp_path))
    assert len(list((tmp_path / "source_cues_seed_0").glob("events.out.tfevents.*"))) == 1
    assert "step 40/40" in written(out)


def test_a_title_in_brackets_is_not_markup() -> None:
    for terminal in (True, False):
        out = console(terminal=terminal)
        report(make_reporter("source [bold]x[/] seed 0", out))
        assert "[bold]x[/]" in written(out)
