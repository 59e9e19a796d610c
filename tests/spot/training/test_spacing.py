"""When runs are evaluated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.training.jobs import Plan
from spot.training.recipe import Recipe
from spot.training.spacing import evaluation_from, evaluations


@pytest.mark.parametrize(
    ("steps", "every", "spacing", "found"),
    [
        (60, 15, "regular", [15, 30, 45, 60]),
        (70, 15, "regular", [15, 30, 45, 60, 70]),
        (240, 15, "doubling", [15, 30, 60, 120, 240]),
        (200, 15, "doubling", [15, 30, 60, 120, 200]),
        (10, 15, "doubling", [10]),
        (1, 1, "regular", [1]),
    ],
)
def test_evaluations_are_regular_or_double_and_the_last_step_is_one(
    steps: int, every: int, spacing: str, found: list[int]
) -> None:
    assert evaluations(steps, every, spacing) == found


@given(
    st.integers(1, 300),
    st.integers(1, 40),
    st.sampled_from(["regular", "doubling"]),
    st.floats(0.01, 1),
)
def test_a_step_is_one_where_the_list_says_so(
    steps: int, every: int, spacing: str, part: float
) -> None:
    plan = Plan(steps=steps, evaluate_every=every, spacing=spacing)
    assert [step for step in range(1, steps + 1) if plan.evaluates(step)] == plan.evaluations
    point = part * steps
    later = [step for step in plan.evaluations[:-1] if step >= round(point, 6)]
    assert evaluation_from(point, every, spacing) == later[0] if later else True


def test_a_recipe_says_how_its_runs_are_spaced() -> None:
    recipe = Recipe(steps=240, key_step=50, evaluate_every=15, evaluate_spacing="doubling")
    assert recipe.plan().evaluations == [15, 30, 60, 120, 240]
    assert recipe.plan(stop_at_key=True).evaluations == [15, 30, 50]
