"""Train what a study at budgets needs, and gather its rows. All runs lie in the bank, so a second call goes on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from bank import StoredRun
from spot.errors import SpotError
from spot.retrieval.cases import telling
from spot.retrieval.evaluate import calibration, evaluate
from spot.retrieval.rank import Ranked, Retriever
from spot.study.baselines import baselines
from spot.study.budgets import (
    NO_TRANSFER,
    ORACLE,
    UNTRAINED,
    BudgetFindings,
    BudgetTrial,
    Chosen,
    Fixed,
    History,
    Raced,
    Row,
    head_row,
    or_none_row,
    or_untrained_row,
    restarts_row,
)
from spot.study.plan import NO_CURVES, StudyPlan
from spot.study.run import Study, further_methods
from spot.training.prompt_tuning import TEST_SCORE
from spot.training.recipe import Recipe
from spot.training.settings import DOUBLING, FALLING
from spot.training.spacing import evaluations
from spot.training.task_data import TaskData
from spot.transfer.methods import METHODS, Selection, start_steps
from spot.transfer.planner import RunSpec
from spot.transfer.runs import Trainer
from spot.transfer.sources import rank_for
from spot.transfer.transfer import restart_seeds, retriever_of, select
from tasks.task import Split, Task


def run_at_budgets(study: Study) -> BudgetFindings:
    """Train a study's sources and targets, unless they are there, and compare its rows at every budget.

    Raises:
        Interrupted: a signal stopped training; the same call goes on.
        SpotError: a target's recipe without scores along the way; what training and retrieval raise.
    """
    check_study(study)
    plan, recipe = study.plan, study.target_recipe
    study.say(f"{len(study.sources)} sources x {plan.source_seeds} seeds")
    study.trainer.run_all(study.source_specs())
    main, *others = samples(study)
    main.prepare()
    oracles = [
        transferred for target in study.oracle_targets for transferred in study.oracles_of(target)
    ]
    trials = [trial for sample in (main, *others) for trial in sample.trials()]
    cases = study.cases(oracles) if oracles else []
    return BudgetFindings(
        plan=plan,
        budgets=budgets(recipe),
        trials=trials,
        examples=recipe.curve_limit,
        retrieval=evaluate(cases, plan.measures, k=telling(plan.k, cases)) if cases else {},
        calibration=calibration(cases) if cases and "evidence" in plan.measures else None,
        partial=study.partial,
    )


def budgets(recipe: Recipe) -> list[int]:
    """Steps at which rows are compared: where targets are evaluated, each twice the one before."""
    return evaluations(recipe.steps, recipe.plan().evaluate_every, DOUBLING)


def check_study(study: Study) -> None:
    """Refuse a study that would train and then have nothing to say.

    Raises:
        SpotError: targets with fewer than two sources to rank; at budgets, a recipe without scores along the way.
    """
    study.check_sources()
    if study.plan.at_budgets:
        check_curves(study)


def check_curves(study: Study) -> None:
    """Refuse a study at budgets whose targets have no scores along the way.

    Raises:
        SpotError: no ``curve_limit``, or several budgets under a schedule whose shape depends on the steps.
    """
    recipe = study.target_recipe
    if not recipe.curve_limit:
        raise SpotError(NO_CURVES)
    if recipe.patience:
        raise SpotError(
            "study: patience would end runs before a budget does; leave it out of target_recipe"
        )
    schedule = recipe.optimizer.schedule
    if schedule in FALLING and len(budgets(recipe)) > 1:
        raise SpotError(
            f"study: under the schedule {schedule} a run that stops early is none of fewer steps; give constant or "
            "inverse_sqrt in target_recipe, or evaluate_every = steps for one budget alone"
        )


def samples(study: Study) -> list[Sample]:
    """All numbers of training examples that a study asks for, the plan's ``train_limit`` first."""
    whole = Sample(study, study.plan.train_limit, study.targets, whole=True)
    return [
        whole,
        *(Sample(study, size, study.sized_targets, whole=False) for size in study.plan.sizes),
    ]


@dataclasses.dataclass(frozen=True)
class Sample:
    """Targets with so many training examples.

    Attributes:
        study: what it belongs to.
        size: training examples; 0 for all.
        targets: which.
        whole: whether all rows are tried; else no transfer, restarts, and the heads by the first measure.
    """

    study: Study
    size: int
    targets: Sequence[Task]
    whole: bool

    @property
    def plan(self) -> StudyPlan:
        return self.study.plan

    @functools.cached_property
    def trainer(self) -> Trainer:
        """Trains these targets."""
        return self.study.of_size(self.size)

    @property
    def measures(self) -> Sequence[str]:
        """What ranks."""
        return self.plan.measures if self.whole else self.plan.measures[:1]

    @property
    def shown(self) -> str:
        return f"{self.size or 'all'} training examples"

    # -- runs ----------------------------------------------------------------------------------------------

    def restart_seeds(self, seed: int) -> list[int]:
        """Seeds of the restarts of a target's seed: its own, and others that no other seed has."""
        return restart_seeds(range(self.plan.target_seeds), self.plan.restarts)[seed]

    def baseline_specs(self, target: Task) -> list[RunSpec]:
        """All runs without transfer."""
        seeds = [
            each for seed in range(self.plan.target_seeds) for each in self.restart_seeds(seed)
        ]
        return [self.trainer.spec(target, seed, "baseline") for seed in sorted(seeds)]

    def query_specs(self, target: Task) -> list[RunSpec]:
        """Runs whose keys are the queries, a seed each: baselines, where these are trained as sources are."""
        asking = self.trainer.querying
        role = "baseline" if asking is self.trainer else "query"
        return [asking.spec(target, seed, role) for seed in range(self.plan.target_seeds)]

    def prepare(self) -> None:
        """Train what rankings and comparisons need of all targets: runs without transfer, and queries."""
        self.study.say(f"{self.shown}: without transfer, and queries")
        self.trainer.run_all([spec for each in self.targets for spec in self.baseline_specs(each)])
        self.trainer.querying.run_all(
            [spec for each in self.targets for spec in self.query_specs(each)]
        )

    def trials(self) -> list[BudgetTrial]:
        """Train all that rows need, and gather them."""
        self.prepare()
        return [
            trial
            for target in self.targets
            for trial in OneTarget(self, target, self.queries(target)).trials()
        ]

    def queries(self, target: Task) -> list[StoredRun]:
        """Runs whose keys are the queries, a seed each."""
        return self.trainer.querying.run_all(self.query_specs(target))


@dataclasses.dataclass(frozen=True)
class OneTarget:
    """A target of a sample.

    Attributes:
        sample: what it belongs to.
        task: the target.
        queries: runs whose keys are the queries, a seed each.
    """

    sample: Sample
    task: Task
    queries: Sequence[StoredRun]

    @property
    def plan(self) -> StudyPlan:
        return self.sample.plan

    @property
    def trainer(self) -> Trainer:
        return self.sample.trainer

    @functools.cached_property
    def baselines(self) -> dict[int, StoredRun]:
        """Runs without transfer, by seed."""
        specs = self.sample.baseline_specs(self.task)
        runs = self.trainer.run_all(specs)
        return {spec.seed: run for spec, run in zip(specs, runs, strict=True)}

    @functools.cached_property
    def retriever(self) -> Retriever:
        """Ranks the bank's sources; made after the oracles, whose outcomes are evidence for other targets."""
        return retriever_of(self.trainer.querying, self.task, self.sample.study.options())

    def ranking(self, measure: str, query: StoredRun) -> Sequence[Ranked]:
        """All sources by a measure."""
        return rank_for(
            self.trainer.querying,
            self.task,
            self.retriever,
            query,
            similarity=measure,
            aggregate="mean",
        ).ranked

    @functools.cached_property
    def choices(self) -> list[dict[str, list[Ranked]]]:
        """Sources of every row that chooses among some, the more promising first, a seed each."""
        return [self._choices(seed, query) for seed, query in enumerate(self.queries)]

    def _choices(self, seed: int, query: StoredRun) -> dict[str, list[Ranked]]:
        plan, whole = self.plan, self.sample.whole
        rankings = {measure: self.ranking(measure, query) for measure in self.sample.measures}
        first = rankings[plan.measures[0]]
        rows: dict[str, list[Ranked]] = {}
        if whole and plan.random_sources:
            name = f"best of {plan.random_sources} random sources"
            rows[name] = drawn(first, plan.random_sources, self.task.name, seed)
        for measure, ranked in rankings.items():
            rows |= {head_row(k, measure): list(ranked[:k]) for k in plan.k}
        if whole and (generic := [each for each in first if each.task == plan.generic]):
            rows[f"generic {plan.generic}"] = generic
        if whole and self.task.name in {each.name for each in self.sample.study.oracle_targets}:
            rows[ORACLE] = list(first)
        return rows

    def source_specs(self) -> list[RunSpec]:
        """The target's runs from all sources that its rows need, each once."""
        starts = dict.fromkeys(
            (seed, source.value)
            for seed, rows in enumerate(self.choices)
            for sources in rows.values()
            for source in sources
        )
        return [self.trainer.spec(self.task, seed, "transfer", start) for seed, start in starts]

    # -- rows ------------------------------------------------------------------------------------------------

    def trials(self) -> list[BudgetTrial]:
        """What every row gives, a seed each."""
        self.sample.study.say(
            f"{self.task.name}, {self.sample.shown}: from the sources of its rows"
        )
        specs = self.source_specs()
        runs = self.trainer.run_all(specs)
        from_sources = {
            (spec.seed, spec.start or ""): self.history(run)
            for spec, run in zip(specs, runs, strict=True)
        }
        fixed, further = self.fixed(), self.further()
        return [
            BudgetTrial(
                target=self.task.name,
                seed=seed,
                size=self.sample.size,
                rows={
                    **fixed,
                    **self.without_transfer(seed),
                    **self.untrained(seed, from_sources),
                    **self.chosen(seed, from_sources),
                    **further[seed],
                    **self.oracle(seed, from_sources),
                },
            )
            for seed in range(self.plan.target_seeds)
        ]

    def history(self, run: StoredRun) -> History:
        """A run's evaluations."""
        return self.trainer.bank.history(run.digest)

    @property
    def few(self) -> TaskData:
        """The target's data, with the test examples of the curve."""
        few = self.trainer.task_data(self.task).curve(self.trainer.recipe.curve_limit)
        assert few is not None
        return few

    def fixed(self) -> dict[str, Row]:
        """What needs no prompt."""
        return {
            name: Fixed(splits[Split.TEST].metrics["score"])
            for name, splits in baselines(self.few).items()
        }

    def without_transfer(self, seed: int) -> dict[str, Row]:
        """The run without transfer of a seed, and the best of its restarts."""
        seeds = self.sample.restart_seeds(seed)
        histories = [self.history(self.baselines[each]) for each in seeds]
        rows: dict[str, Row] = {NO_TRANSFER: Chosen(histories[:1])}
        if len(seeds) > 1:
            rows[restarts_row(len(seeds))] = Chosen(histories)
        return rows

    @functools.cached_property
    def as_they_are(self) -> dict[str, Mapping[str, float]]:
        """What the values of sources at the head of the first measure's rankings give untrained, by their digests: the
        row that would begin the histories of what starts from them. None where that is not asked for.

        Not kept, since a bank has a run's answers to its own task's tests alone.
        """
        plan = self.plan
        if not (self.sample.whole and plan.untrained):
            return {}
        longest = head_row(max(plan.k), plan.measures[0])
        values = {source.run: source.value for rows in self.choices for source in rows[longest]}
        stored = self.trainer.bank.runs(list(values))
        runs, few = [stored[digest] for digest in values], self.few
        dev, test = (
            [
                few.score(split, texts)["score"]
                for texts in self.trainer.evaluator.answers(few, runs, self.trainer.recipe, split)
            ]
            for split in (Split.DEV, Split.TEST)
        )
        scored = zip(values.values(), dev, test, strict=True)
        return {
            value: {"step": 0, "score": on_dev, TEST_SCORE: on_test}
            for value, on_dev, on_test in scored
        }

    def untrained(
        self, seed: int, from_sources: Mapping[tuple[int, str], History]
    ) -> dict[str, Row]:
        """The first source's prompt as it is, and heads of which each may stay so where that is better on dev."""
        plan, rows, known = self.plan, dict[str, Row](), self.as_they_are
        for k in plan.k if known else ():
            sources = self.choices[seed][head_row(k, plan.measures[0])]
            if k == plan.k[0]:
                rows[UNTRAINED] = Fixed(known[sources[0].value][TEST_SCORE])
            rows[or_untrained_row(k, plan.measures[0])] = Chosen(
                [[known[one.value], *from_sources[seed, one.value]] for one in sources]
            )
        return rows

    def chosen(self, seed: int, from_sources: Mapping[tuple[int, str], History]) -> dict[str, Row]:
        """Rows that choose among sources; of the first measure's heads also those in which the run without transfer
        competes, to the end of every run and in a race."""
        rows: dict[str, Row] = {
            name: Chosen([from_sources[seed, source.value] for source in sources])
            for name, sources in self.choices[seed].items()
            if name != ORACLE
        }
        recipe, first = self.trainer.recipe, self.plan.measures[0]
        alone = self.history(self.baselines[seed])
        for k in (k for k in self.plan.k if k > 1):
            sources = self.choices[seed][head_row(k, first)]
            competing = [*(from_sources[seed, source.value] for source in sources), alone]
            rows[or_none_row(k, first)] = Chosen(competing)
            if self.sample.whole and len(budgets(recipe)) > 1:
                rows[f"halving of top-{k}, {first}"] = Raced(
                    competing, recipe.plan().evaluate_every, recipe.evaluate_spacing
                )
        return rows

    def oracle(self, seed: int, from_sources: Mapping[tuple[int, str], History]) -> dict[str, Row]:
        """The best of all sources, where all were tried."""
        sources = self.choices[seed].get(ORACLE)
        if not sources:
            return {}
        return {ORACLE: Chosen([from_sources[seed, source.value] for source in sources])}

    def further(self) -> list[dict[str, Row]]:
        """Methods that make a start of several sources, a seed each."""
        rows: list[dict[str, Row]] = [{} for _ in self.queries]
        if not self.sample.whole:
            return rows
        for name, asked in further_methods(self.plan).items():
            if asked["method"] == "generic":
                continue
            self.sample.study.say(f"{self.task.name}: {name}")
            options, study = self.sample.study.options(**asked), self.sample.study
            selections = [
                select(
                    self.trainer.querying,
                    self.task,
                    self.retriever,
                    options,
                    Selection(seed, query, self.baselines[seed]),
                )
                for seed, query in enumerate(self.queries)
            ]
            method = METHODS[options.method]
            started = method.starts(self.trainer, self.task, selections, study.find_task)
            training = method.training(self.trainer)
            specs = [
                training.spec(self.task, seed, "transfer", candidates[0].start)
                for seed, candidates in enumerate(started)
            ]
            runs = training.run_all(specs)
            for row, run, candidates in zip(rows, runs, started, strict=True):
                row[name] = Chosen([self.history(run)], start_steps(candidates))
        return rows


def drawn(sources: Sequence[Ranked], count: int, target: str, seed: int) -> list[Ranked]:
    """So many sources drawn without replacement, or all where there are fewer; target and seed decide which."""
    names = sorted(sources, key=lambda source: source.task)
    rng = np.random.default_rng([seed, *hashlib.sha256(target.encode()).digest()])
    return [names[i] for i in rng.permutation(len(names))[:count]]
