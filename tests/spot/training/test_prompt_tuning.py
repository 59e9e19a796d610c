"""A prompt's training: reproducible, resumable and the same for a query as for a whole run."""

from __future__ import annotations

import collections
import dataclasses
import functools
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bank.vectors import prompt_sha256
from spot.backbone.load import Backbone
from spot.backbone.soft import Soft
from spot.errors import PromptError
from spot.inference.predict import Answers, Questions, mean_losses, predict
from spot.prompts.initializers import make_initializer
from spot.prompts.write import write_prompt
from spot.training.loop import CHECKPOINT_FILE, Interrupted
from spot.training.prompt_tuning import (
    TrainedPrompt,
    development_loss,
    run_identity,
    train_prompt,
)
from spot.training.recipe import Recipe
from spot.training.task_data import TaskData
from tasks.task import Split, Task
from tests.closeness import assert_close
from tests.spot.training.toy import Recorder

ALL = 0.0


def equal(left: TrainedPrompt, right: TrainedPrompt) -> bool:
    """The same bits, the same history and the same diagnostics."""
    prompts = [(left.key, right.key), (left.value, right.value)]
    same = all(a.tobytes() == b.tobytes() and a.dtype == b.dtype for a, b in prompts)
    return (
        same
        and left.history == right.history
        and left.value_step == right.value_step
        and left.diagnostics == right.diagnostics
    )


@pytest.fixture(scope="module")
def whole(backbone: Backbone, data: TaskData, recipe: Recipe) -> TrainedPrompt:
    """An uninterrupted run."""
    return train_prompt(backbone, data, recipe, seed=1)


def test_the_loss_falls(whole: TrainedPrompt) -> None:
    losses = [row["loss"] for row in whole.history]
    assert losses[-1] < 0.97 * losses[0]


def test_diagnostics_are_those_of_the_value(
    whole: TrainedPrompt, backbone: Backbone, data: TaskData, recipe: Recipe
) -> None:
    facts = whole.diagnostics
    assert facts is not None
    dev = data[Split.DEV]
    answers = predict(backbone, whole.value, dev.examples, dev.tokens)
    assert facts.answered.predicted == dict(collections.Counter(answers).most_common())
    (loss,) = mean_losses(backbone, [whole.value], dev.tokens)
    assert facts.answered.loss == pytest.approx(loss, rel=1e-4)
    assert facts.training_loss == whole.history[whole.value_step // 10 - 1]["loss"]
    start = make_initializer(recipe.init, backbone, recipe.prompt_length)(1)
    rows = np.linalg.norm(np.asarray(backbone.embedding), axis=-1).mean()
    way = np.linalg.norm(whole.value - start, axis=-1).mean()
    assert facts.moved == pytest.approx(way / rows, rel=1e-5)
    assert (facts.inputs, facts.cut) == (64, data[Split.TRAIN].tokens.cut)


def test_ranked_answers_tell_the_development_loss(
    whole: TrainedPrompt, backbone: Backbone, data: TaskData, recipe: Recipe
) -> None:
    assert whole.diagnostics is not None
    told = whole.diagnostics.answered.loss
    loss = functools.partial(development_loss, backbone, data, recipe, whole.value[None])
    assert_close(loss({"loss": None}), told, terms=1000)
    assert loss({"loss": told}) == told


def test_a_run_that_answers_one_class_for_all_says_so_and_what_to_try(
    backbone: Backbone, data: TaskData, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def constant(
        _backbone: Backbone, _soft: Soft, questions: Sequence[Questions], **_how: object
    ) -> list[Answers]:
        return [Answers(["bad"] * len(q.examples), True, None) for q in questions]

    monkeypatch.setattr("spot.training.prompt_tuning.answer_many", constant)
    short = dataclasses.replace(recipe, steps=10, key_step=10)
    facts = train_prompt(backbone, data, short, seed=1).diagnostics
    assert facts is not None
    assert "Answers one class for all ('bad'): try " in facts.line()
    assert "--learning-rate auto" in facts.document()["try"]


def test_key_and_value_are_prompts_and_the_value_has_the_best_score(
    whole: TrainedPrompt, recipe: Recipe
) -> None:
    assert whole.key.shape == whole.value.shape == (4, 16)
    assert whole.key.dtype == whole.value.dtype == np.float32
    scores = [row["score"] for row in whole.history]
    assert whole.value_step in {row["step"] for row in whole.history if row["score"] == max(scores)}
    assert whole.metrics == {"accuracy": max(scores), "score": max(scores)}
    assert (whole.steps, whole.started_from) == (recipe.steps, None)


def test_the_same_seed_gives_the_same_bits(
    backbone: Backbone, data: TaskData, recipe: Recipe, whole: TrainedPrompt
) -> None:
    assert equal(train_prompt(backbone, data, recipe, seed=1), whole)


def test_another_seed_gives_another_prompt(
    backbone: Backbone, data: TaskData, recipe: Recipe, whole: TrainedPrompt
) -> None:
    other = train_prompt(backbone, data, recipe, seed=2)
    assert not np.array_equal(other.key, whole.key)


def test_the_seed_decides_the_order_of_batches_and_not_the_initialiser_alone(
    backbone: Backbone, data: TaskData, recipe: Recipe
) -> None:
    start = np.ones((4, 16), np.float32)
    first, second = (
        train_prompt(backbone, data, recipe, seed=seed, initial=start) for seed in (1, 2)
    )
    assert not np.array_equal(first.key, second.key)


def test_a_query_ends_at_the_key_step_with_the_key_of_the_whole_run(
    backbone: Backbone, data: TaskData, recipe: Recipe, whole: TrainedPrompt
) -> None:
    query = train_prompt(backbone, data, recipe, seed=1, stop_at_key=True)
    assert query.steps == recipe.key_step
    assert query.key.tobytes() == whole.key.tobytes()
    assert query.history == whole.history[:2]


def test_the_key_is_what_a_shorter_run_ends_with(
    backbone: Backbone, data: TaskData, recipe: Recipe, whole: TrainedPrompt
) -> None:
    shorter = dataclasses.replace(recipe, steps=recipe.key_step + 10)
    assert train_prompt(backbone, data, shorter, seed=1).key.tobytes() == whole.key.tobytes()


@pytest.mark.parametrize("stops", [(3,), (10, 20), (7, 19, 21, 39)])
def test_a_run_that_was_interrupted_ends_with_the_bits_of_one_left_alone(
    stops: tuple[int, ...],
    backbone: Backbone,
    data: TaskData,
    recipe: Recipe,
    whole: TrainedPrompt,
    tmp_path: Path,
    task: Task,
) -> None:
    stopping = StoppingData(task, backbone, recipe, stops=list(stops))
    for stop in stops:
        with pytest.raises(Interrupted, match=f"at step {stop}"):
            train_prompt(backbone, stopping, recipe, seed=1, folder=tmp_path)
    assert equal(train_prompt(backbone, data, recipe, seed=1, folder=tmp_path), whole)


class StoppingData(TaskData):
    """Sends this process a SIGTERM while the batch of each of some steps in turn is drawn."""

    def __init__(self, *args: Any, stops: list[int]) -> None:
        super().__init__(*args)
        self.stops = stops

    def batches(self, batch_size: int, seed: int, **more: Any) -> Any:
        drawn, stops = super().batches(batch_size, seed, **more), self.stops

        class Stopping:
            def __getitem__(self, index: int) -> Any:
                if stops and index + 1 == stops[0]:
                    stops.pop(0)
                    signal.raise_signal(signal.SIGTERM)
                return drawn[index]

        return Stopping()


@pytest.mark.parametrize("dies_at", [5, 10, 20, 30])
def test_a_run_that_died_goes_on_from_its_last_checkpoint(
    dies_at: int,
    backbone: Backbone,
    data: TaskData,
    recipe: Recipe,
    whole: TrainedPrompt,
    tmp_path: Path,
) -> None:
    class Dead(BaseException):
        """Nothing of the process runs after this."""

    def die(step: int) -> None:
        if step >= dies_at:
            raise Dead

    with pytest.raises(Dead):
        train_prompt(
            backbone,
            data,
            recipe,
            seed=1,
            folder=tmp_path,
            checkpoint_seconds=ALL,
            reporter=Recorder(on_advance=die),
        )
    heard = Recorder()
    resumed = train_prompt(backbone, data, recipe, seed=1, folder=tmp_path, reporter=heard)
    assert heard.named("start") == [
        (max(0, dies_at - 10 if dies_at % 10 == 0 else 0), recipe.steps)
    ]
    assert equal(resumed, whole)


def test_a_finished_run_is_read_back_from_its_checkpoint(
    backbone: Backbone, data: TaskData, recipe: Recipe, whole: TrainedPrompt, tmp_path: Path
) -> None:
    train_prompt(backbone, data, recipe, seed=1, folder=tmp_path)
    assert (tmp_path / CHECKPOINT_FILE).exists()
    heard = Recorder()
    assert equal(
        train_prompt(backbone, data, recipe, seed=1, folder=tmp_path, reporter=heard), whole
    )
    assert heard.named("advance") == []


def test_snapshots_are_handed_out_when_the_run_is_done(
    backbone: Backbone, data: TaskData, recipe: Recipe, whole: TrainedPrompt
) -> None:
    seen: list[tuple[str, int, str]] = []
    train_prompt(
        backbone,
        data,
        recipe,
        seed=1,
        on_snapshot=lambda kind, step, prompt: seen.append((kind, step, prompt_sha256(prompt))),
    )
    assert seen == [
        ("key", recipe.key_step, prompt_sha256(whole.key)),
        ("value", whole.value_step, prompt_sha256(whole.value)),
    ]


def test_a_given_prompt_is_where_training_starts(
    backbone: Backbone, data: TaskData, recipe: Recipe
) -> None:
    start = make_initializer(recipe.init, backbone, recipe.prompt_length)(1)
    given = train_prompt(backbone, data, recipe, seed=1, initial=start)
    assert given.key.tobytes() == train_prompt(backbone, data, recipe, seed=1).key.tobytes()
    assert given.started_from == prompt_sha256(start)


@pytest.mark.parametrize("shape", [(4, 17), (5, 16)])
def test_a_given_prompt_that_does_not_fit_is_refused(
    shape: tuple[int, int], backbone: Backbone, data: TaskData, recipe: Recipe
) -> None:
    with pytest.raises(PromptError, match="initial prompt: prompt has"):
        train_prompt(backbone, data, recipe, seed=1, initial=np.zeros(shape, np.float32))


def identity(
    backbone: Backbone,
    data: TaskData,
    recipe: Recipe,
    seed: int,
    start: np.ndarray | None,
    role: str,
) -> str:
    address = None if start is None else prompt_sha256(start)
    return run_identity(backbone, data, recipe, seed=seed, role=role, started_from=address).digest


def test_identity_names_everything_that_a_run_depends_on(
    backbone: Backbone, data: TaskData, recipe: Recipe
) -> None:
    start = np.ones((4, 16), np.float32)
    other = dataclasses.replace(recipe, batch_size=4)
    identities = [
        identity(backbone, data, recipe, 1, None, "source"),
        identity(backbone, data, recipe, 2, None, "source"),
        identity(backbone, data, recipe, 1, start, "source"),
        identity(backbone, data, recipe, 1, 2 * start, "source"),
        identity(backbone, data, recipe, 1, None, "query"),
        identity(backbone, data, other, 1, None, "source"),
        identity(dataclasses.replace(backbone, fingerprint="0"), data, recipe, 1, None, "source"),
        identity(dataclasses.replace(backbone, dtype="bfloat16"), data, recipe, 1, None, "source"),
    ]
    assert len(set(identities)) == len(identities)
    assert identity(backbone, data, recipe, 1, None, "source") == identities[0]


def test_identity_changes_with_the_file_that_a_prompt_starts_from(
    backbone: Backbone, data: TaskData, recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "start.npy"
    from_file = dataclasses.replace(recipe, init=f"file:{path}")
    identities = []
    for value in (0.0, 1.0):
        write_prompt(path, np.full((4, 16), value, np.float32))
        identities.append(identity(backbone, data, from_file, 1, None, "source"))
    assert identities[0] != identities[1]
