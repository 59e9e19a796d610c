"""When computed numbers are equal: up to rounding, which follows their scale, their dtype and the sums behind them.

Processors add in other orders and fuse other products, so no test compares what two programs, or two machines, have
computed bit by bit, nor by a fixed distance: a loss of 14 may differ a hundred times as much as one of 0.1.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

TERMS = 100
"""Numbers that are added up, one after another, on the way to one that is compared."""


def tolerance(
    expected: Any,
    *,
    terms: int = TERMS,
    dtype: Any = np.float32,
    scale: float | None = None,
    relative: float | None = None,
) -> float:
    """The largest difference from ``expected`` that rounding explains.

    Every addition rounds by up to one unit in the last place, of the scale of what is added.

    Args:
        expected: any array or nested sequence of numbers; what is not finite has no part in the scale.
        terms: length of the sums.
        dtype: in which they were computed.
        scale: magnitude of what is added; that of the largest number expected, where not given. A cosine near zero is
            a sum of numbers near one.
        relative: share of the scale, in place of ``terms`` units of the last place: for training, which carries a
            difference from step to step.
    """
    magnitudes = np.abs(np.asarray(expected, np.float64))
    if scale is None:
        scale = float(magnitudes[np.isfinite(magnitudes)].max(initial=0.0))
    share = terms * float(ml_dtypes.finfo(dtype).eps) if relative is None else relative
    return share * scale


def assert_close(actual: Any, expected: Any, **how: Any) -> None:
    """Fails unless both have one shape (or ``expected`` is a number) and differ by ``tolerance(expected, **how)`` at
    most."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert expected.shape in (actual.shape, ()), f"shape {actual.shape}, expected {expected.shape}"
    np.testing.assert_allclose(actual, expected, rtol=0.0, atol=tolerance(expected, **how))
