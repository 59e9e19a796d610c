"""Transfer to a target: query, retrieval, candidates, choice, and the baseline (Vu et al. 2022, section 4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from bank import CandidateRecord, StoredRun, TransferRecord
from spot.errors import SpotError
from spot.retrieval.rank import Ranked, Retriever, checked_aggregate, weights
from spot.retrieval.similarity import checked_measure
from spot.transfer.runs import Trainer
from tasks.task import Task

METHODS = ("best",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """How sources are found and used.

    Attributes:
        method: ``best`` trains the target once from each of the k best sources and keeps the best on dev.
        similarity: measure that ranks.
        top_k: sources tried.
        aggregate: over the seeds of a source task, see :data:`spot.retrieval.rank.AGGREGATES`.
        baseline: also train without transfer at the same budget; its key then serves as the query.
    """

    method: str = "best"
    similarity: str = "average"
    top_k: int = 3
    aggregate: str = "mean"
    baseline: bool = True

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SpotError(f"transfer method {self.method!r} is not known; choose from {', '.join(METHODS)}")
        checked_measure(self.similarity)
        checked_aggregate(self.aggregate)
        if self.top_k < 1:
            raise SpotError(f"top-k must be at least 1, found {self.top_k}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transferred:
    """Outcome of one transfer with one seed.

    Attributes:
        ranked: every source of the bank, best first.
        candidates: target runs from the k best sources, in their order.
        chosen: index of the candidate that is best on dev (ties: the more similar source).
        baseline: the target run without transfer, if asked for.
        outcome_test: test metrics of the chosen candidate.
        baseline_test: test metrics of the baseline.
        digest: of the transfer in the bank.
    """

    target: str
    seed: int
    query: StoredRun
    ranked: Sequence[Ranked]
    candidates: Sequence[StoredRun]
    chosen: int
    outcome_test: Mapping[str, float]
    baseline: StoredRun | None
    baseline_test: Mapping[str, float] | None
    digest: str


def run_transfer(trainer: Trainer, target: Task, *, seed: int, options: TransferOptions) -> Transferred:
    """Find the best sources for ``target`` in the trainer's bank, train from them, and record it all.

    The query is the key of the baseline run, which starts like any source; without a baseline it is a run of its
    own that ends at the key step. The target's own prompts are never among the sources.

    Raises:
        RetrievalError: no comparable source in the bank.
        SpotError: what training raises.
    """
    bank = trainer.bank
    retriever = Retriever(bank, trainer.partition, exclude=[target.name])  # fails before anything trains
    query = trainer.run(target, seed=seed, role="baseline" if options.baseline else "query")
    assert query.key is not None
    ranked = retriever.rank(bank.prompt(query.key), measure=options.similarity, aggregate=options.aggregate)
    used = ranked[: options.top_k]
    candidates = [trainer.run(target, seed=seed, role="transfer", start=source.value) for source in used]
    chosen = max(range(len(candidates)), key=lambda i: candidates[i].score)
    baseline = query if options.baseline else None
    outcome_test = trainer.test(target, candidates[chosen])
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
            chosen_run=candidates[chosen].digest,
            outcome_metrics=outcome_test,
            baseline_metrics=baseline_test,
            candidates=[
                CandidateRecord(
                    source_run=source.run,
                    similarity=source.similarity,
                    weight=weight,
                    run=run.digest,
                    score=run.score,
                )
                for source, weight, run in zip(used, weights(used), candidates, strict=True)
            ],
        )
    )
    return Transferred(
        target=target.name,
        seed=seed,
        query=query,
        ranked=ranked,
        candidates=candidates,
        chosen=chosen,
        outcome_test=outcome_test,
        baseline=baseline,
        baseline_test=baseline_test,
        digest=digest,
    )
