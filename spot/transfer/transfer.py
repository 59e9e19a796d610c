"""Transfer to a target: query, retrieval, training from sources, choice, and the baseline (Vu et al. 2022)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bank import CandidateRecord, StoredRun, TransferRecord
from spot.errors import RetrievalError, SpotError
from spot.retrieval.rank import Ranked, Retriever, checked_aggregate, weights
from spot.retrieval.similarity import checked_measure
from spot.transfer.runs import Trainer
from tasks import Mixture, Task, get_task


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """How sources are found and used.

    Attributes:
        method: name in :data:`METHODS`.
        similarity: measure that ranks.
        top_k: sources used (by ``oracle`` all, by ``generic`` one).
        aggregate: over the seeds of a source task, see :data:`spot.retrieval.rank.AGGREGATES`.
        baseline: also train without transfer at the same budget; its key then serves as the query.
        source: the bank's task or mixture that ``generic`` starts from.
    """

    method: str = "best"
    similarity: str = "average"
    top_k: int = 3
    aggregate: str = "mean"
    baseline: bool = True
    source: str = ""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SpotError(f"transfer method {self.method!r} is not known; choose from {', '.join(METHODS)}")
        checked_measure(self.similarity)
        checked_aggregate(self.aggregate)
        if self.top_k < 1:
            raise SpotError(f"top-k must be at least 1, found {self.top_k}")
        if (self.method == "generic") != bool(self.source):
            raise SpotError(
                "method generic needs a source, the bank's task or mixture to start from; no other takes one"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transferred:
    """Outcome of one transfer with one seed.

    Attributes:
        ranked: every source of the bank, best first.
        attempts: sources used and the target's runs from them, in the order of the ranking.
        chosen: index of the attempt that is best on dev (ties: the more similar source).
        baseline: the target run without transfer, if asked for.
        outcome_test: test metrics of the chosen run.
        baseline_test: test metrics of the baseline.
        digest: of the transfer in the bank.
    """

    target: str
    seed: int
    query: StoredRun
    ranked: Sequence[Ranked]
    attempts: Sequence[Attempt]
    chosen: int
    outcome_test: Mapping[str, float]
    baseline: StoredRun | None
    baseline_test: Mapping[str, float] | None
    digest: str


class Attempt(NamedTuple):
    """A source, its share in the start, and the target's run from there."""

    source: Ranked
    weight: float
    run: StoredRun


FindTask = Callable[[str], Task]


def run_transfer(
    trainer: Trainer, target: Task, *, seed: int, options: TransferOptions, find_task: FindTask = get_task
) -> Transferred:
    """Find the best sources for ``target`` in the trainer's bank, train from them, and record it all.

    The query is the key of the baseline run, which starts like any source; without a baseline it is a run of its
    own that ends at the key step. The target's own prompts, and mixtures that hold it, are never among the sources.

    Args:
        trainer: of the backbone and recipe; its bank holds the sources.
        target: the task.
        seed: of the target's runs.
        options: how.
        find_task: gives a source task by name, for ``mixture``, which trains on its data again.

    Raises:
        RetrievalError: no comparable source in the bank, or not the one asked for.
        SpotError: what training raises.
    """
    bank = trainer.bank
    retriever = Retriever(bank, trainer.partition, exclude=[target.name])  # fails before anything trains
    known = dict.fromkeys(key.task for key in retriever.keys)
    if options.source and options.source not in known:
        raise RetrievalError(f"no comparable source {options.source!r} in the bank, which has {', '.join(known)}")
    query = trainer.run(target, seed=seed, role="baseline" if options.baseline else "query")
    assert query.key is not None
    ranked = retriever.rank(bank.prompt(query.key), measure=options.similarity, aggregate=options.aggregate)
    method = METHODS[options.method]
    attempts = method.train(Job(trainer, target, seed, find_task), method.sources(ranked, options))
    chosen = max(range(len(attempts)), key=lambda i: attempts[i].run.score)
    outcome = attempts[chosen].run
    baseline = query if options.baseline else None
    outcome_test = trainer.test(target, outcome)
    baseline_test = trainer.test(target, baseline) if baseline else None
    digest = bank.record_transfer(
        TransferRecord(
            task=target.name,
            method=options.method,
            similarity=options.similarity,
            seed=seed,
            metric="score",
            query_run=query.digest,
            baseline_run=baseline.digest if baseline else None,
            chosen_run=outcome.digest,
            outcome_metrics=outcome_test,
            baseline_metrics=baseline_test,
            candidates=[
                CandidateRecord(
                    source_run=attempt.source.run,
                    similarity=attempt.source.similarity,
                    weight=attempt.weight,
                    run=attempt.run.digest,
                    score=attempt.run.score,
                )
                for attempt in attempts
            ],
        )
    )
    return Transferred(
        target=target.name,
        seed=seed,
        query=query,
        ranked=ranked,
        attempts=attempts,
        chosen=chosen,
        baseline=baseline,
        outcome_test=outcome_test,
        baseline_test=baseline_test,
        digest=digest,
    )


# -- methods -------------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """Whose runs a method trains."""

    trainer: Trainer
    target: Task
    seed: int
    find_task: FindTask

    def run(self, start: str) -> StoredRun:
        """The target's run from a prompt of the bank."""
        return self.trainer.run(self.target, seed=self.seed, role="transfer", start=start)


def from_each(job: Job, sources: Sequence[Ranked]) -> list[Attempt]:
    """Train the target once from the value of every source (Vu et al. 2022, "best of top-k")."""
    return [
        Attempt(source, weight, job.run(source.value)) for source, weight in zip(sources, weights(sources), strict=True)
    ]


def from_average(job: Job, sources: Sequence[Ranked]) -> list[Attempt]:
    """Start from ``sum_r a_r V_r`` with ``a_r = sim_r / sum_l sim_l`` (Vu et al. 2022, "top-k weighted average").

    Negative similarities count as zero; where none is positive, all sources weigh the same.
    """
    bank, shares = job.trainer.bank, weights(sources)
    values = [share * bank.prompt(source.value) for source, share in zip(sources, shares, strict=True)]
    run = job.run(bank.put(np.sum(values, axis=0)))
    return [Attempt(source, share, run) for source, share in zip(sources, shares, strict=True)]


def from_mixture(job: Job, sources: Sequence[Ranked]) -> list[Attempt]:
    """Train one prompt on the sources' tasks and the target together, then the target from its value.

    Vu et al. 2022, "top-k multi-task mixture". That prompt is no source: it has seen the target.
    """
    members = [*dict.fromkeys(source.task for source in sources)]
    tasks = [job.find_task(name) for name in members]
    mixture = Mixture(name="+".join([*members, job.target.name]), members=(*tasks, job.target))
    run = job.run(job.trainer.run(mixture, seed=job.seed, role="transfer").value)
    return [Attempt(source, 1 / len(sources), run) for source in sources]


class Method(NamedTuple):
    """A transfer method: which sources it takes of the ranking, and how it trains from them."""

    sources: Callable[[Sequence[Ranked], TransferOptions], Sequence[Ranked]]
    train: Callable[[Job, Sequence[Ranked]], list[Attempt]]
    summary: str


def _top(ranked: Sequence[Ranked], options: TransferOptions) -> Sequence[Ranked]:
    return ranked[: options.top_k]


def _all(ranked: Sequence[Ranked], options: TransferOptions) -> Sequence[Ranked]:
    return ranked


def _named(ranked: Sequence[Ranked], options: TransferOptions) -> Sequence[Ranked]:
    return [source for source in ranked if source.task == options.source][:1]


METHODS: dict[str, Method] = {
    "best": Method(_top, from_each, "train from each of the k best, keep the best on dev"),
    "average": Method(_top, from_average, "train from the weighted average of the k best"),
    "mixture": Method(_top, from_mixture, "train a prompt on the k best tasks and the target, then go on from it"),
    "generic": Method(_named, from_each, "train from one named source, such as a mixture"),
    "oracle": Method(_all, from_each, "train from every source, keep the best on dev"),
}
"""Methods by name."""
