"""Losses over label words against their definitions, padded and packed, and what they train."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from spot.backbone.batch import Inputs, Targets
from spot.backbone.load import Backbone
from spot.backbone.soft import Soft
from spot.errors import TrainingError
from spot.prompts.forms import FORMS
from spot.training.losses import CHOICE_LOSSES, Scored
from spot.training.optimizers import Optimizer
from spot.training.parts import Batch, Pack, Part, cut
from spot.training.prompt_tuning import train_prompt
from spot.training.recipe import Recipe
from spot.training.settings import LOSSES
from spot.training.step import make_step
from spot.training.task_data import TaskData
from tasks.pipeline import RaggedBatch
from tasks.task import Split, Task
from tests.closeness import assert_close
from tests.spot.backbone.conftest import CONFIGS, Case, make_case

DEFINED = {
    "perceptron": lambda likelihoods, lengths: max(0.0, max(likelihoods[1:]) - likelihoods[0]),
    "rank": lambda likelihoods, lengths: -log_softmax(likelihoods / lengths)[0],
}
"""Of one example, whose first choice is the true one."""


def test_all_are_settings() -> None:
    assert ("cross_entropy", *CHOICE_LOSSES) == LOSSES
    assert DEFINED.keys() == CHOICE_LOSSES.keys()


@pytest.mark.parametrize("name", CHOICE_LOSSES)
def test_a_loss_is_what_it_is_defined_to_be(name: str) -> None:
    rng = np.random.default_rng(0)
    counts = [3, 2, 4]
    likelihoods = -rng.gamma(2.0, size=11).astype(np.float32)
    lengths = rng.integers(1, 4, 11).astype(np.float32)
    examples = np.array([*np.repeat(np.arange(3), counts), 4, 4], np.int32)  # the fourth has none

    def losses(likelihoods: jax.Array) -> jax.Array:
        scored = Scored(likelihoods, jnp.asarray(lengths), jnp.asarray(examples), count=4)
        return CHOICE_LOSSES[name](scored)

    expected = [
        DEFINED[name](likelihoods[examples == row], lengths[examples == row]) for row in range(3)
    ]
    assert_close(losses(jnp.asarray(likelihoods)), np.array([*expected, 0.0]), terms=20)
    gradient = jax.grad(lambda x: losses(x).sum())(jnp.asarray(likelihoods))
    assert np.isfinite(gradient).all()
    assert not gradient[9:].any(), "what only fills up pulls at nothing"
    near = 1e-3 * rng.normal(size=11).astype(np.float32)
    change = losses(jnp.asarray(likelihoods + near)).sum() - losses(jnp.asarray(likelihoods)).sum()
    assert_close(change, np.float32(gradient @ near), relative=1e-1, terms=100)


@pytest.mark.parametrize("likelihoods", [(-0.1, -40.0), (-40.0, -0.1), (-0.1, -3.0)])
def test_what_is_ranked_beyond_doubt_pulls_no_further(likelihoods: tuple[float, float]) -> None:
    def loss(values: jax.Array) -> jax.Array:
        scored = Scored(values, jnp.ones(2), jnp.zeros(2, jnp.int32), count=1)
        return CHOICE_LOSSES["rank"](scored)[0]

    found = jax.grad(loss)(jnp.asarray(likelihoods, jnp.float32))
    expected = np.exp(log_softmax(likelihoods)) - np.array([1.0, 0.0])
    assert_close(found, expected, scale=1.0, terms=10)


@pytest.fixture(scope="module", params=["v1.1", "llama"])
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(CONFIGS[request.param])


@pytest.fixture(scope="module")
def batches() -> dict[int, RaggedBatch]:
    """Of two slots, with one to three other choices of one to four tokens."""
    rng = np.random.default_rng(1)

    def ids(most: int) -> np.ndarray:
        return rng.integers(2, 140, rng.integers(1, most + 1), dtype=np.int32)

    return {
        slot: RaggedBatch(
            [ids(7) for _ in range(3)],
            [ids(4) for _ in range(3)],
            [[ids(4) for _ in range(rng.integers(1, 4))] for _ in range(3)],
        )
        for slot in (0, 1)
    }


def of_part(case: Case, name: str, parts: list[Part], **more: Any) -> tuple[np.ndarray, np.ndarray]:
    """Gradient ``[N, P, H]`` and losses ``[N]`` of one step."""
    graph, weights = nnx.split(case.model)
    step = make_step(graph, Optimizer(), steps=10, form=FORMS["prompt"], loss=name, **more)
    counts = np.maximum(sum(part.example_counts(2) for part in parts), 1)
    np.testing.assert_array_equal(counts, [3, 3])
    trained = case.prompts[:2]
    total: Any = (jnp.zeros_like(trained), jnp.zeros(2))
    for part in parts:
        total = step.accumulate(
            total, trained, weights, counts, part, jnp.zeros((2, 2), jnp.uint32)
        )
    return np.asarray(total[0]), np.asarray(total[1])


@pytest.mark.parametrize("name", CHOICE_LOSSES)
def test_a_step_s_losses_are_those_of_choices_scored_apart(
    case: Case, batches: dict[int, RaggedBatch], name: str
) -> None:
    parts: list[Part] = list(cut(batches, 4))
    assert all(isinstance(part, Batch) for part in parts)
    gradient, losses = of_part(case, name, parts)
    for slot, batch in batches.items():
        expected = []
        assert batch.others is not None
        for inputs, target, others in zip(*batch, strict=True):
            scores = [
                -float(
                    case.token_losses(
                        Soft(case.prompts[slot : slot + 1]),
                        jnp.zeros(1, jnp.int32),
                        Inputs(inputs[None], np.ones((1, len(inputs)), bool)),
                        Targets(choice[None], np.ones((1, len(choice)), bool)),
                    ).sum()
                )
                for choice in (target, *others)
            ]
            lengths = np.array([len(choice) for choice in (target, *others)])
            expected.append(DEFINED[name](np.array(scores), lengths))
        assert_close(losses[slot], np.float32(np.mean(expected)), terms=300)
    if case.model.config.reads_prompts_once:
        packs: list[Part] = list(cut(batches, 4, packed=True))
        assert all(isinstance(part, Pack) for part in packs)
        packed_gradient, packed_losses = of_part(case, name, packs, packed=True)
        assert_close(packed_losses, losses, terms=300)
        assert_close(packed_gradient, gradient, terms=1000)


@pytest.mark.parametrize("name", CHOICE_LOSSES)
def test_prompts_learn_by_it(backbone: Backbone, task: Task, recipe: Recipe, name: str) -> None:
    chosen = dataclasses.replace(recipe, loss=name, evaluate_by="rank")
    trained = train_prompt(backbone, TaskData(task, backbone, chosen), chosen, seed=1)
    losses = [row["loss"] for row in trained.history]
    assert losses[-1] < losses[0] - 0.04


def test_what_has_no_label_words_and_what_has_another_penalty_is_refused(
    backbone: Backbone, task: Task, recipe: Recipe
) -> None:
    chosen = dataclasses.replace(recipe, loss="rank")
    with pytest.raises(TrainingError, match="z-loss belongs to cross_entropy; the loss 'rank'"):
        dataclasses.replace(chosen, z_loss=1e-4)
    with pytest.raises(TrainingError, match="did you mean 'perceptron'"):
        dataclasses.replace(chosen, loss="perceptrom")
    data = TaskData(task, backbone, chosen)
    free = [dataclasses.replace(example, choices=()) for example in data[Split.TRAIN].examples]
    data._splits[Split.TRAIN] = dataclasses.replace(data[Split.TRAIN], examples=free)
    with pytest.raises(TrainingError, match="the loss 'rank' compares label words, which not all"):
        data.batches(4, 0, loss="rank")
