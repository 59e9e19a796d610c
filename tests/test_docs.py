"""The documentation says what the program does."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from bank import Bank, RunIdentity, RunRecord, SnapshotRecord, TaskRecord
from spot.backbone.load import load_backbone
from spot.cli.reference import reference
from spot.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_command_reference_is_that_of_todays_commands():
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == reference()


def test_every_command_named_in_the_readme_exists():
    known = set(re.findall(r"^## (spot [a-z -]+)$", reference(), re.MULTILINE))
    named = set(re.findall(r"^\$ (spot (?:(?:bank|analyze) )?[a-z-]+)", README, re.MULTILINE))
    assert named <= known and len(named) > 5


def test_every_file_linked_from_the_readme_exists():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links)


def test_the_wheel_lists_every_package_and_no_tests():
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("spot", "bank", "tasks")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert listed == found


def test_the_readmes_ranking_runs_on_a_bank(tmp_path):
    backbone = load_backbone("tiny")
    recipe = Recipe(
        prompt_length=16,
        batch_size=16,
        steps=60,
        key_step=30,
        evaluate_every=20,
        max_input=128,
        max_target=16,
        dev_limit=200,
    )
    rng = np.random.default_rng(0)
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        for name in ("a", "b", "c", "d"):
            prompt = rng.normal(size=(16, backbone.width)).astype(np.float32)
            identity = RunIdentity(
                recipe=recipe.record(backbone),
                task=TaskRecord(name=name, family="f"),
                seed=0,
                role="source",
            )
            bank.record_run(
                RunRecord(
                    identity=identity,
                    steps=60,
                    metric="score",
                    score=50.0,
                    key=SnapshotRecord(prompt=prompt, step=30),
                    value=SnapshotRecord(prompt=prompt + 1, step=60),
                )
            )
    _, example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.endswith("(16, 256)") for line in lines)


def test_the_readmes_eight_lines_are_those_of_the_first_hour():
    eight, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    lines = [line for line in eight.splitlines() if line]
    assert len(lines) <= 8
    page = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8")
    assert eight.replace("mine", "living").replace("smollm2", "tiny") in page


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "spiece.model", "README.md"])
def test_the_embedded_backbone_comes_with_its_card(name):
    assert (ROOT / "spot" / "assets" / "tiny" / name).exists()
