"""Losses that compare an example's choices: a table beside cross-entropy, which looks at the target alone.

They are written over *targets*, G of them, each of one of B examples, so that padded and packed parts share them. The
first target of an example is the true one, those behind it are the other choices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array

from spot.training.settings import CROSS_ENTROPY


@dataclasses.dataclass(frozen=True)
class Scored:
    """Targets as a model scores them.

    Attributes:
        likelihoods: ``[G]`` float32, log-likelihood of every target, summed over its tokens.
        lengths: ``[G]`` float32, its tokens.
        examples: ``[G]`` int32, whose it is; B of what only fills up.
        count: B.
    """

    likelihoods: Array
    lengths: Array
    examples: Array
    count: int

    @property
    def true(self) -> Array:
        """``[G]`` bool, whether a target is the true one: the first of its example."""
        before = jnp.concatenate([jnp.full(1, -1, self.examples.dtype), self.examples[:-1]])
        return self.examples != before

    def of_true(self, values: Array) -> Array:
        """``[B]`` of ``values[G]``: that of the true target, 0 where an example has none."""
        return self.summed(jnp.where(self.true, values, 0.0))

    def summed(self, values: Array) -> Array:
        """``[B]``: sums of ``values[G]`` over the targets of every example."""
        return jax.ops.segment_sum(values, self.examples, self.count)

    def largest(self, values: Array) -> Array:
        """``[B]``: the largest of ``values[G]`` among the targets of every example, minus infinity of none."""
        return jax.ops.segment_max(values, self.examples, self.count)


def perceptron(scored: Scored) -> Array:
    """By how much another choice's log-likelihood exceeds the true one's, ``[B]`` float32; 0 where none does.

    The ranking loss under which prompts do not grow beyond words (Lester's talk, 2022): what is answered right already
    pulls no further.
    """
    rivals = scored.largest(jnp.where(scored.true, -jnp.inf, scored.likelihoods))
    return jax.nn.relu(rivals - scored.of_true(scored.likelihoods))


def rank(scored: Scored) -> Array:
    """Negative logarithm of the true choice's share, ``[B]`` float32, where shares are the softmax of the choices'
    log-likelihoods a token: cross-entropy over labels, in which long ones are not worse for their length."""
    scores = scored.likelihoods / jnp.maximum(scored.lengths, 1.0)
    top = jax.lax.stop_gradient(scored.largest(scores))
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    shifted = scores - top.at[scored.examples].get(mode="fill", fill_value=0.0)
    total = scored.summed(jnp.exp(shifted))
    return jnp.log(jnp.where(total > 0, total, 1.0)) + top - scored.of_true(scores)


CHOICE_LOSSES: Mapping[str, Callable[[Scored], Array]] = {"perceptron": perceptron, "rank": rank}
"""Losses over choices by name, of every example ``[B]``; of an example without a target they are 0."""


def over_choices(name: str) -> bool:
    """Whether a loss compares choices."""
    return name != CROSS_ENTROPY
