"""The model of :mod:`spot.retrieval.evidence` fitted to a history: its scales, and whether that has a say."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from spot.paths import cache_folder
from spot.retrieval.evidence import (
    COVERAGE,
    NORMAL_QUANTILE,
    PRIOR,
    PRIOR_LEVEL,
    PRIOR_SLOPE,
    PRIOR_SPREAD,
    SPREAD,
    SPREAD_WEIGHT,
    Model,
    Pairs,
    Parts,
    one_thread,
)

PLAIN = ("slope", "target", "noise")
"""Scales of the model in which sources differ by similarity alone."""

FEWEST_TARGETS = 4
"""Of a history that can be asked whether it beats similarity."""
CHANCE = 0.05
"""How often a history that has nothing to say may be held to have."""
FIT_PAIRS = 800
"""Pairs, of whole targets, that scales are chosen on: more teach six numbers little, and cost their number cubed."""


def fit(pairs: Pairs) -> Model:
    """The model with the likeliest scales, and intervals wide enough for the history's own left-out targets.

    Kept by the history's digest, in the process and in the cache folder.
    """
    if not len(pairs.gains):
        return Model(pairs)
    digest = _digest(pairs)
    if digest not in _FITTED:
        known = _stored(digest)
        if known is None:
            with one_thread():
                known = _fit(pairs)
            _store(digest, known)
        _FITTED[digest] = known
    return Model(pairs, **_FITTED[digest])


def _digest(pairs: Pairs) -> str:
    """sha256 of all that a fit depends on."""
    text = json.dumps(
        [PRIOR, PRIOR_SPREAD, PRIOR_SLOPE, PRIOR_LEVEL, SPREAD, SPREAD_WEIGHT, CHANCE, FIT_PAIRS]
    )
    digest = hashlib.sha256(text.encode())
    for field in dataclasses.fields(pairs):
        array = np.ascontiguousarray(getattr(pairs, field.name))
        digest.update(f"{field.name} {array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


class Fitted(TypedDict):
    """What a fit finds: attributes of a :class:`Model`."""

    scales: dict[str, float]
    widen: float
    speaks: bool


_FITTED: dict[str, Fitted] = {}


def _fit(pairs: Pairs) -> Fitted:
    model = Model(pairs, likeliest(pairs, tuple(PRIOR)), speaks=True)
    if not beats_similarity(model.left_out()[0], pairs):
        model = Model(pairs, likeliest(pairs, PLAIN), speaks=False)
    return {"scales": model.scales, "widen": _widening(model), "speaks": model.speaks}


def likeliest(pairs: Pairs, names: Sequence[str]) -> dict[str, float]:
    """Scales of largest posterior: those of ``names``, the standard deviations among the others being zero."""
    from scipy.optimize import minimize

    parts = Parts(pairs.only(_some(pairs)))
    fixed = {
        name: 0.0 if name in ("donor", "pair") else middle
        for name, middle in PRIOR.items()
        if name not in names
    }

    def scales(steps: np.ndarray) -> dict[str, float]:
        free = {
            name: float(PRIOR[name] * np.exp(step)) for name, step in zip(names, steps, strict=True)
        }
        return {name: (free | fixed)[name] for name in PRIOR}

    def loss(steps: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = parts.log_posterior(scales(steps))
        return -value, -np.array([gradient[name] for name in names])

    bounds = [(-4.0, 4.0)] * len(names)
    return scales(
        minimize(loss, np.zeros(len(names)), jac=True, method="L-BFGS-B", bounds=bounds).x
    )


def _some(pairs: Pairs) -> np.ndarray:
    """Targets, evenly drawn, of ``FIT_PAIRS`` pairs at most, but always of one."""
    every = np.unique(pairs.target)
    number = np.bincount(pairs.target)[every]
    for count in range(len(every), 1, -1):
        drawn = np.linspace(0, len(every) - 1, count).round().astype(int)
        if number[drawn].sum() <= FIT_PAIRS:
            return np.asarray(every[drawn])
    return np.asarray(every[:1])


def beats_similarity(expected: np.ndarray, pairs: Pairs) -> bool:
    """Whether expectations ``[n]`` order the sources of the history's targets better than similarity does.

    By the share of differences in gain that an ordering gets right, less that which it gets wrong: its mean over
    targets must be higher by more than ``CHANCE`` allows (Student's paired test, one-sided).
    """
    from scipy.stats import t as student

    better = []
    for target in np.unique(pairs.target):
        rows = pairs.target == target
        gains = pairs.gains[rows]
        apart = gains[:, None] - gains[None, :]
        if total := float(np.abs(apart).sum()):
            orders = [
                np.sign(values[rows][:, None] - values[rows])
                for values in (expected, pairs.similarity)
            ]
            better.append(float(((orders[0] - orders[1]) * apart).sum()) / total)
    if len(better) < FEWEST_TARGETS:
        return False
    error = np.std(better, ddof=1) / math.sqrt(len(better))
    return bool(np.mean(better) > student.isf(CHANCE, len(better) - 1) * error + 1e-12)


def _widening(model: Model) -> float:
    """How much wider intervals must be to hold ``COVERAGE`` of the outcomes of targets that are left out one by one."""
    if len(np.unique(model.history.target)) < 3:
        return 1.0
    mean, deviation = model.left_out()
    return max(
        1.0,
        float(np.quantile(np.abs(model.history.gains - mean) / deviation, COVERAGE))
        / NORMAL_QUANTILE,
    )


def _stored(digest: str) -> Fitted | None:
    """A fit from the cache folder; ``None`` where it is not there or not whole."""
    with contextlib.suppress(
        OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, RecursionError
    ):
        document = json.loads(
            (cache_folder() / "evidence" / f"{digest}.json").read_text(encoding="utf-8")
        )
        scales = {name: float(document["scales"][name]) for name in PRIOR}
        widen, speaks = float(document["widen"]), document["speaks"]
        lowest = [0.0 if name in ("donor", "pair") and not speaks else 1e-6 for name in PRIOR]
        sound = all(low <= scale < 1e6 for low, scale in zip(lowest, scales.values(), strict=True))
        if sound and 1.0 <= widen < 1e6 and isinstance(speaks, bool):
            return {"scales": scales, "widen": widen, "speaks": speaks}
    return None


def _store(digest: str, fitted: Fitted) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        path = cache_folder() / "evidence" / f"{digest}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(fitted), encoding="utf-8")
        draft.replace(path)
