"""A packed sequence as the grid of rows that attention takes, and back."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from spot.backbone.layers import KeysValues


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the tokens of a sequence of S stand in rows of W, as two maps that undo each other.

    Products with weights take the sequence, in which no token is padding; attention takes the grid, in which no row is
    multiplied with another.
    """

    places: Array
    """``[R, W]`` int32, the token of every place, S where there is none."""
    back: Array
    """``[S]`` int32, the place of every token, R * W where it has none."""

    @classmethod
    def of(cls, places: Array, length: int) -> Grid:
        """The grid of ``places[R, W]`` for a sequence of so many tokens; tokens from ``length`` on are none."""
        back = jnp.full(length, places.size, jnp.int32)
        return cls(places, back.at[places.reshape(-1)].set(jnp.arange(places.size), mode="drop"))

    def spread(self, x: Array) -> Array:
        """``[S, F] -> [R, W, F]``, zeros where there is no token."""
        return _move(x, self.places.reshape(-1), self.back).reshape(*self.places.shape, -1)

    def gather(self, x: Array) -> Array:
        """``[R, W, F] -> [S, F]``, zeros for tokens without a place."""
        return _move(x.reshape(self.places.size, -1), self.back, self.places.reshape(-1))


@dataclasses.dataclass(frozen=True)
class Leaders:
    """First rows of a grid that stand before all its rows, such as prompts before their texts.

    Attributes:
        rows: ``[R]`` int32, the leader of every row.
        count: how many rows lead.
        length: columns of theirs that are seen.
    """

    rows: Array
    count: int
    length: int

    def of(self, own: KeysValues) -> KeysValues:
        """Two of ``[R, K, W, D]`` to the leaders' two of ``[R, K, P, D]``."""
        keys, values = (x[: self.count, :, : self.length][self.rows] for x in own)
        return keys, values


@jax.custom_vjp
def _move(x: Array, there: Array, back: Array) -> Array:
    """Rows ``there[G]`` of ``x[S, F]``, zeros for those past its end; ``back[S]`` undoes it.

    Since each row goes to one place at most, the gradient is the way back: a look-up in place of the scattered sum
    that differentiation alone would give.
    """
    return x.at[there].get(mode="fill", fill_value=0)


def _move_forward(x: Array, there: Array, back: Array) -> tuple[Array, tuple[Array, Array]]:
    return _move(x, there, back), (there, back)


def _move_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, None, None]:
    there, back = saved
    return _move(cotangent, back, there), None, None


_move.defvjp(_move_forward, _move_backward)
