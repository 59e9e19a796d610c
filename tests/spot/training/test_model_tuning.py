"""Model tuning: all weights learn a task, whose model is another one, and are the same after a stop."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from spot.backbone.load import Backbone
from spot.errors import Interrupted
from spot.inference.predict import predict
from spot.training.model_tuning import OPTIMIZER, TunedModel, tune_model
from spot.training.recipe import Recipe
from spot.training.task_data import TaskData
from tasks.task import Split, Task
from tests.spot.training.toy import Recorder

FASTER = dataclasses.replace(OPTIMIZER, learning_rate=0.03)


@pytest.fixture(scope="module")
def ranked(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, evaluate_by="rank", steps=100, evaluate_every=50)


@pytest.fixture(scope="module")
def tuned(backbone: Backbone, task: Task, ranked: Recipe) -> TunedModel:
    return tune_model(backbone, TaskData(task, backbone, ranked), ranked, seed=1, optimizer=FASTER)


def test_the_model_learns_the_task_and_the_old_one_stays(
    backbone: Backbone, task: Task, ranked: Recipe, tuned: TunedModel
) -> None:
    data = TaskData(task, backbone, ranked)
    assert tuned.metrics["score"] > 90
    assert tuned.history[-1]["loss"] < 0.2 * tuned.history[0]["loss"]
    dev, nothing = data[Split.DEV], np.zeros((0, backbone.width), np.float32)
    answers = predict(tuned.backbone, nothing, dev.examples, dev.tokens, method="rank")
    assert data.score(Split.DEV, answers)["score"] == tuned.metrics["score"]
    before = predict(backbone, nothing, dev.examples, dev.tokens, method="rank")
    assert data.score(Split.DEV, before)["score"] < 80


def test_a_stopped_run_ends_with_the_same_weights(
    backbone: Backbone, task: Task, ranked: Recipe, tuned: TunedModel, tmp_path: Path
) -> None:
    data = TaskData(task, backbone, ranked)

    def stop(step: int) -> None:
        if step == 50:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        tune_model(
            backbone, data, ranked, seed=1, optimizer=FASTER, folder=tmp_path,
            reporter=Recorder(on_advance=stop),
        )  # fmt: skip
    again = tune_model(backbone, data, ranked, seed=1, optimizer=FASTER, folder=tmp_path)
    assert again.history == tuned.history
    leaves = (jax.tree.leaves(model.backbone.weights) for model in (again, tuned))
    for ours, theirs in zip(*leaves, strict=True):
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()
