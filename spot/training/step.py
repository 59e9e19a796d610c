"""One training step: the trained parameters of a form, the frozen rest, and nothing else.

Gradients are taken with respect to the form's parameters alone; for the frozen part none is ever computed.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from spot.backbone.batch import Targets
from spot.backbone.layers import Dropout
from spot.backbone.shapes import axes
from spot.prompts.forms import Form
from spot.prompts.reparameterization import prompts_of
from spot.prompts.sharing import made_equal, summed
from spot.training.losses import CHOICE_LOSSES, Scored, over_choices
from spot.training.optimizers import Optimizer, per_prompt
from spot.training.parts import Batch, Pack, Part, cut
from spot.training.settings import CROSS_ENTROPY
from spot.training.toward import Toward
from tasks.pipeline import RaggedBatch


@dataclasses.dataclass(frozen=True)
class Step:
    """A step in two compiled programs: gradients of a part of the batch, and the update from their sum.

    What trains is either a stack of prompts ``[N, ..., P, H]``, or what makes it, whose rows are *slots* that train
    apart but for what they share, or the weights, which are one slot.
    """

    init: Callable[[Any], Any]
    """``init(trained) -> optimiser state``."""
    accumulate: Callable[..., tuple[Any, Array]]
    """``accumulate(total, trained, frozen, tokens[N], part, keys[N]) -> total``: gradient and ``losses[N]`` so far."""
    update: Callable[..., tuple[Any, Any]]
    """``update(trained, state, gradient, active[N], rates[N], firsts[N]) -> trained, state``; slots that are not active
    stay as they are, and the others move at their learning rates, float32; ``firsts`` int32 says who shares a part."""
    slots: bool
    """Whether the trained parameters are a stack of slots."""
    packed: bool = False
    """Whether it takes packed parts."""
    noisy: bool = False
    """Whether keys are looked at: there is dropout."""
    rate: float = 1.0
    """Learning rate of slots that are given no other."""
    over_choices: bool = False
    """Whether its loss is a mean over examples, whose choices it compares, and not over target tokens."""
    suffix: bool = False
    """Whether prompts stand behind their texts."""

    def cut(self, batches: Mapping[int, RaggedBatch], prompt_length: int) -> Sequence[Part]:
        """The batches of slots, whose prompts have P tokens, as parts; see :func:`spot.training.parts.cut`."""
        return cut(batches, prompt_length, suffix=self.suffix, packed=self.packed)

    def run(
        self,
        trained: Any,
        state: Any,
        frozen: Any,
        parts: Sequence[Part],
        keys: Array,
        active: np.ndarray,
        rates: np.ndarray | None = None,
        firsts: np.ndarray | None = None,
    ) -> tuple[Any, Any, Array]:
        """One step of all active slots: ``trained, state, losses[N]``. ``trained`` and ``state`` are donated.

        ``keys[N]`` are the slots' keys for this step's dropout; without dropout anything will do. ``rates[N]`` float32
        are their learning rates, :attr:`rate` for all if not given. ``firsts[N]`` int32 are the first slots of those
        that share a part (:mod:`spot.prompts.sharing`), each its own if not given.
        """
        if rates is None:
            rates = np.full(len(active), self.rate, np.float32)
        if firsts is None:
            firsts = np.arange(len(active), dtype=np.int32)
        gradient, losses = self.gradient(trained, frozen, parts, keys, len(active))
        return *self.update(trained, state, gradient, active, rates, firsts), losses

    def state_bytes(self, trained: Any) -> int:
        """What training holds beside the model, in bytes: what trains, its gradient and the optimiser's state."""
        state = jax.eval_shape(self.init, trained)
        leaves = jax.tree.leaves((trained, trained, state))
        return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)

    def gradient(
        self, trained: Any, frozen: Any, parts: Sequence[Part], keys: Array, slots: int = 1
    ) -> tuple[Any, Array]:
        """Gradient of a step's parts for what trains in so many slots, and ``losses[N]``."""
        count = operator.methodcaller(
            "example_counts" if self.over_choices else "target_counts", slots
        )
        tokens = np.maximum(sum(map(count, parts)), 1)
        total = (jax.tree.map(jnp.zeros_like, trained), jnp.zeros(slots, jnp.float32))
        for part in parts:
            total = self.accumulate(total, trained, frozen, tokens, part, keys)
        return total

    def take(self, tree: Any, *slots: int) -> Any:
        """Slots of trained parameters or of optimiser state, as a stack; the weights are whole."""
        if not self.slots:
            return tree
        rows = slice(slots[0], slots[0] + 1) if len(slots) == 1 else np.array(slots)
        return jax.tree.map(lambda leaf: leaf[rows], tree)

    def seat(self, tree: Any, slot: int, stack: Any) -> Any:
        """The same with slot ``slot`` replaced by a stack of one."""
        return _seat(tree, slot, stack) if self.slots else stack


@functools.partial(jax.jit, donate_argnums=0)
def _seat(tree: Any, slot: int, stack: Any) -> Any:
    return jax.tree.map(lambda leaf, new: leaf.at[slot].set(jnp.asarray(new)[0]), tree, stack)


def make_step(
    graph: nnx.GraphDef[Any],
    optimizer: Optimizer,
    *,
    steps: int,
    form: Form,
    dropout: float = 0.0,
    prompt_dropout: float = 0.0,
    z_loss: float = 0.0,
    loss: str = CROSS_ENTROPY,
    toward: Toward | None = None,
    packed: bool = False,
) -> Step:
    """Build the step for a model's graph and a form; steps of equal arguments share their compiled programs.

    The learning rate is data of a slot and no part of a program, so that optimisers may differ in it.

    The loss of prompt n is the mean over the target tokens of its own examples, or over these examples where it
    compares choices, and the objective is the sum of these means, so that each prompt's gradient is what it would be
    alone. What pulls ``toward`` a text is no part of the loss that is reported.
    """
    at_any_rate = dataclasses.replace(optimizer, learning_rate=1.0)
    step = _make_step(
        graph, at_any_rate, steps, form, dropout, prompt_dropout, z_loss, loss, toward, packed
    )
    return dataclasses.replace(step, rate=optimizer.learning_rate)


@functools.lru_cache(maxsize=32)
def _make_step(
    graph: nnx.GraphDef[Any],
    optimizer: Optimizer,
    steps: int,
    form: Form,
    dropout: float,
    prompt_dropout: float,
    z_loss: float,
    loss: str,
    toward: Toward | None,
    packed: bool,
) -> Step:
    transformation = optimizer.build(steps)
    if form.slots:
        transformation = per_prompt(transformation)

    def noise(part: Batch, keys: Array) -> Dropout | None:
        if not dropout:
            return None
        rows = jnp.arange(len(part.prompt_ids)) if part.rows is None else jnp.asarray(part.rows)
        return Dropout(dropout, jax.vmap(jax.random.fold_in)(keys[part.prompt_ids], rows))

    def objective(
        trained: Any, frozen: Any, tokens: Array, part: Part, keys: Array
    ) -> tuple[Array, Array]:
        model = nnx.merge(graph, frozen if form.slots else trained)
        prompts = prompts_of(trained)
        if prompt_dropout:
            prompts = _thinned(prompts, prompt_dropout, keys)
        soft = form.soft(prompts, model.config)
        if isinstance(part, Pack):
            losses = model.packed_losses(soft.take(part.stack), part.packed, z_loss)
            slots = part.token_slots
            if over_choices(loss):
                losses, slots = CHOICE_LOSSES[loss](_of_pack(part, losses)), part.slots
        else:
            axes("step", prompt_ids=("B", part.prompt_ids), inputs=("B T", part.inputs.ids))
            noisy, slots = noise(part, keys), part.prompt_ids
            if over_choices(loss):
                targets = _all_choices(part)
                losses = CHOICE_LOSSES[loss](
                    _of_batch(
                        targets,
                        model.target_losses(soft, part.prompt_ids, part.inputs, targets, noisy),
                    )
                )
            else:
                losses = model.token_losses(
                    soft, part.prompt_ids, part.inputs, part.targets, noisy, z_loss
                ).sum(axis=-1)
        means_N = jax.ops.segment_sum(losses, slots, len(tokens)) / tokens
        return means_N.sum(), means_N

    def accumulate(
        total: Any, trained: Any, frozen: Any, tokens: Array, part: Part, keys: Array
    ) -> Any:
        gradient_and_losses = jax.grad(objective, has_aux=True)(trained, frozen, tokens, part, keys)
        return jax.tree.map(jnp.add, total, gradient_and_losses)

    def update(
        trained: Any, state: Any, gradient: Any, active: Array, rates: Array, firsts: Array
    ) -> tuple[Any, Any]:
        if toward:
            gradient = jax.tree.map(jnp.add, gradient, toward.gradient(trained))
        peak = rates if form.slots else rates[0]
        updates, moved = transformation.update(summed(gradient, firsts), state, trained, peak=peak)
        new = made_equal(optax.apply_updates(trained, updates), firsts), moved
        return (
            jax.tree.map(functools.partial(_where, active), new, (trained, state))
            if form.slots
            else new
        )

    return Step(
        jax.jit(transformation.init),
        jax.jit(accumulate, donate_argnums=0),
        jax.jit(update, donate_argnums=(0, 1)),
        form.slots,
        packed and not dropout,
        noisy=dropout > 0 or prompt_dropout > 0,
        over_choices=over_choices(loss),
        suffix=form.suffix,
    )


def _thinned(prompts: Array, rate: float, keys: Array) -> Array:
    """Inverted dropout of prompts ``[N, ..., P, H]``, by their slots' keys of the step: alike for all its parts."""

    def draw(key: Array) -> Array:
        return jax.random.bernoulli(
            jax.random.fold_in(key, PROMPT_SITE), 1 - rate, prompts.shape[1:]
        )

    return jnp.where(jax.vmap(draw)(keys), prompts / (1.0 - rate), 0.0)


PROMPT_SITE = 2**31 - 1
"""Sets the noise of prompts apart from that of rows, which follows from their places."""


def _of_pack(part: Pack, losses: Array) -> Scored:
    """Targets of a packed sequence, of the losses ``[Q]`` of its scored tokens."""
    count, owners = len(part.examples), part.packed.owners
    tokens = jnp.asarray(part.packed.mask).astype(losses.dtype)
    return Scored(
        likelihoods=-jax.ops.segment_sum(losses, owners, count),
        lengths=jax.ops.segment_sum(tokens, owners, count),
        examples=jnp.asarray(part.examples),
        count=len(part.packed.prompt_ids),
    )


def _all_choices(part: Batch) -> Targets:
    """The target and the other choices of every example, ``[B, 1 + C, L]``."""
    assert part.others is not None
    longest = max(part.targets.ids.shape[1], part.others.ids.shape[2])

    def joined(target: Any, others: Any) -> Array:
        both = (jnp.asarray(target)[:, None], jnp.asarray(others))
        spare = ((0, 0), (0, 0))
        return jnp.concatenate(
            [jnp.pad(each, (*spare, (0, longest - each.shape[2]))) for each in both], axis=1
        )

    return Targets(
        joined(part.targets.ids, part.others.ids), joined(part.targets.mask, part.others.mask)
    )


def _of_batch(targets: Targets, losses: Array) -> Scored:
    """Targets of a padded part, of the losses ``[B, C, L]`` of their tokens."""
    rows, choices, _ = losses.shape
    lengths_BC = jnp.asarray(targets.mask).sum(axis=-1)
    rows_BC = jnp.broadcast_to(jnp.arange(rows)[:, None], (rows, choices))
    return Scored(
        likelihoods=-losses.sum(axis=-1).reshape(-1),
        lengths=lengths_BC.reshape(-1).astype(losses.dtype),
        examples=jnp.where(lengths_BC > 0, rows_BC, rows).reshape(-1),
        count=rows,
    )


def _where(active: Array, new: Array, old: Array) -> Array:
    return jnp.where(active.reshape(-1, *[1] * (new.ndim - 1)), new, old)
