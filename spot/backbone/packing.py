"""Examples of many lengths as packed sequences, on the host."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from spot.backbone.batch import START, Packed
from tasks.pipeline import TARGET_BUCKETS, bucket

TOKENS = 1024
"""Of a sequence, its prompts included: for more, matrix products gain nothing."""

LENGTHS = (32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 896, 1024)
"""Lengths that sequences are filled up to: every new shape is compiled once, which takes as long as ten steps."""

WIDTHS = (32, 64, 128, 256, 512, 1024)
"""Widths of grids: their spare places cost little."""

ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Rows that grids are filled up to, and prompts that stacks are."""


class Row(NamedTuple):
    """An example: whose prompt it is read with, its text ``[T]`` int32, and targets ``[L]`` int32, each of its own."""

    prompt: int
    text: np.ndarray
    targets: Sequence[np.ndarray]

    @property
    def tokens(self) -> int:
        """Text and start token, and of every target all but its last token, which nothing follows."""
        return len(self.text) + 1 + sum(max(len(target) - 1, 0) for target in self.targets)


class Room(NamedTuple):
    """What a sequence is filled up to: sequences of one room share a compiled program."""

    prompts: int
    tokens: int
    rows: int
    width: int
    scored: int

    @classmethod
    def of(cls, rows: Sequence[Row], prompt_length: int) -> Room:
        """The smallest that holds the rows."""
        lengths = [row.tokens for row in rows]
        return cls(
            bucket(len({row.prompt for row in rows}), ROWS),
            bucket(sum(lengths), LENGTHS),
            bucket(len(rows), ROWS),
            bucket(max(prompt_length, *lengths), WIDTHS),
            bucket(sum(len(target) for row in rows for target in row.targets), TARGET_BUCKETS),
        )


class Portion(NamedTuple):
    """Rows that share a sequence.

    Attributes:
        rows: in their order.
        stack: ``[n]`` int32, the prompts that they are read with, by which ``packed.prompt_ids`` count; the last one
            is repeated to fill up.
        packed: their sequence.
    """

    rows: Sequence[Row]
    stack: np.ndarray
    packed: Packed


def portions(rows: Sequence[Row], prompt_length: int, *, tokens: int = TOKENS) -> list[Portion]:
    """As few sequences as hold the rows in their order, of like lengths and in one room.

    Args:
        rows: the examples; those of one prompt stand together.
        prompt_length: P.
        tokens: most of a sequence, its prompts included, unless a row alone has more.
    """
    limits = [length for length in LENGTHS if length < tokens] + [tokens]

    def parts_within(limit: int) -> list[Sequence[Row]]:
        return list(_cut(rows, prompt_length, limit))

    def most_fit(limit: int) -> int:
        return -len(parts_within(limit))  # grows with the limit

    parts = parts_within(limits[bisect.bisect_left(limits, most_fit(tokens), key=most_fit)])
    if not parts:
        return []
    rooms = [Room.of(part, prompt_length) for part in parts]
    room = Room(*map(max, zip(*rooms, strict=True)))
    return [_pack(part, room) for part in parts]


def _cut(rows: Sequence[Row], prompt_length: int, tokens: int) -> Iterator[Sequence[Row]]:
    """Rows in their order, as many a part as its tokens allow, and at least one."""
    begin = length = 0
    for place, row in enumerate(rows):
        known = place > begin and row.prompt == rows[place - 1].prompt
        longer = row.tokens + (0 if known else prompt_length)
        if place > begin and length + longer > tokens:
            yield rows[begin:place]
            begin, length, longer = place, 0, row.tokens + prompt_length
        length += longer
    if rows:
        yield rows[begin:]


def _pack(rows: Sequence[Row], room: Room) -> Portion:
    """One sequence of rows, which the room holds."""
    stack, prompt_ids = np.unique([row.prompt for row in rows], return_inverse=True)
    ids = np.zeros(room.tokens, np.int32)
    grid = np.full((room.rows, room.width), room.tokens, np.int32)
    positions, branches = np.zeros_like(grid), np.zeros_like(grid)
    places: list[np.ndarray] = []
    begin = 0
    for number, row in enumerate(rows):
        trunk = len(row.text) + 1
        ids[begin : begin + trunk - 1], ids[begin + trunk - 1] = row.text, START
        grid[number, : row.tokens] = np.arange(begin, begin + row.tokens)
        positions[number, :trunk] = np.arange(trunk)
        at = trunk
        for branch, target in enumerate(row.targets, start=1):
            taken = slice(at, at + max(len(target) - 1, 0))
            own = np.arange(begin + taken.start, begin + taken.stop)
            ids[own] = target[:-1]
            positions[number, taken] = trunk + np.arange(len(own))
            branches[number, taken] = branch
            places.append(np.concatenate([[begin + trunk - 1], own])[: len(target)])
            at = taken.stop
        begin += row.tokens
    scored = np.array([len(each) for each in places])
    spare = (0, room.scored - int(scored.sum()))
    labels = np.concatenate([target for row in rows for target in row.targets])
    packed = Packed(
        ids=ids,
        grid=grid,
        positions=positions,
        branches=branches,
        prompt_ids=np.pad(prompt_ids, (0, room.rows - len(rows))).astype(np.int32),
        owners=np.pad(np.repeat(np.arange(len(scored)), scored), spare).astype(np.int32),
        places=np.pad(np.concatenate(places), spare).astype(np.int32),
        labels=np.pad(labels, spare).astype(np.int32),
        mask=np.pad(np.ones(len(labels), bool), spare),
    )
    stack = np.pad(stack, (0, room.prompts - len(stack)), mode="edge")
    return Portion(rows, stack.astype(np.int32), packed)
