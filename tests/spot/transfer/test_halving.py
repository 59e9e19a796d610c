"""Successive halving: who stays in the field, what it costs, and that the winner is as if trained alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bank.listing import list_runs, list_transfers
from spot.errors import Interrupted, SpotError, TrainingError
from spot.training.jobs import Progress
from spot.training.spacing import evaluations
from spot.transfer.executors import LocalExecutor
from spot.transfer.halving import Halving, race_steps, rungs
from spot.transfer.runs import Trainer
from spot.transfer.transfer import TransferOptions, run_transfer
from tests.spot.transfer.conftest import World
from tests.spot.transfer.doubles import ScriptedExecutor, StopsAt


def reached(step: int, score: float) -> Progress:
    return Progress(step=step, best_score=score)


# -- the rungs -----------------------------------------------------------------------------------------------


def test_rounds_cost_about_the_same() -> None:
    assert rungs(8, 3750, 1) == {250: 4, 750: 2, 1750: 1}


@pytest.mark.parametrize(("lacking", "steps"), [(8, 8000), (2, 5500), (1, 3750), (0, 0)])
def test_a_race_costs_its_rounds_and_nothing_for_what_is_known(lacking: int, steps: int) -> None:
    assert race_steps(8, lacking, steps=3750, evaluate_every=1) == steps


def test_rungs_fall_on_evaluations_and_those_that_meet_are_one() -> None:
    assert rungs(5, 60, 20) == {20: 2, 40: 1}
    assert rungs(16, 100, 100) == {}


def test_rungs_fall_on_doubling_evaluations_where_there_are_no_others() -> None:
    # rounds of four end after 240 / 7 = 34 and 103 steps
    assert rungs(4, 240, 15) == {45: 2, 105: 1}
    assert rungs(4, 240, 15, "doubling") == {60: 2, 120: 1}
    assert race_steps(4, 4, steps=240, evaluate_every=15, spacing="doubling") == 4 * 60 + 120 + 120


@given(
    st.integers(1, 40),
    st.integers(1, 500),
    st.integers(1, 100),
    st.sampled_from(["regular", "doubling"]),
)
def test_the_field_shrinks_to_one_before_the_end(
    contestants: int, steps: int, every: int, spacing: str
) -> None:
    found = rungs(contestants, steps, every, spacing)
    assert list(found) == sorted(found)
    assert set(found) < set(evaluations(steps, every, spacing))
    assert list(found.values()) == sorted(found.values(), reverse=True)
    if contestants == 1:
        assert found == {}


# -- who is given up -----------------------------------------------------------------------------------------


def given_up(
    scores: Mapping[str, float], *, finished: Mapping[str, float] | None = None, step: int = 10
) -> list[str]:
    """Of a heat in the order of the names."""
    known = dict(finished or {})
    histories = {
        name: [{"step": 10.0, "score": score}, {"step": 90.0, "score": 99.0}]
        for name, score in known.items()
    }
    halving = Halving(
        heats=[sorted([*scores, *known])], histories=histories, steps=40, evaluate_every=10
    )
    return sorted(halving({name: reached(step, score) for name, score in scores.items()}))


def test_the_worse_half_is_given_up_and_among_equals_the_later() -> None:
    assert given_up({"a": 1, "b": 4, "c": 3, "d": 2}) == ["a", "d"]
    assert given_up({"a": 1, "b": 1, "c": 1, "d": 1}) == ["c", "d"]


def test_nobody_is_given_up_between_rungs() -> None:
    assert given_up({"a": 1, "b": 4, "c": 3, "d": 2}, step=9) == []


def test_a_run_that_is_known_already_competes_by_its_score_up_to_the_rung() -> None:
    assert given_up({"a": 1, "b": 4, "c": 3}, finished={"d": 3.5}) == ["a", "c"]
    assert given_up({"a": 1, "b": 4, "c": 3}, finished={"d": 0}) == ["a"]
    assert given_up({"b": 1, "c": 2, "d": 3}, finished={"a": 2}) == ["b", "c"]


def test_heats_do_not_compete_with_each_other() -> None:
    halving = Halving(heats=[["a", "b"], ["c", "d"]], histories={}, steps=30, evaluate_every=10)
    scores = {"a": reached(10, 1), "b": reached(10, 2), "c": reached(10, 3), "d": reached(10, 4)}
    assert halving(scores) == ["a", "c"]


# -- in a transfer -------------------------------------------------------------------------------------------


HALVING = TransferOptions(top_k=4, budget="halving")


def test_who_wins_ran_to_the_end_as_if_alone_and_the_others_left_no_run(world: World) -> None:
    outcome = run_transfer(world.trainer, world.target, seed=0, options=HALVING)
    ended = [candidate for candidate in outcome.candidates if candidate.run]
    stopped = [candidate for candidate in outcome.candidates if not candidate.run]
    assert len(stopped) >= 2
    assert all(candidate.steps < world.trainer.recipe.steps for candidate in stopped)
    assert len(list_runs(world.bank.engine, task="target", role="transfer")) == len(ended)
    assert outcome.steps < 4 * world.trainer.recipe.steps
    (row,) = list_transfers(world.bank.engine, task="target")
    assert (row["budget"], row["steps"]) == ("halving", outcome.steps)
    assert [source["steps"] for source in row["sources"]] == [
        candidate.steps for candidate in outcome.candidates
    ]
    alone = run_transfer(world.trainer, world.target, seed=0, options=TransferOptions(top_k=4))
    for candidate, full in zip(outcome.candidates, alone.candidates, strict=True):
        if candidate.run:
            assert candidate.run == full.run
        else:
            assert full.run is not None
            history = world.bank.history(full.run.digest)
            at = max(row["score"] for row in history if row["step"] <= candidate.steps)
            assert candidate.score == pytest.approx(at)


def test_training_without_transfer_can_win(world: World) -> None:
    world.trainer.run(world.target, seed=0, role="baseline")
    scripted = ScriptedExecutor(world.bank, [None] * 4)
    trainer = Trainer(world.bank, world.trainer.backbone, world.trainer.recipe, executor=scripted)
    outcome = run_transfer(trainer, world.target, seed=0, options=HALVING)
    assert all(candidate.run is None for candidate in outcome.candidates)
    assert outcome.chosen is None
    assert outcome.chosen_run == outcome.baseline


def test_a_race_stopped_and_started_again_ends_alike(world: World) -> None:
    starts = list(world.bank.keys(world.trainer.partition, exclude=["target"]).values)
    heat = [world.trainer.spec(world.target, 0, "transfer", start) for start in starts]
    reporter = StopsAt(7)
    executor = LocalExecutor(world.bank, world.trainer.datasets, reporters=lambda _title: reporter)
    trainer = Trainer(
        world.bank,
        world.trainer.backbone,
        world.trainer.recipe,
        datasets=world.trainer.datasets,
        executor=executor,
        folder=world.runs,
    )
    with pytest.raises(Interrupted):
        trainer.race([heat])
    (stopped,) = trainer.race([heat])
    assert list(world.runs.iterdir()) == []
    (again,) = trainer.race([heat])
    assert stopped == again


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "quarter"}, "choose from full, halving"),
        ({"budget": "halving", "method": "average"}, "as the methods best, oracle do"),
        ({"budget": "halving", "method": "none"}, "as the methods best, oracle do"),
        ({"method": "none", "baseline": False}, "it cannot do without"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SpotError, match=message):
        TransferOptions(**options)  # type: ignore[arg-type]


def test_patience_and_halving_do_not_go_together(world: World) -> None:
    trainer = world.trainer.with_recipe(dataclasses.replace(world.trainer.recipe, patience=1))
    with pytest.raises(TrainingError, match="use one of them"):
        run_transfer(trainer, world.target, seed=0, options=HALVING)


def test_halving_needs_an_evaluation_before_the_last(world: World) -> None:
    recipe = dataclasses.replace(world.trainer.recipe, evaluate_every=world.trainer.recipe.steps)
    with pytest.raises(TrainingError, match="give --evaluate-every less than"):
        run_transfer(world.trainer.with_recipe(recipe), world.target, seed=0, options=HALVING)


def test_method_none_trains_and_reports_the_baseline_alone(world: World) -> None:
    outcome = run_transfer(
        world.trainer, world.target, seed=0, options=TransferOptions(method="none")
    )
    assert (outcome.ranked, outcome.candidates, outcome.chosen) == ([], [], None)
    assert outcome.chosen_run == outcome.baseline == outcome.query
    assert outcome.outcome_test == outcome.baseline_test
    (row,) = list_transfers(world.bank.engine, task="target")
    assert (row["method"], row["sources"]) == ("none", [])
