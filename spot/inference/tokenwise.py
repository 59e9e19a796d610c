"""Generation of one token after the other, for every row by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spot.backbone.config import Config
from spot.backbone.model import AnyModel


class Limits(NamedTuple):
    """How far rows generate."""

    each: Array
    """``[B]`` int32, the most tokens of every row."""
    length: int
    """L, the most of all."""

    @property
    def rows(self) -> int:
        """B."""
        return self.each.shape[0]


Pick = Callable[[Array, Array], Array]
"""``pick(logits[B, V], step[]) -> tokens[B]`` int32."""


def most_likely(logits: Array, step: Array) -> Array:
    """Greedy decoding."""
    return logits.argmax(axis=-1).astype(jnp.int32)


def ends_of(config: Config) -> Array:
    """Tokens ``[E]`` int32 that end a text."""
    return jnp.array([config.eos_token_id, *config.more_end_token_ids], jnp.int32)


def token_by_token(model: AnyModel, memory: Any, limits: Limits, pick: Pick) -> Array:
    """Tokens ``[B, L]`` int32 that are picked at every step; one loop that stops when every row has ended."""
    config = model.config
    pad, ends = jnp.int32(config.pad_token_id), ends_of(config)

    class State(NamedTuple):
        step: Array
        """``[]`` int32."""
        last: Array
        """``[B]`` int32."""
        ended: Array
        """``[B]`` bool."""
        output: Array
        """``[B, L]`` int32."""
        cache: Any

    def unfinished(state: State) -> Array:
        return ~state.ended.all()

    def advance(state: State) -> State:
        hidden_B1H, cache = model.advance(memory, state.cache, state.last[:, None], state.step)
        picked_B = pick(model.logits(hidden_B1H)[:, 0], state.step)
        last_B = jnp.where(state.ended, pad, picked_B)
        output = jax.lax.dynamic_update_slice_in_dim(
            state.output, last_B[:, None], state.step, axis=1
        )
        step = state.step + 1
        ended = state.ended | jnp.isin(last_B, ends) | (step >= limits.each)
        return State(step, last_B, ended, output, cache)

    start = State(
        step=jnp.int32(0),
        last=jnp.full(limits.rows, config.start_token_id, jnp.int32),
        ended=limits.each <= 0,
        output=jnp.full((limits.rows, limits.length), pad, jnp.int32),
        cache=model.start_cache(memory, limits.length),
    )
    return jax.lax.while_loop(unfinished, advance, start).output
