"""``--learning-rate auto`` and ``--init auto``, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spot.cli.conftest import Spot
from tests.spot.training.conftest import backbone_folder, write_task

__all__ = ["backbone_folder"]


@pytest.fixture
def short(tmp_path: Path, backbone_folder: Path, session_cache: Path) -> list[object]:
    """A task and a recipe of few steps."""
    settings = {
        "backbone": backbone_folder,
        "runs": tmp_path / "runs",
        "prompt-length": 4,
        "batch-size": 8,
        "steps": 52,
        "key-step": 20,
        "evaluate-every": 26,
        "max-input": 16,
        "max-target": 8,
    }
    given: list[object] = [write_task(tmp_path, "cues", sizes=(32, 16, 16))]
    for name, value in settings.items():
        given += [f"--{name}", value]
    return given


def test_a_rate_is_found_and_the_runs_are_those_of_who_types_it(
    spot: Spot, short: list[object], tmp_path: Path
) -> None:
    found = spot("train-source", *short, "--learning-rate", "auto", "--json")
    search = found.document["search"]
    assert search["runs"] == 0.5
    assert [one["learning_rate"] for one in search["tried"]] == [
        0.3,
        0.095,
        0.95,
        0.03,
        3.0,
        0.0095,
    ]
    assert [one["chosen"] for one in search["tried"]].count(True) == 1
    assert search["tried"][0]["losses"]["cues"][0]["step"] == 2
    rate = search["chosen"]["learning_rate"]
    assert f"learning rate {rate:g}, start vocabulary: least development loss on cues" in found.err
    assert [path.name for path in (tmp_path / "runs").glob("*/*")] == []

    again = spot("train-source", *short, "--learning-rate", "auto", "--json")
    assert (again.document["search"], again.document["runs"]) == (search, found.document["runs"])
    assert ": step " in found.err and ": step " not in again.err, "nothing trains"

    typed = spot("train-source", *short, "--learning-rate", rate, "--json")
    assert typed.document["runs"] == found.document["runs"]
    assert "search" not in typed.document
    shown = spot("train-source", *short, "--learning-rate", "auto").out
    assert "loss on cues" in shown and "chosen" in shown


def test_commands_that_do_not_search_say_who_does(spot: Spot, bank_path: Path) -> None:
    for option in ("--learning-rate", "--init"):
        line = spot("transfer", "wn_pos", "--method", "none", option, "auto").err
        assert f"{option} auto: spot train-source searches for it" in line


@pytest.mark.parametrize("value", ["fast", "0", "-1", "nan", "1e30"])
def test_a_rate_is_a_number_in_its_bounds_or_auto(value: str, spot: Spot) -> None:
    answer = spot("train-source", "wn_pos", "--learning-rate", value)
    assert answer.code == 2
    assert "--learning-rate" in answer.err
