"""``spot analyze``: tables, JSON and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spot.prompts.write import write_prompt
from tests.spot.cli.conftest import Spot

WIDTH = 256


@pytest.fixture(autouse=True)
def _prompts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, length in (("a.npy", 4), ("b.npy", 4), ("c.npy", 3)):
        np.save(tmp_path / name, rng.normal(size=(length, WIDTH)).astype(np.float32))
    deep = rng.normal(size=(4, 4, WIDTH)).astype(np.float32)
    write_prompt(tmp_path / "deep.safetensors", deep, {"recipe": '{"form": "deep"}'})


def test_neighbours_are_told_of_every_token(spot: Spot) -> None:
    ask = ("analyze", "neighbours", "--prompt", "a.npy", "--count", "2", "--words", "noun, verb")
    document = spot(*ask, "--json").document
    assert [row["token"] for row in document["tokens"]] == [1, 2, 3, 4]
    assert all(len(row["pieces"]) == 2 for row in document["tokens"])
    assert set(document["tokens near to label words"]) == {"noun", "verb"}
    table = spot(*ask).out
    assert "of random vectors; 0 of 4 tokens share theirs" in table
    assert "noun: near to " in table


def test_edits_are_scored_beside_the_prompt_itself(spot: Spot, tmp_path: Path) -> None:
    few = ("--limit", "6", "--split", "test", "--json")
    rows = spot("analyze", "edits", "wn_pos", "--prompt", "a.npy", *few).document["edits"]
    masks = ["prompt sees no text", "text sees no prompt"]
    drops = [f"drop {i}" for i in range(1, 5)]
    names = ["none", "shuffle", "reverse", "discretise", *masks, *drops]
    assert [row["edit"] for row in rows] == names
    np.save(tmp_path / "back.npy", np.load(tmp_path / "a.npy")[::-1])
    for row, name in ((rows[0], "a.npy"), (rows[2], "back.npy")):
        alone = spot("eval", "wn_pos", "--prompt", name, "--limit", "6", "--json").document
        assert row["score"] == alone["scores"]["score"]
        assert row["change"] == row["score"] - rows[0]["score"]
    table = spot("analyze", "edits", "wn_pos", "--prompt", "a.npy", *few[:4], "--edit", "reverse")
    assert len(table.out.splitlines()) == 4


def test_a_line_begins_and_ends_at_its_prompts(spot: Spot, tmp_path: Path) -> None:
    pair = ("--prompt", "a.npy", "--prompt", "b.npy", "--limit", "6")
    ask = ("analyze", "line", "wn_pos", *pair, "--points", "3")
    document = spot(*ask, "--plot", tmp_path / "line.png", "--json").document
    assert document["shares"] == [0.0, 0.5, 1.0]
    assert (tmp_path / "line.png").read_bytes()[:4] == b"\x89PNG"
    ends = spot("eval", "wn_pos", *pair, "--split", "dev", "--json").document["prompts"]
    assert [document["scores"][end] for end in (0, -1)] == [end["scores"]["score"] for end in ends]


def test_units_overlap_with_themselves(spot: Spot) -> None:
    document = spot("analyze", "units", "--prompt", "a.npy", "--prompt", "c.npy", "--json").document
    (one, other), (back, itself) = document["overlap"]
    assert (round(one, 12), round(itself, 12)) == (1.0, 1.0)
    assert 0 < other == back < 1
    assert all(0 < share < 1 for share in document["share that fires"])


def test_norms_are_told_along_training(spot: Spot) -> None:
    held = ("--bank", "b.sqlite")
    quick = ("--prompt-length", "4", "--batch-size", "4", "--dev-limit", "6", "--train-limit", "16")
    spot("train-source", "wn_pos", *quick, "--steps", "4", "--evaluate-every", "2", *held)
    (run,) = spot("analyze", "norms", "wn_pos@best", *held, "--json").document
    assert [row["step"] for row in run["norms"]] == [2, 4]
    evaluated = spot("eval", "wn_pos", "--prompt", "wn_pos@best", "--limit", "2", *held, "--json")
    told = evaluated.document["diagnostics"]["prompt_norm"]
    assert min(abs(row["norm"] - told) for row in run["norms"]) < 1e-6 * told
    assert "norm" in spot("analyze", "norms", "wn_pos@best", *held).out
    spot("bank", "import", "a.npy", "--task", "other", "--backbone", "tiny", *held)
    assert "its history tells no norms" in spot("analyze", "norms", "other@latest", *held).error


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (("neighbours",), "no prompt to look into; name one by --prompt"),
        (("units",), "no prompt to look into; name some by --prompt"),
        (("edits", "wn_pos", "--prompt", "a.npy", "--edit", "revers"), "did you mean 'reverse'"),
        (("edits", "wn_pos", "--prompt", "a.npy", "--split", "x"), "split 'x' is not known"),
        (
            ("edits", "wn_pos", "--prompt", "deep.safetensors", "--edit", "mask", "--limit", "2"),
            "--edit mask: there is no such edit of a prompt of the form deep, 4 tokens long",
        ),
        (("line", "wn_pos", "--prompt", "a.npy"), "a line is between two prompts; give"),
        (("line", "wn_pos", "--prompt", "a.npy", "--prompt", "c.npy"), "of one form and length"),
    ],
    ids=str,
)
def test_what_cannot_be_looked_into_is_refused(
    spot: Spot, ask: tuple[str, ...], complaint: str
) -> None:
    assert complaint in spot("analyze", *ask).error
