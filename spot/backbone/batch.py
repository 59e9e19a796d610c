"""Token batches as the backbone takes them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jax import Array

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
