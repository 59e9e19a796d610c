"""Prompts of another length: what a target of P' tokens starts from where a source has P."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np


def repeat(prompt: np.ndarray, length: int) -> np.ndarray:
    """The first ``length`` tokens of ``[..., P, H]``, or all of them again and again up to so many."""
    return np.asarray(np.take(prompt, np.arange(length) % prompt.shape[-2], axis=-2))


def interpolate(prompt: np.ndarray, length: int) -> np.ndarray:
    """``[..., length, H]`` at equal steps along the tokens of ``[..., P, H]``, between which it is straight; both ends
    stay where they are, and one token alone is the middle."""
    last = prompt.shape[-2] - 1
    places = np.linspace(0.0, last, length) if length > 1 else np.array([last / 2])
    below = np.minimum(np.floor(places).astype(int), max(last - 1, 0))
    shares = (places - below)[:, None]
    low, high = (np.take(prompt, np.minimum(below + i, last), axis=-2) for i in (0, 1))
    mixed = (1.0 - shares) * low.astype(np.float64) + shares * high.astype(np.float64)
    return np.asarray(mixed, np.float32)


RESIZES: Mapping[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "repeat": repeat,
    "interpolate": interpolate,
}
"""Ways to another length, by name."""
