"""Prefixes as a bank keeps them: keys and values of all layers as rows of a model's width. No JAX is imported.

A prefix has a key and a value of F = ``K D`` numbers a token in every layer of every kind of attention. A bank keeps it
as it keeps all prompts, ``[2, R, P, H]``: of keys and of values, what a token has in all layers behind each other, in R
rows of the model's width H, with zeros behind the last.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from spot.backbone.config import Config
from spot.errors import PromptError


def layers(config: Config, kinds: Collection[str]) -> dict[str, int]:
    """Layers of the kinds of attention that have a prefix; of all without any.

    Raises:
        PromptError: the model has no such attention.
    """
    unknown = [kind for kind in kinds if kind not in config.attentions]
    if unknown:
        raise PromptError(
            f"a model without an encoder has no {unknown[0]} attention to put a prefix before; use --form prefix"
        )
    return {kind: count for kind, count in config.attentions.items() if not kinds or kind in kinds}


def axes(config: Config, kinds: Collection[str]) -> tuple[int, int]:
    """Keys and values, and R rows of each."""
    heads, depth = config.heads
    numbers = sum(layers(config, kinds).values()) * heads * depth
    return 2, math.ceil(numbers / config.width)


def folded(both: np.ndarray, width: int) -> np.ndarray:
    """Keys and values ``[2, A, P, F]`` of A layers as ``[2, R, P, H]`` float32, H the ``width``."""
    _, count, length, numbers = both.shape
    flat = both.transpose(0, 2, 1, 3).reshape(2, length, count * numbers)
    rows = math.ceil(count * numbers / width)
    padded = np.pad(flat, ((0, 0), (0, 0), (0, rows * width - count * numbers)))
    return np.moveaxis(padded.reshape(2, length, rows, width), 1, 2).astype(np.float32)


def unfolded(prompt: np.ndarray, count: int, numbers: int) -> np.ndarray:
    """``[2, R, P, H]`` as the keys and values ``[2, A, P, F]`` of A = ``count`` layers of F = ``numbers``."""
    length = prompt.shape[2]
    flat = np.moveaxis(prompt, 2, 1).reshape(2, length, -1)[..., : count * numbers]
    return flat.reshape(2, length, count, numbers).transpose(0, 2, 1, 3)
