"""A step's batches as parts: what one pass of a compiled program takes, padded or packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from spot.backbone.batch import START, Inputs, Packed, Targets, Tokens
from spot.backbone.placement import Placement, placement
from tasks.objectives import pad
from tasks.pipeline import TARGET_BUCKETS, RaggedBatch, bucket

PACKED_TOKENS = 1024
"""Tokens of a packed part, its prompts included: for more, matrix products gain nothing."""

PACKED_BUCKETS = (*range(16, 128, 16), *range(128, 256, 32), *range(256, 1024, 64), 1024)
"""Lengths that sequences are filled up to."""


class Batch(NamedTuple):
    """Padded examples; ``prompt_ids[B]`` int32 says which prompt each belongs to.

    ``rows[B]`` int32 are the examples' places in their own slots' batches, which their noise follows from; without it
    they stand in that order.
    """

    prompt_ids: Tokens
    inputs: Inputs
    targets: Targets
    rows: Tokens | None = None

    def count(self, slots: int) -> np.ndarray:
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
        return self.stack[self.packed.prompt_ids[self.packed.rows]]

    def count(self, slots: int) -> np.ndarray:
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

    @property
    def tokens(self) -> int:
        """Of text and target together; the start token stands in for the end token, which nothing follows."""
        return len(self.inputs) + len(self.targets)


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
    rows = [
        Row(slot, inputs, targets, place)
        for slot, batch in batches.items()
        for place, (inputs, targets) in enumerate(zip(batch.inputs, batch.targets, strict=True))
    ]
    if packed and here.cpu:
        return _in_packs(rows, prompt_length, min(PACKED_TOKENS, here.cached_positions))
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


def _in_packs(rows: Sequence[Row], prompt_length: int, tokens: int) -> list[Pack]:
    """Slot after slot, as many rows a part as its tokens allow, and at least one."""
    packs: list[Pack] = []
    taken: list[Row] = []
    length = 0
    for row in rows:
        longer = row.tokens + (0 if taken and row.slot == taken[-1].slot else prompt_length)
        if taken and length + longer > tokens:
            packs.append(_packed(taken, prompt_length))
            taken, length, longer = [], 0, prompt_length + row.tokens
        taken.append(row)
        length += longer
    return [*packs, _packed(taken, prompt_length)]


def _packed(rows: Sequence[Row], prompt_length: int) -> Pack:
    """One sequence of rows, filled up to a bucket of tokens and of scored tokens."""
    stack, prompt_ids = np.unique([row.slot for row in rows], return_inverse=True)
    lengths = np.array([row.tokens for row in rows])
    ends = np.cumsum(lengths)
    total, size = int(ends[-1]), bucket(int(ends[-1]), PACKED_BUCKETS)
    width = max(prompt_length, bucket(int(lengths.max())))
    grid = np.arange(width) + (ends - lengths)[:, None]
    ids = [part for row in rows for part in (row.inputs, [START], row.targets[:-1])]
    targets = np.array([len(row.targets) for row in rows])
    places = [np.arange(end - count, end) for end, count in zip(ends, targets, strict=True)]
    spare = (0, bucket(int(targets.sum()), TARGET_BUCKETS) - int(targets.sum()))
    labels = np.concatenate([row.targets for row in rows])
    return Pack(
        stack.astype(np.int32),
        Packed(
            ids=np.pad(np.concatenate(ids), (0, size - total)).astype(np.int32),
            grid=np.where(np.arange(width) < lengths[:, None], grid, size).astype(np.int32),
            prompt_ids=prompt_ids.astype(np.int32),
            rows=np.pad(np.repeat(np.arange(len(rows)), targets), spare).astype(np.int32),
            places=np.pad(np.concatenate(places), spare).astype(np.int32),
            labels=np.pad(labels, spare).astype(np.int32),
            mask=np.pad(np.ones(len(labels), bool), spare),
        ),
    )
