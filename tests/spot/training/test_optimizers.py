"""Optimisers against formulae written out in NumPy, and every schedule at chosen steps."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spot.errors import TrainingError
from spot.training.optimizers import Optimizer, per_prompt
from spot.training.settings import OPTIMIZERS, SCHEDULES
from tests.closeness import assert_close


def gradients(steps: int, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Gradients whose scale changes from step to step, so that clipping sets in at some."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) * 10.0 ** rng.uniform(-4, 1) for _ in range(steps)]


def follow(
    transformation: optax.GradientTransformation, start: np.ndarray, steps: list[np.ndarray]
) -> np.ndarray:
    parameters = jnp.asarray(start, jnp.float32)
    state = transformation.init(parameters)
    for gradient in steps:
        updates, state = transformation.update(
            jnp.asarray(gradient, jnp.float32), state, parameters
        )
        parameters = optax.apply_updates(parameters, updates)
    return np.asarray(parameters)


def adafactor(
    start: np.ndarray, steps: list[np.ndarray], *, rate: float, decay: float
) -> tuple[np.ndarray, int]:
    """Shazeer and Stern (2018), algorithm 4 without factoring, momentum and parameter scaling."""
    parameters, second, clipped = start.astype(np.float64), np.zeros(start.shape), 0
    for t, gradient in enumerate(steps, start=1):
        beta = 1 - t**-0.8
        second = beta * second + (1 - beta) * (gradient**2 + 1e-30)
        update = gradient / np.sqrt(second)
        size = math.sqrt(np.mean(update**2))
        clipped += size > 1.001
        parameters = parameters - rate * update / max(1.0, size) - decay * parameters
    return parameters, clipped


@pytest.mark.parametrize(("rate", "decay"), [(0.3, 1e-5), (0.3, 0.0), (0.01, 0.1)])
def test_adafactor_follows_the_formulae_of_its_paper(rate: float, decay: float) -> None:
    start, steps = np.random.default_rng(1).normal(size=(5, 7)), gradients(8, (5, 7))
    expected, clipped = adafactor(start, steps, rate=rate, decay=decay)
    assert 1 < clipped < len(steps)
    found = follow(Optimizer(learning_rate=rate, weight_decay=decay).build(8), start, steps)
    assert_close(found, expected)


def test_the_default_is_adafactor_at_the_rate_and_decay_of_prompt_tuning() -> None:
    start, steps = np.random.default_rng(2).normal(size=(3, 4)), gradients(4, (3, 4))
    expected, _ = adafactor(start, steps, rate=0.3, decay=1e-5)
    assert_close(follow(Optimizer().build(4), start, steps), expected)


def test_weight_decay_is_not_scaled_by_the_learning_rate() -> None:
    still = [np.zeros((2, 3))]
    for rate in (0.3, 0.001):
        found = follow(
            Optimizer(learning_rate=rate, weight_decay=0.25).build(1), np.ones((2, 3)), still
        )
        assert_close(found, 0.75)


def test_adamw_follows_the_formulae_of_its_paper() -> None:
    start, steps = np.random.default_rng(3).normal(size=(4, 3)), gradients(5, (4, 3))
    parameters, first, second = start.copy(), np.zeros((4, 3)), np.zeros((4, 3))
    for t, gradient in enumerate(steps, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        update = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        parameters = parameters - 0.05 * (update + 0.01 * parameters)
    found = follow(
        Optimizer(name="adamw", learning_rate=0.05, weight_decay=0.01).build(5), start, steps
    )
    assert_close(found, parameters)


def test_scaling_by_parameters_multiplies_an_update_by_their_root_mean_square() -> None:
    start, steps = np.full((4, 4), 3.0), [np.ones((4, 4))]
    found = follow(
        Optimizer(learning_rate=0.1, weight_decay=0.0, scale_by_parameter=True).build(1),
        start,
        steps,
    )
    assert_close(found, 3.0 - 0.1 * 3.0)


def test_a_huge_gradient_of_one_prompt_leaves_the_update_of_another_as_it_was() -> None:
    start = np.random.default_rng(4).normal(size=(2, 3, 4))
    calm = gradients(4, (2, 3, 4))
    wild = [gradient.copy() for gradient in calm]
    wild[2][1] *= 1e6
    apart, together = per_prompt(Optimizer().build(4)), Optimizer().build(4)
    np.testing.assert_array_equal(follow(apart, start, calm)[0], follow(apart, start, wild)[0])
    assert not np.array_equal(follow(apart, start, calm)[1], follow(apart, start, wild)[1])
    assert not np.array_equal(follow(together, start, calm)[0], follow(together, start, wild)[0])


def test_every_prompt_of_a_stack_is_optimised_as_if_it_were_alone() -> None:
    start, steps = np.random.default_rng(5).normal(size=(3, 2, 4)), gradients(5, (3, 2, 4))
    stack = follow(per_prompt(Optimizer().build(5)), start, steps)
    for n in range(3):
        alone = follow(Optimizer().build(5), start[n], [gradient[n] for gradient in steps])
        assert_close(stack[n], alone)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warm", [0, 3])
def test_rates_given_as_data_train_as_those_of_the_settings(
    name: str, schedule: str, warm: int
) -> None:
    """Weight decay shows which of the two it is scaled by."""
    settings: dict[str, Any] = {"name": name, "schedule": schedule, "warmup_steps": warm}
    peaks = np.array([0.3, 0.0123, 3.0], np.float32)
    start, steps = np.random.default_rng(6).normal(size=(3, 2, 4)), gradients(7, (3, 2, 4))
    together = per_prompt(Optimizer(weight_decay=0.1, **settings).build(9))
    update = jax.jit(functools.partial(together.update, peak=jnp.asarray(peaks)))
    stack = follow(optax.GradientTransformation(together.init, update), start, steps)
    for n, peak in enumerate(peaks):
        alone = Optimizer(weight_decay=0.1, learning_rate=float(peak), **settings).build(9)
        expected = follow(alone, start[n], [gradient[n] for gradient in steps])
        np.testing.assert_allclose(stack[n], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "warm", "expected"),
    [
        ("constant", 0, {0: 2.0, 50: 2.0, 1000: 2.0}),
        ("constant", 10, {0: 0.0, 5: 1.0, 10: 2.0, 99: 2.0}),
        ("linear", 0, {0: 2.0, 50: 1.0, 100: 0.0, 200: 0.0}),
        ("linear", 20, {0: 0.0, 10: 1.0, 20: 2.0, 60: 1.0, 100: 0.0}),
        ("cosine", 0, {0: 2.0, 50: 1.0, 100: 0.0}),
        ("cosine", 20, {10: 1.0, 20: 2.0, 40: 1 + math.cos(math.pi / 4), 60: 1.0, 100: 0.0}),
        ("inverse_sqrt", 0, {0: 2.0, 3: 1.0, 99: 0.2}),
        ("inverse_sqrt", 25, {5: 0.4, 25: 2.0, 100: 1.0}),
    ],
)
def test_a_schedule_has_its_value_at_every_step(
    schedule: str, warm: int, expected: dict[int, float]
) -> None:
    rate = Optimizer(learning_rate=2.0, schedule=schedule, warmup_steps=warm).rate(100)
    for step, value in expected.items():
        assert_close(jax.jit(rate)(jnp.int32(step)), value, scale=2.0)


def test_warm_up_longer_than_the_run_never_reaches_the_peak() -> None:
    rate = Optimizer(learning_rate=1.0, schedule="cosine", warmup_steps=50).rate(20)
    assert_close(rate(19), 19 / 50)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "sgd"}, "optimizer 'sgd' is not known; choose from adafactor, adamw"),
        ({"schedule": "step"}, "schedule 'step' is not known; choose from constant"),
        ({"learning_rate": 0.0}, "learning rate must be above 0, found 0.0"),
        ({"learning_rate": math.nan}, "learning rate must be at least 0, found nan"),
        ({"warmup_steps": -1}, "warmup steps must be at least 0, found -1"),
        ({"weight_decay": -0.1}, "weight decay must be at least 0, found -0.1"),
    ],
)
def test_an_optimizer_that_makes_no_sense_is_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        Optimizer(**settings)
