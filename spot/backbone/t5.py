"""T5 in Flax NNX: modules that hold the frozen weights, and the one prompted forward.

Axes: B batch, C targets per input, T input tokens, P prompt tokens, S = P + T, L target tokens, H model width,
K heads, D head width, V vocabulary, N prompts in the stack.

Every weight is asked for by its Hugging Face name from a ``weights`` callable, so that loading, random
initialisation and shape checking are the same walk over the modules, and each parameter remembers that name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.nnx as nnx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from spot.backbone.batch import Inputs, Targets, Tokens
from spot.backbone.config import T5Config
from spot.backbone.products import attention, project, relative_position_buckets

MASKED = -1e9
"""Added to the scores of keys that may not be seen."""

Weights = Callable[[str, tuple[int, ...]], Array]
"""``weights(name, shape)`` gives the tensor of that Hugging Face name."""


class Encoded(NamedTuple):
    """What the decoder sees of an input."""

    hidden: Array
    """``[B, S, H]`` float32."""
    mask: Array
    """``[B, 1, 1, S]`` float32, 0 or ``MASKED``."""


class Dropout(NamedTuple):
    """Inverted dropout with one key per step; absent (``None``) wherever nobody asked for it."""

    rate: float
    key: Array


def drop(x: Array, dropout: Dropout | None, site: int) -> Array:
    """Drop elements of ``x``; ``site`` sets apart the places of one forward pass."""
    if dropout is None or dropout.rate == 0.0:
        return x
    keep = jax.random.bernoulli(jax.random.fold_in(dropout.key, site), 1.0 - dropout.rate, x.shape)
    return jnp.where(keep, x / (1.0 - dropout.rate), 0.0)


def _parameter(weights: Weights, name: str, *shape: int) -> nnx.Param[Array]:
    return nnx.Param(weights(name, shape), tensor=name)


class RMSNorm(nnx.Module):
    """Root mean square norm, float32, no mean and no bias (Zhang and Sennrich 2019)."""

    def __init__(self, config: T5Config, weights: Weights, name: str) -> None:
        self.epsilon = config.layer_norm_epsilon
        self.scale = _parameter(weights, f"{name}.weight", config.d_model)

    def __call__(self, x: Array) -> Array:
        variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(variance + self.epsilon) * self.scale[...].astype(jnp.float32)


class Attention(nnx.Module):
    """Multi-head attention of T5: no biases, no scaling of the scores."""

    def __init__(self, config: T5Config, weights: Weights, name: str, dtype: DTypeLike) -> None:
        self.heads, self.dtype = config.num_heads, dtype
        self.q = _parameter(weights, f"{name}.q.weight", config.inner, config.d_model)
        self.k = _parameter(weights, f"{name}.k.weight", config.inner, config.d_model)
        self.v = _parameter(weights, f"{name}.v.weight", config.inner, config.d_model)
        self.o = _parameter(weights, f"{name}.o.weight", config.d_model, config.inner)

    def queries(self, x: Array) -> Array:
        """``[B, Q, H] -> [B, K, Q, D]``."""
        return self._split(project(x, self.q[...], self.dtype))

    def keys_values(self, x: Array) -> tuple[Array, Array]:
        """``[B, S, H] ->`` two of ``[B, K, S, D]``."""
        return (
            self._split(project(x, self.k[...], self.dtype)),
            self._split(project(x, self.v[...], self.dtype)),
        )

    def __call__(self, queries: Array, keys_values: tuple[Array, Array], bias: Array | float, mask: Array) -> Array:
        """Attend and project back: ``[B, K, Q, D] -> [B, Q, H]``."""
        out = attention(queries, *keys_values, bias, mask)
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
            self.gate = _parameter(weights, f"{name}.wi_0.weight", inner, width)
            self.up = _parameter(weights, f"{name}.wi_1.weight", inner, width)
        else:
            self.up = _parameter(weights, f"{name}.wi.weight", inner, width)
        self.down = _parameter(weights, f"{name}.wo.weight", width, inner)

    def __call__(self, x: Array) -> Array:
        up = project(x, self.up[...], self.dtype)
        hidden = up if self.gated else self.activation(up)
        if self.gated:
            hidden = hidden * self.activation(project(x, self.gate[...], self.dtype))
        return project(hidden, self.down[...], self.dtype)


class EncoderBlock(nnx.Module):
    def __init__(self, config: T5Config, weights: Weights, name: str, dtype: DTypeLike) -> None:
        self.attention_norm = RMSNorm(config, weights, f"{name}.layer.0.layer_norm")
        self.attention = Attention(config, weights, f"{name}.layer.0.SelfAttention", dtype)
        self.feed_forward_norm = RMSNorm(config, weights, f"{name}.layer.1.layer_norm")
        self.feed_forward = FeedForward(config, weights, f"{name}.layer.1.DenseReluDense", dtype)

    def __call__(self, x: Array, bias: Array, mask: Array, dropout: Dropout | None, site: int) -> Array:
        normed = self.attention_norm(x)
        attended = self.attention(self.attention.queries(normed), self.attention.keys_values(normed), bias, mask)
        x = x + drop(attended, dropout, site)
        return x + drop(self.feed_forward(self.feed_forward_norm(x)), dropout, site + 1)


class DecoderBlock(nnx.Module):
    def __init__(self, config: T5Config, weights: Weights, name: str, dtype: DTypeLike) -> None:
        self.self_norm = RMSNorm(config, weights, f"{name}.layer.0.layer_norm")
        self.self_attention = Attention(config, weights, f"{name}.layer.0.SelfAttention", dtype)
        self.cross_norm = RMSNorm(config, weights, f"{name}.layer.1.layer_norm")
        self.cross_attention = Attention(config, weights, f"{name}.layer.1.EncDecAttention", dtype)
        self.feed_forward_norm = RMSNorm(config, weights, f"{name}.layer.2.layer_norm")
        self.feed_forward = FeedForward(config, weights, f"{name}.layer.2.DenseReluDense", dtype)

    def attend_self(self, x: Array, bias: Array, mask: Array) -> Array:
        """Causal self-attention over whole targets, ``[B * C, L, H]``."""
        normed = self.self_norm(x)
        keys_values = self.self_attention.keys_values(normed)
        return self.self_attention(self.self_attention.queries(normed), keys_values, bias, mask)

    def attend_encoded(self, x: Array, keys_values: tuple[Array, Array], mask: Array) -> Array:
        """Cross-attention of ``[B, Q, H]`` to the encoded input."""
        queries = self.cross_attention.queries(self.cross_norm(x))
        return self.cross_attention(queries, keys_values, 0.0, mask)

    def feed(self, x: Array) -> Array:
        return self.feed_forward(self.feed_forward_norm(x))


class T5(nnx.Module):
    """A frozen T5 behind a stack of soft prompts.

    ``prompts[N, P, H]`` travels with ``prompt_ids[B]``, the row of the stack that each example uses; P = 0 is
    the bare model. Lester et al. 2021, section 2: the prompt leads the embedded input, takes part in the relative
    position bias as ordinary positions, and is never padding.
    """

    def __init__(self, config: T5Config, weights: Weights, *, dtype: DTypeLike = jnp.float32) -> None:
        self.config, self.dtype = config, dtype
        buckets = (config.relative_attention_num_buckets, config.num_heads)
        self.embedding = _parameter(weights, "shared.weight", config.vocab_size, config.d_model)
        bias_name = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        self.encoder_bias = _parameter(weights, f"encoder.{bias_name}", *buckets)
        self.encoder = nnx.List(
            EncoderBlock(config, weights, f"encoder.block.{i}", dtype) for i in range(config.num_layers)
        )
        self.encoder_norm = RMSNorm(config, weights, "encoder.final_layer_norm")
        self.decoder_bias = _parameter(weights, f"decoder.{bias_name}", *buckets)
        self.decoder = nnx.List(
            DecoderBlock(config, weights, f"decoder.block.{i}", dtype) for i in range(config.num_decoder_layers)
        )
        self.decoder_norm = RMSNorm(config, weights, "decoder.final_layer_norm")
        if not config.tied:
            self.head = _parameter(weights, "lm_head.weight", config.vocab_size, config.d_model)

    # -- the three public computations -------------------------------------------------------------------

    def token_losses(
        self,
        prompts: Array,
        prompt_ids: Tokens,
        inputs: Inputs,
        targets: Targets,
        dropout: Dropout | None = None,
    ) -> Array:
        """Negative log-likelihood of every target token, ``[B, L]`` float32, zero at padding."""
        encoded = self.encode(prompts, prompt_ids, inputs, dropout)
        return self._losses(encoded, targets.ids[:, None], targets.mask[:, None], dropout)[:, 0]

    def choice_scores(self, prompts: Array, prompt_ids: Tokens, inputs: Inputs, choices: Targets) -> Array:
        """Log-likelihood of every choice, ``[B, C]`` float32; each input is encoded once for all its choices.

        ``choices`` holds ``ids[B, C, L]`` and ``mask[B, C, L]``; a choice without a token scores minus infinity.
        """
        encoded = self.encode(prompts, prompt_ids, inputs)
        scores = -self._losses(encoded, choices.ids, choices.mask).sum(axis=-1)
        return jnp.where(choices.mask.any(axis=-1), scores, -jnp.inf)

    def greedy(self, prompts: Array, prompt_ids: Tokens, inputs: Inputs, max_length: int) -> Array:
        """Greedy decoding with cached keys and values, ``[B, max_length]`` int32, padded after the end token.

        One compiled loop that stops when every row has ended.
        """
        encoded = self.encode(prompts, prompt_ids, inputs)
        crossed = [block.cross_attention.keys_values(encoded.hidden) for block in self.decoder]
        rows, config = encoded.hidden.shape[0], self.config
        empty = jnp.zeros((rows, config.num_heads, max_length, config.d_kv), jnp.float32)
        bias = self._position_bias(self.decoder_bias[...], max_length, max_length, bidirectional=False)

        class State(NamedTuple):
            step: Array
            last: Array
            ended: Array
            output: Array
            cache: list[tuple[Array, Array]]

        def unfinished(state: State) -> Array:
            return (state.step < max_length) & ~state.ended.all()

        def advance(state: State) -> State:
            x = self._embed(state.last[:, None])
            row = jax.lax.dynamic_slice_in_dim(bias, state.step, 1, axis=2)
            seen = jnp.where(jnp.arange(max_length) <= state.step, 0.0, MASKED)[None, None, None]
            cache = []
            for block, (keys, values), cross in zip(self.decoder, state.cache, crossed, strict=True):
                normed = block.self_norm(x)
                key, value = block.self_attention.keys_values(normed)
                keys = jax.lax.dynamic_update_slice_in_dim(keys, key, state.step, axis=2)
                values = jax.lax.dynamic_update_slice_in_dim(values, value, state.step, axis=2)
                cache.append((keys, values))
                x = x + block.self_attention(block.self_attention.queries(normed), (keys, values), row, seen)
                x = x + block.attend_encoded(x, cross, encoded.mask)
                x = x + block.feed(x)
            best = self.logits(self.decoder_norm(x))[:, 0].argmax(axis=-1).astype(jnp.int32)
            best = jnp.where(state.ended, config.pad_token_id, best)
            output = jax.lax.dynamic_update_slice_in_dim(state.output, best[:, None], state.step, axis=1)
            return State(state.step + 1, best, state.ended | (best == config.eos_token_id), output, cache)

        start = State(
            step=jnp.int32(0),
            last=jnp.full(rows, config.decoder_start_token_id, jnp.int32),
            ended=jnp.zeros(rows, bool),
            output=jnp.full((rows, max_length), config.pad_token_id, jnp.int32),
            cache=[(empty, empty) for _ in self.decoder],
        )
        return jax.lax.while_loop(unfinished, advance, start).output

    # -- parts -------------------------------------------------------------------------------------------

    def encode(self, prompts: Array, prompt_ids: Tokens, inputs: Inputs, dropout: Dropout | None = None) -> Encoded:
        """Prompt and input through the encoder."""
        prompt = prompts[prompt_ids].astype(jnp.float32)
        x = jnp.concatenate([prompt, self._embed(inputs.ids)], axis=1)
        visible = jnp.concatenate([jnp.ones(prompt.shape[:2], bool), inputs.mask], axis=1)
        mask = jnp.where(visible, 0.0, MASKED)[:, None, None, :]
        length = x.shape[1]
        bias = self._position_bias(self.encoder_bias[...], length, length, bidirectional=True)
        x = drop(x, dropout, 0)
        for i, block in enumerate(self.encoder):
            x = block(x, bias, mask, dropout, 1 + 2 * i)
        return Encoded(drop(self.encoder_norm(x), dropout, 1000), mask)

    def decode(self, encoded: Encoded, ids: Tokens, dropout: Dropout | None = None) -> Array:
        """Teacher-forced decoder states ``[B, C, L, H]`` for decoder inputs ``ids[B, C, L]``.

        The C targets of one input attend to themselves apart and to the same encoded input together.
        """
        rows, targets, length = ids.shape
        apart, together = (rows * targets, length, -1), (rows, targets * length, -1)
        bias = self._position_bias(self.decoder_bias[...], length, length, bidirectional=False)
        causal = jnp.where(jnp.tril(jnp.ones((length, length), bool)), 0.0, MASKED)[None, None]
        x = drop(self._embed(ids), dropout, 2000).reshape(apart)
        for i, block in enumerate(self.decoder):
            x = x + drop(block.attend_self(x, bias, causal), dropout, 2001 + 3 * i)
            keys_values = block.cross_attention.keys_values(encoded.hidden)
            crossed = block.attend_encoded(x.reshape(together), keys_values, encoded.mask)
            x = x + drop(crossed, dropout, 2002 + 3 * i).reshape(x.shape)
            x = x + drop(block.feed(x), dropout, 2003 + 3 * i)
        x = drop(self.decoder_norm(x), dropout, 3000)
        return x.reshape(rows, targets, length, -1)

    def logits(self, hidden: Array) -> Array:
        """``[..., H] -> [..., V]`` float32; v1.0 scales by ``H ** -0.5`` before its tied output layer."""
        if self.config.tied:
            return project(hidden * self.config.d_model**-0.5, self.embedding[...], self.dtype)
        return project(hidden, self.head[...], self.dtype)

    def _losses(self, encoded: Encoded, ids: Tokens, mask: Tokens, dropout: Dropout | None = None) -> Array:
        start = jnp.full_like(ids[..., :1], self.config.decoder_start_token_id)
        shifted = jnp.concatenate([start, ids[..., :-1]], axis=-1)
        logits = self.logits(self.decode(encoded, shifted, dropout))
        picked = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
        return jnp.where(mask, jax.nn.logsumexp(logits, axis=-1) - picked, 0.0)

    def _embed(self, ids: Tokens) -> Array:
        return self.embedding[...][ids].astype(jnp.float32)

    def _position_bias(self, table: Array, queries: int, keys: int, *, bidirectional: bool) -> Array:
        """``[1, K, Q, S]`` float32 from the ``[buckets, K]`` table that all layers of a stack share."""
        buckets = relative_position_buckets(
            queries,
            keys,
            bidirectional=bidirectional,
            buckets=self.config.relative_attention_num_buckets,
            max_distance=self.config.relative_attention_max_distance,
        )
        return table.astype(jnp.float32)[buckets].transpose(2, 0, 1)[None]
