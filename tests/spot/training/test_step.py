"""One step trains what it is told to, every prompt as if it were alone, and computes nothing for the rest."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone import packing
from spot.backbone.batch import START, Inputs, Targets
from spot.backbone.load import Backbone
from spot.backbone.placement import Placement
from spot.backbone.random import random_model
from spot.backbone.soft import Soft
from spot.prompts.forms import FORMS, WEIGHTS
from spot.training.optimizers import Optimizer
from spot.training.parts import Batch, Pack, cut
from spot.training.step import Step, make_step
from tasks.pipeline import RaggedBatch
from tests.closeness import assert_close
from tests.spot.backbone.conftest import CONFIGS

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
    return Batch(
        np.array(prompt_ids, np.int32), Inputs(inputs, input_mask), Targets(targets, target_mask)
    )


def rows_of(batch: Batch, prompt: int) -> Batch:
    """The rows of one prompt, as a batch for a stack of that prompt alone."""
    kept = np.asarray(batch.prompt_ids) == prompt
    inputs, targets = (
        part._make(array[kept] for array in part) for part in (batch.inputs, batch.targets)
    )
    return Batch(np.zeros(kept.sum(), np.int32), inputs, targets)


def train(
    step: Step, prompts: np.ndarray, backbone: Backbone, batches: list[Batch]
) -> tuple[np.ndarray, np.ndarray]:
    trained = jnp.array(prompts)
    state, losses = step.init(trained), []
    for batch in batches:
        parts, active = [batch], np.ones(len(prompts), bool)
        trained, state, loss = step.run(trained, state, backbone.weights, parts, KEY, active)
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
    return make_step(backbone.graph, Optimizer(), steps=STEPS, form=FORMS["prompt"])


@pytest.fixture(scope="module")
def weight_step(backbone: Backbone) -> Step:
    return make_step(backbone.graph, Optimizer(learning_rate=0.01), steps=STEPS, form=WEIGHTS)


def test_prompts_trained_together_end_where_each_ends_alone(
    backbone: Backbone, prompts: np.ndarray
) -> None:
    # a moderate rate: at 0.3 twenty steps blow rounding differences up to the tolerance itself
    step = make_step(
        backbone.graph, Optimizer(learning_rate=0.05), steps=STEPS, form=FORMS["prompt"]
    )
    batches = [random_batch([0, 1, 2, 2, 1, 0], seed=seed) for seed in range(STEPS)]
    together, losses = train(step, prompts, backbone, batches)
    for n in range(3):
        alone, loss = train(
            step, prompts[n : n + 1], backbone, [rows_of(batch, n) for batch in batches]
        )
        assert_close(together[n], alone[0], relative=3e-5)
        assert_close(losses[:, n], loss[:, 0], relative=3e-5)
    assert np.abs(together - prompts).max() > 0.3


def test_the_loss_of_a_prompt_is_the_mean_over_its_own_target_tokens(
    backbone: Backbone, step: Step, prompts: np.ndarray
) -> None:
    batch = random_batch([2, 0, 0, 1, 0, 2], seed=50)
    _, losses = train(step, prompts, backbone, [batch])
    model = nnx.merge(backbone.graph, backbone.weights)
    by_token = np.asarray(
        jax.jit(model.token_losses)(Soft(prompts), batch.prompt_ids, batch.inputs, batch.targets)
    )
    for n in range(3):
        own = np.asarray(batch.prompt_ids)[:, None] == n
        assert_close(losses[0, n], by_token[own & batch.targets.mask].mean())


def test_a_prompt_without_rows_in_a_batch_has_no_loss_and_only_decays(
    backbone: Backbone, step: Step, prompts: np.ndarray
) -> None:
    trained, losses = train(step, prompts, backbone, [random_batch([0, 0, 2, 2, 0, 2], seed=51)])
    assert losses[0, 1] == 0
    assert_close(trained[1], prompts[1] * (1 - 1e-5), terms=4)
    assert np.abs(trained[0] - prompts[0]).max() > 0.1


def test_training_prompts_leaves_every_bit_of_the_weights_alone(
    backbone: Backbone, step: Step, prompts: np.ndarray
) -> None:
    before = bits(backbone.weights)
    train(
        step, prompts, backbone, [random_batch([0, 1, 2, 2, 1, 0], seed=seed) for seed in range(5)]
    )
    assert bits(backbone.weights) == before


def test_no_gradient_of_a_weight_is_ever_computed_for_prompts(
    backbone: Backbone, step: Step, weight_step: Step, prompts: np.ndarray
) -> None:
    shapes = {leaf.shape for leaf in jax.tree.leaves(backbone.weights) if leaf.ndim == 2}
    shapes |= {shape[::-1] for shape in shapes}

    def outer_products(
        step: Step, trained: Any, frozen: Any, prompt_ids: list[int]
    ) -> set[tuple[int, ...]]:
        batch, count = random_batch(prompt_ids, seed=0), max(prompt_ids) + 1
        total = (jax.tree.map(jnp.zeros_like, trained), jnp.zeros(count))
        program = jax.make_jaxpr(step.accumulate)(
            total, trained, frozen, jnp.ones(count), batch, KEY
        )
        made_by = ("dot_general", "scatter-add", "scatter_add")
        return {
            variable.aval.shape
            for equation in equations(program.jaxpr)
            if equation.primitive.name in made_by
            for variable in equation.outvars
        } & shapes

    weights = backbone.weights
    assert not outer_products(step, prompts, weights, [0, 1, 2, 2, 1, 0])
    seen = outer_products(weight_step, weights, None, [0] * 6)
    assert seen, "the same search finds the gradients where weights do train"


def test_a_step_of_prompts_returns_nothing_of_a_weights_shape(
    backbone: Backbone, step: Step, prompts: np.ndarray
) -> None:
    batch = random_batch([0, 1, 2, 2, 1, 0], seed=0)
    total = (jnp.zeros_like(prompts), jnp.zeros(3))
    program = jax.make_jaxpr(step.accumulate)(
        total, prompts, backbone.weights, jnp.ones(3), batch, KEY
    )
    assert [aval.shape for aval in program.out_avals] == [prompts.shape, (3,)]


def test_training_weights_moves_all_of_them(backbone: Backbone, weight_step: Step) -> None:
    batch = random_batch([0] * 6, seed=60)
    weights = jax.tree.map(jnp.copy, backbone.weights)
    state, losses = weight_step.init(weights), []
    for _ in range(10):
        weights, state, loss = weight_step.run(weights, state, None, [batch], KEY, np.ones(1, bool))
        losses.append(float(loss.sum()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(now != then for now, then in zip(bits(weights), bits(backbone.weights), strict=True))


def test_dropout_draws_from_the_keys_it_is_given(backbone: Backbone, prompts: np.ndarray) -> None:
    noisy = make_step(backbone.graph, Optimizer(), steps=STEPS, form=FORMS["prompt"], dropout=0.3)
    batch, frozen = random_batch([0, 1, 2, 2, 1, 0], seed=0), backbone.weights

    def losses(seed: int) -> np.ndarray:
        trained = jnp.array(prompts)
        parts, active = [batch], np.ones(3, bool)
        keys = jax.random.split(jax.random.key(seed), 3)
        return np.asarray(noisy.run(trained, noisy.init(trained), frozen, parts, keys, active)[2])

    np.testing.assert_array_equal(losses(1), losses(1))
    assert not np.array_equal(losses(1), losses(2))


def test_equal_arguments_share_one_compiled_step(backbone: Backbone, step: Step) -> None:
    assert make_step(backbone.graph, Optimizer(), steps=STEPS, form=FORMS["prompt"]) == step


def test_optimizers_that_differ_in_their_rate_alone_share_a_program(
    backbone: Backbone, step: Step
) -> None:
    def other(**settings: Any) -> Step:
        return make_step(backbone.graph, Optimizer(**settings), steps=STEPS, form=FORMS["prompt"])

    slower = other(learning_rate=0.01)
    assert (slower.accumulate, slower.update) == (step.accumulate, step.update)
    assert (slower.rate, step.rate) == (0.01, 0.3)
    assert other(weight_decay=0.0).update != step.update


def test_a_slot_trains_at_its_own_rate_with_the_bits_of_a_program_of_that_rate(
    backbone: Backbone, prompts: np.ndarray
) -> None:
    rates = np.array([0.3, 0.01, 0.05], np.float32)
    batches = [random_batch([0, 1, 2, 2, 1, 0], seed=seed) for seed in range(5)]

    def run(rate: float, rates: np.ndarray | None = None) -> np.ndarray:
        optimizer = Optimizer(learning_rate=rate, schedule="linear", warmup_steps=2)
        step = make_step(backbone.graph, optimizer, steps=STEPS, form=FORMS["prompt"])
        trained = jnp.array(prompts)
        state = step.init(trained)
        for batch in batches:
            active = np.ones(3, bool)
            trained, state, _ = step.run(
                trained, state, backbone.weights, [batch], KEY, active, rates
            )
        return np.asarray(trained)

    mixed = run(1.0, rates)
    for slot, rate in enumerate(rates):
        np.testing.assert_array_equal(mixed[slot], run(float(rate))[slot])


def ragged_batch(rows: int, *, seed: int) -> RaggedBatch:
    """The rows of :func:`random_batch`."""
    batch = random_batch([0] * rows, seed=seed)
    inputs, targets = (
        [ids[mask] for ids, mask in zip(np.asarray(part.ids), np.asarray(part.mask), strict=True)]
        for part in (batch.inputs, batch.targets)
    )
    return RaggedBatch(inputs, targets)


def slots(*prompts: int, rows: int = 6) -> dict[int, RaggedBatch]:
    """A batch of ragged rows for every slot."""
    return {slot: ragged_batch(rows, seed=slot) for slot in prompts}


def cached(positions: int) -> Placement:
    """A CPU whose caches hold so many positions."""
    return Placement(platform="cpu", cached_positions=positions)


def content(batches: list[Batch]) -> list[tuple[int, bytes, bytes]]:
    """Every real row: slot, input and target tokens."""
    found = []
    for batch in batches:
        for row, slot in enumerate(batch.prompt_ids):
            source, target = (
                np.asarray(p.ids[row])[np.asarray(p.mask[row])]
                for p in (batch.inputs, batch.targets)
            )
            if len(target):
                found.append((int(slot), source.tobytes(), target.tobytes()))
    return sorted(found)


@pytest.mark.parametrize("positions", [1, 40, 100, 100_000])
def test_parts_hold_every_row_of_every_slot_once(positions: int) -> None:
    batches = slots(0, 2, 5)
    parts = cut(batches, 4, here=cached(positions))
    rows = [
        (slot, *row)
        for slot, batch in batches.items()
        for row in zip(batch.inputs, batch.targets, strict=True)
    ]
    assert content(parts) == sorted(
        (slot, source.tobytes(), target.tobytes()) for slot, source, target in rows
    )
    for part in parts:
        assert (
            len(part.prompt_ids) == 1
            or len(part.prompt_ids) * (4 + part.inputs.ids.shape[1]) <= positions
        )


def test_parts_come_longest_first_each_no_wider_than_its_bucket() -> None:
    rows = [np.arange(3, 3 + n, dtype=np.int32) for n in (100, 5, 60, 14, 90, 2)]
    parts = cut({0: RaggedBatch(rows, [rows[5]] * 6)}, 900)
    assert [part.inputs.ids.shape for part in parts] == [(1, 128), (2, 96), (2, 16), (1, 16)]
    assert parts[0].targets.ids.shape == (1, 4)


@pytest.mark.parametrize("positions", [30, 60, 100])
def test_slots_in_parts_train_as_the_whole(
    positions: int, prompts: np.ndarray, backbone: Backbone
) -> None:
    step = make_step(
        backbone.graph, Optimizer(learning_rate=0.1), steps=STEPS, form=FORMS["prompt"]
    )

    def run(positions: int) -> tuple[np.ndarray, np.ndarray]:
        trained = jnp.array(prompts)
        state, losses = step.init(trained), []
        for seed in range(3):
            batches = {slot: ragged_batch(4, seed=10 * seed + slot) for slot in range(3)}
            parts = cut(batches, prompts.shape[1], here=cached(positions))
            trained, state, loss = step.run(
                trained, state, backbone.weights, parts, KEY, np.ones(3, bool)
            )
            losses.append(np.asarray(loss))
        return np.asarray(trained), np.array(losses)

    whole, apart = run(100_000), run(positions)
    assert_close(apart[1], whole[1], relative=3e-5)
    assert_close(apart[0], whole[0], relative=1e-4)


@pytest.mark.parametrize("form", ["prompt", "deep", "suffix", "infix"])
@pytest.mark.parametrize("tokens", [40, 1000])
def test_packed_parts_train_as_the_whole(
    form: str, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = functools.partial(packing.portions, tokens=tokens)
    monkeypatch.setattr("spot.training.parts.packing.portions", shorter)
    config = CONFIGS["llama"]
    graph, weights = nnx.split(random_model(config, seed=0))
    start = np.random.default_rng(0).normal(size=(3, *FORMS[form].shape(config, 4)))

    def run(*, packed: bool) -> tuple[np.ndarray, np.ndarray, set[type]]:
        step = make_step(
            graph,
            Optimizer(name="adamw", learning_rate=0.01),
            steps=STEPS,
            form=FORMS[form],
            z_loss=0.01,
            packed=packed,
        )
        trained = jnp.array(start, jnp.float32)
        state, losses, kinds = step.init(trained), [], set()
        for seed in range(3):
            batches = {slot: ragged_batch(4, seed=10 * seed + slot) for slot in (0, 2)}
            parts = cut(batches, 4, suffix=step.suffix, packed=step.packed, here=cached(100_000))
            kinds |= {type(part) for part in parts}
            active = np.array([True, False, True])
            trained, state, loss = step.run(trained, state, weights, parts, KEY, active)
            losses.append(np.asarray(loss))
        return np.asarray(trained), np.array(losses), kinds

    whole, packs = run(packed=False), run(packed=True)
    assert (whole[2], packs[2]) == ({Batch}, {Pack})
    assert_close(packs[1], whole[1], relative=3e-5)
    assert_close(packs[0], whole[0], relative=1e-4)
    np.testing.assert_array_equal(packs[0][1], np.float32(start[1]))


def test_dropout_is_not_packed() -> None:
    graph, _ = nnx.split(random_model(CONFIGS["llama"], seed=0))
    step = make_step(
        graph, Optimizer(), steps=STEPS, form=FORMS["prompt"], dropout=0.1, packed=True
    )
    assert not step.packed


def test_a_step_with_prompt_dropout_is_one_of_thinned_prompts(
    prompts: np.ndarray, backbone: Backbone
) -> None:
    """Its gradient is that of the prompts that are left, where they are left, over the share that stays."""
    rate, parts = 0.25, cut(slots(0, 2), 4)
    make = functools.partial(
        make_step, backbone.graph, Optimizer(), steps=STEPS, form=FORMS["prompt"]
    )
    noisy, plain = make(prompt_dropout=rate), make()
    assert noisy.noisy
    keys = jax.random.split(jax.random.key(5), 3)
    trained = jnp.array(prompts)
    gradient, losses = noisy.gradient(trained, backbone.weights, parts, keys, 3)
    left = np.asarray(gradient) != 0
    share = left[[0, 2]].mean()
    assert abs(share - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / left[[0, 2]].size)
    assert (left[0] != left[2]).any()
    thinned = jnp.asarray(np.where(left, prompts / (1 - rate), 0.0))
    expected, their_losses = plain.gradient(thinned, backbone.weights, parts, keys, 3)
    assert_close(losses, their_losses, relative=1e-5)
    assert_close(gradient, np.where(left, np.asarray(expected) / (1 - rate), 0.0), relative=3e-5)


@pytest.mark.parametrize("tokens", [1, 30, 60, 1000])
def test_packs_hold_every_row_of_every_slot_once(
    tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = functools.partial(packing.portions, tokens=tokens)
    monkeypatch.setattr("spot.training.parts.packing.portions", shorter)
    batches = slots(0, 2, 5)
    found = []
    for pack in cut(batches, 4, packed=True, here=cached(100_000)):
        assert isinstance(pack, Pack)
        packed = pack.packed
        assert len(packed.grid) == 1 or len(set(pack.stack)) * 4 + (packed.ids != 0).sum() <= tokens
        for row, places in enumerate(packed.grid):
            ids = packed.ids[places[places < len(packed.ids)]]
            if not len(ids):  # fills the grid up
                continue
            (start,) = np.flatnonzero(ids == START)
            scored = (packed.owners == row) & packed.mask
            np.testing.assert_array_equal(packed.ids[packed.places[scored]], ids[start:])
            labels = packed.labels[scored]
            np.testing.assert_array_equal(labels[:-1], ids[start + 1 :])
            slot = int(pack.stack[packed.prompt_ids[row]])
            found.append((slot, ids[:start].tobytes(), labels.tobytes()))
    assert sorted(found) == sorted(
        (slot, source.tobytes(), target.tobytes())
        for slot, batch in batches.items()
        for source, target in zip(batch.inputs, batch.targets, strict=True)
    )


def test_a_slot_that_is_not_active_keeps_every_bit(
    backbone: Backbone, step: Step, prompts: np.ndarray
) -> None:
    trained = jnp.array(prompts)
    state = step.init(trained)
    before = bits(step.take(state, 1))
    frozen, active = backbone.weights, np.array([True, False, True])
    trained, state, _ = step.run(trained, state, frozen, cut(slots(0, 2), 4), KEY, active)
    assert np.asarray(trained[1]).tobytes() == prompts[1].tobytes()
    assert bits(step.take(state, 1)) == before
    assert bits(step.take(state, 2)) != before


def test_seating_a_prompt_in_a_slot_leaves_the_others(step: Step, prompts: np.ndarray) -> None:
    other = np.full((1, *prompts.shape[1:]), 7.0, np.float32)
    seated = np.asarray(step.seat(jnp.array(prompts), 1, other))
    np.testing.assert_array_equal(seated, np.concatenate([prompts[:1], other, prompts[2:]]))
    np.testing.assert_array_equal(step.take(seated, 1), other)
