"""Rank classification: which of an example's choices is the answer, given the likelihood of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

LIKELIHOOD = "likelihood"

CONTENT_FREE = ("N/A", "", "[MASK]")
"""Inputs that tell nothing (Zhao et al. 2021, section 5)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranked:
    """What there is to rank choices by.

    Attributes:
        likelihoods: log-likelihoods ``[C]`` float32 of every example's choices, the end token's included.
        lengths: their tokens, ``[C]`` int each.
        without_content: gives the log-likelihoods ``[F, C]`` float32 of the same choices behind F inputs that tell
            nothing.
    """

    likelihoods: Sequence[np.ndarray]
    lengths: Sequence[np.ndarray]
    without_content: Callable[[], Sequence[np.ndarray]]


def likelihood(ranked: Ranked) -> Sequence[np.ndarray]:
    """Log-likelihoods ``[C]`` as they are: the rank classification of T5's and GPT-3's evaluations."""
    return ranked.likelihoods


def per_token(ranked: Ranked) -> Sequence[np.ndarray]:
    """Log-likelihood a token ``[C]``, which does not favour short choices (Brown et al. 2020, section 2.4)."""
    return [
        values / np.maximum(lengths, 1)
        for values, lengths in zip(ranked.likelihoods, ranked.lengths, strict=True)
    ]


def calibrated(ranked: Ranked) -> Sequence[np.ndarray]:
    """Log-likelihood less that of the same choice behind inputs that tell nothing, ``[C]``.

    Contextual calibration (Zhao et al. 2021, section 5, ``W = diag(p_cf)^-1`` and ``b = 0``): ``p_cf`` is the mean over
    content-free inputs of the choices' probabilities, which add up to 1 over the choices.
    """
    priors = [_log_prior(values) for values in ranked.without_content()]
    return [values - prior for values, prior in zip(ranked.likelihoods, priors, strict=True)]


def _log_prior(values: np.ndarray) -> np.ndarray:
    """``[F, C]`` to ``[C]`` float64."""
    values = values.astype(np.float64)
    logs = values - np.logaddexp.reduce(values, axis=1, keepdims=True)
    return np.asarray(np.logaddexp.reduce(logs, axis=0) - np.log(len(logs)))


RANKINGS: Mapping[str, Callable[[Ranked], Sequence[np.ndarray]]] = {
    LIKELIHOOD: likelihood,
    "per_token": per_token,
    "calibrated": calibrated,
}
"""Ways to rank choices, by name; the highest value ``[C]`` is the answer."""
