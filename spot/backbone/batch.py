"""Token batches as the backbone takes them."""

from __future__ import annotations

from typing import NamedTuple

from jax import Array


class Inputs(NamedTuple):
    """Padded input tokens."""

    ids: Array
    """``[B, T]`` int32."""
    mask: Array
    """``[B, T]`` bool, true at real tokens."""


class Targets(NamedTuple):
    """Padded target tokens: ``[B, L]`` for training, ``[B, C, L]`` for the C choices of each input."""

    ids: Array
    """int32, the end token included."""
    mask: Array
    """bool, true at real tokens."""
