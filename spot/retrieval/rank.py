"""Rank a bank's keys against a query prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from bank import Bank, Partition
from spot.errors import RetrievalError
from spot.retrieval.evidence import Expected, expected_gains
from spot.retrieval.measures import MEASURES, Context, KeySet, checked_measure
from spot.retrieval.similarity import SPOT_MEASURES

AGGREGATES = ("mean", "max", "none")
"""Over a source task's seeds: mean or best similarity ranks tasks, ``none`` ranks every prompt by itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranked:
    """A source, best first.

    Attributes:
        rank: from 1.
        task: source task.
        seed: seed of the run that represents it: its most similar one.
        run: digest of that run.
        value: sha256 of that run's value prompt.
        similarity: what ranked it.
        similarities: SPoT's two similarities, and what ranked it, aggregated alike.
        expected: expected gain over no transfer, for the measure ``evidence``.
    """

    rank: int
    task: str
    seed: int
    run: str
    value: str
    similarity: float
    similarities: Mapping[str, float]
    expected: Expected | None = None


class Retriever:
    """Ranks the sources of a bank for queries of one partition.

    Keys are read once; make a new retriever to see later runs.

    Args of the constructor:
        bank: where the keys are.
        partition: backbone, length, key step and recipe family of the queries: only such keys are comparable.
        exclude: tasks left out, such as the target itself; what the bank knows of them as targets is left out too.
        context: what some measures look at beside the prompts.

    Raises:
        RetrievalError: the bank has no key in that partition; the message says which partitions it has.
    """

    def __init__(
        self, bank: Bank, partition: Partition, *, exclude: Sequence[str] = (), context: Context | None = None
    ) -> None:
        self.partition = partition
        self.key_set = KeySet.of_bank(bank, partition, exclude=exclude, context=context)
        self.keys = self.key_set.keys
        if not self.keys:
            raise RetrievalError(_no_keys(bank, partition, exclude))

    def rank(
        self,
        query: np.ndarray,
        *,
        measure: str = "average",
        top_k: int | None = None,
        aggregate: str = "mean",
    ) -> list[Ranked]:
        """Sources by falling similarity to ``query[P, H]``; ties by task name and seed.

        Raises:
            RetrievalError: unknown measure or aggregate, ``top_k`` below 1, a query of another shape, or a measure
                that needs more than the bank.
        """
        checked_measure(measure)
        checked_aggregate(aggregate)
        if top_k is not None and top_k < 1:
            raise RetrievalError(f"top-k must be at least 1, found {top_k}")
        width = self.key_set.average.shape[1]
        if query.shape != (self.partition.prompt_length, width):
            raise RetrievalError(
                f"query has shape {list(query.shape)}, keys have [{self.partition.prompt_length}, {width}]; "
                "they were made for different backbones or lengths"
            )
        if not np.isfinite(query).all():
            raise RetrievalError("the query has entries that are NaN or infinite")
        scores = {name: MEASURES[name](query, self.key_set) for name in dict.fromkeys((*SPOT_MEASURES, measure))}
        expected = expected_gains(query, self.key_set) if measure == "evidence" else None
        groups = [[row] for row in range(len(self.keys))] if aggregate == "none" else self.key_set.rows.values()
        combine = np.max if aggregate == "max" else np.mean
        ranked = []
        for members in groups:
            best = max(members, key=lambda i: scores[measure][i])
            similarities = {name: float(combine(values[members])) for name, values in scores.items()}
            ranked.append((similarities[measure], self.keys[best], similarities, expected[best] if expected else None))
        ranked.sort(key=lambda entry: (-entry[0], entry[1].task, entry[1].seed))
        return [
            Ranked(
                rank=position,
                task=key.task,
                seed=key.seed,
                run=key.run,
                value=key.value,
                similarity=similarity,
                similarities=similarities,
                expected=gain,
            )
            for position, (similarity, key, similarities, gain) in enumerate(ranked[:top_k], start=1)
        ]


def rank(
    bank: Bank,
    query: np.ndarray,
    partition: Partition,
    *,
    measure: str = "average",
    top_k: int | None = None,
    aggregate: str = "mean",
    exclude: Sequence[str] = (),
) -> list[Ranked]:
    """One ranking; see :class:`Retriever`."""
    retriever = Retriever(bank, partition, exclude=exclude)
    return retriever.rank(query, measure=measure, top_k=top_k, aggregate=aggregate)


def checked_aggregate(name: str) -> str:
    """The name of a known aggregate.

    Raises:
        RetrievalError: any other name.
    """
    if name not in AGGREGATES:
        raise RetrievalError(f"aggregate {name!r} is not known; choose from {', '.join(AGGREGATES)}")
    return name


def weights(ranked: Sequence[Ranked]) -> list[float]:
    """SPoT's weights of the top-k: similarity over the sum of similarities, negative ones clamped to zero.

    Where none is positive every source weighs the same.
    """
    positive = [max(0.0, source.similarity) for source in ranked]
    total = sum(positive)
    return [value / total if total else 1.0 / len(positive) for value in positive]


def _no_keys(bank: Bank, partition: Partition, exclude: Sequence[str]) -> str:
    present = bank.partitions()
    if partition in present:
        return f"bank {bank}: its only sources are the excluded ones ({', '.join(exclude)}); train another source"
    if not present:
        return f"bank {bank}: holds no source yet; train some with `spot train-source`"
    held = "; ".join(str(other) for other in present)
    return (
        f"bank {bank}: no key can be compared with this query ({partition}). The bank holds: {held}. "
        "Use the sources' backbone and recipe, or train sources with this one"
    )
