"""Prompts of sources that every input mixes for itself, against the formula of ATTEMPT (Asai et al. 2022)."""

from __future__ import annotations

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from spot.backbone.batch import Inputs, Targets
from spot.backbone.load import Backbone
from spot.backbone.soft import Soft, stack
from spot.errors import PromptError
from spot.inference.many import Asked, Given, answer_all
from spot.prompts.files import read_prompt
from spot.prompts.forms import FORMS, attending
from spot.prompts.initializers import check_fits, make_initializer
from spot.prompts.write import write_prompt
from spot.training.recipe import Recipe
from spot.training.task_data import TaskData
from tasks.task import Split, Task
from tests.closeness import assert_close
from tests.spot.backbone.conftest import CONFIGS, Case, make_case

NEW_TOKENS = 5


@pytest.fixture(scope="module", params=["v1.1", "llama"])
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(CONFIGS[request.param])


def prompts_of(case: Case, *, sources: int = 3, length: int = 4) -> np.ndarray:
    """Three prompts ``[3, 3 + K, P, H]`` whose networks tell inputs apart."""
    rng = np.random.default_rng(8)
    width = case.model.config.width
    each = [
        attending(
            rng.normal(size=(length, width)),
            list(4 * rng.normal(size=(sources, length, width))),
            seed,
        )
        for seed in range(3)
    ]
    return np.stack(each)


def mixed(prompt: np.ndarray, embedded: np.ndarray) -> np.ndarray:
    """The prompt ``[P, H]`` of one input, whose tokens ``[T, H]`` are embedded."""
    own, down, up, *sources = prompt.astype(np.float64)
    hidden = down @ embedded.max(axis=0)
    asked = up.T @ (hidden / (1 + np.exp(-hidden)))
    asked = (asked - asked.mean()) / np.sqrt(asked.var() + 1e-6)
    every = [own, *sources]
    scores = np.array([each.max(axis=0) @ asked for each in every]) / (math.e * own.shape[1])
    return np.asarray(own + np.tensordot(softmax(scores), every, axes=1))


def instances(case: Case, prompts: np.ndarray) -> np.ndarray:
    """Of every row of the case."""
    table = np.asarray(case.model.embedding[...], np.float64)
    ids, mask = np.asarray(case.inputs.ids), np.asarray(case.inputs.mask)
    return np.stack(
        [
            mixed(prompts[prompt], table[row[real]])
            for prompt, row, real in zip(np.asarray(case.prompt_ids), ids, mask, strict=True)
        ]
    )


def test_every_input_has_the_prompt_that_the_formula_gives(case: Case) -> None:
    prompts = prompts_of(case)
    soft = FORMS["attention"].soft(jnp.asarray(prompts), case.model.config)
    expected = instances(case, prompts)
    assert np.abs(expected[0] - expected[2]).max() > 1e-3, "two inputs of one prompt"
    ours, rows = case.model.mixed(soft, case.prompt_ids, case.inputs)
    assert_close(np.asarray(ours.tokens)[np.asarray(rows)], expected, terms=300)
    alone, each = Soft(jnp.asarray(expected, jnp.float32)), jnp.arange(4)
    for name in ("token_losses", "choice_scores"):
        more = case.targets if name == "token_losses" else case.choices
        assert_close(
            getattr(case, name)(soft, case.prompt_ids, case.inputs, more),
            getattr(case, name)(alone, each, case.inputs, more),
            terms=1000,
        )
    np.testing.assert_array_equal(
        case.greedy(soft, case.prompt_ids, case.inputs, NEW_TOKENS),
        case.greedy(alone, each, case.inputs, NEW_TOKENS),
    )


def test_sources_do_not_train_and_all_else_does(case: Case) -> None:
    def loss(prompts: jax.Array) -> jax.Array:
        soft = FORMS["attention"].soft(prompts, case.model.config)
        return case.model.token_losses(soft, case.prompt_ids, case.inputs, case.targets).sum()

    gradient = np.asarray(jax.grad(loss)(jnp.asarray(prompts_of(case))))
    assert (np.abs(gradient[[0, 2], :3]).max(axis=(2, 3)) > 1e-6).all()
    assert not gradient[:, 3:].any()


def test_prompts_of_two_lengths_share_a_stack(case: Case) -> None:
    long, short = prompts_of(case)[0], prompts_of(case, length=2)[1]
    form, config = FORMS["attention"], case.model.config
    together = stack([form.soft(jnp.asarray(each)[None], config) for each in (long, short)])
    ids = jnp.array([0, 1, 1, 0])
    losses = case.token_losses(together, ids, case.inputs, case.targets)
    for row, prompt in enumerate((long, short, short, long)):
        inputs = Inputs(*(leaf[row : row + 1] for leaf in case.inputs))
        targets = Targets(*(leaf[row : row + 1] for leaf in case.targets))
        soft = form.soft(jnp.asarray(prompt)[None], config)
        alone = case.token_losses(soft, jnp.zeros(1, jnp.int32), inputs, targets)
        assert_close(losses[row : row + 1], alone, terms=1000)


def test_any_number_of_sources_fits_and_none_starts_from_words(
    backbone: Backbone, tmp_path: Path
) -> None:
    own, *sources = np.random.default_rng(0).normal(size=(4, 4, backbone.width))
    for count in (1, 3):
        prompt = attending(own, sources[:count], 0)
        check_fits(prompt, backbone, 4, form="attention", where="here")
        write_prompt(tmp_path / "p.safetensors", prompt, {"recipe": '{"form": "attention"}'})
        assert read_prompt(tmp_path / "p.safetensors").form == "attention"
    with pytest.raises(PromptError, match=r"\[-1, 4, 16\]; set --form to match"):
        check_fits(own.astype(np.float32), backbone, 4, form="attention", where="here")
    with pytest.raises(PromptError, match="use spot transfer --method attention"):
        make_initializer("vocabulary", backbone, 4, form="attention")(0)


def test_prompts_of_several_numbers_of_sources_answer_in_one_call(
    backbone: Backbone, task: Task, recipe: Recipe
) -> None:
    dev = TaskData(task, backbone, recipe)[Split.DEV]
    own, *sources = np.random.default_rng(0).normal(size=(4, 4, backbone.width))
    prompts = [attending(own, sources[:count], 0) for count in (1, 3)]
    asked = Asked(dev.examples, dev.tokens)
    both = answer_all(backbone, [Given(prompt, "attention") for prompt in prompts], [asked])
    for prompt, (answers,) in zip(prompts, both, strict=True):
        ((alone,),) = answer_all(backbone, [Given(prompt, "attention")], [asked])
        assert answers.texts == alone.texts
