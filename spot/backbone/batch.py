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


START = -1
"""Stands for a model's start token in a packed sequence."""

SUFFIX = -2
"""Stands for the first token of a suffix behind a text, and ``SUFFIX - j`` for that j places behind it."""


class Packed(NamedTuple):
    """Examples behind each other in one sequence of M tokens, for models whose tokens see only what stands before them.

    An example is its text, the start token and, of every target, all but the last token. A token sees its own prompt,
    the text and start token before it and its own target, but no other target and nothing of other examples.
    """

    ids: Tokens
    """``[M]`` int32."""
    grid: Tokens
    """``[B, W]`` int32, the tokens of every example in their order, M where none is; W is at least P."""
    positions: Tokens
    """``[B, W]`` int32, counted from the end of the prompt."""
    branches: Tokens
    """``[B, W]`` int32, the target that a token belongs to, counted from 1 in its example; 0 for text and start."""
    prompt_ids: Tokens
    """``[B]`` int32, the prompt of every example."""
    owners: Tokens
    """``[Q]`` int32, the targets of the tokens that are scored, counted over all examples."""
    places: Tokens
    """``[Q]`` int32, the tokens in front of them."""
    labels: Tokens
    """``[Q]`` int32, the tokens that are scored: targets, the end token included."""
    mask: Tokens
    """``[Q]`` bool, true at real ones."""
