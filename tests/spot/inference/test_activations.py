"""Units that fire under prompts, whatever prompts are computed beside them."""

from __future__ import annotations

import numpy as np
import pytest

from spot.backbone.load import Backbone
from spot.inference import activations
from spot.inference.activations import activated, demonstrations
from spot.training.recipe import Recipe
from spot.training.task_data import TaskData
from tasks.task import Split, Task
from tests.spot.training.conftest import backbone, backbone_folder, recipe, task

__all__ = ["backbone", "backbone_folder", "recipe", "task"]


def test_a_prompts_units_do_not_depend_on_those_beside_it(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    prompts = [rng.normal(size=(length, 16)).astype(np.float32) for length in (4, 2, 4, 3, 1)]
    together = activated(backbone, prompts)
    assert together.dtype == np.bool_
    assert together.shape == (5, backbone.config.d_ff)
    assert 0.1 < together.mean() < 0.9
    assert len(np.unique(together, axis=0)) == 5
    monkeypatch.setattr(activations, "PROMPTS_AT_ONCE", 2)
    assert np.array_equal(activated(backbone, prompts), together)
    assert np.array_equal(activated(backbone, prompts[3:4])[0], together[3])


def test_a_demonstration_is_the_embedded_input_and_behind_it_the_target(
    backbone: Backbone, task: Task, recipe: Recipe
) -> None:
    tokens = TaskData(task, backbone, recipe)[Split.TRAIN].tokens
    shown = demonstrations(backbone, tokens)
    assert len(shown) == len(tokens)
    ids = [*tokens.inputs[5], *tokens.targets[5]]
    np.testing.assert_array_equal(shown[5], np.asarray(backbone.embedding, np.float32)[ids])
