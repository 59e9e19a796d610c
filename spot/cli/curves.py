"""Scores along the way, as a small plot of characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from spot.cli.output import say

if TYPE_CHECKING:
    from bank import Bank
    from spot.transfer.transfer import Transferred

Curve = Mapping[int, float]
"""Scores by step."""

MARKS = "●○"
"""Of the first curve and of the second, which lies behind it."""

WIDTH, HEIGHT = 56, 8
"""Characters of the plot without its axes."""


def show_curves(bank: Bank, results: Sequence[Transferred]) -> None:
    """Development scores of the chosen runs and of those without transfer, means over seeds, and when the first
    reached what the others reached at all. Says nothing where one evaluation was all."""
    with_transfer = _mean([_curve(bank, result.chosen_run.digest) for result in results])
    without = _mean([_curve(bank, result.baseline.digest) for result in results if result.baseline])
    if len(with_transfer) < 2 or len(without) < 2:
        return
    say("development score along the way: ● with transfer, ○ without")
    for line in plot([with_transfer, without]):
        say(line)
    say(_reached(with_transfer, without))
    say()


def _curve(bank: Bank, run: str) -> Curve:
    return {int(each["step"]): float(each["score"]) for each in bank.history(run)}


def _mean(curves: Sequence[Curve]) -> Curve:
    """Over the steps that all have."""
    steps = set.intersection(*map(set, curves)) if curves else set()
    return {step: fmean(curve[step] for curve in curves) for step in sorted(steps)}


def _reached(with_transfer: Curve, without: Curve) -> str:
    best = max(without.values())
    at = min(step for step, score in without.items() if score == best)
    reached = [step for step, score in with_transfer.items() if score >= best]
    if not reached:
        return f"without transfer {best:.1f} was reached after {at} steps, with transfer never"
    return f"without transfer {best:.1f} was reached after {at} steps, with transfer after {min(reached)}"


def plot(curves: Sequence[Curve], *, width: int = WIDTH, height: int = HEIGHT) -> list[str]:
    """Lines of a plot of curves that have two steps or more; where two meet, the first is seen.

    Args:
        curves: at most as many as there are :data:`MARKS`.
        width: characters along the steps.
        height: lines along the scores.
    """
    scores = [score for curve in curves for score in curve.values()]
    steps = [step for curve in curves for step in curve]
    low, high = min(scores), max(scores)
    first, last = min(steps), max(steps)
    canvas = [[" "] * width for _ in range(height)]
    for mark, curve in reversed(list(zip(MARKS, curves, strict=False))):
        for step, score in curve.items():
            across = round((step - first) / max(last - first, 1) * (width - 1))
            up = round((score - low) / (high - low) * (height - 1)) if high > low else 0
            canvas[height - 1 - up][across] = mark
    scale = ({0: f"{high:5.1f}"} if high > low else {}) | {height - 1: f"{low:5.1f}"}
    lines = [
        f"{scale.get(row, ''):>5} ┤{''.join(cells).rstrip()}" for row, cells in enumerate(canvas)
    ]
    ends = f"{first}{str(last).rjust(width - len(str(first)))}"
    return [*lines, f"      └{'─' * width}", f"       {ends} steps"]
