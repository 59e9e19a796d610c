"""A recipe's family follows from its options, and what differs between two recipes can be said."""

from __future__ import annotations

from typing import Any

import pytest

from bank.identity import differing, digest, recipe_family

OPTIONS: dict[str, Any] = {
    "prompt_length": 16, "init": "vocabulary", "batch_size": 16, "steps": 60, "key_step": 30, "evaluate_every": 20,
    "optimizer": {
        "name": "adafactor", "learning_rate": 0.3, "schedule": "constant", "warmup_steps": 0, "weight_decay": 1e-05,
        "scale_by_parameter": False, "factored": False,
    },
    "patience": 0, "max_input": 128, "max_target": 16, "train_limit": 0, "dev_limit": 200, "evaluate_by": "auto",
    "dtype": "float32",
}  # fmt: skip

FAMILY = "610a0affffbd5dd0b86cb415c2ce1f300645b1562c1b3a308adedd73ef32e450"
"""As the first release computed it."""


def test_a_family_is_that_of_the_first_release() -> None:
    assert recipe_family(OPTIONS) == FAMILY


def test_an_option_that_came_later_makes_another_family() -> None:
    assert recipe_family(OPTIONS | {"dropout": 0.1}) not in (
        FAMILY,
        recipe_family(OPTIONS | {"z_loss": 0.1}),
    )


def test_one_that_came_later_and_shapes_no_key_makes_none() -> None:
    later = OPTIONS | {"evaluate_spacing": "doubling", "curve_limit": 200}
    assert recipe_family(later) == FAMILY
    assert differing(OPTIONS, later) == {}


def test_what_comes_after_the_key_makes_none_but_under_a_decaying_schedule() -> None:
    assert recipe_family(OPTIONS | {"steps": 90, "patience": 3, "dev_limit": 0}) == FAMILY
    decaying = OPTIONS | {"optimizer": OPTIONS["optimizer"] | {"schedule": "linear"}}
    assert recipe_family(decaying) != recipe_family(decaying | {"steps": 90})


def test_options_of_no_recipe_have_no_family() -> None:
    with pytest.raises(KeyError):
        recipe_family({"imported": True})


def test_the_options_that_keep_keys_apart_are_named() -> None:
    other = OPTIONS | {"key_step": 100, "max_input": 64, "steps": 90, "dropout": 0.1}
    assert differing(OPTIONS, other) == {
        "key_step": (30, 100),
        "max_input": (128, 64),
        "dropout": (None, 0.1),
    }
    other = OPTIONS | {"optimizer": {"name": "adamw", "learning_rate": 0.1, "schedule": "linear"}}
    assert differing(OPTIONS, other) == {
        "optimizer": ("adafactor", "adamw"),
        "learning_rate": (0.3, 0.1),
        "schedule": ("constant", "linear"),
        "warmup_steps": (0, None),
        "weight_decay": (1e-05, None),
        "scale_by_parameter": (False, None),
        "factored": (False, None),
        "steps": (None, 60),
    }
    assert differing(OPTIONS, OPTIONS | {"patience": 3}) == {}
    assert differing({"imported": True}, {"imported": True}) == {}


def test_a_digest_does_not_depend_on_the_order_of_options() -> None:
    assert digest(OPTIONS) == digest(dict(reversed(OPTIONS.items())))
