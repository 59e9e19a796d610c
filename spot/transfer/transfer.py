"""Transfer to a target: query, retrieval, training from sources, choice, and the baseline (Vu et al. 2022)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bank import CandidateRecord, Evaluation, StoredRun, TransferRecord
from spot.errors import RetrievalError, SpotError
from spot.retrieval.measures import AUTO, checked_measure
from spot.retrieval.rank import Ranked, Retriever, checked_aggregate, weights
from spot.transfer.runs import Contestant, Request, Trainer
from tasks import Mixture, Split, Task, get_learnable
from tasks.choices import choose


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """How sources are found and used.

    Attributes:
        method: name in :data:`METHODS`.
        similarity: measure that ranks.
        top_k: sources used (by ``oracle`` all, by ``generic`` one).
        aggregate: over the seeds of a source task, see :data:`spot.retrieval.rank.AGGREGATES`.
        baseline: also train without transfer at the same budget; its key then serves as the query.
        budget: ``full`` trains from every source to the end; ``halving`` trains from all of them, and without transfer,
            for a little, and keeps halving the field by development score (:mod:`spot.transfer.halving`).
        source: the bank's task or mixture that ``generic`` starts from.
        allow_overlap: also rank sources whose training texts may hold the target's test examples.
    """

    method: str = "best"
    similarity: str = AUTO
    top_k: int = 3
    aggregate: str = "mean"
    baseline: bool = True
    budget: str = "full"
    source: str = ""
    allow_overlap: bool = False

    def __post_init__(self) -> None:
        choose(self.method, METHODS, "transfer method", error=SpotError)
        checked_measure(self.similarity)
        checked_aggregate(self.aggregate)
        if self.top_k < 1:
            raise SpotError(f"top-k must be at least 1, found {self.top_k}")
        choose(self.budget, BUDGETS, "budget", error=SpotError)
        if self.budget == "halving" and not METHODS[self.method].chooses:
            choosing = ", ".join(name for name, method in METHODS.items() if method.chooses)
            raise SpotError(f"budget halving chooses among sources, as the methods {choosing} do, not {self.method}")
        if self.method == "none" and not self.baseline:
            raise SpotError("method none is the baseline; it cannot do without")
        if self.method == "generic" and not self.source:
            raise SpotError("method generic needs a source, the bank's task or mixture to start from; give --source")
        if self.method != "generic" and self.source:
            raise SpotError(f"source {self.source!r} is for method generic, no other takes one; leave it out")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transferred:
    """Outcome of one transfer with one seed.

    Attributes:
        similarity: the measure that ranked, where ``auto`` was asked for the one it stood for.
        ranked: every source of the bank, best first.
        cautions: what makes the ranking doubtful, a line each.
        left_out: sources of the bank that share texts with the target.
        attempts: sources used and what came of the target's runs from them, in the order of the ranking.
        chosen: index of the attempt that is best on dev (ties: the more similar source); ``None`` where training
            without transfer was chosen, by method ``none`` or because it won under the budget ``halving``.
        outcome: the chosen run.
        baseline: the target run without transfer, if asked for.
        outcome_test: test metrics and answers of the chosen run.
        baseline_test: of the baseline.
        floor: scores of the most frequent training answer on dev and test: what lies below has not learnt the task.
        steps: optimiser steps that the choice took: of all attempts and of what made their starts, and of training
            without transfer where that was one of them.
        digest: of the transfer in the bank.
    """

    target: str
    seed: int
    query: StoredRun
    similarity: str
    ranked: Sequence[Ranked]
    cautions: Sequence[str]
    left_out: Sequence[str]
    attempts: Sequence[Attempt]
    chosen: int | None
    outcome: StoredRun
    outcome_test: Evaluation
    baseline: StoredRun | None
    baseline_test: Evaluation | None
    floor: Mapping[str, float]
    steps: int
    digest: str


class Attempt(NamedTuple):
    """A source, its share in the start, and what came of the target's run from there."""

    source: Ranked
    weight: float
    result: Contestant


FindTask = Callable[[str], Task | Mixture]


def run_transfer(
    trainer: Trainer, target: Task, *, seed: int, options: TransferOptions, find_task: FindTask = get_learnable
) -> Transferred:
    """One seed of :func:`run_transfers`."""
    return run_transfers(trainer, target, seeds=[seed], options=options, find_task=find_task)[0]


def run_transfers(
    trainer: Trainer,
    target: Task,
    *,
    seeds: Sequence[int],
    options: TransferOptions,
    find_task: FindTask = get_learnable,
) -> list[Transferred]:
    """Find the best sources for ``target`` in the trainer's bank, train from them, and record it all.

    The query is the key of the baseline run, which starts like any source; without a baseline it is a run of its
    own that ends at the key step. The target's own prompts, and mixtures that hold it, are never among the sources,
    nor, unless allowed, tasks known to share texts with it (:mod:`tasks.overlaps`).
    All seeds train together: first the queries, then what a method needs, then the target from all its starts.

    Args:
        trainer: of the backbone and recipe; its bank holds the sources.
        target: the task.
        seeds: of the target's runs.
        options: how.
        find_task: gives a source's task or mixture by name, for ``mixture``, which trains on its data again.

    Raises:
        RetrievalError: no comparable source in the bank, or not the one asked for.
        SpotError: what training raises.
    """
    method = METHODS[options.method]
    retriever = _retriever(trainer, target, options) if method.retrieves else None  # fails before anything trains
    left_out = _left_out(trainer, target, retriever) if retriever else []
    role = "baseline" if options.baseline else "query"
    queries = trainer.run_all([Request(target, seed, role) for seed in seeds])
    contests = [_contest(trainer, target, retriever, options, *one) for one in zip(seeds, queries, strict=True)]
    jobs = [
        Job(trainer, target, contest.seed, find_task, method.sources(contest.ranked, options)) for contest in contests
    ]
    for contest, starts in zip(contests, method.starts(jobs), strict=True):
        contest.starts = starts
    wanted = [
        [Request(target, contest.seed, "transfer", start.prompt) for start in contest.starts] for contest in contests
    ]
    for contest, results in zip(contests, BUDGETS[options.budget](trainer, wanted), strict=True):
        contest.results = results
    return [_record(trainer, target, options, contest, left_out) for contest in contests]


@dataclasses.dataclass
class Contest:
    """One seed of a transfer under way.

    Attributes:
        seed: of the target's runs.
        query: the run whose key is the query.
        similarity: the measure that ranked.
        ranked: every source, best first.
        cautions: what makes the ranking doubtful.
        starts: prompts that the target starts from.
        results: what came of each, and behind them of runs that compete without being a source's.
    """

    seed: int
    query: StoredRun
    similarity: str
    ranked: Sequence[Ranked]
    cautions: Sequence[str]
    starts: Sequence[Start] = ()
    results: Sequence[Contestant] = ()

    @property
    def attempts(self) -> list[Attempt]:
        """Sources used, and what came of the target's runs from them."""
        pairs = zip(self.starts, self.results, strict=False)
        return [Attempt(start.source, start.weight, result) for start, result in pairs]


def _contest(
    trainer: Trainer, target: Task, retriever: Retriever | None, options: TransferOptions, seed: int, run: StoredRun
) -> Contest:
    if retriever is None:
        return Contest(seed, run, options.similarity, [], [])
    query = trainer.query(target, run)
    similarity = retriever.measure(options.similarity, query)
    ranked = retriever.rank(query, measure=similarity, aggregate=options.aggregate)
    cautions = retriever.cautions(query, measure=similarity, aggregate=options.aggregate)
    return Contest(seed, run, similarity, ranked, cautions)


def _retriever(trainer: Trainer, target: Task, options: TransferOptions) -> Retriever:
    retriever = trainer.retriever(target, allow_overlap=options.allow_overlap)
    known = dict.fromkeys(key.task for key in retriever.keys)
    if options.source and options.source not in known:
        raise RetrievalError(f"no comparable source {options.source!r} in the bank, which has {', '.join(known)}")
    return retriever


def _left_out(trainer: Trainer, target: Task, retriever: Retriever) -> list[str]:
    """Sources of the partition that a retriever does not rank since they share texts with the target."""
    present = set(trainer.bank.sources(trainer.partition))
    return sorted(present - {target.name} - {key.task for key in retriever.keys})


def _full(trainer: Trainer, wanted: Sequence[Sequence[Request]]) -> list[list[Contestant]]:
    """Every run to its end."""
    runs = iter(trainer.run_all([request for requests in wanted for request in requests]))
    return [
        [Contestant(run, run.score, run.steps) for run in itertools.islice(runs, len(requests))] for requests in wanted
    ]


def _halving(trainer: Trainer, wanted: Sequence[Sequence[Request]]) -> list[list[Contestant]]:
    """Successive halving of every seed's runs; one without transfer comes last, as one of them."""
    return trainer.race([[*requests, requests[0]._replace(role="baseline", start=None)] for requests in wanted])


BUDGETS: dict[str, Callable[[Trainer, Sequence[Sequence[Request]]], list[list[Contestant]]]] = {
    "full": _full,
    "halving": _halving,
}
"""What is spent on choosing among sources, by name."""


def _record(
    trainer: Trainer, target: Task, options: TransferOptions, contest: Contest, left_out: Sequence[str]
) -> Transferred:
    """Choose on dev, report on test, and put it into the bank."""
    query, attempts = contest.query, contest.attempts
    baseline = query if options.baseline else None
    contestants = contest.results or [Contestant(query, query.score, query.steps)]
    ended = [(i, contestant.run) for i, contestant in enumerate(contestants) if contestant.run]
    best, outcome = max(ended, key=lambda one: one[1].score)
    chosen = best if best < len(attempts) else None
    trained = {contestant.run.digest if contestant.run else i: contestant for i, contestant in enumerate(contestants)}
    steps = made_by(contest.starts) + sum(contestant.steps for contestant in trained.values())
    outcome_test = trainer.test(target, outcome)
    baseline_test = trainer.test(target, baseline) if baseline else None
    floor = {split.value: trainer.data(target).floor(split) for split in (Split.DEV, Split.TEST)}
    digest = trainer.bank.record_transfer(
        TransferRecord(
            task=target.name,
            method=options.method,
            similarity=contest.similarity,
            single=METHODS[options.method].single,
            seed=contest.seed,
            metric="score",
            query_run=query.digest,
            baseline_run=baseline.digest if baseline else None,
            chosen_run=outcome.digest,
            outcome_metrics=outcome_test.metrics,
            baseline_metrics=baseline_test.metrics if baseline_test else None,
            budget=options.budget,
            aggregate=options.aggregate,
            allow_overlap=options.allow_overlap,
            floor=floor[Split.TEST.value],
            steps=steps,
            candidates=[
                CandidateRecord(
                    source_run=attempt.source.run,
                    similarity=attempt.source.similarity,
                    weight=attempt.weight,
                    run=attempt.result.run.digest if attempt.result.run else None,
                    score=attempt.result.score,
                    steps=attempt.result.steps,
                )
                for attempt in attempts
            ],
        )
    )
    return Transferred(
        target=target.name,
        seed=contest.seed,
        query=query,
        similarity=contest.similarity,
        ranked=contest.ranked,
        cautions=contest.cautions,
        left_out=left_out,
        attempts=attempts,
        chosen=chosen,
        outcome=outcome,
        steps=steps,
        baseline=baseline,
        outcome_test=outcome_test,
        baseline_test=baseline_test,
        floor=floor,
        digest=digest,
    )


# -- methods -------------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """One seed of a target, and the sources that its method takes."""

    trainer: Trainer
    target: Task
    seed: int
    find_task: FindTask
    sources: Sequence[Ranked]


class Start(NamedTuple):
    """A prompt of the bank that the target starts from, and a source's share in it."""

    source: Ranked
    weight: float
    prompt: str
    steps: int = 0
    """Optimiser steps that made the prompt for this target, once for all starts that share it."""


def made_by(starts: Sequence[Start]) -> int:
    """Steps that went into the starts of one seed, each prompt counted once."""
    return sum({start.prompt: start.steps for start in starts}.values())


def from_each(jobs: Sequence[Job]) -> list[list[Start]]:
    """Start once from the value of every source (Vu et al. 2022, "best of top-k")."""
    return [
        [Start(source, weight, source.value) for source, weight in zip(job.sources, weights(job.sources), strict=True)]
        for job in jobs
    ]


def from_average(jobs: Sequence[Job]) -> list[list[Start]]:
    """Start from ``sum_r a_r V_r`` with ``a_r = sim_r / sum_l sim_l`` (Vu et al. 2022, "top-k weighted average").

    Negative similarities count as zero; where none is positive, all sources weigh the same.
    """

    def average(job: Job) -> list[Start]:
        bank, shares = job.trainer.bank, weights(job.sources)
        values = [share * bank.prompt(source.value) for source, share in zip(job.sources, shares, strict=True)]
        address = bank.put(np.sum(values, axis=0))
        return [Start(source, share, address) for source, share in zip(job.sources, shares, strict=True)]

    return [average(job) for job in jobs]


def from_mixture(jobs: Sequence[Job]) -> list[list[Start]]:
    """Train one prompt on the sources' tasks, those of mixtures among them, and the target together.

    The target starts from its value. Vu et al. 2022, "top-k multi-task mixture". A recipe's ``train_limit`` is the
    target's: sources take part with all their examples. That prompt is no source: it has seen the target.
    """

    def request(job: Job) -> Request:
        found = [job.find_task(source.task) for source in job.sources]
        tasks = [task for source in found for task in (source.members if isinstance(source, Mixture) else [source])]
        members = tuple({task.name: task for task in [*tasks, job.target]}.values())
        name = "+".join(task.name for task in members)
        whole = tuple(task.name for task in members if task.name != job.target.name)
        return Request(Mixture(name=name, members=members, whole=whole), job.seed, "transfer")

    mixed = jobs[0].trainer.run_all([request(job) for job in jobs])
    return [
        [Start(source, 1 / len(job.sources), run.value, run.steps) for source in job.sources]
        for job, run in zip(jobs, mixed, strict=True)
    ]


class Method(NamedTuple):
    """A transfer method: which sources it takes of a ranking, and where the target starts for each."""

    sources: Callable[[Sequence[Ranked], TransferOptions], Sequence[Ranked]]
    starts: Callable[[Sequence[Job]], list[list[Start]]]
    retrieves: bool = True
    """Whether the bank is asked at all."""
    chooses: bool = False
    """Whether the target is trained once from each of several sources, and the best run chosen."""
    single: bool = False
    """Whether every run of the target starts from one source."""


def _top(ranked: Sequence[Ranked], options: TransferOptions) -> Sequence[Ranked]:
    return ranked[: options.top_k]


def _all(ranked: Sequence[Ranked], options: TransferOptions) -> Sequence[Ranked]:
    return ranked


def _named(ranked: Sequence[Ranked], options: TransferOptions) -> Sequence[Ranked]:
    return [source for source in ranked if source.task == options.source][:1]


METHODS: dict[str, Method] = {
    "best": Method(_top, from_each, chooses=True, single=True),
    "average": Method(_top, from_average),
    "mixture": Method(_top, from_mixture),
    "generic": Method(_named, from_each, single=True),
    "oracle": Method(_all, from_each, chooses=True, single=True),
    "none": Method(_top, from_each, retrieves=False),
}
"""Methods by name."""
