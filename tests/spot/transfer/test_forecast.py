"""What is foreseen is what then trains, and foreseeing writes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bank import Bank
from bank.listing import list_runs
from spot.errors import RetrievalError
from spot.inference.predict import Questions
from spot.training.timing import Length, Timing, shaped, time_training
from spot.transfer import forecast as forecasts
from spot.transfer.forecast import Forecast, Foresight, Wanted, forecast, foresee_transfers
from spot.transfer.runs import Trainer
from spot.transfer.transfer import TransferOptions, run_transfers
from tasks.task import Split, Task
from tests.spot.transfer.conftest import World

OPTIONS: dict[str, dict[str, Any]] = {
    "best": {"top_k": 2},
    "average": {"method": "average", "top_k": 2},
    "mixture": {"method": "mixture", "top_k": 2},
    "generic": {"method": "generic", "source": "first"},
    "oracle": {"method": "oracle"},
    "none": {"method": "none"},
    "no baseline": {"top_k": 1, "baseline": False},
    "every prompt": {"top_k": 5, "aggregate": "none"},
}


def digests(bank: Bank) -> set[str]:
    return {row["run"] for row in list_runs(bank.engine)}


def foreseen(
    world: World, seeds: Sequence[int], options: TransferOptions, tasks: dict[str, Task]
) -> list[Wanted]:
    """What is foreseen from a bank that is only read."""
    assert world.bank.location is not None
    with Bank.open(world.bank.location, create=False, write=False) as bank:
        trainer = Trainer(bank, world.trainer.backbone, world.trainer.recipe)
        foresight = Foresight(bank)
        foresee_transfers(
            foresight,
            trainer,
            world.target,
            seeds=seeds,
            options=options,
            find_task=tasks.__getitem__,
        )
        return foresight.wanted()


def trained(
    world: World, seeds: Sequence[int], options: TransferOptions, tasks: dict[str, Task]
) -> set[str]:
    """Starts of digests of the runs that a transfer then adds to the bank."""
    before = digests(world.bank)
    run_transfers(
        world.trainer, world.target, seeds=seeds, options=options, find_task=tasks.__getitem__
    )
    return digests(world.bank) - before


@pytest.mark.parametrize("name", OPTIONS)
def test_with_held_queries_the_list_is_what_then_trains(
    world: World, tasks: dict[str, Task], name: str
) -> None:
    options = TransferOptions(**OPTIONS[name])
    role = "baseline" if options.baseline else "query"
    world.trainer.run(world.target, seed=1, role=role)
    rows = foreseen(world, [1], options, tasks)
    known = {digest for row in rows for digest in row.missing}
    later = sum(row.later for row in rows)
    new = trained(world, [1], options, tasks)
    starts = {digest[: len(next(iter(new), ""))] for digest in known}
    assert later == (1 if name == "mixture" else 0)
    assert starts <= new
    assert len(new) == len(known) + later
    assert all(row.train == 0 for row in foreseen(world, [1], options, tasks))


@pytest.mark.parametrize("name", OPTIONS)
def test_without_queries_what_they_decide_is_counted(
    world: World, tasks: dict[str, Task], name: str
) -> None:
    options = TransferOptions(**OPTIONS[name])
    rows = foreseen(world, [5, 6], options, tasks)
    assert rows[0].role == ("baseline" if options.baseline else "query")
    assert all(row.after == "the query" for row in rows if row.later and name != "mixture")
    count = sum(row.train for row in rows)
    assert len(trained(world, [5, 6], options, tasks)) == count


def test_a_source_of_the_same_recipe_is_a_baseline_that_is_held(
    world: World, tasks: dict[str, Task]
) -> None:
    rows = foreseen(world, [0], TransferOptions(method="none"), tasks)
    assert [(row.role, len(row.runs), row.held, row.train) for row in rows] == [
        ("baseline", 1, 1, 0)
    ]


def test_a_race_is_foreseen_with_its_steps(world: World, tasks: dict[str, Task]) -> None:
    options = TransferOptions(top_k=4, budget="halving")
    rows = foreseen(world, [5], options, tasks)
    (baseline, race) = rows
    assert (baseline.train, race.train) == (1, 4)
    # of five, three are left at step 20 and so on: far fewer steps than four whole runs
    assert race.total_steps < 4 * world.trainer.recipe.steps
    (outcome,) = run_transfers(world.trainer, world.target, seeds=[5], options=options)
    assert outcome.baseline is not None
    assert outcome.steps - outcome.baseline.steps <= race.total_steps


def test_what_a_transfer_would_refuse_is_refused(world: World, tasks: dict[str, Task]) -> None:
    options = TransferOptions(method="generic", source="fifth")
    with pytest.raises(RetrievalError, match="no comparable source 'fifth'"):
        foreseen(world, [0], options, tasks)


def test_foreseeing_leaves_the_bank_as_it_is(world: World, tasks: dict[str, Task]) -> None:
    before = world.bank.count_rows()
    for name in OPTIONS:
        foreseen(world, [0, 5], TransferOptions(**OPTIONS[name]), tasks)
    assert world.bank.count_rows() == before


# -- what it costs -------------------------------------------------------------------------------------------


def test_steps_cost_what_the_line_through_two_lengths_says() -> None:
    lengths = [Length(100, 3.0, [1.0, 1.0, 4.0]), Length(300, 5.0, [2.0])]
    timing = Timing(lengths=lengths, answering={}, compiled=6, state_bytes=0, peak_bytes=None)
    assert timing.step_seconds(200) == pytest.approx(1.5)
    assert timing.step_seconds(400) == pytest.approx(2.5)
    assert timing.rates == (pytest.approx(2 / 300), pytest.approx(4 / 100))
    assert timing.compile_seconds == pytest.approx(24)
    alone = dataclasses.replace(timing, lengths=lengths[:1])
    assert alone.step_seconds(200) == pytest.approx(2.0)


def test_the_cost_of_runs_is_that_of_their_steps_and_evaluations(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, recipe = world.trainer, world.trainer.recipe
    positions = [batch.positions for batch in shaped(trainer.backbone, recipe, data_of(world))]
    timing = Timing(
        lengths=[Length(100, 7.0, [1.0, 2.0, 3.0])],
        answering={True: 0.001},
        compiled=2,
        state_bytes=50,
        peak_bytes=None,
    )
    monkeypatch.setattr(forecasts, "time_training", lambda *_args, **_more: timing)
    foresight = Foresight(world.bank)
    foresight.add(trainer, [trainer.spec(world.target, seed, "source") for seed in (0, 1, 2)])
    plan = forecast(foresight, trainer)
    assert (plan.train, plan.steps, plan.slots) == (2, 80, 2)
    answered = 2 * 4 * 16 * (16 + 4) * 0.001
    mean = float(np.mean(positions))
    assert plan.cost.seconds == pytest.approx(80 * mean * 2 / 100 + answered + 14)
    assert plan.cost.low == pytest.approx(80 * mean * 1 / 100 + answered)
    assert plan.cost.high == pytest.approx(80 * mean * 3 / 100 + answered + 14)
    assert plan.checkpoint_bytes == 100
    assert plan.bank_bytes == 2 * (2 * 4 * 4 * 16 + forecasts.ROW_BYTES)


def data_of(world: World) -> Any:
    return world.trainer.data(world.target)


def test_nothing_is_timed_where_nothing_is_missing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasts, "time_training", lambda *_args, **_more: pytest.fail("timed"))
    foresight = Foresight(world.bank)
    foresight.add(world.trainer, [world.trainer.spec(world.target, 0, "source")])
    plan: Forecast = forecast(foresight, world.trainer)
    assert (plan.train, plan.steps, plan.cost.seconds, plan.timing) == (0, 0, 0, None)


def test_timing_runs_real_steps_and_answers(world: World) -> None:
    trainer = world.trainer
    timing = time_training(trainer.backbone, trainer.recipe, [data_of(world)], slots=2)
    assert [length.positions for length in timing.lengths] == [8 * (16 + 4)]
    assert min(timing.lengths[0].seconds) > 0
    assert set(timing.answering) == {True}
    # parameters, best and key of 4 x 16 floats, and the optimiser's mean of squares
    assert timing.state_bytes >= 4 * 4 * 4 * 16


def test_some_examples_alone_are_answered_as_among_all(world: World) -> None:
    dev = data_of(world)[Split.DEV]
    rows = np.array([3, 0, 5])
    few = dev.tokens.take(rows)
    assert [few.inputs[i].tolist() for i in range(3)] == [
        dev.tokens.inputs[r].tolist() for r in rows
    ]
    assert few.choice_rows[1].tolist() == dev.tokens.choice_rows[0].tolist()
    assert Questions(0, [dev.examples[r] for r in rows], few).tokens.digest != dev.tokens.digest
