"""``spot study`` before anything trains: its example, and files that are none."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Spot = Callable[..., Any]


def test_the_example_is_toml(spot: Spot) -> None:
    answer = spot("study", "--example")
    assert answer.code == 0
    assert set(tomllib.loads(answer.out)) >= {"sources", "targets", "recipe"}


def test_without_a_file_the_command_says_how_to_get_one(spot: Spot) -> None:
    answer = spot("study")
    assert answer.code == 2
    assert "--example" in answer.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; `spot study --example` prints one"),
        ('sources = ["wn_pos"]\ntargets = ["wn_livin"]\n', "wn_living"),
        (
            'sources = ["wn_pos"]\ntargets = ["wn_living"]\n[recipe]\nstepps = 3\n',
            "recipe option 'stepps' is not known",
        ),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_trains(
    spot: Spot, tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "study.toml"
    if content:
        path.write_text(content, encoding="utf-8")
    answer = spot("study", str(path), "--bank", str(tmp_path / "new.sqlite"))
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert message in answer.err
    assert not (tmp_path / "new.sqlite").exists()
