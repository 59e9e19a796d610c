"""How well measures rank sources, judged by transfers that were run: leave-one-target-out.

For every target whose sources' scores are known, a measure ranks those sources without having seen the target's own
outcomes, and the ranking is compared with the scores.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bank import Bank, Key, Outcome, Partition
from bank.files import read_prompt
from bank.vectors import average, average_normalized
from spot.errors import RetrievalError
from spot.retrieval.bootstrap import Estimate, bootstrap
from spot.retrieval.evidence import expected_gains
from spot.retrieval.measures import MEASURES, Context, KeySet, checked_measure
from tasks.overlaps import overlapping

SHUFFLES = 200
"""Random orders that stand for a ranking by chance, and for ties."""

BASELINES = ("random", "best on average", "same family")
"""``best on average`` ranks by what sources did for other targets; ``same family`` puts those of the target's family
first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A target with one seed: its query, and what every source gave it.

    Attributes:
        target: its name.
        family: its family; empty if unknown.
        query: early prompt ``[P, H]``.
        scores: of the target's runs, by source task.
        baseline: its score without transfer, if known.
        keys: keys of the sources, without any of the target's or of tasks that share its texts, and the outcomes of
            other targets.
    """

    target: str
    family: str
    query: np.ndarray
    scores: Mapping[str, float]
    keys: KeySet
    baseline: float | None = None

    def worth(self, measure: str) -> dict[str, float]:
        """A measure's score of every source that was tried, mean over its keys; higher is held to be better."""
        values = self.keys.by_task(MEASURES[measure](self.query, self.keys))
        return {source: float(values[source]) for source in self.scores}


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
    tried: dict[tuple[str, int, str], list[Outcome]] = {}
    for outcome in bank.outcomes(partition):
        if targets is not None and outcome.target not in targets:
            continue
        tried.setdefault((outcome.target, outcome.seed, outcome.query), []).append(outcome)
    key_sets = {
        target: KeySet.of_bank(bank, partition, exclude=[target, *overlapping(target)], context=context_of(target))
        for target in dict.fromkeys(target for target, _seed, _query in tried)
    }
    cases = []
    for (target, _seed, query), outcomes in tried.items():
        keys = key_sets[target]
        by_source: dict[str, list[float]] = {}
        for outcome in outcomes:
            if outcome.source in keys.rows:
                by_source.setdefault(outcome.source, []).append(outcome.score)
        if len(by_source) > 1:
            scores = {source: float(np.mean(values)) for source, values in by_source.items()}
            cases.append(
                Case(
                    target=target,
                    family=outcomes[0].target_family,
                    query=bank.prompt(query),
                    scores=scores,
                    keys=keys,
                    baseline=outcomes[0].baseline,
                )
            )
    return cases


def cases_of_files(prompts: Path, scores: Path) -> list[Case]:
    """Cases of somebody else's study.

    Args:
        prompts: folder with a prompt ``[P, H]`` a task, ``<task>.npy`` or ``.safetensors``: query of the task as a
            target, key of it as a source.
        scores: JSON, ``{target: {source: score}}``; scores of a target from itself are left out.

    Raises:
        RetrievalError: a file that cannot be read so, or a task without a prompt.
        BankError: a file that holds no prompt.
    """
    try:
        matrix = json.loads(scores.read_text(encoding="utf-8"))
        table = {str(t): {str(s): float(v) for s, v in row.items() if s != t} for t, row in matrix.items()}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RetrievalError(f"{scores}: expected JSON {{target: {{source: score}}}} ({error})") from error
    bad = [f"{t} from {s}" for t, row in table.items() for s, v in row.items() if not math.isfinite(v)]
    if bad:
        raise RetrievalError(f"{scores}: no finite score of {', '.join(bad)}")
    files = {path.stem: path for path in sorted(prompts.iterdir()) if path.suffix in (".npy", ".safetensors")}
    wanted = dict.fromkeys([*table, *(source for row in table.values() for source in row)])
    missing = [task for task in wanted if task not in files]
    if missing:
        raise RetrievalError(f"{prompts}: no prompt of {', '.join(missing)}; expected <task>.npy or <task>.safetensors")
    loaded = {task: read_prompt(files[task]).prompt for task in wanted}
    shapes = {prompt.shape for prompt in loaded.values()}
    if len(shapes) > 1:
        raise RetrievalError(f"{prompts}: prompts of different shapes {sorted(shapes)} cannot be compared")
    return [
        Case(
            target=target,
            family="",
            query=loaded[target],
            scores=row,
            keys=KeySet([_key(task, loaded[task]) for task in row], loaded.__getitem__),
        )
        for target, row in table.items()
        if len(row) > 1
    ]


def _key(task: str, prompt: np.ndarray) -> Key:
    return Key(
        task=task,
        task_family="",
        seed=0,
        run=task,
        prompt=task,
        value=task,
        average=average(prompt),
        average_normalized=average_normalized(prompt),
    )


def evaluate(
    cases: Sequence[Case], measures: Sequence[str], *, k: Sequence[int] = (1, 3), draws: int = 1000, seed: int = 0
) -> dict[str, dict[str, Estimate]]:
    """Every measure's and every baseline's figures, means over targets with bootstrap intervals over targets.

    ``regret@k``: points between the best source and the best among the first k. ``hit@k``: share of cases whose best
    source is among them. ``nDCG@k``: discounted gain of the first k over that of the best order (Järvelin and
    Kekäläinen 2002), gains counted from the case's worst source. ``rank correlation``: Spearman's, with the scores.

    Raises:
        RetrievalError: no case, an unknown measure, or one that needs more than the prompts.
    """
    if not cases:
        raise RetrievalError("no target with two sources or more to judge by; run `spot transfer --method oracle`")
    for measure in measures:
        checked_measure(measure)
    rng = np.random.default_rng(seed)
    names = [*measures, *(b for b in BASELINES if b != "same family" or any(case.family for case in cases))]
    found: dict[str, dict[str, Estimate]] = {}
    for name in names:
        rows = [_figures(case, _worth(name, case, cases), k, rng) for case in cases]
        found[name] = {
            figure: _estimate([row[figure] for row in rows], [case.target for case in cases], draws, seed)
            for figure in rows[0]
        }
    return found


def _worth(name: str, case: Case, cases: Sequence[Case]) -> dict[str, float]:
    """What a measure or baseline holds of every source of a case."""
    if name in MEASURES:
        return case.worth(name)
    if name == "best on average":
        others = [other for other in cases if other.target != case.target]
        levels = [(other.scores, float(np.mean(list(other.scores.values())))) for other in others]
        return {source: _mean([s[source] - level for s, level in levels if source in s]) for source in case.scores}
    families = {key.task: key.task_family for key in case.keys.keys}
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
        figures[f"hit@{at}"] = float(np.mean([scores[first].max() == scores.max() for first in firsts]))
        figures[f"nDCG@{at}"] = float(np.mean([gains[f] @ discount / ideal if ideal else 1.0 for f in firsts]))
    flat = np.ptp(values) == 0 or np.ptp(scores) == 0
    figures["rank correlation"] = 0.0 if flat else float(stats.spearmanr(values, scores).statistic)
    return figures


def _estimate(values: Sequence[float], targets: Sequence[str], draws: int, seed: int) -> Estimate:
    """Mean over targets of their cases' means; targets, not cases, are drawn, since cases of a target go together."""
    means = np.array([np.mean([v for v, t in zip(values, targets, strict=True) if t == name])
                      for name in dict.fromkeys(targets)])  # fmt: skip
    return bootstrap(lambda rows: float(means[rows].mean()), len(means), draws=draws, seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """Whether the intervals of ``evidence`` hold what they say.

    Attributes:
        covered: share of gains within their interval, of which ``evidence.LEVEL`` should be.
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
        expected = case.keys.by_task(np.array(expected_gains(case.query, case.keys)))
        for source, score in case.scores.items():
            _, low, high = expected[source]
            inside.append(low <= score - case.baseline <= high)
            widths.append(high - low)
    if not inside:
        raise RetrievalError("no target with a score without transfer to judge intervals by")
    return Calibration(covered=float(np.mean(inside)), width=float(np.mean(widths)), pairs=len(inside))
