"""Prompt tuning: prompts of one backbone and recipe, trained by the loop of :mod:`spot.training.loop`."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bank.records import RunIdentity
from bank.vectors import average, prompt_sha256
from spot.backbone.load import Backbone
from spot.inference.diagnostics import (
    Answered,
    Diagnostics,
    chance_level,
    count_answers,
    mean_norm,
)
from spot.inference.predict import Questions, answer_many, mean_losses
from spot.prompts.forms import FORMS
from spot.prompts.initializers import check_fits, file_address, make_initializer
from spot.prompts.reparameterization import prompts_of, trainable
from spot.prompts.sharing import SharedParts
from spot.training.jobs import CHECKPOINT_SECONDS, GiveUp, Job, Progress, Reporter, Result, Silent
from spot.training.loop import fit
from spot.training.losses import over_choices
from spot.training.recipe import Recipe
from spot.training.step import Step, make_step
from spot.training.task_data import MixtureData, SplitData, TaskData
from spot.training.task_record import task_record
from spot.training.toward import Toward, toward_text
from tasks.mixture import Mixture
from tasks.pipeline import Batches, RaggedBatch
from tasks.task import Split, Task

TEST_SCORE = "test score"
"""What a history calls the score on a recipe's ``curve_limit`` test examples."""

PROMPT_NORM = "prompt norm"
"""What it calls the mean norm of a prompt's tokens, in mean norms of the embedding's rows."""

UNSELECTING = ("step", "loss", TEST_SCORE, PROMPT_NORM)
"""What stands in a history beside development metrics."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedPrompt:
    """What training left.

    Attributes:
        value: ``[..., P, H]`` of the best development score.
        value_step: its step.
        key: ``[..., P, H]`` at the recipe's key step.
        own: the value's part that is the task's alone, ``[..., P, H]`` or half of its tokens; ``None`` where it is all.
        metrics: development metrics of the value.
        history: one row an evaluation: step, mean training loss, development metrics, and, by which nothing was
            selected, the ``prompt norm``, and where the recipe has a ``curve_limit`` the ``test score`` on those.
        start: mean token ``[W]`` of the prompt it started from.
        started_from: sha256 of the given initial prompt, or ``None`` for an initialiser's.
        diagnostics: what answers, losses and norms tell of the value.
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
    diagnostics: Diagnostics | None = None
    own: np.ndarray | None = None


class TaskStream:
    """Batches of one task; its state is the index of the next batch."""

    def __init__(self, batches: Batches) -> None:
        self._batches, self._index = batches, 0

    def next(self) -> RaggedBatch:
        self._index += 1
        return self._batches[self._index - 1]

    def state(self) -> dict[str, int]:
        return {"index": self._index}

    def restore(self, state: Mapping[str, int]) -> None:
        self._index = state["index"]


class NoBatches:
    """The stream of a job that trains on nothing of its own; it has no state."""

    def next(self) -> RaggedBatch:
        return RaggedBatch([], [])

    def state(self) -> dict[str, int]:
        return {}

    def restore(self, state: Mapping[str, int]) -> None:
        """There is nothing to go back to."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptJob(Job):
    """A prompt to train: ``data`` are its task's splits, ``latest`` what its last evaluation answered."""

    data: TaskData | MixtureData
    latest: dict[str, Any] = dataclasses.field(default_factory=dict)


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
    shares: str = "",
    known: Callable[[], bool] = lambda: False,
    given_up: Callable[[Progress], object] = lambda _progress: None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    reporter: Reporter | None = None,
) -> PromptJob:
    """One prompt to train; data is read, and the prompt started, when its turn comes.

    Args:
        backbone: the frozen model.
        data: the task's splits; train trains, dev selects.
        recipe: everything else.
        identity: digest of everything that the run depends on: equal ones end with equal bits on one machine, in equal
            slots.
        seed: of the initialiser and of the order of batches.
        done: takes the trained prompt; may be called again with the same after a restart.
        initial: a prompt ``[..., P, H]`` of the recipe's form to start from, in place of its initialiser.
        stop_at_key: train a query: end at the key step.
        shares: names those of the other jobs that it shares a part with, by a recipe's ``shared``.
        known: whether its result is there already.
        given_up: takes the progress of a run that was given up before its end.
        checkpoint_seconds: longest time between checkpoints.
        reporter: progress sink.

    Raises:
        PromptError: an initial prompt that does not fit.
        TaskError: data that cannot be read.
    """
    if initial is None:
        start = start_of(recipe, backbone, data.task, seed)
    else:
        start = check_fits(
            initial, backbone, recipe.prompt_length, form=recipe.form, where="initial prompt"
        )
    started_from = None if initial is None else prompt_sha256(start)
    clock, toward = Clock(), toward_of(backbone, recipe)
    latest: dict[str, Any] = {}

    def ended(result: Result) -> None:
        trained = trained_prompt(result, start, started_from, clock.seconds)
        if isinstance(result.best, SharedParts) and not is_shared_part(recipe, data):
            own = np.asarray(result.best.own_part())[0]
            trained = dataclasses.replace(trained, own=own)
        moved = trained.value - start if FORMS[recipe.form].states else None
        facts = result.progress.best_facts
        diagnostics = diagnose(backbone, data, trained, moved, facts, loss=recipe.loss)
        if diagnostics and toward:
            apart = float(toward.distances(trained.value[None])[0]) ** 0.5
            diagnostics = dataclasses.replace(
                diagnostics, from_text=apart / backbone.embedding_norm
            )
        done(dataclasses.replace(trained, diagnostics=diagnostics))

    return PromptJob(
        identity=identity,
        plan=dataclasses.replace(
            recipe.plan(stop_at_key=stop_at_key), checkpoint_seconds=checkpoint_seconds
        ),
        start=lambda: clock.start(trainable(start, recipe.mlp_width, seed, shared=recipe.shared)),
        stream=lambda: stream_of(data, recipe, seed),
        loss=functools.partial(development_loss, backbone, data, recipe),
        seed=seed,
        title=f"{data.task.name}, seed {seed}",
        known=known,
        facts=lambda: latest,
        shares=shares,
        done=ended,
        given_up=given_up,
        reporter=reporter or Silent(),
        data=data,
        latest=latest,
    )


def stream_of(data: TaskData | MixtureData, recipe: Recipe, seed: int) -> TaskStream | NoBatches:
    """Training batches of a run: none of the mixture of tasks that share, whose prompt is what these train together."""
    if is_shared_part(recipe, data):
        return NoBatches()
    return TaskStream(data.batches(recipe.batch_size, seed, loss=recipe.loss))


def is_shared_part(recipe: Recipe, data: TaskData | MixtureData) -> bool:
    """Whether a run is of the mixture of tasks that share a part, and is that part."""
    return bool(recipe.together) and recipe.together == together(data)


def together(data: TaskData | MixtureData) -> str:
    """What the recipe of tasks that share says of them, given the data of their mixture."""
    return f"{data.task.name} {data.digest}" if isinstance(data, MixtureData) else ""


class Clock:
    """Seconds since a run was started."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def start(self, parameters: Any) -> Any:
        """The parameters that are given, as the clock starts."""
        self._began = time.monotonic()
        return parameters

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


def development_loss(
    backbone: Backbone,
    data: TaskData | MixtureData,
    recipe: Recipe,
    parameters: Any,
    facts: Mapping[str, Any],
) -> float:
    """Mean loss of one prompt, as it trains in a stack of one, on development examples; ranked answers have told it."""
    if (told := facts.get("loss")) is not None:
        return float(told)
    prompt = _the_prompt(parameters)
    return float(mean_losses(backbone, [prompt], data[Split.DEV].tokens, form=recipe.form)[0])


def _the_prompt(parameters: Any) -> np.ndarray:
    """``[..., P, H]`` of what trains in a stack of one."""
    return np.asarray(prompts_of(parameters))[0]


def trained_prompt(
    result: Result, start: np.ndarray, started_from: str | None, seconds: float
) -> TrainedPrompt:
    """What the loop's result, stacks of one, says of a prompt that started at ``start[..., P, H]``."""
    progress = result.progress
    assert result.key is not None
    best = next(row for row in progress.history if row["step"] == progress.best_step)
    return TrainedPrompt(
        value=_the_prompt(result.best),
        value_step=progress.best_step,
        key=_the_prompt(result.key),
        metrics={name: value for name, value in best.items() if name not in UNSELECTING},
        history=progress.history,
        start=average(start),
        started_from=started_from,
        steps=progress.step,
        seconds=seconds,
    )


def diagnose(
    backbone: Backbone,
    data: TaskData | MixtureData,
    trained: TrainedPrompt,
    moved: np.ndarray | None,
    answered: Mapping[str, Any],
    *,
    loss: str,
) -> Diagnostics | None:
    """What a run's value tells beyond its score.

    Args:
        backbone: the frozen model.
        data: the task's splits.
        trained: what training left.
        moved: ``[..., P, H]``, how it differs from where it began; ``None`` of a form without states of the model.
        answered: what the value answered on dev, counted; empty where a checkpoint of an older version says nothing.
        loss: by which it trained: the chance level is that of target tokens, and of no loss that compares choices.
    """
    if not answered:
        return None
    dev, train = data[Split.DEV], data[Split.TRAIN]
    known = not over_choices(loss)
    best = next(row for row in trained.history if row["step"] == trained.value_step)
    return Diagnostics(
        split=Split.DEV.value,
        answered=Answered(**answered),
        chance=chance_level(dev.examples, dev.tokens).by_example if known else None,
        training_loss=best["loss"] if np.isfinite(best["loss"]) else None,
        training_chance=chance_level(train.examples, train.tokens).by_token if known else None,
        prompt_norm=None if moved is None else mean_norm(trained.value) / backbone.embedding_norm,
        moved=None if moved is None else mean_norm(moved) / backbone.embedding_norm,
        inputs=len(train.tokens),
        cut=train.tokens.cut,
        cut_targets=train.tokens.cut_targets,
    )


def run_identity(
    backbone: Backbone,
    data: TaskData | MixtureData,
    recipe: Recipe,
    *,
    seed: int,
    role: str,
    started_from: str | None = None,
) -> RunIdentity:
    """What tells a run from all others, in training as in a bank.

    Args:
        backbone: the frozen model.
        data: the task's splits, which are digested.
        recipe: how it trains; a prompt file that it starts from enters by its content.
        seed: of initialiser and batches.
        role: ``source``, ``query``, ``baseline`` or ``transfer``.
        started_from: address of a prompt that it starts from, in place of the recipe's initialiser.
    """
    return RunIdentity(
        recipe=recipe.record(backbone),
        task=task_record(data.task),
        seed=seed,
        role=role,
        data=data.digest,
        started_from=started_from
        or file_address(recipe.init, recipe.prompt_length, backbone.width),
    )


def start_of(recipe: Recipe, backbone: Backbone, task: Task | Mixture, seed: int) -> np.ndarray:
    """Where a recipe's initialiser starts a task's run of a seed, ``[..., P, H]`` float32.

    Raises:
        PromptError: unknown name, no labels, or a file that does not fit.
    """
    initialize = make_initializer(
        recipe.init,
        backbone,
        recipe.prompt_length,
        form=recipe.form,
        labels=task.labels,
        task=task.name,
    )
    return initialize(seed)


def evaluate_prompts(
    backbone: Backbone, recipe: Recipe, jobs: Sequence[PromptJob], trained: Any
) -> Sequence[Mapping[str, float]]:
    """Development metrics of the prompts that train, one a job, in one pass over the examples of all.

    What was answered is counted in each job's ``latest``. Test examples of the recipe's ``curve_limit`` are answered in
    the same pass; their score stands beside the metrics and is none of them.
    """
    form, prompts = FORMS[recipe.form], prompts_of(trained)
    soft = form.soft(prompts, backbone.config)
    curves = {
        row: few for row, job in enumerate(jobs) if (few := job.data.curve(recipe.curve_limit))
    }
    development = [_asked(row, job.data[Split.DEV]) for row, job in enumerate(jobs)]
    tested = [_asked(row, few[Split.TEST]) for row, few in curves.items()]
    answers = answer_many(backbone, soft, [*development, *tested], method=recipe.evaluate_by)
    rows: list[dict[str, float]] = []
    for job, question, each in zip(jobs, development, answers, strict=False):
        counts = count_answers(
            each.texts, question.examples, ranked=each.ranked, losses=each.losses
        )
        job.latest.update(dataclasses.asdict(counts))
        rows.append(dict(job.data.score(Split.DEV, each.texts)))
    if form.states:
        for row, prompt in enumerate(np.asarray(prompts)):
            rows[row][PROMPT_NORM] = mean_norm(prompt) / backbone.embedding_norm
    for (row, few), each in zip(curves.items(), answers[len(jobs) :], strict=True):
        rows[row][TEST_SCORE] = few.score(Split.TEST, each.texts)["score"]
    return rows


def _asked(row: int, split: SplitData) -> Questions:
    return Questions(row, split.examples, split.tokens)


def toward_of(backbone: Backbone, recipe: Recipe) -> Toward | None:
    """What pulls a recipe's prompts toward a text, if there is one."""
    if not recipe.toward:
        return None
    return toward_text(backbone, recipe.toward, recipe.toward_weight, recipe.prompt_length)


def step_of(backbone: Backbone, recipe: Recipe) -> Step:
    """The step of a recipe's prompts."""
    return make_step(
        backbone.graph,
        recipe.optimizer,
        steps=recipe.steps,
        form=FORMS[recipe.form],
        dropout=recipe.dropout,
        prompt_dropout=recipe.prompt_dropout,
        z_loss=recipe.z_loss,
        loss=recipe.loss,
        toward=toward_of(backbone, recipe),
        packed=backbone.config.reads_prompts_once and FORMS[recipe.form].packs,
    )


def train_prompts(
    backbone: Backbone,
    recipe: Recipe,
    jobs: Sequence[PromptJob],
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
        frozen=backbone.weights,
        step=step_of(backbone, recipe),
        evaluate=functools.partial(evaluate_prompts, backbone, recipe),
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

    ``on_snapshot`` is called with ``("key" | "value", step, [..., P, H])`` when the run is done.
    """
    trained: list[TrainedPrompt] = []
    role, started_from = (
        "query" if stop_at_key else "source",
        None if initial is None else prompt_sha256(initial),
    )
    job = prompt_job(
        backbone,
        data,
        recipe,
        identity=run_identity(
            backbone, data, recipe, seed=seed, role=role, started_from=started_from
        ).digest,
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
