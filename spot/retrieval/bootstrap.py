"""Figures with intervals: the percentile bootstrap (Efron and Tibshirani 1993, chapter 13)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure, and its interval: ``LEVEL`` of its draws by the bootstrap, NaN where there was one row to draw from."""

    mean: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + (f" [{self.low:.2f}, {self.high:.2f}]" if self.sure else "")

    @classmethod
    def from_draws(cls, mean: float, drawn: Sequence[float]) -> Estimate:
        """The figure itself, and what it was in every draw."""
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(mean=float(mean), low=float(low), high=float(high))


def bootstrap(
    figure: Callable[[np.ndarray], float], count: int, *, draws: int, seed: int = 0
) -> Estimate:
    """A figure of all rows, and its interval under drawing as many rows with replacement; none of a single row.

    Args:
        figure: of rows ``[n]`` int.
        count: how many rows there are.
        draws: bootstrap samples.
        seed: of the draws.
    """
    if count < 2:
        return Estimate(mean=figure(np.arange(count)), low=math.nan, high=math.nan)
    rows = np.random.default_rng(seed).integers(count, size=(draws, count))
    return Estimate.from_draws(figure(np.arange(count)), [figure(drawn) for drawn in rows])


def nested_bootstrap(
    figure: Callable[[np.ndarray], np.ndarray], values: np.ndarray, *, draws: int, seed: int = 0
) -> Estimate:
    """A figure of groups of rows, and its interval under drawing groups, and rows within each, with replacement.

    Args:
        figure: of values ``[D, groups, rows, ...]``, for each of D draws ``[D]``.
        values: ``[groups, rows, ...]``, such as targets and their seeds.
        draws: bootstrap samples.
        seed: of the draws.
    """
    groups, rows = values.shape[:2]
    whole = float(figure(values[None])[0])
    if groups * rows < 2:
        return Estimate(mean=whole, low=math.nan, high=math.nan)
    rng = np.random.default_rng(seed)
    group = rng.integers(groups, size=(draws, groups, 1))
    row = rng.integers(rows, size=(draws, groups, rows))
    return Estimate.from_draws(whole, figure(values[group, row]).tolist())
