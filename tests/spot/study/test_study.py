"""A study end to end on a random backbone: what is trained, what tables say, and what a second call does."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from spot.study.baselines import BAG_OF_WORDS, MOST_FREQUENT
from spot.study.findings import Findings
from spot.study.forecast import foresee_study
from spot.study.plan import StudyPlan
from spot.study.plots import PLOTS, write_plots
from spot.study.run import Study, run_study
from spot.study.tables import (
    TABLES,
    as_markdown,
    method_rows,
    methods,
    score,
    target_rows,
    write_tables,
)
from spot.transfer.halving import replay
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
    measures=["average", "vocabulary", "trial", "evidence"],
    methods=["average", "mixture"],
    methods_k=[2],
    generic="first",
    train_limit=16,
    sizes=[8],
)


def study(trainer: Trainer, tasks: dict[str, Task]) -> Findings:
    sources, targets = ([tasks[name] for name in names] for names in (PLAN.sources, PLAN.targets))
    return run_study(PLAN, sources, targets, trainer=trainer)


@pytest.fixture
def findings(world: World, tasks: dict[str, Task]) -> Findings:
    return study(world.trainer, tasks)


def test_a_study_that_has_run_has_nothing_to_train_and_a_new_one_as_much_as_it_then_does(
    world: World, tasks: dict[str, Task]
) -> None:
    sources, targets = ([tasks[name] for name in names] for names in (PLAN.sources, PLAN.targets))
    wanted = Study(PLAN, sources, targets, world.trainer, world.trainer.recipe, lambda _line: None)
    known = world.bank.sources(world.trainer.partition)
    before = world.bank.count_rows()
    foresight = foresee_study(wanted)
    count = sum(row.train for row in foresight.wanted())
    assert world.bank.count_rows() == before
    wanted.run()
    assert world.bank.count_rows()["run"] - before["run"] == count, known
    assert [row.train for row in foresee_study(wanted).wanted()].count(0) == len(
        foresee_study(wanted).wanted()
    )


def test_every_source_is_tried_on_every_target_and_seed(world: World, findings: Findings) -> None:
    assert [(trial.target, trial.seed) for trial in findings.trials] == [
        ("target", 0), ("target", 1), ("fourth", 0), ("fourth", 1),
    ]  # fmt: skip
    for trial in findings.trials:
        assert trial.target not in trial.sources
        assert {*PLAN.sources} <= set(trial.sources) | {trial.target}
        assert set(trial.worth) == set(PLAN.measures)
        assert all(set(worth) >= set(trial.sources) for worth in trial.worth.values())
        assert set(trial.others) == {"average of top-2", "mixture of top-2", "generic first"}
    small, whole = findings.sized[:2], findings.sized[2:]
    assert [(sized.target, sized.size) for sized in small] == [("target", 8), ("fourth", 8)]
    assert [(sized.target, sized.size) for sized in whole] == [("target", 16), ("fourth", 16)]
    for sized in whole:
        trials = [trial for trial in findings.trials if trial.target == sized.target]
        assert sized.without == [score(trial.baseline) for trial in trials]
        assert sized.with_transfer == [
            score(trial.sources[trial.head("average", 1)[0]]) for trial in trials
        ]


def test_a_second_call_trains_nothing_and_finds_the_same(
    world: World, tasks: dict[str, Task], findings: Findings, tmp_path: Path
) -> None:
    before = world.bank.count_rows()
    again = study(refusing(world.trainer), tasks)
    assert world.bank.count_rows() == before
    first, second = (
        write_tables(found, tmp_path / name) for found, name in ((findings, "a"), (again, "b"))
    )
    assert first == second


def test_the_methods_are_compared_with_no_transfer_and_the_oracle(findings: Findings) -> None:
    rows = {row["method"]: row for row in method_rows(findings)}
    assert list(rows)[:3] == [MOST_FREQUENT, BAG_OF_WORDS, "no transfer"]
    assert list(rows)[-1] == "oracle"
    assert rows["no transfer"]["gain"] == 0
    assert rows["oracle"]["share of the oracle's gain"] in (0, 1)
    for target in findings.tasks:
        own = [trial for trial in findings.trials if trial.target == target]
        assert rows["no transfer"][target] == pytest.approx(
            np.mean([score(trial.baseline) for trial in own])
        )
        top = [score(trial.best(trial.head("average", 2))) for trial in own]
        assert rows["best of top-2, average"][target] == pytest.approx(np.mean(top))
    full = findings.steps
    assert rows["best of top-2, trial"]["steps"] == 2 * full
    assert rows["halving of top-2, average"]["steps"] < 3 * full


def test_what_needs_no_prompt_is_learnt_from_the_same_examples(
    world: World, findings: Findings
) -> None:
    for target, splits in findings.baselines.items():
        assert set(splits) == {MOST_FREQUENT, BAG_OF_WORDS}
        answers = splits[MOST_FREQUENT][Split.TEST].answers
        assert len(set(answers)) == 1
        assert len(answers) == len(findings.examples[target])
        words = splits[BAG_OF_WORDS][Split.TEST].metrics["score"]
        assert words > splits[MOST_FREQUENT][Split.TEST].metrics["score"], (
            "the first word of a text decides its label"
        )


def test_a_target_alone_among_its_sources_is_left_out_of_its_row(findings: Findings) -> None:
    for trial in findings.trials:
        for choice in methods(findings).values():
            found = choice(trial)
            assert found is None or score(found[0]) >= 0


def test_gains_of_targets_have_paired_intervals(findings: Findings) -> None:
    for row in target_rows(findings):
        for title in ("top-1", "top-2", "oracle"):
            assert row[f"{title} low"] <= row[f"{title} gain"] <= row[f"{title} high"]
        assert 0 <= row["sources that hurt"] <= 1


def test_tables_and_plots_are_written(findings: Findings, tmp_path: Path) -> None:
    written = write_tables(findings, tmp_path)
    assert set(written) == set(TABLES)
    with (tmp_path / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(trial.sources) for trial in findings.trials)
    assert {*PLAN.measures, "dev", "test"} <= set(rows[0])
    text = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert "| oracle |" in text
    assert "90 % interval that `evidence` expected" in text
    pictures = write_plots(findings, tmp_path)
    assert [path.stem for path in pictures] == list(PLOTS)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_a_cell_holds_its_interval() -> None:
    rows = [{"method": "a", "gain": 1.0, "gain low": -0.5, "gain high": 2.25, "steps": 3}]
    assert as_markdown(rows).splitlines()[2] == "| a | 1.00 [-0.50, 2.25] | 3 |"


def test_halving_read_off_full_runs_is_what_the_race_gives(world: World) -> None:
    starts = list(world.bank.keys(world.trainer.partition, exclude=["target"]).values)[:4]
    heat = [world.trainer.spec(world.target, 3, "transfer", start) for start in starts]
    (raced,) = world.trainer.race([heat])
    full = world.trainer.run_all(heat)
    recipe = world.trainer.recipe
    histories = [world.bank.history(run.digest) for run in full]
    winner, steps = replay(histories, steps=recipe.steps, evaluate_every=recipe.evaluate_every)
    ended = [i for i, contestant in enumerate(raced) if contestant.run]
    assert winner == max(ended, key=lambda i: raced[i].score)
    assert steps == sum(contestant.steps for contestant in raced)


def test_trainers_of_other_sizes_share_bank_and_partition(world: World) -> None:
    smaller = world.trainer.with_recipe(dataclasses.replace(world.trainer.recipe, train_limit=8))
    assert isinstance(smaller, Trainer)
    assert smaller.partition == world.trainer.partition
