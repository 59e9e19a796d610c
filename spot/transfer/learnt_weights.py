"""Learnt weights of source prompts: a start for a target that its own examples have mixed.

``P = sum_k softmax(a)_k V_k`` for the values ``V_k`` of K sources, whose K numbers ``a`` are trained on the target's
batches and nothing else is. ATTEMPT (Asai et al. 2022) lets such weights depend on every input, by attention; these do
not, so that what comes of them is one prompt, which is banked and served like any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import softmax

from spot.backbone.load import Backbone
from spot.training.loop import noise_keys
from spot.training.optimizers import promoting
from spot.training.prompt_tuning import step_of
from spot.training.recipe import Recipe
from spot.training.task_data import MixtureData, TaskData

STEPS = 30
"""Batches that the weights are trained on: a fifth of a short run of the target."""

ADAM = optax.adam(0.3, b2=0.99)
"""Kingma and Ba (2015), for K numbers."""


def learn_weights(
    backbone: Backbone,
    recipe: Recipe,
    data: TaskData | MixtureData,
    values: Sequence[np.ndarray],
    *,
    seed: int,
    steps: int = STEPS,
) -> np.ndarray:
    """Weights ``[K]`` float64 of source prompts for a target, none below zero, which add up to 1.

    The gradient of a weight is the inner product of the prompt's gradient with that source's value, so that one step of
    a plain prompt's program is all that is computed on the device.

    Args:
        backbone: the frozen model.
        recipe: of the target, for its form, loss and batches.
        data: the target's splits; train trains.
        values: K prompts ``[..., P, H]``.
        seed: of the order of batches, as of a run of the target.
        steps: batches.
    """
    step, batches = (
        step_of(backbone, recipe),
        data.batches(recipe.batch_size, seed, loss=recipe.loss),
    )
    stacked = np.stack(values).astype(np.float64)
    logits = jnp.zeros(len(values))
    state = ADAM.init(logits)
    for index in range(steps):
        weights = softmax(np.asarray(logits, np.float64))
        prompt = np.tensordot(weights, stacked, axes=1).astype(np.float32)
        parts = step.cut({0: batches[index]}, prompt.shape[-2])
        keys = noise_keys(np.array([[seed, index]], np.uint32), noisy=step.noisy)
        gradient, _ = step.gradient(jnp.asarray(prompt)[None], backbone.weights, parts, keys)
        slopes = np.tensordot(stacked, np.asarray(gradient[0], np.float64), axes=prompt.ndim)
        slopes = weights * (slopes - weights @ slopes)
        updates, state = promoting(ADAM.update)(jnp.asarray(slopes, jnp.float32), state)
        logits = logits + updates
    return np.asarray(softmax(np.asarray(logits, np.float64)))
