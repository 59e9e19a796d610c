"""Weights of sources that a target's examples learn: their gradient, what they prefer, and the transfer they start."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bank import Bank
from bank.integrity import verify
from spot.backbone.load import Backbone
from spot.inference.predict import mean_losses
from spot.training.prompt_tuning import train_prompt
from spot.training.recipe import Recipe
from spot.training.task_data import TaskData
from spot.transfer.learnt_weights import STEPS, learn_weights
from spot.transfer.runs import Trainer
from spot.transfer.transfer import TransferOptions, run_transfer
from tasks.task import Split, Task
from tests.closeness import assert_close


@pytest.fixture(scope="module")
def data(tasks: dict[str, Task], backbone: Backbone, recipe: Recipe) -> TaskData:
    return TaskData(tasks["target"], backbone, recipe)


def test_they_prefer_what_answers_the_target(
    backbone: Backbone, data: TaskData, recipe: Recipe
) -> None:
    trained = train_prompt(backbone, data, recipe, seed=1).value
    others = np.random.default_rng(0).normal(size=(2, *trained.shape)).astype(np.float32)
    values = [others[0], trained, others[1]]
    weights = learn_weights(backbone, recipe, data, values, seed=0)
    assert_close(weights.sum(), np.float64(1.0))
    assert (weights >= 0).all()
    assert weights.argmax() == 1
    assert weights[1] > 0.6
    mixed = np.tensordot(weights, np.stack(values), axes=1).astype(np.float32)
    even = np.mean(values, axis=0, dtype=np.float32)
    learnt, equal = mean_losses(backbone, [mixed, even], data[Split.TRAIN].tokens)
    assert learnt < equal
    again = learn_weights(backbone, recipe, data, values, seed=0)
    np.testing.assert_array_equal(again, weights)
    one = learn_weights(backbone, recipe, data, values[:1], seed=0, steps=2)
    np.testing.assert_array_equal(one, [1.0])


def test_dropout_and_losses_over_labels_are_those_of_the_recipe(
    backbone: Backbone, data: TaskData, recipe: Recipe
) -> None:
    values = list(np.random.default_rng(1).normal(size=(2, 4, 16)).astype(np.float32))
    plain = learn_weights(backbone, recipe, data, values, seed=0, steps=3)
    for changes in ({"dropout": 0.3}, {"loss": "rank"}):
        changed = dataclasses.replace(recipe, **changes)
        given = learn_weights(backbone, changed, data, values, seed=0, steps=3)
        assert not np.array_equal(given, plain)


def test_a_transfer_starts_from_the_learnt_sum(
    tmp_path: Path, backbone: Backbone, recipe: Recipe, tasks: dict[str, Task]
) -> None:
    short = dataclasses.replace(recipe, steps=10, key_step=5, evaluate_every=5)
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        trainer = Trainer(bank, backbone, short)
        for name in ("first", "second"):
            trainer.run(tasks[name], seed=0, role="source")
        options = TransferOptions(method="weights", top_k=2)
        result = run_transfer(trainer, tasks["target"], seed=0, options=options)
        values = [bank.prompt(candidate.source.value) for candidate in result.candidates]
        weights = learn_weights(backbone, short, trainer.task_data(tasks["target"]), values, seed=0)
        assert [candidate.weight for candidate in result.candidates] == weights.tolist()
        mixed = np.tensordot(weights, np.stack(values).astype(np.float64), axes=1)
        (start,) = {candidate.start for candidate in result.candidates}
        np.testing.assert_array_equal(bank.prompt(start), mixed.astype(np.float32))
        assert result.steps == short.steps + STEPS
        assert verify(bank) == []
