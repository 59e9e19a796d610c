"""Train what a study needs, and gather what it found. All of it lies in the bank, so a second call goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bank import Evaluation, StoredRun
from spot.retrieval.bootstrap import Estimate
from spot.retrieval.evaluate import Calibration, Case, calibration, cases_of_bank, evaluate, telling
from spot.retrieval.measures import KeySet
from spot.study.baselines import MOST_FREQUENT, baselines
from spot.study.plan import StudyPlan
from spot.transfer.halving import replay
from spot.transfer.methods import FindTask
from spot.transfer.runs import Trainer
from spot.transfer.sources import context_of
from spot.transfer.transfer import TransferOptions, Transferred, run_transfers
from tasks import get_learnable
from tasks.task import Example, Split, Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
    """A target's run, from a source or from none."""

    dev: float
    test: Evaluation
    history: Sequence[Mapping[str, float]]
    """One row an evaluation: step, training loss, development metrics."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A target with one seed: what every source gave it, and what each measure held of that before.

    Attributes:
        target: its name.
        family: its family.
        seed: its seed.
        query: early prompt ``[P, H]``.
        baseline: without transfer.
        sources: from every source alone, by name.
        worth: every measure's score of every source; higher is held to be better.
        others: runs of further methods by name, and the training steps that each took.
    """

    target: str
    family: str
    seed: int
    query: np.ndarray
    baseline: Tried
    sources: Mapping[str, Tried]
    worth: Mapping[str, Mapping[str, float]]
    others: Mapping[str, tuple[Tried, int]]

    def head(self, measure: str, k: int) -> list[str]:
        """The first k sources by a measure."""
        return sorted(self.sources, key=lambda source: -self.worth[measure][source])[:k]

    def best(self, sources: Sequence[str]) -> Tried:
        """The best of these on dev; ties: the first."""
        return max((self.sources[source] for source in sources), key=lambda tried: tried.dev)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sized:
    """A target with so many training examples: test scores over seeds without and with transfer."""

    target: str
    size: int
    without: Sequence[float]
    with_transfer: Sequence[float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """All that a study found.

    Attributes:
        plan: what was asked for.
        trials: targets and seeds.
        tasks: the targets.
        examples: test examples of every target.
        baselines: of every target without any prompt, by name and split; see :mod:`spot.study.baselines`.
        keys: mean key ``[H]`` of every source, over seeds.
        retrieval: figures of every measure and baseline.
        calibration: of the measure ``evidence``, if it was judged.
        sized: gain against target size.
        steps: of a full run.
        evaluate_every: steps between evaluations.
    """

    plan: StudyPlan
    trials: Sequence[Trial]
    tasks: Mapping[str, Task]
    examples: Mapping[str, Sequence[Example]]
    baselines: Mapping[str, Mapping[str, Mapping[Split, Evaluation]]]
    keys: Mapping[str, np.ndarray]
    retrieval: Mapping[str, Mapping[str, Estimate]]
    calibration: Calibration | None
    sized: Sequence[Sized]
    steps: int
    evaluate_every: int

    def floor(self, target: str, split: Split) -> float:
        """Score of a target's most frequent training answer."""
        return self.baselines[target][MOST_FREQUENT][split].metrics["score"]


def run_study(
    plan: StudyPlan,
    sources: Sequence[Any],
    targets: Sequence[Task],
    *,
    trainer: Trainer,
    trainer_of_size: Callable[[int], Trainer],
    say: Callable[[str], None] = lambda _line: None,
) -> Findings:
    """Train sources and targets of a plan into the trainer's bank, unless they are there, and gather the findings.

    Args:
        plan: what to do.
        sources: its source tasks and mixtures.
        targets: its targets.
        trainer: of the sources, on all their training examples.
        trainer_of_size: gives a trainer on so many training examples of the same bank and recipe.
        say: told of every part that begins.

    Raises:
        Interrupted: a signal stopped training; the same call goes on.
        SpotError: what training and retrieval raise.
    """
    say(f"{len(sources)} sources x {plan.source_seeds} seeds")
    trainer.run_all([trainer.spec(task, seed, "source") for task in sources for seed in range(plan.source_seeds)])
    of_target = trainer_of_size(plan.train_limit)
    own = {task.name: task for task in [*sources, *targets]}

    def find_task(name: str) -> Any:
        return own.get(name) or get_learnable(name)

    oracles = {}
    for target in targets:
        say(f"{target.name}: from every source, and without")
        oracles[target.name] = _transfers(of_target, target, plan, method="oracle")
    others: dict[tuple[str, int], dict[str, tuple[Tried, int]]] = {}
    for name, options in _further(plan).items():
        for target in targets:
            if options.get("source") == target.name:
                continue
            say(f"{target.name}: {name}")
            for result in _transfers(of_target, target, plan, find_task, **options):
                tried = _tried(of_target, target, result.outcome)
                others.setdefault((target.name, result.seed), {})[name] = tried, result.steps
    sized = [_sized(trainer_of_size(size), target, plan, size, say) for size in plan.sizes for target in targets]
    say("what each measure makes of it")
    contexts = {target.name: context_of(of_target, target) for target in targets}
    known = cases_of_bank(trainer.bank, trainer.partition, targets=list(oracles), context_of=contexts.__getitem__)
    done = [(target, result) for target in targets for result in oracles[target.name]]
    cases = [_case(known, target, trainer.bank.prompt(result.query.key or "")) for target, result in done]
    keys = KeySet.of_bank(trainer.bank, trainer.partition)
    trials = [
        _trial(of_target, target, result, case, plan, others.get((target.name, result.seed), {}))
        for (target, result), case in zip(done, cases, strict=True)
    ]
    if sized:
        sized += [_whole(of_target, target, plan, trials) for target in targets]
    return Findings(
        plan=plan,
        trials=trials,
        tasks={target.name: target for target in targets},
        examples={target.name: of_target.data(target)[Split.TEST].examples for target in targets},
        baselines={target.name: baselines(of_target.task_data(target)) for target in targets},
        keys=keys.by_task(keys.average),
        retrieval=evaluate(cases, plan.measures, k=telling(plan.k, cases)),
        calibration=calibration(cases) if "evidence" in plan.measures else None,
        sized=sized,
        steps=trainer.recipe.steps,
        evaluate_every=trainer.recipe.plan().evaluate_every,
    )


def _further(plan: StudyPlan) -> dict[str, dict[str, Any]]:
    """Methods that train beside the oracle, as options of a transfer, by the name they are shown under."""
    found = {
        f"{method} of top-{k}": {"method": method, "top_k": k}
        for method in plan.methods
        for k in plan.methods_k or plan.k
    }
    if plan.generic:
        found[f"generic {plan.generic}"] = {"method": "generic", "source": plan.generic}
    return found


def _transfers(
    trainer: Trainer, target: Task, plan: StudyPlan, find_task: FindTask = get_learnable, **options: Any
) -> list[Transferred]:
    similarity = plan.measures[0] if plan.measures[0] != "evidence" else "average"
    chosen = TransferOptions(similarity=similarity, **options)
    return run_transfers(trainer, target, seeds=range(plan.target_seeds), options=chosen, find_task=find_task)


def _sized(trainer: Trainer, target: Task, plan: StudyPlan, size: int, say: Callable[[str], None]) -> Sized:
    say(f"{target.name}: {size} training examples")
    results = _transfers(trainer, target, plan, method="best", top_k=1)
    return Sized(
        target=target.name,
        size=size,
        without=[result.baseline_test.metrics["score"] for result in results if result.baseline_test],
        with_transfer=[result.outcome_test.metrics["score"] for result in results],
    )


def _whole(trainer: Trainer, target: Task, plan: StudyPlan, trials: Sequence[Trial]) -> Sized:
    """The same with all training examples of the study, from runs that are there."""
    own = [trial for trial in trials if trial.target == target.name]
    first = [trial.best(trial.head(plan.measures[0], 1)) for trial in own]
    return Sized(
        target=target.name,
        size=len(trainer.data(target)[Split.TRAIN].examples),
        without=[trial.baseline.test.metrics["score"] for trial in own],
        with_transfer=[tried.test.metrics["score"] for tried in first],
    )


def _tried(trainer: Trainer, target: Task, run: StoredRun) -> Tried:
    return Tried(dev=run.score, test=trainer.test_all(target, [run])[0], history=trainer.bank.history(run.digest))


def _case(known: Sequence[Case], target: Task, query: np.ndarray) -> Case:
    """The one of a query: a bank may hold the target's transfers of other studies as well."""
    return next(case for case in known if case.target == target.name and np.array_equal(case.query, query))


def _trial(
    trainer: Trainer,
    target: Task,
    result: Transferred,
    case: Case,
    plan: StudyPlan,
    others: Mapping[str, tuple[Tried, int]],
) -> Trial:
    assert result.baseline is not None
    runs = {candidate.source.task: candidate.run for candidate in result.candidates}
    return Trial(
        target=target.name,
        family=target.family,
        seed=result.seed,
        query=case.query,
        baseline=_tried(trainer, target, result.baseline),
        sources={source: _tried(trainer, target, run) for source, run in runs.items() if run},
        worth={measure: case.worth(measure) for measure in plan.measures},
        others=others,
    )


def halved(trial: Trial, head: Sequence[str], findings: Findings) -> tuple[Tried, int]:
    """What the budget ``halving`` would have chosen among a head and no transfer, and the steps it would have taken."""
    contestants = [*(trial.sources[source] for source in head), trial.baseline]
    histories = [tried.history for tried in contestants]
    winner, steps = replay(histories, steps=findings.steps, evaluate_every=findings.evaluate_every)
    return contestants[winner], steps
