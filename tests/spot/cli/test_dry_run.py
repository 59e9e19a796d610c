"""``--dry-run`` writes nothing and lists what a real command then trains; and what commands tell beyond scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.spot.training.conftest import backbone_folder, write_task

__all__ = ["backbone_folder"]

Spot = Callable[..., Any]


@pytest.fixture
def short(backbone_folder: Path, tmp_path: Path) -> list[str]:
    """Backbone, tasks in files and a recipe of ten steps."""
    for name in ("first", "second", "target"):
        write_task(tmp_path, name, sizes=(32, 16, 16))
    options = {"backbone": backbone_folder, "prompt-length": 4, "batch-size": 8, "steps": 10,
               "key-step": 5, "evaluate-every": 5, "max-input": 16, "max-target": 8,
               "evaluate-by": "rank"}  # fmt: skip
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def known(plan: Any, role: str) -> set[str]:
    """Digests of the runs of a role that a plan finds missing."""
    return {
        run["run"]
        for row in plan["wanted"]
        if row["role"] == role
        for run in row["runs"]
        if not run["held"]
    }


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_dry_run_writes_nothing_and_lists_what_then_trains(
    spot: Spot, short: list[str], tmp_path: Path
) -> None:
    sources = ["train-source", "first.toml", "second.toml", *short]
    before = files(tmp_path)
    plan = spot(*sources, "--dry-run", "--json").document
    assert files(tmp_path) == before
    assert plan["bank"] == "bank.sqlite"
    assert (plan["train"], plan["steps"]) == (2, 20)
    assert plan["seconds"]["low"] <= plan["seconds"]["estimate"]
    assert min(plan["bytes"].values()) > 0
    answer = spot(*sources, "--json")
    assert answer.code == 0, answer.err
    trained = answer.document
    assert {run["run"] for run in trained["runs"]} == {name[:12] for name in known(plan, "source")}

    diagnostics = trained["runs"][0]["diagnostics"]
    assert sum(diagnostics["answered"]["predicted"].values()) == 16
    assert (diagnostics["split"], diagnostics["inputs"], diagnostics["outside_share"]) == (
        "dev",
        32,
        0.0,
    )
    assert diagnostics["chance"] > 0

    before = files(tmp_path)
    shown = spot(*sources, "--seeds", "2", "--dry-run")
    assert "2 runs" in shown.out
    assert "memory: weights" in shown.out
    target = ["transfer", "target.toml", "--top-k", "1", *short]
    plan = spot(*target, "--dry-run", "--json").document
    assert [(row["role"], row["train"], row["after"]) for row in plan["wanted"]] == [
        ("baseline", 1, ""),
        ("transfer", 1, "the query"),
    ]
    assert files(tmp_path) == before

    (transfer,) = spot(*target, "--json").document["transfers"]
    assert {transfer["baseline"]["digest"]} == known(plan, "baseline")
    assert set(transfer["diagnostics"]) == {"outcome", "baseline"}
    assert transfer["diagnostics"]["baseline"]["split"] == "test"
    assert sum(transfer["diagnostics"]["outcome"]["answered"]["true"].values()) == 16
    plan = spot(*target, "--dry-run", "--json").document
    assert (plan["train"], plan["timed"]) == (0, [])

    lines = spot(*sources).out.splitlines()
    assert [line.partition(" answers (true): ")[0] for line in lines[3:5]] == [
        "first seed 0: dev",
        "second seed 0: dev",
    ]


def test_a_dry_transfer_without_a_bank_is_the_error_of_a_real_one(
    spot: Spot, short: list[str], tmp_path: Path
) -> None:
    command = ["transfer", "target.toml", *short]
    before = files(tmp_path)
    assert spot(*command, "--dry-run").error == spot(*command).error
    assert files(tmp_path) == before


def test_a_study_is_foreseen_without_a_bank_or_a_folder(
    spot: Spot, backbone_folder: Path, short: list[str], tmp_path: Path
) -> None:
    (tmp_path / "study.toml").write_text(
        'sources = ["first.toml", "second.toml"]\ntargets = ["target.toml"]\n'
        'source_seeds = 2\ntarget_seeds = 3\nk = [1]\nmethods = ["average"]\nmeasures = ["average"]\n'
        "train_limit = 16\nsizes = [8]\n[recipe]\nprompt_length = 4\nbatch_size = 8\nsteps = 10\n"
        "key_step = 5\nevaluate_every = 5\nmax_input = 16\nmax_target = 8\n",
        encoding="utf-8",
    )
    before = files(tmp_path)
    where = ["--backbone", str(backbone_folder), "--out", "tables"]
    plan = spot("study", "study.toml", *where, "--dry-run", "--json").document
    assert [(r["role"], r["task"], r["train limit"], r["train"]) for r in plan["wanted"]] == [
        ("source", "first", 0, 2),
        ("source", "second", 0, 2),
        ("baseline", "target", 16, 3),
        ("baseline", "target", 8, 3),
        ("transfer", "target", 16, 6),
        ("transfer", "target", 8, 3),
    ]
    assert files(tmp_path) == before
    assert not (tmp_path / "tables").exists()


def test_an_evaluation_tells_what_was_answered(
    spot: Spot, backbone_folder: Path, short: list[str]
) -> None:
    command = ["eval", "target.toml", "--backbone", str(backbone_folder)]
    answer = spot(*command, "--json")
    facts = answer.document["diagnostics"]
    assert (facts["split"], facts["inputs"], facts["prompt_norm"]) == ("test", 16, None)
    assert sum(facts["answered"]["true"].values()) == 16
    assert facts["answered"]["loss"] > 0
    assert spot(*command).out.splitlines()[-1].startswith("test answers (true): ")


def test_what_tasks_share_trains_with_them(spot: Spot, short: list[str], tmp_path: Path) -> None:
    sources = ["train-source", "first.toml", "second.toml", "--shared", "add", *short]
    plan = spot(*sources, "--dry-run", "--json").document
    assert [(row["train"], row["steps"]) for row in plan["wanted"]] == [(1, 10), (1, 10), (1, 0)]
    assert plan["steps"] == 20
    trained = spot(*sources, "--json").document
    assert {run["run"] for run in trained["runs"]} == {name[:12] for name in known(plan, "source")}
