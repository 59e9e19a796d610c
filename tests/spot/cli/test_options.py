"""Options that are made of other tables: a recipe's follow from its settings."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args, get_type_hints

import pytest
import typer

from spot.cli.recipes import PRESETS, RecipeOptions
from spot.training.optimizers import Optimizer
from spot.training.recipe import Recipe
from spot.training.settings import SEARCHED, settings_of

SETTINGS = {
    setting.option or name: setting
    for group in (Recipe, Optimizer)
    for name, setting in settings_of(group).items()
    if not setting.hidden and (group, name) != (Recipe, "optimizer")
}


def test_every_setting_that_is_not_hidden_has_an_option_with_its_help_and_bounds() -> None:
    hints: dict[str, Any] = get_type_hints(RecipeOptions, include_extras=True)
    assert set(hints) == {"preset", *SETTINGS}
    for name, setting in SETTINGS.items():
        _kind, option = get_args(hints[name])
        if name not in SEARCHED:
            bounds = (setting.help, setting.least, setting.most)
            assert (option.help, option.min, option.max) == bounds
            continue
        assert option.help == f"{setting.help} auto searches for it (train-source)."
        if setting.least is not None:  # the parser holds them
            for value in ("nan", str(setting.most * 2), str(setting.least - 1), "fast"):
                with pytest.raises(typer.BadParameter):
                    option.parser(value)
            assert (option.parser("auto"), option.parser("0.5")) == ("auto", 0.5)


def test_what_is_given_stands_in_the_recipe_and_the_rest_is_the_presets() -> None:
    given: dict[str, Any] = {
        "learning_rate": 0.1,
        "optimizer": "adamw",
        "form": "deep",
        "batch_size": 8,
    }
    recipe = RecipeOptions(preset="paper", **given).recipe("tiny")
    assert recipe == Recipe(
        form="deep",
        batch_size=8,
        optimizer=Optimizer(name="adamw", learning_rate=0.1),
        **PRESETS["paper"],
    )


def test_fewer_steps_than_the_presets_key_step_move_it_to_the_end() -> None:
    given: dict[str, Any] = {"steps": 50}
    assert RecipeOptions(preset="quick", **given).recipe("tiny").key_step == 50


def test_options_are_records_that_do_not_change() -> None:
    assert dataclasses.fields(RecipeOptions)[0].name == "preset"
    assert RecipeOptions() == RecipeOptions() and hash(RecipeOptions()) == hash(RecipeOptions())
