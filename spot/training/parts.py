"""A step's batches as parts: what one pass of a compiled program takes, padded or packed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from spot.backbone import packing
from spot.backbone.batch import SUFFIX, Inputs, Packed, Targets, Tokens
from spot.backbone.placement import Placement, placement
from tasks.objectives import pad
from tasks.pipeline import TARGET_BUCKETS, RaggedBatch, bucket


class Batch(NamedTuple):
    """Padded examples; ``prompt_ids[B]`` int32 says which prompt each belongs to.

    ``rows[B]`` int32 are the examples' places in their own slots' batches, which their noise follows from; without it
    they stand in that order. ``others``, ``[B, C, L]``, are the examples' other choices, where a loss compares them.
    """

    prompt_ids: Tokens
    inputs: Inputs
    targets: Targets
    rows: Tokens | None = None
    others: Targets | None = None

    def target_counts(self, slots: int) -> np.ndarray:
        """Target tokens ``[N]`` of every slot, float32."""
        tokens = np.zeros(slots, np.float32)
        np.add.at(tokens, np.asarray(self.prompt_ids), np.asarray(self.targets.mask).sum(axis=-1))
        return tokens

    def example_counts(self, slots: int) -> np.ndarray:
        """Examples ``[N]`` of every slot, float32."""
        examples = np.zeros(slots, np.float32)
        np.add.at(examples, np.asarray(self.prompt_ids), np.asarray(self.targets.mask).any(axis=-1))
        return examples

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, input and target lengths, and other choices."""
        others = () if self.others is None else self.others.ids.shape[1:]
        return (*self.inputs.ids.shape, self.targets.ids.shape[1], *others)

    def positions(self, prompt_length: int) -> int:
        """Of its padded inputs and their prompts of P tokens."""
        rows, length = self.inputs.ids.shape
        return int(rows * (prompt_length + length))


class Pack(NamedTuple):
    """Examples packed into one sequence, see :class:`spot.backbone.batch.Packed`, and whose they are."""

    stack: Tokens
    """``[n]`` int32, which slots' prompts the sequence begins with."""
    packed: Packed
    examples: Tokens
    """``[G]`` int32, the example of every target, the true one first; their number of what only fills up."""

    @property
    def slots(self) -> Tokens:
        """``[B]`` int32, the slot of every example."""
        return self.stack[self.packed.prompt_ids]

    @property
    def token_slots(self) -> Tokens:
        """``[Q]`` int32, the slot of every scored token."""
        return self.slots[self.examples[self.packed.owners]]

    def target_counts(self, slots: int) -> np.ndarray:
        """Target tokens ``[N]`` of every slot, float32."""
        tokens = np.zeros(slots, np.float32)
        np.add.at(tokens, np.asarray(self.token_slots), np.asarray(self.packed.mask))
        return tokens

    def example_counts(self, slots: int) -> np.ndarray:
        """Examples ``[N]`` of every slot, float32."""
        examples = np.zeros(slots, np.float32)
        real = np.unique(np.asarray(self.examples))
        np.add.at(examples, np.asarray(self.slots)[real[real < len(self.packed.prompt_ids)]], 1)
        return examples

    @property
    def shape(self) -> tuple[int, ...]:
        """Prompts, tokens, rows and columns of the grid, and tokens that are scored."""
        packed = self.packed
        return (
            len(self.stack),
            len(packed.ids),
            *packed.grid.shape,
            len(packed.labels),
            len(self.examples),
        )

    def positions(self, prompt_length: int) -> int:
        """Of its prompts of P tokens and the sequence behind them."""
        return len(self.stack) * prompt_length + len(self.packed.ids)


Part = Batch | Pack


class Row(NamedTuple):
    """An example of a step: its slot, its tokens ``[T]`` and ``[L]`` int32, its place in its slot's batch, and its
    other choices."""

    slot: int
    inputs: np.ndarray
    targets: np.ndarray
    place: int
    others: Sequence[np.ndarray] | None = None


NOTHING = np.zeros(0, np.int32)
FILLER = Row(0, NOTHING, NOTHING, 0)
"""A row without a token, which fills a part up and counts for nothing."""


def cut(
    batches: Mapping[int, RaggedBatch],
    prompt_length: int,
    *,
    suffix: bool = False,
    packed: bool = False,
    here: Placement | None = None,
) -> Sequence[Part]:
    """The batches of several slots as parts.

    A CPU is fastest, and needs least memory, where the activations of a part stay in its caches; there a part holds
    about ``Placement.cached_positions``, and is packed if asked for. An accelerator takes everything as one padded
    part. Rows of any slots share a part. A ``suffix`` stands in every input, behind its text.
    """
    here = here or placement()
    rows = [row for slot, batch in batches.items() for row in _rows(slot, batch)]
    if suffix:
        behind = SUFFIX - np.arange(prompt_length, dtype=np.int32)
        rows = [row._replace(inputs=np.concatenate([row.inputs, behind])) for row in rows]
        prompt_length = 0
    if packed and here.cpu:
        return _in_packs(rows, prompt_length)
    return _in_batches(rows, prompt_length, here)


def whole_batch(batch: RaggedBatch) -> Batch:
    """One slot's batch as one padded part."""
    rows = _rows(0, batch)
    return _padded(rows, bucket(max(1, *(len(row.inputs) for row in rows))))


def _rows(slot: int, batch: RaggedBatch) -> list[Row]:
    others = batch.others or itertools.repeat(None, len(batch.inputs))
    each = zip(batch.inputs, batch.targets, others, strict=True)
    return [
        Row(slot, inputs, targets, place, choices)
        for place, (inputs, targets, choices) in enumerate(each)
    ]


def _in_packs(rows: Sequence[Row], prompt_length: int) -> list[Pack]:
    """As packed sequences, whose targets are filled up to one number of them."""
    examples = [
        packing.Row(row.slot, row.inputs, [row.targets, *(row.others or ())]) for row in rows
    ]
    portions = packing.portions(examples, prompt_length)
    counts = [[len(row.targets) for row in portion.rows] for portion in portions]
    room = max((bucket(sum(each), packing.ROWS) for each in counts), default=0)
    return [
        Pack(portion.stack, portion.packed, _examples(each, room, len(portion.packed.prompt_ids)))
        for portion, each in zip(portions, counts, strict=True)
    ]


def _examples(counts: Sequence[int], room: int, none: int) -> np.ndarray:
    """The example of every target ``[room]`` int32, of examples with so many targets each."""
    examples = np.full(room, none, np.int32)
    examples[: sum(counts)] = np.repeat(np.arange(len(counts)), counts)
    return examples


def _in_batches(rows: list[Row], prompt_length: int, here: Placement) -> list[Batch]:
    """Like rows together: longest first, each part padded to its own bucket.

    The last part is filled up with empty rows, so that few shapes are compiled.
    """
    rows = sorted(rows, key=lambda row: -len(row.inputs))
    parts: list[Batch] = []
    while rows:
        length = bucket(max(1, len(rows[0].inputs)))
        size = here.rows_at_once(len(rows) if not parts else 1 << 30, prompt_length + length)
        taken, rows = rows[:size], rows[size:]
        if parts:
            half = max(1, size // 2)
            taken += [FILLER] * (-len(taken) % half)
        parts.append(_padded(taken, length))
    return parts


def _padded(rows: Sequence[Row], length: int) -> Batch:
    """A part of rows whose inputs have at most ``length`` tokens."""
    longest = bucket(max(len(row.targets) for row in rows), TARGET_BUCKETS)
    return Batch(
        np.array([row.slot for row in rows], np.int32),
        Inputs(*pad([row.inputs for row in rows], length)),
        Targets(*pad([row.targets for row in rows], longest)),
        rows=np.array([row.place for row in rows], np.int32),
        others=_other_choices(rows),
    )


def _other_choices(rows: Sequence[Row]) -> Targets | None:
    """``[B, C, L]``, rows with fewer having empty ones behind; ``None`` where no row says any."""
    if all(row.others is None for row in rows):
        return None
    each = [row.others or () for row in rows]
    count = max(1, *map(len, each))
    longest = max((len(choice) for choices in each for choice in choices), default=1)
    flat = [
        choice for choices in each for choice in [*choices, *[NOTHING] * (count - len(choices))]
    ]
    ids, mask = pad(flat, bucket(longest, TARGET_BUCKETS))
    shape = (len(rows), count, ids.shape[1])
    return Targets(ids.reshape(shape), mask.reshape(shape))
