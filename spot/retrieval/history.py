"""From a bank's logged transfers to the expected gains of its sources, by the model of
:mod:`spot.retrieval.evidence`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bank import Outcome
from bank.vectors import average
from spot.retrieval.bootstrap import Estimate
from spot.retrieval.evidence import NORMAL_QUANTILE, Model, Pairs, one_thread
from spot.retrieval.fitting import fit
from spot.retrieval.keys import KeySet
from spot.retrieval.query import Query, as_query
from spot.retrieval.similarity import unit_rows


class Gains(NamedTuple):
    """Expected gains of S sources over training without transfer, in points, ``[S]`` each, and the intervals that
    should hold ``evidence.COVERAGE`` of cases."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def estimate(self, source: int) -> Estimate:
        """That of one source."""
        return Estimate(
            mean=float(self.mean[source]),
            low=float(self.low[source]),
            high=float(self.high[source]),
        )


def expected_gains(query: Query | np.ndarray, keys: KeySet) -> Gains:
    """Expected gain of every source for the target of a query, one number whatever the seeds of its keys.

    Args:
        query: the target's early prompt ``[..., P, H]``.
        keys: the bank's keys, whose history holds outcomes of *other* targets; sources are in the order of its tasks.
    """
    token = as_query(query).average
    target = unit_rows((token - keys.centre)[None])[0]
    with one_thread():
        means, deviations = keys.once(learn).model.predict(target, _standing([token], keys))
    half = NORMAL_QUANTILE * deviations
    return Gains(means, means - half, means + half)


class History(NamedTuple):
    """What a bank's transfers taught.

    Attributes:
        model: given them.
        silence: why the ranking is that of similarity; empty where the history speaks.
    """

    model: Model
    silence: str


def learn(keys: KeySet) -> History:
    """The model of the keys' history; use it as ``keys.once(learn)``."""
    runs = set(keys.keys.runs)
    usable = [
        o
        for o in keys.history()
        if o.source_run in runs and o.source != o.target and _gain(o) is not None
    ]
    limits = sorted({o.train_limit for o in usable})
    wanted = keys.context.train_limit
    if wanted is None and len(limits) > 1:
        sizes = ", ".join(str(limit or "all") for limit in limits)
        return History(
            Model(_pairs([], keys)),
            f"history is of several numbers of training examples ({sizes}) and this target's is not known; "
            "ranked by average",
        )
    alike = [o for o in usable if wanted in (None, o.train_limit)]
    model = fit(_pairs(alike, keys))
    if model.speaks:
        return History(model, "")
    if not alike:
        return History(model, "no history for this target; ranked by average")
    targets = len(model.history.targets)
    return History(
        model,
        f"the history ({len(model.history.gains)} pairs, {targets} target{'s' * (targets != 1)}) does not order "
        "sources better than similarity does; ranked by average",
    )


def _gain(outcome: Outcome) -> float | None:
    """In points, where score and baseline are known."""
    gain = math.nan if outcome.baseline is None else outcome.score - outcome.baseline
    return gain if math.isfinite(gain) else None


def _pairs(outcomes: Sequence[Outcome], keys: KeySet) -> Pairs:
    """The history as numbers: a row for every target and source, whatever the seeds."""
    sources = unit_rows(keys.shared.mean(keys.average) - keys.centre)
    tried: dict[str, dict[str, list[Outcome]]] = {}
    for outcome in outcomes:
        tried.setdefault(outcome.target, {}).setdefault(outcome.source, []).append(outcome)
    targets = np.zeros((len(tried), sources.shape[1]))
    rows: list[tuple[int, int, float, float, float]] = []
    for i, (target, by_source) in enumerate(tried.items()):
        addresses = dict.fromkeys(o.query for same in by_source.values() for o in same)
        tokens = [average(keys.prompt(address)) for address in addresses]
        targets[i] = np.mean(tokens, axis=0) - keys.centre
        standing = _standing(tokens, keys, leave_out=target)
        for source, same in by_source.items():
            gain = float(np.mean([_gain(o) or 0.0 for o in same]))
            number = keys.number[source]
            rows.append((i, number, float(standing[number]), gain, float(len(same))))
    columns = [np.array(column) for column in zip(*rows, strict=True)] or [np.zeros(0)] * 5
    return Pairs(
        unit_rows(targets), sources, columns[0].astype(int), columns[1].astype(int), *columns[2:]
    )


def _standing(tokens: Sequence[np.ndarray], keys: KeySet, leave_out: str = "") -> np.ndarray:
    """Similarity ``[S]`` of every source to a target, mean over its queries' mean tokens; standardised.

    Args:
        tokens: ``[H]`` each.
        keys: of the sources.
        leave_out: the target itself where it is a source too, by which the others are not measured.
    """
    values = np.mean(
        [keys.shared.mean(keys.mean_tokens.cosines(token)) for token in tokens], axis=0
    )
    others = np.delete(values, keys.number[leave_out]) if leave_out in keys.number else values
    spread = float(others.std()) if len(others) else 0.0
    return np.asarray(
        (values - (others.mean() if len(others) else 0.0)) / (spread if spread > 1e-9 else 1.0)
    )
