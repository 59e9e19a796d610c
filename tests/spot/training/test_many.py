"""Many jobs in one program: each as if alone, whenever it starts and ends, and however often all are stopped."""

from __future__ import annotations

import dataclasses
import math
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot.backbone.load import Backbone
from spot.errors import DivergenceError, TrainingError
from spot.training.jobs import Job, Plan, Result
from spot.training.loop import Interrupted, fit
from spot.training.optimizers import Optimizer
from spot.training.prompt_tuning import TrainedPrompt, prompt_job, train_prompt, train_prompts
from spot.training.recipe import Recipe
from spot.training.step import Step
from spot.training.task_data import TaskData
from tasks.task import Task
from tests.closeness import assert_close
from tests.spot.training import toy

STEPS = (25, 10, 40, 15, 30)
"""Of the toy's jobs, so that they end at different times."""


def toy_job(number: int, done: Callable[[Result], None], **changes: Any) -> Job:
    plan = Plan(steps=STEPS[number], evaluate_every=5, key_step=5, checkpoint_seconds=0.0)
    given = {"identity": f"job {number}", "start": lambda: toy.START + number} | changes
    return toy.job(plan, done, **given)


def run_toys(
    slots: int, folder: Path | None = None, step: Step = toy.STEP, **changes: Any
) -> dict[int, Result]:
    results: dict[int, Result] = {}

    def keep(number: int) -> Callable[[Result], None]:
        return lambda result: results.update({number: result})

    jobs = [toy_job(number, keep(number), **changes) for number in range(len(STEPS))]
    fit(
        jobs,
        frozen=jnp.float32(0),
        step=step,
        evaluate=toy.each(toy.score),
        slots=slots,
        folder=folder,
    )
    return results


def same(left: dict[int, Result], right: dict[int, Result]) -> bool:
    def bits(result: Result) -> list[bytes]:
        return [np.asarray(part).tobytes() for part in (result.final, result.best, result.key)]

    return left.keys() == right.keys() and all(
        bits(left[n]) == bits(right[n]) and left[n].progress == right[n].progress for n in left
    )


# -- the order of things, on the toy ------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 2, 3, 8])
def test_every_job_ends_after_its_own_steps(slots: int) -> None:
    results = run_toys(slots)
    assert sorted(results) == list(range(5))
    assert [results[n].progress.step for n in range(5)] == list(STEPS)
    assert all(results[n].progress.history[0]["step"] == 5 for n in range(5))


def test_jobs_start_in_their_order_as_slots_become_free() -> None:
    seen: list[tuple[str, int]] = []

    class Watch(toy.Recorder):
        def __init__(self, name: int) -> None:
            super().__init__()
            self.name = name

        def start(self, step: int, steps: int) -> None:
            seen.append(("start", self.name))

        def finish(self) -> None:
            seen.append(("finish", self.name))

    jobs = [dataclasses.replace(toy_job(n, lambda _: None), reporter=Watch(n)) for n in range(5)]
    fit(jobs, frozen=jnp.float32(0), step=toy.STEP, evaluate=toy.each(toy.score), slots=2)
    assert [name for kind, name in seen if kind == "start"] == [0, 1, 2, 3, 4]
    # 10, 25, 25 + 15, 10 + 40, 40 + 30
    assert [name for kind, name in seen if kind == "finish"] == [
        1,
        0,
        3,
        2,
        4,
    ]


def test_what_is_held_already_is_left_out() -> None:
    results = run_toys(2, known=lambda: True)
    assert results == {}


@settings(max_examples=15, deadline=None)
@given(stops=st.lists(st.integers(1, 70), max_size=4), slots=st.sampled_from([1, 2, 3]))
def test_jobs_stopped_anywhere_and_any_number_of_times_end_with_the_same_bits(
    stops: list[int], slots: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, left, results = tmp_path_factory.mktemp("jobs"), sorted(stops), {}
    taken, asked = 0, False

    class Stopping(toy.Stream):
        def next(self) -> Any:
            nonlocal taken, asked
            taken += 1
            if left and taken >= left[0] and not asked:  # a second signal would kill
                left.pop(0)
                asked = True
                signal.raise_signal(signal.SIGTERM)
            return super().next()

    for _ in range(len(stops) + 1):
        asked = False
        try:
            results |= run_toys(slots, folder, stream=Stopping)
            break
        except Interrupted:
            continue
    whole = run_toys(slots)
    assert set(results) <= set(whole)
    assert same(results, {n: whole[n] for n in results})


def test_results_are_saved_before_they_are_handed_on(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def die(_result: Result) -> None:
        raise Killed

    jobs = [toy_job(n, die) for n in range(5)]
    with pytest.raises(Killed):
        fit(
            jobs,
            frozen=jnp.float32(0),
            step=toy.STEP,
            evaluate=toy.each(toy.score),
            slots=3,
            folder=tmp_path,
        )
    assert same(run_toys(3, tmp_path), run_toys(3))


@pytest.mark.parametrize("evaluation", [0, 1, 2, 5])
def test_after_an_evaluation_that_failed_the_same_jobs_go_on_to_the_same_bits(
    evaluation: int, tmp_path: Path
) -> None:
    class Failed(Exception):
        pass

    left = evaluation

    def evaluate(jobs: Sequence[Job], trained: Any) -> Sequence[Mapping[str, float]]:
        nonlocal left
        left -= 1
        if left < 0:
            raise Failed
        return toy.each(toy.score)(jobs, trained)

    results: dict[int, Result] = {}
    jobs = [toy_job(n, lambda result, n=n: results.update({n: result})) for n in range(5)]  # type: ignore[misc]
    with pytest.raises(Failed):
        fit(jobs, frozen=jnp.float32(0), step=toy.STEP, evaluate=evaluate, slots=3, folder=tmp_path)
    assert same(results | run_toys(3, tmp_path), run_toys(3))


def test_a_job_that_diverges_gives_its_slot_up_and_the_others_go_on(tmp_path: Path) -> None:
    def accumulate(total: Any, trained: Any, frozen: Any, tokens: Any, part: Any, key: Any) -> Any:
        gradient, losses = toy.STEP.accumulate(total, trained, frozen, tokens, part, key)
        return gradient, jnp.where(
            jnp.abs(trained - toy.START - 1).max(axis=(1, 2)) < 1e-3, math.nan, losses
        )

    results: dict[int, Result] = {}
    jobs = [
        dataclasses.replace(
            toy_job(n, lambda result, n=n: results.update({n: result})),  # type: ignore[misc]
            title=f"job {n}",
        )
        for n in range(5)
    ]
    with pytest.raises(DivergenceError, match=r"job \d: loss is nan near step 5"):
        fit(
            jobs,
            frozen=jnp.float32(0),
            step=dataclasses.replace(toy.STEP, accumulate=accumulate),
            evaluate=toy.each(toy.score),
            slots=2,
            folder=tmp_path,
        )
    assert sorted(results) == [0, 2, 3, 4]


def test_a_checkpoint_of_other_jobs_is_refused(tmp_path: Path) -> None:
    run_toys(2, tmp_path)
    with pytest.raises(TrainingError, match="belongs to a run with other arguments"):
        run_toys(3, tmp_path)


# -- prompts ------------------------------------------------------------------------------------------------


def train_all(
    backbone: Backbone,
    data: TaskData,
    recipe: Recipe,
    seeds: list[int],
    slots: int,
    folder: Path | None = None,
) -> dict[int, TrainedPrompt]:
    trained: dict[int, TrainedPrompt] = {}

    def keep(seed: int) -> Callable[[TrainedPrompt], None]:
        return lambda prompt: trained.update({seed: prompt})

    jobs = [
        prompt_job(backbone, data, recipe, identity=f"seed {seed}", seed=seed, done=keep(seed))
        for seed in seeds
    ]
    train_prompts(backbone, recipe, jobs, slots=slots, folder=folder)
    return trained


@pytest.mark.parametrize("slots", [2, 3])
def test_each_prompt_equals_the_one_trained_alone_after_50_steps(
    slots: int, backbone: Backbone, task: Task, recipe: Recipe
) -> None:
    # a moderate rate: at 0.3 rounding grows with every step, whoever shares the program
    moderate = Optimizer(learning_rate=0.05)
    fifty = dataclasses.replace(
        recipe, steps=50, key_step=25, evaluate_every=25, optimizer=moderate
    )
    data = TaskData(task, backbone, fifty)
    together = train_all(backbone, data, fifty, [0, 1, 2, 3], slots)
    for seed, prompt in together.items():
        alone = train_prompt(backbone, data, fifty, seed=seed)
        for ours, theirs in ((prompt.key, alone.key), (prompt.value, alone.value)):
            assert_close(ours, theirs, relative=3e-5)
        assert [row["step"] for row in prompt.history] == [row["step"] for row in alone.history]
        losses, expected = ([row["loss"] for row in trained.history] for trained in (prompt, alone))
        assert_close(losses, expected, relative=3e-5)
