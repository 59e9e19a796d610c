"""Which recipe is chosen where none is given, and targets that are trained by another than the sources."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bank import Bank, Partition
from bank.integrity import verify
from bank.listing import list_runs, show_run
from spot.backbone.load import Backbone
from spot.cli.options import announcement
from spot.errors import RetrievalError, TrainingError
from spot.study.plan import StudyPlan
from spot.study.run import run_study
from spot.training.defaults import learning_rate
from spot.training.optimizers import Optimizer
from spot.training.recipe import Recipe
from spot.transfer import long_runs
from spot.transfer.datasets import Datasets
from spot.transfer.long_runs import operations
from spot.transfer.recipes import Base, Chooser, Chosen, deviation
from spot.transfer.runs import Trainer
from spot.transfer.transfer import TransferOptions, run_transfer
from tasks.task import Task
from tests.spot.transfer.conftest import World
from tests.spot.transfer.doubles import RefusingExecutor

FALLING = Recipe(
    prompt_length=4,
    batch_size=8,
    steps=12,
    key_step=6,
    evaluate_every=6,
    max_input=16,
    max_target=8,
    optimizer=Optimizer(learning_rate=0.2, schedule="linear"),
)


@pytest.fixture
def falling(tmp_path: Path, backbone: Backbone, tasks: dict[str, Task]) -> Any:
    """A bank with two sources of a falling schedule."""
    with Bank.open(tmp_path / "falling.sqlite") as bank:
        trainer = Trainer(bank, backbone, FALLING)
        for name in ("first", "second"):
            trainer.run(tasks[name], seed=0, role="source")
        yield trainer


def choose(
    bank: Bank,
    backbone: Backbone,
    what: str,
    tasks: list[Task],
    preset: Base | None = None,
    **given: Any,
) -> Chosen:
    chooser = Chooser(given, bank=bank, datasets=Datasets(backbone), preset=preset)
    return chooser.choose(what, tasks)


# -- what is chosen ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["sources", "target", "query"])
def test_with_nothing_given_the_recipe_is_that_of_the_bank_s_sources(
    what: str, world: World, backbone: Backbone, recipe: Recipe
) -> None:
    chosen = choose(world.bank, backbone, what, [world.target])
    assert (chosen.recipe, chosen.sources, chosen.others) == (recipe, None, [])
    assert chosen.origin == "that of the bank's 5 sources"


def test_the_number_of_examples_of_the_sources_is_not_the_target_s(
    falling: Trainer, backbone: Backbone, tasks: dict[str, Task], tmp_path: Path
) -> None:
    limited = dataclasses.replace(FALLING, train_limit=16, dev_limit=8)
    with Bank.open(tmp_path / "limited.sqlite") as bank:
        Trainer(bank, backbone, limited).run(tasks["first"], seed=0, role="source")
        assert choose(bank, backbone, "sources", []).recipe == limited
        chosen = choose(bank, backbone, "target", [])
        assert chosen.recipe == dataclasses.replace(limited, train_limit=0)


def test_a_target_of_more_steps_keeps_the_sources_recipe_for_its_query(
    falling: Trainer, backbone: Backbone
) -> None:
    chosen = choose(falling.bank, backbone, "target", [], steps=24)
    assert chosen.recipe == dataclasses.replace(FALLING, steps=24)
    assert chosen.sources == FALLING
    assert any(
        line.startswith("queries: by the sources' recipe, 4 tokens, 12 steps")
        for line in chosen.lines()
    )
    assert chosen.document()["queries"]["steps"] == 12
    assert chosen.document()["origin"] == "that of the bank's 2 sources, with steps as given"


def test_steps_that_leave_the_key_as_it_is_need_no_query_of_their_own(
    world: World, backbone: Backbone, recipe: Recipe
) -> None:
    chosen = choose(world.bank, backbone, "target", [], steps=60)
    assert (chosen.recipe.steps, chosen.sources) == (60, None)


def test_of_several_groups_of_sources_the_largest_is_chosen_unless_options_say_which(
    world: World, backbone: Backbone, recipe: Recipe, tasks: dict[str, Task]
) -> None:
    Trainer(world.bank, backbone, FALLING).run(tasks["first"], seed=0, role="source")
    largest = choose(world.bank, backbone, "target", [])
    assert largest.recipe == recipe
    (note,) = largest.notes()
    assert note.startswith("sources that cannot be compared with these: 1 (4 tokens, 12 steps of 8")
    given = {"learning_rate": 0.2, "schedule": "linear", "steps": 12, "key_step": 6}
    named = choose(world.bank, backbone, "target", [], **given)
    assert (named.recipe.optimizer, named.sources) == (FALLING.optimizer, None)
    assert "5 (4 tokens, 40 steps of 8" in named.notes()[0]


def test_a_named_preset_is_not_the_bank_s_and_its_query_still_is(
    falling: Trainer, backbone: Backbone
) -> None:
    preset = Base("preset mine", Recipe(prompt_length=4, steps=90, key_step=30))
    chosen = choose(falling.bank, backbone, "target", [], preset, batch_size=2)
    assert chosen.recipe == dataclasses.replace(preset.recipe, batch_size=2)
    assert chosen.origin == "preset mine, with batch size as given"
    assert chosen.sources == FALLING
    of_sources = choose(falling.bank, backbone, "sources", [], preset)
    assert of_sources.recipe == preset.recipe
    assert "2 (4 tokens, 12 steps" in of_sources.notes()[0]


def test_an_empty_bank_gives_a_recipe_that_fits_backbone_and_data(
    tmp_path: Path, backbone: Backbone, tasks: dict[str, Task]
) -> None:
    with Bank.open(tmp_path / "empty.sqlite") as bank:
        chosen = choose(bank, backbone, "sources", [tasks["first"], tasks["second"]])
    recipe = chosen.recipe
    assert (recipe.prompt_length, recipe.steps, recipe.key_step) == (20, 150, 50)
    assert recipe.optimizer == Optimizer(
        learning_rate=learning_rate(deviation(backbone), 20), schedule="linear"
    )
    assert (recipe.max_input, recipe.max_target) == (32, 8)
    assert "learning_rate" in chosen.document()["why"]
    assert any(line.startswith("  learning rate") for line in chosen.lines())


def test_prompts_of_another_length_do_not_follow_the_bank(
    falling: Trainer, backbone: Backbone, tasks: dict[str, Task]
) -> None:
    chosen = choose(falling.bank, backbone, "sources", [tasks["first"]], prompt_length=5)
    assert chosen.recipe.steps == 150
    assert chosen.notes()


def test_precision_and_backbone_of_the_sources_must_be_those_of_the_run(
    falling: Trainer, backbone: Backbone, tasks: dict[str, Task]
) -> None:
    for changes in ({"dtype": "bfloat16"}, {"fingerprint": "f" * 64}):
        other = dataclasses.replace(backbone, **changes)
        assert choose(falling.bank, other, "sources", [tasks["first"]]).recipe.steps == 150


# -- targets of another recipe -------------------------------------------------------------------------------


def test_the_query_of_a_longer_target_is_the_key_of_the_sources_recipe_bit_for_bit(
    falling: Trainer, tasks: dict[str, Task]
) -> None:
    target = tasks["target"]
    longer = dataclasses.replace(FALLING, steps=24, batch_size=4)
    trainer = falling.with_recipe(longer, sources=FALLING)
    outcome = run_transfer(trainer, target, seed=0, options=TransferOptions(top_k=2))
    as_source = falling.run(target, seed=0, role="source")
    assert as_source.key and outcome.query.key == as_source.key
    assert outcome.query.steps == FALLING.key_step
    assert outcome.baseline and outcome.baseline.steps == 24
    assert {candidate.steps for candidate in outcome.candidates} == {24}
    roles = [row["role"] for row in list_runs(falling.bank.engine, task="target")]
    assert sorted(roles) == ["baseline", "query", "source", "transfer", "transfer"]
    assert verify(falling.bank) == []
    outcomes = falling.bank.outcomes(falling.partition)
    assert {known.source for known in outcomes} == {"first", "second"}
    assert falling.bank.outcomes(trainer.partition) == []
    digests = [each.recipe.record(each.backbone).digest for each in (trainer, falling)]
    held = [falling.bank.outcomes(falling.partition, recipe=digest) for digest in digests]
    assert [len(found) for found in held] == [2, 0]
    idle = Trainer(
        falling.bank, falling.backbone, longer, sources=FALLING, executor=RefusingExecutor()
    )
    assert run_transfer(idle, target, seed=0, options=TransferOptions(top_k=2)) == outcome


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (
            "UPDATE transfer SET baseline_run_id = query_run_id",
            "is of another recipe than its chosen run",
        ),
        (
            "UPDATE recipe SET prompt_length = 5 WHERE id = (SELECT recipe_id FROM run WHERE role = 'query')",
            "is of another prompt length than its chosen run",
        ),
    ],
)
def test_runs_that_a_transfer_compares_are_of_one_recipe_and_its_query_of_their_length(
    falling: Trainer, tasks: dict[str, Task], damage: str, problem: str
) -> None:
    trainer = falling.with_recipe(dataclasses.replace(FALLING, steps=8), sources=FALLING)
    run_transfer(trainer, tasks["target"], seed=0, options=TransferOptions(top_k=1))
    with falling.bank.engine.begin() as connection:
        connection.exec_driver_sql(damage)
    assert any(problem in str(found) for found in verify(falling.bank))


def test_a_query_sees_no_more_examples_than_its_target(
    falling: Trainer, tasks: dict[str, Task]
) -> None:
    few = dataclasses.replace(FALLING, steps=8, train_limit=8, dev_limit=4)
    trainer = falling.with_recipe(few, sources=FALLING)
    asked = trainer.querying.recipe
    assert asked == dataclasses.replace(FALLING, train_limit=8, dev_limit=4)
    options = TransferOptions(top_k=1, baseline=False)
    outcome = run_transfer(trainer, tasks["target"], seed=0, options=options)
    shown = show_run(falling.bank.engine, outcome.query.digest)
    assert (shown["role"], shown["recipe"]["train_limit"]) == ("query", 8)
    assert outcome.chosen_run.steps == 8


def test_without_another_recipe_the_baseline_is_the_query(falling: Trainer) -> None:
    later = dataclasses.replace(FALLING, evaluate_every=3)
    assert falling.querying is falling
    trainer = falling.with_recipe(later, sources=FALLING)
    assert trainer.querying is trainer


def test_a_method_that_asks_for_no_source_trains_no_query(
    falling: Trainer, tasks: dict[str, Task]
) -> None:
    trainer = falling.with_recipe(dataclasses.replace(FALLING, steps=8), sources=FALLING)
    outcome = run_transfer(trainer, tasks["target"], seed=0, options=TransferOptions(method="none"))
    assert outcome.query == outcome.baseline == outcome.chosen_run
    assert verify(falling.bank) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_length": 5}, "prompt length 5 of the target's recipe is not the sources' 4"),
        ({"form": "deep"}, "form deep of the target's recipe is not the sources' prompt"),
    ],
)
def test_a_target_s_prompts_keep_the_sources_shape(
    falling: Trainer, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        falling.with_recipe(dataclasses.replace(FALLING, **changes), sources=FALLING)


def test_a_query_by_itself_must_be_of_the_sources_recipe(
    falling: Trainer, backbone: Backbone, tasks: dict[str, Task]
) -> None:
    chosen = choose(falling.bank, backbone, "query", [], learning_rate=0.5)
    trainer = Trainer(falling.bank, backbone, chosen.recipe, executor=RefusingExecutor())
    with pytest.raises(RetrievalError, match=r"keys with learning rate 0.2, not 0.5"):
        run_transfer(trainer, tasks["target"], seed=0, options=TransferOptions())


def test_a_study_trains_targets_by_their_own_recipe(
    falling: Trainer, tasks: dict[str, Task]
) -> None:
    plan = StudyPlan(
        sources=["first", "second"],
        targets=["target"],
        source_seeds=1,
        target_seeds=1,
        k=[1],
        measures=["average"],
    )
    sources, targets = ([tasks[name] for name in names] for names in (plan.sources, plan.targets))
    longer = dataclasses.replace(FALLING, steps=18)
    for recipe in (FALLING, longer):
        findings = run_study(plan, sources, targets, trainer=falling, target_recipe=recipe)
        (trial,) = findings.trials
        assert findings.steps == recipe.steps
        assert max(row["step"] for row in trial.baseline.history) == recipe.steps
        key = falling.run(tasks["target"], seed=0, role="source").key
        assert np.array_equal(trial.query, falling.bank.prompt(key or ""))
    assert verify(falling.bank) == []


# -- what is said --------------------------------------------------------------------------------------------


def test_what_is_chosen_is_said_once(
    backbone: Backbone, recipe: Recipe, capfd: pytest.CaptureFixture[str]
) -> None:
    announce = announcement(Chosen(recipe=recipe, origin="mine"), backbone)
    assert capfd.readouterr().err == ""
    announce(), announce()
    assert capfd.readouterr().err.count("recipe: mine\n") == 1


def test_what_trains_is_announced_and_what_the_bank_holds_is_not(
    world: World, backbone: Backbone, recipe: Recipe
) -> None:
    class Idle:
        workers = 1

        def train(self, groups: Any) -> dict[str, Any]:
            said.append("trains")
            return {}

    said: list[str] = []
    trainer = Trainer(
        world.bank, backbone, recipe, executor=Idle(), announce=lambda: said.append("announced")
    )
    trainer.run(world.target, seed=0, role="source")
    assert said == []
    trainer.run_all([trainer.spec(world.target, 7, "source")])
    assert said == ["announced", "trains"]


def test_days_on_a_cpu_are_said_and_minutes_are_not(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe()

    def told(seconds: float) -> str:
        monkeypatch.setattr(long_runs, "least_seconds", lambda *_: seconds)
        announcement(Chosen(recipe=recipe, origin="mine"), backbone)()
        return capfd.readouterr().err

    assert "warning" not in told(3599)
    line = told(20 * 86_400)
    assert (
        "30000 steps of 32 examples of up to 612 tokens are about 20.0 d a run on this CPU" in line
    )
    assert "about 5.0 h a run" in told(5 * 3600)
    shorter = dataclasses.replace(recipe, steps=15_000)
    assert operations(recipe, backbone) == 2 * operations(shorter, backbone) > 0


def test_a_bank_tells_by_what_its_sources_were_trained(
    world: World, backbone: Backbone, recipe: Recipe
) -> None:
    (known,) = world.bank.source_recipes()
    assert known.partition == Partition.of(recipe.record(backbone))
    assert (known.sources, known.backbone) == (5, backbone.name)
    assert Recipe.from_options(known.options) == recipe


@pytest.mark.parametrize(
    "options", [{}, {"steps": 30}, {"imported": True}, Recipe().flat(), {"later": 1}]
)
def test_options_that_are_no_recipe_s_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TrainingError):
        Recipe.from_options(options)
