"""``spot matrix``: its table is what ``spot eval`` says of each prompt and task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.spot.cli.conftest import Spot

WIDTH = 256


@pytest.fixture
def prompts(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, rng.normal(size=(4, WIDTH)).astype(np.float32))
    return ["--prompt", "a.npy", "--prompt", "b.npy"]


def test_every_prompt_is_scored_on_every_task(
    spot: Spot, prompts: list[str], tmp_path: Path
) -> None:
    few = ("--limit", "6", "--json")
    picture = ("--plot", tmp_path / "matrix.png")
    document = spot("matrix", "wn_pos", "wn_living", *prompts, *few, *picture).document
    for task in ("wn_pos", "wn_living"):
        for name in ("a.npy", "b.npy"):
            alone = spot("eval", task, "--prompt", name, *few).document
            assert document["scores"][name][task] == alone["scores"]
            assert document["most frequent answer"][task] == alone["most frequent answer"]
    assert document["examples"] == {"wn_pos": 6, "wn_living": 6}
    assert (tmp_path / "matrix.png").read_bytes()[:4] == b"\x89PNG"
    table = spot("matrix", "wn_pos", *prompts, "--limit", "6").out.splitlines()
    assert table[0] == "scores on test, at most 6 examples of a task"
    names = ["prompt", "a.npy", "b.npy", "most frequent answer"]
    assert [line.split("  ")[0] for line in table[1:]] == names


def test_the_bank_s_best_are_taken(spot: Spot, bank_path: Path) -> None:
    assert bank_path.is_file()
    line = spot("matrix", "wn_pos", "--best", "--limit", "2").error
    assert "prompt was made for backbone" in line or "has width" in line


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ((), "nothing to score: name prompts by --prompt, or take the bank's by --best"),
        (("--prompt", "a.npy", "--plot", "a.svg"), "a.svg: a picture goes into a file .png"),
        (("--prompt", "a.npy", "--plot", "none/a.png"), "none/a.png: no such folder"),
        (("--prompt", "a.npy", "--split", "tests"), "split 'tests' is not known"),
        (("--prompt", "a.npy", "--bank", "x.sqlite"), "--bank would not be used"),
    ],
)
@pytest.mark.usefixtures("prompts")
def test_what_makes_no_table_is_refused(spot: Spot, more: tuple[str, ...], complaint: str) -> None:
    assert complaint in spot("matrix", "wn_pos", *more).error
