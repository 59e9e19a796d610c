"""A search finds what a full grid finds, at half a run's cost, whatever happens to it on the way."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.backbone.load import Backbone
from spot.errors import Interrupted, TrainingError
from spot.inference.predict import mean_losses
from spot.training.configurations import Configuration, configurations
from spot.training.found import Found, found_by
from spot.training.jobs import Progress, Reporter
from spot.training.optimizers import Optimizer
from spot.training.prompt_tuning import train_prompt
from spot.training.recipe import Recipe
from spot.training.rounds import GivesUpWorse, Rounds, best_first
from spot.training.search import Search
from spot.training.task_data import TaskData
from tasks import get_task
from tasks.task import Split, Task
from tests.closeness import assert_close
from tests.spot.training.conftest import write_task
from tests.spot.transfer.doubles import StopsAt

RATES = (1e-4, 1e-6, 0.05, 1e-5)
"""Of which one is large enough to learn anything in a few steps."""

STEPS = 70

HUGE = 2e9
"""A rate at which prompts are soon not finite where decay is scaled by it."""


def at(*rates: float, init: str = "vocabulary") -> list[Configuration]:
    return [Configuration(learning_rate=rate, init=init) for rate in rates]


def reached(step: int, loss: float, **facts: Any) -> Progress:
    return Progress(step=step, history=[{"step": step, "development loss": loss}], **facts)


@pytest.fixture(scope="module")
def longer(recipe: Recipe) -> Recipe:
    optimizer = Optimizer(schedule="linear", warmup_steps=3)
    return dataclasses.replace(recipe, steps=STEPS, optimizer=optimizer)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone, recipe: Recipe) -> TaskData:
    path = write_task(tmp_path_factory.mktemp("other"), "other", seed=5)
    task = get_task(str(path))
    assert isinstance(task, Task)
    return TaskData(task, backbone, recipe)


@pytest.fixture(scope="module")
def growing(longer: Recipe) -> Recipe:
    """AdamW's decay is scaled by the rate: ``HUGE`` multiplies prompts by that many a step."""
    optimizer = Optimizer(name="adamw", weight_decay=1.0)
    return dataclasses.replace(longer, optimizer=optimizer)


@pytest.fixture
def searching(backbone: Backbone, data: TaskData, longer: Recipe) -> Callable[..., Search]:
    def make(*rates: float, **changes: Any) -> Search:
        given: dict[str, Any] = {"backbone": backbone, "data": [data], "recipe": longer, "seed": 1}
        return Search(**given | {"tried": at(*(rates or RATES))} | changes)

    return make


# -- what is tried -------------------------------------------------------------------------------------------


def test_rates_stand_in_half_decades_around_the_recipes_own_which_comes_first(task: Task) -> None:
    recipe = Recipe(optimizer=Optimizer(learning_rate=0.123))
    tried = configurations(recipe, ["learning_rate"], [task])
    assert [one.learning_rate for one in tried] == [0.123, 0.039, 0.39, 0.012, 1.2, 0.0039]
    assert {one.init for one in tried} == {"vocabulary"}


def test_the_rate_that_is_found_can_be_typed_and_is_the_same_recipe(task: Task) -> None:
    recipe = Recipe()
    for one in configurations(recipe, ["learning_rate", "init"], [task]):
        typed = Optimizer(learning_rate=float(f"{one.learning_rate:g}"))
        assert one.of(recipe) == Recipe(optimizer=typed, init=one.init)


def test_labels_are_tried_where_every_task_has_some_that_fit(task: Task) -> None:
    unlabelled = dataclasses.replace(task, labels=())

    def starts(*tasks: Task, length: int = 4) -> list[str]:
        recipe = Recipe(prompt_length=length)
        return [one.init for one in configurations(recipe, ["init"], tasks)]

    assert starts(task) == ["vocabulary", "labels", "uniform"]
    assert starts(task, unlabelled) == starts(task, length=1) == ["vocabulary", "uniform"]


def test_other_starts_are_tried_at_the_rates_nearest_to_the_recipes(task: Task) -> None:
    tried = configurations(Recipe(init="text:a word"), ["learning_rate", "init"], [task])
    by_start = {
        start: [one.learning_rate for one in of_start]
        for start, of_start in itertools.groupby(tried, key=lambda one: one.init)
    }
    assert list(by_start) == ["text:a word", "vocabulary", "labels", "uniform"]
    assert len(by_start["text:a word"]) == 6
    assert by_start["uniform"] == [0.3, 0.095, 0.95]


# -- when it looks, and what it costs ------------------------------------------------------------------------


def test_six_configurations_cost_half_a_run_of_which_the_best_two_train_fifteen_percent() -> None:
    rounds = Rounds.of(6, 2600)
    assert (rounds.every, rounds.survivors, rounds.steps) == (100, {100: 3, 200: 2}, 400)
    assert rounds.cost == 6 * 100 + 3 * 100 + 2 * 200 == 1300


@given(st.integers(2, 40), st.integers(1, 50_000))
def test_a_search_costs_at_most_half_a_run_unless_that_is_no_step_each(
    field: int, steps: int
) -> None:
    rounds = Rounds.of(field, steps)
    assert rounds.cost <= steps / 2 or rounds.every == 1
    assert rounds.steps <= steps
    left, before, spent = field, 0, 0
    for step, survivors in [*rounds.survivors.items(), (rounds.cost, 0)]:
        assert before < step
        end = step if survivors else max(rounds.every, 2 * before)
        spent += left * (end - before)
        left, before = survivors, end
    assert spent == rounds.cost


# -- who is given up -----------------------------------------------------------------------------------------


def test_the_best_has_the_least_mean_rank_over_tasks_however_large_the_losses_of_one() -> None:
    losses = np.array([[0.3, 90.0], [0.1, 91.0], [0.2, 92.0], [0.4, 10.0]])
    assert best_first(losses)[0] == 1, "ranks 0 and 2; the last has 3 and 0, the first 2 and 1"


def test_of_equal_ranks_the_nearer_to_the_best_losses_wins_and_then_the_earlier() -> None:
    assert best_first(np.array([[1.0, 9.0], [2.0, 3.0]])) == [1, 0]
    assert best_first(np.array([[2.0], [1.0], [1.0]])) == [1, 2, 0]


def test_the_worse_half_is_given_up_on_every_task() -> None:
    rule = GivesUpWorse([["a1", "a2"], ["b1", "b2"], ["c1", "c2"]], {10: 1})
    losses = {"a1": 3.0, "a2": 1.0, "b1": 1.0, "b2": 2.0, "c1": 2.0, "c2": 3.0}
    progress = {name: reached(10, loss) for name, loss in losses.items()}
    assert rule(progress) == ["a1", "a2", "c1", "c2"]
    assert rule({name: reached(9, loss) for name, loss in losses.items()}) == []


def test_what_diverged_on_one_task_is_given_up_on_the_others() -> None:
    rule = GivesUpWorse([["a1", "a2"], ["b1", "b2"]], {10: 1})
    assert rule({"a1": reached(10, 0.1), "b1": reached(10, 9), "b2": reached(10, 9)}) == ["a1"]


def test_what_came_furthest_and_is_finite_is_chosen() -> None:
    ends = [
        reached(10, 0.1),
        reached(40, 0.3),
        reached(40, 0.2, diverged=True),
        reached(40, np.nan),
    ]
    found = found_by(at(1, 2, 3, 4), [[end] for end in ends], tasks=["a"], seed=0, steps=100)
    assert found.chosen == 1
    assert [trial.diverged for trial in found.trials] == [False, False, True, True]
    assert (found.steps, found.runs) == (130, 1.3)


def test_where_all_that_came_furthest_diverged_the_best_of_the_others_is_chosen() -> None:
    ends = [reached(40, 0.1, diverged=True), reached(10, 0.3), reached(10, 0.2)]
    found = found_by(at(1, 2, 3), [[end] for end in ends], tasks=["a"], seed=0, steps=100)
    assert found.chosen == 2


# -- on a model ----------------------------------------------------------------------------------------------


def test_it_finds_what_a_full_grid_finds_at_the_cost_it_says(
    searching: Callable[..., Search], backbone: Backbone, data: TaskData, longer: Recipe
) -> None:
    search = searching()
    found = search.run()
    assert found.steps == search.rounds.cost == 30, "4 for 5 steps, then 2 for another 5"
    assert found.steps == sum(trial.steps for trial in found.trials)
    development = data[Split.DEV].tokens

    def final_loss(one: Configuration) -> float:
        trained = train_prompt(backbone, data, one.of(longer), seed=1)
        return float(mean_losses(backbone, [trained.value], development)[0])

    grid = [final_loss(one) for one in at(*RATES)]
    assert found.chosen == int(np.argmin(grid)) == 2


def test_what_it_tries_trains_as_a_run_of_its_recipe_does(
    searching: Callable[..., Search], backbone: Backbone, data: TaskData, longer: Recipe
) -> None:
    search = searching(0.05, 0.001)
    found = search.run()
    assert found.steps == 2 * search.rounds.every == 34
    for trial in found.trials:
        ((step, loss),) = trial.losses["cues"]
        recipe = trial.configuration.of(dataclasses.replace(longer, key_step=step))
        key = train_prompt(backbone, data, recipe, seed=1, stop_at_key=True).key
        assert_close(loss, mean_losses(backbone, [key], data[Split.DEV].tokens)[0], relative=1e-4)


def test_one_that_diverges_is_given_up_and_the_others_go_on(
    searching: Callable[..., Search], growing: Recipe
) -> None:
    found = searching(HUGE, 0.05, HUGE / 2, 1e-5, recipe=growing).run()
    assert found.configuration.learning_rate == 0.05
    assert [trial.diverged for trial in found.trials] == [True, False, True, False]


def test_where_all_diverge_one_line_says_so(
    searching: Callable[..., Search], growing: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError) as raised:
        searching(HUGE / 2, HUGE, recipe=growing).run(folder=tmp_path)
    assert str(raised.value) == (
        "no learning rate from 1e+09 to 2e+09 keeps the loss on cues finite: give a smaller --learning-rate, "
        "--warmup-steps, or float32 instead of bfloat16"
    )
    assert not list(tmp_path.glob("*.json"))


def test_several_tasks_train_together_and_share_what_is_found(
    searching: Callable[..., Search], data: TaskData, other: TaskData
) -> None:
    search = searching(data=[data, other])
    found = search.run()
    assert (found.tasks, found.chosen) == (["cues", "other"], 2)
    assert found.steps == 2 * search.rounds.cost
    assert found.runs == pytest.approx(search.rounds.cost / STEPS)


def test_starts_are_searched_for_likewise(
    searching: Callable[..., Search], longer: Recipe, task: Task
) -> None:
    found = searching(tried=configurations(longer, ["init"], [task])).run()
    assert [trial.configuration.init for trial in found.trials] == [
        "vocabulary",
        "labels",
        "uniform",
    ]
    first = [trial.losses["cues"][0][1] for trial in found.trials]
    assert len(set(first)) == 3
    assert found.runs <= 0.5


def test_a_given_prompt_stands_in_for_initialisers(
    searching: Callable[..., Search], backbone: Backbone
) -> None:
    prompt = np.zeros((4, backbone.width), np.float32)
    search, plain = searching(initial=prompt), searching()
    assert search.digest != plain.digest
    assert search.run().trials[1].losses != plain.run().trials[1].losses


# -- stopped and started again -------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluation", [2, 5])
def test_a_search_stopped_on_the_way_finds_bit_for_bit_what_one_left_alone_finds(
    evaluation: int, searching: Callable[..., Search], growing: Recipe, tmp_path: Path
) -> None:
    left, stopped = tmp_path / "left", tmp_path / "stopped"
    search, stops = searching(0.05, HUGE, 0.02, 0.01, recipe=growing), StopsAt(evaluation)
    search.run(folder=left)
    with pytest.raises(Interrupted):
        search.run(folder=stopped, reporters=lambda _title: stops)
    assert not search.path(stopped).exists()
    search.run(folder=stopped)
    assert search.path(stopped).read_bytes() == search.path(left).read_bytes()
    assert list(stopped.iterdir()) == [search.path(stopped)], "its checkpoint is gone"


def test_a_search_that_has_ended_is_not_done_again(
    searching: Callable[..., Search], tmp_path: Path
) -> None:
    def refuse(title: str) -> Reporter | None:
        raise AssertionError(f"trained {title}")

    found = searching().run(folder=tmp_path)
    assert searching().run(folder=tmp_path, reporters=refuse) == found
    with pytest.raises(AssertionError, match="trained cues: learning rate 0"):
        searching(seed=2).run(folder=tmp_path, reporters=refuse)


def test_a_search_that_would_begin_elsewhere_is_the_same_question(
    searching: Callable[..., Search], longer: Recipe, task: Task, tmp_path: Path
) -> None:
    """Where a bank holds runs of what was found, the same command begins at that."""

    def asked(rate: float, *settings: str, **changes: Any) -> str:
        recipe = Configuration(learning_rate=rate, init="vocabulary").of(longer)
        tried = configurations(recipe, settings, [task])
        return searching(recipe=recipe, tried=tried, **changes).path(tmp_path).name

    first = asked(0.3, "learning_rate")
    assert asked(0.03, "learning_rate") == first
    assert asked(0.3, "learning_rate", seed=2) != first
    assert asked(0.3, "learning_rate", "init") != first
    assert asked(0.3, "init") != asked(0.03, "init")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"tasks": [], "trials": []}', "\x00"])
def test_a_damaged_outcome_is_an_error_that_names_its_file(content: str, tmp_path: Path) -> None:
    path = tmp_path / "search-0.json"
    path.write_text(content)
    with pytest.raises(
        TrainingError, match=r"search-0\.json: not the outcome of a search, or damaged"
    ):
        Found.read(path)
