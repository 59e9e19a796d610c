"""Beam search, every row by itself, with the stopping rule of ``transformers`` (``early_stopping=False``)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spot.backbone.model import AnyModel
from spot.inference.tokenwise import Limits, ends_of

NEVER = -1e9
"""Log-likelihood of what is no sequence."""


class Beams(NamedTuple):
    """Sequences of every row, the best first."""

    tokens: Array
    """``[B, C, L]`` int32."""
    scores: Array
    """``[B, C]`` float32: log-likelihoods of those that go on, divided by the length penalty of those that have
    ended; :data:`NEVER` where there is none yet."""

    def best(self, count: int) -> tuple[Beams, Array]:
        """The best so many, and their places ``[B, count]`` int32 before."""
        scores_BC, places_BC = jax.lax.top_k(self.scores, count)
        return Beams(_gather(self.tokens, places_BC), scores_BC), places_BC


class State(NamedTuple):
    """Of the search."""

    step: Array
    """``[]`` int32."""
    last: Array
    """``[B, C]`` int32, the last tokens of what goes on."""
    running: Beams
    ended: Beams
    searching: Array
    """``[B]`` bool, rows that may find a better sequence yet."""
    cache: Any


def beam_search(
    model: AnyModel, memory: Any, limits: Limits, beams: int, length_penalty: float
) -> Array:
    """The best sequence of every row, ``[B, L]`` int32.

    At every step the likeliest continuations of the C running sequences are looked at, enough of them that C go on
    whatever ends. One that ends and is among the C likeliest joins the ended ones, of which the C best are kept; their
    score is the log-likelihood divided by ``n ** length_penalty`` for n tokens, the end token included (after Wu et
    al. 2016, section 7, in the form that ``transformers`` uses). A row's search is over when its best running sequence,
    were it to end now, would be no better than the worst of C ended ones, or at its limit, where all end.
    """
    config = model.config
    pad, ends = jnp.int32(config.pad_token_id), ends_of(config)
    looked_at = max(2, 1 + len(ends)) * beams

    def unfinished(state: State) -> Array:
        return state.searching.any()

    def advance(state: State) -> State:
        hidden_BCH, cache = model.advance(memory, state.cache, state.last, state.step)
        likelihoods_BCV = jax.nn.log_softmax(model.logits(hidden_BCH), axis=-1)
        totals_BCV = state.running.scores[:, :, None] + likelihoods_BCV
        terms = totals_BCV.shape[-1]
        totals_BK, flat_BK = jax.lax.top_k(totals_BCV.reshape(limits.rows, -1), looked_at)
        parents_BK, tokens_BK = flat_BK // terms, (flat_BK % terms).astype(jnp.int32)
        sequences_BKL = jax.lax.dynamic_update_slice_in_dim(
            _gather(state.running.tokens, parents_BK), tokens_BK[:, :, None], state.step, axis=2
        )
        step = state.step + 1
        ends_BK = jnp.isin(tokens_BK, ends) | (step >= limits.each)[:, None]

        going_on = Beams(sequences_BKL, jnp.where(ends_BK, totals_BK + NEVER, totals_BK))
        running, chosen_BC = going_on.best(beams)
        may_join_BK = ends_BK & (jnp.arange(looked_at) < beams)[None] & state.searching[:, None]
        penalty = step.astype(jnp.float32) ** length_penalty
        joining_BK = jnp.where(may_join_BK, totals_BK / penalty, 2 * NEVER)
        ended, _ = Beams(
            jnp.concatenate([state.ended.tokens, sequences_BKL], axis=1),
            jnp.concatenate([state.ended.scores, joining_BK], axis=1),
        ).best(beams)

        hope_B = running.scores[:, 0] / penalty
        full_B = ended.scores[:, -1] > NEVER
        better_B = ~full_B | (hope_B > ended.scores[:, -1])
        return State(
            step,
            jnp.take_along_axis(tokens_BK, chosen_BC, axis=1),
            running,
            ended,
            state.searching & better_B & ~ends_BK.all(axis=-1),
            model.reorder(memory, cache, jnp.take_along_axis(parents_BK, chosen_BC, axis=1)),
        )

    rows, shape = limits.rows, (limits.rows, beams, limits.length)
    nothing = jnp.full(shape, pad, jnp.int32)
    alone_BC = jnp.full((rows, beams), NEVER, jnp.float32).at[:, 0].set(0.0)
    start = State(
        step=jnp.int32(0),
        last=jnp.full((rows, beams), config.start_token_id, jnp.int32),
        running=Beams(nothing, alone_BC),
        ended=Beams(nothing, jnp.full((rows, beams), NEVER, jnp.float32)),
        searching=limits.each > 0,
        cache=model.start_cache(memory, limits.length, beams),
    )
    return jax.lax.while_loop(unfinished, advance, start).ended.tokens[:, 0]


def _gather(sequences: Array, places: Array) -> Array:
    """``[B, C, L]`` by ``[B, K]`` to ``[B, K, L]``."""
    return jnp.take_along_axis(sequences, places[:, :, None], axis=1)
