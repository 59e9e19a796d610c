"""Expected gain of a source for a target, from similarity and from the transfers that a bank has logged.

The gain ``g`` in points of training target ``t`` from source ``s`` over training it without transfer is modelled as

    g = mu + beta z(t, s) + d(s) + h(t, s) + e(t) + noise

where ``z`` is the similarity of average tokens, standardised over all pairs; ``d``, how good a donor the source is, has
covariance ``K(s, s')``; ``h``, what it does for targets of this kind, has ``K(t, t') K(s, s')``; ``e`` is the target's
own level, alike for all its sources; and ``K(x, y) = exp((cos(x, y) - 1) / length)`` over mean tokens measured from the
bank's centre. All are Gaussian, so expectation and interval follow in closed form (Rasmussen and Williams 2006,
equations 2.25 and 2.26). ``beta`` has a positive prior mean: without history the ranking is that of similarity, and the
less there is the nearer it stays to it. Scales are chosen by maximum a posteriori within broad priors.

Intervals are widened, never narrowed, until those of left-out targets of the history cover what they should.
The target's own outcomes are never looked at.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bank.vectors import average
from spot.retrieval.similarity import compare, unit_rows

if TYPE_CHECKING:
    from bank import Outcome
    from spot.retrieval.measures import KeySet

LEVEL = 0.9
NORMAL_QUANTILE = 1.6449
"""Half of the interval of a standard normal variable that holds ``LEVEL`` of it."""

PRIOR_SLOPE = 1.0
"""Prior mean of ``beta``, points a standard deviation of similarity."""
PRIOR = {"slope": 1.0, "donor": 1.0, "pair": 1.0, "target": 3.0, "noise": 2.0, "length": 0.5}
"""Medians of the log-normal priors of the standard deviations in points, and of the kernel's length."""
PRIOR_SPREAD = 0.7
"""Standard deviation of the logarithm of each."""


class Expected(NamedTuple):
    """Expected gain over training without transfer, in points, and the interval that should hold ``LEVEL`` of cases."""

    mean: float
    low: float
    high: float


class Facts(NamedTuple):
    """Pairs of target and source, a row each."""

    targets: np.ndarray
    """``[n, H]`` centred mean tokens of the targets' queries, of unit length."""
    sources: np.ndarray
    """``[n, H]`` of the sources' keys."""
    similarity: np.ndarray
    """``[n]`` standardised."""
    identity: np.ndarray
    """``[n]`` whose row it is: equal numbers are one target."""


@dataclasses.dataclass(frozen=True)
class Model:
    """The model of this module, given history.

    Attributes:
        facts: pairs that have been seen.
        gains: ``[n]`` in points, mean over seeds.
        counts: ``[n]`` seeds.
        scales: see ``PRIOR``.
        widen: factor on standard deviations, at least 1.
    """

    facts: Facts
    gains: np.ndarray
    counts: np.ndarray
    scales: dict[str, float]
    widen: float = 1.0

    @property
    def level(self) -> float:
        """``mu``: mean gain of the history, 0 without."""
        return float(self.gains.mean()) if len(self.gains) else 0.0

    def predict(self, new: Facts) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation ``[m]`` of the gains that single new runs of these pairs would show."""
        prior = self.level + PRIOR_SLOPE * new.similarity
        variance = np.diag(covariance(new, new, self.scales)) + self.scales["noise"] ** 2
        if not len(self.gains):
            return prior, self.widen * np.sqrt(variance)
        cross = covariance(new, self.facts, self.scales)
        lower = np.linalg.cholesky(self._covariance())
        rest = self.gains - self.level - PRIOR_SLOPE * self.facts.similarity
        weights = np.linalg.solve(lower.T, np.linalg.solve(lower, rest))
        explained = np.square(np.linalg.solve(lower, cross.T)).sum(axis=0)
        return prior + cross @ weights, self.widen * np.sqrt(np.maximum(variance - explained, 1e-9))

    def log_posterior(self) -> float:
        """Of the scales, up to a constant."""
        lower = np.linalg.cholesky(self._covariance())
        rest = np.linalg.solve(lower, self.gains - self.level - PRIOR_SLOPE * self.facts.similarity)
        steps = [np.log(self.scales[name] / middle) / PRIOR_SPREAD for name, middle in PRIOR.items()]
        return float(-0.5 * rest @ rest - np.log(np.diag(lower)).sum() - 0.5 * np.square(steps).sum())

    def without(self, target: int) -> Model:
        """The same with one target's rows forgotten."""
        kept = self.facts.identity != target
        facts = Facts(*(part[kept] for part in self.facts))
        return dataclasses.replace(self, facts=facts, gains=self.gains[kept], counts=self.counts[kept])

    def _covariance(self) -> np.ndarray:
        noise = np.diag(self.scales["noise"] ** 2 / self.counts)
        return covariance(self.facts, self.facts, self.scales) + noise + 1e-9 * np.eye(len(self.gains))


def covariance(left: Facts, right: Facts, scales: dict[str, float]) -> np.ndarray:
    """Prior covariance ``[n, m]`` of gains without their noise."""

    def kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        near: np.ndarray = np.exp((first @ second.T - 1) / scales["length"])
        return near

    donors = kernel(left.sources, right.sources)
    both = kernel(left.targets, right.targets) * donors
    total: np.ndarray = (
        scales["slope"] ** 2 * np.outer(left.similarity, right.similarity)
        + scales["donor"] ** 2 * donors
        + scales["pair"] ** 2 * both
        + scales["target"] ** 2 * (left.identity[:, None] == right.identity[None, :])
    )
    return total


def fit(facts: Facts, gains: np.ndarray, counts: np.ndarray) -> Model:
    """The model with the likeliest scales, and intervals wide enough for the history's own left-out targets."""
    model = Model(facts, gains, counts, dict(PRIOR))
    if not len(gains):
        return model
    from scipy.optimize import minimize

    def loss(steps: np.ndarray) -> float:
        return -dataclasses.replace(model, scales=_scales(steps)).log_posterior()

    found = minimize(loss, np.zeros(len(PRIOR)), method="L-BFGS-B", bounds=[(-4.0, 4.0)] * len(PRIOR))
    model = dataclasses.replace(model, scales=_scales(found.x))
    return dataclasses.replace(model, widen=_widening(model))


def _scales(steps: np.ndarray) -> dict[str, float]:
    return {name: float(middle * np.exp(step)) for (name, middle), step in zip(PRIOR.items(), steps, strict=True)}


def _widening(model: Model) -> float:
    """How much wider intervals must be to hold ``LEVEL`` of the outcomes of targets that are left out one by one."""
    known = np.unique(model.facts.identity)
    if len(known) < 3:
        return 1.0
    misses = []
    for target in known:
        own = model.facts.identity == target
        mean, deviation = model.without(target).predict(Facts(*(part[own] for part in model.facts)))
        misses.append(np.abs(model.gains[own] - mean) / deviation)
    return max(1.0, float(np.quantile(np.concatenate(misses), LEVEL)) / NORMAL_QUANTILE)


def expected_gains(query: np.ndarray, keys: KeySet) -> list[Expected]:
    """Expected gain of every key's source for the target of a query ``[P, H]``.

    Args:
        query: the target's early prompt.
        keys: the bank's keys, whose history holds outcomes of *other* targets.
    """
    of_query = average(query) - keys.centre
    count = len(keys.keys)
    similarity = compare(average(query), keys.average, "average")
    new = Facts(
        targets=np.repeat(unit_rows(of_query[None]), count, axis=0),
        sources=unit_rows(keys.average - keys.centre),
        similarity=keys.learned.standardised(similarity),
        identity=np.full(count, -1),
    )
    means, deviations = keys.learned.model.predict(new)
    half = NORMAL_QUANTILE * deviations
    return [Expected(float(m), float(m - h), float(m + h)) for m, h in zip(means, half, strict=True)]


class History(NamedTuple):
    """What a bank's transfers taught."""

    model: Model
    middle: float
    """Mean of the similarities seen."""
    spread: float
    """Their standard deviation."""

    def standardised(self, similarity: np.ndarray) -> np.ndarray:
        """Similarities as the model takes them."""
        return (similarity - self.middle) / self.spread

    @classmethod
    def of(cls, keys: KeySet) -> History:
        """The model of the keys' history; without two pairs in it, the keys among themselves say what is similar."""
        row = {key.run: i for i, key in enumerate(keys.keys)}
        history = [o for o in keys.history() if o.baseline is not None and o.source_run in row]
        queries = {address: average(keys.prompt(address)) for address in dict.fromkeys(o.query for o in history)}
        pairs: dict[tuple[str, str], list[Outcome]] = {}
        for outcome in history:
            pairs.setdefault((outcome.target, outcome.source), []).append(outcome)
        targets, sources = np.zeros((2, len(pairs), keys.average.shape[1]))
        similarity = np.zeros(len(pairs))
        for i, outcomes in enumerate(pairs.values()):
            left = np.stack([queries[o.query] for o in outcomes])
            right = keys.average[[row[o.source_run] for o in outcomes]]
            targets[i] = left.mean(axis=0) - keys.centre
            sources[i] = right.mean(axis=0) - keys.centre
            similarity[i] = (unit_rows(left) * unit_rows(right)).sum(axis=1).mean()
        names = {name: i for i, name in enumerate(dict.fromkeys(target for target, _ in pairs))}
        gains = [np.mean([o.score - (o.baseline or 0.0) for o in outcomes]) for outcomes in pairs.values()]
        seen = similarity if len(pairs) > 1 else _among(keys.average)
        middle, spread = (float(seen.mean()), float(seen.std()) or 1.0) if len(seen) else (0.0, 1.0)
        facts = Facts(
            targets=unit_rows(targets),
            sources=unit_rows(sources),
            similarity=(similarity - middle) / spread,
            identity=np.array([names[target] for target, _ in pairs], int),
        )
        counts = np.array([float(len(outcomes)) for outcomes in pairs.values()])
        return cls(fit(facts, np.array(gains), counts), middle, spread)


def _among(vectors: np.ndarray) -> np.ndarray:
    """Cosines of all pairs of different rows, as one row of numbers."""
    unit = unit_rows(vectors)
    return np.asarray((unit @ unit.T)[np.triu_indices(len(unit), 1)])
