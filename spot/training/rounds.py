"""Successive halving of a search: how long its rounds are, and whom each of them gives up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from spot.training.jobs import Plan, Progress

SHARE = 0.5
"""The most that a search costs, in full runs of each of its tasks."""

WORST = 1e9
"""Development loss of what is not finite."""


@dataclasses.dataclass(frozen=True)
class Rounds:
    """When a search looks, and how many go on.

    Attributes:
        every: steps between looks at development losses.
        survivors: how many are left at the steps that end a round; the last round ends the search.
        steps: of those who reach its end.
        cost: steps of all, on one task.
    """

    every: int
    survivors: Mapping[int, int]
    steps: int
    cost: int

    @classmethod
    def of(cls, field: int, steps: int) -> Rounds:
        """For a field of configurations and full runs of ``steps``.

        Rounds end after r, 2r, 4r, ... steps, and each leaves the better half, until the last has two. r is as large
        as :data:`SHARE` of a full run allows, but at least one step: 6 configurations cost 13 r (6, then 3 for another
        r, then 2 for another 2 r), so r is a 26th of a run's steps, and the two best train for 15 % of it.
        """
        fields = [field]
        while fields[-1] > 2:
            fields.append(math.ceil(fields[-1] / 2))
        ends = [2**i for i in range(len(fields))]
        lengths = np.diff([0, *ends])
        each = int(np.dot(fields, lengths))
        every = max(1, int(SHARE * steps / each))
        survivors = {every * end: left for end, left in zip(ends, fields[1:], strict=False)}
        return cls(every, survivors, min(steps, every * ends[-1]), every * each)

    @property
    def plan(self) -> Plan:
        """Of every job of the search."""
        return Plan(steps=self.steps, evaluate_every=min(self.every, self.steps))


def best_first(losses: np.ndarray) -> list[int]:
    """Rows of finite development losses ``[configurations, tasks]`` in their order, the best first.

    By mean rank over the tasks, since losses of different tasks have no common scale; of equals by the mean distance
    to each task's best loss, then as they stand.
    """
    ranks = (losses[:, None] > losses[None]).sum(axis=1).mean(axis=1)
    behind = (losses - losses.min(axis=0)).mean(axis=1)
    return sorted(range(len(losses)), key=lambda row: (ranks[row], behind[row]))


def last_loss(progress: Progress) -> float:
    """Development loss of a job's last evaluation; ``WORST`` where that is not finite."""
    loss = progress.history[-1]["development loss"] if progress.history else math.nan
    return min(loss, WORST) if math.isfinite(loss) else WORST


@dataclasses.dataclass(frozen=True)
class GivesUpWorse:
    """Which jobs to give up when a round ends: the ``give_up`` of :func:`spot.training.loop.fit`.

    Args of the constructor:
        names: identities of every configuration's jobs, one a task; the more promising configuration first.
        survivors: see :class:`Rounds`.
    """

    names: Sequence[Sequence[str]]
    survivors: Mapping[int, int]

    def __call__(self, progress: Mapping[str, Progress]) -> list[str]:
        """A configuration is given up on all tasks; one that has diverged on any of them is, too."""
        step = min((one.step for one in progress.values()), default=0)
        if step not in self.survivors:
            return []
        whole = [names for names in self.names if all(name in progress for name in names)]
        losses = np.array([[last_loss(progress[name]) for name in names] for names in whole])
        kept = (
            {name for row in best_first(losses)[: self.survivors[step]] for name in whole[row]}
            if whole
            else set()
        )
        return [name for name in progress if name not in kept]
