"""Model tuning: all weights of a model trained on tasks, the baseline that prompts are held against.

Lester et al. (2021, section 4): T5's own fine-tuning, Adafactor at a constant 0.001 that scales with the weights. A
task then costs a copy of the model.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spot.backbone.load import Backbone
from spot.backbone.soft import Soft
from spot.inference.diagnostics import count_answers
from spot.inference.predict import Questions, answer_many
from spot.prompts.forms import WEIGHTS
from spot.training.jobs import CHECKPOINT_SECONDS, Job, Reporter, Result, Silent
from spot.training.loop import fit
from spot.training.optimizers import Optimizer
from spot.training.parts import Batch, whole_batch
from spot.training.pretrain import digest_of
from spot.training.prompt_tuning import UNSELECTING, TaskStream
from spot.training.recipe import Recipe, recorded
from spot.training.step import Step, make_step
from spot.training.task_data import MixtureData, TaskData
from tasks.task import Split

OPTIMIZER = Optimizer(learning_rate=0.001, weight_decay=0.0, scale_by_parameter=True, factored=True)
"""T5's fine-tuning (Raffel et al. 2020, section 3.1.2)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TunedModel:
    """What model tuning left.

    Attributes:
        backbone: the model with the weights of the best development score, under its old fingerprint.
        metrics: their development metrics.
        history: one row an evaluation: step, mean training loss, development metrics.
        seconds: time this process spent.
    """

    backbone: Backbone
    metrics: Mapping[str, float]
    history: Sequence[Mapping[str, float]]
    seconds: float


class WholeBatches(TaskStream):
    """Batches of a task as one padded part each: weights have no slots to share a step with."""

    def next(self) -> Batch:  # type: ignore[override]
        return whole_batch(super().next())


def tuning_step(backbone: Backbone, recipe: Recipe, optimizer: Optimizer) -> Step:
    """The step of all weights."""
    return make_step(
        backbone.graph,
        optimizer,
        steps=recipe.steps,
        form=WEIGHTS,
        dropout=recipe.dropout,
        z_loss=recipe.z_loss,
        loss=recipe.loss,
    )


def tuning_digest(
    backbone: Backbone,
    data: TaskData | MixtureData,
    recipe: Recipe,
    seed: int,
    optimizer: Optimizer,
) -> str:
    """What makes two trainings of all weights the same."""
    return digest_of(
        [
            backbone.identity,
            data.digest,
            seed,
            recorded(recipe),
            dataclasses.asdict(optimizer),
        ]
    )


def tune_model(
    backbone: Backbone,
    data: TaskData | MixtureData,
    recipe: Recipe,
    *,
    seed: int,
    optimizer: Optimizer = OPTIMIZER,
    folder: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    reporter: Reporter | None = None,
) -> TunedModel:
    """Train all weights of a model on a task, or on several together.

    Args:
        backbone: where it begins.
        data: the task's splits; train trains, dev selects.
        recipe: steps, batches, lengths, dropout, loss and evaluations; what it says of prompts and their optimiser
            does not count.
        seed: of the order of batches.
        optimizer: of the weights.
        folder: where the checkpoint lies, which holds a few copies of the model; with one, killed training goes on.
        checkpoint_seconds: longest time between checkpoints.
        reporter: progress sink.

    Raises:
        DivergenceError: the loss is not finite.
        Interrupted: a signal stopped training; its state is saved.
    """
    bare, dev = Soft.none(backbone.width), data[Split.DEV]
    question = Questions(0, dev.examples, dev.tokens)
    latest: dict[str, Any] = {}

    def evaluate(_jobs: Sequence[Job], trained: Any) -> list[Mapping[str, float]]:
        tuned = dataclasses.replace(backbone, weights=trained)
        (answers,) = answer_many(tuned, bare, [question], method=recipe.evaluate_by)
        counted = count_answers(
            answers.texts, dev.examples, ranked=answers.ranked, losses=answers.losses
        )
        latest.update(dataclasses.asdict(counted))
        return [data.score(Split.DEV, answers.texts)]

    results: list[Result] = []
    began = time.monotonic()
    job = Job(
        identity=tuning_digest(backbone, data, recipe, seed, optimizer),
        plan=dataclasses.replace(recipe.plan(), checkpoint_seconds=checkpoint_seconds),
        start=lambda: backbone.weights,
        stream=lambda: WholeBatches(data.batches(recipe.batch_size, seed, loss=recipe.loss)),
        seed=seed,
        facts=lambda: latest,
        done=results.append,
        reporter=reporter or Silent(),
    )
    step = tuning_step(backbone, recipe, optimizer)
    fit([job], frozen=None, step=step, evaluate=evaluate, folder=folder)
    progress = results[-1].progress
    best = next(row for row in progress.history if row["step"] == progress.best_step)
    return TunedModel(
        backbone=dataclasses.replace(backbone, weights=results[-1].best),
        metrics={name: value for name, value in best.items() if name not in UNSELECTING},
        history=progress.history,
        seconds=time.monotonic() - began,
    )
