"""Examples of many lengths as packed sequences, on the host."""

from __future__ import annotations

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


def portions(
    rows: Sequence[Row], prompt_length: int, *, tokens: int = TOKENS
) -> Iterator[Sequence[Row]]:
    """Rows in their order, as many a sequence as its tokens allow, and at least one.

    Args:
        rows: those of one prompt stand together.
        prompt_length: P.
        tokens: most of a sequence.
    """
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


def pack(rows: Sequence[Row], prompt_length: int) -> tuple[np.ndarray, Packed]:
    """One sequence of rows, filled up to a bucket of tokens, of rows and of scored tokens.

    Args:
        rows: the examples.
        prompt_length: P.

    Returns:
        The prompts ``[n]`` int32 that the rows are read with, by which ``Packed.prompt_ids`` count, the last one
        repeated to a bucket of them; and the sequence.
    """
    stack, prompt_ids = np.unique([row.prompt for row in rows], return_inverse=True)
    lengths = np.array([row.tokens for row in rows])
    total = int(lengths.sum())
    size, width = bucket(total, LENGTHS), bucket(max(prompt_length, *lengths), WIDTHS)
    ids = np.zeros(size, np.int32)
    grid = np.full((bucket(len(rows), ROWS), width), size, np.int32)
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
    spare = (0, bucket(int(scored.sum()), TARGET_BUCKETS) - int(scored.sum()))
    labels = np.concatenate([target for row in rows for target in row.targets])
    stack = np.pad(stack, (0, bucket(len(stack), ROWS) - len(stack)), mode="edge")
    return stack.astype(np.int32), Packed(
        ids=ids,
        grid=grid,
        positions=positions,
        branches=branches,
        prompt_ids=np.pad(prompt_ids, (0, len(grid) - len(rows))).astype(np.int32),
        owners=np.pad(np.repeat(np.arange(len(scored)), scored), spare).astype(np.int32),
        places=np.pad(np.concatenate(places), spare).astype(np.int32),
        labels=np.pad(labels, spare).astype(np.int32),
        mask=np.pad(np.ones(len(labels), bool), spare),
    )
