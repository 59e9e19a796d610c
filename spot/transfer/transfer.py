"""Transfer to a target: query, retrieval, training from sources, choice, and the baseline (Vu et al. 2022)."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence

from bank import CandidateRecord, Evaluation, StoredRun, TransferRecord
from spot.errors import RetrievalError, SpotError
from spot.retrieval.measures import AUTO, checked_measure, compares_query
from spot.retrieval.rank import Ranked, Retriever, checked_aggregate
from spot.training.settings import SEEDS
from spot.transfer.gain import Gain, gain_over
from spot.transfer.methods import METHODS, Candidate, FindTask, Selection, start_steps
from spot.transfer.planner import RunSpec
from spot.transfer.runs import Ended, Trainer
from spot.transfer.sources import Ranking, left_out, rank_for, retriever_for
from tasks import Split, Task, get_learnable
from tasks.choices import choose
from tasks.task import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """How sources are found and used.

    Attributes:
        method: name in :data:`spot.transfer.methods.METHODS`.
        similarity: measure that ranks.
        top_k: sources used (by ``oracle`` all, by ``generic`` one).
        aggregate: over the seeds of a source task, see :data:`spot.retrieval.rank.AGGREGATES`.
        baseline: also train without transfer at the same budget; its key then serves as the query, unless the sources
            were trained by another recipe.
        restarts: runs without transfer a seed, of which the best on dev is a control of its own: as many as ``top_k``
            cost what the best of the sources costs.
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
    restarts: int = 1
    budget: str = "full"
    source: str = ""
    allow_overlap: bool = False

    def __post_init__(self) -> None:
        method = METHODS[choose(self.method, METHODS, "transfer method", error=SpotError)]
        checked_measure(self.similarity)
        checked_aggregate(self.aggregate)
        if self.top_k < 1:
            raise SpotError(f"top-k must be at least 1, found {self.top_k}")
        if not 1 <= self.restarts <= SEEDS:
            raise SpotError(f"restarts must be 1 to {SEEDS}, found {self.restarts}")
        if self.restarts > 1 and not self.baseline:
            raise SpotError("restarts are runs without transfer; they cannot do without a baseline")
        choose(self.budget, BUDGETS, "budget", error=SpotError)
        if self.budget == "halving" and not method.chooses:
            choosing = ", ".join(name for name, method in METHODS.items() if method.chooses)
            raise SpotError(
                f"budget halving chooses among sources, as the methods {choosing} do, not {self.method}"
            )
        if not method.retrieves and not self.baseline:
            raise SpotError(f"method {self.method} is the baseline; it cannot do without")
        if method.names_source and not self.source:
            raise SpotError(
                f"method {self.method} needs a source, the bank's task or mixture to start from; give --source"
            )
        if self.source and not method.names_source:
            naming = ", ".join(name for name, method in METHODS.items() if method.names_source)
            raise SpotError(
                f"source {self.source!r} is for method {naming}, no other takes one; leave it out"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transferred:
    """Outcome of one transfer with one seed.

    Attributes:
        target: the task's name.
        seed: of its runs.
        query: the run whose key is the query.
        similarity: the measure that ranked, where ``auto`` was asked for the one it stood for.
        ranked: every source of the bank, best first.
        cautions: what makes the ranking doubtful, a line each.
        left_out: sources of the bank that share texts with the target.
        candidates: sources used and what came of the target's runs from them, in the order of the ranking.
        chosen: index of the candidate that is best on dev (ties: the more similar source); ``None`` where training
            without transfer was chosen, by method ``none`` or because it won under the budget ``halving``.
        chosen_run: that candidate's run, or the one without transfer.
        baseline: the target run without transfer, if asked for.
        outcome_test: test metrics and answers of the chosen run.
        baseline_test: of the baseline.
        restarts: the baseline and its restarts, where there are any.
        restarts_best: the best of them on dev.
        restarts_test: test metrics and answers of that.
        floor: scores of the most frequent training answer on dev and test: what lies below has not learnt the task.
        steps: optimiser steps that the choice took: of all candidates and of what made their starts, and of training
            without transfer where that was one of them.
        digest: of the transfer in the bank.
        partial: whether the target's splits were cut because published parts are missing.
        task: the target.
        examples: its test examples.
    """

    target: str
    seed: int
    query: StoredRun
    similarity: str
    ranked: Sequence[Ranked]
    cautions: Sequence[str]
    left_out: Sequence[str]
    candidates: Sequence[Candidate]
    chosen: int | None
    chosen_run: StoredRun
    outcome_test: Evaluation
    baseline: StoredRun | None
    baseline_test: Evaluation | None
    restarts: Sequence[StoredRun]
    restarts_best: StoredRun | None
    restarts_test: Evaluation | None
    floor: Mapping[str, float]
    steps: int
    digest: str
    partial: bool
    task: Task = dataclasses.field(repr=False, compare=False)
    examples: Sequence[Example] = dataclasses.field(repr=False, compare=False)

    @functools.cached_property
    def gain(self) -> Gain | None:
        """What transfer gave with this seed, see :func:`gain_of`; computed when first asked for."""
        return gain_of([self])


def gain_of(results: Sequence[Transferred]) -> Gain | None:
    """The gain of a target's transfers over its baselines, one pair a seed; ``None`` where there is nothing to compare:
    no baseline was trained, or no source used."""
    return _gain(results, [result.baseline_test for result in results], "without transfer")


def gain_over_restarts(results: Sequence[Transferred]) -> Gain | None:
    """The same over the best of several restarts, the control of equal cost; ``None`` also without restarts."""
    controls = [result.restarts_test for result in results]
    return _gain(results, controls, f"best of {len(results[0].restarts)} restarts")


def _gain(
    results: Sequence[Transferred], controls: Sequence[Evaluation | None], control: str
) -> Gain | None:
    pairs = [
        (result.outcome_test, without)
        for result, without in zip(results, controls, strict=True)
        if result.candidates and without
    ]
    if not pairs:
        return None
    first = results[0]
    with_transfer, without = zip(*pairs, strict=True)
    floor = first.floor[Split.TEST.value]
    return gain_over(
        first.task, first.examples, with_transfer, without, floor=floor, control=control
    )


def restart_seeds(seeds: Sequence[int], restarts: int) -> dict[int, list[int]]:
    """Seeds of the restarts of every seed: its own, and others that no other seed has."""
    further = max(restarts, 1) - 1
    begin = max(seeds) + 1
    return {
        seed: [seed, *range(begin + place * further, begin + (place + 1) * further)]
        for place, seed in enumerate(seeds)
    }


def run_transfer(
    trainer: Trainer,
    target: Task,
    *,
    seed: int,
    options: TransferOptions,
    find_task: FindTask = get_learnable,
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

    The query is the key of the baseline run, which starts like any source. Without a baseline, or where the target is
    trained by another recipe than the sources, it is a run of its own, by the sources' recipe up to its key step.
    The target's own prompts, and mixtures that hold it, are never among the sources, nor, unless allowed, tasks known
    to share texts with it (:mod:`tasks.overlaps`).
    All seeds train together: first the queries, then what a method needs, then the target from all its starts.

    Args:
        trainer: of the backbone, the target's recipe and the sources'; its bank holds the sources.
        target: the task.
        seeds: of the target's runs.
        options: how.
        find_task: gives a source's task or mixture by name, for ``mixture``, which trains on its data again.

    Raises:
        RetrievalError: no comparable source in the bank, or not the one asked for.
        TrainingError: a method that does not know what to do with prompts of the sources' form.
        SpotError: what training raises.
    """
    method, asking = METHODS[options.method], trainer.querying
    # fails before anything trains
    training = method.training(trainer)
    retriever = retriever_of(asking, target, options) if method.retrieves else None
    restarts: list[list[StoredRun]] = [[] for _ in seeds]
    if options.baseline:
        specs_of_restarts = baseline_specs(trainer, target, seeds, options)
        runs = iter(trainer.run_all(specs_of_restarts))
        restarts = [list(itertools.islice(runs, options.restarts)) for _ in seeds]
    baselines = [alone[0] if alone else None for alone in restarts]
    queries = [run for run in baselines if run]
    if queries_apart(trainer, options):
        queries = asking.run_all([asking.spec(target, seed, "query") for seed in seeds])
    selections = [
        select(asking, target, retriever, options, Selection(seed, query, baseline))
        for seed, query, baseline in zip(seeds, queries, baselines, strict=True)
    ]
    started = method.starts(trainer, target, selections, find_task)
    specs = [
        [
            training.spec(target, selection.seed, "transfer", candidate.start)
            for candidate in candidates
        ]
        for selection, candidates in zip(selections, started, strict=True)
    ]
    ends = BUDGETS[options.budget](training, target, specs)
    choices = [
        _choose(selection, candidates, ended)
        for selection, candidates, ended in zip(selections, started, ends, strict=True)
    ]
    chosen = [choice.chosen_run for choice in choices]
    without = [run for alone in restarts if alone for run in (alone[0], _best(alone))]
    if training is trainer:  # in one pass
        tested = _tested(trainer, target, [*chosen, *without])
    else:
        tested = _tested(training, target, chosen) | _tested(trainer, target, without)
    return [
        _record(trainer, target, options, choice, alone, tested)
        for choice, alone in zip(choices, restarts, strict=True)
    ]


def _tested(trainer: Trainer, target: Task, runs: Sequence[StoredRun]) -> dict[str, Evaluation]:
    """What runs answer to the target's test split, by their digests."""
    tests = zip(runs, trainer.test_all(target, runs), strict=True)
    return {run.digest: evaluation for run, evaluation in tests}


def baseline_specs(
    trainer: Trainer, target: Task, seeds: Sequence[int], options: TransferOptions
) -> list[RunSpec]:
    """All runs without transfer, seed by seed, each followed by its restarts."""
    restarts = restart_seeds(seeds, options.restarts)
    return [trainer.spec(target, each, "baseline") for seed in seeds for each in restarts[seed]]


def retriever_of(trainer: Trainer, target: Task, options: TransferOptions) -> Retriever:
    """What ranks the bank's sources for a target.

    Raises:
        RetrievalError: no comparable source in the bank, or not the one asked for.
    """
    retriever = retriever_for(trainer, target, allow_overlap=options.allow_overlap)
    known = retriever.key_set.tasks
    if options.source in left_out(trainer, target, retriever):
        raise RetrievalError(
            f"source {options.source!r} is left out: its training texts may hold test examples of {target.name}; "
            "choose another, or give --allow-overlap"
        )
    if options.source and options.source not in known:
        raise RetrievalError(
            f"no comparable source {options.source!r} in the bank, which has {', '.join(known)}"
        )
    return retriever


def queries_apart(trainer: Trainer, options: TransferOptions) -> bool:
    """Whether queries are runs of their own, since no baseline is one: it is trained otherwise than the sources, and
    the measure compares queries; or there is none, and the record needs a run that stands for the target."""
    compared = trainer.querying is not trainer and compares_query(options.similarity)
    return METHODS[options.method].retrieves and (compared or not options.baseline)


def select(
    asking: Trainer,
    target: Task,
    retriever: Retriever | None,
    options: TransferOptions,
    known: Selection,
) -> Selection:
    """Rank the sources for one seed, whose query and baseline are known, and take those that the method wants."""
    if retriever is None:
        return known._replace(ranking=Ranking(similarity=options.similarity))
    ranking = rank_for(
        asking,
        target,
        retriever,
        known.query,
        similarity=options.similarity,
        aggregate=options.aggregate,
    )
    sources = METHODS[options.method].sources(ranking.ranked, options.top_k, options.source)
    return known._replace(ranking=ranking, sources=sources)


# -- budgets -------------------------------------------------------------------------------------------------


def _full(trainer: Trainer, target: Task, specs: Sequence[Sequence[RunSpec]]) -> list[list[Ended]]:
    """Every run to its end."""
    runs = iter(trainer.run_all(list(itertools.chain.from_iterable(specs))))
    return [
        [Ended(run, run.score, run.steps) for run in itertools.islice(runs, len(of_seed))]
        for of_seed in specs
    ]


def _halving(
    trainer: Trainer, target: Task, specs: Sequence[Sequence[RunSpec]]
) -> list[list[Ended]]:
    """Successive halving of every seed's runs, among which one without transfer competes, as the last."""
    return trainer.race(
        [[*of_seed, trainer.spec(target, of_seed[0].seed, "baseline")] for of_seed in specs]
    )


BUDGETS: dict[str, Callable[[Trainer, Task, Sequence[Sequence[RunSpec]]], list[list[Ended]]]] = {
    "full": _full,
    "halving": _halving,
}
"""What is spent on choosing among sources, by name: given the runs of every seed, what became of each, and behind them
of what competes without being a source's."""


# -- the choice ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Choice:
    """One seed of a transfer when its runs have ended.

    Attributes:
        selection: what it began with.
        candidates: with what came of each.
        ends: of all runs that competed: of the candidates, and behind them of those without a source.
        best: which of them is the best on dev among those that went to their end; ties: the first.
        chosen_run: its run.
    """

    selection: Selection
    candidates: Sequence[Candidate]
    ends: Sequence[Ended]
    best: int
    chosen_run: StoredRun

    @property
    def steps(self) -> int:
        """Steps of all runs, each counted once, and of what made their starts."""
        runs = {
            ended.run.digest if ended.run else i: ended.steps for i, ended in enumerate(self.ends)
        }
        return start_steps(self.candidates) + sum(runs.values())


def _choose(selection: Selection, started: Sequence[Candidate], ends: Sequence[Ended]) -> Choice:
    candidates = [
        dataclasses.replace(start, ended=ended) for start, ended in zip(started, ends, strict=False)
    ]
    alone = selection.baseline or selection.query
    competing = ends or [Ended(alone, alone.score, alone.steps)]
    whole = [(i, ended.run) for i, ended in enumerate(competing) if ended.run]
    best, chosen_run = max(whole, key=lambda numbered: numbered[1].score)
    return Choice(selection, candidates, competing, best, chosen_run)


def _best(runs: Sequence[StoredRun]) -> StoredRun:
    """The best on dev; ties: the first."""
    return max(runs, key=lambda run: run.score)


def _record(
    trainer: Trainer,
    target: Task,
    options: TransferOptions,
    choice: Choice,
    restarts: Sequence[StoredRun],
    tested: Mapping[str, Evaluation],
) -> Transferred:
    """Report what was chosen, and put it into the bank."""
    selection, ranking = choice.selection, choice.selection.ranking
    baseline = selection.baseline
    data = trainer.data(target)
    restarted = _best(restarts) if len(restarts) > 1 else None
    transferred = Transferred(
        target=target.name,
        seed=selection.seed,
        query=selection.query,
        similarity=ranking.similarity,
        ranked=ranking.ranked,
        cautions=ranking.cautions,
        left_out=ranking.left_out,
        candidates=choice.candidates,
        chosen=choice.best if choice.best < len(choice.candidates) else None,
        chosen_run=choice.chosen_run,
        outcome_test=tested[choice.chosen_run.digest],
        baseline=baseline,
        baseline_test=tested[baseline.digest] if baseline else None,
        restarts=restarts if restarted else (),
        restarts_best=restarted,
        restarts_test=tested[restarted.digest] if restarted else None,
        floor={split.value: data.floor(split) for split in (Split.DEV, Split.TEST)},
        steps=choice.steps,
        digest="",
        partial=data.partial,
        task=target,
        examples=data[Split.TEST].examples,
    )
    digest = trainer.bank.record_transfer(transfer_record(transferred, options))
    return dataclasses.replace(transferred, digest=digest)


def transfer_record(transferred: Transferred, options: TransferOptions) -> TransferRecord:
    """A transfer as the bank stores it."""
    baseline = transferred.baseline_test
    return TransferRecord(
        task=transferred.target,
        method=options.method,
        similarity=transferred.similarity,
        single=METHODS[options.method].single,
        seed=transferred.seed,
        metric="score",
        query_run=transferred.query.digest,
        baseline_run=transferred.baseline.digest if transferred.baseline else None,
        chosen_run=transferred.chosen_run.digest,
        outcome_metrics=transferred.outcome_test.metrics,
        baseline_metrics=baseline.metrics if baseline else None,
        budget=options.budget,
        aggregate=options.aggregate,
        allow_overlap=options.allow_overlap,
        floor=transferred.floor[Split.TEST.value],
        steps=transferred.steps,
        candidates=[
            CandidateRecord(
                source_run=candidate.source.run,
                similarity=candidate.source.similarity,
                weight=candidate.weight,
                run=candidate.run.digest if candidate.run else None,
                score=candidate.score,
                steps=candidate.steps,
            )
            for candidate in transferred.candidates
        ],
    )
