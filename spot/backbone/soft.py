"""What trained prompts are to a frozen model: a stack that one forward pass reads, whatever form they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spot.backbone.batch import SUFFIX, Inputs, Tokens
from spot.backbone.layers import KeysValues
from spot.backbone.shapes import axes

PROMPT_BLIND, TEXT_BLIND = 1, 2
"""The tokens of a prompt see nothing of the text; those of the text nothing of the prompt."""


class Attended(NamedTuple):
    """Prompts of sources that every input mixes for itself, and the network that says how (Asai et al. 2022)."""

    sources: Array | np.ndarray
    """``[N, K, P, H]`` float32, of K sources."""
    down: Array | np.ndarray
    """``[N, R, H]`` float32, of what an input is into R hidden units."""
    up: Array | np.ndarray
    """``[N, R, H]`` float32, of these into what is held against the prompts."""


class Soft(NamedTuple):
    """A stack of N prompts as models read them.

    Each example names its row of the stack, so that training many prompts, comparing them and serving them are the same
    forward pass. Prompts of different length share a stack: shorter ones are padded in front, and their padding is
    never seen and takes no part in positions.
    """

    tokens: Array | np.ndarray
    """``[N, P, H]`` float32, in front of the embedded input (Lester et al. 2021, section 2)."""
    lengths: Tokens | None = None
    """``[N]`` int32, how many of the P tokens, the last ones, are a prompt's; ``None`` where all are."""
    layers: Array | np.ndarray | None = None
    """``[N, E - 1, P, H]`` float32, the states at the prompt's places before every layer but the first of E, in place
    of what the layers below computed there (Liu et al. 2022, P-Tuning v2); ``None`` leaves these."""
    before: list[KeysValues] | None = None
    """Two of ``[N, K, P, D]`` float32 a layer of a decoder-only model: the keys and values of the prompts, where they
    have been computed already."""
    prefixes: Mapping[str, KeysValues] | None = None
    """Two of ``[N, A, K, P, D]`` float32 by the kind of attention, which has A layers: keys and values in front of its
    own (Li and Liang 2021). Then there are no ``tokens``, ``[N, 0, H]``."""
    suffix: Array | np.ndarray | None = None
    """``[N, P, H]`` float32, behind the embedded input in place of ``tokens``: inputs say where, by :data:`SUFFIX`."""
    decoder: Array | np.ndarray | None = None
    """``[N, P, H]`` float32, in front of an encoder-decoder's decoder input in place of ``tokens``."""
    attended: Attended | None = None
    """What is added to ``tokens``, another sum for every input, see :meth:`LanguageModel.mixed`."""
    blind: Tokens | None = None
    """``[N]`` int32, what does not see what while a prompt and its text are read: 0, ``PROMPT_BLIND`` or
    ``TEXT_BLIND``. What is decoded sees both. Of prompts in front of the text."""

    @classmethod
    def none(cls, width: int) -> Soft:
        """A stack of one prompt without tokens: the bare model of width H."""
        return cls(jnp.zeros((1, 0, width), jnp.float32))

    @property
    def rows(self) -> int:
        """N."""
        return self.tokens.shape[0]

    @property
    def length(self) -> int:
        """P, padding included."""
        if self.prefixes:
            keys, _ = next(iter(self.prefixes.values()))
            return keys.shape[-2]
        return max(
            leaf.shape[1] for leaf in (self.tokens, self.suffix, self.decoder) if leaf is not None
        )

    @property
    def leading(self) -> int:
        """P where the prompt stands in front of the text, or of what is read there; else 0."""
        return 0 if self.suffix is not None or self.decoder is not None else self.length

    def follow(self, text: np.ndarray, row: int) -> np.ndarray:
        """A text ``[T]`` int32 with the suffix of a row of the stack behind it, if it has one."""
        if self.suffix is None:
            return text
        length = self.length if self.lengths is None else int(self.lengths[row])
        return np.concatenate(
            [text, SUFFIX - np.arange(self.length - length, self.length, dtype=np.int32)]
        )

    def take(self, rows: Tokens) -> Soft:
        """The stack of the given rows ``[n]`` int32."""
        taken: Soft = jax.tree.map(lambda leaf: leaf[rows], self)
        return taken

    def alone(self) -> Inputs:
        """Inputs without a text, one a row of the stack."""
        if self.suffix is None:
            return Inputs(jnp.zeros((self.rows, 1), jnp.int32), jnp.zeros((self.rows, 1), bool))
        ids = SUFFIX - jnp.arange(self.length, dtype=jnp.int32)
        return Inputs(jnp.tile(ids, (self.rows, 1)), self.visible())

    def visible(self) -> Array:
        """``[N, P]`` bool, true at a prompt's own tokens."""
        if self.lengths is None:
            return jnp.ones((self.rows, self.length), bool)
        return jnp.arange(self.length)[None] >= self.length - jnp.asarray(self.lengths)[:, None]

    def lead(self, mask: Tokens, prompt_ids: Tokens) -> Array:
        """``[B, P + T]`` bool: what may be seen of each example's prompt, and of its text ``mask[B, T]``."""
        if not self.leading:
            return jnp.asarray(mask)
        if self.lengths is None:
            return jnp.pad(jnp.asarray(mask), ((0, 0), (self.length, 0)), constant_values=True)
        return jnp.concatenate([self.visible()[prompt_ids], jnp.asarray(mask)], axis=1)

    def check(self, width: int, layers: int) -> None:
        """Hold the leaves' shapes against each other and a model of width H and E layers.

        Raises:
            BackboneError: the first that does not fit.
        """
        sizes = axes("soft prompts", {"H": width}, tokens=("N P H", self.tokens))
        for keys, values in (self.prefixes or {}).values():
            axes(
                "prefixes", {"N": self.rows}, keys=("N A K P D", keys), values=("N A K P D", values)
            )
        for leaf in (self.suffix, self.decoder):
            if leaf is not None:
                axes("soft prompts", {"N": self.rows, "H": width}, tokens=("N P H", leaf))
        if self.attended is not None:
            axes(
                "attended prompts",
                sizes,
                sources=("N K P H", self.attended.sources),
                down=("N R H", self.attended.down),
                up=("N R H", self.attended.up),
            )
        if self.lengths is not None:
            axes("soft prompts", sizes, lengths=("N", self.lengths))
        if self.blind is not None:
            axes("soft prompts", sizes, blind=("N", self.blind))
        if self.layers is not None:
            axes("soft prompts", sizes | {"E-1": layers - 1}, layers=("N E-1 P H", self.layers))


def stack(prompts: Sequence[Soft]) -> Soft:
    """One stack of several, padded in front to the longest; on the host.

    Raises:
        ValueError: they are of several forms.
    """
    longest = max(prompt.length for prompt in prompts)
    lengths = np.concatenate([_lengths(prompt) for prompt in prompts])
    trees = [{name: getattr(prompt, name) for name in _PADDED} for prompt in prompts]
    if len({jax.tree.structure(tree) for tree in trees}) > 1:
        raise ValueError("prompts of several forms do not share a stack")
    blind = [prompt.blind for prompt in prompts if prompt.blind is not None]
    return Soft(
        **jax.tree.map(lambda *each: _stacked(each, longest), *trees),
        lengths=None if (lengths == longest).all() else lengths,
        blind=np.concatenate([np.asarray(each, np.int32) for each in blind]) if blind else None,
    )


_PADDED = ("tokens", "layers", "prefixes", "suffix", "decoder", "attended")
"""What of a prompt has its tokens along the last axis but one."""


def _lengths(soft: Soft) -> np.ndarray:
    if soft.lengths is None:
        return np.full(soft.rows, soft.length, np.int32)
    return np.asarray(soft.lengths, np.int32)


def _stacked(leaves: Sequence[Array | np.ndarray], length: int) -> np.ndarray:
    """``[n, ..., P, F]`` behind each other, with zeros in front of P up to ``length``; those without tokens stay so."""
    longest = length if any(leaf.shape[-2] for leaf in leaves) else 0
    return np.concatenate([_padded(leaf, longest) for leaf in leaves])


def _padded(leaf: Array | np.ndarray, length: int) -> np.ndarray:
    """``[..., P, F]`` with zeros in front up to ``[..., length, F]``."""
    values = np.asarray(leaf, np.float32)
    missing = length - values.shape[-2]
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + [(missing, 0), (0, 0)])
