"""How sure a gain is: a paired bootstrap over seeds and test examples (Efron and Tibshirani 1993, chapter 16), and
what both sides must be above for it to mean anything."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from bank import Evaluation
from spot.retrieval.bootstrap import Estimate
from tasks.metrics import points_of_each
from tasks.task import Example, Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gain:
    """What transfer gave a target, in points of its test score.

    Attributes:
        target: its name.
        without: scores without transfer, one a seed.
        with_transfer: scores with, likewise.
        gain: their mean difference with its paired interval.
        floor: score of the most frequent training answer.
        control: what ``without`` is.
    """

    target: str
    without: Sequence[float]
    with_transfer: Sequence[float]
    gain: Estimate
    floor: float
    control: str = "without transfer"

    @property
    def verdict(self) -> str:
        """What the floor says of the gain; empty where both sides lie above it."""
        below = [
            mean <= self.floor for mean in (np.mean(self.without), np.mean(self.with_transfer))
        ]
        if all(below):
            return "neither is above the most frequent answer: nothing has been learnt, and the gain says nothing"
        if below[1]:
            return "with transfer the score is not above the most frequent answer"
        return ""

    def line(self) -> str:
        """Scores with their spread over seeds, the gain with its interval, and the floor."""
        seeds = len(self.without)
        line = (
            f"{self.target}, test score over {seeds} seed{'s'[: seeds > 1]}: "
            f"{self.control} {_spread(self.without)}, with transfer {_spread(self.with_transfer)}, "
            f"gain {self.gain.mean:+.2f} (95 % interval {self.gain.low:+.2f} to {self.gain.high:+.2f}), "
            f"most frequent answer {self.floor:.2f}"
        )
        return f"{line}; {self.verdict}" if self.verdict else line


def _spread(scores: Sequence[float]) -> str:
    spread = f" (sd {np.std(scores, ddof=1):.2f})" if len(scores) > 1 else ""
    return f"{np.mean(scores):.2f}{spread}"


def gain_over(
    task: Task,
    examples: Sequence[Example],
    with_transfer: Sequence[Evaluation],
    without: Sequence[Evaluation],
    *,
    floor: float,
    control: str = "without transfer",
) -> Gain:
    """The gain of test answers with transfer over those without, one pair a seed.

    Args:
        task: the target, for its metrics.
        examples: of its test split.
        with_transfer: metrics and answers to all examples, one a seed.
        without: likewise.
        floor: score of the most frequent training answer.
        control: what the evaluations without are.
    """
    return Gain(
        target=task.name,
        without=[evaluation.metrics["score"] for evaluation in without],
        with_transfer=[evaluation.metrics["score"] for evaluation in with_transfer],
        gain=paired_gain(
            task,
            examples,
            [evaluation.answers for evaluation in with_transfer],
            [evaluation.answers for evaluation in without],
        ),
        floor=floor,
        control=control,
    )


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
    score = _score_of(task, examples, [*with_transfer, *without])
    count = len(with_transfer)

    def difference(chosen: np.ndarray, drawn: _Drawn) -> float:
        return float(np.mean([score(pair, drawn) - score(count + pair, drawn) for pair in chosen]))

    return _estimate(difference, count, examples, draws, seed)


def score_interval(
    task: Task,
    examples: Sequence[Example],
    answers: Sequence[Sequence[str]],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """The mean score in points of answers, a sequence a seed, with its interval over seeds and examples."""
    score = _score_of(task, examples, answers)

    def mean(chosen: np.ndarray, drawn: _Drawn) -> float:
        return float(np.mean([score(side, drawn) for side in chosen]))

    return _estimate(mean, len(answers), examples, draws, seed)


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """Examples of one draw.

    Attributes:
        rows: ``[n]`` int of them.
        places: ``[n]`` int, which draw of a group each belongs to: a group that is drawn twice is two groups.
        of: all examples.
    """

    rows: np.ndarray
    places: np.ndarray
    of: Sequence[Example]

    @functools.cached_property
    def examples(self) -> list[Example]:
        """Those of the draw, in groups that are each drawn once."""
        drawn = zip(self.places, (self.of[row] for row in self.rows), strict=True)
        return [
            dataclasses.replace(example, group=f"{place} {example.group}")
            if example.group
            else example
            for place, example in drawn
        ]


def _score_of(
    task: Task, examples: Sequence[Example], sides: Sequence[Sequence[str]]
) -> Callable[[int, _Drawn], float]:
    """``score(side, drawn)``: of the answers of a side to the examples of a draw."""
    points = [points_of_each(task.metrics, answers, examples) for answers in sides]

    def score(side: int, drawn: _Drawn) -> float:
        values = points[side]
        if values is not None:
            return float(values[drawn.rows].mean())
        answers = sides[side]
        return task.score([answers[row] for row in drawn.rows], drawn.examples)["score"]

    return score


def _estimate(
    figure: Callable[[np.ndarray, _Drawn], float],
    count: int,
    examples: Sequence[Example],
    draws: int,
    seed: int,
) -> Estimate:
    """A figure of seeds and examples, with its interval under drawing both: examples, then seeds, with replacement."""
    rng, members = np.random.default_rng(seed), _groups(examples)

    def taken(groups: np.ndarray) -> _Drawn:
        rows = np.concatenate([members[i] for i in groups])
        sizes = [len(members[i]) for i in groups]
        return _Drawn(rows, np.repeat(np.arange(len(groups)), sizes), examples)

    found = []
    for _ in range(draws):
        drawn = taken(rng.integers(len(members), size=len(members)))
        found.append(figure(rng.integers(count, size=count), drawn))
    return Estimate.from_draws(figure(np.arange(count), taken(np.arange(len(members)))), found)


def _groups(examples: Sequence[Example]) -> list[np.ndarray]:
    """Rows that are drawn together: those of a group, and single ones without."""
    rows: dict[object, list[int]] = {}
    for row, example in enumerate(examples):
        rows.setdefault(example.group or row, []).append(row)
    return [np.array(members) for members in rows.values()]
