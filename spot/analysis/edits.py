"""What a prompt's score owes to its tokens: edits of a prompt, scored in one pass (Lester's talk, 2022, on order and
discrete words)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from spot.analysis.neighbours import discretised
from spot.backbone.load import Backbone
from spot.backbone.soft import PROMPT_BLIND, TEXT_BLIND
from spot.inference.many import Given


class Edit(NamedTuple):
    """A changed prompt ``[..., P, H]``, what it is called, and what does not see what (:attr:`Given.blind`)."""

    name: str
    prompt: np.ndarray
    blind: int = 0


def shuffled(backbone: Backbone, given: Given, seed: int) -> Iterator[Edit]:
    """Tokens in another order."""
    order = np.random.default_rng([seed, 0x5FFE]).permutation(given.prompt.shape[-2])
    yield Edit("shuffle", given.prompt[..., order, :])


def reversed_(backbone: Backbone, given: Given, seed: int) -> Iterator[Edit]:
    """The last token first."""
    yield Edit("reverse", given.prompt[..., ::-1, :])


def without_each(backbone: Backbone, given: Given, seed: int) -> Iterator[Edit]:
    """One token fewer, each in turn; of a prompt of one token that leaves nothing, and is not tried."""
    length = given.prompt.shape[-2]
    for token in range(length) if length > 1 else ():
        yield Edit(f"drop {token + 1}", np.delete(given.prompt, token, axis=-2))


def nearest(backbone: Backbone, given: Given, seed: int) -> Iterator[Edit]:
    """Every token as its nearest piece; of prompts that are words' places alone."""
    if given.prompt.ndim == 2:
        yield Edit("discretise", discretised(backbone, given.prompt))


def blinded(backbone: Backbone, given: Given, seed: int) -> Iterator[Edit]:
    """Prompt and text read without one seeing the other; what is decoded sees both. Of prompts with tokens alone."""
    if given.form == "prompt":
        yield Edit("prompt sees no text", given.prompt, PROMPT_BLIND)
        yield Edit("text sees no prompt", given.prompt, TEXT_BLIND)


EDITS: Mapping[str, Callable[[Backbone, Given, int], Iterator[Edit]]] = {
    "shuffle": shuffled,
    "reverse": reversed_,
    "discretise": nearest,
    "mask": blinded,
    "drop": without_each,
}
"""Edits by name: ``(backbone, given, seed)`` to changed prompts."""


def interpolated(first: np.ndarray, last: np.ndarray, points: int) -> list[np.ndarray]:
    """``points`` prompts ``[..., P, H]`` float32 along the line between two of one shape, both ends among them."""
    shares = np.linspace(0.0, 1.0, points)
    pair = first.astype(np.float64), last.astype(np.float64)
    return [((1 - share) * pair[0] + share * pair[1]).astype(np.float32) for share in shares]
