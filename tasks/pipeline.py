"""From tokenised examples to batches: bring rows of one length together, shuffle by seed.

A batch is a pure function of (data, seed, index), so the state of an iterator is its index. Rows are shuffled
every epoch, sorted by length within a window of many batches, cut into batches, and the batches shuffled again:
each batch then carries rows of about one length. Rows stay ragged until they are computed with; there they are
padded to the smallest bucket that holds them. Buckets are few, since every new shape is compiled once.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tasks.errors import TaskError
from tasks.tokenized import Tokenized

BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Lengths that inputs are padded to; at most 1.5 times apart, so padding within a bucket stays below a third."""

TARGET_BUCKETS = (4, 8, 16, 32, 64, 128, 256)


def bucket(length: int, buckets: Sequence[int] = BUCKETS) -> int:
    """The smallest bucket that holds ``length``, or the next multiple of the largest."""
    for size in buckets:
        if length <= size:
            return size
    return -(-length // buckets[-1]) * buckets[-1]


class RaggedBatch(NamedTuple):
    """Rows of a batch, not padded: ids int32 ``[T]`` of every input and ``[L]`` of every target.

    ``others`` are ``[L]`` of every row's other choices, where a loss compares them.
    """

    inputs: list[np.ndarray]
    targets: list[np.ndarray]
    others: list[list[np.ndarray]] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batches:
    """Training batches of one task, endless and deterministic.

    Args of the constructor:
        data: tokenised examples.
        batch_size: rows a batch; a task with fewer examples repeats some within one.
        seed: of the shuffles.
        window: batches whose rows are sorted by length together.
        draws: ``(rows, drawn)`` of every part of the data, in order: how many of its rows an epoch holds. A part of
            which more are drawn than it has repeats them; of which fewer, changes them by the epoch. Default: all
            rows once.
        choices: whether rows come with their other choices.
    """

    data: Tokenized
    batch_size: int
    seed: int
    window: int = 50
    draws: tuple[tuple[int, int], ...] = ()
    choices: bool = False

    def __post_init__(self) -> None:
        if not len(self.data):
            raise TaskError("no examples to draw batches from")
        if self.draws and sum(rows for rows, _ in self.draws) != len(self.data):
            raise TaskError(
                f"draws cover {sum(rows for rows, _ in self.draws)} of {len(self.data)} examples"
            )

    def __getitem__(self, index: int) -> RaggedBatch:
        rows = self._order(index // self.per_epoch)[index % self.per_epoch]
        return RaggedBatch(
            [self.data.inputs[row] for row in rows],
            [self.data.targets[row] for row in rows],
            [self._others(row) for row in rows] if self.choices else None,
        )

    def _others(self, row: int) -> list[np.ndarray]:
        """The choices of a row that are not its target."""
        target = self.data.targets[row]
        choices = [self.data.choices[choice] for choice in self.data.choice_rows[row]]
        return [choice for choice in choices if not np.array_equal(choice, target)]

    @property
    def per_epoch(self) -> int:
        """Batches of one epoch; the last one is filled up from the epoch's start."""
        drawn = sum(count for _, count in self.draws) if self.draws else len(self.data)
        return -(-drawn // self.batch_size)

    def padding_share(self, epochs: int = 1) -> float:
        """Share of input positions that are padding."""
        real = padded = 0
        for epoch in range(epochs):
            for rows in self._order(epoch):
                lengths = self.data.inputs.lengths[rows]
                real += int(lengths.sum())
                padded += bucket(int(lengths.max())) * len(rows)
        return 1 - real / padded

    def _order(self, epoch: int) -> np.ndarray:
        """Rows of every batch of an epoch, ``[per_epoch, batch_size]``."""
        cached = self.__dict__.get("_cached")
        if cached is not None and cached[0] == epoch:
            order: np.ndarray = cached[1]
            return order
        rng = np.random.default_rng([self.seed, epoch])
        rows = self._drawn(rng)
        rows = np.resize(rows, self.per_epoch * self.batch_size)
        size = self.batch_size * self.window
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            rows[start : start + size] = chunk[
                np.argsort(self.data.inputs.lengths[chunk], kind="stable")
            ]
        order = rng.permutation(rows.reshape(-1, self.batch_size))
        self.__dict__["_cached"] = (epoch, order)
        return order

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        """The rows of an epoch, shuffled."""
        if not self.draws:
            return rng.permutation(len(self.data))
        starts = itertools.accumulate((rows for rows, _ in self.draws), initial=0)
        parts = [
            start + np.resize(rng.permutation(rows), drawn)
            for start, (rows, drawn) in zip(starts, self.draws, strict=False)
        ]
        return rng.permutation(np.concatenate(parts))


def summary(data: Tokenized, batches: Batches) -> Mapping[str, float | int]:
    """Facts about a tokenised split worth showing before training."""
    return {
        "examples": len(data),
        "longest input": int(data.inputs.lengths.max()),
        "mean input": round(float(data.inputs.lengths.mean()), 1),
        "cut inputs": data.cut,
        "padding share": round(batches.padding_share(), 3),
    }
