"""How well measures rank sources, judged by transfers that were run: leave-one-target-out.

For every target whose sources' scores are known, a measure ranks those sources without having seen the target's own
outcomes, and the ranking is compared with the scores.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from spot.errors import RetrievalError
from spot.retrieval.bootstrap import Estimate, bootstrap
from spot.retrieval.cases import Case, mean, telling
from spot.retrieval.evidence import one_thread
from spot.retrieval.history import expected_gains, learn
from spot.retrieval.measures import checked_measure

SHUFFLES = 200
"""Random orders that stand for a ranking by chance, and for ties."""

BASELINES = ("random", "best on average", "same family")
"""``best on average`` ranks by what sources did for other targets; ``same family`` puts those of the target's family
first."""

RESTARTS = "restarts"
"""The row of the best of k runs without transfer, of several seeds: what as many runs give that no source started."""


def evaluate(
    cases: Sequence[Case],
    measures: Sequence[str],
    *,
    k: Sequence[int] = (1, 3),
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """Every measure's and every baseline's figures, means over targets with bootstrap intervals over targets.

    With ``best`` and ``worst`` of a case's sources by score, and the best among the first k of a ranking:

    * ``regret@k``: ``best`` less that one, in points.
    * ``relative regret@k``: the same as a share of ``best - worst``, so that targets whose sources differ by tenths of
      a point count as much as others: 0 where the best source is among the first k, 1 where all of them are worst.
      (Poth et al. 2021 divide by ``best`` itself, which depends on where a metric has its zero.)
    * ``hit@k``: share of cases whose best source is among them.
    * ``nDCG@k``: discounted gain of the first k over that of the best order (Järvelin and Kekäläinen 2002), gains
      counted from ``worst``.
    * ``gain@k``: that one less the score without transfer, where it is known. Both are scores that the choice was made
      by, which flatters the best of several; the rows ``random`` (best of k random sources) and ``restarts`` (best of k
      runs without transfer) say by how much.
    * ``rank correlation``: Spearman's, with the scores.

    Raises:
        RetrievalError: no case, an unknown measure, one that needs more than the prompts, or a ``k`` that takes in all
            sources of a case.
    """
    if not cases:
        raise RetrievalError(
            "no target with two sources or more to judge by; run `spot transfer --method oracle`"
        )
    for measure in measures:
        checked_measure(measure)
    if mute := sorted({*k} - {*telling(k, cases)}):
        fewest = min(len(case.scores) for case in cases)
        raise RetrievalError(f"k {mute[0]} is no choice among {fewest} sources; give a smaller one")
    rng = np.random.default_rng(seed)
    names = [
        *measures,
        *(b for b in BASELINES if b != "same family" or any(case.family for case in cases)),
    ]
    rows: dict[str, list[dict[str, float]]] = {}
    with one_thread():
        for name in names:
            rows[name] = [_figures(case, _worth(name, case, cases), k, rng) for case in cases]
    rows[RESTARTS] = [_best_of_restarts(case, k) for case in cases]
    targets = [case.target for case in cases]
    figures = {name: _estimates(figures, targets, draws, seed) for name, figures in rows.items()}
    return {name: estimates for name, estimates in figures.items() if estimates}


def speaking(cases: Sequence[Case]) -> tuple[int, str]:
    """For how many cases ``evidence`` has a history that speaks, and why it has none for the first of the others."""
    silences = [case.keys.once(learn).silence for case in cases]
    return silences.count(""), next(filter(None, silences), "")


def _worth(name: str, case: Case, cases: Sequence[Case]) -> dict[str, float]:
    """What a measure or baseline holds of every source of a case."""
    if name not in BASELINES:
        return case.worth(name)
    if name == "best on average":
        others = [other for other in cases if other.target != case.target]
        levels = [(other.scores, float(np.mean(list(other.scores.values())))) for other in others]
        return {
            source: mean([s[source] - level for s, level in levels if source in s])
            for source in case.scores
        }
    families = dict(zip(case.keys.keys.tasks, case.keys.keys.families, strict=True))
    return {
        source: float(name == "same family" and families[source] == case.family)
        for source in case.scores
    }


def _figures(
    case: Case, worth: Mapping[str, float], k: Sequence[int], rng: np.random.Generator
) -> dict[str, float]:
    """Figures of one ranking; where worths are equal, the mean over random orders of the equals."""
    from scipy import stats

    scores = np.array([case.scores[source] for source in case.scores])
    values = np.array([worth[source] for source in case.scores])
    tied = len(np.unique(values)) < len(values)
    orders = [
        np.lexsort((rng.permutation(len(values)), -values)) for _ in range(SHUFFLES if tied else 1)
    ]
    figures: dict[str, float] = {}
    gains = scores - scores.min()
    for at in k:
        discount = 1 / np.log2(np.arange(2, min(at, len(scores)) + 2))
        ideal = float(np.sort(gains)[::-1][: len(discount)] @ discount)
        firsts = [order[:at] for order in orders]
        figures[f"regret@{at}"] = float(
            np.mean([scores.max() - scores[first].max() for first in firsts])
        )
        span = float(np.ptp(scores))
        figures[f"relative regret@{at}"] = figures[f"regret@{at}"] / span if span else 0.0
        figures[f"hit@{at}"] = float(
            np.mean([scores[first].max() == scores.max() for first in firsts])
        )
        figures[f"nDCG@{at}"] = float(
            np.mean([gains[f] @ discount / ideal if ideal else 1.0 for f in firsts])
        )
        if case.baseline is not None:
            figures[f"gain@{at}"] = (
                float(np.mean([scores[first].max() for first in firsts])) - case.baseline
            )
    flat = np.ptp(values) == 0 or np.ptp(scores) == 0
    figures["rank correlation"] = 0.0 if flat else float(stats.spearmanr(values, scores).statistic)
    return figures


def _best_of_restarts(case: Case, k: Sequence[int]) -> dict[str, float]:
    """Expected best of k of a target's scores without transfer over their mean, where there are as many."""
    scores = sorted(case.restarts)
    return {
        f"gain@{at}": sum(score * math.comb(i, at - 1) for i, score in enumerate(scores))
        / math.comb(len(scores), at)
        - sum(scores) / len(scores)
        for at in k
        if at <= len(scores)
    }


def _estimates(
    rows: Sequence[Mapping[str, float]], targets: Sequence[str], draws: int, seed: int
) -> dict[str, Estimate]:
    """Of every figure, over the cases that have it."""
    estimates = {}
    for figure in dict.fromkeys(figure for row in rows for figure in row):
        known = [
            (row[figure], target)
            for row, target in zip(rows, targets, strict=True)
            if figure in row
        ]
        estimates[figure] = _estimate(
            [value for value, _ in known], [target for _, target in known], draws, seed
        )
    return estimates


def _estimate(values: Sequence[float], targets: Sequence[str], draws: int, seed: int) -> Estimate:
    """Mean over targets of their cases' means; targets, not cases, are drawn, since cases of a target go together."""
    means = np.array([np.mean([v for v, t in zip(values, targets, strict=True) if t == name])
                      for name in dict.fromkeys(targets)])  # fmt: skip
    return bootstrap(lambda rows: float(means[rows].mean()), len(means), draws=draws, seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """Whether the intervals of ``evidence`` hold what they say.

    Attributes:
        covered: share of gains within their interval, of which ``evidence.COVERAGE`` should be.
        width: mean width of the intervals in points.
        pairs: how many.
    """

    covered: float
    width: float
    pairs: int


def calibration(cases: Sequence[Case]) -> Calibration:
    """Gains of sources against the intervals expected of them without the target's own outcomes.

    Raises:
        RetrievalError: no case whose score without transfer is known.
    """
    inside, widths = [], []
    for case in cases:
        if case.baseline is None:
            continue
        expected = expected_gains(case.query, case.keys)
        for source, score in case.scores.items():
            interval = expected.estimate(case.keys.number[source])
            inside.append(interval.low <= score - case.baseline <= interval.high)
            widths.append(interval.high - interval.low)
    if not inside:
        raise RetrievalError("no target with a score without transfer to judge intervals by")
    return Calibration(
        covered=float(np.mean(inside)), width=float(np.mean(widths)), pairs=len(inside)
    )
