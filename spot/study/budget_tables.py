"""What a study at budgets found as tables: a row's score at every budget, and whether transfer is worth its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from spot.retrieval.bootstrap import LEVEL, Estimate, nested_bootstrap
from spot.study.budgets import (
    NO_TRANSFER,
    ORACLE,
    BudgetFindings,
    BudgetTrial,
    head_row,
    or_none_row,
    or_untrained_row,
    restarts_row,
    row_names,
    score_array,
    targets_with,
)
from spot.study.tables import (
    DRAWS,
    Row,
    calibration_line,
    partial_line,
    retrieval_rows,
    write_files,
)

HEADS = (head_row, or_none_row, or_untrained_row)
"""Rows that choose among the first sources, of which goals say what they should give."""

BEATS = 3.0
"""Points by which the best of several sources should beat as many restarts, and more."""

SHARE_OF_FIRST, SHARE_OF_SEVERAL = 60.0, 80.0
"""Percent of the oracle's gain that the first source should give, and the best of several."""

REACHING = 75.0
"""Percent of targets that should reach plain tuning's final score in half the steps."""


class Compared:
    """Trials of one size, whose arrays are made once.

    Args of the constructor:
        trials: of one size.
        findings: whose budgets and restarts these are.
    """

    def __init__(self, trials: Sequence[BudgetTrial], findings: BudgetFindings) -> None:
        self.trials, self.budgets = trials, list(findings.budgets)
        self.names = row_names(trials)
        restarts = restarts_row(findings.plan.restarts)
        self.restarts = restarts if restarts in self.names else None
        self._arrays: dict[tuple[str, ...], np.ndarray] = {}

    def scores(self, *names: str) -> np.ndarray:
        """``[targets, seeds, budgets, names]`` float64 of rows, on the targets that have all of them."""
        if names not in self._arrays:
            targets = targets_with(self.trials, *names)
            each = [score_array(self.trials, targets, name, self.budgets) for name in names]
            self._arrays[names] = np.stack(each, axis=-1)
        return self._arrays[names]

    @property
    def several(self) -> bool:
        """Whether there is more than one budget, and so a way from the first to the last."""
        return len(self.budgets) > 1

    def targets(self, name: str) -> list[str]:
        """Targets that have a row."""
        return targets_with(self.trials, name)

    @property
    def plain_best(self) -> int:
        """Index of the budget at which plain tuning is best, mean over targets and seeds; ties: the smaller."""
        return int(self.scores(NO_TRANSFER).mean(axis=(0, 1, 3)).argmax())

    def gain(self, name: str, over: str = NO_TRANSFER, at: int | None = None) -> Estimate:
        """What a row has more than another at the budget of an index, or on the mean of all, over targets and seeds."""
        scores = self.scores(name, over)
        chosen = scores.mean(axis=2) if at is None else scores[:, :, at]
        return nested_bootstrap(_mean_difference, chosen, draws=DRAWS)

    def spread(self, name: str) -> np.ndarray:
        """Standard deviations ``[budgets]`` over seeds, mean over targets; zeros of one seed."""
        scores = self.scores(name)[..., 0]
        if scores.shape[1] < 2:
            return np.zeros(len(self.budgets))
        return np.asarray(scores.std(axis=1, ddof=1).mean(axis=0))

    def steps(self, name: str, budget: int) -> float:
        """Mean training steps of all that a row runs at a budget."""
        rows = [trial.rows[name] for trial in self.trials if name in trial.rows]
        return float(np.mean([row.steps(budget) for row in rows]))

    def steps_to_best(self, name: str) -> tuple[float, float]:
        """Steps after which a row has plain tuning's best score, and the share of targets that need half of plain's.

        Scores are means over a target's seeds. The steps are the median over targets, infinite where most never get
        there; a target counts as one that needs half where plain tuning took twice as many steps or more to its best.
        """
        means = self.scores(name, NO_TRANSFER).mean(axis=1)
        taken = [self._reached(each[:, 0], each[:, 1].max()) for each in means]
        plain = [self._reached(each[:, 1], each[:, 1].max()) for each in means]
        halves = [2 * steps <= alone for steps, alone in zip(taken, plain, strict=True)]
        return float(np.median(taken)), float(np.mean(halves))

    def _reached(self, scores: np.ndarray, wanted: float) -> float:
        """The first budget at which scores ``[budgets]`` are as high as wanted; infinite where none is."""
        there = np.flatnonzero(scores >= wanted)
        return float(self.budgets[there[0]]) if len(there) else math.inf

    def reach_final(self, name: str) -> Estimate:
        """Percent of targets on which a row has plain tuning's final score within half the steps."""
        half = sum(2 * budget <= self.budgets[-1] for budget in self.budgets)

        def share(scores: np.ndarray) -> np.ndarray:
            means = scores.mean(axis=2)
            reached = means[..., :half, 0].max(axis=-1, initial=-math.inf) >= means[..., -1, 1]
            return np.asarray(100 * reached.mean(axis=1))

        return nested_bootstrap(share, self.scores(name, NO_TRANSFER), draws=DRAWS)

    def share_of_oracle(self, name: str, at: int) -> Estimate:
        """Percent of the oracle's gain that a row gives at the budget of an index."""
        return nested_bootstrap(
            _share, self.scores(name, NO_TRANSFER, ORACLE)[:, :, at], draws=DRAWS
        )


def _mean_difference(scores: np.ndarray) -> np.ndarray:
    """``[D]`` of ``[D, targets, seeds, 2]``."""
    return np.asarray((scores[..., 0] - scores[..., 1]).mean(axis=(1, 2)))


def _share(scores: np.ndarray) -> np.ndarray:
    """Percent ``[D]`` of ``[D, targets, seeds, 3]``: row, no transfer, oracle; zero where the oracle gains nothing."""
    means = scores.mean(axis=(1, 2))
    best = means[:, 2] - means[:, 1]
    return np.asarray(100 * (means[:, 0] - means[:, 1]) / np.where(best == 0, np.inf, best))


def _estimate(title: str, estimate: Estimate) -> Row:
    return {title: estimate.mean, f"{title} low": estimate.low, f"{title} high": estimate.high}


# -- tables --------------------------------------------------------------------------------------------------


def of_plan(findings: BudgetFindings) -> Compared:
    """The trials with the plan's own number of training examples."""
    return Compared(findings.of_size(findings.plan.train_limit), findings)


def row_rows(findings: BudgetFindings) -> list[Row]:
    """A row of what is compared: score at every budget and spread; of several budgets area, its gain and steps to plain
    tuning's best, of one the gains there."""
    compared = of_plan(findings)
    return [_row(compared, name) for name in compared.names]


def _row(compared: Compared, name: str) -> Row:
    means = compared.scores(name)[..., 0].mean(axis=(0, 1))
    return (
        {"row": name, "targets": len(compared.targets(name))}
        | _by_budget(compared, means)
        | (_along(compared, name, means) if compared.several else _gains(compared, name, 0))
        | {
            "sd": float(compared.spread(name)[-1]),
            "all steps": compared.steps(name, compared.budgets[-1]),
        }
    )


def _along(compared: Compared, name: str, means: np.ndarray) -> Row:
    taken, half = compared.steps_to_best(name)
    return (
        {"area": float(means.mean())}
        | _estimate("area gain", compared.gain(name))
        | {
            "steps to plain's best": taken if math.isfinite(taken) else None,
            "in half the steps": half,
        }
    )


def _by_budget(compared: Compared, scores: np.ndarray) -> Row:
    return {
        f"{budget} steps": float(score)
        for budget, score in zip(compared.budgets, scores, strict=True)
    }


def budget_rows(findings: BudgetFindings) -> list[Row]:
    """A row of what is compared and a budget, where there are several: score, gain over no transfer and over restarts
    there, spread, and all steps it takes."""
    compared = of_plan(findings)
    if not compared.several:
        return []
    return [row for name in compared.names for row in _at_each_budget(compared, name)]


def _at_each_budget(compared: Compared, name: str) -> Iterator[Row]:
    means, spread = compared.scores(name)[..., 0].mean(axis=(0, 1)), compared.spread(name)
    for at, budget in enumerate(compared.budgets):
        yield (
            {
                "row": name,
                "budget": budget,
                "targets": len(compared.targets(name)),
                "score": float(means[at]),
            }
            | _gains(compared, name, at)
            | {"sd": float(spread[at]), "all steps": compared.steps(name, budget)}
        )


def _gains(compared: Compared, name: str, at: int) -> Row:
    gains = _estimate("gain", compared.gain(name, at=at))
    if compared.restarts:
        gains |= _estimate("over restarts", compared.gain(name, compared.restarts, at))
    return gains


def size_rows(findings: BudgetFindings) -> list[Row]:
    """A row of what is compared at every number of training examples, on the targets that have all of these."""
    return [
        {"training examples": size or "all"} | _row(compared, name)
        for size, compared in _sizes(findings).items()
        for name in compared.names
    ]


def _sizes(findings: BudgetFindings) -> dict[int, Compared]:
    """What is compared at several sizes, smallest first; the plan's own is cut to the others' targets and rows."""
    own = findings.plan.train_limit
    others = [trial for trial in findings.trials if trial.size != own]
    if not others:
        return {}
    targets, names = {trial.target for trial in others}, set(row_names(others))
    shared = [
        BudgetTrial(
            target=trial.target,
            seed=trial.seed,
            size=trial.size,
            rows={name: row for name, row in trial.rows.items() if name in names},
        )
        for trial in findings.trials
        if trial.target in targets
    ]
    sizes = sorted({trial.size for trial in shared}, key=lambda size: size or math.inf)
    return {
        size: Compared([trial for trial in shared if trial.size == size], findings)
        for size in sizes
    }


def target_rows(findings: BudgetFindings) -> list[Row]:
    """A row of every target and what is compared: score at every budget, mean over seeds."""
    compared = of_plan(findings)
    return [
        {"target": target, "row": name}
        | _by_budget(compared, scores.mean(axis=0))
        | findings.marked(target)
        for name in compared.names
        for target, scores in zip(
            compared.targets(name), compared.scores(name)[..., 0], strict=True
        )
    ]


def trial_rows(findings: BudgetFindings) -> list[Row]:
    """A row of every trial and what is compared: score at every budget."""
    return [
        {
            "training examples": trial.size or "all",
            "target": trial.target,
            "seed": trial.seed,
            "row": name,
        }
        | {f"{budget} steps": row.score(budget) for budget in findings.budgets}
        for trial in findings.trials
        for name, row in trial.rows.items()
    ]


# -- goals ---------------------------------------------------------------------------------------------------


def goal_rows(findings: BudgetFindings) -> list[Row]:
    """What transfer should give, what it gives by every measure, and whether that is met; see ``BEATS`` and the others.

    Each stands at the budget at which plain tuning is best.
    """
    own, plan = of_plan(findings), findings.plan
    rows = []
    for size, compared in (_sizes(findings) | {plan.train_limit: own}).items():
        for measure in plan.measures:
            for k in plan.k:
                for name in (each(k, measure) for each in HEADS):
                    if name in compared.names:
                        where = {"training examples": size or "all", "row": name}
                        rows += [where | row for row in _goals(compared, k, name)]
    return rows


def _goals(compared: Compared, k: int, name: str) -> Iterator[Row]:
    at = compared.plain_best
    if compared.restarts and k > 1:
        beats = compared.gain(name, compared.restarts, at)
        sure = beats.sure and beats.low > 0
        yield _goal(f"points over {compared.restarts}", compared, beats, BEATS, also=sure)
    if ORACLE in compared.names:
        share = compared.share_of_oracle(name, at)
        wanted = SHARE_OF_FIRST if k == 1 else SHARE_OF_SEVERAL
        yield _goal("percent of the oracle's gain", compared, share, wanted)
    if compared.several:
        yield _goal(
            "percent of targets at plain tuning's final score in half the steps",
            compared,
            compared.reach_final(name),
            REACHING,
        )


def _goal(
    title: str, compared: Compared, found: Estimate, wanted: float, *, also: bool = True
) -> Row:
    return (
        {"goal": title, "budget": compared.budgets[compared.plain_best]}
        | _estimate("found", found)
        | {"wanted": wanted, "met": "yes" if found.mean >= wanted and also else "no"}
    )


TABLES: Mapping[str, Callable[[BudgetFindings], list[Row]]] = {
    "goals": goal_rows,
    "rows": row_rows,
    "budgets": budget_rows,
    "sizes": size_rows,
    "targets": target_rows,
    "retrieval": retrieval_rows,
    "trials": trial_rows,
}
"""Tables by the name of their file."""


def write_budget_tables(findings: BudgetFindings, folder: Path) -> dict[str, list[Row]]:
    """Every table as CSV, and the first six together as ``tables.md``."""
    written = {name: rows for name, build in TABLES.items() if (rows := build(findings))}
    level = f"{LEVEL:.0%} bootstrap intervals over targets and seeds"
    way = (
        "area: mean over budgets, which double, and its gain over no transfer with "
        f"{level}; steps after which the median target has plain tuning's best score, and share of targets that need "
        "half of plain tuning's steps for it; "
    )
    headings = {
        "goals": f"What transfer should give where plain tuning is best, with {level}; a gain in points is met where "
        "its interval lies above zero too",
        "rows": f"Test score on at most {findings.examples} examples a target, mean over targets and seeds, of what is "
        f"chosen on dev when every run may have so many steps; {way if len(findings.budgets) > 1 else ''}"
        "mean standard deviation over seeds at the last budget; all steps: of all runs that a row chooses from",
        "budgets": f"Gain over no transfer, and over the best of restarts, at the same budget, with {level}",
        "sizes": "The same against the number of training examples, on the targets that were tried so",
        "targets": "Test score of every target, mean over seeds",
        "retrieval": "What the measures recover where all sources were tried, left-out targets, judged by dev scores",
    }
    also = [calibration_line(findings.calibration), partial_line(findings.partial)]
    write_files(written, headings, also, folder)
    return written
