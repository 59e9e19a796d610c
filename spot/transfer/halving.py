"""Successive halving among the runs that a transfer chooses from (Jamieson and Talwalkar 2016).

All candidates train for a little, the better half goes on, and so forth, every round costing about the same. The
rounds end on evaluation steps, so that who is left trains the run of the full budget, up to rounding.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from spot.training.jobs import Progress
from spot.training.settings import REGULAR
from spot.training.spacing import evaluation_from


def rungs(
    candidates: int, steps: int, evaluate_every: int, spacing: str = REGULAR
) -> dict[int, int]:
    """Steps at which the field is halved, and how many are left then.

    With ``n_i`` candidates in round i, a round lasts in proportion to ``1 / n_i`` steps, and the last ends at
    ``steps``: in all ``log2(n) + 1`` rounds cost about ``(log2(n) + 1) / 2`` full runs. Rounded up to evaluations,
    which a ``doubling`` spacing has fewer of.
    """
    fields = [candidates]
    while fields[-1] > 1:
        fields.append(math.ceil(fields[-1] / 2))
    total = sum(1 / field for field in fields)
    survivors_at: dict[int, int] = {}
    reached = 0.0
    for field, survivors in itertools.pairwise(fields):
        reached += steps / field / total
        survivors_at[evaluation_from(reached, evaluate_every, spacing)] = survivors
    return {step: survivors for step, survivors in survivors_at.items() if step < steps}


def race_steps(
    candidates: int, lacking: int, *, steps: int, evaluate_every: int, spacing: str = REGULAR
) -> int:
    """Steps of a race of which ``lacking`` candidates must be trained, at most: where all that are known lose first."""
    spent = before = 0
    field = candidates
    rounds = rungs(candidates, steps, evaluate_every, spacing)
    for step, survivors in [*rounds.items(), (steps, 1)]:
        spent += min(field, lacking) * (step - before)
        before, field = step, survivors
    return spent


@dataclasses.dataclass(frozen=True)
class Halving:
    """Which runs to give up at each rung: the ``give_up`` of :func:`spot.training.loop.fit`.

    Args of the constructor:
        heats: digests of runs that compete with each other, the more promising first.
        histories: of the candidates whose runs are known already: they cost nothing and are never given up, but take
            their place in the field.
        steps: of a full run.
        evaluate_every: steps between evaluations, or to the first.
        spacing: of the evaluations.
    """

    heats: Sequence[Sequence[str]]
    histories: Mapping[str, Sequence[Mapping[str, float]]]
    steps: int
    evaluate_every: int
    spacing: str = REGULAR

    def __call__(self, progress: Mapping[str, Progress]) -> list[str]:
        """Runs to give up: the worse part of every heat that has reached a rung; of equals the earlier stay."""
        given_up: list[str] = []
        for heat in self.heats:
            running = [name for name in heat if name in progress]
            survivors_at = rungs(len(heat), self.steps, self.evaluate_every, self.spacing)
            step = min((progress[name].step for name in running), default=0)
            if step not in survivors_at or any(progress[name].step != step for name in running):
                continue
            scores = {name: progress[name].best_score for name in running} | {
                name: best_until(self.histories[name], step)
                for name in heat
                if name in self.histories
            }
            order = sorted(
                (name for name in heat if name in scores), key=lambda name: -scores[name]
            )
            given_up += [name for name in order[survivors_at[step] :] if name in progress]
        return given_up


def best_until(history: Sequence[Mapping[str, float]], step: int) -> float:
    """Best development score of a run's evaluations up to a step."""
    return max((row["score"] for row in history if row["step"] <= step), default=-math.inf)


def replay(
    histories: Sequence[Sequence[Mapping[str, float]]],
    *,
    steps: int,
    evaluate_every: int,
    spacing: str = REGULAR,
) -> tuple[int, int]:
    """Who would win among full runs whose histories are known, the more promising first, and at how many steps in all.

    Training is the same with and without rivals, so this is what the race would have given.
    """
    names = [str(i) for i in range(len(histories))]
    halving = Halving([names], {}, steps, evaluate_every, spacing)
    running, spent, before = dict(zip(names, histories, strict=True)), 0, 0
    for step in [*rungs(len(histories), steps, evaluate_every, spacing), steps]:
        spent += len(running) * (step - before)
        before = step
        scores = {
            name: Progress(step=step, best_score=best_until(history, step))
            for name, history in running.items()
        }
        for name in halving(scores):
            del running[name]
    return int(max(running, key=lambda name: best_until(running[name], steps))), spent
