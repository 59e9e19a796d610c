"""What the settings of a recipe say of themselves: to commands, to the bank, and to who gives values out of bounds."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bank.identity import FIRST, LATER_HARMLESS, SHAPING
from spot.errors import TrainingError
from spot.inference import predict
from spot.prompts.forms import FORMS
from spot.training import settings
from spot.training.checks import check_settings
from spot.training.optimizers import Optimizer
from spot.training.recipe import Recipe
from spot.training.settings import Setting, setting

FREE_TEXT = ("init", "toward", "together")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kitchen:
    heat: float = setting(
        1.0, "Heat.", shapes_key=True, least=0, most=3, excluded=0, option="stove"
    )
    salt: float = setting(0.5, "Salt.", shapes_key=True, least=0, most=1, excluded=1)
    spoons: int = setting(2, "Spoons.", shapes_key=False, least=1, most=9)
    dish: str = setting("soup", "Dish.", shapes_key=True, choices=("soup", "stew"))


def test_values_in_their_bounds_pass() -> None:
    check_settings(Kitchen())
    check_settings(Kitchen(heat=3, salt=0, spoons=9, dish="stew"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heat": 0.0}, "stove must be above 0, found 0.0"),
        ({"heat": 4.0}, "stove must be at most 3, found 4.0"),
        ({"heat": float("nan")}, "stove must be at least 0, found nan"),
        ({"salt": 1.0}, "salt must be below 1, found 1.0"),
        ({"spoons": 0}, "spoons must be at least 1, found 0"),
        ({"dish": "stwe"}, "dish 'stwe' is not known; did you mean 'stew'? choose from soup, stew"),
    ],
)
def test_a_value_out_of_its_bounds_is_named_with_what_it_must_be(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        check_settings(Kitchen(**values))
    assert str(caught.value) == message


# -- the recipe's own ----------------------------------------------------------------------------------------


def setting_of(field: dataclasses.Field[Any]) -> Setting:
    """What a field says of itself."""
    assert "setting" in field.metadata, (
        f"{field.name} does not say what it is for and whether it shapes a key"
    )
    about: Setting = field.metadata["setting"]
    return about


@pytest.mark.parametrize("group", [Recipe, Optimizer])
def test_every_field_says_what_it_is_for_and_whether_it_shapes_a_key(group: type) -> None:
    for field in dataclasses.fields(group):
        about = setting_of(field)
        assert about.help.endswith(".")
        assert about.shapes_key in (True, False)
        assert about.choices or field.type != "str" or field.name in FREE_TEXT, field.name
        assert about.least is not None or field.type not in ("int", "float"), field.name


def test_the_bank_names_the_same_settings_as_shaping_keys() -> None:
    fields = {field.name: setting_of(field) for field in dataclasses.fields(Recipe)}
    first = {name for name, about in fields.items() if not about.later}
    assert first | {"dtype"} == set(FIRST)
    compared_apart = {"prompt_length", "key_step"}
    assert {name for name in first if fields[name].shapes_key} == set(SHAPING) - {
        "dtype"
    } | compared_apart
    later = {name: about for name, about in fields.items() if about.later}
    assert {name for name, about in later.items() if not about.shapes_key} == set(LATER_HARMLESS)
    assert all(setting_of(field).shapes_key for field in dataclasses.fields(Optimizer))


def test_names_that_other_modules_list_are_the_same_there() -> None:
    assert settings.EVALUATIONS == predict.METHODS
    assert tuple(FORMS) == settings.FORM_NAMES
