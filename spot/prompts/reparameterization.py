"""Prompts that train through a small network, of which only what it makes is kept (Li and Liang 2021, section 4.3).

Prefixes that are trained as they are depend much on learning rate and start; through a network whose weights all tokens
share they move together. Its output is added to the prompt, as in residual prompt tuning (Razdaibiedina et al. 2023),
and its last layer begins at zero, so that a run begins where its initialiser or a bank's prompt says. Li and Liang's
network has no such sum and begins at random.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spot.prompts.sharing import SHARED, begun


class Reparameterized(NamedTuple):
    """A stack of N prompts as sums of their own numbers and of a network's, float32."""

    prompt: Array | np.ndarray
    """``[N, ..., P, H]``."""
    table: Array | np.ndarray
    """``[N, P, H]``, what the network is given of every token: P' of Li and Liang."""
    into: Array | np.ndarray
    """``[N, M, H]``, into M hidden units."""
    into_bias: Array | np.ndarray
    """``[N, M]``."""
    out: Array | np.ndarray
    """``[N, W, M]``, into the W numbers of a token."""
    out_bias: Array | np.ndarray
    """``[N, W]``."""

    def output(self) -> Array:
        """The prompts ``[N, ..., P, H]``."""
        hidden_NPM = jnp.tanh(
            jnp.einsum("nph,nmh->npm", self.table, self.into) + self.into_bias[:, None]
        )
        added_NPW = jnp.einsum("npm,nwm->npw", hidden_NPM, self.out) + self.out_bias[:, None]
        rows, *leading, length, width = self.prompt.shape
        added = added_NPW.reshape(rows, length, *leading, width)
        return jnp.asarray(self.prompt) + jnp.moveaxis(added, 1, -2)


MADE = (Reparameterized, *SHARED.values())
"""What trains in place of a prompt's own numbers."""


def trainable(start: np.ndarray, hidden: int, seed: int, *, shared: str = "") -> Any:
    """What trains for a prompt that starts at ``[..., P, H]``: a stack of one, through ``hidden`` units if above 0, or
    in the two parts of :data:`spot.prompts.sharing.SHARED` that are named.

    The network begins as PyTorch's layers do: its table from a normal distribution, its first layer uniform within
    ``1 / sqrt(H)``; its last one at zero.
    """
    if shared:
        return begun(start, shared)
    if not hidden:
        return start[None]
    length, width = start.shape[-2:]
    numbers = start.size // length
    rng = np.random.default_rng([seed, 0x3E1F])
    bound = 1.0 / math.sqrt(width)
    drawn = {
        "table": rng.normal(size=(1, length, width)),
        "into": rng.uniform(-bound, bound, (1, hidden, width)),
        "into_bias": rng.uniform(-bound, bound, (1, hidden)),
        "out": np.zeros((1, numbers, hidden)),
        "out_bias": np.zeros((1, numbers)),
    }
    return Reparameterized(
        prompt=start[None], **{name: each.astype(np.float32) for name, each in drawn.items()}
    )


def prompts_of(trained: Any) -> Any:
    """The prompts ``[N, ..., P, H]`` of what trains; a model's weights are none, and stay as they are."""
    return trained.output() if isinstance(trained, MADE) else trained


def prompt_length(trained: Any) -> int:
    """P of what trains."""
    return int(jax.eval_shape(prompts_of, trained).shape[-2])
