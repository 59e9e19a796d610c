"""What every form promises, for both architectures: one contract, whatever is trained."""

from __future__ import annotations

import dataclasses
import functools
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bank.vectors import average, prompt_sha256
from spot.backbone.config import Config, LlamaConfig
from spot.backbone.load import Backbone
from spot.backbone.random import random_model
from spot.errors import Interrupted, PromptError
from spot.inference.predict import Questions, mean_losses, predict, predict_many
from spot.prompts.files import read_prompt
from spot.prompts.formats import RANKS
from spot.prompts.forms import FORMS, WEIGHTS
from spot.prompts.initializers import make_initializer
from spot.prompts.write import write_prompt
from spot.training.optimizers import Optimizer
from spot.training.prompt_tuning import (
    TrainedPrompt,
    prompt_job,
    start_of,
    train_prompt,
    train_prompts,
)
from spot.training.recipe import Recipe
from spot.training.settings import FORM_NAMES
from spot.training.task_data import TaskData
from tasks.task import Split, Task
from tests.closeness import assert_close
from tests.spot.backbone.conftest import LLAMA
from tests.spot.training.conftest import CONFIG, VOCABULARY
from tests.spot.training.toy import Recorder

CONFIGS: dict[str, Config] = {
    "t5": dataclasses.replace(CONFIG, num_layers=3),
    "llama": LlamaConfig(**LLAMA | {"vocab_size": VOCABULARY}, num_hidden_layers=3, tied=True),
}
KINDS = {
    "prompt": tuple(CONFIGS),
    "deep": tuple(CONFIGS),
    "prefix": tuple(CONFIGS),
    "suffix": tuple(CONFIGS),
    "infix": ("llama",),
    "decoder": ("t5",),
}
"""Forms that are not parts of another, and where; see tests/spot/prompts/test_prefixes.py for these."""
THROUGH = {"prefix": 6}
"""Hidden units of the network that a form is trained through, with one of the architectures."""
NOISY = (("deep", "t5"), ("suffix", "llama"))
"""Where prompts lose some of their numbers in training, padded and packed."""
MODERATE = Optimizer(learning_rate=0.05)
"""At 0.3 rounding grows with every step, whoever shares the program."""


@pytest.fixture(
    scope="module",
    params=[(form, architecture) for form, where in KINDS.items() for architecture in where],
    ids=str,
)
def case(request: pytest.FixtureRequest, backbone: Backbone, task: Task, recipe: Recipe) -> Case:
    form, architecture = request.param
    model = model_of(CONFIGS[architecture], backbone)
    chosen = dataclasses.replace(
        recipe,
        form=form,
        mlp_width=THROUGH.get(form, 0) if architecture == "llama" else 0,
        prompt_dropout=0.2 if request.param in NOISY else 0.0,
        optimizer=MODERATE,
        steps=20,
        key_step=10,
    )
    return Case(form, model, chosen, TaskData(task, model, chosen))


def model_of(config: Config, backbone: Backbone) -> Backbone:
    """A random model with the tokenizer of another."""
    graph, weights = nnx.split(random_model(config, seed=3))
    return dataclasses.replace(
        backbone, fingerprint="1" * 64, config=config, graph=graph, weights=weights
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """A form on a model, and what trains it."""

    form: str
    backbone: Backbone
    recipe: Recipe
    data: TaskData

    @functools.cached_property
    def whole(self) -> TrainedPrompt:
        """An uninterrupted run of seed 1."""
        return train_prompt(self.backbone, self.data, self.recipe, seed=1)

    def together(
        self, seeds: list[int], folder: Path | None = None, **changes: Any
    ) -> dict[int, TrainedPrompt]:
        trained: dict[int, TrainedPrompt] = {}

        def keep(seed: int) -> Callable[[TrainedPrompt], None]:
            return lambda prompt: trained.update({seed: prompt})

        jobs = [
            prompt_job(
                self.backbone,
                self.data,
                self.recipe,
                identity=f"{seed}",
                seed=seed,
                done=keep(seed),
                **changes,
            )
            for seed in seeds
        ]
        train_prompts(self.backbone, self.recipe, jobs, slots=len(seeds), folder=folder)
        return trained


def test_every_form_is_an_option_and_a_file() -> None:
    assert tuple(FORMS) == FORM_NAMES == tuple(RANKS)


def test_a_prompt_has_the_shape_of_its_form_and_as_many_axes_as_its_files(case: Case) -> None:
    shape = FORMS[case.form].shape(case.backbone.config, 4)
    assert shape[-2:] == (4, case.backbone.width)
    assert len(shape) == RANKS[case.form]
    assert case.whole.key.shape == case.whole.value.shape == shape
    assert case.whole.value.dtype == np.float32
    assert case.whole.start.shape == average(case.whole.value).shape


def test_every_part_of_a_prompt_trains(case: Case) -> None:
    start = start_of(case.recipe, case.backbone, case.data.task, seed=1)
    moved = np.abs(case.whole.value - start)
    assert (moved.max(axis=-1) > 1e-3).all()


def test_together_equals_alone(case: Case) -> None:
    """To 1e-5 of each array's scale after a step; later, rounding has grown with each step (see test_many.py)."""
    one = dataclasses.replace(case.recipe, steps=1, key_step=1, evaluate_every=1)
    short = dataclasses.replace(case, recipe=one, data=TaskData(case.data.task, case.backbone, one))
    together = short.together([0, 1])
    for seed, prompt in together.items():
        alone = train_prompt(short.backbone, short.data, one, seed=seed)
        assert_close(prompt.value, alone.value, relative=1e-5)
        assert_close(prompt.history[-1]["loss"], alone.history[-1]["loss"], relative=1e-5)


def test_the_frozen_model_stays_as_it_is(case: Case) -> None:
    before = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(case.backbone.weights)]
    case.together([1, 2])
    assert [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(case.backbone.weights)] == before


def test_stopped_and_started_again_it_ends_with_the_same_bits(case: Case, tmp_path: Path) -> None:
    stops = [7, 13]

    def stop(step: int) -> None:
        if stops and step >= stops[0]:
            stops.pop(0)
            signal.raise_signal(signal.SIGTERM)

    whole = case.together([1, 2])
    trained: dict[int, TrainedPrompt] = {}
    for _ in range(3):
        try:
            trained = case.together(
                [1, 2], tmp_path, reporter=Recorder(on_advance=stop), checkpoint_seconds=0.0
            )
        except Interrupted:
            continue
    assert not stops
    for seed, prompt in trained.items():
        assert prompt.value.tobytes() == whole[seed].value.tobytes()
        assert prompt.key.tobytes() == whole[seed].key.tobytes()
        assert prompt.history == whole[seed].history


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_written_and_read_it_is_the_same_prompt(case: Case, suffix: str, tmp_path: Path) -> None:
    path, value = tmp_path / f"prompt{suffix}", case.whole.value
    facts = {"recipe": json.dumps({"form": case.form})} if suffix == ".safetensors" else None
    write_prompt(path, value, facts, start=case.whole.start if facts else None)
    file = read_prompt(path, length=4)
    assert prompt_sha256(file.prompt) == prompt_sha256(value)
    if facts or case.form in ("prompt", "deep", "prefix"):  # which their axes tell
        assert file.form == case.form
    started = make_initializer(f"file:{path}", case.backbone, 4, form=case.form)(0)
    np.testing.assert_array_equal(started, value)


def test_one_of_another_form_is_refused(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "prompt.npy"
    write_prompt(path, case.whole.value)
    other = next(form for form in FORMS if RANKS[form] != RANKS[case.form])
    with pytest.raises(PromptError, match=rf"a prompt of form {other} has .*; set --form to match"):
        make_initializer(f"file:{path}", case.backbone, 4, form=other)
    if RANKS[case.form] > 2:
        np.save(path, case.whole.value[1:])
        with pytest.raises(
            PromptError,
            match=rf"a prompt of form {case.form} has .*; it was made for another model",
        ):
            make_initializer(f"file:{path}", case.backbone, 4, form=case.form)
        with pytest.raises(
            PromptError, match=r"PEFT's prompts are .* this one has form|needs its model's config"
        ):
            write_prompt(tmp_path / "adapter", case.whole.value)


def test_a_stack_of_prompts_of_different_length_answers_as_each_alone(case: Case) -> None:
    rng = np.random.default_rng(5)
    form, config = FORMS[case.form], case.backbone.config
    prompts = [rng.normal(size=form.shape(config, length)).astype(np.float32) for length in (3, 5)]
    dev = case.data[Split.DEV]
    questions = [Questions(row, dev.examples, dev.tokens) for row in (1, 0)]
    for method in ("rank", "generate") if case.form != "deep" else ("rank",):
        answers = predict_many(case.backbone, form.stack(prompts, config), questions, method=method)
        for question, given in zip(questions, answers, strict=True):
            prompt = prompts[question.prompt]
            alone = predict(
                case.backbone, prompt, dev.examples, dev.tokens, form=case.form, method=method
            )
            assert given == alone
    losses = mean_losses(case.backbone, prompts, dev.tokens, form=case.form)
    alone = [
        mean_losses(case.backbone, [prompt], dev.tokens, form=case.form)[0] for prompt in prompts
    ]
    assert_close(losses, np.array(alone), terms=300)


def test_whole_models_train_through_the_same_door() -> None:
    soft = WEIGHTS.soft(None, dataclasses.make_dataclass("Config", [("width", int)])(7))
    assert soft.tokens.shape == (1, 0, 7)
    assert not WEIGHTS.slots
    assert jnp.zeros((1, 0, 7)).shape == soft.tokens.shape
