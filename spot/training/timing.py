"""How long steps and evaluations take here, from a few that are timed on batches of the data that will train.

Nothing that trains is touched: prompts are made up for it and forgotten.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from spot.backbone.load import Backbone
from spot.backbone.placement import placement
from spot.inference.predict import Questions, predict_many, ranks
from spot.prompts.forms import FORMS
from spot.prompts.reparameterization import trainable
from spot.training.parts import Part
from spot.training.prompt_tuning import step_of
from spot.training.recipe import Recipe
from spot.training.step import Step
from spot.training.task_data import MixtureData, SplitData, TaskData
from tasks.pipeline import RaggedBatch, bucket
from tasks.task import Split

if sys.platform != "win32":
    import resource

SAMPLED = 32
"""Most batches of a task whose shapes are looked at."""

ENDS = (0.1, 0.9)
"""Which batches are timed, as places among those looked at from the shortest to the longest."""

SECONDS = 2.0
"""Time that is given to the steps of one length, compiling left out; at least :data:`STEPS` are timed."""

STEPS = 2

ANSWERED = 32
"""Most development examples that are answered to time an evaluation."""

Data = TaskData | MixtureData


class Shaped(NamedTuple):
    """A training batch, cut as a step takes it."""

    batch: RaggedBatch
    positions: int
    """Of prompts and padded inputs, over all rows."""
    shapes: frozenset[tuple[int, ...]]
    """Of its parts: each is compiled once."""


@dataclasses.dataclass(frozen=True)
class Length:
    """Steps of one length, timed.

    Attributes:
        positions: of one prompt's batch, see :class:`Shaped`.
        compiling: seconds that the first step took more than the others.
        seconds: of each of the others, divided by the prompts that it trained.
    """

    positions: int
    compiling: float
    seconds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def rates(self) -> list[float]:
        """Seconds a position of every step."""
        return [seconds / self.positions for seconds in self.seconds]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """What was timed.

    Attributes:
        lengths: one or two, by rising positions.
        answering: seconds a position of an evaluation, by whether choices are ranked.
        compiled: shapes that the steps of all tasks have, which are compiled before they first run.
        state_bytes: of a prompt under way, as a checkpoint holds it.
        peak_bytes: most memory of this process, or of its accelerator, so far; ``None`` where that is not told.
    """

    lengths: Sequence[Length]
    answering: Mapping[bool, float]
    compiled: int
    state_bytes: int
    peak_bytes: int | None

    def step_seconds(self, positions: float) -> float:
        """Of a step of one prompt, on the line through the lengths that were timed."""
        first, last = self.lengths[0], self.lengths[-1]
        if first.positions == last.positions:
            return first.median * positions / first.positions
        slope = (last.median - first.median) / (last.positions - first.positions)
        return max(first.median + slope * (positions - first.positions), 0.0)

    @property
    def rates(self) -> tuple[float, float]:
        """Least and most seconds a position that any step took."""
        rates = [rate for length in self.lengths for rate in length.rates]
        return min(rates), max(rates)

    @property
    def compile_seconds(self) -> float:
        """To compile all shapes once."""
        return self.compiled * statistics.mean(length.compiling for length in self.lengths)


def shaped(backbone: Backbone, recipe: Recipe, data: Data) -> list[Shaped]:
    """The first batches of a task, as steps take them."""
    batches = data.batches(recipe.batch_size, 0, loss=recipe.loss)
    step = step_of(backbone, recipe)
    leading = 0 if step.suffix else recipe.prompt_length

    def shape(batch: RaggedBatch) -> Shaped:
        parts = step.cut({0: batch}, recipe.prompt_length)
        positions = sum(part.positions(leading) for part in parts)
        shapes = frozenset(part.shape for part in parts)
        return Shaped(batch, positions, shapes)

    return [shape(batches[i]) for i in range(min(SAMPLED, batches.per_epoch))]


def mean_positions(batches: Sequence[Shaped]) -> float:
    """Mean positions of batches."""
    return statistics.mean(batch.positions for batch in batches)


def time_training(
    backbone: Backbone, recipe: Recipe, tasks: Sequence[Data], *, slots: int
) -> Timing:
    """Time steps of two lengths, and an evaluation.

    Args:
        backbone: the frozen model.
        recipe: how prompts train.
        tasks: what they train on.
        slots: prompts under way at once; a CPU's time is in proportion to them, so that one is timed there.
    """
    batches = sorted(
        (batch for data in tasks for batch in shaped(backbone, recipe, data)),
        key=lambda batch: batch.positions,
    )
    ends = [batches[round(place * (len(batches) - 1))] for place in ENDS]
    chosen = ends[:1] if ends[0].positions == ends[1].positions else ends
    rig = Rig.make(backbone, recipe, 1 if placement().cpu else slots)
    answering: dict[bool, float] = {}
    for data in tasks:
        dev = data[Split.DEV]
        ranked = ranks(recipe.evaluate_by, dev.examples)
        if ranked not in answering:
            answering[ranked] = _time_answers(backbone, recipe, dev)
    return Timing(
        lengths=[rig.time(batch) for batch in chosen],
        answering=answering,
        compiled=len(frozenset[Any]().union(*(batch.shapes for batch in batches))),
        state_bytes=rig.state_bytes,
        peak_bytes=peak_bytes(),
    )


@dataclasses.dataclass
class Rig:
    """Made-up prompts that train for the clock alone.

    Attributes:
        step: the programs of the recipe.
        frozen: the model's weights.
        trained: parameters ``[N, ..., P, H]``.
        optimizer: their state.
        slots: N.
        prompt_length: P.
    """

    step: Step
    frozen: Any
    trained: Any
    optimizer: Any
    slots: int
    prompt_length: int

    @classmethod
    def make(cls, backbone: Backbone, recipe: Recipe, slots: int) -> Rig:
        form = FORMS[recipe.form]
        step = step_of(backbone, recipe)
        start = form.made_up(backbone, recipe.prompt_length)
        one = trainable(start, recipe.mlp_width, 0, shared=recipe.shared)
        trained = jax.device_put(jax.tree.map(lambda leaf: np.repeat(leaf, slots, 0), one))
        return cls(step, backbone.weights, trained, step.init(trained), slots, recipe.prompt_length)

    @property
    def state_bytes(self) -> int:
        """Of one prompt in a checkpoint: parameters, best, key, and the optimiser's state."""
        kept = (*[self.trained] * 3, self.optimizer)
        return sum(int(leaf.nbytes) for leaf in jax.tree.leaves(kept)) // self.slots

    def time(self, shape: Shaped) -> Length:
        """Steps of one batch, again and again."""
        batches = dict.fromkeys(range(self.slots), shape.batch)
        parts = self.step.cut(batches, self.prompt_length)
        first = self._seconds(parts)
        seconds: list[float] = []
        while len(seconds) < STEPS or (sum(seconds) < SECONDS and len(seconds) < 10 * STEPS):
            seconds.append(self._seconds(parts))
        compiling = max(0.0, first - statistics.median(seconds))
        return Length(shape.positions, compiling, [each / self.slots for each in seconds])

    def _seconds(self, parts: Sequence[Part]) -> float:
        keys = jax.random.split(jax.random.key(0), self.slots)
        began = time.perf_counter()
        self.trained, self.optimizer, losses = self.step.run(
            self.trained, self.optimizer, self.frozen, parts, keys, np.ones(self.slots, bool)
        )
        jax.block_until_ready((self.trained, losses))
        return time.perf_counter() - began


def answered_positions(backbone: Backbone, recipe: Recipe, split: SplitData) -> int:
    """Positions of prompts and padded inputs that answers to a split read."""
    once = backbone.config.reads_prompts_once and not FORMS[recipe.form].suffix
    prompt = 0 if once else recipe.prompt_length
    return sum(bucket(int(length)) + prompt for length in split.tokens.inputs.lengths)


def _time_answers(backbone: Backbone, recipe: Recipe, split: SplitData) -> float:
    """Seconds a position of answering a split, from a few of its examples."""
    rows = np.linspace(0, len(split.examples) - 1, min(ANSWERED, len(split.examples))).astype(int)
    few = SplitData([split.examples[row] for row in rows], split.tokens.take(rows))
    form = FORMS[recipe.form]
    start = form.made_up(backbone, recipe.prompt_length)
    answer: Callable[[], object] = functools.partial(
        predict_many,
        backbone,
        form.stack([start], backbone.config),
        [Questions(0, few.examples, few.tokens)],
        method=recipe.evaluate_by,
    )
    answer()  # compiles
    began = time.perf_counter()
    answer()
    return (time.perf_counter() - began) / answered_positions(backbone, recipe, few)


def peak_bytes() -> int | None:
    """Most memory that the accelerator, or on a CPU this process, has held; ``None`` where that is not told."""
    if not placement().cpu:
        facts = jax.local_devices()[0].memory_stats()
        return facts and facts.get("peak_bytes_in_use")
    if sys.platform == "win32":
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
