"""Train what a study needs, and gather what it found. All of it lies in the bank, so a second call goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bank import StoredRun
from spot.errors import SpotError
from spot.retrieval.cases import Case, cases_of_bank, telling
from spot.retrieval.evaluate import calibration, evaluate
from spot.retrieval.keys import KeySet
from spot.study.baselines import baselines
from spot.study.findings import Findings, RunScores, Sized, Trial
from spot.study.plan import StudyPlan
from spot.training.recipe import Recipe
from spot.transfer.halving import replay
from spot.transfer.planner import RunSpec
from spot.transfer.runs import Trainer
from spot.transfer.sources import context_of
from spot.transfer.transfer import TransferOptions, Transferred, run_transfers
from tasks import Mixture, get_learnable
from tasks.overlaps import overlapping
from tasks.task import Split, Task

Others = dict[tuple[str, int], dict[str, tuple[RunScores, int]]]
"""By target and seed: runs of further methods by name, and the training steps that each took."""


ORACLE: Mapping[str, Any] = {"method": "oracle"}
"""Options of the transfers from every source."""

SIZED: Mapping[str, Any] = {"method": "best", "top_k": 1}
"""Options of the transfers at other numbers of training examples."""


def run_study(
    plan: StudyPlan,
    sources: Sequence[Task | Mixture],
    targets: Sequence[Task],
    *,
    trainer: Trainer,
    target_recipe: Recipe | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Findings:
    """Train sources and targets of a plan into the trainer's bank, unless they are there, and gather the findings.

    Args:
        plan: what to do.
        sources: its source tasks and mixtures.
        targets: its targets.
        trainer: of the sources, on all their training examples; targets have as many as the plan says.
        target_recipe: of the targets; that of the sources if not given.
        say: told of every part that begins.

    Raises:
        Interrupted: a signal stopped training; the same call goes on.
        SpotError: what training and retrieval raise.
    """
    return Study(plan, sources, targets, trainer, target_recipe or trainer.recipe, say).run()


@dataclasses.dataclass(frozen=True)
class Study:
    """A study under way; its fields are the arguments of :func:`run_study`, the plan with the names of its tasks."""

    plan: StudyPlan
    sources: Sequence[Task | Mixture]
    targets: Sequence[Task]
    trainer: Trainer
    target_recipe: Recipe
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        names = ([task.name for task in tasks] for tasks in (self.sources, self.targets))
        object.__setattr__(self, "plan", self.plan.named(*names))

    def check_sources(self) -> None:
        """Refuse targets that start from every source, of which there is but one: no measure ranks one.

        Raises:
            SpotError: naming the first such target.
        """
        for target in self.oracle_targets:
            found = self.coming_sources(target)
            if len(found) < 2:
                raise SpotError(
                    f"study: {target.name} has {' and '.join(found) or 'nothing'} to start from, and a ranking needs "
                    "two; add sources that share no text with it"
                )

    def coming_sources(self, target: Task) -> list[str]:
        """Names of the sources that there will be for a target: the study's and the bank's, without those known to
        share its texts."""
        known = {task.name: task for task in self.sources}
        bank = self.trainer.bank.sources(self.trainer.partition)
        out = {target.name, *overlapping(target.name)}

        def holds_target(task: Task | Mixture | None) -> bool:
            return isinstance(task, Mixture) and any(m.name == target.name for m in task.members)

        names = dict.fromkeys([*known, *bank])
        return [name for name in names if name not in out and not holds_target(known.get(name))]

    def source_specs(self) -> list[RunSpec]:
        """Runs of the sources."""
        return [
            self.trainer.spec(task, seed, "source")
            for task in self.sources
            for seed in range(self.plan.source_seeds)
        ]

    def run(self) -> Findings:
        self.check_sources()
        plan = self.plan
        self.say(f"{len(self.sources)} sources x {plan.source_seeds} seeds")
        self.trainer.run_all(self.source_specs())
        oracles = list(self.oracles())
        others = self.others(oracles)
        sized = [
            self.with_size(size, target) for size in plan.sizes for target in self.sized_targets
        ]
        self.say("what each measure makes of it")
        cases = self.cases(oracles)
        trials = [
            self.trial(oracle, case, others) for oracle, case in zip(oracles, cases, strict=True)
        ]
        if sized:
            sized += [self.with_whole_size(target, trials) for target in self.sized_targets]
        return self.findings(trials, cases, sized)

    @property
    def sized_targets(self) -> list[Task]:
        """Targets that are tried with other numbers of training examples."""
        return self.among_targets(self.plan.size_targets)

    @property
    def oracle_targets(self) -> list[Task]:
        """Targets that start from every source."""
        return self.among_targets(self.plan.oracle_targets) if self.plan.oracle else []

    def among_targets(self, names: Sequence[str]) -> list[Task]:
        """Targets by name; all where no name is given."""
        return [target for target in self.targets if not names or target.name in names]

    @property
    def partial(self) -> frozenset[str]:
        """Names of sources and targets whose splits were cut because published parts are missing."""
        tasks = [*self.sources, *self.targets]
        return frozenset(task.name for task in tasks if self.trainer.data(task).partial)

    @property
    def of_targets(self) -> Trainer:
        """Trains targets."""
        return self.of_size(self.plan.train_limit)

    def of_size(self, size: int) -> Trainer:
        """Trains targets on so many training examples."""
        recipe = dataclasses.replace(self.target_recipe, train_limit=size)
        return self.trainer.with_recipe(recipe, sources=self.trainer.recipe)

    # -- transfers ---------------------------------------------------------------------------------------

    def oracles(self) -> Iterator[Transferred]:
        """Transfers from every source, of every target and seed."""
        for target in self.targets:
            yield from self.oracles_of(target)

    def oracles_of(self, target: Task) -> list[Transferred]:
        """Transfers of one target from every source."""
        self.say(f"{target.name}: from every source, and without")
        return self.transfers(self.of_targets, target, **ORACLE)

    def others(self, oracles: Sequence[Transferred]) -> Others:
        """What methods beside the oracle give; the generic source where the oracle could start from it."""
        others: Others = {}
        started = {
            (oracle.target, each.source.task) for oracle in oracles for each in oracle.candidates
        }
        for name, options in further_methods(self.plan).items():
            for target in self.targets:
                source = options.get("source")
                if source and (target.name, source) not in started:
                    continue
                self.say(f"{target.name}: {name}")
                results = self.transfers(self.of_targets, target, **options)
                scores = self.scores(target, [result.chosen_run for result in results])
                for result, run_scores in zip(results, scores, strict=True):
                    others.setdefault((target.name, result.seed), {})[name] = (
                        run_scores,
                        result.steps,
                    )
        return others

    def transfers(self, trainer: Trainer, target: Task, **options: Any) -> list[Transferred]:
        """A target's transfers, a seed each."""
        seeds, chosen = range(self.plan.target_seeds), self.options(**options)
        return run_transfers(trainer, target, seeds=seeds, options=chosen, find_task=self.find_task)

    def options(self, **options: Any) -> TransferOptions:
        """Options of a transfer that is ranked by the plan's first measure."""
        first = self.plan.measures[0]
        return TransferOptions(similarity="average" if first == "evidence" else first, **options)

    def find_task(self, name: str) -> Task | Mixture:
        """A task of the study, else a built-in one."""
        of_study = {task.name: task for task in [*self.sources, *self.targets]}
        return of_study.get(name) or get_learnable(name)

    # -- gain against size -------------------------------------------------------------------------------

    def with_size(self, size: int, target: Task) -> Sized:
        """The best of top-1 against no transfer with so many training examples."""
        self.say(f"{target.name}: {size} training examples")
        results = self.transfers(self.of_size(size), target, **SIZED)
        return Sized(
            target=target.name,
            size=size,
            without=[
                result.baseline_test.metrics["score"] for result in results if result.baseline_test
            ],
            with_transfer=[result.outcome_test.metrics["score"] for result in results],
        )

    def with_whole_size(self, target: Task, trials: Sequence[Trial]) -> Sized:
        """The same with all training examples of the study, from runs that are there."""
        of_target = [trial for trial in trials if trial.target == target.name]
        first = [trial.best(trial.head(self.plan.measures[0], 1)) for trial in of_target]
        return Sized(
            target=target.name,
            size=len(self.of_targets.data(target)[Split.TRAIN].examples),
            without=[trial.baseline.test.metrics["score"] for trial in of_target],
            with_transfer=[scores.test.metrics["score"] for scores in first],
        )

    # -- findings ----------------------------------------------------------------------------------------

    def scores(self, target: Task, runs: Sequence[StoredRun]) -> list[RunScores]:
        """Scores of a target's runs on dev and test."""
        tested = self.of_targets.test_all(target, runs)
        return [
            RunScores(dev=run.score, test=test, history=self.trainer.bank.history(run.digest))
            for run, test in zip(runs, tested, strict=True)
        ]

    def cases(self, oracles: Sequence[Transferred]) -> list[Case]:
        """The case of every oracle: a bank may hold the target's transfers of other studies as well."""
        trainer, asking = self.of_targets, self.of_targets.querying
        contexts = {target.name: context_of(asking, target) for target in self.targets}
        known = cases_of_bank(
            trainer.bank,
            asking.partition,
            targets=list(contexts),
            context_of=contexts.__getitem__,
            recipe=trainer.recipe.record(trainer.backbone).digest,
        )

        def case_of(oracle: Transferred) -> Case:
            query = trainer.bank.prompt(oracle.query.key or "")
            of_query = (
                case
                for case in known
                if case.target == oracle.target and np.array_equal(case.query, query)
            )
            if (case := next(of_query, None)) is None:
                raise SpotError(
                    f"study: {oracle.target} can start from one source alone, and a ranking needs two; add sources "
                    "that share no text with it"
                )
            return case

        return [case_of(oracle) for oracle in oracles]

    def trial(self, oracle: Transferred, case: Case, others: Others) -> Trial:
        """What every source gave a target with one seed."""
        assert oracle.baseline is not None
        runs = {
            candidate.source.task: candidate.run for candidate in oracle.candidates if candidate.run
        }
        baseline, *scores = self.scores(oracle.task, [oracle.baseline, *runs.values()])
        return Trial(
            target=oracle.target,
            family=oracle.task.family,
            seed=oracle.seed,
            query=case.query,
            baseline=baseline,
            sources=dict(zip(runs, scores, strict=True)),
            worth={measure: case.worth(measure) for measure in self.plan.measures},
            others=others.get((oracle.target, oracle.seed), {}),
        )

    def findings(
        self, trials: Sequence[Trial], cases: Sequence[Case], sized: Sequence[Sized]
    ) -> Findings:
        """All of it."""
        plan, trainer = self.plan, self.of_targets
        keys = KeySet.from_bank(trainer.bank, trainer.querying.partition)
        return Findings(
            plan=plan,
            trials=trials,
            tasks={target.name: target for target in self.targets},
            examples={
                target.name: trainer.data(target)[Split.TEST].examples for target in self.targets
            },
            baselines={
                target.name: baselines(trainer.task_data(target)) for target in self.targets
            },
            keys=keys.by_task(keys.average),
            retrieval=evaluate(cases, plan.measures, k=telling(plan.k, cases)),
            calibration=calibration(cases) if "evidence" in plan.measures else None,
            sized=sized,
            partial=self.partial,
            steps=trainer.recipe.steps,
            evaluate_every=trainer.recipe.plan().evaluate_every,
            evaluate_spacing=trainer.recipe.evaluate_spacing,
        )


def further_methods(plan: StudyPlan) -> Mapping[str, dict[str, Any]]:
    """Methods that train beside the oracle, as options of a transfer, by the name they are shown under."""
    further: dict[str, dict[str, Any]] = {
        f"{method} of top-{k}": {"method": method, "top_k": k}
        for method in plan.methods
        for k in plan.methods_k or plan.k
    }
    if plan.generic:
        further[f"generic {plan.generic}"] = {"method": "generic", "source": plan.generic}
    return further


def halved(trial: Trial, head: Sequence[str], findings: Findings) -> tuple[RunScores, int]:
    """What the budget ``halving`` would have chosen among a head and no transfer, and the steps it would have taken."""
    candidates = [*(trial.sources[source] for source in head), trial.baseline]
    histories = [scores.history for scores in candidates]
    winner, steps = replay(
        histories,
        steps=findings.steps,
        evaluate_every=findings.evaluate_every,
        spacing=findings.evaluate_spacing,
    )
    return candidates[winner], steps
