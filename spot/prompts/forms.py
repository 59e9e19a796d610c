"""What is trained in front of a frozen model: a table of forms, each a way from trained parameters to what models read.

A form's parameters lead with N, one a slot, so that all forms train, are compared and are served in stacks. One of them
is what a bank keeps: float32 ``[..., P, H]``, P tokens of the model's width H behind the form's own leading axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax import Array

from spot.backbone.config import Config
from spot.backbone.soft import Soft, stack


@dataclasses.dataclass(frozen=True)
class Form:
    """A way to steer a model.

    Attributes:
        soft: the stack that models read, from parameters ``[N, ..., P, H]`` and the model's config.
        axes: sizes of a prompt's leading axes for a model.
        slots: whether parameters lead with N; else they are the model's weights, and there is one of them.
    """

    soft: Callable[[Any, Config], Soft]
    axes: Callable[[Config], tuple[int, ...]] = lambda _config: ()
    slots: bool = True

    def shape(self, config: Config, length: int) -> tuple[int, ...]:
        """``[..., P, H]`` of one prompt of P = ``length`` tokens."""
        return (*self.axes(config), length, config.width)

    def start(self, tokens: np.ndarray, config: Config) -> np.ndarray:
        """Where a prompt starts: an initialiser's ``tokens[P, H]`` in each of its leading axes, float32."""
        return np.array(np.broadcast_to(tokens, self.shape(config, len(tokens))), np.float32)

    def stack(self, prompts: Sequence[np.ndarray | Array], config: Config) -> Soft:
        """One stack of prompts ``[..., P, H]``, whose lengths may differ."""
        return stack([self.soft(np.asarray(prompt)[None], config) for prompt in prompts])


def prompt(parameters: Array, config: Config) -> Soft:
    """Prompt tuning: tokens ``[N, P, H]`` in front of the embedded input (Lester et al. 2021, section 2)."""
    return Soft(parameters)


def deep(parameters: Array, config: Config) -> Soft:
    """Deep prompts: vectors ``[N, E, P, H]`` before every layer that reads the input (Liu et al. 2022, P-Tuning v2).

    The first layer's lead the input as a prompt's tokens do; before each further layer they take the place of what the
    layers below made of them.
    """
    return Soft(parameters[:, 0], layers=parameters[:, 1:])


def weights(parameters: Any, config: Config) -> Soft:
    """The whole model, with nothing in front of its input."""
    return Soft.none(config.width)


WEIGHTS = Form(weights, slots=False)
"""Full-weight training, for pre-training and LM adaptation: one slot, which no bank keeps."""

FORMS: Mapping[str, Form] = {
    "prompt": Form(prompt),
    "deep": Form(deep, axes=lambda config: (config.layers,)),
}
"""Forms that a recipe can train, by name."""
