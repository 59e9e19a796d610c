"""What a study at budgets found: for every row the score on test that a budget of steps gives.

A run's evaluations tell of every shorter budget: whoever stops there has the best of them on dev, and its test score
stands beside it in the history, on the recipe's ``curve_limit`` examples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from spot.retrieval.bootstrap import Estimate
from spot.retrieval.evaluate import Calibration
from spot.study.plan import StudyPlan
from spot.training.prompt_tuning import TEST_SCORE
from spot.transfer.halving import replay
from tasks.task import PARTIAL

History = Sequence[Mapping[str, float]]
"""One row an evaluation: step, dev and test score."""

NO_TRANSFER, UNTRAINED, ORACLE = "no transfer", "top-1 untrained", "oracle"


def restarts_row(count: int) -> str:
    """Name of the row of the best of so many runs without transfer."""
    return f"best of {count} restarts"


def head_row(k: int, measure: str) -> str:
    """Name of the row of the best of the first k sources by a measure."""
    return f"best of top-{k}, {measure}"


def or_none_row(k: int, measure: str) -> str:
    """Name of the row of the best of these and the run without transfer."""
    return f"best of top-{k} and no transfer, {measure}"


def or_untrained_row(k: int, measure: str) -> str:
    """Name of the row in which every one of these may stay as it is, where training on the target made it worse."""
    return f"best of top-{k}, trained or not, {measure}"


def best_evaluation(history: History, budget: int) -> Mapping[str, float]:
    """The best evaluation on dev up to a budget; ties: the latest, which is most often that of smaller loss."""
    return max(
        (row for row in history if row["step"] <= budget),
        key=lambda row: (row["score"], row["step"]),
    )


class Row(Protocol):
    """What a row gives one target and seed."""

    def score(self, budget: int) -> float:
        """On test, in points, of what is chosen on dev when every run may have so many steps."""
        ...

    def steps(self, budget: int) -> int:
        """Training steps that this takes in all."""
        ...


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The best on dev of runs, the more promising first; ties: the first.

    Attributes:
        histories: of the runs.
        before: training steps that made what they start from, for this target.
    """

    histories: Sequence[History]
    before: int = 0

    def score(self, budget: int) -> float:
        best = [best_evaluation(history, budget) for history in self.histories]
        return max(best, key=lambda row: row["score"])[TEST_SCORE]

    def steps(self, budget: int) -> int:
        return self.before + budget * len(self.histories)


@dataclasses.dataclass(frozen=True)
class Raced:
    """The winner of successive halving among runs, read off their full histories.

    Attributes:
        histories: of the runs, the more promising first.
        evaluate_every: steps to the first evaluation.
        spacing: of the evaluations.
    """

    histories: Sequence[History]
    evaluate_every: int
    spacing: str

    def score(self, budget: int) -> float:
        winner, _steps = self._race(budget)
        return best_evaluation(self.histories[winner], budget)[TEST_SCORE]

    def steps(self, budget: int) -> int:
        return self._race(budget)[1]

    def _race(self, budget: int) -> tuple[int, int]:
        return replay(
            self.histories,
            steps=budget,
            evaluate_every=self.evaluate_every,
            spacing=self.spacing,
        )


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A score that no training changes."""

    value: float

    def score(self, budget: int) -> float:
        return self.value

    def steps(self, budget: int) -> int:
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class BudgetTrial:
    """A target with one seed and so many training examples: what every row gives it.

    Attributes:
        target: its name.
        seed: its seed.
        size: training examples that its runs may use; 0 for all.
        rows: by name, in the order of tables.
    """

    target: str
    seed: int
    size: int
    rows: Mapping[str, Row]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BudgetFindings:
    """All that a study at budgets found.

    Attributes:
        plan: what was asked for.
        budgets: steps, rising by doubling; the last is a whole run's.
        trials: of the plan's ``train_limit`` and, with fewer rows, of its ``sizes``.
        examples: test examples a target at most.
        retrieval: figures of every measure on the targets that started from every source.
        calibration: of the measure ``evidence``, if it was judged.
        partial: sources and targets whose splits were cut because published parts are missing.
    """

    plan: StudyPlan
    budgets: Sequence[int]
    trials: Sequence[BudgetTrial]
    examples: int
    retrieval: Mapping[str, Mapping[str, Estimate]]
    calibration: Calibration | None
    partial: frozenset[str]

    def marked(self, *tasks: str) -> dict[str, str]:
        """What a row says besides where one of its tasks was cut from the parts that are there; else nothing."""
        return {PARTIAL: "yes"} if self.partial & set(tasks) else {}

    def of_size(self, size: int) -> list[BudgetTrial]:
        """Trials with so many training examples."""
        return [trial for trial in self.trials if trial.size == size]


def row_names(trials: Sequence[BudgetTrial]) -> list[str]:
    """Of all rows, those before others that are so in some trial."""
    return list(dict.fromkeys(name for trial in trials for name in trial.rows))


def targets_with(trials: Sequence[BudgetTrial], *names: str) -> list[str]:
    """Targets that have these rows."""
    having = (trial.target for trial in trials if set(names) <= set(trial.rows))
    return list(dict.fromkeys(having))


def score_array(
    trials: Sequence[BudgetTrial], targets: Sequence[str], name: str, budgets: Sequence[int]
) -> np.ndarray:
    """Test scores ``[targets, seeds, budgets]`` float64 of a row that these targets have."""
    return np.array(
        [
            [
                [trial.rows[name].score(budget) for budget in budgets]
                for trial in trials
                if trial.target == target
            ]
            for target in targets
        ],
        np.float64,
    )
