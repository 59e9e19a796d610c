"""Keys of a bank: what is known of a partition's sources as columns, and their vectors as matrices.

A bank may hold keys by the hundred thousand: there is no object for each of them, and one kind of vectors is one query,
made when a measure first asks for it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, overload

from bank.vectors import average, average_normalized

if TYPE_CHECKING:
    import numpy as np

KINDS = ("average", "average_normalized", "start")
"""Vectors of a key: mean token, mean unit token, and mean token of the prompt that its run started from."""

FEW = 10_000
"""The most keys whose vectors are read alone; for more, those of the whole partition are."""


class Digests(Sequence[str]):
    """Digests or addresses ``[K]`` at a byte a character: strings take twice as much.

    Args of the constructor:
        digests: bytes ``[K]``.
    """

    def __init__(self, digests: np.ndarray) -> None:
        self._digests = digests

    def __len__(self) -> int:
        return len(self._digests)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Digests: ...
    def __getitem__(self, row: int | slice) -> str | Digests:
        return (
            Digests(self._digests[row]) if isinstance(row, slice) else self._digests[row].decode()
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Keys:
    """K keys of sources by task, seed and run: a column for each thing that is known of them.

    Attributes:
        tasks: names of the source tasks.
        families: of those tasks.
        seeds: int64 ``[K]``.
        runs: digests of the runs.
        prompts: addresses of the key prompts.
        values: addresses of the value prompts.
        scores: float64 ``[K]``, development scores of the values.
        started_from: addresses of the prompts that runs started from, where those came from a bank or file.
        has_start: bool ``[K]``, whether the mean token that a run started from is known.
        shape: of every key prompt, ``[..., P, H]``.
        read: gives the vectors float32 ``[n, W]`` of one of ``KINDS`` for rows ``[n]`` int, anew.
    """

    tasks: Sequence[str]
    families: Sequence[str]
    seeds: np.ndarray
    runs: Sequence[str]
    prompts: Sequence[str]
    values: Sequence[str]
    scores: np.ndarray
    started_from: Sequence[str | None]
    has_start: np.ndarray
    shape: tuple[int, ...]
    read: Callable[[str, np.ndarray], np.ndarray] = dataclasses.field(repr=False)
    _kept: dict[str, np.ndarray] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def width(self) -> int:
        """W, numbers of a vector."""
        return vector_width(self.shape)

    def vectors(self, kind: str) -> np.ndarray:
        """Vectors float32 ``[K, W]`` of one of ``KINDS``, read when first asked for and kept; NaN where there is no
        start.

        Raises:
            BankError: a key without them, or with numbers that are none.
        """
        if kind not in self._kept:
            import numpy as np

            self._kept[kind] = self.read(kind, np.arange(len(self)))
        return self._kept[kind]

    def some_vectors(self, kind: str, rows: np.ndarray) -> np.ndarray:
        """Those of rows ``[n]`` int, ``[n, W]``; few of them are read without the others."""
        if kind in self._kept or len(rows) > FEW:
            some: np.ndarray = self.vectors(kind)[rows]
            return some
        return self.read(kind, rows)

    def take(self, rows: np.ndarray) -> Keys:
        """The keys of rows ``[n]`` int, in that order."""
        return Keys(
            tasks=[self.tasks[row] for row in rows],
            families=[self.families[row] for row in rows],
            seeds=self.seeds[rows],
            runs=[self.runs[row] for row in rows],
            prompts=[self.prompts[row] for row in rows],
            values=[self.values[row] for row in rows],
            scores=self.scores[rows],
            started_from=[self.started_from[row] for row in rows],
            has_start=self.has_start[rows],
            shape=self.shape,
            read=lambda kind, some: self.some_vectors(kind, rows[some]),
        )


def keys_of_prompts(
    tasks: Sequence[str],
    prompts: Sequence[np.ndarray],
    *,
    addresses: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    scores: Sequence[float] | None = None,
) -> Keys:
    """Keys that lie in no bank.

    Args:
        tasks: name of each one's task; those of a task stand together.
        prompts: ``[..., P, H]`` each, of one shape.
        addresses: of run, key and value alike; the tasks' names if not given.
        seeds: zeros if not given.
        scores: zeros if not given.
    """
    import numpy as np

    names, zeros = list(tasks if addresses is None else addresses), np.zeros(len(tasks))
    vectors = {
        "average": np.stack([average(prompt) for prompt in prompts]),
        "average_normalized": np.stack([average_normalized(prompt) for prompt in prompts]),
    }
    vectors["start"] = np.full_like(vectors["average"], np.nan)
    return Keys(
        tasks=list(tasks),
        families=[""] * len(tasks),
        seeds=np.asarray(zeros if seeds is None else seeds).astype(np.int64),
        runs=names,
        prompts=names,
        values=names,
        scores=np.asarray(zeros if scores is None else scores, np.float64),
        started_from=[None] * len(tasks),
        has_start=zeros.astype(bool),
        shape=prompts[0].shape,
        read=lambda kind, rows: vectors[kind][rows],
    )


def vector_width(shape: tuple[int, ...]) -> int:
    """W, numbers of a vector of a prompt ``[..., P, H]``: its leading axes stand beside H."""
    return math.prod(shape[:-2]) * shape[-1]
