"""Token batches as the backbone takes them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jax import Array

CACHED_POSITIONS = 2048
"""Rows times positions that a CPU takes at once: their activations stay in its caches."""

Tokens = Array | np.ndarray
"""On the host until a compiled program takes it."""


class Inputs(NamedTuple):
    """Padded input tokens."""

    ids: Tokens
    """``[B, T]`` int32."""
    mask: Tokens
    """``[B, T]`` bool, true at real tokens."""


class Targets(NamedTuple):
    """Padded target tokens: ``[B, L]`` for training, ``[B, C, L]`` for the C choices of each input."""

    ids: Tokens
    """int32, the end token included."""
    mask: Tokens
    """bool, true at real tokens."""


def rows_at_once(rows: int, positions: int) -> int:
    """At most ``rows`` of so many positions: all on an accelerator, on a CPU a power of two that its caches hold."""
    if jax.default_backend() != "cpu":
        return rows
    return min(rows, 1 << max(0, (CACHED_POSITIONS // positions).bit_length() - 1))
