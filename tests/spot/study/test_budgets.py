"""A study at budgets end to end on a random backbone, and its figures by hand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from bank.integrity import verify
from spot.errors import SpotError
from spot.retrieval.bootstrap import nested_bootstrap
from spot.study.along import OneTarget, Sample, drawn, run_at_budgets
from spot.study.baselines import BAG_OF_WORDS, MOST_FREQUENT
from spot.study.budget_tables import (
    TABLES,
    Compared,
    budget_rows,
    goal_rows,
    row_rows,
    write_budget_tables,
)
from spot.study.budgets import (
    BudgetFindings,
    BudgetTrial,
    Chosen,
    Fixed,
    Raced,
    Row,
    best_evaluation,
)
from spot.study.forecast import foresee_study
from spot.study.plan import StudyPlan
from spot.study.plots import BUDGET_PLOTS, write_budget_plots
from spot.study.run import Study
from spot.training.optimizers import Optimizer
from spot.training.prompt_tuning import TEST_SCORE
from spot.transfer.runs import Trainer
from tasks.task import Split, Task
from tests.spot.transfer.conftest import World
from tests.spot.transfer.doubles import refusing

PLAN = StudyPlan(
    sources=["first", "second", "third"],
    targets=["target", "fourth"],
    source_seeds=1,
    target_seeds=2,
    k=[1, 2],
    measures=["average", "trial"],
    methods=["average", "attention", "mixture"],
    methods_k=[2],
    generic="first",
    train_limit=16,
    sizes=[8],
    size_targets=["target"],
    restarts=3,
    random_sources=2,
    untrained=True,
    oracle_targets=["target"],
    target_recipe={"curve_limit": 10},
)


def study_of(world: World, tasks: dict[str, Task], **changes: object) -> Study:
    sources, targets = ([tasks[name] for name in names] for names in (PLAN.sources, PLAN.targets))
    recipe = dataclasses.replace(
        world.trainer.recipe,
        steps=12,
        key_step=4,
        **({"evaluate_every": 2, "evaluate_spacing": "doubling", "curve_limit": 10} | changes),
    )
    return Study(PLAN, sources, targets, world.trainer, recipe, lambda _line: None)


def untraining(trainer: Trainer) -> Trainer:
    """The same trainer, which must not train; what an untrained prompt answers is never kept."""
    other = refusing(trainer)
    other.evaluator = trainer.evaluator
    return other


def history(*rows: tuple[int, float, float]) -> list[dict[str, float]]:
    return [{"step": step, "score": dev, TEST_SCORE: test} for step, dev, test in rows]


# -- end to end ----------------------------------------------------------------------------------------------


def test_a_study_at_budgets_trains_what_its_rows_need_and_a_second_call_nothing(
    world: World, tasks: dict[str, Task], tmp_path: Path
) -> None:
    wanted = study_of(world, tasks)
    before = world.bank.count_rows()
    most = sum(row.train for row in foresee_study(wanted).wanted())
    assert world.bank.count_rows() == before
    found = run_at_budgets(wanted)
    trained = world.bank.count_rows()["run"] - before["run"]
    assert 0 < trained <= most
    assert list(found.budgets) == [2, 4, 8, 12]
    assert [(t.size, t.target, t.seed) for t in found.trials] == [
        (16, "target", 0), (16, "target", 1), (16, "fourth", 0), (16, "fourth", 1),
        (8, "target", 0), (8, "target", 1),
    ]  # fmt: skip
    everything = [
        MOST_FREQUENT, BAG_OF_WORDS, "no transfer", "best of 3 restarts", "top-1 untrained",
        "best of top-1, trained or not, average", "best of top-2, trained or not, average",
        "best of 2 random sources", "best of top-1, average", "best of top-2, average", "best of top-1, trial",
        "best of top-2, trial", "generic first", "best of top-2 and no transfer, average", "halving of top-2, average",
        "average of top-2", "attention of top-2", "mixture of top-2", "oracle",
    ]  # fmt: skip
    assert list(found.trials[0].rows) == everything
    assert list(found.trials[2].rows) == everything[:-1]
    assert list(found.trials[4].rows) == [
        MOST_FREQUENT, BAG_OF_WORDS, "no transfer", "best of 3 restarts", "best of top-1, average",
        "best of top-2, average", "best of top-2 and no transfer, average",
    ]  # fmt: skip
    for trial in found.trials:
        rows = trial.rows
        competing = [rows["best of top-2, average"].score(12), rows["no transfer"].score(12)]
        assert rows["best of top-2 and no transfer, average"].score(12) in competing
        assert rows["best of top-2 and no transfer, average"].steps(12) == 3 * 12
    assert verify(world.bank) == []
    again = study_of(dataclasses.replace(world, trainer=untraining(world.trainer)), tasks)
    assert all(row.train == 0 for row in foresee_study(wanted).wanted())
    tables = [
        write_budget_tables(each, tmp_path / name)
        for each, name in ((found, "a"), (run_at_budgets(again), "b"))
    ]
    assert tables[0] == tables[1]
    assert set(tables[0]) == set(TABLES)
    less = dataclasses.replace(
        again, plan=dataclasses.replace(PLAN, oracle_targets=[], oracle=False)
    )
    without = run_at_budgets(less)
    assert list(without.trials[0].rows) == everything[:-1]
    assert set(write_budget_tables(without, tmp_path / "c")) == {*TABLES} - {"retrieval"}
    assert write_budget_plots(without, tmp_path / "c")
    text = (tmp_path / "a" / "tables.md").read_text(encoding="utf-8")
    assert "| best of 3 restarts |" in text
    assert [path.stem for path in write_budget_plots(found, tmp_path)] == list(BUDGET_PLOTS)


def test_scores_along_the_way_are_those_of_the_same_examples_and_select_nothing(
    world: World, tasks: dict[str, Task]
) -> None:
    study = study_of(world, tasks)
    trainer, plain = study.of_targets, study_of(world, tasks, curve_limit=0).of_targets
    (run,) = trainer.run_all([trainer.spec(world.target, 5, "baseline")])
    (bare,) = plain.run_all([plain.spec(world.target, 5, "baseline")])
    few = trainer.task_data(world.target).curve(10)
    assert few is not None
    assert len(few[Split.TEST].examples) == 10 < len(plain.data(world.target)[Split.TEST].examples)
    assert few.digest == plain.data(world.target).digest
    (answers,) = trainer.evaluator.answers(few, [run], trainer.recipe)
    tested = few.score(Split.TEST, answers)["score"]
    rows = world.bank.history(run.digest)
    assert [row["step"] for row in rows] == [2, 4, 8, 12]
    best = max(rows, key=lambda row: row["score"])["score"]
    at_value = [row[TEST_SCORE] for row in rows if row["score"] == best]
    assert tested in at_value
    assert run.score == best == bare.score
    assert TEST_SCORE not in run.metrics
    assert all(TEST_SCORE not in row for row in world.bank.history(bare.digest))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"curve_limit": 0}, "give curve_limit in target_recipe"),
        ({"patience": 2}, "patience would end runs before a budget does"),
        (
            {"optimizer": Optimizer(schedule="linear")},
            "under the schedule linear a run that stops early is none of fewer steps",
        ),
    ],
)
def test_a_recipe_that_tells_nothing_of_budgets_is_refused(
    world: World, tasks: dict[str, Task], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SpotError, match=message):
        run_at_budgets(study_of(world, tasks, **changes))


def test_tasks_of_files_are_called_by_their_paths_in_a_plan_and_by_their_names_in_a_study(
    world: World, tasks: dict[str, Task]
) -> None:
    paths = dataclasses.replace(
        PLAN, sources=["a/first.toml", "second", "third"], targets=["a/target.toml", "fourth"],
        generic="a/first.toml", oracle_targets=["a/target.toml"], size_targets=[],
    )  # fmt: skip
    study = dataclasses.replace(study_of(world, tasks), plan=paths)
    assert study.plan == dataclasses.replace(PLAN, size_targets=[])
    assert [target.name for target in study.oracle_targets] == ["target"]
    assert [target.name for target in study.sized_targets] == ["target", "fourth"]
    twice = dataclasses.replace(paths, targets=["a/target.toml", "b/target.toml"])
    with pytest.raises(SpotError, match="targets has 'target' twice"):
        dataclasses.replace(study, plan=twice, targets=[tasks["target"], tasks["target"]])


def test_one_source_is_no_ranking_and_is_refused_before_anything_trains(
    world: World, tasks: dict[str, Task]
) -> None:
    plan = dataclasses.replace(
        PLAN, sources=["first"], generic="", measures=["average"], methods=[], sizes=[], k=[1]
    )
    recipe = dataclasses.replace(
        world.trainer.recipe, prompt_length=3
    )  # the bank has none of these
    study = dataclasses.replace(
        study_of(world, tasks),
        plan=plan,
        sources=[tasks["first"]],
        trainer=untraining(world.trainer.with_recipe(recipe)),
    )
    with pytest.raises(SpotError, match="target has first to start from, and a ranking needs two"):
        run_at_budgets(study)
    fewer = dataclasses.replace(plan, oracle_targets=[], oracle=False)
    dataclasses.replace(study, plan=fewer).check_sources()


def test_restarts_of_a_seed_are_its_own_run_and_others_that_no_seed_shares(
    world: World, tasks: dict[str, Task]
) -> None:
    study = study_of(world, tasks)
    sample = Sample(study, 16, study.targets, whole=True)
    assert [sample.restart_seeds(seed) for seed in range(2)] == [[0, 2, 3], [1, 4, 5]]


def test_random_sources_depend_on_target_and_seed_and_not_on_the_ranking(
    world: World, tasks: dict[str, Task]
) -> None:
    study = study_of(world, tasks)
    sample = Sample(study, 16, study.targets, whole=True)
    (query,) = world.trainer.run_all([world.trainer.spec(world.target, 0, "baseline")])
    ranked = list(OneTarget(sample, world.target, [query]).ranking("average", query))
    names = [source.task for source in drawn(ranked, 2, "target", 0)]
    assert names == [source.task for source in drawn(ranked[::-1], 2, "target", 0)]
    assert len(set(names)) == 2
    draws = {tuple(s.task for s in drawn(ranked, 2, "target", seed)) for seed in range(20)}
    assert len(draws) > 1
    assert len(drawn(ranked, 99, "target", 0)) == len(ranked)


def test_a_falling_schedule_has_one_budget_its_end(
    world: World, tasks: dict[str, Task], tmp_path: Path
) -> None:
    falling = dataclasses.replace(world.trainer.recipe.optimizer, schedule="linear")
    study = study_of(world, tasks, optimizer=falling, evaluate_every=12)
    plan = dataclasses.replace(PLAN, measures=["average"], methods=[], sizes=[], size_targets=[])
    found = run_at_budgets(dataclasses.replace(study, plan=plan))
    assert list(found.budgets) == [12]
    assert not [name for name in found.trials[0].rows if name.startswith("halving")]
    assert set(write_budget_tables(found, tmp_path)) == {*TABLES} - {"budgets", "sizes"}
    (picture,) = write_budget_plots(found, tmp_path)
    assert picture.stem == "scores_of_targets"


# -- by hand -------------------------------------------------------------------------------------------------


def test_a_budget_takes_the_best_on_dev_up_to_it_and_says_its_test_score() -> None:
    one = history((1, 50, 40), (2, 60, 45), (4, 60, 55), (8, 55, 90))
    two = history((1, 50, 41), (2, 55, 70), (4, 70, 65), (8, 60, 20))
    assert best_evaluation(one, 8)["step"] == 4, "the later of equals"
    both = Chosen([one, two], before=100)
    assert [both.score(budget) for budget in (1, 2, 4, 8)] == [40, 45, 65, 65]
    assert [both.steps(budget) for budget in (1, 8)] == [102, 116]


def test_a_race_at_a_budget_ends_there() -> None:
    slow = history((1, 10, 1), (2, 20, 2), (4, 90, 9), (8, 95, 95))
    quick = history((1, 50, 5), (2, 60, 6), (4, 60, 7), (8, 60, 8))
    race = Raced([slow, quick], 1, "doubling")
    # of two, half the field goes on after a third of the steps: 8 / 3 is 4 among 1, 2, 4; 4 / 3 is 2
    assert (race.score(8), race.steps(8)) == (95, 2 * 4 + 4)
    assert (race.score(4), race.steps(4)) == (7, 2 * 2 + 2)
    assert (race.score(1), race.steps(1)) == (5, 2)


@dataclasses.dataclass(frozen=True)
class Given:
    """Scores by budget."""

    by_budget: dict[int, float]

    def score(self, budget: int) -> float:
        return self.by_budget[budget]

    def steps(self, budget: int) -> int:
        return budget


BUDGETS = [10, 20, 40]


def given(*scores: float) -> Row:
    return Given(dict(zip(BUDGETS, scores, strict=True)))


def trial(target: str, seed: int, **rows: Row) -> BudgetTrial:
    names = {
        "plain": "no transfer", "restarts": "best of 2 restarts", "one": "best of top-1, average",
        "two": "best of top-2, average", "oracle": "oracle", "fixed": MOST_FREQUENT,
    }  # fmt: skip
    return BudgetTrial(
        target=target, seed=seed, size=16, rows={names[name]: row for name, row in rows.items()}
    )


@pytest.fixture
def findings() -> BudgetFindings:
    """Plain tuning ends at 60 on a and 80 on b, on both after 40 steps, each the mean of two seeds."""
    trials = [
        trial(
            "a", 0, fixed=Fixed(30), plain=given(40, 50, 62), restarts=given(44, 52, 64),
            one=given(60, 70, 70), two=given(62, 72, 72), oracle=given(70, 80, 80),
        ),
        trial(
            "a", 1, fixed=Fixed(30), plain=given(40, 50, 58), restarts=given(44, 52, 64),
            one=given(50, 60, 66), two=given(52, 62, 68), oracle=given(70, 80, 80),
        ),
        trial(
            "b", 0, fixed=Fixed(50), plain=given(60, 70, 80), restarts=given(64, 74, 84),
            one=given(60, 70, 78), two=given(64, 74, 86),
        ),
        trial(
            "b", 1, fixed=Fixed(50), plain=given(60, 70, 80), restarts=given(64, 74, 84),
            one=given(60, 70, 78), two=given(64, 74, 86),
        ),
    ]  # fmt: skip
    plan = dataclasses.replace(
        PLAN, measures=["average"], targets=["a", "b"], oracle_targets=["a"], size_targets=[],
        restarts=2,
    )  # fmt: skip
    return BudgetFindings(
        plan=plan, budgets=BUDGETS, trials=trials, examples=10, retrieval={}, calibration=None,
        partial=frozenset({"b"}),
    )  # fmt: skip


def test_rows_have_scores_areas_and_steps(findings: BudgetFindings) -> None:
    rows = {row["row"]: row for row in row_rows(findings)}
    plain, one = rows["no transfer"], rows["best of top-1, average"]
    assert [plain[f"{budget} steps"] for budget in BUDGETS] == [50, 60, 70]
    assert (plain["area"], plain["area gain"]) == (60, 0)
    # a: 55, 65, 68; b: 60, 70, 78
    assert [one[f"{budget} steps"] for budget in BUDGETS] == [57.5, 67.5, 73]
    assert one["area gain"] == pytest.approx(6)
    assert one["area gain low"] <= 6 <= one["area gain high"]
    # on a 65 after 20 steps is plain tuning's 60 after 40; on b 80 is never reached
    assert (one["steps to plain's best"], one["in half the steps"]) == (None, 0.5)
    two = rows["best of top-2, average"]
    assert (two["steps to plain's best"], two["in half the steps"]) == (30, 0.5)
    assert one["sd"] == pytest.approx(math.sqrt(8) / 2)
    assert (rows["oracle"]["targets"], one["targets"]) == (1, 2)


def test_gains_are_over_no_transfer_at_the_same_budget(findings: BudgetFindings) -> None:
    rows = {(row["row"], row["budget"]): row for row in budget_rows(findings)}
    assert rows["best of top-1, average", 10]["gain"] == pytest.approx(7.5)
    assert rows["best of top-1, average", 40]["gain"] == pytest.approx(3)
    # a: 68 - 64; b: 78 - 84
    assert rows["best of top-1, average", 40]["over restarts"] == pytest.approx(-1)
    assert rows["oracle", 10]["gain"] == pytest.approx(30), "of target a alone"
    assert rows[MOST_FREQUENT, 40]["score"] == 40


def test_one_budget_has_gains_over_both_controls_and_no_way_there(findings: BudgetFindings) -> None:
    ends = [
        dataclasses.replace(
            trial, rows={name: Given({40: row.score(40)}) for name, row in trial.rows.items()}
        )
        for trial in findings.trials
    ]
    alone = dataclasses.replace(findings, trials=ends, budgets=[40])
    rows = {row["row"]: row for row in row_rows(alone)}
    two = rows["best of top-2, average"]
    # a: 70 to 60 and 64; b: 86 to 80 and 84
    assert (two["gain"], two["over restarts"]) == (pytest.approx(8), pytest.approx(4))
    assert not {"area", "in half the steps"} & set(two)
    assert budget_rows(alone) == []
    assert not [row for row in goal_rows(alone) if "half the steps" in row["goal"]]


def test_goals_are_judged_at_plain_tunings_best_budget(findings: BudgetFindings) -> None:
    by_goal = {(row["goal"], row["row"]): row for row in goal_rows(findings)}
    beats = by_goal["points over best of 2 restarts", "best of top-2, average"]
    # a: (72 + 68) / 2 - 64 = 6; b: 86 - 84 = 2
    assert (beats["budget"], beats["found"], beats["met"]) == (40, pytest.approx(4), "yes")
    assert beats["found low"] > 0
    share = by_goal["percent of the oracle's gain", "best of top-1, average"]
    # on a: 68 - 60 of 80 - 60
    assert (share["found"], share["met"]) == (pytest.approx(40), "no")
    half = "percent of targets at plain tuning's final score in half the steps"
    assert by_goal[half, "best of top-1, average"]["found"] == 50
    assert len(by_goal) == 5


def test_a_target_that_was_cut_is_marked(findings: BudgetFindings) -> None:
    rows = TABLES["targets"](findings)
    assert {row["target"]: row.get("partial data") for row in rows} == {"a": None, "b": "yes"}


def test_figures_of_one_target_and_seed_have_no_interval(findings: BudgetFindings) -> None:
    alone = Compared(findings.trials[:1], findings)
    gain = alone.gain("oracle", at=0)
    assert gain.mean == 30
    assert np.isnan(gain.low)


def test_the_nested_bootstrap_draws_groups_and_rows_within_them() -> None:
    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(values.mean(axis=(1, 2)))

    groups = nested_bootstrap(mean, np.array([[0.0, 0.0], [10.0, 10.0]]), draws=500)
    assert (groups.mean, groups.low, groups.high) == (5, 0, 10)
    rows = nested_bootstrap(mean, np.array([[0.0, 10.0]]), draws=500)
    assert (rows.mean, rows.low, rows.high) == (5, 0, 10)
    alike = nested_bootstrap(mean, np.full((4, 3), 2.0), draws=50)
    assert (alike.low, alike.high) == (2, 2)
    assert not nested_bootstrap(mean, np.ones((1, 1)), draws=50).sure
