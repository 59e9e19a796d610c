"""Prompts that stay near to a text: the penalty's definition, its gradient through a step, and what training says."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.load import Backbone
from spot.errors import PromptError, TrainingError
from spot.prompts.reparameterization import trainable
from spot.training.prompt_tuning import train_prompt
from spot.training.recipe import Recipe
from spot.training.task_data import TaskData
from spot.training.toward import toward_text
from tasks.task import Task
from tests.closeness import assert_close

TEXT = "kamo rilu"


def test_the_penalty_is_of_the_first_tokens_squared_distance(backbone: Backbone) -> None:
    ids = backbone.tokenizer.encode([TEXT])[0]
    prompts = np.random.default_rng(0).normal(size=(2, len(ids) + 2, 16)).astype(np.float32)
    toward = toward_text(backbone, TEXT, 0.5, len(ids) + 2)
    rows = np.asarray(backbone.embedding, np.float32)[ids]
    apart = prompts[:, : len(ids)] - rows
    expected = np.square(apart).sum(-1).mean(-1)
    assert_close(toward.distances(prompts), expected, terms=100)
    gradient = np.asarray(toward.gradient(jnp.asarray(prompts)))
    assert_close(gradient[:, : len(ids)], 0.5 * 2 * apart / len(ids), terms=100)
    assert not gradient[:, len(ids) :].any()
    through = toward.gradient(trainable(prompts[0], hidden=3, seed=0))
    assert_close(through.prompt, gradient[:1], terms=100)
    short = toward_text(backbone, TEXT, 0.5, 1)
    assert short.rows().shape == (1, 16)


def test_a_prompt_that_is_pulled_stays_nearer_and_says_how_near(
    backbone: Backbone, task: Task, recipe: Recipe
) -> None:
    data, apart = TaskData(task, backbone, recipe), {}
    for weight in (1e-6, 10.0):
        pulled = dataclasses.replace(recipe, toward=TEXT, toward_weight=weight)
        trained = train_prompt(backbone, data, pulled, seed=1)
        assert trained.diagnostics is not None
        toward = toward_text(backbone, TEXT, weight, recipe.prompt_length)
        distance = float(toward.distances(trained.value[None])[0]) ** 0.5
        assert_close(
            trained.diagnostics.from_text, np.float32(distance / backbone.embedding_norm), terms=10
        )
        assert " from its text" in trained.diagnostics.line()
        apart[weight] = distance
    assert apart[10.0] < 0.8 * apart[1e-6]


def test_what_has_no_words_places_or_no_words_is_refused(
    backbone: Backbone, recipe: Recipe
) -> None:
    with pytest.raises(TrainingError, match="form 'deep' has no words' places"):
        dataclasses.replace(recipe, form="deep", toward=TEXT)
    with pytest.raises(TrainingError, match="no text to stay near to; give --toward"):
        dataclasses.replace(recipe, toward_weight=0.5)
    with pytest.raises(PromptError, match="has no tokens; give another to --toward"):
        toward_text(backbone, "", 1.0, 4)
