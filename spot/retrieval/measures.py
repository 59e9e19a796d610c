"""What can rank sources for a query: the similarities of SPoT, others that compare whole prompts, and evidence.

A measure is a function of the query, a prompt ``[P, H]``, and the keys, which gives scores ``[K]`` float64; the higher
its score, the better the source is held to be. Only ``average`` and ``per_token`` come from Vu et al. (2022); the
others are judged beside them by :mod:`spot.retrieval.evaluate`.

Runs of one seed start from one prompt, and keys, being early, may lie nearer to their start than to what their task
made of them. Likeness is then likeness of starts: it can be compared only over the seeds that all sources have, or be
measured from each prompt's own start, as ``displacement`` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from bank import Bank, Key, Outcome, Partition
from bank.vectors import average, average_normalized
from spot.errors import RetrievalError
from spot.retrieval.history import History, expected_gains
from spot.retrieval.similarity import compare, unit_rows
from tasks.choices import choose

DIRECTIONS = 8
"""Most directions of a prompt that ``subspace`` compares."""


@dataclasses.dataclass(frozen=True)
class Context:
    """What some measures look at beside the prompts.

    Attributes:
        embedding: the backbone's input embedding ``[V, H]``, for ``vocabulary``.
        losses: mean loss of each of some prompts on a few training examples of the target, for ``trial``.
        start: mean token ``[H]`` of the prompt that runs of a seed start from, where that follows from the seed alone;
            for keys that were stored without theirs.
        train_limit: training examples that the target has, 0 for all, for ``evidence``; ``None`` if not known.
    """

    embedding: Callable[[], np.ndarray] | None = None
    losses: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None
    start: Callable[[int], np.ndarray] | None = None
    train_limit: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Query:
    """A target's early prompt.

    Attributes:
        prompt: float32 ``[P, H]``.
        start: mean token ``[H]`` of the prompt it started from, if known.
    """

    prompt: np.ndarray
    start: np.ndarray | None = None

    @classmethod
    def of(cls, query: Query | np.ndarray) -> Query:
        """A query as it is, or a bare prompt ``[P, H]`` as one whose start is unknown."""
        return query if isinstance(query, Query) else cls(query)


class KeySet:
    """The keys that a query is compared with.

    Args of the constructor:
        keys: with their vectors.
        prompt: gives a prompt ``[P, H]`` by its address; asked only by measures that need more than vectors.
        history: gives what sources did for other targets than the query's; asked only by ``evidence``.
        context: what else there is.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        prompt: Callable[[str], np.ndarray],
        history: Callable[[], Sequence[Outcome]] = tuple,
        context: Context | None = None,
    ) -> None:
        self.keys, self.prompt, self.history, self.context = list(keys), prompt, history, context or Context()

    @classmethod
    def of_bank(
        cls, bank: Bank, partition: Partition, *, exclude: Sequence[str] = (), context: Context | None = None
    ) -> KeySet:
        """The keys of a partition, and what it knows of targets, without the excluded tasks on either side."""

        def history() -> list[Outcome]:
            return [outcome for outcome in bank.outcomes(partition) if outcome.target not in exclude]

        return cls(bank.keys(partition, exclude=exclude), bank.prompt, history, context)

    @cached_property
    def average(self) -> np.ndarray:
        """``[K, H]``."""
        return np.stack([key.average for key in self.keys])

    @cached_property
    def average_normalized(self) -> np.ndarray:
        """``[K, H]``."""
        return np.stack([key.average_normalized for key in self.keys])

    @cached_property
    def prompts(self) -> list[np.ndarray]:
        """Keys whole, each ``[P, H]``."""
        return [self.prompt(key.prompt) for key in self.keys]

    @cached_property
    def rows(self) -> dict[str, list[int]]:
        """Rows of every task's keys, one a seed."""
        rows: dict[str, list[int]] = {}
        for row, key in enumerate(self.keys):
            rows.setdefault(key.task, []).append(row)
        return rows

    @cached_property
    def shared_seeds(self) -> frozenset[int]:
        """Seeds of which every task has a key."""
        seeds = [frozenset(self.keys[row].seed for row in rows) for rows in self.rows.values()]
        return frozenset.intersection(*seeds) if seeds else frozenset()

    @cached_property
    def comparable_rows(self) -> dict[str, list[int]]:
        """Rows of every task's keys of the shared seeds; all of them where no seed is shared."""
        if not self.shared_seeds:
            return self.rows
        return {
            task: [row for row in rows if self.keys[row].seed in self.shared_seeds] for task, rows in self.rows.items()
        }

    def by_task(self, values: np.ndarray, *, every_seed: bool = False) -> dict[str, np.ndarray]:
        """Mean of ``values[K, ...]`` over the keys of every task, of the shared seeds or of every one."""
        rows = self.rows if every_seed else self.comparable_rows
        return {task: values[own].mean(axis=0) for task, own in rows.items()}

    @cached_property
    def starts(self) -> np.ndarray:
        """``[K, H]`` mean tokens of the prompts that the keys' runs started from.

        Raises:
            RetrievalError: one was not stored, and does not follow from its seed.
        """
        known = [self._start(key) for key in self.keys]
        missing = dict.fromkeys(key.task for key, start in zip(self.keys, known, strict=True) if start is None)
        if missing:
            raise RetrievalError(
                f"displacement needs to know where keys started, and the bank does not say of {', '.join(missing)}; "
                "rank for a TARGET task, or by average"
            )
        return np.stack([start for start in known if start is not None])

    @property
    def lacks_starts(self) -> bool:
        """Whether the start of a key is unknown."""
        return any(self._start(key) is None for key in self.keys)

    def _start(self, key: Key) -> np.ndarray | None:
        if key.start is not None or key.started_from or self.context.start is None:
            return key.start
        return self.context.start(key.seed)

    @cached_property
    def centre(self) -> np.ndarray:
        """Mean over tasks of their keys' mean tokens, ``[H]``."""
        centre: np.ndarray = np.mean(list(self.by_task(self.average).values()), axis=0)
        return centre

    @cached_property
    def losses(self) -> np.ndarray:
        """``[K]`` loss of every source's value on examples of the target.

        Raises:
            RetrievalError: there is no target to try them on.
        """
        if self.context.losses is None:
            raise RetrievalError("measure trial tries the sources on the target's examples; rank for a TARGET task")
        return self.context.losses([self.prompt(key.value) for key in self.keys])

    @cached_property
    def learned(self) -> History:
        """What ``evidence`` makes of the history."""
        return History.of(self)


def average_token(query: Query, keys: KeySet) -> np.ndarray:
    """Cosine of the mean tokens (Vu et al. 2022, section 4.1)."""
    return compare(average(query.prompt), keys.average, "average")


def per_token(query: Query, keys: KeySet) -> np.ndarray:
    """Mean cosine over all pairs of tokens (Vu et al. 2022, section 4.1)."""
    return compare(average_normalized(query.prompt), keys.average_normalized, "per_token")


def displacement(query: Query, keys: KeySet) -> np.ndarray:
    """Cosine of how far the mean tokens have come from their starts: what their tasks did to them, and no more."""
    if query.start is None:
        raise RetrievalError(
            "displacement needs to know where the query started; rank for a TARGET task, or by average"
        )
    return compare(average(query.prompt) - query.start, keys.average - keys.starts, "average")


def centred(query: Query, keys: KeySet) -> np.ndarray:
    """Cosine of the mean tokens, measured from the bank's mean key: what all prompts share does not count."""
    return compare(average(query.prompt) - keys.centre, keys.average - keys.centre, "average")


def seed_centred(query: Query, keys: KeySet) -> np.ndarray:
    """Cosine of the mean tokens, each measured from the mean key of its seed; the query's is the nearest of these.

    Runs of one seed start from one prompt, and keys, being early, lie near their start: without this a query is nearest
    to the keys of its own seed, whatever their task.
    """
    seeds = np.array([key.seed for key in keys.keys])
    centres = {seed: keys.average[seeds == seed].mean(axis=0) for seed in np.unique(seeds)}
    token = average(query.prompt)
    nearest = max(centres.values(), key=lambda centre: float(compare(token, centre[None], "average")[0]))
    return compare(token - nearest, keys.average - np.stack([centres[seed] for seed in seeds]), "average")


def matching(query: Query, keys: KeySet) -> np.ndarray:
    """Mean cosine of the best one-to-one matching of tokens, since the order of virtual tokens means little."""
    from scipy.optimize import linear_sum_assignment

    left = unit_rows(query.prompt)

    def best(prompt: np.ndarray) -> float:
        cosines = left @ unit_rows(prompt).T
        return float(cosines[linear_sum_assignment(cosines, maximize=True)].mean())

    return np.array([best(prompt) for prompt in keys.prompts])


def subspace(query: Query, keys: KeySet) -> np.ndarray:
    """Mean squared cosine of the principal angles between the leading directions of the tokens, in [0, 1]."""
    left = _directions(query.prompt)
    return np.array([float(np.square(left @ _directions(prompt).T).sum() / len(left)) for prompt in keys.prompts])


def vocabulary(query: Query, keys: KeySet) -> np.ndarray:
    """Correlation over the vocabulary of how near a prompt's tokens lie to every word's embedding, on average."""
    if keys.context.embedding is None:
        raise RetrievalError("measure vocabulary looks at the backbone's embedding; rank for a TARGET task with it")
    words = unit_rows(keys.context.embedding())
    words = words - words.mean(axis=0)
    shape = words.T @ words  # [H, H]: profiles over V words are compared without being written down
    left = average_normalized(query.prompt).astype(np.float64)
    right = keys.average_normalized.astype(np.float64)
    lengths = np.sqrt(np.einsum("kh,hg,kg->k", right, shape, right) * (left @ shape @ left))
    products = np.einsum("kh,h->k", right, shape @ left)
    return np.asarray(products / np.where(lengths > 0, lengths, 1.0))


def trial(query: Query, keys: KeySet) -> np.ndarray:
    """Minus the loss of every source's *value* on a few examples of the target, which costs forward passes only."""
    return -keys.losses


def evidence(query: Query, keys: KeySet) -> np.ndarray:
    """Expected gain in points by similarity and by what the bank has seen; see :mod:`spot.retrieval.evidence`."""
    return np.array([expected.mean for expected in expected_gains(query.prompt, keys)])


@dataclasses.dataclass(frozen=True)
class Measure:
    """A way to rank sources.

    Attributes:
        scores: ``[K]`` float64 of the keys for a query; higher is held to be better.
        about: what it compares, in a few words.
        needs: what it looks at beside prompts: ``starts``, ``embedding``, ``target`` (examples of it) or ``history``.
        shares_starts: whether prompts of one seed are alike to it for their common start alone.
    """

    scores: Callable[[Query, KeySet], np.ndarray]
    about: str
    needs: str = ""
    shares_starts: bool = True

    def __call__(self, query: Query | np.ndarray, keys: KeySet) -> np.ndarray:
        return self.scores(Query.of(query), keys)

    def by_task(self, query: Query | np.ndarray, keys: KeySet) -> dict[str, float]:
        """Score of every source task: the mean over the seeds that all of them share, or over every seed where starts
        do not count."""
        means = keys.by_task(self(query, keys), every_seed=not self.shares_starts)
        return {task: float(mean) for task, mean in means.items()}


MEASURES: Mapping[str, Measure] = {
    "displacement": Measure(displacement, "way of mean tokens from their starts", "starts", shares_starts=False),
    "average": Measure(average_token, "cosine of mean tokens"),
    "per_token": Measure(per_token, "mean cosine of all pairs of tokens"),
    "centred": Measure(centred, "mean tokens from the bank's mean"),
    "seed_centred": Measure(seed_centred, "mean tokens from the mean of a seed's keys"),
    "matching": Measure(matching, "best pairs of tokens"),
    "subspace": Measure(subspace, "leading directions of tokens"),
    "vocabulary": Measure(vocabulary, "nearness to words", "embedding"),
    "trial": Measure(trial, "loss of sources on 64 examples", "target", shares_starts=False),
    "evidence": Measure(evidence, "expected gain by what the bank saw", "history"),
}
"""Measures by name."""

AUTO = "auto"
"""The name of ``displacement`` where all starts are known, and of ``average`` elsewhere."""


def checked_measure(name: str) -> str:
    """The name of a known measure, or ``auto``.

    Raises:
        RetrievalError: any other name.
    """
    return choose(name, (AUTO, *MEASURES), "similarity", error=RetrievalError)


def resolved_measure(name: str, query: Query, keys: KeySet) -> str:
    """The measure that a name stands for: ``auto`` is ``displacement`` where query and keys have starts.

    Mean tokens of early keys say more of the seed than of the task where keys lie near their start: on the embedded
    backbone rankings of sources trained with different seeds agree by a rank correlation of 0.74 by ``displacement``
    and 0.33 by ``average`` (benchmarks/README.md).
    """
    if name != AUTO:
        return name
    return "average" if query.start is None or keys.lacks_starts else "displacement"


def _directions(prompt: np.ndarray) -> np.ndarray:
    """Orthonormal rows: the leading right singular vectors of the unit tokens."""
    _, _, rows = np.linalg.svd(unit_rows(prompt), full_matrices=False)
    return np.asarray(rows[:DIRECTIONS])
