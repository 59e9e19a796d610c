"""How well measures rank sources, judged by transfers that were run: leave-one-target-out.

For every target whose sources' scores are known, a measure ranks those sources without having seen the target's own
outcomes, and the ranking is compared with the scores.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from bank import Bank, Outcome, Partition
from bank.keys import keys_of_prompts
from spot.errors import RetrievalError
from spot.prompts.files import prompts_in, read_prompt
from spot.retrieval.bootstrap import Estimate, bootstrap
from spot.retrieval.evidence import one_thread
from spot.retrieval.history import expected_gains, learn
from spot.retrieval.keys import Context, KeySet
from spot.retrieval.measures import MEASURES, checked_measure, resolved_measure
from spot.retrieval.query import Query
from tasks.overlaps import overlapping

SHUFFLES = 200
"""Random orders that stand for a ranking by chance, and for ties."""

BASELINES = ("random", "best on average", "same family")
"""``best on average`` ranks by what sources did for other targets; ``same family`` puts those of the target's family
first."""

RESTARTS = "restarts"
"""The row of the best of k runs without transfer, of several seeds: what as many runs give that no source started."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A target with one seed: its query, and what every source gave it.

    Attributes:
        target: its name.
        family: its family; empty if unknown.
        query: early prompt ``[P, H]``.
        scores: of the target's runs, by source task.
        baseline: its score without transfer, if known.
        restarts: scores of the target without transfer, one a seed.
        start: mean token ``[H]`` of the prompt that the query's run started from, if known.
        keys: keys of the sources, without any of the target's or of tasks that share its texts, and the outcomes of
            other targets.
    """

    target: str
    family: str
    query: np.ndarray
    scores: Mapping[str, float]
    keys: KeySet
    baseline: float | None = None
    restarts: Sequence[float] = ()
    start: np.ndarray | None = None

    @property
    def tried(self) -> float:
        """Share of the sources that were tried: where it is below one, the best source may be another."""
        return len(self.scores) / len(self.keys.tasks)

    @cached_property
    def _query(self) -> Query:
        return Query(self.query, self.start)

    @property
    def knows_starts(self) -> bool:
        """Whether it is known where query and keys started, as ``displacement`` needs."""
        return not MEASURES["displacement"].lacking(self._query, self.keys)

    def worth(self, measure: str) -> dict[str, float]:
        """A measure's score of every source that was tried, mean over its keys; higher is held to be better."""
        values = MEASURES[resolved_measure(measure, self._query, self.keys)].by_task(self._query, self.keys)
        return {source: values[source] for source in self.scores}


def cases_of_bank(
    bank: Bank,
    partition: Partition,
    *,
    targets: Sequence[str] | None = None,
    context_of: Callable[[str], Context] = lambda _target: Context(),
) -> list[Case]:
    """Every target and seed of a partition for which two sources or more were tried.

    Args:
        bank: where the transfers are.
        partition: of their keys and queries.
        targets: the only ones to look at; all if not given.
        context_of: gives what measures look at beside prompts, by target.
    """
    tried: dict[tuple[str, int, int, str], list[Outcome]] = {}
    for outcome in bank.outcomes(partition):
        if targets is None or outcome.target in targets:
            identity = (outcome.target, outcome.train_limit, outcome.seed, outcome.query)
            tried.setdefault(identity, []).append(outcome)
    restarts: dict[tuple[str, int], dict[int, float]] = {}
    for (target, limit, seed, _query), (first, *_) in tried.items():
        if first.baseline is not None:
            restarts.setdefault((target, limit), {})[seed] = first.baseline
    key_sets = {
        (target, limit): KeySet.from_bank(
            bank,
            partition,
            exclude=[target, *overlapping(target)],
            context=dataclasses.replace(context_of(target), train_limit=limit),
        )
        for target, limit in dict.fromkeys((target, limit) for target, limit, _seed, _query in tried)
    }
    cases = []
    for (target, limit, seed, query), outcomes in tried.items():
        keys = key_sets[target, limit]
        by_source: dict[str, list[float]] = {}
        for outcome in outcomes:
            if outcome.source in keys.number:
                by_source.setdefault(outcome.source, []).append(outcome.score)
        if len(by_source) > 1:
            cases.append(
                Case(
                    target=target,
                    family=outcomes[0].target_family,
                    query=bank.prompt(query),
                    scores={source: float(np.mean(values)) for source, values in by_source.items()},
                    keys=keys,
                    baseline=outcomes[0].baseline,
                    restarts=list(restarts.get((target, limit), {}).values()),
                    start=outcomes[0].start if keys.context.start is None else keys.context.start(seed),
                )
            )
    return cases


def complete_cases(cases: Sequence[Case]) -> list[Case]:
    """Those whose sources were all tried, since elsewhere the best may be another; all cases where there is none."""
    return [case for case in cases if case.tried == 1] or list(cases)


def telling(k: Sequence[int], cases: Sequence[Case]) -> list[int]:
    """Those of ``k`` that say something: below the number of sources of every case, the whole of which is no choice."""
    fewest = min((len(case.scores) for case in cases), default=0)
    return [at for at in k if at < fewest]


def cases_of_files(prompts: Path, scores: Path) -> tuple[list[Case], list[str]]:
    """Cases of somebody else's study, and the tasks that were left out since there is no prompt of theirs.

    Args:
        prompts: folder with a prompt ``[P, H]`` a task, ``<task>.npy`` or any other format: query of the task as a
            target, key of it as a source.
        scores: JSON, ``{target: {source: score}}``; scores of a target from itself are left out.

    Raises:
        RetrievalError: a file that cannot be read so, or prompts of different shapes.
        PromptError: a file that holds no prompt.
    """
    try:
        matrix = json.loads(scores.read_text(encoding="utf-8"))
        table = {str(t): {str(s): float(v) for s, v in row.items() if s != t} for t, row in matrix.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RetrievalError(f"{scores}: expected JSON {{target: {{source: score}}}} ({error})") from error
    bad = [f"{t} from {s}" for t, row in table.items() for s, v in row.items() if not math.isfinite(v)]
    if bad:
        raise RetrievalError(f"{scores}: no finite score of {', '.join(bad)}; leave out what was not measured")
    files = prompts_in(prompts)
    named = dict.fromkeys([*table, *(source for row in table.values() for source in row)])
    missing = [task for task in named if task not in files]
    loaded = {task: read_prompt(files[task]).prompt for task in named if task in files}
    shapes = {prompt.shape for prompt in loaded.values()}
    if len(shapes) > 1:
        raise RetrievalError(
            f"{prompts}: prompts of different shapes {sorted(shapes)} cannot be compared; keep those of one backbone "
            "and length"
        )
    table = {t: {s: v for s, v in row.items() if s in loaded} for t, row in table.items() if t in loaded}
    sources = dict.fromkeys(source for row in table.values() for source in row)
    outcomes = [outcome for target, row in table.items() for outcome in _outcomes(target, row)]

    def keys(target: str) -> KeySet:
        others = [outcome for outcome in outcomes if outcome.target != target]
        names = [task for task in sources if task != target]
        return KeySet(keys_of_prompts(names, [loaded[task] for task in names]), loaded.__getitem__, lambda: others)

    cases = [
        Case(
            target=target,
            family="",
            query=loaded[target],
            scores=row,
            keys=keys(target),
        )
        for target, row in table.items()
        if len(row) > 1
    ]
    return cases, missing


def _outcomes(target: str, row: Mapping[str, float]) -> list[Outcome]:
    """A row of a matrix as history, from its mean: what the target scored without transfer is not known."""
    return [
        Outcome(
            target=target,
            target_family="",
            seed=0,
            query=target,
            source=source,
            source_family="",
            source_run=source,
            score=score,
            baseline=_mean(list(row.values())),
        )
        for source, score in row.items()
    ]


def evaluate(
    cases: Sequence[Case], measures: Sequence[str], *, k: Sequence[int] = (1, 3), draws: int = 1000, seed: int = 0
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
        raise RetrievalError("no target with two sources or more to judge by; run `spot transfer --method oracle`")
    for measure in measures:
        checked_measure(measure)
    if mute := sorted({*k} - {*telling(k, cases)}):
        fewest = min(len(case.scores) for case in cases)
        raise RetrievalError(f"k {mute[0]} is no choice among {fewest} sources; give a smaller one")
    rng = np.random.default_rng(seed)
    names = [*measures, *(b for b in BASELINES if b != "same family" or any(case.family for case in cases))]
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
        return {source: _mean([s[source] - level for s, level in levels if source in s]) for source in case.scores}
    families = dict(zip(case.keys.keys.tasks, case.keys.keys.families, strict=True))
    return {source: float(name == "same family" and families[source] == case.family) for source in case.scores}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _figures(case: Case, worth: Mapping[str, float], k: Sequence[int], rng: np.random.Generator) -> dict[str, float]:
    """Figures of one ranking; where worths are equal, the mean over random orders of the equals."""
    from scipy import stats

    scores = np.array([case.scores[source] for source in case.scores])
    values = np.array([worth[source] for source in case.scores])
    tied = len(np.unique(values)) < len(values)
    orders = [np.lexsort((rng.permutation(len(values)), -values)) for _ in range(SHUFFLES if tied else 1)]
    figures: dict[str, float] = {}
    gains = scores - scores.min()
    for at in k:
        discount = 1 / np.log2(np.arange(2, min(at, len(scores)) + 2))
        ideal = float(np.sort(gains)[::-1][: len(discount)] @ discount)
        firsts = [order[:at] for order in orders]
        figures[f"regret@{at}"] = float(np.mean([scores.max() - scores[first].max() for first in firsts]))
        span = float(np.ptp(scores))
        figures[f"relative regret@{at}"] = figures[f"regret@{at}"] / span if span else 0.0
        figures[f"hit@{at}"] = float(np.mean([scores[first].max() == scores.max() for first in firsts]))
        figures[f"nDCG@{at}"] = float(np.mean([gains[f] @ discount / ideal if ideal else 1.0 for f in firsts]))
        if case.baseline is not None:
            figures[f"gain@{at}"] = float(np.mean([scores[first].max() for first in firsts])) - case.baseline
    flat = np.ptp(values) == 0 or np.ptp(scores) == 0
    figures["rank correlation"] = 0.0 if flat else float(stats.spearmanr(values, scores).statistic)
    return figures


def _best_of_restarts(case: Case, k: Sequence[int]) -> dict[str, float]:
    """Expected best of k of a target's scores without transfer over their mean, where there are as many."""
    scores = sorted(case.restarts)
    return {
        f"gain@{at}": sum(score * math.comb(i, at - 1) for i, score in enumerate(scores)) / math.comb(len(scores), at)
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
        known = [(row[figure], target) for row, target in zip(rows, targets, strict=True) if figure in row]
        estimates[figure] = _estimate([value for value, _ in known], [target for _, target in known], draws, seed)
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
    return Calibration(covered=float(np.mean(inside)), width=float(np.mean(widths)), pairs=len(inside))
