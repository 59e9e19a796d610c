"""Recipes: what they refuse, and which of their settings make keys incomparable."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any

import pytest

from spot.backbone.load import Backbone
from spot.errors import TrainingError
from spot.training.optimizers import Optimizer
from spot.training.recipe import Recipe
from spot.training.settings import Setting, setting


def test_the_default_is_the_recipe_of_the_papers() -> None:
    recipe = Recipe()
    assert (recipe.prompt_length, recipe.batch_size, recipe.steps, recipe.key_step) == (
        100,
        32,
        30_000,
        10_000,
    )
    assert (recipe.init, recipe.evaluate_every, recipe.optimizer) == (
        "vocabulary",
        500,
        Optimizer(),
    )
    assert (recipe.lengths.inputs, recipe.lengths.targets) == (512, 64)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_length": 0}, "prompt length must be at least 1, found 0"),
        ({"batch_size": 0}, "batch size must be at least 1"),
        ({"max_input": 0}, "max input must be at least 1"),
        ({"max_target": -1}, "max target must be at least 1, found -1"),
        ({"train_limit": -1}, "train limit must be at least 0, found -1"),
        ({"dev_limit": -1}, "dev limit must be at least 0, found -1"),
        ({"patience": -1}, "patience must be at least 0, found -1"),
        ({"key_step": 0}, "key step must be at least 1, found 0"),
        ({"steps": 100}, "key step 10000 lies outside the run's 100 steps"),
        ({"steps": 0}, "must be at least 1"),
        ({"evaluate_every": 0}, "must be at least 1"),
        ({"dropout": 1.0}, "dropout must be below 1, found 1.0"),
        ({"dropout": math.nan}, "dropout must be at least 0, found nan"),
        ({"z_loss": math.inf}, "z loss must be at most 2147483647, found inf"),
        (
            {"evaluate_by": "beam"},
            "evaluate by 'beam' is not known; choose from auto, rank, generate",
        ),
        (
            {"form": "deeper"},
            "form 'deeper' is not known; did you mean 'deep'? choose from prompt, deep",
        ),
        (
            {
                "steps": 20,
                "key_step": 10,
                "evaluate_every": 10,
                "optimizer": Optimizer(warmup_steps=20, schedule="linear"),
            },
            "20 steps of warm-up leave none of 20 for the schedule linear to fall in",
        ),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=re.escape(message)):
        Recipe(**settings)


def test_a_plan_has_the_recipes_steps_and_a_query_ends_at_the_key() -> None:
    recipe = Recipe(steps=900, key_step=300, evaluate_every=500, patience=3)
    plan, query = recipe.plan(), recipe.plan(stop_at_key=True)
    assert (plan.steps, plan.key_step, plan.evaluate_every, plan.patience) == (900, 300, 500, 3)
    assert (query.steps, query.key_step, query.evaluate_every) == (300, 300, 300)


SHAPING: list[dict[str, Any]] = [
    {"init": "uniform"},
    {"batch_size": 16},
    {"max_input": 128},
    {"max_target": 16},
    {"optimizer": Optimizer(learning_rate=0.1)},
    {"optimizer": Optimizer(name="adamw")},
    {"optimizer": Optimizer(warmup_steps=10)},
    {"optimizer": Optimizer(schedule="inverse_sqrt")},
    {"optimizer": Optimizer(weight_decay=0.0)},
]
HARMLESS: list[dict[str, Any]] = [
    {"steps": 20_000},
    {"evaluate_every": 100},
    {"patience": 5},
    {"dev_limit": 50},
    {"evaluate_by": "generate"},
    {"evaluate_spacing": "doubling"},
    {"curve_limit": 200},
]


@pytest.mark.parametrize("changes", SHAPING)
def test_what_shapes_a_key_makes_another_family(
    changes: dict[str, Any], backbone: Backbone
) -> None:
    assert Recipe(**changes).family(backbone) != Recipe().family(backbone)


@pytest.mark.parametrize("changes", HARMLESS)
def test_what_comes_after_the_key_leaves_the_family_alone(
    changes: dict[str, Any], backbone: Backbone
) -> None:
    assert Recipe(**changes).family(backbone) == Recipe().family(backbone)


@pytest.mark.parametrize(
    ("schedule", "same"),
    [("constant", True), ("inverse_sqrt", True), ("cosine", False), ("linear", False)],
)
def test_more_steps_make_another_family_only_under_a_decaying_schedule(
    schedule: str, same: bool, backbone: Backbone
) -> None:
    optimizer = Optimizer(schedule=schedule)
    shorter, longer = (
        Recipe(optimizer=optimizer, steps=steps).family(backbone) for steps in (20_000, 30_000)
    )
    assert (shorter == longer) is same


def test_precision_makes_another_family(backbone: Backbone) -> None:
    half = dataclasses.replace(backbone, dtype="bfloat16")
    assert Recipe().family(half) != Recipe().family(backbone)


@pytest.mark.parametrize("changes", [*SHAPING, *HARMLESS, {"prompt_length": 20}, {"key_step": 500}])
def test_any_setting_makes_another_record(changes: dict[str, Any], backbone: Backbone) -> None:
    assert Recipe(**changes).record(backbone).digest != Recipe().record(backbone).digest


def test_a_record_says_what_was_done_for_which_backbone(backbone: Backbone) -> None:
    recipe = Recipe(prompt_length=20, key_step=500)
    record = recipe.record(backbone)
    assert record.digest == Recipe(prompt_length=20, key_step=500).record(backbone).digest
    assert (record.prompt_length, record.key_step, record.family) == (
        20,
        500,
        recipe.family(backbone),
    )
    later = {
        field.name: field.default
        for field in dataclasses.fields(Recipe)
        if field.metadata["setting"].later
    }
    assert record.options | later == dataclasses.asdict(recipe) | {"dtype": "float32"}
    assert (record.backbone.fingerprint, record.backbone.width) == (backbone.fingerprint, 16)
    assert record.backbone.config["d_model"] == 16


@pytest.mark.parametrize(
    "changes",
    [{"form": "deep"}, {"dropout": 0.1}, {"z_loss": 1e-4}, {"loss": "rank"}, {"mlp_width": 8}],
)
def test_what_the_first_release_had_not_counts_only_where_it_is_used(
    changes: dict[str, Any], backbone: Backbone
) -> None:
    plain, changed = Recipe().record(backbone), Recipe(**changes).record(backbone)
    assert not set(changes) & set(plain.options)
    assert changed.options == dict(plain.options) | changes
    assert changed.family != plain.family


def test_another_backbone_makes_another_record(backbone: Backbone) -> None:
    other = dataclasses.replace(backbone, fingerprint="f" * 64)
    assert Recipe().record(other).digest != Recipe().record(backbone).digest


# -- digests -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaterOptimizer(Optimizer):
    momentum: float = setting(0.0, "Share of the last update.", shapes_key=True, later=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaterRecipe(Recipe):
    optimizer: Optimizer = dataclasses.field(
        default_factory=LaterOptimizer,
        metadata={"setting": Setting(help="Optimiser.", shapes_key=True)},
    )
    layers: int = setting(0, "Layers that are prompted.", shapes_key=True, later=True)


def test_a_setting_added_with_a_default_changes_no_digest(backbone: Backbone) -> None:
    today, later = Recipe().record(backbone), LaterRecipe().record(backbone)
    assert (later.digest, later.family) == (today.digest, today.family)
    for changed in (LaterRecipe(layers=3), LaterRecipe(optimizer=LaterOptimizer(momentum=0.9))):
        assert changed.family(backbone) != today.family
        assert changed.record(backbone).digest != today.digest


DIGEST = "b541f01e1e5ab0183bf560a75c5d8274b2c7ef06dadac55f1bbf4ba2e9afbe11"
FAMILY = "44eb6df3ebed0bdfd49e14352fc656f12ee4c7d5dcb0828a8b725d477c41d5cd"


def test_digests_are_those_of_the_first_release(backbone: Backbone) -> None:
    named = dataclasses.replace(backbone, fingerprint="f" * 64)
    assert Recipe().record(named).digest == DIGEST
    assert Recipe().family(named) == FAMILY


def test_whole_numbers_are_the_numbers_that_they_stand_for() -> None:
    whole = Recipe(optimizer=Optimizer(learning_rate=1, weight_decay=0))
    assert whole == Recipe(optimizer=Optimizer(learning_rate=1.0, weight_decay=0.0))
    assert json.dumps(dataclasses.asdict(whole)) == json.dumps(
        dataclasses.asdict(Recipe(optimizer=Optimizer(learning_rate=1.0, weight_decay=0.0)))
    )
