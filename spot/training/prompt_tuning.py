"""Prompt tuning: prompts of one backbone and recipe, trained by the loop of :mod:`spot.training.loop`."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bank.vectors import average, prompt_sha256
from spot.backbone.batch import Inputs, Targets
from spot.backbone.load import Backbone
from spot.inference.predict import mean_losses, predict
from spot.prompts.initializers import check_fits, file_address, make_initializer
from spot.training.jobs import CHECKPOINT_SECONDS, GiveUp, Job, Progress, Reporter, Result, Silent
from spot.training.loop import fit
from spot.training.recipe import Recipe
from spot.training.step import Batch, Variables, make_step
from spot.training.task_data import MixtureData, TaskData
from tasks.pipeline import Batches
from tasks.task import Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedPrompt:
    """What training left.

    Attributes:
        value: ``[P, H]`` of the best development score.
        value_step: its step.
        key: ``[P, H]`` at the recipe's key step.
        metrics: development metrics of the value.
        history: one row an evaluation: step, mean training loss, development metrics.
        start: mean token ``[H]`` of the prompt it started from.
        started_from: sha256 of the given initial prompt, or ``None`` for an initialiser's.
        seconds: time this process spent, loading left out.
    """

    value: np.ndarray
    value_step: int
    key: np.ndarray
    metrics: Mapping[str, float]
    history: list[dict[str, float]]
    start: np.ndarray
    started_from: str | None
    steps: int
    seconds: float


class TaskStream:
    """Batches of one task for row 0 of a stack; its state is the index of the next batch."""

    def __init__(self, batches: Batches) -> None:
        self._batches, self._index = batches, 0

    def next(self) -> Batch:
        batch = self._batches[self._index]
        self._index += 1
        return Batch(
            np.zeros(len(batch.input_ids), np.int32),
            Inputs(batch.input_ids, batch.input_mask),
            Targets(batch.target_ids, batch.target_mask),
        )

    def state(self) -> dict[str, int]:
        return {"index": self._index}

    def restore(self, state: Mapping[str, int]) -> None:
        self._index = state["index"]


def prompt_job(
    backbone: Backbone,
    data: TaskData | MixtureData,
    recipe: Recipe,
    *,
    identity: str,
    seed: int,
    done: Callable[[TrainedPrompt], None],
    initial: np.ndarray | None = None,
    stop_at_key: bool = False,
    held: Callable[[], bool] = lambda: False,
    dropped: Callable[[Progress], object] = lambda _progress: None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    reporter: Reporter | None = None,
) -> Job:
    """One prompt to train; data is read, and the prompt started, when its turn comes.

    Args:
        backbone: the frozen model.
        data: the task's splits; train trains, dev selects.
        recipe: everything else.
        identity: digest of everything the run depends on, by which a checkpoint knows it.
        seed: of the initialiser and of the order of batches.
        done: takes the trained prompt; may be called again with the same after a restart.
        initial: a prompt ``[P, H]`` to start from, in place of the recipe's initialiser.
        stop_at_key: train a query: end at the key step.
        held: whether the result is known already.
        dropped: takes the progress of a run that was given up before its end.
        checkpoint_seconds: longest time between checkpoints.
        reporter: progress sink.

    Raises:
        PromptError: an initial prompt that does not fit.
        TaskError: data that cannot be read.
    """
    if initial is None:
        labels = data.task.labels
        prompt = make_initializer(recipe.init, backbone, recipe.prompt_length, labels=labels, task=data.task.name)(seed)
    else:
        prompt = check_fits(initial, backbone, recipe.prompt_length, where="initial prompt")
    began = time.monotonic()

    def evaluate(variables: Variables) -> Mapping[str, float]:
        dev = data[Split.DEV]
        answers = predict(backbone, variables["prompts"][0], dev.examples, dev.tokens, method=recipe.evaluate_by)
        return data.score(Split.DEV, answers)

    def loss(variables: Variables) -> float:
        return float(mean_losses(backbone, [np.asarray(variables["prompts"][0])], data[Split.DEV].tokens)[0])

    def start() -> np.ndarray:
        nonlocal began
        began = time.monotonic()
        return prompt[None]

    def finished(result: Result) -> None:
        progress = result.progress
        assert result.key is not None
        best = next(row for row in progress.history if row["step"] == progress.best_step)
        done(
            TrainedPrompt(
                value=result.best[0],
                value_step=progress.best_step,
                key=result.key[0],
                metrics={name: value for name, value in best.items() if name not in ("step", "loss")},
                history=progress.history,
                start=average(prompt),
                started_from=None if initial is None else prompt_sha256(prompt),
                steps=progress.step,
                seconds=time.monotonic() - began,
            )
        )

    return Job(
        identity=identity,
        plan=dataclasses.replace(recipe.plan(stop_at_key=stop_at_key), checkpoint_seconds=checkpoint_seconds),
        start=start,
        stream=lambda: TaskStream(data.batches(recipe.batch_size, seed)),
        evaluate=evaluate,
        loss=loss,
        seed=seed,
        held=held,
        done=finished,
        dropped=dropped,
        reporter=reporter or Silent(),
    )


def train_prompts(
    backbone: Backbone,
    recipe: Recipe,
    jobs: Sequence[Job],
    *,
    slots: int = 1,
    folder: Path | None = None,
    give_up: GiveUp = lambda _progress: (),
) -> None:
    """Train prompts of one backbone and recipe in one program, ``slots`` at a time; see :func:`spot.training.loop.fit`.

    Args:
        backbone: the frozen model.
        recipe: of all jobs.
        jobs: from :func:`prompt_job`.
        slots: prompts under way at once.
        folder: where the checkpoint lies; with one, killed training goes on where it was and ends bit-identical
            on one machine.
        give_up: says after evaluations which jobs shall not go on.

    Raises:
        DivergenceError: the loss of a job is not finite; the others have ended.
        Interrupted: a signal stopped training; its state is saved.
    """
    fit(
        jobs,
        frozen={"weights": backbone.weights},
        trainable="prompts",
        step=make_step(
            backbone.graph,
            recipe.optimizer,
            steps=recipe.steps,
            trainable="prompts",
            dropout=recipe.dropout,
            z_loss=recipe.z_loss,
            apart=backbone.config.reads_prompts_once,
        ),
        slots=min(slots, len(jobs)),
        folder=folder,
        give_up=give_up,
    )


def train_prompt(
    backbone: Backbone,
    data: TaskData | MixtureData,
    recipe: Recipe,
    *,
    seed: int,
    initial: np.ndarray | None = None,
    stop_at_key: bool = False,
    folder: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    reporter: Reporter | None = None,
    on_snapshot: Callable[[str, int, np.ndarray], None] | None = None,
) -> TrainedPrompt:
    """Train one prompt and keep its key and its value: :func:`prompt_job` and :func:`train_prompts` for one.

    ``on_snapshot`` is called with ``("key" | "value", step, [P, H])`` when the run is done.
    """
    trained: list[TrainedPrompt] = []
    job = prompt_job(
        backbone,
        data,
        recipe,
        identity=run_identity(backbone, data, recipe, seed, initial, stop_at_key=stop_at_key),
        seed=seed,
        done=trained.append,
        initial=initial,
        stop_at_key=stop_at_key,
        checkpoint_seconds=checkpoint_seconds,
        reporter=reporter,
    )
    train_prompts(backbone, recipe, [job], folder=folder)
    if on_snapshot:
        on_snapshot("key", recipe.key_step, trained[-1].key)
        on_snapshot("value", trained[-1].value_step, trained[-1].value)
    return trained[-1]


def run_identity(
    backbone: Backbone,
    data: TaskData | MixtureData,
    recipe: Recipe,
    seed: int,
    initial: np.ndarray | None,
    *,
    stop_at_key: bool,
) -> str:
    """Digest of everything a run depends on, its start ``initial[P, H]`` among it.

    Equal runs end with equal bits on one machine, in equal slots.
    """
    start = file_address(recipe.init, recipe.prompt_length) if initial is None else prompt_sha256(initial)
    content = [recipe.record(backbone).digest, data.task.name, data.digest, seed, start, stop_at_key]
    return hashlib.sha256(repr(content).encode()).hexdigest()
