"""Which feed-forward units of a model fire under prompts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.nnx as nnx
import jax
import numpy as np
from jax import Array

from spot.backbone.load import Backbone
from spot.backbone.soft import Soft
from spot.inference.predict import PROMPTS_AT_ONCE
from spot.prompts.forms import FORMS
from tasks.tokenized import Tokenized

LAST_LAYERS = 3
"""Layers whose units are compared: Su et al. (2022) found the last three to tell most of transfer."""


def activated(
    backbone: Backbone, prompts: Sequence[np.ndarray], *, form: str = "prompt"
) -> np.ndarray:
    """Units of the last layers that fire behind each prompt ``[..., P, H]`` alone, bool ``[N, U]``; no training.

    See :meth:`spot.backbone.model.LanguageModel.activated`. Prompts are computed a stack at a time, and may differ in
    length.
    """
    program = _program(backbone.graph)
    stacks = [
        FORMS[form].stack(prompts[first : first + PROMPTS_AT_ONCE], backbone.config)
        for first in range(0, len(prompts), PROMPTS_AT_ONCE)
    ]
    fired = [np.asarray(program(backbone.weights, soft)) for soft in stacks]
    return np.concatenate([units.reshape(len(units), -1) for units in fired])


def demonstrations(backbone: Backbone, data: Tokenized) -> list[np.ndarray]:
    """Every example, its input and behind that its target, as a prompt ``[P, H]`` of embedded tokens."""
    embedding, config = np.asarray(backbone.embedding, np.float32), backbone.config
    # where no token ends an input, the one that begins an answer stands between the two
    between = [] if config.around.inputs[1] else [config.start_token_id]
    return [
        embedding[[*data.inputs[row], *between, *data.targets[row]]] for row in range(len(data))
    ]


@functools.lru_cache(maxsize=16)
def _program(graph: nnx.GraphDef[Any]) -> Callable[[Any, Soft], Array]:
    def fired(weights: Any, soft: Soft) -> Array:
        return nnx.merge(graph, weights).activated(soft)[:, -LAST_LAYERS:]

    return jax.jit(fired)
