"""Rank a bank's keys against a query prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bank import Bank, Partition
from bank.identity import SHAPING, differing
from spot.errors import RetrievalError
from spot.retrieval.history import Expected, expected_gains
from spot.retrieval.measures import AUTO, MEASURES, Context, KeySet, Query, checked_measure, resolved_measure
from spot.retrieval.similarity import SPOT_MEASURES
from tasks.choices import choose

AGGREGATES = ("mean", "max", "none")
"""Over the seeds that all source tasks share: mean or best similarity ranks tasks; ``none`` ranks every prompt by
itself."""

NOISE = 3.0
"""Cosines of random directions in ``H`` dimensions lie within so many times ``H ** -0.5`` of zero."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranked:
    """A source, best first.

    Attributes:
        rank: from 1.
        task: source task.
        seed: seed of the run that stands for it: of all its runs the one whose value is best on its own development
            set; itself where every prompt is ranked.
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
        options: of the query's recipe, to name those that differ where the bank has no comparable key.

    Raises:
        RetrievalError: the bank has no key in that partition; the message says which partitions it has.
    """

    def __init__(
        self,
        bank: Bank,
        partition: Partition,
        *,
        exclude: Sequence[str] = (),
        context: Context | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.partition = partition
        self.key_set = KeySet.of_bank(bank, partition, exclude=exclude, context=context)
        self.keys = self.key_set.keys
        if not self.keys:
            raise RetrievalError(_no_keys(bank, partition, exclude, options or {}))

    def measure(self, name: str, query: Query | np.ndarray) -> str:
        """The measure that ``name`` stands for with this query; ``auto`` depends on what starts are known."""
        return resolved_measure(checked_measure(name), Query.of(query), self.key_set)

    def rank(
        self,
        query: Query | np.ndarray,
        *,
        measure: str = AUTO,
        top_k: int | None = None,
        aggregate: str = "mean",
    ) -> list[Ranked]:
        """Sources by falling similarity to a query ``[P, H]``; ties by task name and seed.

        A task's similarity is aggregated over the seeds that all sources share, as SPoT averages over all pairs of
        seeds, so that no source is nearer for having been trained from the query's own start; measures that do not
        depend on starts take every seed. See :meth:`cautions` for what that cannot mend.

        Raises:
            RetrievalError: unknown measure or aggregate, ``top_k`` below 1, a query of another shape, or a measure
                that needs more than the bank.
        """
        query = Query.of(query)
        self._check(query)
        name = self.measure(measure, query)
        checked_aggregate(aggregate)
        if top_k is not None and top_k < 1:
            raise RetrievalError(f"top-k must be at least 1, found {top_k}")
        scores = {each: MEASURES[each](query, self.key_set) for each in dict.fromkeys((*SPOT_MEASURES, name))}
        expected = expected_gains(query.prompt, self.key_set) if name == "evidence" else None
        combine = np.max if aggregate == "max" else np.mean
        ranked = []
        for members, counted in self._groups(MEASURES[name].shares_starts, aggregate):
            best = max(members, key=lambda row: self.keys[row].score)
            similarities = {each: float(combine(values[counted])) for each, values in scores.items()}
            ranked.append((similarities[name], self.keys[best], similarities, expected[best] if expected else None))
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

    def cautions(self, query: Query | np.ndarray, *, measure: str = AUTO, aggregate: str = "mean") -> list[str]:
        """What makes a ranking for a query ``[P, H]`` doubtful, a line each.

        That is seeds that sources do not share, a history that is silent, and a query that is like no key.
        """
        query = Query.of(query)
        name, found = self.measure(measure, query), []
        seeds = {key.seed for key in self.keys}
        unequal = not self.key_set.shared_seeds or (aggregate == "none" and len(seeds) > 1)
        if MEASURES[name].shares_starts and unequal and len(self.key_set.rows) > 1:
            found.append(
                f"sources of different seeds are compared by {name}, to which runs of one seed are alike whatever "
                "their task; rank by displacement, or train the sources with the same seeds"
            )
        if name == "evidence" and (silence := self.key_set.learned.silence):
            found.append(f"evidence: {silence}")
        nearest = float(np.abs(MEASURES["average"](query, self.key_set)).max())
        limit = NOISE * query.prompt.shape[1] ** -0.5
        if nearest < min(limit, 0.5):
            found.append(
                f"the query is as unlike every key as noise is (nearest average {nearest:.2f}, noise stays below "
                f"{limit:.2f}); is it an early prompt of this backbone and recipe?"
            )
        return found

    def _groups(self, shares_starts: bool, aggregate: str) -> list[tuple[list[int], list[int]]]:
        """What is ranked: rows that a value is chosen from, and rows whose similarities count."""
        if aggregate == "none":
            return [([row], [row]) for row in range(len(self.keys))]
        counted = self.key_set.comparable_rows if shares_starts else self.key_set.rows
        return [(rows, counted[task]) for task, rows in self.key_set.rows.items()]

    def _check(self, query: Query) -> None:
        width = self.key_set.average.shape[1]
        if query.prompt.shape != (self.partition.prompt_length, width):
            raise RetrievalError(
                f"query has shape {list(query.prompt.shape)}, keys have [{self.partition.prompt_length}, {width}]; "
                "they were made for different backbones or lengths"
            )
        for vector, what in ((query.prompt, "the query has"), (query.start, "the query's start has")):
            if vector is not None and not np.isfinite(vector).all():
                raise RetrievalError(f"{what} entries that are NaN or infinite")


def rank(
    bank: Bank,
    query: Query | np.ndarray,
    partition: Partition,
    *,
    measure: str = AUTO,
    top_k: int | None = None,
    aggregate: str = "mean",
    exclude: Sequence[str] = (),
) -> list[Ranked]:
    """One ranking for a query ``[P, H]``; see :class:`Retriever`."""
    retriever = Retriever(bank, partition, exclude=exclude)
    return retriever.rank(query, measure=measure, top_k=top_k, aggregate=aggregate)


def checked_aggregate(name: str) -> str:
    """The name of a known aggregate.

    Raises:
        RetrievalError: any other name.
    """
    return choose(name, AGGREGATES, "aggregate", error=RetrievalError)


def weights(ranked: Sequence[Ranked]) -> list[float]:
    """SPoT's weights of the top-k: similarity over the sum of similarities, negative ones clamped to zero.

    Where none is positive every source weighs the same.
    """
    positive = [max(0.0, source.similarity) for source in ranked]
    total = sum(positive)
    return [value / total if total else 1.0 / len(positive) for value in positive]


def _no_keys(bank: Bank, partition: Partition, exclude: Sequence[str], options: Mapping[str, Any]) -> str:
    present = bank.partitions()
    if partition in present:
        return f"bank {bank}: its only sources are the excluded ones ({', '.join(exclude)}); train another source"
    if not present:
        return f"bank {bank}: holds no source yet; train some with `spot train-source`"
    held = "; ".join(_difference(bank, partition, other, options) for other in present)
    return (
        f"bank {bank}: no key can be compared with this query ({partition}). The bank holds: {held}. "
        "Use the sources' backbone and recipe, or train sources with this one"
    )


def _difference(bank: Bank, mine: Partition, other: Partition, options: Mapping[str, Any]) -> str:
    """A partition of the bank by what it differs in: fields of the recipe where they are known, else its digests."""
    held = bank.recipe_options(other)
    known = mine.fingerprint == other.fingerprint and all(set(SHAPING) <= one.keys() for one in (held, options))
    fields = differing(held, options) if known else {}
    if not fields:
        return str(other)
    told = [f"{name.replace('_', ' ')} {theirs}, not {asked}" for name, (theirs, asked) in fields.items()]
    return f"keys with {', '.join(told)}"
