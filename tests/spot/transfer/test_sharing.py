"""Prompts of several tasks that share a part: what trains, what the bank keeps, and what is a start for a new task."""

from __future__ import annotations

import dataclasses
import datetime as dt
import signal
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bank import Bank, BankError
from bank.integrity import verify
from bank.selection import Selection
from spot.backbone.load import Backbone
from spot.errors import Interrupted, PromptError, TrainingError
from spot.inference.predict import mean_losses
from spot.prompts.forms import FORMS
from spot.prompts.reparameterization import prompt_length, prompts_of, trainable
from spot.prompts.sharing import SHARED
from spot.training.optimizers import Optimizer, promoting
from spot.training.parts import cut
from spot.training.prompt_tuning import start_of
from spot.training.recipe import Recipe
from spot.training.settings import SHARED_NAMES
from spot.training.step import make_step
from spot.transfer.datasets import Datasets
from spot.transfer.executors import LocalExecutor
from spot.transfer.runs import Trainer, sharing
from tasks.mixture import Mixture
from tasks.task import Split, Task
from tests.closeness import assert_close
from tests.spot.training.test_step import ragged_batch
from tests.spot.training.toy import Recorder

RATE = 0.01
MAKE: dict[str, Callable[..., jax.Array]] = {
    "multiply": lambda shared, own: shared * (1 + own),
    "rank_one": lambda shared, u, v: shared * jnp.outer(1 + u[:, 0], 1 + v[0]),
    "add": lambda shared, own: shared + own,
    "concatenate": lambda shared, own: jnp.concatenate([shared, own]),
}
"""A prompt of its shared part and of what is the task's own."""


def test_every_way_is_an_option() -> None:
    assert SHARED_NAMES == ("", *SHARED) == ("", *MAKE)


@pytest.mark.parametrize("way", SHARED)
@pytest.mark.parametrize("shape", [(5, 8), (3, 4, 8)], ids=str)
def test_a_start_stays_a_start(way: str, shape: tuple[int, ...]) -> None:
    start = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    trained = trainable(start, 0, 0, shared=way)
    np.testing.assert_array_equal(prompts_of(trained), start[None])
    assert prompt_length(trained) == shape[-2]


def test_one_token_is_not_divided() -> None:
    with pytest.raises(PromptError, match=r"no room for a shared part .* --prompt-length"):
        trainable(np.zeros((1, 8), np.float32), 0, 0, shared="concatenate")


@pytest.mark.parametrize("way", SHARED)
def test_a_shared_part_trains_on_the_sum_of_the_tasks_losses(way: str, backbone: Backbone) -> None:
    """Against optax's AdamW on one shared part and two own ones, with gradients through the whole sum; a third slot
    trains alone."""
    rng = np.random.default_rng(1)
    start = rng.normal(size=(4, 16)).astype(np.float32)
    other = rng.normal(size=(4, 16)).astype(np.float32)
    step = make_step(
        backbone.graph,
        Optimizer(name="adamw", learning_rate=RATE, weight_decay=0.01),
        steps=10,
        form=FORMS["prompt"],
    )
    stacks = [trainable(each, 0, 0, shared=way) for each in (start, start, other)]
    trained = jax.tree.map(lambda *each: jnp.concatenate([jnp.asarray(x) for x in each]), *stacks)
    parts_of = dict(zip(trained._fields, trained, strict=True))
    own = {name: part[0 if name == "shared" else slice(2)] for name, part in parts_of.items()}
    state, firsts = step.init(trained), np.array([0, 0, 2], np.int32)
    theirs = optax.adamw(RATE, weight_decay=0.01)
    their_state = theirs.init(own)

    def gradients(parameters: dict[str, jax.Array], parts: list[object]) -> dict[str, jax.Array]:
        """Of each prompt alone, by the plain step, taken back through what makes the prompts."""
        plain = make_step(backbone.graph, Optimizer(), steps=10, form=FORMS["prompt"])

        def made(tree: dict[str, jax.Array]) -> jax.Array:
            names = [name for name in trained._fields if name != "shared"]
            both = [
                MAKE[way](tree["shared"], *(tree[name][row] for name in names)) for row in (0, 1)
            ]
            return jnp.stack([*both, jnp.asarray(other)])

        prompts, back = jax.vjp(made, parameters)
        slope, _ = plain.gradient(prompts, backbone.weights, parts, jnp.zeros((3, 2)), 3)  # type: ignore[arg-type]
        return back(slope)[0]  # type: ignore[no-any-return]

    for number in range(3):
        batches = {slot: ragged_batch(4, seed=10 * number + slot) for slot in range(3)}
        parts = list(cut(batches, 4))
        updates, their_state = promoting(theirs.update)(gradients(own, parts), their_state, own)
        own = optax.apply_updates(own, updates)  # type: ignore[assignment]
        trained, state, _ = step.run(
            trained,
            state,
            backbone.weights,
            parts,
            jnp.zeros((3, 2)),
            np.ones(3, bool),
            firsts=firsts,
        )
    assert_close(trained.shared[0], own["shared"], relative=1e-4)
    for name, part in own.items():
        if name != "shared":
            assert_close(getattr(trained, name)[:2], part, relative=1e-4)
    np.testing.assert_array_equal(trained.shared[0], trained.shared[1])
    assert np.abs(np.asarray(trained.shared[2] - trained.shared[0])).max() > 0.1


@pytest.fixture
def shared_recipe(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, shared="multiply", optimizer=Optimizer(learning_rate=0.05))


@pytest.fixture
def chosen(tasks: dict[str, Task]) -> list[Task]:
    return [tasks["first"], tasks["second"]]


def addresses(trainer: Trainer, tasks: list[Task], seeds: tuple[int, ...] = (0,)) -> list[str]:
    shared, learnt = sharing(trainer, tasks)
    specs = [shared.spec(task, seed, "source") for task in learnt for seed in seeds]
    return [run.value for run in shared.run_together(specs)]


def test_tasks_and_what_they_share_are_runs_of_the_bank(
    tmp_path: Path, backbone: Backbone, shared_recipe: Recipe, chosen: list[Task]
) -> None:
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        trainer, learnt = sharing(Trainer(bank, backbone, shared_recipe), chosen)
        assert isinstance(learnt[-1], Mixture)
        assert learnt[-1].name == "first+second"
        specs = [trainer.spec(task, 0, "source") for task in learnt]
        runs = trainer.run_together(specs)
        assert len({run.value for run in runs}) == 3
        *apart, together = (bank.prompt(run.key or "") for run in runs)
        start = start_of(trainer.recipe, backbone, learnt[-1], 0)
        assert np.abs(together - start).max() > 1e-3
        assert all(np.abs(each - together).max() > 1e-3 for each in apart)
        losses = {row["step"]: row["loss"] for row in bank.history(runs[-1].digest)}
        assert all(np.isnan(loss) or loss is None for loss in losses.values())
        held = trainer.run_together(specs)
        assert [run.digest for run in held] == [run.digest for run in runs]


@pytest.mark.parametrize("way", SHARED)
def test_a_prompt_is_its_shared_and_its_own_part(
    tmp_path: Path, backbone: Backbone, shared_recipe: Recipe, chosen: list[Task], way: str
) -> None:
    steps = shared_recipe.steps  # one evaluation, so that all are of one step
    recipe = dataclasses.replace(shared_recipe, shared=way, key_step=steps, evaluate_every=steps)
    made = MAKE["multiply" if way == "rank_one" else way]
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        trainer, learnt = sharing(Trainer(bank, backbone, recipe), chosen)
        *runs, mixture = trainer.run_together([trainer.spec(task, 0, "source") for task in learnt])
        shared = bank.prompt(mixture.value)
        if way == "concatenate":
            shared = shared[: -(-len(shared) // 2)]
        for run in runs:
            own = bank.find_prompt(run.digest, kind="own")
            assert np.abs(own).max() > 1e-3
            assert_close(bank.prompt(run.value), made(shared, own), relative=1e-5)
        with pytest.raises(BankError, match="has no own; it has key, value"):
            bank.find_prompt(mixture.digest, kind="own")
        assert verify(bank) == []


def test_one_of_another_seed_is_trained_apart_and_ends_the_same(
    tmp_path: Path, backbone: Backbone, shared_recipe: Recipe, chosen: list[Task]
) -> None:
    with Bank.open(tmp_path / "both.sqlite") as bank:
        both = addresses(Trainer(bank, backbone, shared_recipe), chosen, (0, 1))
    with Bank.open(tmp_path / "one.sqlite") as bank:
        one = addresses(Trainer(bank, backbone, shared_recipe), chosen, (1,))
    assert both[1::2] == one


def test_stopped_and_started_again_they_end_with_the_same_bits(
    tmp_path: Path, backbone: Backbone, shared_recipe: Recipe, chosen: list[Task]
) -> None:
    with Bank.open(tmp_path / "whole.sqlite") as bank:
        whole = addresses(Trainer(bank, backbone, shared_recipe), chosen)
    stops = [13, 27]

    def stop(step: int) -> None:
        if stops and step >= stops[0]:
            stops.pop(0)
            signal.raise_signal(signal.SIGTERM)

    with Bank.open(tmp_path / "stopped.sqlite") as bank:
        datasets = Datasets(backbone)
        executor = LocalExecutor(bank, datasets, reporters=lambda _title: Recorder(on_advance=stop))
        trainer = Trainer(
            bank,
            backbone,
            shared_recipe,
            datasets=datasets,
            executor=executor,
            folder=tmp_path / "runs",
            checkpoint_seconds=0.0,
        )
        again: list[str] = []
        for _ in range(3):
            try:
                again = addresses(trainer, chosen)
            except Interrupted:
                continue
    assert not stops
    assert again == whole


def test_where_one_of_them_is_lacking_all_train_again(
    tmp_path: Path, backbone: Backbone, shared_recipe: Recipe, chosen: list[Task]
) -> None:
    """A shared part of one task alone would be another."""
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        trainer, learnt = sharing(Trainer(bank, backbone, shared_recipe), chosen)
        specs = [trainer.spec(task, 0, "source") for task in learnt]
        with pytest.raises(TrainingError, match="first, second share a part, and train together"):
            trainer.run_all(specs[:1])
        runs = trainer.run_all(specs)
        bank.remove(Selection(runs=[runs[0].digest]))
        bank.purge(dt.datetime.now(dt.UTC))
        assert not bank.runs([runs[0].digest])
        assert [run.value for run in trainer.run_all(specs)] == [run.value for run in runs]


def test_a_new_task_starts_where_the_shared_part_is(
    tmp_path: Path,
    backbone: Backbone,
    shared_recipe: Recipe,
    chosen: list[Task],
    tasks: dict[str, Task],
) -> None:
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        *_, together = addresses(Trainer(bank, backbone, shared_recipe), chosen)
        trainer = Trainer(bank, backbone, shared_recipe)
        run = trainer.run(tasks["target"], seed=0, role="transfer", start=together)
        data = trainer.task_data(tasks["target"])
        losses = mean_losses(
            backbone,
            [bank.prompt(together), bank.prompt(run.value)],
            data[Split.DEV].tokens,
        )
        assert losses[1] < losses[0]


def test_one_task_and_mixtures_share_nothing(
    tmp_path: Path, backbone: Backbone, shared_recipe: Recipe, chosen: list[Task]
) -> None:
    mixture = Mixture(name="both", members=tuple(chosen))
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        trainer = Trainer(bank, backbone, shared_recipe)
        for tasks in (chosen[:1], [chosen[0], mixture], [mixture]):
            with pytest.raises(TrainingError, match="for two tasks or more, and for no mixture"):
                sharing(trainer, tasks)
    with pytest.raises(TrainingError, match=r"in two parts .* or through a network"):
        dataclasses.replace(shared_recipe, mlp_width=4)
