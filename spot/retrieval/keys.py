"""The keys that a query is compared with: their vectors, and which of them belong to one source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from bank import Bank, Keys, Outcome, Partition
from bank.vectors import tokens
from spot.errors import RetrievalError
from spot.retrieval.similarity import Directions, parts
from tasks.signatures import BUCKETS

NAMED = 5
"""Most tasks that one line names."""

Computed = TypeVar("Computed")


@dataclasses.dataclass(frozen=True)
class Context:
    """What some measures look at beside the prompts.

    Attributes:
        embedding: the backbone's input embedding ``[V, H]``, for ``vocabulary``.
        losses: mean losses ``[n]`` float64 of n prompts ``[..., P, H]`` on a few training examples of the target, for
            ``trial``.
        start: mean token ``[W]`` of the prompt that runs of a seed start from, where that follows from the seed alone;
            for keys that were stored without theirs.
        train_limit: training examples that the target has, 0 for all, for ``evidence``; ``None`` if not known.
        signature: how often words occur in the target's training examples ``[B]``
            (:func:`tasks.signatures.signature`), for ``text``.
        activated: feed-forward units that fire under each of n prompts ``[..., P, H]``, bool ``[n, U]``, for
            ``neurons`` and ``demonstrations``.
        demonstrated: the same ``[n, U]`` under n training examples of the target in place of a prompt, for
            ``demonstrations``.
    """

    embedding: Callable[[], np.ndarray] | None = None
    losses: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None
    start: Callable[[int], np.ndarray] | None = None
    train_limit: int | None = None
    signature: Callable[[], np.ndarray] | None = None
    activated: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None
    demonstrated: Callable[[], np.ndarray] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Segments:
    """Some of the keys, by source or one by one.

    Attributes:
        rows: int ``[n]`` of the keys; those of a segment stand together.
        begins: int ``[G]``, where those of each of G segments begin; none is empty.
    """

    rows: np.ndarray
    begins: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Int ``[G]``."""
        return np.diff(self.begins, append=len(self.rows))

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Means ``[G, ...]`` float64 of ``values[K, ...]``."""
        sums = np.add.reduceat(np.asarray(values[self.rows], np.float64), self.begins, axis=0)
        return np.asarray(sums / self.sizes.reshape(-1, *[1] * (values.ndim - 1)))

    def maximum(self, values: np.ndarray) -> np.ndarray:
        """``[G]`` of ``values[K]``."""
        return np.asarray(np.maximum.reduceat(values[self.rows], self.begins))

    def take(self, segments: np.ndarray) -> Segments:
        """Those of ``segments[g]`` int, in that order."""
        begins, sizes = self.begins[segments], self.sizes[segments]
        rows = [self.rows[begin : begin + size] for begin, size in zip(begins, sizes, strict=True)]
        return Segments(np.concatenate(rows), np.cumsum(sizes) - sizes)


class KeySet:
    """The keys that a query is compared with.

    Args of the constructor:
        keys: K of them.
        prompt: gives a prompt ``[..., P, H]`` by its address; asked only by measures that need more than vectors.
        history: gives what sources did for other targets than the query's; asked only by ``evidence``.
        context: what else there is.
        signatures: gives bytes of the signatures of sources by their names, as far as they are known; asked only by
            ``text``.
    """

    def __init__(
        self,
        keys: Keys,
        prompt: Callable[[str], np.ndarray],
        history: Callable[[], Sequence[Outcome]] = tuple,
        context: Context | None = None,
        signatures: Callable[[Sequence[str]], Mapping[str, bytes]] = lambda _tasks: {},
    ) -> None:
        self.keys, self.prompt, self.history = keys, prompt, history
        self.context, self._read_signatures = context or Context(), signatures
        self._computed: dict[Callable[[KeySet], Any], Any] = {}

    @classmethod
    def from_bank(
        cls,
        bank: Bank,
        partition: Partition,
        *,
        exclude: Sequence[str] = (),
        context: Context | None = None,
    ) -> KeySet:
        """The keys of a partition, and what it knows of targets, without the excluded tasks on either side."""

        def history() -> list[Outcome]:
            return [
                outcome for outcome in bank.outcomes(partition) if outcome.target not in exclude
            ]

        keys = bank.keys(partition, exclude=exclude)
        return cls(keys, bank.prompt, history, context, bank.signatures)

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: np.ndarray) -> KeySet:
        """The keys of rows ``[n]`` int alone."""
        keys = self.keys.take(rows)
        taken = KeySet(keys, self.prompt, self.history, self.context, self._read_signatures)
        if "displacements" in vars(self):  # the starts that they follow from were not kept
            taken.displacements = Directions(self.displacements.vectors[rows])
        return taken

    def once(self, compute: Callable[[KeySet], Computed]) -> Computed:
        """What ``compute`` makes of these keys, kept for the next query."""
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        computed: Computed = self._computed[compute]
        return computed

    def tokens(self) -> Iterator[np.ndarray]:
        """Keys whole, each ``[P, W]``."""
        return (tokens(self.prompt(address)) for address in self.keys.prompts)

    # -- which belong together ---------------------------------------------------------------------------

    @property
    def tasks(self) -> list[str]:
        """Names of the S source tasks, in their order."""
        return self._tasks[0]

    @property
    def numbers(self) -> np.ndarray:
        """Place of every key's task among them, int ``[K]``."""
        return self._tasks[1]

    @cached_property
    def _tasks(self) -> tuple[list[str], np.ndarray]:
        names, numbers = np.unique(np.array(self.keys.tasks, object), return_inverse=True)
        return names.tolist(), numbers

    @cached_property
    def number(self) -> dict[str, int]:
        """Place of every source task in ``tasks``."""
        return {task: i for i, task in enumerate(self.tasks)}

    @cached_property
    def every_seed(self) -> Segments:
        """All keys of every task."""
        return self._by_task(np.argsort(self.numbers, kind="stable"))

    @cached_property
    def shared_seeds(self) -> np.ndarray:
        """Seeds of which every task has a key, ``[s]`` int64 ascending."""
        pairs = np.unique(np.stack([self.keys.seeds, self.numbers]), axis=1)
        seeds, tasks = np.unique(pairs[0], return_counts=True)
        return np.asarray(seeds[tasks == len(self.tasks)])

    @cached_property
    def shared(self) -> Segments:
        """Every task's keys of the shared seeds; all of them where no seed is shared."""
        if not len(self.shared_seeds):
            return self.every_seed
        rows = self.every_seed.rows
        return self._by_task(rows[np.isin(self.keys.seeds[rows], self.shared_seeds)])

    def segments(self, *, every_seed: bool) -> Segments:
        """Keys of every task, of all seeds or of those that all tasks share."""
        return self.every_seed if every_seed else self.shared

    def _by_task(self, rows: np.ndarray) -> Segments:
        return Segments(rows, np.searchsorted(self.numbers[rows], np.arange(len(self.tasks))))

    @cached_property
    def best_rows(self) -> np.ndarray:
        """Row of every task's key whose value scored best on its own dev set, int ``[S]``; the first of equals."""
        order = np.lexsort((-self.keys.scores, self.numbers))
        return np.asarray(order[self.every_seed.begins])

    def by_task(self, values: np.ndarray, *, every_seed: bool = False) -> dict[str, np.ndarray]:
        """Mean of ``values[K, ...]`` over the keys of every task, of the shared seeds or of every one."""
        return dict(zip(self.tasks, self.segments(every_seed=every_seed).mean(values), strict=True))

    # -- vectors -----------------------------------------------------------------------------------------

    @property
    def average(self) -> np.ndarray:
        """Mean tokens, float32 ``[K, W]``."""
        return self.keys.vectors("average")

    @property
    def average_normalized(self) -> np.ndarray:
        """Mean unit tokens, float32 ``[K, W]``."""
        return self.keys.vectors("average_normalized")

    @cached_property
    def mean_tokens(self) -> Directions:
        """Mean tokens from zero."""
        return Directions(self.average)

    @cached_property
    def centre(self) -> np.ndarray:
        """Mean over tasks of their keys' mean tokens, float64 ``[W]``."""
        weights = np.zeros(len(self))
        weights[self.shared.rows] = np.repeat(1 / self.shared.sizes, self.shared.sizes) / len(
            self.tasks
        )
        centre = np.zeros(self.keys.width)
        for rows in parts(len(self)):
            centre += weights[rows] @ self.average[rows].astype(np.float64)
        return centre

    @cached_property
    def displacements(self) -> Directions:
        """Mean tokens from where their runs started; all starts must be known."""
        # read and not kept: only the way from them is needed
        moved = self.keys.read("start", np.arange(len(self)))
        for seed in np.unique(self.keys.seeds[~self.keys.has_start]):
            assert self.context.start is not None
            moved[~self.keys.has_start & (self.keys.seeds == seed)] = self.context.start(int(seed))
        np.subtract(self.average, moved, out=moved)
        return Directions(moved)

    @cached_property
    def signatures(self) -> Mapping[str, np.ndarray]:
        """How often words occur in the sources' training examples, float16 ``[B]`` by task, where that is known.

        Raises:
            RetrievalError: numbers that are none, or not as many.
        """
        known = self._read_signatures(self.tasks)
        signatures = {task: np.frombuffer(shares, "<f2") for task, shares in known.items()}
        for task, shares in signatures.items():
            if shares.shape != (BUCKETS,) or not np.isfinite(shares).all():
                raise RetrievalError(f"signature of {task} is damaged; see `spot bank verify`")
        return signatures

    @cached_property
    def unknown_signatures(self) -> str:
        """Of which tasks there is no signature, in a line; empty if of none."""
        tasks = [task for task in self.tasks if task not in self.signatures]
        if not tasks:
            return ""
        return (
            f"text compares words, and the bank does not know those of {_some(tasks)}; `spot bank add-texts` reads "
            "them from the tasks' data"
        )

    @cached_property
    def unknown_starts(self) -> str:
        """Of which tasks a key's start is neither stored nor follows from its seed, in a line; empty if of none."""
        follows = self.context.start is not None
        known = self.keys.has_start | np.array(
            [follows and not address for address in self.keys.started_from], bool
        )
        tasks = list(dict.fromkeys(self.keys.tasks[row] for row in np.flatnonzero(~known).tolist()))
        if not tasks:
            return ""
        return (
            f"displacement needs to know where keys started, and the bank does not say of {_some(tasks)}; rank for a "
            "TARGET task, or by average"
        )


def _some(tasks: Sequence[str]) -> str:
    more = f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
    return f"{', '.join(tasks[:NAMED])}{more}"
