"""What a study found, as plain data: what its tables and plots are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from bank import Evaluation
from spot.retrieval.bootstrap import Estimate
from spot.retrieval.evaluate import Calibration
from spot.study.baselines import MOST_FREQUENT
from spot.study.plan import StudyPlan
from tasks.task import Example, Split, Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunScores:
    """A target's run, from a source or from none."""

    dev: float
    test: Evaluation
    history: Sequence[Mapping[str, float]]
    """One row an evaluation: step, training loss, development metrics."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A target with one seed: what every source gave it, and what each measure held of that before.

    Attributes:
        target: its name.
        family: its family.
        seed: its seed.
        query: early prompt ``[P, H]``.
        baseline: without transfer.
        sources: from every source alone, by name.
        worth: every measure's score of every source; higher is held to be better.
        others: runs of further methods by name, and the training steps that each took.
    """

    target: str
    family: str
    seed: int
    query: np.ndarray
    baseline: RunScores
    sources: Mapping[str, RunScores]
    worth: Mapping[str, Mapping[str, float]]
    others: Mapping[str, tuple[RunScores, int]]

    def head(self, measure: str, k: int) -> list[str]:
        """The first k sources by a measure."""
        return sorted(self.sources, key=lambda source: -self.worth[measure][source])[:k]

    def best(self, sources: Sequence[str]) -> RunScores:
        """The best of these on dev; ties: the first."""
        return max((self.sources[source] for source in sources), key=lambda scores: scores.dev)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sized:
    """A target with so many training examples: test scores over seeds without and with transfer."""

    target: str
    size: int
    without: Sequence[float]
    with_transfer: Sequence[float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """All that a study found.

    Attributes:
        plan: what was asked for.
        trials: targets and seeds.
        tasks: the targets.
        examples: test examples of every target.
        baselines: of every target without any prompt, by name and split; see :mod:`spot.study.baselines`.
        keys: mean key ``[H]`` of every source, over seeds.
        retrieval: figures of every measure and baseline.
        calibration: of the measure ``evidence``, if it was judged.
        sized: gain against target size.
        partial: sources and targets whose splits were cut because published parts are missing.
        steps: of a full run.
        evaluate_every: steps between evaluations, or to the first.
        evaluate_spacing: ``regular`` or ``doubling``.
    """

    plan: StudyPlan
    trials: Sequence[Trial]
    tasks: Mapping[str, Task]
    examples: Mapping[str, Sequence[Example]]
    baselines: Mapping[str, Mapping[str, Mapping[Split, Evaluation]]]
    keys: Mapping[str, np.ndarray]
    retrieval: Mapping[str, Mapping[str, Estimate]]
    calibration: Calibration | None
    sized: Sequence[Sized]
    partial: frozenset[str]
    steps: int
    evaluate_every: int
    evaluate_spacing: str

    def floor(self, target: str, split: Split) -> float:
        """Score of a target's most frequent training answer."""
        return self.baselines[target][MOST_FREQUENT][split].metrics["score"]
