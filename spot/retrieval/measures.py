"""What can rank sources for a query: the similarities of SPoT, others that compare whole prompts, and evidence.

A measure is a function of the query ``[P, H]`` and the keys; the higher its score, the better the source is held to be.
Only ``average`` and ``per_token`` come from Vu et al. (2022); the others are candidates to be judged by
:mod:`spot.retrieval.evaluate`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from bank import Bank, Key, Outcome, Partition
from bank.vectors import average, average_normalized
from spot.errors import RetrievalError
from spot.retrieval.evidence import History, expected_gains
from spot.retrieval.similarity import compare, unit_rows

DIRECTIONS = 8
"""Most directions of a prompt that ``subspace`` compares."""


@dataclasses.dataclass(frozen=True)
class Context:
    """What some measures look at beside the prompts.

    Attributes:
        embedding: the backbone's input embedding ``[V, H]``, for ``vocabulary``.
        losses: mean loss of each of some prompts on a few training examples of the target, for ``trial``.
    """

    embedding: Callable[[], np.ndarray] | None = None
    losses: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None


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

    def by_task(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Mean over the keys of every task of ``values[K, ...]``."""
        return {task: values[rows].mean(axis=0) for task, rows in self.rows.items()}

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


Measure = Callable[[np.ndarray, KeySet], np.ndarray]
"""Scores ``[K]`` float64 of the keys for a query ``[P, H]``."""


def average_token(query: np.ndarray, keys: KeySet) -> np.ndarray:
    """Cosine of the mean tokens (Vu et al. 2022, section 4.1)."""
    return compare(average(query), keys.average, "average")


def per_token(query: np.ndarray, keys: KeySet) -> np.ndarray:
    """Mean cosine over all pairs of tokens (Vu et al. 2022, section 4.1)."""
    return compare(average_normalized(query), keys.average_normalized, "per_token")


def centred(query: np.ndarray, keys: KeySet) -> np.ndarray:
    """Cosine of the mean tokens, measured from the bank's mean key: what all prompts share does not count."""
    return compare(average(query) - keys.centre, keys.average - keys.centre, "average")


def seed_centred(query: np.ndarray, keys: KeySet) -> np.ndarray:
    """Cosine of the mean tokens, each measured from the mean key of its seed; the query's is the nearest of these.

    Runs of one seed start from one prompt, and keys, being early, lie near their start: without this a query is nearest
    to the keys of its own seed, whatever their task.
    """
    seeds = np.array([key.seed for key in keys.keys])
    centres = {seed: keys.average[seeds == seed].mean(axis=0) for seed in np.unique(seeds)}
    token = average(query)
    nearest = max(centres.values(), key=lambda centre: float(compare(token, centre[None], "average")[0]))
    return compare(token - nearest, keys.average - np.stack([centres[seed] for seed in seeds]), "average")


def matching(query: np.ndarray, keys: KeySet) -> np.ndarray:
    """Mean cosine of the best one-to-one matching of tokens, since the order of virtual tokens means little."""
    from scipy.optimize import linear_sum_assignment

    left = unit_rows(query)

    def best(prompt: np.ndarray) -> float:
        cosines = left @ unit_rows(prompt).T
        return float(cosines[linear_sum_assignment(cosines, maximize=True)].mean())

    return np.array([best(prompt) for prompt in keys.prompts])


def subspace(query: np.ndarray, keys: KeySet) -> np.ndarray:
    """Mean squared cosine of the principal angles between the leading directions of the tokens, in [0, 1]."""
    left = _directions(query)
    return np.array([float(np.square(left @ _directions(prompt).T).sum() / len(left)) for prompt in keys.prompts])


def vocabulary(query: np.ndarray, keys: KeySet) -> np.ndarray:
    """Correlation over the vocabulary of how near a prompt's tokens lie to every word's embedding, on average."""
    if keys.context.embedding is None:
        raise RetrievalError("measure vocabulary looks at the backbone's embedding; rank for a TARGET task with it")
    words = unit_rows(keys.context.embedding())
    words = words - words.mean(axis=0)
    shape = words.T @ words  # [H, H]: profiles over V words are compared without being written down
    left = average_normalized(query).astype(np.float64)
    right = keys.average_normalized.astype(np.float64)
    lengths = np.sqrt(np.einsum("kh,hg,kg->k", right, shape, right) * (left @ shape @ left))
    products = np.einsum("kh,h->k", right, shape @ left)
    return np.asarray(products / np.where(lengths > 0, lengths, 1.0))


def trial(query: np.ndarray, keys: KeySet) -> np.ndarray:
    """Minus the loss of every source's *value* on a few examples of the target, which costs forward passes only."""
    return -keys.losses


def evidence(query: np.ndarray, keys: KeySet) -> np.ndarray:
    """Expected gain in points by similarity and by what the bank has seen; see :mod:`spot.retrieval.evidence`."""
    return np.array([expected.mean for expected in expected_gains(query, keys)])


MEASURES: dict[str, Measure] = {
    "average": average_token,
    "per_token": per_token,
    "centred": centred,
    "seed_centred": seed_centred,
    "matching": matching,
    "subspace": subspace,
    "vocabulary": vocabulary,
    "trial": trial,
    "evidence": evidence,
}
"""Measures by name."""


def checked_measure(name: str) -> str:
    """The name of a known measure.

    Raises:
        RetrievalError: any other name.
    """
    if name not in MEASURES:
        raise RetrievalError(f"similarity {name!r} is not known; choose from {', '.join(MEASURES)}")
    return name


def _directions(prompt: np.ndarray) -> np.ndarray:
    """Orthonormal rows: the leading right singular vectors of the unit tokens."""
    _, _, rows = np.linalg.svd(unit_rows(prompt), full_matrices=False)
    return np.asarray(rows[:DIRECTIONS])
