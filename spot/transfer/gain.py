"""How sure a gain is: a paired bootstrap over seeds and test examples (Efron and Tibshirani 1993, chapter 16)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spot.retrieval.bootstrap import Estimate
from tasks.metrics import MEANS, compute
from tasks.task import Example, Task


def paired_gain(
    task: Task,
    examples: Sequence[Example],
    with_transfer: Sequence[Sequence[str]],
    without: Sequence[Sequence[str]],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Gain in points of one set of answers over another, one pair a seed.

    Every draw takes seeds, and examples (whole groups where a metric has groups), with replacement, the same ones on
    both sides and for all seeds. With few seeds the interval is too narrow: three seeds cannot say how seeds vary.

    Args:
        task: for its metrics.
        examples: of the test split.
        with_transfer: answers to all examples, a sequence a seed.
        without: likewise.
        draws: bootstrap samples.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    points = [_points(task, examples, answers) for answers in (*with_transfer, *without)]
    count = len(with_transfer)

    def difference(chosen: np.ndarray, rows: np.ndarray) -> float:
        return float(np.mean([score(one, rows) - score(count + one, rows) for one in chosen]))

    def score(side: int, rows: np.ndarray) -> float:
        values = points[side]
        if values is not None:
            return float(values[rows].mean())
        answers = (*with_transfer, *without)[side]
        return task.score([answers[row] for row in rows], [examples[row] for row in rows])["score"]

    members = _groups(examples)
    found = []
    for _ in range(draws):
        drawn = rng.integers(len(members), size=len(members))
        rows = np.concatenate([members[i] for i in drawn])
        found.append(difference(rng.integers(count, size=count), rows))
    return Estimate.of_draws(difference(np.arange(count), np.arange(len(examples))), found)


def _points(task: Task, examples: Sequence[Example], answers: Sequence[str]) -> np.ndarray | None:
    """Points of every example ``[n]``, where the score is their mean."""
    if not set(task.metrics) <= MEANS:
        return None
    return np.array(
        [
            np.mean([compute(name, [answer], [example], task.labels) for name in task.metrics])
            for answer, example in zip(answers, examples, strict=True)
        ]
    )


def _groups(examples: Sequence[Example]) -> list[np.ndarray]:
    """Rows that are drawn together: those of a group, and single ones without."""
    rows: dict[object, list[int]] = {}
    for row, example in enumerate(examples):
        rows.setdefault(example.group or row, []).append(row)
    return [np.array(members) for members in rows.values()]
