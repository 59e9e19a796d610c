"""Expected gain of a source for a target, from similarity and from the transfers that a bank has logged.

The gain ``g`` of training target ``t`` from source ``s`` over training it without transfer is modelled as

    g / spread(t) = mu + beta z(t, s) + d(s) + h(t, s) + e(t) + noise

where ``spread``, the standard deviation of a target's gains over sources, makes targets comparable on which sources
differ by tenths of a point and by tens; ``z`` is the similarity of average tokens, standardised over a target's
sources; ``d``, how good a donor the source is, has covariance ``K(s, s')``; ``h``, what it does for targets of this
kind, has ``K(t, t') K(s, s')``; ``e`` is the target's own level, alike for all its sources, so that none is held a good
donor for having been tried where everything helps; and ``K(x, y) = exp((cos(x, y) - 1) / length)`` over mean tokens
measured from the bank's centre. All are Gaussian, so expectation and interval follow in closed form (Rasmussen and
Williams 2006, equations 2.25 and 2.26). ``beta`` has a positive prior mean: without history the ranking is that of
similarity, and the less there is the nearer it stays to it. Scales are chosen by maximum a posteriori within broad
priors (:mod:`spot.retrieval.fitting`).

**Bounded by similarity.** The history is asked first whether it has something to say: each of its targets is left out
and ranked by what the others teach, and by similarity alone. Unless the former orders their sources better by more than
chance allows, ``d`` and ``h`` are dropped, and the ranking is that of similarity.

Intervals are widened, never narrowed, until those of left-out targets of the history cover what they should. Only
outcomes count that were measured as the target will be: on as many training examples. The target's own are never looked
at.
"""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property, lru_cache

import numpy as np
from threadpoolctl import threadpool_limits

COVERAGE = 0.9
"""Share of gains that an interval should hold."""
NORMAL_QUANTILE = 1.6449
"""Half of the interval of a standard normal variable that holds ``COVERAGE`` of it."""

SPREAD = 2.0
"""Prior guess at a target's spread, in points; all that follows is in units of it."""
SPREAD_WEIGHT = 4.0
"""How many observed differences that guess is worth."""
PRIOR_SLOPE = 0.5
"""Prior mean of ``beta``, a standard deviation of similarity."""
LEAST_SLOPE = 0.01
"""Of ``beta`` where the ranking is that of similarity, whatever the history says."""
PRIOR_LEVEL = 1.0
"""Prior standard deviation of ``mu``."""
PRIOR = {"slope": 0.5, "donor": 0.5, "pair": 0.5, "target": 1.5, "noise": 1.0, "length": 0.5}
"""Medians of the log-normal priors of the standard deviations, and of the kernel's length."""
PRIOR_SPREAD = 0.7
"""Standard deviation of the logarithm of each."""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Targets and sources, and pairs of them that were tried.

    Attributes:
        targets: ``[T, H]`` centred mean tokens of queries, of unit length.
        sources: ``[S, H]`` of keys.
        target: ``[n]`` int, row of ``targets`` of every pair.
        source: ``[n]`` int, row of ``sources``.
        similarity: ``[n]``, standardised over a target's sources.
        gains: ``[n]`` in points, mean over seeds.
        counts: ``[n]`` float, seeds.
    """

    targets: np.ndarray
    sources: np.ndarray
    target: np.ndarray
    source: np.ndarray
    similarity: np.ndarray
    gains: np.ndarray
    counts: np.ndarray

    def only(self, targets: np.ndarray) -> Pairs:
        """The pairs of some targets alone, which are ``[t]`` int64."""
        kept = np.isin(self.target, targets)
        rows = ("target", "source", "similarity", "gains", "counts")
        return dataclasses.replace(self, **{name: getattr(self, name)[kept] for name in rows})

    @cached_property
    def spread(self) -> float:
        """Of a target that is not known: standard deviation of gains over sources, in points."""
        squares, degrees = self._variation
        return float(
            np.sqrt((SPREAD_WEIGHT * SPREAD**2 + squares.sum()) / (SPREAD_WEIGHT + degrees.sum()))
        )

    @cached_property
    def spreads(self) -> np.ndarray:
        """Of every pair's target, drawn towards that of all: ``[n]``."""
        squares, degrees = self._variation
        each = np.sqrt((SPREAD_WEIGHT * self.spread**2 + squares) / (SPREAD_WEIGHT + degrees))
        return np.asarray(each[self.target])

    @property
    def _variation(self) -> tuple[np.ndarray, np.ndarray]:
        """``[T]`` sums of squares of gains around their target's mean, and their degrees of freedom."""
        many = len(self.targets)
        number = np.bincount(self.target, minlength=many)
        means = np.bincount(self.target, self.gains, many) / np.maximum(number, 1)
        return np.bincount(self.target, (self.gains - means[self.target]) ** 2, many), np.maximum(
            number - 1, 0
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """The model of this module, given history.

    Attributes:
        history: the pairs that it is given.
        scales: see ``PRIOR``; without ``donor`` and ``pair`` where sources differ by similarity alone.
        widen: factor on standard deviations, at least 1.
        speaks: whether the history orders sources better than similarity does.
    """

    history: Pairs
    scales: dict[str, float] = dataclasses.field(default_factory=PRIOR.copy)
    widen: float = 1.0
    speaks: bool = False

    def predict(self, target: np.ndarray, similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation ``[S]`` in points of the gains that single new runs from all sources would show.

        Args:
            target: ``[H]`` of a target that is not among those seen.
            similarity: ``[S]`` standardised.
        """
        history, scales = self.history, self.scales
        near = kernel(1 - history.targets @ target, scales["length"])[history.target]
        weight = scales["donor"] ** 2 + scales["pair"] ** 2 * near
        tried, place = np.unique(history.source, return_inverse=True)
        cross = (
            kernel(1 - history.sources @ history.sources[tried].T, scales["length"])[:, place]
            * weight
        )
        slope = PRIOR_SLOPE + scales["slope"] ** 2 * float(history.similarity @ self.weights)
        if not self.speaks:
            slope = max(slope, LEAST_SLOPE)
        mean = PRIOR_LEVEL**2 * self.weights.sum() + slope * similarity + cross @ self.weights
        cross = (
            cross + PRIOR_LEVEL**2 + scales["slope"] ** 2 * np.outer(similarity, history.similarity)
        )
        rest = sum(scales[name] ** 2 for name in ("donor", "pair", "target", "noise"))
        variance = PRIOR_LEVEL**2 + scales["slope"] ** 2 * similarity**2 + rest
        variance = np.maximum(variance - ((cross @ self.inverse) * cross).sum(axis=1), 1e-9)
        return history.spread * mean, history.spread * self.widen * np.sqrt(variance)

    def left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation ``[n]`` in points of every target's gains given those of the others alone.

        By the inverse of a block of the inverse; scales stay.
        """
        mean, variance = np.zeros((2, len(self.history.gains)))
        for target in np.unique(self.history.target):
            rows = np.flatnonzero(self.history.target == target)
            block = np.linalg.inv(self.inverse[np.ix_(rows, rows)])
            mean[rows] = self._relative[rows] - block @ self.weights[rows]
            variance[rows] = np.diag(block)
        return self.history.spread * mean, self.history.spread * np.sqrt(np.maximum(variance, 1e-9))

    @property
    def inverse(self) -> np.ndarray:
        """Of the covariance of what was seen, ``[n, n]``."""
        return _inverse_of(self)

    @cached_property
    def weights(self) -> np.ndarray:
        """What each pair seen adds to a prediction for a unit of covariance with it, ``[n]``."""
        return np.asarray(self.inverse @ (self._relative - PRIOR_SLOPE * self.history.similarity))

    @property
    def _relative(self) -> np.ndarray:
        return np.asarray(self.history.gains / self.history.spreads)


def kernel(distance: np.ndarray, length: float) -> np.ndarray:
    """``exp(-distance / length)`` of one minus cosines, ``[...] -> [...]`` float64."""
    near: np.ndarray = np.exp(-distance / length)
    return near


class Parts:
    """What covariances of one history share whatever the scales, and the posterior of those.

    Args of the constructor:
        pairs: the history.
    """

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.rest = pairs.gains / pairs.spreads - PRIOR_SLOPE * pairs.similarity
        self.similar = np.outer(pairs.similarity, pairs.similarity)
        self.same = (pairs.target[:, None] == pairs.target[None, :]).astype(float)
        # of a bank's sources few may have been
        tried, source = np.unique(pairs.source, return_inverse=True)
        self.sources = 1 - pairs.sources[tried] @ pairs.sources[tried].T
        self.targets = 1 - pairs.targets @ pairs.targets.T
        self.source_pairs = np.ix_(source, source)
        self.target_pairs = np.ix_(pairs.target, pairs.target)
        self.apart = self.sources[self.source_pairs]
        self.both_apart = self.apart + self.targets[self.target_pairs]

    def kernels(self, length: float) -> tuple[np.ndarray, np.ndarray]:
        """``K(s, s')`` and ``K(t, t') K(s, s')`` of all pairs, ``[n, n]``."""
        donors = kernel(self.sources, length)[self.source_pairs]
        return donors, donors * kernel(self.targets, length)[self.target_pairs]

    def covariance(self, scales: dict[str, float]) -> np.ndarray:
        """``[n, n]`` of relative gains as they were seen, noise and all."""
        return self._covariance(scales, *self.kernels(scales["length"]))

    def _covariance(
        self, scales: dict[str, float], donors: np.ndarray, both: np.ndarray
    ) -> np.ndarray:
        total: np.ndarray = PRIOR_LEVEL**2 + scales["slope"] ** 2 * self.similar
        total += scales["donor"] ** 2 * donors
        total += scales["pair"] ** 2 * both
        total += scales["target"] ** 2 * self.same
        total[np.diag_indices_from(total)] += scales["noise"] ** 2 / self.pairs.counts + 1e-9
        return total

    def log_posterior(self, scales: dict[str, float]) -> tuple[float, dict[str, float]]:
        """Of the scales, up to a constant; and its derivative by the logarithm of each."""
        donors, both = self.kernels(scales["length"])
        inverse, log_determinant = _inverse(self._covariance(scales, donors, both))
        weights = inverse @ self.rest
        value = -0.5 * float(self.rest @ weights) - 0.5 * log_determinant
        outer = np.outer(weights, weights) - inverse
        noise = float(np.diag(outer) @ (1 / self.pairs.counts))
        donors *= outer
        both *= outer
        apart = scales["donor"] ** 2 * np.vdot(donors, self.apart) + scales["pair"] ** 2 * np.vdot(
            both, self.both_apart
        )
        gradient = {
            "slope": scales["slope"] ** 2 * float(np.vdot(outer, self.similar)),
            "donor": scales["donor"] ** 2 * float(donors.sum()),
            "pair": scales["pair"] ** 2 * float(both.sum()),
            "target": scales["target"] ** 2 * float(np.vdot(outer, self.same)),
            "noise": scales["noise"] ** 2 * noise,
            "length": 0.5 * float(apart) / scales["length"],
        }
        for name, middle in PRIOR.items():
            step = math.log(scales[name] / middle) if scales[name] else 0.0
            value -= 0.5 * (step / PRIOR_SPREAD) ** 2
            gradient[name] -= step / PRIOR_SPREAD**2
        return value, gradient


def _inverse(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """Inverse and logarithm of the determinant of a positive definite matrix."""
    from scipy.linalg import lapack

    if not len(matrix):
        return matrix, 0.0
    lower, failed = lapack.dpotrf(matrix, lower=1)
    if failed:
        raise np.linalg.LinAlgError("covariance of the history is not positive definite")
    inverse, _ = lapack.dpotri(lower, lower=1)
    triangle = np.tril(inverse)
    whole = triangle + np.tril(inverse, -1).T
    return whole, 2 * float(np.log(np.diag(lower)).sum())


@lru_cache(maxsize=2)
def _inverse_of(model: Model) -> np.ndarray:
    """Kept for the last models alone: it has the history's square of numbers, and every target its own history."""
    return _inverse(Parts(model.history).covariance(model.scales))[0]


def one_thread() -> threadpool_limits:
    """A context in which linear algebra takes one thread: for matrices of this size more cost what they save."""
    import scipy.linalg  # noqa: F401 - it brings a library of its own, which can be told only once it is loaded

    return threadpool_limits(limits=1, user_api="blas")
