"""A trainer: every run once, and the bank tells everything about it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bank import Bank, RunRecord
from bank.integrity import verify
from bank.listing import show_run
from spot.backbone.load import Backbone
from spot.errors import DivergenceError, Interrupted
from spot.inference.decoding import Decoding
from spot.inference.predict import predict
from spot.training.jobs import Silent
from spot.training.prompt_tuning import train_prompt
from spot.training.recipe import Recipe
from spot.transfer.datasets import Datasets
from spot.transfer.evaluator import Evaluator
from spot.transfer.executors import LocalExecutor
from spot.transfer.runs import Trainer
from tasks import get_task
from tasks.task import Split, Task
from tests.spot.training.conftest import write_task
from tests.spot.transfer.conftest import World
from tests.spot.transfer.doubles import FailingExecutor, RefusingExecutor, StopsAt, refusing


def test_a_run_goes_into_the_bank_as_it_was_trained(
    world: World, backbone: Backbone, recipe: Recipe
) -> None:
    run = world.trainer.run(world.target, seed=4, role="source")
    alone = train_prompt(backbone, world.trainer.data(world.target), recipe, seed=4)
    assert run.key is not None
    assert world.bank.prompt(run.key).tobytes() == alone.key.tobytes()
    assert world.bank.prompt(run.value).tobytes() == alone.value.tobytes()
    assert (run.score, run.steps, run.metrics) == (
        alone.metrics["score"],
        recipe.steps,
        alone.metrics,
    )
    shown = show_run(world.bank.engine, run.digest)
    assert shown["history"] == alone.history
    assert [snapshot["kind"] for snapshot in shown["snapshots"]].count("key") == 1
    assert {snapshot["kind"]: snapshot["step"] for snapshot in shown["snapshots"]}[
        "key"
    ] == recipe.key_step
    assert shown["environment"]["data"]["examples"] == 32
    assert shown["environment"]["device"].startswith("cpu")
    assert verify(world.bank) == []


def test_a_record_says_what_shared_its_program(world: World) -> None:
    both = world.trainer.run_all(
        [world.trainer.spec(world.target, seed, "source") for seed in (6, 7)]
    )
    programs = [show_run(world.bank.engine, run.digest)["environment"]["program"] for run in both]
    assert programs[0] == programs[1]
    assert programs[0]["slots"] == len(set(programs[0]["shared with"])) == 2
    alone = show_run(
        world.bank.engine, world.trainer.run(world.target, seed=8, role="source").digest
    )
    assert alone["environment"]["program"] == {"slots": 1, "shared with": []}


def test_inputs_that_are_cut_are_told_once_and_before_training(
    world: World, backbone: Backbone, recipe: Recipe
) -> None:
    said: list[str] = []
    short = dataclasses.replace(recipe, max_input=4)
    datasets = Datasets(backbone, tell=said.append)
    trainer = Trainer(world.bank, backbone, short, datasets=datasets, executor=RefusingExecutor())
    with pytest.raises(AssertionError, match="trained"):
        trainer.run_all([trainer.spec(world.target, seed, "source") for seed in (0, 1)])
    floor, line = said
    assert floor.startswith("target: the most frequent answer scores ")
    assert line == "target: 32 of 32 training inputs are cut at 4 tokens (--max-input)"
    said.clear()
    Datasets(backbone, tell=said.append).splits(
        world.target, dataclasses.replace(recipe, max_target=3)
    )
    assert "target: 32 of 32 training targets are cut at 3 tokens (--max-target)" in said


def test_rows_that_are_left_out_are_told_before_training(
    world: World, backbone: Backbone, recipe: Recipe, tmp_path: Path
) -> None:
    said: list[str] = []
    path = write_task(tmp_path, "target", sizes=(32, 16, 16))
    path.write_text(
        path.read_text(encoding="utf-8").replace("[data]", "[data]\nallow_bad_rows = 2"),
        encoding="utf-8",
    )
    with (tmp_path / "target_train.csv").open("a", encoding="utf-8") as out:
        out.write("no label\nnor here\n")
    Datasets(backbone, tell=said.append).splits(get_task(str(path)), recipe)
    assert "target: 2 rows of train are left out (not 2 columns: 2)" in said


def test_a_run_that_the_bank_holds_is_not_trained_again(world: World) -> None:
    first = world.trainer.run(world.target, seed=4, role="source")
    assert refusing(world.trainer).run(world.target, seed=4, role="source") == first


def test_a_source_and_a_baseline_train_alike_and_only_once(world: World) -> None:
    source = world.trainer.run(world.target, seed=4, role="source")
    trainer = refusing(world.trainer)
    baseline = trainer.run(world.target, seed=4, role="baseline")
    assert baseline == dataclasses.replace(source, digest=baseline.digest)
    assert show_run(world.bank.engine, baseline.digest)["role"] == "baseline"
    with pytest.raises(AssertionError, match="trained"):
        trainer.run(world.target, seed=5, role="baseline")


def test_seed_role_start_and_recipe_make_runs_of_their_own(
    world: World, backbone: Backbone, recipe: Recipe
) -> None:
    first = world.trainer.run(world.target, seed=0, role="source")
    baseline = world.trainer.run(world.target, seed=0, role="baseline")
    started = world.trainer.run(world.target, seed=0, role="transfer", start=first.value)
    other = Trainer(world.bank, backbone, dataclasses.replace(recipe, dev_limit=4))
    again = other.run(world.target, seed=0, role="source")
    assert len({run.digest for run in (first, baseline, started, again)}) == 4
    assert baseline.key == first.key
    assert show_run(world.bank.engine, started.digest)["started from"] == first.value
    assert show_run(world.bank.engine, baseline.digest)["started from"] is None


def test_a_query_ends_at_the_key_step_with_the_key_of_a_whole_run(
    world: World, recipe: Recipe
) -> None:
    query = world.trainer.run(world.target, seed=0, role="query")
    source = world.trainer.run(world.target, seed=0, role="source")
    assert query.steps == recipe.key_step
    assert query.key == source.key


def test_a_finished_run_leaves_no_checkpoint_behind(world: World) -> None:
    world.trainer.run(world.target, seed=7, role="source")
    assert list(world.runs.iterdir()) == []


class LockedBank(Bank):
    """Takes no run."""

    def record_run(self, record: RunRecord) -> str:
        raise OSError("database is locked")


class TrainsNothing(Silent):
    """The progress of a run that makes no step."""

    def advance(self, step: int, loss: float, tokens: int) -> None:
        raise AssertionError("trained again")


def test_a_run_that_finished_before_the_bank_took_it_is_not_trained_again(world: World) -> None:
    backbone, recipe, datasets = (
        world.trainer.backbone,
        world.trainer.recipe,
        world.trainer.datasets,
    )
    with pytest.raises(OSError, match="locked"):
        Trainer(LockedBank(world.bank.engine), backbone, recipe, folder=world.runs).run(
            world.target, seed=8, role="source"
        )
    assert len(list(world.runs.glob("*/checkpoint.msgpack"))) == 1
    executor = LocalExecutor(world.bank, datasets, reporters=lambda _title: TrainsNothing())
    again = Trainer(
        world.bank, backbone, recipe, datasets=datasets, executor=executor, folder=world.runs
    )
    assert again.run(world.target, seed=8, role="source").steps == 40


def test_a_run_that_diverges_leaves_the_bank_alone(world: World) -> None:
    before = world.bank.count_rows()
    executor = FailingExecutor(DivergenceError("loss is nan"))
    trainer = Trainer(world.bank, world.trainer.backbone, world.trainer.recipe, executor=executor)
    with pytest.raises(DivergenceError):
        trainer.run(world.target, seed=9, role="source")
    assert world.bank.count_rows() == before


def test_every_run_has_its_own_progress_under_its_title(
    world: World, backbone: Backbone, recipe: Recipe
) -> None:
    titles: list[str] = []
    datasets = world.trainer.datasets
    executor = LocalExecutor(world.bank, datasets, reporters=lambda title: titles.append(title))
    trainer = Trainer(world.bank, backbone, recipe, datasets=datasets, executor=executor)
    trainer.run(world.target, seed=5, role="source")
    trainer.run(world.target, seed=5, role="source")
    assert titles == ["source target seed 5"]


def test_test_metrics_are_of_the_value_on_the_test_split_and_are_kept(
    world: World, backbone: Backbone
) -> None:
    runs = [world.trainer.run(world.target, seed=seed, role="source") for seed in (0, 1)]
    test = world.trainer.data(world.target)[Split.TEST]
    evaluations = world.trainer.test_all(world.target, runs)
    for run, evaluation in zip(runs, evaluations, strict=True):
        answers = predict(backbone, world.bank.prompt(run.value), test.examples, test.tokens)
        assert evaluation.answers == answers
        assert evaluation.metrics == world.target.score(answers, test.examples)
    assert refusing(world.trainer).test_all(world.target, runs) == evaluations


def test_answers_of_another_decoding_are_kept_apart(world: World) -> None:
    generating = world.trainer.with_recipe(
        dataclasses.replace(world.trainer.recipe, evaluate_by="generate")
    )
    run = generating.run(world.target, seed=0, role="source")
    short = Evaluator(world.bank, world.trainer.datasets, decoding=Decoding(max_new_tokens=1))
    (greedy,) = generating.test_all(world.target, [run])
    (cut,) = short.test_all(world.target, [run], generating.recipe)
    assert cut.answers != greedy.answers
    assert generating.test_all(world.target, [run]) == [greedy]
    assert short.test_all(world.target, [run], generating.recipe) == [cut]
    decodings = [row["decoding"] for row in show_run(world.bank.engine, run.digest)["evaluations"]]
    assert sorted(decodings, key=str) == [None, {"max_new_tokens": 1}]


def test_another_metric_makes_another_run(world: World, tmp_path: Path) -> None:
    path = write_task(tmp_path, "edited", sizes=(16, 8, 8))
    first = world.trainer.run(get_task(str(path)), seed=0, role="source")
    path.write_text(
        path.read_text(encoding="utf-8").replace("accuracy", "macro_f1"), encoding="utf-8"
    )
    second = Trainer(world.bank, world.trainer.backbone, world.trainer.recipe).run(
        get_task(str(path)), seed=0, role="source"
    )
    assert "macro_f1" in second.metrics
    assert first.digest != second.digest


def test_the_partition_is_the_recipes(
    world: World, backbone: Backbone, recipe: Recipe, tasks: dict[str, Task]
) -> None:
    partition = world.trainer.partition
    assert (partition.fingerprint, partition.prompt_length, partition.key_step) == (
        backbone.fingerprint,
        4,
        20,
    )
    assert set(world.bank.keys(partition).tasks) == set(tasks)


def test_runs_stopped_after_some_of_them_ended_go_on_where_they_were(world: World) -> None:
    reporter, datasets = StopsAt(6), world.trainer.datasets
    executor = LocalExecutor(world.bank, datasets, reporters=lambda _title: reporter)
    trainer = Trainer(
        world.bank,
        world.trainer.backbone,
        world.trainer.recipe,
        datasets=datasets,
        executor=executor,
        folder=world.runs,
        slots=1,
    )
    specs = [trainer.spec(world.target, seed, "source") for seed in (3, 4, 5)]
    with pytest.raises(Interrupted):
        trainer.run_all(specs)
    assert world.bank.run(trainer.plan(specs)[0].digest) is not None
    assert len(trainer.run_all(specs)) == 3
    assert reporter.began == [0, 0, 20, 0], "the second goes on, the third begins"
    assert list(world.runs.iterdir()) == []
