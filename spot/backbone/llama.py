"""Llama-family decoders in Flax NNX (Touvron et al. 2023; SmolLM2, Qwen2) behind the same prompted forward as T5.

The sequence is prompt, text, separator, target. Prompt and text are read once into a cache of keys and values, as an
encoder would be; the separator starts the target, as T5's start token does. The C targets of one input then run
together against that cache. Positions begin at the prompt and go on from the text's own end, so that padding between
text and target leaves no gap.

Nothing in front of a text sees it, so a prompt is read once for all the rows that share it, not once a row: a step
costs ``N P + B (T + L)`` tokens in place of ``B (P + T + L)``.

Axes as in :mod:`spot.backbone.t5`; G query heads share each of K heads of keys and values, and F is the width of a
feed-forward layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import flax.nnx as nnx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from spot.backbone.batch import START, Inputs, Packed, Tokens
from spot.backbone.config import LlamaConfig
from spot.backbone.grid import Grid, Leaders
from spot.backbone.layers import (
    MASKED,
    Dropout,
    KeysValues,
    RMSNorm,
    Weights,
    behind,
    drop,
    layers_of,
    parameter,
    ranked,
    siblings,
    write,
)
from spot.backbone.model import LanguageModel
from spot.backbone.products import attention, project
from spot.backbone.shapes import axes
from spot.backbone.soft import TEXT_BLIND, Soft

Rotation = tuple[Array, Array]
"""Cosines and sines of positions, ``[..., S, D]`` float32."""


class Read(NamedTuple):
    """What a target sees of its input."""

    layers: list[KeysValues]
    """Keys and values of prompt and text, two of ``[B, K, S, D]`` a layer; keys are turned by their positions."""
    mask: Array
    """``[B, 1, 1, S]`` float32, 0 or ``MASKED``."""
    end: Array
    """``[B]`` int32, the position behind the text: the separator's."""


def rotation(positions: Array, config: LlamaConfig) -> Rotation:
    """Angles of rotary positions (Su et al. 2021, equation 15) for ``positions[...]``, twice over as halves."""
    frequencies = config.rope_theta ** -(
        jnp.arange(0, config.head_dim, 2, dtype=jnp.float32) / config.head_dim
    )
    angles = positions[..., None].astype(jnp.float32) * ranked(frequencies, positions.ndim + 1)
    angles = jnp.concatenate([angles, angles], axis=-1)
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Array, angles: Rotation) -> Array:
    """Rotate ``x[..., S, D]``; the pairs that rotate together lie half a head apart."""
    low, high = jnp.split(x, 2, axis=-1)
    cosine, sine = (ranked(part, x.ndim) for part in angles)
    return x * cosine + jnp.concatenate([-high, low], axis=-1) * sine


class Block(nnx.Module):
    """One layer: grouped-query attention and a SwiGLU feed-forward, each behind its norm."""

    def __init__(self, config: LlamaConfig, weights: Weights, name: str, dtype: DTypeLike) -> None:
        self.heads, self.depth = config.num_key_value_heads, config.head_dim
        self.groups = config.num_attention_heads // config.num_key_value_heads
        self.dtype = dtype
        wide, narrow = (
            config.num_attention_heads * config.head_dim,
            config.num_key_value_heads * config.head_dim,
        )
        width, inner = config.hidden_size, config.intermediate_size
        self.attention_norm = RMSNorm(
            width, config.rms_norm_eps, weights, f"{name}.input_layernorm"
        )
        self.q = parameter(weights, f"{name}.self_attn.q_proj.weight", wide, width)
        self.k = parameter(weights, f"{name}.self_attn.k_proj.weight", narrow, width)
        self.v = parameter(weights, f"{name}.self_attn.v_proj.weight", narrow, width)
        self.o = parameter(weights, f"{name}.self_attn.o_proj.weight", width, wide)
        if config.input_bias:
            self.q_bias = parameter(weights, f"{name}.self_attn.q_proj.bias", wide)
            self.k_bias = parameter(weights, f"{name}.self_attn.k_proj.bias", narrow)
            self.v_bias = parameter(weights, f"{name}.self_attn.v_proj.bias", narrow)
        if config.output_bias:
            self.o_bias = parameter(weights, f"{name}.self_attn.o_proj.bias", width)
        self.feed_forward_norm = RMSNorm(
            width, config.rms_norm_eps, weights, f"{name}.post_attention_layernorm"
        )
        self.gate = parameter(weights, f"{name}.mlp.gate_proj.weight", inner, width)
        self.up = parameter(weights, f"{name}.mlp.up_proj.weight", inner, width)
        self.down = parameter(weights, f"{name}.mlp.down_proj.weight", width, inner)

    def queries(self, normed: Array, angles: Rotation, grid: Grid | None = None) -> Array:
        """``[B, S, H] -> [B, K, G * S, D]``, scaled: the heads of a group stand behind each other."""
        x_BJQD = self._heads(self._project(normed, "q"), self.heads * self.groups, grid)  # J = K G
        rows, _, length, depth = x_BJQD.shape
        return (rotate(x_BJQD, angles) * depth**-0.5).reshape(
            rows, self.heads, self.groups * length, depth
        )

    def keys_values(self, normed: Array, angles: Rotation, grid: Grid | None = None) -> KeysValues:
        """``[B, S, H] ->`` two of ``[B, K, S, D]``."""
        keys_BKSD = self._heads(self._project(normed, "k"), self.heads, grid)
        return rotate(keys_BKSD, angles), self._heads(self._project(normed, "v"), self.heads, grid)

    def attend(
        self,
        queries: Array,
        visible: KeysValues,
        bias: Array,
        mask: Array,
        grid: Grid | None = None,
    ) -> Array:
        """``[B, K, G * Q, D] -> [B, Q, H]``; ``bias[Q, S]`` and ``mask[B, 1, 1 or Q, S]`` are 0 or ``MASKED``."""
        if mask.shape[2] > 1:
            mask = jnp.tile(mask, (1, 1, self.groups, 1))
        out = attention(queries, *visible, jnp.tile(bias, (self.groups, 1))[None, None], mask)
        rows, _, folded, depth = out.shape
        out = out.reshape(rows, self.heads * self.groups, folded // self.groups, depth)
        out_BQI = out.transpose(0, 2, 1, 3).reshape(rows, folded // self.groups, -1)
        return self._project(grid.gather(out_BQI)[None] if grid else out_BQI, "o")

    def feed(self, x: Array) -> Array:
        """``[B, Q, H] -> [B, Q, H]`` float32: SwiGLU (Shazeer 2020) of the normed input."""
        normed_BQH = self.feed_forward_norm(x)
        gate_BQF = jax.nn.silu(project(normed_BQH, self.gate[...], self.dtype))
        up_BQF = project(normed_BQH, self.up[...], self.dtype)
        return project(gate_BQF * up_BQF, self.down[...], self.dtype)

    def fires(self, x: Array) -> Array:
        """``[B, Q, H] -> [B, Q, F]`` bool: where SiLU of the gate gives more than zero."""
        return project(self.feed_forward_norm(x), self.gate[...], self.dtype) > 0

    def _project(self, x: Array, name: str) -> Array:
        out = project(x, getattr(self, name)[...], self.dtype)
        bias: nnx.Param[Array] | None = getattr(self, f"{name}_bias", None)
        return out if bias is None else out + ranked(bias[...].astype(jnp.float32), out.ndim)

    def _heads(self, x: Array, heads: int, grid: Grid | None = None) -> Array:
        x = grid.spread(x[0]) if grid else x
        rows, length, _ = x.shape
        return x.reshape(rows, length, heads, self.depth).transpose(0, 2, 1, 3)


class Llama(LanguageModel[Read, list[KeysValues]]):
    """A decoder-only model; the separator between text and target is its start token."""

    config: LlamaConfig
    embedding_name: ClassVar = "model.embed_tokens.weight"
    base_prefix: ClassVar = "model."
    unused: ClassVar = r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"

    def __init__(
        self, config: LlamaConfig, weights: Weights, *, dtype: DTypeLike = jnp.float32
    ) -> None:
        self.config, self.dtype = config, dtype
        shape = (config.vocab_size, config.hidden_size)
        self.embedding = parameter(weights, "model.embed_tokens.weight", *shape)
        self.layers = nnx.List(
            Block(config, weights, f"model.layers.{i}", dtype)
            for i in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, weights, "model.norm")
        if not config.tied:
            self.head = parameter(weights, "lm_head.weight", *shape)

    def prepare(self, soft: Soft) -> Soft:
        """The stack with the keys and values of its prompts, which no text changes."""
        return (
            soft
            if soft.before or soft.attended
            else soft._replace(before=self._read_prompts(soft, None))
        )

    def read(
        self, soft: Soft, prompt_ids: Tokens, inputs: Inputs, dropout: Dropout | None = None
    ) -> Read:
        """Prompts, then texts behind them; of the last layer only keys and values are needed."""
        soft, prompt_ids = self.mixed(soft, prompt_ids, inputs)
        if dropout or soft.rows > len(
            prompt_ids
        ):  # rows that differ, or are fewer than the prompts
            soft, prompt_ids = soft.take(prompt_ids), jnp.arange(len(prompt_ids))
        prompts = soft.before or self._read_prompts(soft, dropout)
        past = [(keys[prompt_ids], values[prompt_ids]) for keys, values in prompts]
        length = inputs.ids.shape[1]
        visible_BS = soft.lead(inputs.mask, prompt_ids)
        mask = jnp.where(visible_BS, 0.0, MASKED)[:, None, None, :]
        positions = soft.leading + jnp.arange(length)
        if soft.lengths is not None and soft.leading:
            positions = (jnp.asarray(soft.lengths)[prompt_ids, None] + jnp.arange(length)[None])[
                :, None
            ]
        bias_TS = jnp.pad(_causal(length), ((0, 0), (soft.leading, 0)))
        x_BTH = drop(self._embed_text(inputs.ids, soft, prompt_ids), dropout, 0)
        angles = rotation(positions, self.config)
        reading = mask
        if soft.blind is not None:  # prompts see nothing of what follows as it is
            to_prompt_S = jnp.arange(mask.shape[-1]) < soft.leading
            hidden_B1 = (jnp.asarray(soft.blind)[prompt_ids] == TEXT_BLIND)[:, None]
            reading = mask + jnp.where(hidden_B1 & to_prompt_S[None], MASKED, 0.0)[:, None, None]
        _, layers = self._extend(x_BTH, past, angles, bias_TS, reading, dropout, 1, states=False)
        return Read(layers, mask, visible_BS.sum(axis=-1).astype(jnp.int32))

    def left(self, tokens: Array) -> dict[str, KeysValues]:
        return {"decoder": layers_of(self._read_prompts(Soft(tokens[None]), None))}

    def layer_inputs(self, tokens: Array) -> Array:
        read: list[Array] = []
        self._read_prompts(Soft(tokens[None]), None, read)
        return jnp.concatenate(read)

    def _read_prompts(
        self, soft: Soft, dropout: Dropout | None, read: list[Array] | None = None
    ) -> list[KeysValues]:
        """Keys and values, two of ``[N, K, P, D]`` a layer, of a stack's prompts; ``read`` as of :meth:`_extend`."""
        rows, length = soft.rows, soft.leading
        nothing = jnp.zeros((rows, self.config.num_key_value_heads, 0, self.config.head_dim))
        past = [(nothing, nothing)] * len(self.layers)
        if soft.prefixes:
            keys, values = soft.prefixes["decoder"]
            return [(keys[:, i], values[:, i]) for i in range(len(self.layers))]
        if length == 0:
            return past
        x_NPH = drop(jnp.asarray(soft.tokens, jnp.float32), dropout, 3000)
        positions = jnp.arange(length)
        if soft.lengths is not None:
            first = jnp.asarray(soft.lengths)[:, None] - length
            positions = jnp.maximum(positions[None] + first, 0)[:, None]
        angles = rotation(positions, self.config)
        if soft.layers is not None:
            layers = jnp.asarray(soft.layers).swapaxes(0, 1)
            states = [x_NPH, *(drop(x, dropout, 4000 + i) for i, x in enumerate(layers))]
            return [
                block.keys_values(block.attention_norm(state), angles)
                for block, state in zip(self.layers, states, strict=True)
            ]
        mask = jnp.where(soft.visible(), 0.0, MASKED)[:, None, None, :]
        return self._extend(
            x_NPH, past, angles, _causal(length), mask, dropout, 3001, states=False, read=read
        )[1]

    def _extend(
        self,
        x: Array,
        past: list[KeysValues],
        angles: Rotation,
        bias: Array,
        mask: Array,
        dropout: Dropout | None,
        site: int,
        *,
        states: bool = True,
        read: list[Array] | None = None,
        fed: list[Array] | None = None,
        grid: Grid | None = None,
        leaders: Leaders | None = None,
    ) -> tuple[Array, list[KeysValues]]:
        """Embedded tokens ``x[B, Q, H]`` that follow what ``past`` holds, through all layers.

        Returns their last states and the keys and values of both; without ``states`` the last layer's attention
        and feed-forward are left out. ``read`` and ``fed`` take in what every layer's attention and feed-forward read.
        A packed sequence ``x[1, S, H]`` comes with its ``grid``, and with ``leaders`` in place of ``past`` where its
        first rows stand before the others.
        """
        layers: list[KeysValues] = []
        for i, block in enumerate(self.layers):
            if read is not None:
                read.append(x)
            normed = block.attention_norm(x)
            own = block.keys_values(normed, angles, grid)
            before = leaders.of(own) if leaders else past[i]
            layers.append(behind(before, own))
            if states or i + 1 < len(self.layers):
                queries = block.queries(normed, angles, grid)
                attended = block.attend(queries, layers[-1], bias, mask, grid)
                x = x + drop(attended, dropout, site + 2 * i)
                if fed is not None:
                    fed.append(x)
                x = x + drop(block.feed(x), dropout, site + 2 * i + 1)
        return x, layers

    def decode(
        self,
        memory: Read,
        ids: Tokens,
        dropout: Dropout | None = None,
        fed: list[Array] | None = None,
    ) -> Array:
        """States ``[B, C, L, H]`` for ``ids[B, C, L]`` that follow the text; the C targets do not see each other."""
        sizes = axes("targets", end=("B", memory.end), ids=("B C L", ids))
        rows, targets, length = (sizes[axis] for axis in "BCL")
        x_BQH = self._embed(ids).reshape(rows, targets * length, -1)
        positions_BQ = memory.end[:, None] + jnp.tile(jnp.arange(length), targets)[None]
        angles = rotation(positions_BQ[:, None], self.config)  # of all heads alike
        target_Q = jnp.repeat(jnp.arange(targets), length)
        among_QQ = jnp.where(
            target_Q[:, None] == target_Q[None, :], _causal(targets * length), MASKED
        )
        bias_QS = jnp.concatenate(
            [jnp.zeros((targets * length, memory.mask.shape[-1])), among_QQ], axis=-1
        )
        mask_B11S = jnp.concatenate(
            [memory.mask, jnp.zeros((rows, 1, 1, targets * length))], axis=-1
        )
        x_BQH, _ = self._extend(
            x_BQH, memory.layers, angles, bias_QS, mask_B11S, dropout, 1001, fed=fed
        )
        return self.norm(x_BQH).reshape(rows, targets, length, -1)

    def packed_states(self, soft: Soft, packed: Packed) -> Array:
        """Prompts lead the sequence and pass through the layers with it; deep prompts are read on their own first,
        prefixes are there already, and a suffix is part of each text."""
        prompts, length = soft.rows, soft.leading
        ids = jnp.where(packed.ids == START, self.config.start_token_id, packed.ids)
        places_RW = jnp.asarray(packed.grid)
        width, none = places_RW.shape[1], len(ids)
        x_SH = self._embed_text(ids[:, None], soft, _of_tokens(packed))[:, 0]
        visible_RS = soft.lead(places_RW < none, packed.prompt_ids)
        known = length and soft.lengths is not None
        lengths_N = jnp.asarray(soft.lengths) if known else jnp.full(prompts, length)
        positions_RW = lengths_N[packed.prompt_ids, None] + packed.positions
        branches_RW = jnp.asarray(packed.branches)
        blind_RW = _blind(soft, packed)
        past: list[KeysValues] = []
        leaders: Leaders | None = None
        if soft.layers is not None or soft.prefixes or not length:
            past = [
                (keys[packed.prompt_ids], values[packed.prompt_ids])
                for keys, values in self._read_prompts(soft, None)
            ]
        else:  # every prompt is a row of its own, with nothing in front of it
            x_SH = jnp.concatenate(
                [jnp.asarray(soft.tokens, jnp.float32).reshape(-1, x_SH.shape[1]), x_SH]
            )
            behind, none = prompts * length, len(x_SH)
            own_NP = jnp.arange(behind).reshape(prompts, length)
            spare = ((0, 0), (0, width - length))
            places_RW = jnp.concatenate(
                [jnp.pad(own_NP, spare, constant_values=none), places_RW + behind]
            )
            nothing_NP = jnp.zeros((prompts, length), bool)
            visible_RS = jnp.concatenate(
                [jnp.concatenate([nothing_NP, jnp.pad(soft.visible(), spare)], axis=1), visible_RS]
            )
            first_N1 = (lengths_N - length)[:, None]
            branches_RW = jnp.pad(branches_RW, ((prompts, 0), (0, 0)))
            blind_RW = jnp.pad(blind_RW, ((prompts, 0), (0, 0)))
            positions_RW = jnp.concatenate(
                [jnp.maximum(first_N1 + jnp.arange(width)[None], 0), positions_RW]
            )
            leaders = Leaders(
                jnp.concatenate([jnp.arange(prompts), packed.prompt_ids]), prompts, length
            )
        bias_WS = jnp.pad(_causal(width), ((0, 0), (length, 0)))
        ours_RWW = (branches_RW[:, None] == 0) | (branches_RW[:, None] == branches_RW[:, :, None])
        led_RWP = jnp.broadcast_to(~blind_RW[..., None], (*blind_RW.shape, length))
        ours_RWS = jnp.concatenate([led_RWP, ours_RWW], axis=-1)
        mask_R1WS = jnp.where(visible_RS[:, None] & ours_RWS, 0.0, MASKED)[:, None]
        angles = rotation(positions_RW[:, None], self.config)
        x_1SH, _ = self._extend(
            x_SH[None],
            past,
            angles,
            bias_WS,
            mask_R1WS,
            None,
            0,
            grid=Grid.of(places_RW, none),
            leaders=leaders,
        )
        return self.norm(x_1SH[0, none - len(ids) :])

    def fires(self, fed: Sequence[Array]) -> list[Array]:
        return [block.fires(x) for block, x in zip(self.layers, fed, strict=True)]

    def logits(self, hidden: Array) -> Array:
        """``[..., H] -> [..., V]`` float32."""
        return project(hidden, (self.embedding if self.config.tied else self.head)[...], self.dtype)

    def start_cache(self, memory: Read, max_length: int, candidates: int = 1) -> list[KeysValues]:
        rows, config = memory.mask.shape[0] * candidates, self.config
        room = jnp.zeros(
            (rows, config.num_key_value_heads, max_length, config.head_dim), jnp.float32
        )
        return [
            behind((_each(keys, candidates), _each(values, candidates)), (room, room))
            for keys, values in memory.layers
        ]

    def advance(
        self, memory: Read, cache: list[KeysValues], last: Array, step: Array
    ) -> tuple[Array, list[KeysValues]]:
        """See :meth:`LanguageModel.advance`: ``last[B, C]`` int32 gives states ``[B, C, H]`` float32."""
        sizes = axes("candidates", end=("B", memory.end), last=("B C", last))
        rows, candidates = sizes["B"], sizes["C"]
        read, length = memory.mask.shape[-1], cache[0][0].shape[2]
        x_R1H = self._embed(last).reshape(rows * candidates, 1, -1)
        positions_R11 = _each(memory.end + step, candidates)[:, None, None]
        angles = rotation(positions_R11, self.config)
        bias_1S = jnp.where(jnp.arange(length) <= read + step, 0.0, MASKED)[None]
        mask_R11S = _each(
            jnp.pad(memory.mask, ((0, 0), (0, 0), (0, 0), (0, length - read))), candidates
        )
        layers = []
        for block, past in zip(self.layers, cache, strict=True):
            normed_R1H = block.attention_norm(x_R1H)
            layers.append(write(past, block.keys_values(normed_R1H, angles), read + step))
            x_R1H = x_R1H + block.attend(
                block.queries(normed_R1H, angles), layers[-1], bias_1S, mask_R11S
            )
            x_R1H = x_R1H + block.feed(x_R1H)
        return self.norm(x_R1H).reshape(rows, candidates, -1), layers

    def reorder(self, memory: Read, cache: list[KeysValues], parents: Array) -> list[KeysValues]:
        """What was read is the same for all candidates, and stays."""
        read, rows = memory.mask.shape[-1], siblings(parents)

        def reordered(x: Array) -> Array:
            return x.at[:, :, read:].set(x[rows, :, read:])

        return [(reordered(keys), reordered(values)) for keys, values in cache]


def _of_tokens(packed: Packed) -> Array:
    """``[M]`` int32, the prompt of every token of a packed sequence."""
    places_RW = jnp.asarray(packed.grid)
    prompts_RW = jnp.broadcast_to(jnp.asarray(packed.prompt_ids)[:, None], places_RW.shape)
    none = jnp.zeros(len(packed.ids), prompts_RW.dtype)
    return none.at[places_RW.reshape(-1)].set(prompts_RW.reshape(-1), mode="drop")


def _blind(soft: Soft, packed: Packed) -> Array:
    """``[B, W]`` bool, which tokens of a packed sequence see nothing of their prompt: all up to the start token, where
    texts are blind."""
    if soft.blind is None:
        return jnp.zeros(packed.grid.shape, bool)
    ids_BW = jnp.asarray(packed.ids).at[packed.grid].get(mode="fill", fill_value=START)
    text_BW = (jnp.asarray(packed.branches) == 0) & (ids_BW != START)
    return text_BW & (jnp.asarray(soft.blind)[packed.prompt_ids] == TEXT_BLIND)[:, None]


def _each(x: Array, candidates: int) -> Array:
    """``[B, ...] -> [B * C, ...]``: every row once a candidate."""
    return x if candidates == 1 else jnp.repeat(x, candidates, axis=0)


def _causal(length: int) -> Array:
    """``[length, length]`` float32: a query sees keys up to its own place."""
    return jnp.where(jnp.tril(jnp.ones((length, length), bool)), 0.0, MASKED)
