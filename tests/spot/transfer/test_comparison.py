"""A task by every system: each row is what that system says by itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bank import Bank
from spot.backbone.load import Backbone
from spot.errors import RetrievalError
from spot.inference.predict import predict
from spot.training.model_tuning import OPTIMIZER, tune_model
from spot.training.recipe import Recipe
from spot.training.task_data import data_of
from spot.transfer.comparison import SYSTEMS, Comparison, compare, size_of
from spot.transfer.gain import score_interval
from spot.transfer.methods import mixture_of
from spot.transfer.runs import Trainer
from spot.transfer.transfer import TransferOptions, run_transfer
from tasks.errors import TaskError
from tasks.task import Split, Task, most_frequent_target


def test_every_system_has_its_row(
    tmp_path: Path, backbone: Backbone, recipe: Recipe, tasks: dict[str, Task]
) -> None:
    short = dataclasses.replace(recipe, steps=10, key_step=5, evaluate_every=5, evaluate_by="rank")
    target, options = tasks["target"], TransferOptions(top_k=2)
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        runs = tmp_path / "runs"
        trainer = Trainer(bank, backbone, short, folder=runs)
        comparison = Comparison(
            trainer=trainer,
            task=target,
            seeds=[0, 1],
            shots=2,
            options=options,
            tuning=OPTIMIZER,
            beside=[tasks["first"]],
        )
        with pytest.raises(RetrievalError, match="holds no source yet"):
            list(compare(comparison, ["SPoT"]))
        for name in ("first", "second"):
            trainer.run(tasks[name], seed=0, role="source")
        rows = {row.system: row for row in compare(comparison, list(SYSTEMS))}
        assert tuple(rows) == tuple(SYSTEMS)
        test = trainer.task_data(target)[Split.TEST].examples
        for name, row in rows.items():
            seeds = 1 if name in ("most frequent answer", "zero-shot") else 2
            assert len(row.scores) == seeds
            assert row.score.low <= row.score.mean == np.mean(row.scores) <= row.score.high
            for answers, score in zip(row.outcome.answers, row.scores, strict=True):
                assert target.score(list(answers), test)["score"] == score
            assert row.score == score_interval(target, test, row.outcome.answers)
        train = trainer.task_data(target)[Split.TRAIN].examples
        assert set(rows["most frequent answer"].outcome.answers[0]) == {most_frequent_target(train)}
        specs = [trainer.spec(target, seed, "baseline") for seed in (0, 1)]
        alone = trainer.test_all(target, trainer.run_all(specs))
        assert rows["prompt tuning"].scores == [one.metrics["score"] for one in alone]
        transfer = run_transfer(trainer, target, seed=0, options=options)
        assert rows["SPoT"].scores[0] == transfer.outcome_test.metrics["score"]
        assert rows["SPoT"].outcome.steps == 5 + 2 * 10, "a query and two sources"
        numbers = [rows[name].outcome.trained for name in ("prompt tuning", "deep prompts")]
        assert numbers == [4 * backbone.width] * 2  # one layer
        states = {name: row.outcome.state for name, row in rows.items()}
        arrays = 3 * 4 * 4 * backbone.width  # prompt, gradient and Adafactor's second moments
        assert arrays < states["prompt tuning"] < arrays + 64, "counts of steps beside them"
        assert states["model tuning"] > 2 * 4 * size_of(backbone)
        assert rows["model tuning"].share == 1.0
        assert rows["model tuning"].outcome.kept == size_of(backbone)
        assert rows["zero-shot"].share == 0.0
        one = 4 * backbone.width
        assert rows["suffix"].outcome.kept == rows["decoder prompt"].outcome.kept == one
        assert rows["prefix-tuning"].outcome.kept > rows["infix-tuning"].outcome.kept > one
        assert rows["learnt weights"].outcome.trained == one
        attention = rows["attention over sources"].outcome
        assert (attention.trained, attention.kept) == (3 * one, 5 * one), "two sources stay"
        both = rows["multi-task model tuning"]
        assert both.outcome.kept == size_of(backbone)
        data = data_of(mixture_of(target, [tasks["first"]]), backbone, short, named=True)
        model = tune_model(backbone, data, short, seed=0).backbone
        asked = data_of(target, backbone, short, named=True)[Split.TEST]
        assert all(example.inputs.startswith("target: ") for example in asked.examples)
        nothing = np.zeros((0, backbone.width), np.float32)
        answers = predict(model, nothing, asked.examples, asked.tokens, method="rank")
        assert list(both.outcome.answers[0]) == answers
        assert list(runs.iterdir()) == [], "checkpoints of models are large"
        with pytest.raises(TaskError, match="at least two tasks"):
            list(compare(dataclasses.replace(comparison, beside=[]), ["multi-task model tuning"]))
