"""Prompts that stay near to a text: the penalty of "Prompt Waywardness" (Khashabi et al. 2021, equation 2).

They find prompts that solve a task and whose nearest words are any text that one likes, a description of the task or of
another one: what a prompt's words say, and what it does, have little to do with each other.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spot.backbone.load import Backbone
from spot.errors import PromptError
from spot.prompts.reparameterization import prompts_of


@dataclasses.dataclass(frozen=True)
class Toward:
    """A pull of a prompt's first tokens toward those of a text.

    It is a value that programs may be told apart by: the text's tokens are bytes.

    Attributes:
        tokens: float32 ``[n, H]``, in C order.
        width: H.
        weight: of the mean squared distance, beside the loss.
    """

    tokens: bytes
    width: int
    weight: float

    def rows(self) -> np.ndarray:
        """``[n, H]`` float32."""
        return np.frombuffer(self.tokens, np.float32).reshape(-1, self.width)

    def distances(self, prompts: Array | np.ndarray) -> Array:
        """Mean squared Euclidean distance of each prompt's first n tokens, ``[N]``, of ``prompts[N, P, H]``."""
        rows = jnp.asarray(self.rows())[None]
        apart = jnp.asarray(prompts)[:, : rows.shape[1]] - rows
        return jnp.square(apart).sum(axis=-1).mean(axis=-1)

    def gradient(self, trained: Any) -> Any:
        """Of the penalty, for what trains."""
        return jax.grad(lambda tree: self.weight * self.distances(prompts_of(tree)).sum())(trained)


def toward_text(backbone: Backbone, text: str, weight: float, length: int) -> Toward:
    """The pull toward a text, as many of whose tokens count as a prompt of P = ``length`` has.

    Raises:
        PromptError: a text without tokens.
    """
    ids = backbone.tokenizer.encode([text])[0][:length]
    if not ids:
        raise PromptError("the text to stay near to has no tokens; give another to --toward")
    rows = np.ascontiguousarray(np.asarray(backbone.embedding, np.float32)[ids])
    return Toward(rows.tobytes(), rows.shape[1], weight)
