"""One training step: the trainable pytree, the frozen rest, and nothing else.

What trains is chosen by name: ``prompts`` (the stack, weights frozen) or ``weights`` (the whole model, for
pre-training and LM adaptation). Gradients are taken with respect to that part alone; for the frozen part none
is ever computed.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from spot.backbone.batch import Inputs, Targets, Tokens, rows_at_once
from spot.backbone.layers import Dropout
from spot.errors import TrainingError
from spot.training.optimizers import Optimizer, per_prompt
from tasks.objectives import pad
from tasks.pipeline import TARGET_BUCKETS, bucket

TRAINABLE = ("prompts", "weights")

Variables = dict[str, Any]
"""``{"prompts": [N, P, H] float32, "weights": state of the model}``."""


class Batch(NamedTuple):
    """One step's examples; ``prompt_ids[B]`` int32 says which prompt each belongs to.

    Where ``stack`` is given, ``prompt_ids`` count within it: it names those of all prompts that the examples use.
    ``rows[B]`` int32 are the examples' places in their own slots' batches, which their noise follows from; without it
    they stand in that order.
    """

    prompt_ids: Tokens
    inputs: Inputs
    targets: Targets
    stack: Tokens | None = None
    rows: Tokens | None = None

    @property
    def slots(self) -> Tokens:
        """``[B]``, which of all prompts each example belongs to."""
        return self.prompt_ids if self.stack is None else self.stack[self.prompt_ids]


@dataclasses.dataclass(frozen=True)
class Step:
    """A step in two compiled programs: gradients of a part of the batch, and the update from their sum.

    A trained part is either a stack of prompts ``[N, P, H]``, whose rows are *slots* that train apart, or the weights,
    which are one slot.
    """

    init: Callable[[Any], Any]
    """``init(trained) -> optimiser state``."""
    accumulate: Callable[..., tuple[Any, Array]]
    """``accumulate(total, trained, frozen, tokens[N], part, keys[N]) -> total``: gradient and ``losses[N]`` so far."""
    update: Callable[..., tuple[Any, Any]]
    """``update(trained, state, gradient, active[N]) -> trained, state``; slots that are not active stay as they are."""
    slots: bool
    """Whether the trained part is a stack of slots."""
    apart: bool = False
    """Whether a part of the batch shall hold rows of one slot, since these share the work of reading their prompt."""
    noisy: bool = False
    """Whether keys are looked at: there is dropout."""

    def run(
        self, trained: Any, state: Any, frozen: Variables, parts: Sequence[Batch], keys: Array, active: np.ndarray
    ) -> tuple[Any, Any, Array]:
        """One step of all active slots: ``trained, state, losses[N]``. ``trained`` and ``state`` are given away.

        ``keys[N]`` are the slots' keys for this step's dropout; without dropout anything will do.
        """
        tokens = np.zeros(len(active), np.float32)
        for part in parts:
            np.add.at(tokens, np.asarray(part.slots), np.asarray(part.targets.mask).sum(axis=-1))
        tokens = np.maximum(tokens, 1)
        total = (jax.tree.map(jnp.zeros_like, trained), jnp.zeros(len(active), jnp.float32))
        for part in parts:
            total = self.accumulate(total, trained, frozen, tokens, part, keys)
        gradient, losses = total
        return *self.update(trained, state, gradient, active), losses

    def take(self, tree: Any, slot: int) -> Any:
        """One slot of a trained part or optimiser state, as a stack of one."""
        return jax.tree.map(lambda leaf: leaf[slot : slot + 1], tree) if self.slots else tree

    def seat(self, tree: Any, slot: int, one: Any) -> Any:
        """The same with slot ``slot`` replaced by a stack of one."""
        return _seat(tree, slot, one) if self.slots else one


@functools.partial(jax.jit, donate_argnums=0)
def _seat(tree: Any, slot: int, one: Any) -> Any:
    return jax.tree.map(lambda leaf, new: leaf.at[slot].set(jnp.asarray(new)[0]), tree, one)


@functools.lru_cache(maxsize=32)
def make_step(
    graph: nnx.GraphDef[Any],
    optimizer: Optimizer,
    *,
    steps: int,
    trainable: str,
    dropout: float = 0.0,
    z_loss: float = 0.0,
    apart: bool = False,
) -> Step:
    """Build the step for a model's graph; equal arguments share their compiled programs.

    The loss of prompt n is the mean over the target tokens of its own examples, and the objective is the sum of
    these means, so that each prompt's gradient is what it would be alone.
    """
    if trainable not in TRAINABLE:
        raise TrainingError(f"trainable part {trainable!r} is not known; choose from {', '.join(TRAINABLE)}")
    slots = trainable == "prompts"
    transformation = optimizer.build(steps)
    if slots:
        transformation = per_prompt(transformation)

    def noise(part: Batch, keys: Array) -> Dropout | None:
        if not dropout:
            return None
        rows = jnp.arange(len(part.slots)) if part.rows is None else jnp.asarray(part.rows)
        return Dropout(dropout, jax.vmap(jax.random.fold_in)(keys[part.slots], rows))

    def objective(trained: Any, frozen: Variables, tokens: Array, part: Batch, keys: Array) -> tuple[Array, Array]:
        variables = {**frozen, trainable: trained}
        model, prompts = nnx.merge(graph, variables["weights"]), variables["prompts"]
        used = prompts if part.stack is None else prompts[part.stack]
        losses = model.token_losses(used, part.prompt_ids, part.inputs, part.targets, noise(part, keys), z_loss)
        means = jax.ops.segment_sum(losses.sum(axis=-1), part.slots, len(prompts)) / tokens
        return means.sum(), means

    def accumulate(total: Any, trained: Any, frozen: Variables, tokens: Array, part: Batch, keys: Array) -> Any:
        found = jax.grad(objective, has_aux=True)(trained, frozen, tokens, part, keys)
        return jax.tree.map(jnp.add, total, found)

    def update(trained: Any, state: Any, gradient: Any, active: Array) -> tuple[Any, Any]:
        updates, moved = transformation.update(gradient, state, trained)
        new = optax.apply_updates(trained, updates), moved
        return jax.tree.map(functools.partial(_where, active), new, (trained, state)) if slots else new

    return Step(
        jax.jit(transformation.init),
        jax.jit(accumulate, donate_argnums=0),
        jax.jit(update, donate_argnums=(0, 1)),
        slots,
        apart,
        noisy=dropout > 0,
    )


def _where(active: Array, new: Array, old: Array) -> Array:
    return jnp.where(active.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def cut(batches: Mapping[int, Batch], prompt_length: int, *, apart: bool = False) -> list[Batch]:
    """The batches of several slots as parts of like rows: longest first, each padded to its own bucket.

    A CPU is fastest, and needs least memory, where the activations of a part stay in its caches; there a part holds
    about ``batch.CACHED_POSITIONS``. An accelerator takes everything as one part. Rows of any slots share a part,
    or, on a CPU if asked for, each slot has parts of its own, whose one prompt counts once. The last part is filled
    up with empty rows, so that few shapes are compiled.
    """
    if apart and jax.default_backend() == "cpu":
        alone = ((slot, cut({0: batch}, 0)) for slot, batch in batches.items())
        return [part._replace(stack=np.array([slot], np.int32)) for slot, parts in alone for part in parts]
    rows: list[tuple[int, np.ndarray, np.ndarray, int]] = []
    for slot, batch in batches.items():
        inputs, targets = (
            [ids[seen] for ids, seen in zip(np.asarray(part.ids), np.asarray(part.mask), strict=True)]
            for part in (batch.inputs, batch.targets)
        )
        rows += [
            (slot, source, target, place) for place, (source, target) in enumerate(zip(inputs, targets, strict=True))
        ]
    rows.sort(key=lambda row: -len(row[1]))
    parts: list[Batch] = []
    while rows:
        length = bucket(max(1, len(rows[0][1])))
        size = rows_at_once(len(rows) if not parts else 1 << 30, prompt_length + length)
        taken, rows = rows[:size], rows[size:]
        if parts:
            half = max(1, size // 2)
            nothing = np.zeros(0, np.int32)
            taken += [(0, nothing, nothing, 0)] * (-len(taken) % half)
        slots, inputs, targets, places = zip(*taken, strict=True)
        parts.append(
            Batch(
                np.array(slots, np.int32),
                Inputs(*pad(inputs, length)),
                Targets(*pad(targets, bucket(max(map(len, targets)), TARGET_BUCKETS))),
                rows=np.array(places, np.int32),
            )
        )
    return parts
