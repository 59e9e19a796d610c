"""The one prompted forward, whatever the family of the model behind it.

A frozen model reads prompt and input once (``read``), then computes targets against what it has read (``decode``,
or ``advance`` one token at a time). Training, rank classification and decoding are these, for encoder-decoders and
decoder-only models alike.

Axes: B batch, C targets per input, T input tokens, P prompt tokens, S = P + T, L target tokens, H model width,
V vocabulary, N prompts in the stack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import flax.nnx as nnx
import jax
import jax.numpy as jnp
from jax import Array

from spot.backbone.batch import Inputs, Targets, Tokens, rows_at_once
from spot.backbone.config import Config
from spot.backbone.layers import Dropout


class LanguageModel(nnx.Module):
    """A frozen language model behind a stack of soft prompts.

    ``prompts[N, P, H]`` travels with ``prompt_ids[B]``, the row of the stack that each example uses; P = 0 is the
    bare model. Lester et al. 2021, section 2: the prompt leads the embedded input, takes part in positions as
    ordinary tokens do, and is never padding.
    """

    config: Config
    embedding: nnx.Param[Array]

    other_names: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Names that checkpoints use for a tensor in place of, or beside, its own; the embedding's among them."""
    embedding_name: ClassVar[str]
    """Name of the input embedding, which every checkpoint holds."""
    head_name: ClassVar[str] = "lm_head.weight"
    """Name of the output layer, where it is not the embedding."""
    base_prefix: ClassVar[str] = ""
    """What the names of a model without its output layer lack."""
    unused: ClassVar[str] = r"(?!)"
    """Pattern of tensors that checkpoints carry and nothing reads."""

    # -- what a family defines ---------------------------------------------------------------------------

    def read(self, prompts: Array, prompt_ids: Tokens, inputs: Inputs, dropout: Dropout | None = None) -> Any:
        """Prompt and input, as targets will see them."""
        raise NotImplementedError

    def decode(self, seen: Any, ids: Tokens, dropout: Dropout | None = None) -> Array:
        """Teacher-forced states ``[B, C, L, H]`` for ``ids[B, C, L]``; the C targets do not see each other."""
        raise NotImplementedError

    def logits(self, hidden: Array) -> Array:
        """``[..., H] -> [..., V]`` float32."""
        raise NotImplementedError

    def start_cache(self, seen: Any, max_length: int) -> Any:
        """Room for the keys and values of ``max_length`` tokens that follow what was read."""
        raise NotImplementedError

    def advance(self, seen: Any, cache: Any, last: Array, step: Array) -> tuple[Array, Any]:
        """The state ``[B, H]`` of the ``step``-th token ``last[B]``, and the cache with it."""
        raise NotImplementedError

    # -- the three public computations -------------------------------------------------------------------

    def token_losses(
        self,
        prompts: Array,
        prompt_ids: Tokens,
        inputs: Inputs,
        targets: Targets,
        dropout: Dropout | None = None,
        z_loss: float = 0.0,
    ) -> Array:
        """Negative log-likelihood of every target token, ``[B, L]`` float32, zero at padding.

        ``z_loss`` adds so many times the square of the logarithm of the softmax's sum, as T5X does in training.
        """
        seen = self.read(prompts, prompt_ids, inputs, dropout)
        return self._losses(seen, targets.ids[:, None], targets.mask[:, None], dropout, z_loss)[:, 0]

    def choice_scores(self, prompts: Array, prompt_ids: Tokens, inputs: Inputs, choices: Targets) -> Array:
        """Log-likelihood of every choice, ``[B, C]`` float32; each input is read once for all its choices.

        ``choices`` holds ``ids[B, C, L]`` and ``mask[B, C, L]``; a choice without a token scores minus infinity.
        """
        seen = self.read(prompts, prompt_ids, inputs)
        scores = -self._losses(seen, choices.ids, choices.mask).sum(axis=-1)
        return jnp.where(choices.mask.any(axis=-1), scores, -jnp.inf)

    def greedy(self, prompts: Array, prompt_ids: Tokens, inputs: Inputs, max_length: int) -> Array:
        """Greedy decoding with cached keys and values, ``[B, max_length]`` int32, padded after any end token.

        One compiled loop that stops when every row has ended.
        """
        seen, config = self._read_in_parts(prompts, prompt_ids, inputs), self.config
        ends = jnp.array([config.eos_token_id, *config.more_end_token_ids], jnp.int32)
        rows = len(inputs.ids)

        class State(NamedTuple):
            step: Array
            last: Array
            ended: Array
            output: Array
            cache: Any

        def unfinished(state: State) -> Array:
            return (state.step < max_length) & ~state.ended.all()

        def advance(state: State) -> State:
            hidden, cache = self.advance(seen, state.cache, state.last, state.step)
            best = self.logits(hidden).argmax(axis=-1).astype(jnp.int32)
            best = jnp.where(state.ended, config.pad_token_id, best)
            output = jax.lax.dynamic_update_slice_in_dim(state.output, best[:, None], state.step, axis=1)
            return State(state.step + 1, best, state.ended | jnp.isin(best, ends), output, cache)

        start = State(
            step=jnp.int32(0),
            last=jnp.full(rows, config.start_token_id, jnp.int32),
            ended=jnp.zeros(rows, bool),
            output=jnp.full((rows, max_length), config.pad_token_id, jnp.int32),
            cache=self.start_cache(seen, max_length),
        )
        return jax.lax.while_loop(unfinished, advance, start).output

    def _read_in_parts(self, prompts: Array, prompt_ids: Tokens, inputs: Inputs) -> Any:
        """:meth:`read`, on a CPU of as many rows at once as its caches hold.

        What is read of them stays together, so that each later token passes over the weights once for all rows.
        """
        rows = len(inputs.ids)
        size = rows_at_once(rows, prompts.shape[1] + inputs.ids.shape[1])
        if size == rows or rows % size or self.config.reads_prompts_once:
            return self.read(prompts, prompt_ids, inputs)
        parts = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), (prompt_ids, inputs))
        seen = jax.lax.map(lambda part: self.read(prompts, *part), parts)
        return jax.tree.map(lambda x: x.reshape(rows, *x.shape[2:]), seen)

    def _losses(
        self, seen: Any, ids: Tokens, mask: Tokens, dropout: Dropout | None = None, z_loss: float = 0.0
    ) -> Array:
        start = jnp.full_like(ids[..., :1], self.config.start_token_id)
        shifted = jnp.concatenate([start, ids[..., :-1]], axis=-1)
        logits = self.logits(self.decode(seen, shifted, dropout))
        picked = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
        total = jax.nn.logsumexp(logits, axis=-1)
        losses = total - picked + z_loss * jnp.square(total) if z_loss else total - picked
        return jnp.where(mask, losses, 0.0)

    def _embed(self, ids: Tokens) -> Array:
        return self.embedding[...][ids].astype(jnp.float32)
