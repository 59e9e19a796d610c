"""One step trains what it is told to, every prompt as if it were alone, and computes nothing for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.batch import Inputs, Targets
from spot.backbone.load import Backbone
from spot.training.optimizers import Optimizer
from spot.training.step import CACHED_POSITIONS, Batch, Step, make_step, micro_batches

STEPS = 20
KEY = jax.random.key(0)


def random_batch(prompt_ids: list[int], *, seed: int) -> Batch:
    """Ragged rows, padded to one shape."""
    rng = np.random.default_rng(seed)
    rows = len(prompt_ids)
    inputs = rng.integers(3, 100, (rows, 10), dtype=np.int32)
    targets = rng.integers(3, 100, (rows, 5), dtype=np.int32)
    input_mask = np.arange(10) < rng.integers(2, 11, rows)[:, None]
    target_mask = np.arange(5) < rng.integers(1, 6, rows)[:, None]
    return Batch(np.array(prompt_ids, np.int32), Inputs(inputs, input_mask), Targets(targets, target_mask))


def rows_of(batch: Batch, prompt: int) -> Batch:
    """The rows of one prompt, as a batch for a stack of that prompt alone."""
    kept = np.asarray(batch.prompt_ids) == prompt
    inputs, targets = (part._make(array[kept] for array in part) for part in (batch.inputs, batch.targets))
    return Batch(np.zeros(kept.sum(), np.int32), inputs, targets)


def train(step: Step, prompts: np.ndarray, backbone: Backbone, batches: list[Batch]) -> tuple[np.ndarray, np.ndarray]:
    trained = jnp.array(prompts)
    state, losses = step.init(trained), []
    for batch in batches:
        trained, state, loss = step.run(trained, state, {"weights": backbone.weights}, batch, KEY)
        losses.append(loss)
    return np.asarray(trained), np.array(losses)


def bits(weights: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(weights)]


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a program, those of its subprograms included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


@pytest.fixture(scope="module")
def prompts() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(3, 4, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def step(backbone: Backbone) -> Step:
    return make_step(backbone.graph, Optimizer(), steps=STEPS, trainable="prompts")


@pytest.fixture(scope="module")
def weight_step(backbone: Backbone) -> Step:
    return make_step(backbone.graph, Optimizer(learning_rate=0.01), steps=STEPS, trainable="weights")


def test_prompts_trained_together_end_where_each_ends_alone(backbone: Backbone, prompts: np.ndarray) -> None:
    # a moderate rate: at 0.3 twenty steps blow rounding differences up to the tolerance itself
    step = make_step(backbone.graph, Optimizer(learning_rate=0.05), steps=STEPS, trainable="prompts")
    batches = [random_batch([0, 1, 2, 2, 1, 0], seed=seed) for seed in range(STEPS)]
    together, losses = train(step, prompts, backbone, batches)
    for n in range(3):
        alone, loss = train(step, prompts[n : n + 1], backbone, [rows_of(batch, n) for batch in batches])
        assert np.linalg.norm(together[n] - alone[0]) < 1e-5 * np.linalg.norm(alone[0])
        np.testing.assert_allclose(losses[:, n], loss[:, 0], rtol=1e-5)
    assert np.abs(together - prompts).max() > 0.3


def test_the_loss_of_a_prompt_is_the_mean_over_its_own_target_tokens(
    backbone: Backbone, step: Step, prompts: np.ndarray
) -> None:
    batch = random_batch([2, 0, 0, 1, 0, 2], seed=50)
    _, losses = train(step, prompts, backbone, [batch])
    model = nnx.merge(backbone.graph, backbone.weights)
    by_token = np.asarray(jax.jit(model.token_losses)(prompts, batch.prompt_ids, batch.inputs, batch.targets))
    for n in range(3):
        own = np.asarray(batch.prompt_ids)[:, None] == n
        np.testing.assert_allclose(losses[0, n], by_token[own & batch.targets.mask].mean(), rtol=1e-5)


def test_a_prompt_without_rows_in_a_batch_has_no_loss_and_only_decays(
    backbone: Backbone, step: Step, prompts: np.ndarray
) -> None:
    trained, losses = train(step, prompts, backbone, [random_batch([0, 0, 2, 2, 0, 2], seed=51)])
    assert losses[0, 1] == 0
    np.testing.assert_allclose(trained[1], prompts[1] * (1 - 1e-5), rtol=1e-6)
    assert np.abs(trained[0] - prompts[0]).max() > 0.1


def test_training_prompts_leaves_every_bit_of_the_weights_alone(
    backbone: Backbone, step: Step, prompts: np.ndarray
) -> None:
    before = bits(backbone.weights)
    train(step, prompts, backbone, [random_batch([0, 1, 2, 2, 1, 0], seed=seed) for seed in range(5)])
    assert bits(backbone.weights) == before


def test_no_gradient_of_a_weight_is_ever_computed_for_prompts(
    backbone: Backbone, step: Step, weight_step: Step, prompts: np.ndarray
) -> None:
    shapes = {leaf.shape for leaf in jax.tree.leaves(backbone.weights) if leaf.ndim == 2}
    shapes |= {shape[::-1] for shape in shapes}
    batch = random_batch([0, 1, 2, 2, 1, 0], seed=0)

    def outer_products(run: Any, trained: Any, frozen: dict[str, Any], state: Any) -> set[tuple[int, ...]]:
        program = jax.make_jaxpr(run)(trained, state, frozen, batch, KEY)
        made_by = ("dot_general", "scatter-add", "scatter_add")
        return {
            variable.aval.shape
            for equation in equations(program.jaxpr)
            if equation.primitive.name in made_by
            for variable in equation.outvars
        } & shapes

    weights = backbone.weights
    assert not outer_products(step.run, prompts, {"weights": weights}, step.init(prompts))
    seen = outer_products(weight_step.run, weights, {"prompts": prompts}, weight_step.init(weights))
    assert seen, "the same search finds the gradients where weights do train"


def test_a_step_of_prompts_returns_nothing_of_a_weights_shape(
    backbone: Backbone, step: Step, prompts: np.ndarray
) -> None:
    state = step.init(prompts)
    batch = random_batch([0, 1, 2, 2, 1, 0], seed=0)
    program = jax.make_jaxpr(step.run)(prompts, state, {"weights": backbone.weights}, batch, KEY)
    expected = [leaf.shape for leaf in jax.tree.leaves((prompts, state))] + [(3,)]
    assert [aval.shape for aval in program.out_avals] == expected


def test_training_weights_moves_them_and_leaves_prompts_alone(
    backbone: Backbone, weight_step: Step, prompts: np.ndarray
) -> None:
    batch = random_batch([0, 1, 2, 2, 1, 0], seed=60)
    weights = jax.tree.map(jnp.copy, backbone.weights)
    state, losses = weight_step.init(weights), []
    frozen = {"prompts": jnp.array(prompts)}
    for _ in range(10):
        weights, state, loss = weight_step.run(weights, state, frozen, batch, KEY)
        losses.append(float(loss.sum()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(now != then for now, then in zip(bits(weights), bits(backbone.weights), strict=True))
    np.testing.assert_array_equal(frozen["prompts"], prompts)


def test_dropout_draws_from_the_key_it_is_given(backbone: Backbone, prompts: np.ndarray) -> None:
    noisy = make_step(backbone.graph, Optimizer(), steps=STEPS, trainable="prompts", dropout=0.3)
    batch, frozen = random_batch([0, 1, 2, 2, 1, 0], seed=0), {"weights": backbone.weights}

    def losses(seed: int) -> np.ndarray:
        trained = jnp.array(prompts)
        return np.asarray(noisy.run(trained, noisy.init(trained), frozen, batch, jax.random.key(seed))[2])

    np.testing.assert_array_equal(losses(1), losses(1))
    assert not np.array_equal(losses(1), losses(2))


def test_equal_arguments_share_one_compiled_step(backbone: Backbone, step: Step) -> None:
    assert make_step(backbone.graph, Optimizer(), steps=STEPS, trainable="prompts") is step


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_a_batch_in_parts_trains_as_the_whole(
    parts: int, prompts: np.ndarray, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = [random_batch([0, 1, 2, 2, 1, 0], seed=seed) for seed in range(3)]
    optimizer = Optimizer(learning_rate=0.1)
    whole = train(make_step(backbone.graph, optimizer, steps=31, trainable="prompts"), prompts, backbone, batches)
    monkeypatch.setattr("spot.training.step.micro_batches", lambda _rows, _positions: parts)
    cut = train(make_step(backbone.graph, optimizer, steps=32, trainable="prompts"), prompts, backbone, batches)
    np.testing.assert_allclose(cut[1], whole[1], rtol=1e-5)
    np.testing.assert_allclose(cut[0], whole[0], atol=1e-4)


@pytest.mark.parametrize("rows", [1, 7, 16, 32])
def test_parts_of_a_batch_are_equal_and_no_larger_than_the_cache_allows(rows: int) -> None:
    for positions in (20, 228, 5000):
        parts = micro_batches(rows, positions)
        assert rows % parts == 0
        assert rows // parts * positions <= CACHED_POSITIONS or parts == rows
