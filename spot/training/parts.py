"""A step's batches as parts: what one pass of a compiled program takes, padded or packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from spot.backbone import packing
from spot.backbone.batch import Inputs, Packed, Targets, Tokens
from spot.backbone.placement import Placement, placement
from tasks.objectives import pad
from tasks.pipeline import TARGET_BUCKETS, RaggedBatch, bucket


class Batch(NamedTuple):
    """Padded examples; ``prompt_ids[B]`` int32 says which prompt each belongs to.

    ``rows[B]`` int32 are the examples' places in their own slots' batches, which their noise follows from; without it
    they stand in that order.
    """

    prompt_ids: Tokens
    inputs: Inputs
    targets: Targets
    rows: Tokens | None = None

    def target_counts(self, slots: int) -> np.ndarray:
        """Target tokens ``[N]`` of every slot, float32."""
        tokens = np.zeros(slots, np.float32)
        np.add.at(tokens, np.asarray(self.prompt_ids), np.asarray(self.targets.mask).sum(axis=-1))
        return tokens

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, input and target lengths."""
        return (*self.inputs.ids.shape, self.targets.ids.shape[1])

    def positions(self, prompt_length: int) -> int:
        """Of its padded inputs and their prompts of P tokens."""
        rows, length = self.inputs.ids.shape
        return int(rows * (prompt_length + length))


class Pack(NamedTuple):
    """Examples packed into one sequence, see :class:`spot.backbone.batch.Packed`, and whose they are."""

    stack: Tokens
    """``[n]`` int32, which slots' prompts the sequence begins with."""
    packed: Packed

    @property
    def slots(self) -> Tokens:
        """``[Q]`` int32, the slot of every scored token."""
        return self.stack[self.packed.prompt_ids[self.packed.owners]]  # one target an example

    def target_counts(self, slots: int) -> np.ndarray:
        """Target tokens ``[N]`` of every slot, float32."""
        tokens = np.zeros(slots, np.float32)
        np.add.at(tokens, np.asarray(self.slots), np.asarray(self.packed.mask))
        return tokens

    @property
    def shape(self) -> tuple[int, ...]:
        """Prompts, tokens, rows and columns of the grid, and tokens that are scored."""
        packed = self.packed
        return (len(self.stack), len(packed.ids), *packed.grid.shape, len(packed.labels))

    def positions(self, prompt_length: int) -> int:
        """Of its prompts of P tokens and the sequence behind them."""
        return len(self.stack) * prompt_length + len(self.packed.ids)


Part = Batch | Pack


class Row(NamedTuple):
    """An example of a step: its slot, its tokens ``[T]`` and ``[L]`` int32, and its place in its slot's batch."""

    slot: int
    inputs: np.ndarray
    targets: np.ndarray
    place: int


NOTHING = np.zeros(0, np.int32)
FILLER = Row(0, NOTHING, NOTHING, 0)
"""A row without a token, which fills a part up and counts for nothing."""


def cut(
    batches: Mapping[int, RaggedBatch],
    prompt_length: int,
    *,
    packed: bool = False,
    here: Placement | None = None,
) -> Sequence[Part]:
    """The batches of several slots as parts.

    A CPU is fastest, and needs least memory, where the activations of a part stay in its caches; there a part holds
    about ``Placement.cached_positions``, and is packed if asked for. An accelerator takes everything as one padded
    part. Rows of any slots share a part.
    """
    here = here or placement()
    if packed and here.cpu:
        examples = [
            packing.Row(slot, inputs, [targets])
            for slot, batch in batches.items()
            for inputs, targets in zip(batch.inputs, batch.targets, strict=True)
        ]
        portions = packing.portions(examples, prompt_length)
        return [Pack(portion.stack, portion.packed) for portion in portions]
    rows = [
        Row(slot, inputs, targets, place)
        for slot, batch in batches.items()
        for place, (inputs, targets) in enumerate(zip(batch.inputs, batch.targets, strict=True))
    ]
    return _in_batches(rows, prompt_length, here)


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
    longest = max(len(row.targets) for row in rows)
    return Batch(
        np.array([row.slot for row in rows], np.int32),
        Inputs(*pad([row.inputs for row in rows], length)),
        Targets(*pad([row.targets for row in rows], bucket(longest, TARGET_BUCKETS))),
        rows=np.array([row.place for row in rows], np.int32),
    )
