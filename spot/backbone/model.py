"""The one prompted forward, whatever the architecture of the model behind it.

A frozen model reads prompt and input once (``read``), then computes targets against what it remembers of them
(``decode``, or ``advance`` one token at a time). Training, rank classification and decoding are these, for
encoder-decoders and decoder-only models alike.

Axes: B batch, C targets per input, T input tokens, P prompt tokens, S = P + T, L target tokens, H model width,
V vocabulary, N prompts in the stack. Locals of the model's maths end in their axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import flax.nnx as nnx
import jax
import jax.numpy as jnp
from jax import Array

from spot.backbone.batch import SUFFIX, Inputs, Packed, Targets, Tokens
from spot.backbone.config import Config
from spot.backbone.layers import Dropout, KeysValues
from spot.backbone.placement import placement
from spot.backbone.shapes import axes
from spot.backbone.soft import Soft

Memory = TypeVar("Memory")
"""What an architecture remembers of prompt and input: a pytree whose leaves lead with B."""
Cache = TypeVar("Cache")
"""Keys and values of the targets so far."""


class LanguageModel(nnx.Module, Generic[Memory, Cache]):
    """A frozen language model behind a stack of soft prompts.

    ``soft`` travels with ``prompt_ids[B]`` int32, the row of the stack that each example uses; P = 0 is the bare model.
    Lester et al. 2021, section 2: the prompt leads the embedded input, takes part in positions as ordinary tokens do,
    and is never padding.
    """

    config: Config
    embedding: nnx.Param[Array]
    """``[V, H]``, of the input."""

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

    # -- what an architecture defines --------------------------------------------------------------------

    def read(
        self, soft: Soft, prompt_ids: Tokens, inputs: Inputs, dropout: Dropout | None = None
    ) -> Memory:
        """Prompt and input, as targets will see them."""
        raise NotImplementedError

    def decode(
        self,
        memory: Memory,
        ids: Tokens,
        dropout: Dropout | None = None,
        fed: list[Array] | None = None,
    ) -> Array:
        """Teacher-forced states ``[B, C, L, H]`` for ``ids[B, C, L]``; the C targets do not see each other.

        ``fed``, if given, takes the states ``[..., H]`` that every layer's feed-forward reads, layer by layer.
        """
        raise NotImplementedError

    def packed_states(self, soft: Soft, packed: Packed) -> Array:
        """States ``[M, H]`` of the tokens of a packed sequence; of models that read prompts once."""
        raise NotImplementedError

    def fires(self, fed: Sequence[Array]) -> list[Array]:
        """Which feed-forward units fire, ``[..., F]`` bool a layer, for what ``decode`` noted of all layers."""
        raise NotImplementedError

    def logits(self, hidden: Array) -> Array:
        """``[..., H] -> [..., V]`` float32."""
        raise NotImplementedError

    def start_cache(self, memory: Memory, max_length: int, candidates: int = 1) -> Cache:
        """Room for the keys and values of ``max_length`` tokens of every candidate of each input."""
        raise NotImplementedError

    def advance(
        self, memory: Memory, cache: Cache, last: Array, step: Array
    ) -> tuple[Array, Cache]:
        """The states ``[B, C, H]`` of every candidate's ``step``-th token ``last[B, C]``, and the cache with it."""
        raise NotImplementedError

    def reorder(self, memory: Memory, cache: Cache, parents: Array) -> Cache:
        """The cache whose candidates ``[B, C]`` go on from those that ``parents[B, C]`` int32 names."""
        raise NotImplementedError

    def left(self, tokens: Array) -> dict[str, KeysValues]:
        """Keys and values ``[A, K, P, D]`` float32 that tokens ``[P, H]`` leave in every attention, by its kind.

        Behind them as a prefix a decoder-only model computes what it would behind the tokens themselves.
        """
        raise NotImplementedError

    def layer_inputs(self, tokens: Array) -> Array:
        """States ``[E, P, H]`` float32 of tokens ``[P, H]``, read alone, before each of the E layers that read inputs.

        With them as a deep prompt a decoder-only model computes what it would behind the tokens themselves.
        """
        raise NotImplementedError

    def prepare(self, soft: Soft) -> Soft:
        """The stack with what does not depend on inputs computed, for those who read many batches with it."""
        return soft

    # -- the public computations -------------------------------------------------------------------------

    def token_losses(
        self,
        soft: Soft,
        prompt_ids: Tokens,
        inputs: Inputs,
        targets: Targets,
        dropout: Dropout | None = None,
        z_loss: float = 0.0,
    ) -> Array:
        """Negative log-likelihood of every target token, ``[B, L]`` float32, zero at padding.

        ``z_loss`` adds so many times the square of the logarithm of the softmax's sum, as T5X does in training.

        Raises:
            BackboneError: shapes that do not fit each other.
        """
        axes(
            "targets", {"B": len(prompt_ids)}, ids=("B L", targets.ids), mask=("B L", targets.mask)
        )
        alone = Targets(targets.ids[:, None], targets.mask[:, None])
        return self.target_losses(soft, prompt_ids, inputs, alone, dropout, z_loss)[:, 0]

    def target_losses(
        self,
        soft: Soft,
        prompt_ids: Tokens,
        inputs: Inputs,
        targets: Targets,
        dropout: Dropout | None = None,
        z_loss: float = 0.0,
    ) -> Array:
        """What :meth:`token_losses` gives for several targets of each input, ``[B, C, L]`` float32.

        ``targets`` holds ``ids[B, C, L]`` and ``mask[B, C, L]``; each input is read once for all its targets.

        Raises:
            BackboneError: shapes that do not fit each other.
        """
        self._check(soft, prompt_ids, inputs)
        sizes = {"B": len(prompt_ids)}
        axes("targets", sizes, ids=("B C L", targets.ids), mask=("B C L", targets.mask))
        memory = self.read(soft, prompt_ids, inputs, dropout)
        return self._losses(memory, targets.ids, targets.mask, dropout, z_loss)

    def packed_losses(self, soft: Soft, packed: Packed, z_loss: float = 0.0) -> Array:
        """What :meth:`token_losses` gives for the same examples, ``[Q]`` float32, without computing any padding.

        Raises:
            BackboneError: shapes that do not fit each other.
        """
        soft.check(self.config.width, self.config.layers)
        axes(
            "packed",
            {},
            ids=("M", packed.ids),
            grid=("B W", packed.grid),
            positions=("B W", packed.positions),
            branches=("B W", packed.branches),
            prompt_ids=("B", packed.prompt_ids),
            **{
                name: ("Q", getattr(packed, name))
                for name in ("owners", "places", "labels", "mask")
            },
        )
        logits_QV = self.logits(self.packed_states(soft, packed)[packed.places])
        return _cross_entropy(logits_QV, packed.labels, packed.mask, z_loss)

    def choice_scores(
        self, soft: Soft, prompt_ids: Tokens, inputs: Inputs, choices: Targets
    ) -> Array:
        """Log-likelihood of every choice, ``[B, C]`` float32; each input is read once for all its choices.

        ``choices`` holds ``ids[B, C, L]`` and ``mask[B, C, L]``; a choice without a token scores minus infinity.

        Raises:
            BackboneError: shapes that do not fit each other.
        """
        scores_BC = -self.target_losses(soft, prompt_ids, inputs, choices).sum(axis=-1)
        return jnp.where(choices.mask.any(axis=-1), scores_BC, -jnp.inf)

    def read_in_parts(self, soft: Soft, prompt_ids: Tokens, inputs: Inputs) -> Memory:
        """:meth:`read`, on a CPU of as many rows at once as its caches hold.

        What is remembered of them stays together, so that each later token passes over the weights once for all rows.

        Raises:
            BackboneError: shapes that do not fit each other.
        """
        self._check(soft, prompt_ids, inputs)
        rows = len(inputs.ids)
        size = placement().rows_at_once(rows, soft.leading + inputs.ids.shape[1])
        if size == rows or rows % size or self.config.reads_prompts_once:
            return self.read(soft, prompt_ids, inputs)
        parts = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), (prompt_ids, inputs))
        memory = jax.lax.map(lambda part: self.read(soft, *part), parts)
        joined: Memory = jax.tree.map(lambda x: x.reshape(rows, *x.shape[2:]), memory)
        return joined

    def activated(self, soft: Soft) -> Array:
        """Feed-forward units that fire where an answer begins behind nothing but a prompt, ``[N, E, F]`` bool.

        The activation state AS(P) of Su et al. (2022, "On Transferability of Prompt Tuning for NLP"): of the layers
        that compute answers, at the first token; T5's are its decoder's. A unit fires where its activation function
        gives more than zero.
        """
        rows = soft.rows
        nothing = soft.alone()
        memory = self.read_in_parts(soft, jnp.arange(rows), nothing)
        fed: list[Array] = []
        self.decode(memory, jnp.full((rows, 1, 1), self.config.start_token_id, jnp.int32), fed=fed)
        return jnp.stack([units.reshape(rows, -1) for units in self.fires(fed)], axis=1)

    # -- what architectures share ------------------------------------------------------------------------

    def mixed(self, soft: Soft, prompt_ids: Tokens, inputs: Inputs) -> tuple[Soft, Tokens]:
        """A stack of a prompt a row, where inputs mix the prompts of sources; else the stack as it is.

        ATTEMPT (Asai et al. 2022, section 3.2): an input x, the largest of its embedded tokens feature by feature,
        attends to prompts p, likewise: ``P + sum_j a_j P_j`` with ``a = softmax(p_j . norm(up' silu(down x)) / (e H))``
        over the sources and P itself.
        """
        if soft.attended is None:
            return soft, prompt_ids
        own_NPH, seen_NP1 = jnp.asarray(soft.tokens, jnp.float32), soft.visible()[..., None]
        all_NKPH = jnp.concatenate([own_NPH[:, None], jnp.asarray(soft.attended.sources)], axis=1)
        keys_NKH = jnp.where(seen_NP1[:, None], all_NKPH, -jnp.inf).max(axis=2)
        mask_BT1 = jnp.asarray(inputs.mask)[..., None]
        pooled_BH = jnp.where(mask_BT1, self._embed(inputs.ids), -jnp.inf).max(axis=1)
        pooled_BH = jnp.where(mask_BT1.any(axis=1), pooled_BH, 0.0)  # of no text
        down, up = (jnp.asarray(x)[prompt_ids] for x in soft.attended[1:])
        hidden_BR = jax.nn.silu(jnp.einsum("brh,bh->br", down, pooled_BH))
        asked_BH = _standardised(jnp.einsum("brh,br->bh", up, hidden_BR))
        scores_BK = jnp.einsum("bkh,bh->bk", keys_NKH[prompt_ids], asked_BH)
        weights_BK = jax.nn.softmax(scores_BK / (math.e * self.config.width), axis=-1)
        added_BPH = jnp.einsum("bk,bkph->bph", weights_BK, all_NKPH[prompt_ids])
        lengths = None if soft.lengths is None else jnp.asarray(soft.lengths)[prompt_ids]
        return Soft(own_NPH[prompt_ids] + added_BPH, lengths=lengths), jnp.arange(len(prompt_ids))

    def _check(self, soft: Soft, prompt_ids: Tokens, inputs: Inputs) -> None:
        """Hold shapes against each other where prompts, inputs and model meet."""
        soft.check(self.config.width, self.config.layers)
        axes(
            "inputs",
            prompt_ids=("B", prompt_ids),
            ids=("B T", inputs.ids),
            mask=("B T", inputs.mask),
        )

    def _losses(
        self,
        memory: Memory,
        ids: Tokens,
        mask: Tokens,
        dropout: Dropout | None = None,
        z_loss: float = 0.0,
    ) -> Array:
        """``[B, C, L]`` float32 for ``ids`` and ``mask`` of that shape."""
        start_BCx1 = jnp.full_like(ids[..., :1], self.config.start_token_id)
        shifted_BCL = jnp.concatenate([start_BCx1, ids[..., :-1]], axis=-1)
        logits_BCLV = self.logits(self.decode(memory, shifted_BCL, dropout))
        return _cross_entropy(logits_BCLV, ids, mask, z_loss)

    def _embed(self, ids: Tokens) -> Array:
        """``[...] -> [..., H]`` float32."""
        return self.embedding[...][ids].astype(jnp.float32)

    def _embed_text(self, ids: Tokens, soft: Soft, prompt_ids: Tokens) -> Array:
        """``[B, T] -> [B, T, H]`` float32 of inputs, in which a suffix may stand: that of ``prompt_ids[B]``."""
        if soft.suffix is None:
            return self._embed(ids)
        places_BT = SUFFIX - jnp.asarray(ids)
        own_BT = places_BT >= 0
        suffix_BTH = jnp.asarray(soft.suffix, jnp.float32)[
            jnp.asarray(prompt_ids)[:, None], jnp.where(own_BT, places_BT, 0)
        ]
        return jnp.where(own_BT[..., None], suffix_BTH, self._embed(jnp.where(own_BT, 0, ids)))


def _standardised(x: Array) -> Array:
    """``[..., H]`` less its mean, over its deviation."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + 1e-6)


def _cross_entropy(logits: Array, ids: Tokens, mask: Tokens, z_loss: float) -> Array:
    """``[...]`` float32 of ``logits[..., V]``, zero where masked; z-loss as T5X adds it."""
    chosen = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
    total = jax.nn.logsumexp(logits, axis=-1)
    losses = total - chosen
    if z_loss:
        losses = losses + z_loss * jnp.square(total)
    return jnp.where(mask, losses, 0.0)


AnyModel: TypeAlias = LanguageModel[Any, Any]
"""Of any architecture, for those who do not look into what it remembers."""
