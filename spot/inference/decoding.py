"""How text is generated: a policy, which is part of what makes two evaluations the same, and the loop behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spot.backbone.batch import Inputs, Tokens
from spot.backbone.model import AnyModel
from spot.backbone.soft import Soft
from spot.errors import SpotError
from tasks.choices import choose

MAX_NEW_TOKENS = 32
"""Longest text that is generated unless asked for more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoding:
    """A way to generate text.

    Attributes:
        policy: name in :data:`POLICIES`.
        max_new_tokens: longest text; 0 takes the length of the longest target, at most :data:`MAX_NEW_TOKENS`.

    Raises:
        SpotError: an unknown policy or a negative length.
    """

    policy: str = "greedy"
    max_new_tokens: int = 0

    def __post_init__(self) -> None:
        choose(self.policy, POLICIES, "decoding policy", error=SpotError)
        if self.max_new_tokens < 0:
            raise SpotError(f"max new tokens must not be negative, found {self.max_new_tokens}")

    @property
    def options(self) -> dict[str, Any]:
        """What differs from the defaults, for an evaluation's key and record; empty for greedy decoding."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


def generate(
    model: AnyModel, soft: Soft, prompt_ids: Tokens, inputs: Inputs, policy: str, max_length: int
) -> Array:
    """Generated tokens ``[B, max_length]`` int32, padded after any end token."""
    memory = model.read_in_parts(soft, prompt_ids, inputs)
    return POLICIES[policy](model, memory, len(prompt_ids), max_length)


def greedy(model: AnyModel, memory: Any, rows: int, max_length: int) -> Array:
    """The most likely token at every step, ``[B, max_length]`` int32; one loop that stops when every row has ended."""
    config = model.config
    ends = jnp.array([config.eos_token_id, *config.more_end_token_ids], jnp.int32)
    pad = jnp.int32(config.pad_token_id)

    class State(NamedTuple):
        step: Array
        """``[]`` int32."""
        last: Array
        """``[B]`` int32."""
        ended: Array
        """``[B]`` bool."""
        output: Array
        """``[B, max_length]`` int32."""
        cache: Any

    def unfinished(state: State) -> Array:
        return (state.step < max_length) & ~state.ended.all()

    def advance(state: State) -> State:
        hidden_B1H, cache = model.advance(memory, state.cache, state.last[:, None], state.step)
        best = model.logits(hidden_B1H)[:, 0].argmax(axis=-1).astype(jnp.int32)
        best = jnp.where(state.ended, pad, best)
        output = jax.lax.dynamic_update_slice_in_dim(
            state.output, best[:, None], state.step, axis=1
        )
        return State(state.step + 1, best, state.ended | jnp.isin(best, ends), output, cache)

    start = State(
        step=jnp.int32(0),
        last=jnp.full(rows, config.start_token_id, jnp.int32),
        ended=jnp.zeros(rows, bool),
        output=jnp.full((rows, max_length), pad, jnp.int32),
        cache=model.start_cache(memory, max_length),
    )
    return jax.lax.while_loop(unfinished, advance, start).output


Policy = Callable[[AnyModel, Any, int, int], Array]
"""``policy(model, memory, rows, max_length) -> tokens[B, max_length]``."""

POLICIES: Mapping[str, Policy] = {"greedy": greedy}
"""Ways to generate, by name."""
