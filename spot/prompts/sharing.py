"""Prompts of several tasks that share a part (multi-task prompts: Wang et al. 2023; Lester et al.'s released library).

Each task's prompt is made of a part that all tasks train together and of one that is its own. What a new task can
start from is the shared part, where its own one says nothing yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spot.errors import PromptError

Stack: TypeAlias = Array | np.ndarray


class Multiplied(NamedTuple):
    """``shared * (1 + own)``, element by element; an own part begins at zero, and decays towards it."""

    shared: Stack
    """``[N, ..., P, H]`` float32, of N tasks, equal in all of them."""
    own: Stack
    """``[N, ..., P, H]`` float32."""

    def output(self) -> Array:
        """The prompts ``[N, ..., P, H]``."""
        return jnp.asarray(self.shared * (1.0 + self.own))

    def own_part(self) -> Stack:
        """What is a task's alone, ``[N, ..., P, H]``."""
        return self.own

    @classmethod
    def begun(cls, start: np.ndarray) -> Multiplied:
        """Of one task, whose own part says nothing yet."""
        return cls(start[None], np.zeros_like(start)[None])


class RankOne(NamedTuple):
    """``shared * (1 + tokens) (1 + widths)^T``: times a matrix of rank one (Wang et al. 2023, equation 2).

    Theirs is ``u v^T``; counted from 1, a factor that says nothing is zero, as the parts of the other ways are.
    """

    shared: Stack
    """``[N, ..., P, H]`` float32, of N tasks, equal in all of them."""
    tokens: Stack
    """``[N, ..., P, 1]`` float32, a task's own factor a token."""
    widths: Stack
    """``[N, ..., 1, H]`` float32, its own factor a dimension."""

    def output(self) -> Array:
        """The prompts ``[N, ..., P, H]``."""
        return jnp.asarray(self.shared * (1.0 + self.tokens) * (1.0 + self.widths))

    def own_part(self) -> Stack:
        """What is a task's alone as :class:`Multiplied` has it, ``[N, ..., P, H]``."""
        return (1.0 + self.tokens) * (1.0 + self.widths) - 1.0

    @classmethod
    def begun(cls, start: np.ndarray) -> RankOne:
        """Of one task, whose own part says nothing yet."""
        shared = start[None]
        return cls(shared, np.zeros_like(shared[..., :1]), np.zeros_like(shared[..., :1, :]))


class Added(NamedTuple):
    """``shared + own``; an own part begins at zero."""

    shared: Stack
    """``[N, ..., P, H]`` float32, equal in all N."""
    own: Stack
    """``[N, ..., P, H]`` float32."""

    def output(self) -> Array:
        """The prompts ``[N, ..., P, H]``."""
        return jnp.asarray(self.shared + self.own)

    def own_part(self) -> Stack:
        """What is a task's alone, ``[N, ..., P, H]``."""
        return self.own

    @classmethod
    def begun(cls, start: np.ndarray) -> Added:
        """Of one task, whose own part says nothing yet."""
        return cls(start[None], np.zeros_like(start)[None])


class Concatenated(NamedTuple):
    """The shared tokens, and the task's own behind them, which begin as the start's second half."""

    shared: Stack
    """``[N, ..., ceil(P / 2), H]`` float32, equal in all N."""
    own: Stack
    """``[N, ..., floor(P / 2), H]`` float32."""

    def output(self) -> Array:
        """The prompts ``[N, ..., P, H]``."""
        return jnp.concatenate([jnp.asarray(self.shared), jnp.asarray(self.own)], axis=-2)

    def own_part(self) -> Stack:
        """What is a task's alone, ``[N, ..., floor(P / 2), H]``."""
        return self.own

    @classmethod
    def begun(cls, start: np.ndarray) -> Concatenated:
        """Of one task.

        Raises:
            PromptError: one token alone, which cannot be divided.
        """
        length = start.shape[-2]
        if length < 2:
            raise PromptError(
                "a prompt of one token has no room for a shared part and one of its own; "
                "set --prompt-length to 2 or more"
            )
        half = -(-length // 2)
        return cls(start[None, ..., :half, :], start[None, ..., half:, :])


SharedParts: TypeAlias = Multiplied | RankOne | Added | Concatenated

SHARED: Mapping[str, type[SharedParts]] = {
    "multiply": Multiplied,
    "rank_one": RankOne,
    "add": Added,
    "concatenate": Concatenated,
}
"""Ways to make a prompt of two parts, by name."""


def begun(start: np.ndarray, way: str) -> SharedParts:
    """What trains for a prompt that starts at ``[..., P, H]``, as a stack of one.

    Raises:
        PromptError: one token alone, which cannot be divided.
    """
    return SHARED[way].begun(start)


def summed(gradient: Any, firsts: Array) -> Any:
    """A gradient whose shared part is that of the sum of the losses of all who share it; others as they are.

    ``firsts[N]`` int32 names for every row the first of those that it shares with, itself where it is alone.
    """
    if not isinstance(gradient, SharedParts):
        return gradient
    sums = jax.ops.segment_sum(gradient.shared, firsts, len(firsts))
    return gradient._replace(shared=sums[firsts])


def made_equal(trained: Any, firsts: Array) -> Any:
    """What trains, with the first one's shared part in all who share it, so that no rounding keeps them apart."""
    if not isinstance(trained, SharedParts):
        return trained
    return trained._replace(shared=trained.shared[firsts])
