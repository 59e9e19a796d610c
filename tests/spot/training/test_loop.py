"""The loop: what it keeps, when it stops, and what it leaves when it is stopped."""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot.errors import DivergenceError, TrainingError
from spot.training.jobs import Plan, Progress, Result
from spot.training.loop import CHECKPOINT_FILE, Interrupted, fit
from spot.training.step import Step
from tests.closeness import assert_close
from tests.spot.training import toy

ALL = 0.0
"""Seconds between checkpoints that make one at every report."""


def equal(left: Result, right: Result) -> bool:
    parts = [(left.final, right.final), (left.best, right.best), (left.key, right.key)]
    same = all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in parts)
    return same and left.progress == right.progress


def diverging(at: int, value: float) -> Step:
    """The toy's step, whose loss is ``value`` from step ``at`` on."""

    def accumulate(total: Any, trained: Any, frozen: Any, tokens: Any, part: Any, key: Any) -> Any:
        gradient, losses = toy.STEP.accumulate(total, trained, frozen, tokens, part, key)
        return gradient, losses if part.inputs.ids[0, 0] + 1 < at else losses * value

    return dataclasses.replace(toy.STEP, accumulate=accumulate)


# -- what is kept ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_step", [1, 7, 10, 23])
def test_the_key_is_the_prompt_after_exactly_the_key_step(key_step: int) -> None:
    result = toy.run(Plan(steps=23, evaluate_every=5, key_step=key_step))
    np.testing.assert_array_equal(result.key, toy.states(key_step)[-1])


def test_a_run_without_a_key_step_has_no_key() -> None:
    assert toy.run(Plan(steps=3, evaluate_every=3)).key is None


def test_of_equal_scores_the_smaller_development_loss_wins() -> None:
    scores, losses = [1.0, 3.0, 3.0, 3.0, 2.0], {10: 0.7, 15: 0.5, 20: 0.6}
    states, script, facts = toy.states(25), toy.scripted(scores), {"step": 0}

    def evaluate(one: Any) -> dict[str, float]:
        facts["step"] += 5
        return script(one)

    def loss(one: Any, told: Mapping[str, Any]) -> float:
        (step,) = (i for i, state in enumerate(states) if np.array_equal(state, one))
        assert told == {"step": step}, "its own evaluation's"
        return losses[step]

    result = toy.run(
        Plan(steps=25, evaluate_every=5), evaluate=evaluate, loss=loss, facts=lambda: facts
    )
    assert (result.progress.best_step, result.progress.best_loss) == (15, 0.5)
    np.testing.assert_array_equal(result.best, states[15])
    assert result.progress.stale == 3, "a tie is no better score"


def test_without_a_development_loss_ties_keep_the_earlier() -> None:
    result = toy.run(Plan(steps=20, evaluate_every=5), evaluate=toy.scripted([1.0, 3.0, 3.0, 2.0]))
    assert (result.progress.best_step, result.progress.best_score) == (10, 3.0)
    np.testing.assert_array_equal(result.best, toy.states(10)[-1])
    np.testing.assert_array_equal(result.final, toy.states(20)[-1])


def test_the_start_is_never_the_value_even_if_all_scores_are_low() -> None:
    result = toy.run(Plan(steps=4, evaluate_every=2), evaluate=toy.scripted([-1e30, -2e30]))
    assert result.progress.best_step == 2


def test_history_has_a_row_an_evaluation_with_the_mean_loss_since_the_last_one() -> None:
    result = toy.run(
        Plan(steps=13, evaluate_every=5, report_every=3), evaluate=toy.scripted([1.0, 2.0, 3.0])
    )
    losses = [float(np.abs(state).mean()) for state in toy.states(13)]
    rows = result.progress.history
    assert [row["step"] for row in rows] == [5, 10, 13]
    for row, (first, last) in zip(rows, [(1, 5), (6, 10), (11, 13)], strict=True):
        assert_close(row["loss"], np.mean(losses[first - 1 : last]))
    assert [row["score"] for row in rows] == [1.0, 2.0, 3.0]
    assert all(row["other"] == 1.0 for row in rows)


def test_evaluation_sees_the_frozen_part_and_the_trained_one_as_it_is_now() -> None:
    seen = []

    def evaluate(one: Any) -> dict[str, float]:
        seen.append(np.asarray(one))
        return {"score": 0.0}

    toy.run(Plan(steps=6, evaluate_every=3), evaluate=evaluate)
    states = toy.states(6)
    np.testing.assert_array_equal(seen, [states[3], states[6]])


def test_what_is_passed_in_is_left_as_it_was() -> None:
    start = jnp.asarray(toy.START)
    donating = dataclasses.replace(toy.STEP, update=jax.jit(toy.STEP.update, donate_argnums=(0, 1)))
    toy.run(Plan(steps=5, evaluate_every=5), start=lambda: start, step=donating)
    np.testing.assert_array_equal(start, toy.START)


def test_a_reporter_hears_of_every_report_step_and_all_tokens() -> None:
    heard = toy.Recorder()
    toy.run(Plan(steps=13, evaluate_every=6, key_step=8, report_every=5), reporter=heard)
    assert heard.named("start") == [(0, 13)]
    assert [call[0] for call in heard.named("advance")] == [5, 6, 8, 10, 12, 13]
    assert sum(call[2] for call in heard.named("advance")) == 13 * (6 + 2)
    assert [call[0] for call in heard.named("evaluated")] == [6, 12, 13]
    assert heard.calls[-1] == ("finish",)


# -- when it stops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "patience", "key_step", "stops"),
    [
        ([3.0, 2.0, 1.0, 9.0], 2, 0, 15),
        ([3.0, 3.0, 3.0, 9.0], 2, 0, 15),
        ([3.0, 2.0, 4.0, 1.0, 2.0, 9.0], 2, 0, 25),
        ([3.0, 2.0, 1.0, 1.0, 9.0], 2, 18, 20),
        ([3.0, 2.0, 1.0, 4.0, 1.0, 1.0], 2, 18, 30),
        ([3.0, 2.0, 1.0, 0.0, 0.0, 0.0], 0, 0, 30),
        ([3.0, 2.0, 9.0], 1, 10, 10),
    ],
)
def test_early_stopping_waits_for_patience_and_for_the_key(
    scores: list[float], patience: int, key_step: int, stops: int
) -> None:
    plan = Plan(steps=30, evaluate_every=5, patience=patience, key_step=key_step)
    result = toy.run(plan, evaluate=toy.scripted(scores))
    assert result.progress.step == stops
    np.testing.assert_array_equal(result.final, toy.states(stops)[-1])
    if key_step:
        np.testing.assert_array_equal(result.key, toy.states(key_step)[-1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0, "evaluate_every": 1}, "must be at least 1"),
        ({"steps": 5, "evaluate_every": 0}, "must be at least 1"),
        ({"steps": 5, "evaluate_every": 1, "report_every": 0}, "must be at least 1"),
        (
            {"steps": 5, "evaluate_every": 1, "key_step": 6},
            "key step 6 lies outside the run's 5 steps",
        ),
        ({"steps": 5, "evaluate_every": 1, "key_step": -1}, "lies outside"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Plan(**settings)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_with_a_hint(value: float, tmp_path: Path) -> None:
    plan = Plan(steps=50, evaluate_every=50, checkpoint_seconds=ALL)
    with pytest.raises(
        DivergenceError, match=rf"loss is {value} near step 30: try a smaller --learning-rate"
    ):
        toy.run(plan, step=diverging(23, value), folder=tmp_path)
    assert equal(toy.run(plan, folder=tmp_path), toy.run(plan)), (
        "the checkpoint is of step 20, before it went wrong"
    )


def ruined(at: int) -> Step:
    """The toy's step, whose parameters are not numbers any more after step ``at``, though its loss still is one."""

    def accumulate(total: Any, trained: Any, frozen: Any, tokens: Any, part: Any, key: Any) -> Any:
        gradient, losses = toy.STEP.accumulate(total, trained, frozen, tokens, part, key)
        return gradient if part.inputs.ids[0, 0] + 1 < at else gradient * math.nan, losses

    return dataclasses.replace(toy.STEP, accumulate=accumulate)


def test_parameters_ruined_by_the_last_step_are_an_error_and_not_a_result(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match="near step 30"):
        toy.run(Plan(steps=30, evaluate_every=30, key_step=30), step=ruined(30), folder=tmp_path)
    assert not (tmp_path / CHECKPOINT_FILE).exists()


def test_parameters_ruined_at_a_checkpoint_are_not_saved(tmp_path: Path) -> None:
    plan = Plan(steps=50, evaluate_every=50, checkpoint_seconds=ALL)
    with pytest.raises(DivergenceError):
        toy.run(plan, step=ruined(20), folder=tmp_path)
    heard = toy.Recorder()
    assert equal(toy.run(plan, folder=tmp_path, reporter=heard), toy.run(plan))
    assert heard.named("start") == [(10, 50)]


def test_a_run_that_may_diverge_is_given_up_when_it_does() -> None:
    ended: list[Progress] = []
    plan, done = Plan(steps=50, evaluate_every=50), list[Result]()
    job = toy.job(plan, done.append, may_diverge=True, given_up=ended.append)
    step, evaluate = diverging(23, math.nan), toy.each(toy.score)
    fit([job], frozen=None, step=step, evaluate=evaluate)
    assert [(one.diverged, one.step) for one in ended] == [(True, 30)]
    assert not done


def test_a_run_that_diverged_ends_its_progress_display(tmp_path: Path) -> None:
    heard = toy.Recorder()
    with pytest.raises(DivergenceError):
        toy.run(Plan(steps=50, evaluate_every=50), step=diverging(3, math.nan), reporter=heard)
    assert heard.calls[-1] == ("finish",)


def test_a_signal_after_the_loss_went_wrong_saves_nothing_that_is_wrong(tmp_path: Path) -> None:
    plan = Plan(steps=50, evaluate_every=50, checkpoint_seconds=ALL)

    def act(index: int) -> None:
        if index == 25:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises((DivergenceError, Interrupted)):
        toy.run(plan, step=diverging(23, math.nan), folder=tmp_path, stream=toy.Stream(act))
    assert equal(toy.run(plan, folder=tmp_path), toy.run(plan))


# -- signals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [0, 6, 7, 10, 12, 24])
def test_a_signal_saves_and_the_next_start_goes_on_to_the_same_bits(
    number: int, at: int, tmp_path: Path
) -> None:
    plan = Plan(steps=25, evaluate_every=4, key_step=7)

    def act(index: int) -> None:
        if index == at:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(
        Interrupted, match=f"stopped by {signal.Signals(number).name} at step {at + 1}: saved"
    ) as info:
        toy.run(plan, folder=tmp_path, stream=toy.Stream(act))
    assert info.value.number == number
    assert signal.getsignal(number) is before
    heard = toy.Recorder()
    assert equal(toy.run(plan, folder=tmp_path, reporter=heard), toy.run(plan))
    assert heard.named("start") == [(at + 1, 25)]


def test_a_signal_from_a_reporter_ends_its_display_too(tmp_path: Path) -> None:
    heard = toy.Recorder(on_advance=lambda _step: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted):
        toy.run(Plan(steps=25, evaluate_every=25), folder=tmp_path, reporter=heard)
    assert heard.calls[-1] == ("finish",)


def test_without_a_folder_a_signal_says_that_nothing_was_saved() -> None:
    with pytest.raises(Interrupted, match="nothing was saved"):
        toy.run(
            Plan(steps=25, evaluate_every=25),
            stream=toy.Stream(lambda _index: signal.raise_signal(signal.SIGTERM)),
        )


def test_a_second_signal_kills_at_once() -> None:
    def act(_index: int) -> None:
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL

    with pytest.raises(Interrupted):
        toy.run(Plan(steps=5, evaluate_every=5), stream=toy.Stream(act))


def test_a_thread_trains_without_touching_signals() -> None:
    results: list[Result] = []
    plan = Plan(steps=5, evaluate_every=5)
    thread = threading.Thread(target=lambda: results.append(toy.run(plan)))
    thread.start()
    thread.join()
    assert equal(results[0], toy.run(plan))


@settings(max_examples=12, deadline=None)
@given(
    stops=st.sets(st.integers(0, 29), min_size=1), every=st.integers(1, 7), key=st.integers(0, 30)
)
def test_a_run_stopped_anywhere_and_any_number_of_times_ends_with_the_same_bits(
    stops: set[int], every: int, key: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan = Plan(steps=30, evaluate_every=every, key_step=key, report_every=4, patience=6)
    folder = tmp_path_factory.mktemp("stopped")
    left = set(stops)

    def act(index: int) -> None:
        if index in left:
            left.remove(index)
            signal.raise_signal(signal.SIGTERM)

    for _ in range(len(stops) + 1):
        try:
            result = toy.run(plan, folder=folder, stream=toy.Stream(act))
            break
        except Interrupted:
            pass
    assert equal(result, toy.run(plan))


# -- checkpoints -----------------------------------------------------------------------------------------


class Crash(Exception):
    """The process is gone: nothing gets to run after it."""


@pytest.mark.parametrize("at", [3, 10, 11, 19, 29])
def test_a_run_that_died_goes_on_from_its_last_checkpoint_to_the_same_bits(
    at: int, tmp_path: Path
) -> None:
    plan = Plan(steps=30, evaluate_every=8, key_step=13, report_every=5, checkpoint_seconds=ALL)

    def act(index: int) -> None:
        if index == at:
            raise Crash

    with pytest.raises(Crash):
        toy.run(plan, folder=tmp_path, stream=toy.Stream(act))
    heard = toy.Recorder()
    assert equal(toy.run(plan, folder=tmp_path, reporter=heard), toy.run(plan))
    saved_at = max(step for step in (0, 5, 8, 10, 13, 15, 16, 20, 24, 25) if step <= at)
    assert heard.named("start") == [(saved_at, 30)]


def test_a_finished_run_is_read_back_without_a_step(tmp_path: Path) -> None:
    plan = Plan(steps=10, evaluate_every=5, key_step=5)
    first = toy.run(plan, folder=tmp_path)

    def refuse(*_: Any) -> Any:
        raise AssertionError("trained again")

    assert equal(
        toy.run(plan, folder=tmp_path, step=dataclasses.replace(toy.STEP, accumulate=refuse)), first
    )


def test_checkpoints_fall_on_evaluations_and_are_no_more_frequent_than_asked_for(
    tmp_path: Path,
) -> None:
    plan = Plan(steps=30, evaluate_every=20, checkpoint_seconds=1e9, report_every=4)
    seen = []
    heard = toy.Recorder(
        on_advance=lambda step: seen.append((step, (tmp_path / CHECKPOINT_FILE).exists()))
    )
    toy.run(plan, folder=tmp_path, reporter=heard)
    assert [step for step, found in seen if found] == [24, 28, 30]
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    plan = Plan(steps=5, evaluate_every=5)
    toy.run(plan, folder=tmp_path)
    with pytest.raises(TrainingError, match="belongs to a run with other arguments; remove it"):
        toy.run(plan, folder=tmp_path, identity="another")
