"""When a run is evaluated: after so many steps each time, or after twice as many."""

from __future__ import annotations

import math

from spot.training.settings import DOUBLING, REGULAR


def evaluations(steps: int, every: int, spacing: str = REGULAR) -> list[int]:
    """Steps at which a run is evaluated: ``every`` times 1, 2, 3, ... or 1, 2, 4, ..., and the last step.

    Args:
        steps: of the run.
        every: steps to the first evaluation.
        spacing: ``regular`` or ``doubling``.
    """
    found, at = [], every
    while at < steps:
        found.append(at)
        at = 2 * at if spacing == DOUBLING else at + every
    return [*found, steps]


def evaluates(step: int, every: int, spacing: str = REGULAR) -> bool:
    """Whether a run is evaluated at a step that is not its last."""
    times, rest = divmod(step, every)
    return rest == 0 and (spacing != DOUBLING or times.bit_count() == 1)


def evaluation_from(step: float, every: int, spacing: str = REGULAR) -> int:
    """The first evaluation at or after a point of a run that does not end before."""
    times = max(1, math.ceil(round(step / every, 9)))
    return every * (1 << (times - 1).bit_length() if spacing == DOUBLING else times)
