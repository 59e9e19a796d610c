"""What is trained in front of a frozen model: a table of forms, each a way from trained parameters to what models read.

A form's parameters lead with N, one a slot, so that all forms train, are compared and are served in stacks. One of them
is what a bank keeps: float32 ``[..., P, H]``, P tokens of the model's width H behind the form's own leading axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spot.backbone.config import Config
from spot.backbone.soft import TEXT_BLIND, Attended, Soft, stack
from spot.errors import PromptError
from spot.prompts import prefix_rows, prefixes

if TYPE_CHECKING:
    from spot.backbone.load import Backbone


def _as_they_are(tokens: np.ndarray, backbone: Backbone) -> np.ndarray:
    """Tokens ``[P, H]``, which are a prompt."""
    return tokens


ANY, TYPICAL = -1, 6
"""Stands for an axis of any size; a size that it often has."""


@dataclasses.dataclass(frozen=True)
class Form:
    """A way to steer a model.

    Attributes:
        soft: the stack that models read, from parameters ``[N, ..., P, H]`` and the model's config.
        axes: sizes of a prompt's leading axes for a model; :data:`ANY` of one that may have any.
        begun: a prompt ``[..., P, H]`` from an initialiser's tokens ``[P, H]``, for a backbone.
        slots: whether parameters lead with N; else they are the model's weights, and there is one of them.
        states: whether what trains stands where words do, so that its norm may be held against the embedding's.
        suffix: whether it stands behind the text, where inputs must leave room for it.
        packs: whether a packed sequence takes it.
    """

    soft: Callable[[Any, Config], Soft]
    axes: Callable[[Config], tuple[int, ...]] = lambda _config: ()
    begun: Callable[[np.ndarray, Backbone], np.ndarray] = _as_they_are
    slots: bool = True
    states: bool = True
    suffix: bool = False
    packs: bool = True

    def shape(self, config: Config, length: int) -> tuple[int, ...]:
        """``[..., P, H]`` of one prompt of P = ``length`` tokens."""
        return (*self.axes(config), length, config.width)

    def fits(self, shape: tuple[int, ...], config: Config) -> bool:
        """Whether a prompt ``[..., P, H]`` of that shape can be one of this form."""
        expected = self.shape(config, shape[-2])
        return len(shape) == len(expected) and all(
            size == wanted or wanted == ANY for size, wanted in zip(shape, expected, strict=True)
        )

    def start(self, tokens: np.ndarray, backbone: Backbone) -> np.ndarray:
        """Where a prompt starts for an initialiser's ``tokens[P, H]``, float32 ``[..., P, H]``."""
        begun = np.array(self.begun(tokens, backbone), np.float32)
        return begun.reshape(self.shape(backbone.config, len(tokens)))

    def made_up(self, backbone: Backbone, length: int) -> np.ndarray:
        """A prompt of P = ``length`` tokens that means nothing, float32 ``[..., P, H]``: to take the time with."""
        shape = tuple(
            TYPICAL if size == ANY else size for size in self.shape(backbone.config, length)
        )
        rows = np.asarray(backbone.embedding[:length], np.float32)
        return np.array(np.broadcast_to(np.resize(rows, shape[-2:]), shape))

    def stack(self, prompts: Sequence[np.ndarray | Array], config: Config) -> Soft:
        """One stack of prompts ``[..., P, H]``, whose lengths may differ."""
        return stack([self.soft(np.asarray(prompt)[None], config) for prompt in prompts])


def prompt(parameters: Array, config: Config) -> Soft:
    """Prompt tuning: tokens ``[N, P, H]`` in front of the embedded input (Lester et al. 2021, section 2)."""
    return Soft(parameters)


def deep(parameters: Array, config: Config) -> Soft:
    """Deep prompts: vectors ``[N, E, P, H]`` before every layer that reads the input (Liu et al. 2022, P-Tuning v2).

    The first layer's lead the input as a prompt's tokens do; before each further layer they take the place of what the
    layers below made of them. They begin as what these make of an initialiser's tokens, so as a plain prompt; with
    the tokens themselves in every layer SmolLM2 learnt next to nothing in 60 steps (``docs/methods.md``).
    """
    return Soft(parameters[:, 0], layers=parameters[:, 1:])


Kinds: TypeAlias = tuple[str, ...]
"""Of attention: ``encoder``, ``decoder`` and ``cross``, from the decoder to what is encoded; none stands for all."""


def prefix(
    kinds_of: Callable[[Config], Kinds] = lambda _config: (),
    soft: Callable[[Array, Config, Kinds], Soft] = prefixes.soft,
) -> Form:
    """Prefix-tuning: keys and values in front of those of every layer's attention (Li and Liang 2021, section 4.2).

    Args:
        kinds_of: of a model's attention that has any.
        soft: of them and the parameters.
    """
    return Form(
        lambda parameters, config: soft(parameters, config, kinds_of(config)),
        axes=lambda config: prefix_rows.axes(config, kinds_of(config)),
        begun=lambda tokens, backbone: prefixes.begun(tokens, backbone, kinds_of(backbone.config)),
        states=False,
    )


def infix(parameters: Array, config: Config, kinds: Kinds) -> Soft:
    """Keys and values between the input and the answer, which the input does not see (Li and Liang 2021, section 7.3).

    Of an encoder-decoder these are all but the encoder's.
    """
    soft = prefixes.soft(parameters, config, kinds)
    blind = (
        None
        if "encoder" in config.attentions
        else jnp.full(parameters.shape[0], TEXT_BLIND, jnp.int32)
    )
    return soft._replace(blind=blind)


def _behind_input(config: Config) -> Kinds:
    return tuple(kind for kind in config.attentions if kind != "encoder")


def suffix(parameters: Array, config: Config) -> Soft:
    """Tokens ``[N, P, H]`` behind the embedded input, before the answer."""
    return Soft(_no_tokens(parameters), suffix=parameters)


def decoder(parameters: Array, config: Config) -> Soft:
    """Tokens ``[N, P, H]`` in front of the decoder's input, which an encoder never reads.

    Raises:
        PromptError: a model without an encoder, whose only input the form ``prompt`` leads.
    """
    _with_encoder(config)
    return Soft(_no_tokens(parameters), decoder=parameters)


def _with_encoder(config: Config) -> tuple[int, ...]:
    if "encoder" not in config.attentions:
        raise PromptError(
            "a model without an encoder has one input, before which a prompt stands anyway; use --form prompt"
        )
    return ()


OWN = 3
"""Arrays ``[P, H]`` of a prompt that attends to sources, in front of those: itself and the network's two layers."""


def attention(parameters: Array, config: Config) -> Soft:
    """A prompt and those of K sources, of which every input adds its own mixture (ATTEMPT, Asai et al. 2022).

    ``[N, 3 + K, P, H]``: the prompt, the network's two layers of P hidden units, and the sources, which do not train.
    """
    sources = jax.lax.stop_gradient(parameters[:, OWN:])
    return Soft(parameters[:, 0], attended=Attended(sources, parameters[:, 1], parameters[:, 2]))


def _from_sources(tokens: np.ndarray, backbone: Backbone) -> np.ndarray:
    raise PromptError(
        "a prompt of form attention begins at those of sources; use spot transfer --method attention"
    )


def attending(own: np.ndarray, sources: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """Where a prompt ``[3 + K, P, H]`` of the form ``attention`` starts, for a prompt and sources ``[P, H]``.

    The network's layers are drawn from normal distributions that keep the scale of what passes.
    """
    length, width = own.shape
    rng = np.random.default_rng([seed, 0xA77E])
    down = rng.normal(size=(length, width)) / np.sqrt(width)
    up = rng.normal(size=(length, width)) / np.sqrt(length)
    return np.stack([own, down, up, *sources]).astype(np.float32)


def _no_tokens(parameters: Array) -> Array:
    return jnp.zeros((parameters.shape[0], 0, parameters.shape[-1]), jnp.float32)


def weights(parameters: Any, config: Config) -> Soft:
    """The whole model, with nothing in front of its input."""
    return Soft.none(config.width)


WEIGHTS = Form(weights, slots=False)
"""Full-weight training, for pre-training and LM adaptation: one slot, which no bank keeps."""

FORMS: Mapping[str, Form] = {
    "prompt": Form(prompt),
    "deep": Form(
        deep,
        axes=lambda config: (config.layers,),
        begun=prefixes.layer_inputs,
        states=False,
    ),
    "prefix": prefix(),
    "prefix_encoder": prefix(lambda _config: ("encoder",)),
    "prefix_decoder": prefix(lambda _config: ("decoder",)),
    "prefix_cross": prefix(lambda _config: ("cross",)),
    "infix": prefix(_behind_input, infix),
    "suffix": Form(suffix, suffix=True),
    "decoder": Form(decoder, axes=_with_encoder),
    "attention": Form(
        attention, axes=lambda _config: (ANY,), begun=_from_sources, states=False, packs=False
    ),
}
"""Forms that a recipe can train, by name."""
