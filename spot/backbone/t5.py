"""T5 in Flax NNX: modules that hold the frozen weights, and the one prompted forward.

Axes: B batch, C targets per input, R = B C rows of targets, T input tokens, P prompt tokens, S = P + T, L target
tokens, Q queries, H model width, K heads, D head width, V vocabulary, N prompts in the stack. Locals of the maths end
in their axes.

Every weight is asked for by its Hugging Face name from a ``weights`` callable, so that loading, random
initialisation and shape checking are the same walk over the modules, and each parameter remembers that name.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import flax.nnx as nnx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from spot.backbone.batch import Inputs, Tokens
from spot.backbone.config import T5Config
from spot.backbone.layers import (
    MASKED,
    Dropout,
    KeysValues,
    RMSNorm,
    Weights,
    behind,
    drop,
    drop_keys,
    layers_of,
    parameter,
    siblings,
    write,
)
from spot.backbone.model import LanguageModel
from spot.backbone.products import attention, project, relative_position_buckets
from spot.backbone.shapes import axes
from spot.backbone.soft import PROMPT_BLIND, TEXT_BLIND, Soft


class Encoded(NamedTuple):
    """What the decoder sees of an input."""

    hidden: Array
    """``[B, S, H]`` float32."""
    mask: Array
    """``[B, 1, 1, S]`` float32, 0 or ``MASKED``, the prefix of cross-attention included."""
    crossed: KeysValues | None = None
    """Prefix of cross-attention, two of ``[B, E, K, P, D]`` float32."""
    decoder: KeysValues | None = None
    """Prefix of the decoder's self-attention, likewise."""
    decoder_mask: Array | None = None
    """``[B, 1, 1, P]`` float32, of that prefix."""


class Cache(NamedTuple):
    """Keys and values of every decoder layer: of the target so far, and of the encoded input."""

    past: list[KeysValues]
    """Two of ``[B * C, K, P + L, D]`` a layer, a prefix in front."""
    crossed: list[KeysValues | None]
    """Two of ``[B, K, S, D]`` a layer; ``None`` where attention absorbs its projections."""


def _layer(prefix: KeysValues | None, i: int, each: int = 1) -> KeysValues | None:
    """Of layer i of a prefix ``[B, E, K, P, D]``, two of ``[B * each, K, P, D]``."""
    if prefix is None:
        return None
    keys, values = (jnp.repeat(x[:, i], each, axis=0) for x in prefix)
    return keys, values


def _led(prefix: KeysValues | None, own: KeysValues) -> KeysValues:
    """Keys and values behind those of a prefix, if there is one."""
    return behind(prefix, own) if prefix else own


def _norm(config: T5Config, weights: Weights, name: str) -> RMSNorm:
    return RMSNorm(config.d_model, config.layer_norm_epsilon, weights, name)


class Attention(nnx.Module):
    """Multi-head attention of T5: no biases, no scaling of the scores."""

    def __init__(self, config: T5Config, weights: Weights, name: str, dtype: DTypeLike) -> None:
        self.heads, self.dtype = config.num_heads, dtype
        self.q = parameter(weights, f"{name}.q.weight", config.inner, config.d_model)
        self.k = parameter(weights, f"{name}.k.weight", config.inner, config.d_model)
        self.v = parameter(weights, f"{name}.v.weight", config.inner, config.d_model)
        self.o = parameter(weights, f"{name}.o.weight", config.d_model, config.inner)

    def queries(self, x: Array) -> Array:
        """``[B, Q, H] -> [B, K, Q, D]``."""
        return self._split(project(x, self.q[...], self.dtype))

    def keys_values(self, x: Array) -> KeysValues:
        """``[B, S, H] ->`` two of ``[B, K, S, D]``."""
        return (
            self._split(project(x, self.k[...], self.dtype)),
            self._split(project(x, self.v[...], self.dtype)),
        )

    def __call__(
        self, queries: Array, keys_values: KeysValues, bias: Array | float, mask: Array
    ) -> Array:
        """Attend and project back: ``[B, K, Q, D] -> [B, Q, H]``."""
        return self._join(attention(queries, *keys_values, bias, mask))

    def absorbed(self, queries: Array, hidden: Array, mask: Array) -> Array:
        """The same for keys and values of ``hidden[B, S, H]``, none of whose tokens is projected.

        The projection of keys is moved to the queries and that of values behind the sum, so the few queries carry
        it in place of the many tokens: ``q . (W_k h) = (W_k' q) . h`` and ``sum p W_v h = W_v sum p h``.
        """
        rows, heads, length, depth = queries.shape
        keys_KDH, values_KDH = (
            w[...].astype(jnp.float32).reshape(heads, depth, -1) for w in (self.k, self.v)
        )
        queries_BKQH = jnp.einsum("bkqd,kdh->bkqh", queries, keys_KDH)
        hidden_B1SH = hidden[:, None]
        read = attention(
            queries_BKQH.reshape(rows, 1, heads * length, -1), hidden_B1SH, hidden_B1SH, 0.0, mask
        )
        read_BKQH = read.reshape(rows, heads, length, -1)
        return self._join(jnp.einsum("bkqh,kdh->bkqd", read_BKQH, values_KDH))

    def absorbs(self, queries: int, hidden: Array) -> bool:
        """Whether so many queries of ``hidden[B, S, H]`` make ``absorbed`` the cheaper way, by multiplications."""
        tokens, width = hidden.shape[-2:]
        depth = self.q.shape[0] // self.heads
        return queries * ((depth + tokens) * width - tokens * depth) < tokens * width * depth

    def _join(self, out: Array) -> Array:
        rows, _, length, _ = out.shape
        return project(out.transpose(0, 2, 1, 3).reshape(rows, length, -1), self.o[...], self.dtype)

    def _split(self, x: Array) -> Array:
        rows, length, inner = x.shape
        return x.reshape(rows, length, self.heads, inner // self.heads).transpose(0, 2, 1, 3)


class FeedForward(nnx.Module):
    """ReLU (v1.0) or gated GELU (v1.1) feed-forward layer."""

    def __init__(self, config: T5Config, weights: Weights, name: str, dtype: DTypeLike) -> None:
        self.gated, self.dtype = config.gated, dtype
        self.activation = {"relu": jax.nn.relu, "gelu_new": jax.nn.gelu}[config.activation]
        inner, width = config.d_ff, config.d_model
        if config.gated:
            self.gate = parameter(weights, f"{name}.wi_0.weight", inner, width)
            self.up = parameter(weights, f"{name}.wi_1.weight", inner, width)
        else:
            self.up = parameter(weights, f"{name}.wi.weight", inner, width)
        self.down = parameter(weights, f"{name}.wo.weight", width, inner)

    def __call__(self, x: Array, dropout: Dropout | None = None, site: int = 0) -> Array:
        up_BLF = project(x, self.up[...], self.dtype)
        if self.gated:
            hidden_BLF = up_BLF * self.activation(project(x, self.gate[...], self.dtype))
        else:
            hidden_BLF = self.activation(up_BLF)
        return project(drop(hidden_BLF, dropout, site), self.down[...], self.dtype)

    def fires(self, x: Array) -> Array:
        """``[B, L, H] -> [B, L, F]`` bool: where the activation function, ReLU or GELU, gives more than zero."""
        return project(x, (self.gate if self.gated else self.up)[...], self.dtype) > 0


class EncoderBlock(nnx.Module):
    def __init__(self, config: T5Config, weights: Weights, name: str, dtype: DTypeLike) -> None:
        self.attention_norm = _norm(config, weights, f"{name}.layer.0.layer_norm")
        self.attention = Attention(config, weights, f"{name}.layer.0.SelfAttention", dtype)
        self.feed_forward_norm = _norm(config, weights, f"{name}.layer.1.layer_norm")
        self.feed_forward = FeedForward(config, weights, f"{name}.layer.1.DenseReluDense", dtype)

    def project(self, x: Array) -> tuple[Array, KeysValues]:
        """Queries, and keys and values, of ``x[B, S, H]``."""
        normed = self.attention_norm(x)
        return self.attention.queries(normed), self.attention.keys_values(normed)

    def __call__(
        self,
        x: Array,
        projected: tuple[Array, KeysValues],
        bias: Array,
        mask: Array,
        dropout: Dropout | None,
        site: int,
        prefix: KeysValues | None = None,
    ) -> Array:
        queries, own = projected
        keys, values = _led(prefix, own)
        attended = self.attention(queries, (keys, drop_keys(values, dropout, site)), bias, mask)
        x = x + drop(attended, dropout, site + 1)
        return x + drop(
            self.feed_forward(self.feed_forward_norm(x), dropout, site + 2), dropout, site + 3
        )


class DecoderBlock(nnx.Module):
    def __init__(self, config: T5Config, weights: Weights, name: str, dtype: DTypeLike) -> None:
        self.self_norm = _norm(config, weights, f"{name}.layer.0.layer_norm")
        self.self_attention = Attention(config, weights, f"{name}.layer.0.SelfAttention", dtype)
        self.cross_norm = _norm(config, weights, f"{name}.layer.1.layer_norm")
        self.cross_attention = Attention(config, weights, f"{name}.layer.1.EncDecAttention", dtype)
        self.feed_forward_norm = _norm(config, weights, f"{name}.layer.2.layer_norm")
        self.feed_forward = FeedForward(config, weights, f"{name}.layer.2.DenseReluDense", dtype)

    def attend_self(
        self,
        x: Array,
        bias: Array,
        mask: Array,
        dropout: Dropout | None = None,
        site: int = 0,
        prefix: KeysValues | None = None,
    ) -> Array:
        """Causal self-attention over whole targets, ``[B * C, L, H]``, and over what stands in front of them."""
        normed = self.self_norm(x)
        keys, values = _led(prefix, self.self_attention.keys_values(normed))
        values = drop_keys(values, dropout, site)
        return self.self_attention(self.self_attention.queries(normed), (keys, values), bias, mask)

    def crossed(
        self,
        memory: Encoded,
        prefix: KeysValues | None,
        queries: int,
        dropout: Dropout | None = None,
        site: int = 0,
    ) -> KeysValues | None:
        """Keys and values of the encoded input for so many queries in all, or none where they are absorbed.

        Dropout, which drops a token for one head and not for another, leaves no value that all heads share; nor does a
        prefix.
        """
        if not (dropout or prefix) and self.cross_attention.absorbs(queries, memory.hidden):
            return None
        keys, values = _led(prefix, self.cross_attention.keys_values(memory.hidden))
        return keys, drop_keys(values, dropout, site)

    def attend_encoded(self, x: Array, memory: Encoded, crossed: KeysValues | None) -> Array:
        """Cross-attention of ``[B, Q, H]`` to the encoded input."""
        queries = self.cross_attention.queries(self.cross_norm(x))
        if crossed is None:
            return self.cross_attention.absorbed(queries, memory.hidden, memory.mask)
        return self.cross_attention(queries, crossed, 0.0, memory.mask)

    def feed(self, x: Array, dropout: Dropout | None = None, site: int = 0) -> Array:
        """``[B, L, H] -> [B, L, H]`` float32: the feed-forward of the normed input."""
        return self.feed_forward(self.feed_forward_norm(x), dropout, site)


class T5(LanguageModel[Encoded, Cache]):
    """T5 of both generations; relative position bias spans prompt and input (Raffel et al. 2020)."""

    config: T5Config
    embedding_name: ClassVar = "shared.weight"
    other_names: ClassVar = {
        "shared.weight": ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    }
    unused: ClassVar = (
        r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"
    )

    def __init__(
        self, config: T5Config, weights: Weights, *, dtype: DTypeLike = jnp.float32
    ) -> None:
        self.config, self.dtype = config, dtype
        buckets = (config.relative_attention_num_buckets, config.num_heads)
        self.embedding = parameter(weights, "shared.weight", config.vocab_size, config.d_model)
        bias_name = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        self.encoder_bias = parameter(weights, f"encoder.{bias_name}", *buckets)
        self.encoder = nnx.List(
            EncoderBlock(config, weights, f"encoder.block.{i}", dtype)
            for i in range(config.num_layers)
        )
        self.encoder_norm = _norm(config, weights, "encoder.final_layer_norm")
        self.decoder_bias = parameter(weights, f"decoder.{bias_name}", *buckets)
        self.decoder = nnx.List(
            DecoderBlock(config, weights, f"decoder.block.{i}", dtype)
            for i in range(config.num_decoder_layers)
        )
        self.decoder_norm = _norm(config, weights, "decoder.final_layer_norm")
        if not config.tied:
            self.head = parameter(weights, "lm_head.weight", config.vocab_size, config.d_model)

    def read(
        self, soft: Soft, prompt_ids: Tokens, inputs: Inputs, dropout: Dropout | None = None
    ) -> Encoded:
        """Prompt and input through the encoder.

        The first layer projects the two apart: a prompt once for all its rows, and the input without a gradient, since
        nothing that trains stands before it.
        """
        soft, prompt_ids = self.mixed(soft, prompt_ids, inputs)
        if dropout or soft.rows > len(
            prompt_ids
        ):  # rows that differ, or are fewer than the prompts
            soft, prompt_ids = soft.take(prompt_ids), jnp.arange(len(prompt_ids))
        prompt_NPH = drop(jnp.asarray(soft.tokens, jnp.float32), dropout, 0)
        text_BTH = drop(self._embed_text(inputs.ids, soft, prompt_ids), dropout, 0)

        def lead(prompt: Array, text: Array, axis: int) -> Array:
            return jnp.concatenate([prompt[prompt_ids], text], axis=axis)

        x_BSH = lead(prompt_NPH, text_BTH, 1)
        prefixes = {
            kind: (keys[prompt_ids], values[prompt_ids])
            for kind, (keys, values) in (soft.prefixes or {}).items()
        }
        seen_BS = _added(soft.lead(inputs.mask, prompt_ids))
        bare_BS = seen_BS[..., soft.leading :] if prefixes else seen_BS
        mask = seen_BS if "encoder" in prefixes else bare_BS
        if soft.blind is not None:
            mask = mask + _hidden(jnp.asarray(soft.blind)[prompt_ids], soft.leading, mask.shape[-1])
        length, positions = x_BSH.shape[1], mask.shape[-1]
        bias_1KSS = self._position_bias(
            self.encoder_bias[...], positions, positions, bidirectional=True
        )[:, :, positions - length :]
        first = self.encoder[0]
        projected = jax.tree.map(
            functools.partial(lead, axis=2), first.project(prompt_NPH), first.project(text_BTH)
        )
        for i, block in enumerate(self.encoder):
            if i and soft.layers is not None:
                states_NPH = drop(jnp.asarray(soft.layers[:, i - 1]), dropout, 4000 + i)
                x_BSH = lead(states_NPH, x_BSH[:, soft.leading :], 1)
            x_BSH = block(
                x_BSH,
                projected if i == 0 else block.project(x_BSH),
                bias_1KSS,
                mask,
                dropout,
                1 + 4 * i,
                _layer(prefixes.get("encoder"), i),
            )
        memory = Encoded(
            drop(self.encoder_norm(x_BSH), dropout, 1000),
            seen_BS if "cross" in prefixes else bare_BS,
            prefixes.get("cross"),
            prefixes.get("decoder"),
            seen_BS[..., : soft.leading] if "decoder" in prefixes else None,
        )
        return memory if soft.decoder is None else self._begun(memory, soft, prompt_ids, dropout)

    def _begun(
        self, memory: Encoded, soft: Soft, prompt_ids: Tokens, dropout: Dropout | None
    ) -> Encoded:
        """What is remembered, once the decoder has read its prompts: no target changes what that leaves."""
        x_BPH = drop(jnp.asarray(soft.decoder, jnp.float32)[prompt_ids], dropout, 5000)
        seen_B11P = _added(soft.visible()[prompt_ids])
        left = self._decoder_left(memory, x_BPH, seen_B11P, dropout)
        keys, values = (jnp.stack(each, axis=1) for each in zip(*left["decoder"], strict=True))
        return memory._replace(decoder=(keys, values), decoder_mask=seen_B11P)

    def decode(
        self,
        memory: Encoded,
        ids: Tokens,
        dropout: Dropout | None = None,
        fed: list[Array] | None = None,
    ) -> Array:
        """Teacher-forced decoder states ``[B, C, L, H]`` for decoder inputs ``ids[B, C, L]``.

        The C targets of one input attend to themselves apart and to the same encoded input together.
        """
        sizes = axes("targets", memory=("B S H", memory.hidden), ids=("B C L", ids))
        rows, targets, length = (sizes[axis] for axis in "BCL")
        apart, together = (rows * targets, length, -1), (rows, targets * length, -1)
        bias_1KLS = self._decoder_bias(memory, length)[:, :, -length:]
        mask = jnp.where(jnp.tril(jnp.ones((length, length), bool)), 0.0, MASKED)[None, None]
        mask = self._behind_prefix(memory, mask, targets)
        x_RLH = drop(self._embed(ids), dropout, 2000).reshape(apart)
        for i, block in enumerate(self.decoder):
            site = 2001 + 6 * i
            led = _layer(memory.decoder, i, targets)
            x_RLH = x_RLH + drop(
                block.attend_self(x_RLH, bias_1KLS, mask, dropout, site, led), dropout, site + 1
            )
            crossed = block.crossed(
                memory, _layer(memory.crossed, i), targets * length, dropout, site + 2
            )
            attended_BQH = block.attend_encoded(x_RLH.reshape(together), memory, crossed)
            x_RLH = x_RLH + drop(attended_BQH, dropout, site + 3).reshape(x_RLH.shape)
            if fed is not None:
                fed.append(x_RLH)
            x_RLH = x_RLH + drop(block.feed(x_RLH, dropout, site + 4), dropout, site + 5)
        x_RLH = drop(self.decoder_norm(x_RLH), dropout, 3000)
        return x_RLH.reshape(rows, targets, length, -1)

    def fires(self, fed: Sequence[Array]) -> list[Array]:
        return [
            block.feed_forward.fires(block.feed_forward_norm(x))
            for block, x in zip(self.decoder, fed, strict=True)
        ]

    def start_cache(self, memory: Encoded, max_length: int, candidates: int = 1) -> Cache:
        rows, config = memory.hidden.shape[0] * candidates, self.config
        empty = jnp.zeros((rows, config.num_heads, max_length, config.d_kv), jnp.float32)
        return Cache(
            past=[
                _led(_layer(memory.decoder, i, candidates), (empty, empty))
                for i in range(len(self.decoder))
            ],
            crossed=[
                block.crossed(memory, _layer(memory.crossed, i), max_length * candidates)
                for i, block in enumerate(self.decoder)
            ],
        )

    def advance(
        self, memory: Encoded, cache: Cache, last: Array, step: Array
    ) -> tuple[Array, Cache]:
        """See :meth:`LanguageModel.advance`: ``last[B, C]`` int32 gives states ``[B, C, H]`` float32."""
        # a token's products with all it sees are bound by memory: half of it in bfloat16, cast once before the loop
        memory = memory._replace(hidden=memory.hidden.astype(self.dtype))
        sizes = axes("candidates", memory=("B S H", memory.hidden), last=("B C", last))
        rows, candidates = sizes["B"], sizes["C"]
        apart, together = (rows * candidates, 1, -1), (rows, candidates, -1)
        x_R1H, led = self._embed(last).reshape(apart), _prefix_length(memory)
        length = cache.past[0][0].shape[2] - led
        bias_1KSS = self._decoder_bias(memory, length)
        bias_1K1S = jax.lax.dynamic_slice_in_dim(bias_1KSS, led + step, 1, axis=2)
        mask = jnp.where(jnp.arange(length) <= step, 0.0, MASKED)[None, None, None]
        mask = self._behind_prefix(memory, mask, candidates)
        layers = []
        for block, past, crossed in zip(self.decoder, cache.past, cache.crossed, strict=True):
            normed_R1H = block.self_norm(x_R1H)
            layers.append(write(past, block.self_attention.keys_values(normed_R1H), led + step))
            queries_RK1D = block.self_attention.queries(normed_R1H)
            x_R1H = x_R1H + block.self_attention(queries_RK1D, layers[-1], bias_1K1S, mask)
            attended_BCH = block.attend_encoded(x_R1H.reshape(together), memory, crossed)
            x_R1H = x_R1H + attended_BCH.reshape(x_R1H.shape)
            x_R1H = x_R1H + block.feed(x_R1H)
        return self.decoder_norm(x_R1H).reshape(together), Cache(layers, cache.crossed)

    def reorder(self, memory: Encoded, cache: Cache, parents: Array) -> Cache:
        rows = siblings(parents)
        return cache._replace(past=[(keys[rows], values[rows]) for keys, values in cache.past])

    def logits(self, hidden: Array) -> Array:
        """``[..., H] -> [..., V]`` float32; v1.0 scales by ``H ** -0.5`` before its output layer."""
        if self.config.scaled:
            hidden = hidden * self.config.d_model**-0.5
        return project(hidden, (self.embedding if self.config.tied else self.head)[...], self.dtype)

    def left(self, tokens: Array) -> dict[str, KeysValues]:
        """See :meth:`LanguageModel.left`: encoder and decoder both read the tokens, and the decoder what is encoded."""
        read, memory = self._read_alone(tokens)
        left = {"encoder": [keys_values for _, keys_values in read]}
        left |= self._decoder_left(
            memory, jnp.asarray(tokens, jnp.float32)[None], memory.mask, None
        )
        return {kind: layers_of(each) for kind, each in left.items()}

    def layer_inputs(self, tokens: Array) -> Array:
        return jnp.concatenate([x for x, _ in self._read_alone(tokens)[0]])

    def _read_alone(self, tokens: Array) -> tuple[list[tuple[Array, KeysValues]], Encoded]:
        """What every encoder layer reads, ``[1, P, H]``, and its keys and values, where tokens ``[P, H]`` are all there
        is; and their encoding."""
        length, read = len(tokens), []
        x_1LH, mask = jnp.asarray(tokens, jnp.float32)[None], jnp.zeros((1, 1, 1, length))
        bias_1KLL = self._position_bias(self.encoder_bias[...], length, length, bidirectional=True)
        for block in self.encoder:
            projected = block.project(x_1LH)
            read.append((x_1LH, projected[1]))
            x_1LH = block(x_1LH, projected, bias_1KLL, mask, None, 0)
        return read, Encoded(self.encoder_norm(x_1LH), mask)

    def _decoder_left(
        self, memory: Encoded, x: Array, mask: Array, dropout: Dropout | None
    ) -> dict[str, list[KeysValues]]:
        """Keys and values, two of ``[B, K, P, D]`` a layer, that tokens ``x[B, P, H]`` leave in the decoder's own
        attention, and what is encoded in that to it; ``mask[B, 1, 1, P]`` says which of them are seen."""
        length = x.shape[1]
        left: dict[str, list[KeysValues]] = {"decoder": [], "cross": []}
        bias_1KPP = self._decoder_bias(memory, length)
        causal = jnp.where(jnp.tril(jnp.ones((length, length), bool)), 0.0, MASKED)[None, None]
        for i, block in enumerate(self.decoder):
            site = 5001 + 6 * i
            left["decoder"].append(block.self_attention.keys_values(block.self_norm(x)))
            left["cross"].append(block.cross_attention.keys_values(memory.hidden))
            if i + 1 == len(self.decoder):
                break
            attended = block.attend_self(x, bias_1KPP, causal + mask, dropout, site)
            x = x + drop(attended, dropout, site + 1)
            keys, values = left["cross"][-1]
            crossed = keys, drop_keys(values, dropout, site + 2)
            x = x + drop(block.attend_encoded(x, memory, crossed), dropout, site + 3)
            x = x + drop(block.feed(x, dropout, site + 4), dropout, site + 5)
        return left

    def _decoder_bias(self, memory: Encoded, length: int) -> Array:
        """``[1, K, P + L, P + L]`` float32 of L target tokens behind the prefix of what is remembered."""
        length += _prefix_length(memory)
        return self._position_bias(self.decoder_bias[...], length, length, bidirectional=False)

    def _behind_prefix(self, memory: Encoded, mask: Array, each: int) -> Array:
        """``[1, 1, Q, L]`` to ``[B * each, 1, Q, P + L]``: what is seen of a prefix in front; as it is without one."""
        if memory.decoder_mask is None:
            return mask
        led = jnp.repeat(memory.decoder_mask, each, axis=0)
        rows, queries = len(led), mask.shape[2]
        return jnp.concatenate(
            [
                jnp.broadcast_to(led, (rows, 1, queries, led.shape[-1])),
                jnp.broadcast_to(mask, (rows, *mask.shape[1:])),
            ],
            axis=-1,
        )

    def _position_bias(
        self, table: Array, queries: int, keys: int, *, bidirectional: bool
    ) -> Array:
        """``[1, K, Q, S]`` float32 from the ``[buckets, K]`` table that all layers of a stack share."""
        buckets = relative_position_buckets(
            queries,
            keys,
            bidirectional=bidirectional,
            buckets=self.config.relative_attention_num_buckets,
            max_distance=self.config.relative_attention_max_distance,
        )
        return table.astype(jnp.float32)[buckets].transpose(2, 0, 1)[None]


def _added(visible: Array) -> Array:
    """What is added to scores, ``[B, 1, 1, S]`` float32, for what may be seen, ``visible[B, S]`` bool."""
    return jnp.where(visible, 0.0, MASKED)[:, None, None, :]


def _prefix_length(memory: Encoded) -> int:
    """P of the decoder's own prefix."""
    return 0 if memory.decoder_mask is None else int(memory.decoder_mask.shape[-1])


def _hidden(blind: Array, prompt: int, length: int) -> Array:
    """What is added to scores, ``[B, 1, S, S]`` float32, for ``blind[B]`` of :class:`Soft` and P tokens of a prompt."""
    of_prompt_S = jnp.arange(length) < prompt
    to_text_SS = of_prompt_S[:, None] & ~of_prompt_S[None]
    blind_B11 = blind[:, None, None]
    hidden_BSS = ((blind_B11 == PROMPT_BLIND) & to_text_SS[None]) | (
        (blind_B11 == TEXT_BLIND) & to_text_SS.T[None]
    )
    return jnp.where(hidden_BSS, MASKED, 0.0)[:, None]
