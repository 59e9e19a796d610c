"""Rank a bank's keys against a query prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bank import Bank, Partition
from bank.identity import SHAPING, differing
from spot.errors import RetrievalError
from spot.retrieval.bootstrap import Estimate
from spot.retrieval.history import expected_gains, learn
from spot.retrieval.keys import Context, KeySet, Segments
from spot.retrieval.measures import AUTO, MEASURES, checked_measure, resolved_measure
from spot.retrieval.query import Query, as_query
from spot.retrieval.similarity import SPOT_MEASURES, rounding
from tasks.choices import choose

AGGREGATES = ("mean", "max", "none")
"""Over the seeds that all source tasks share: mean or best similarity ranks tasks; ``none`` ranks every prompt by
itself."""

NOISE = 3.0
"""Cosines of random directions in ``H`` dimensions lie within so many times ``H ** -0.5`` of zero."""


Combine = Callable[[Segments, np.ndarray], np.ndarray]


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
        similarities: SPoT's two similarities, where there is a query, and what ranked it, aggregated alike.
        expected: expected gain over no transfer, for the measure ``evidence``.
    """

    rank: int
    task: str
    seed: int
    run: str
    value: str
    similarity: float
    similarities: Mapping[str, float]
    expected: Estimate | None = None


class Retriever:
    """Ranks the sources of a bank for queries of one partition.

    Which keys there are is read once, and their vectors when a measure first asks for them; make a new retriever to see
    later runs.

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
        self.key_set = KeySet.from_bank(bank, partition, exclude=exclude, context=context)
        self.keys = self.key_set.keys
        if not len(self.keys):
            raise RetrievalError(_no_keys(bank, partition, exclude, options or {}))

    def measure(self, name: str, query: Query | np.ndarray | None) -> str:
        """The measure that ``name`` stands for with this query ``[..., P, H]``; ``auto`` depends on known starts.

        Raises:
            RetrievalError: an unknown name.
        """
        return resolved_measure(checked_measure(name), _as_query(query), self.key_set)

    def rank(
        self,
        query: Query | np.ndarray | None,
        *,
        measure: str = AUTO,
        top_k: int | None = None,
        aggregate: str = "mean",
    ) -> list[Ranked]:
        """Sources by falling similarity to a query ``[..., P, H]``; ties by task name and seed.

        A measure that does not look at the query ranks without one, which is given as ``None``.
        A task's similarity is aggregated over the seeds that all sources share, as SPoT averages over all pairs of
        seeds, so that no source is nearer for having been trained from the query's own start; measures that do not
        depend on starts take every seed. See :meth:`cautions` for what that cannot mend.

        Raises:
            RetrievalError: unknown measure or aggregate, ``top_k`` below 1, a query of another shape, or a measure
                that needs more than the bank.
        """
        query = _as_query(query)
        if query:
            self._check(query)
        name = self.measure(measure, query)
        checked_aggregate(aggregate)
        if top_k is not None and top_k < 1:
            raise RetrievalError(f"top-k must be at least 1, found {top_k}")
        keys = self.key_set
        segments, best = self._segments(name, aggregate)
        combine = Segments.maximum if aggregate == "max" else Segments.mean
        gains = expected_gains(query, keys) if query and name == "evidence" else None
        if gains:
            likely = np.arange(len(segments.begins))
            similarity = combine(segments, gains.mean[keys.numbers])
        else:
            likely = self._likely(name, query, segments, combine, top_k)
            similarity = self._similarity(name, query, segments, likely, combine)
        head = largest(similarity, top_k)
        first = likely[head]
        similarities = {
            each: similarity[head]
            if each == name
            else self._similarity(each, query, segments, first, combine)
            for each in dict.fromkeys((*(SPOT_MEASURES if query else ()), name))
        }
        return [
            Ranked(
                rank=place + 1,
                task=self.keys.tasks[row],
                seed=int(self.keys.seeds[row]),
                run=self.keys.runs[row],
                value=self.keys.values[row],
                similarity=float(similarities[name][place]),
                similarities={each: float(values[place]) for each, values in similarities.items()},
                expected=gains.estimate(keys.numbers[row]) if gains else None,
            )
            for place, row in enumerate(best[first])
        ]

    def _segments(self, measure: str, aggregate: str) -> tuple[Segments, np.ndarray]:
        """What is ranked: keys whose similarities count, and the row of the run that stands for each, int ``[G]``."""
        if aggregate == "none":
            rows = np.arange(len(self.keys))
            return Segments(rows, rows), rows
        return self.key_set.segments(
            every_seed=not MEASURES[measure].shares_starts
        ), self.key_set.best_rows

    def _likely(
        self,
        measure: str,
        query: Query | None,
        segments: Segments,
        combine: Combine,
        count: int | None,
    ) -> np.ndarray:
        """Segments, int ``[g]``, that may be among the ``count`` most similar: all, or those that a quick look at all
        keys leaves, with twice its rounding to spare."""
        everything = np.arange(len(segments.begins))
        quick = MEASURES[measure].quick
        if (
            quick is None
            or query is None
            or count is None
            or count >= len(everything)
            or MEASURES[measure].lacking(query, self.key_set)
        ):
            return everything
        similarity = combine(segments, quick(query, self.key_set))
        if not np.isfinite(similarity).all():  # numbers beyond float32's
            return everything
        least = np.partition(similarity, -count)[-count]
        return np.flatnonzero(similarity >= least - 2 * rounding(self.keys.width))

    def _similarity(
        self,
        measure: str,
        query: Query | None,
        segments: Segments,
        chosen: np.ndarray,
        combine: Combine,
    ) -> np.ndarray:
        """Similarity ``[g]`` of the ``chosen[g]`` segments; only their keys are read, unless all are chosen."""
        chosen_segments = segments.take(chosen)
        if len(chosen) == len(segments.begins):
            return combine(chosen_segments, MEASURES[measure](query, self.key_set))
        some = self.key_set.take(chosen_segments.rows)
        return combine(
            Segments(np.arange(len(some)), chosen_segments.begins), MEASURES[measure](query, some)
        )

    def cautions(
        self, query: Query | np.ndarray | None, *, measure: str = AUTO, aggregate: str = "mean"
    ) -> list[str]:
        """What makes a ranking for a query ``[..., P, H]`` doubtful, a line each.

        That is seeds that sources do not share, a history that is silent, and a query that is like no key.
        """
        query, keys, lines = _as_query(query), self.key_set, []
        name = self.measure(measure, query)
        unequal = not len(keys.shared_seeds) or (
            aggregate == "none" and len(np.unique(self.keys.seeds)) > 1
        )
        if MEASURES[name].shares_starts and unequal and len(keys.tasks) > 1:
            lines.append(
                f"sources of different seeds are compared by {name}, to which runs of one seed are alike whatever "
                "their task; rank by displacement, or train the sources with the same seeds"
            )
        if name == "evidence" and (silence := keys.once(learn).silence):
            lines.append(f"evidence: {silence}")
        if query is None:
            return lines
        nearest = float(np.abs(keys.mean_tokens.cosines(query.average)).max())
        limit = NOISE * self.keys.width**-0.5
        if nearest < min(limit, 0.5):
            lines.append(
                f"the query is as unlike every key as noise is (nearest average {nearest:.2f}, noise stays below "
                f"{limit:.2f}); is it an early prompt of this backbone and recipe?"
            )
        return lines

    def _check(self, query: Query) -> None:
        if query.prompt.shape != self.keys.shape:
            raise RetrievalError(
                f"query has shape {list(query.prompt.shape)}, keys have {list(self.keys.shape)}; "
                "they were made for other backbones, lengths or forms"
            )
        if query.start is not None and query.start.shape != (self.keys.width,):
            raise RetrievalError(
                f"the query's start has shape {list(query.start.shape)}, keys' starts have [{self.keys.width}]; "
                "give the mean token of the prompt that it started from"
            )
        for vector, what in (
            (query.prompt, "the query has"),
            (query.start, "the query's start has"),
        ):
            if vector is not None and not np.isfinite(vector).all():
                raise RetrievalError(f"{what} entries that are NaN or infinite")


def _as_query(query: Query | np.ndarray | None) -> Query | None:
    return None if query is None else as_query(query)


def largest(values: np.ndarray, count: int | None) -> np.ndarray:
    """Places of the ``count`` largest of ``values[n]``, or of all, by falling value; equals in their order."""
    places = np.arange(len(values))
    if count is not None and count < len(values):
        least = np.partition(values, -count)[-count]
        places = np.flatnonzero(values >= least)
    return places[np.argsort(-values[places], kind="stable")][:count]


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
    """One ranking for a query ``[..., P, H]``; see :class:`Retriever`."""
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

    Where none is positive every source weighs the same. Sources that are ranked by what is no similarity
    (``Measure.weighs``) weigh by that of their mean tokens, ``average``.
    """
    positive = [max(0.0, _similarity(source)) for source in ranked]
    total = sum(positive)
    return [value / total if total else 1.0 / len(positive) for value in positive]


def _similarity(source: Ranked) -> float:
    """What a source weighs, before it is held against others'."""
    if all(MEASURES[name].weighs for name in source.similarities):
        return source.similarity
    return source.similarities.get("average", source.similarity)


def _no_keys(
    bank: Bank, partition: Partition, exclude: Sequence[str], options: Mapping[str, Any]
) -> str:
    present = bank.partitions()
    if partition in present:
        held = ", ".join(name for name in bank.sources(partition) if name in exclude)
        return (
            f"bank {bank}: its only sources ({held}) are the target's own or may hold its test texts; train another "
            "source, or give --allow-overlap"
        )
    if not present:
        return f"bank {bank}: holds no source yet; train some with `spot train-source`"
    others = "; ".join(_difference(bank, partition, other, options) for other in present)
    return (
        f"bank {bank}: no key can be compared with this query ({partition}). The bank holds: {others}. "
        "Use the sources' backbone and recipe, or train sources with this one"
    )


def _difference(bank: Bank, mine: Partition, other: Partition, options: Mapping[str, Any]) -> str:
    """A partition of the bank by what it differs in: fields of the recipe where they are known, else its digests."""
    theirs = bank.recipe_options(other)
    known = mine.fingerprint == other.fingerprint and all(
        set(SHAPING) <= recipe.keys() for recipe in (theirs, options)
    )
    fields = differing(theirs, options) if known else {}
    if not fields:
        return str(other)
    told = [
        f"{name.replace('_', ' ')} {value}, not {asked}" for name, (value, asked) in fields.items()
    ]
    return f"keys with {', '.join(told)}"
