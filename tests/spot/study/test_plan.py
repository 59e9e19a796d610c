"""A study file: what it may say, and what is wrong with one that says something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from spot.cli.study import recipe_options
from spot.errors import SpotError
from spot.study.plan import EXAMPLE, read_plan
from tasks import get_learnable

LEAST = 'sources = ["a", "b"]\ntargets = ["c"]\n'


def plan_file(folder: Path, content: str) -> Path:
    path = folder / "study.toml"
    path.write_text(content, encoding="utf-8")
    return path


def test_the_example_is_a_plan_with_a_recipe_that_commands_know(tmp_path: Path) -> None:
    plan = read_plan(plan_file(tmp_path, EXAMPLE))
    assert (plan.source_seeds, list(plan.sizes)) == (3, [32, 512])
    assert recipe_options(plan.recipe, "study.toml: recipe").recipe("tiny").steps == 60


def test_sources_and_targets_are_enough(tmp_path: Path) -> None:
    plan = read_plan(plan_file(tmp_path, LEAST))
    assert (list(plan.sources), list(plan.targets), list(plan.k)) == (["a", "b"], ["c"], [1, 3])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sources = [", "not TOML"),
        ('sources = ["a"]', "no targets"),
        (LEAST + "seeds = 3", "key 'seeds' is not known"),
        (LEAST + "targetseeds = 3", "did you mean 'target_seeds'"),
        (LEAST + 'k = "1"', "k must be a list"),
        (LEAST + "k = [true]", "k must hold whole numbers"),
        (LEAST + "k = [0]", "must be at least 1"),
        (LEAST + "k = []", "k is empty"),
        (LEAST + "target_seeds = true", "target_seeds must be a int"),
        (LEAST + 'measures = ["euclidean"]', "'euclidean' is not known"),
        (
            LEAST + 'methods = ["best"]',
            "method 'best' is not known; choose from average, weights, attention, mixture",
        ),
        (LEAST + 'generic = "z"', "not among the sources"),
        (LEAST + "k = [" + "9" * 5000 + "]", "too many digits"),
        (LEAST + "sizes = [0xfffffffff]", "at most 2147483647"),
        (LEAST + "target_seeds = 1000000000", "seeds must be at most 10000"),
        ("sources = " + "[" * 100_000, "nested too deeply"),
        ("a." * 20_000 + "a = 1", "a key of too many parts"),
        (LEAST + "restarts = -1", "restarts and random_sources must be 0 to"),
        (LEAST + "restarts = 4", "give curve_limit in target_recipe"),
        (LEAST + "restarts = true", "restarts must be a int"),
        (LEAST + "untrained = 1", "untrained must be a bool"),
        (LEAST + 'oracle_targets = ["z"]', "oracle_targets: 'z' is not among the targets"),
        (LEAST + "oracle = false", "all methods but those at budgets are read off its runs"),
        (
            LEAST + 'oracle = false\noracle_targets = ["c"]',
            "oracle = false, but oracle_targets name some",
        ),
        (LEAST + 'size_targets = ["a"]', "size_targets: 'a' is not among the targets"),
        ('sources = [1]\ntargets = ["c"]', "sources must hold texts"),
        (LEAST + "sizes = [8, 8]", "sizes has 8 twice; name each once"),
        (LEAST + 'measures = ["average", "average"]', "measures has 'average' twice"),
        ('sources = ["a"]\ntargets = ["c", "c"]', "targets has 'c' twice"),
        (LEAST + "train_limit = 8\nsizes = [8]", "which is train_limit and tried anyway"),
        (LEAST + "[target_recipe]\ntrain_limit = 8", "give it at the top of the file"),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    path = plan_file(tmp_path, content)
    with pytest.raises(SpotError, match=message) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "at_budgets"),
    [
        ("train_limit = 64", False), ("restarts = 4", True), ("random_sources = 3", True), ("untrained = true", True),
        ('oracle_targets = ["c"]', True),
    ],
)  # fmt: skip
def test_a_study_is_at_budgets_where_a_row_asks_for_it(
    tmp_path: Path, line: str, at_budgets: bool
) -> None:
    curves = "\n[target_recipe]\ncurve_limit = 9\n"
    assert read_plan(plan_file(tmp_path, LEAST + line + curves)).at_budgets is at_budgets


@pytest.mark.parametrize("name", ["embedded", "smollm2", "smollm2_short", "smollm2_linear"])
def test_the_studies_of_the_documentation_are_plans_of_known_tasks(name: str) -> None:
    path = Path(__file__).parents[3] / "docs" / "study" / f"{name}.toml"
    plan = read_plan(path)
    assert plan.at_budgets is (name != "embedded")
    assert not set(plan.sources) & set(plan.targets) or name == "embedded"
    for task in [*plan.sources, *plan.targets]:
        get_learnable(task)
    for given in (plan.recipe, plan.target_recipe):
        recipe_options(given, str(path)).check()


def test_an_option_that_recipes_do_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SpotError, match="recipe option 'stepps' is not known; did you mean 'steps'"
    ):
        recipe_options({"stepps": 3}, "study.toml: recipe")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"steps": "x"}, "recipe.steps is 'x'; expected int"),
        ({"prompt_length": [1]}, r"recipe.prompt_length is \[1\]; expected int"),
        ({"prompt_length": True}, "recipe.prompt_length is True; expected int"),
        ({"steps": 16**9000}, "recipe.steps is "),
        ({"learning_rate": float("nan")}, "recipe.learning_rate is nan; expected 0 to"),
        ({"batch_size": 0}, "recipe.batch_size is 0; expected 1 to"),
        ({"init": {}}, "recipe.init is {}; expected str"),
    ],
)
def test_an_option_of_another_kind_or_size_is_refused(
    tmp_path: Path, recipe: dict[str, object], message: str
) -> None:
    with pytest.raises(SpotError, match=message):
        recipe_options(recipe, "study.toml: recipe")


def test_a_whole_number_is_a_number(tmp_path: Path) -> None:
    assert recipe_options({"learning_rate": 1}, "study.toml: recipe").learning_rate == 1
