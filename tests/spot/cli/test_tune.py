"""``spot tune``: a model that learnt a task, which every other command takes as a backbone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.spot.cli.conftest import Spot

SHORT = (
    "--steps", 2, "--evaluate-every", 1, "--batch-size", 4, "--max-input", 16, "--train-limit", 16, "--dev-limit", 4,
)  # fmt: skip


def test_a_tuned_model_is_a_backbone_of_its_own(spot: Spot, tmp_path: Path) -> None:
    ask = ("tune", "wn_usage", "--folder", "tuned", *SHORT)
    document = spot(*ask, "--json").document
    assert (document["task"], len(document["history"])) == ("wn_usage", 2)
    model = ("--backbone", document["model"])
    few = ("wn_usage", "--limit", "8", "--json")
    alone = spot("eval", *few, *model).document
    table = spot("matrix", *few, *model, "--bare").document
    assert table["scores"] == {"bare backbone": {"wn_usage": alone["scores"]}}
    again = spot(*ask)
    assert again.out.startswith(f"dev {document['dev']['score']:.2f}; model in tuned/model")
    other = spot("tune", "wn_usage", "--folder", "tuned", "--seed", "1", *SHORT)
    assert "holds another training (tuning.json says which)" in other.error
    assert "holds another training" in spot(*ask, "--dtype", "bfloat16").error
    assert json.loads((tmp_path / "tuned" / "tuning.json").read_text())["seed"] == 0


def test_several_tasks_are_told_apart_by_their_names(spot: Spot) -> None:
    document = spot("tune", "wn_pos", "wn_usage", "--folder", "both", *SHORT, "--json").document
    assert document["task"] == "wn_pos+wn_usage"


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--prompt-length", "4"), "--prompt-length would not be used: all weights train"),
        (("--learning-rate", "1"), "--learning-rate would not be used: all weights train"),
        (("--backbone", "./none"), "no such model"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    spot: Spot, tmp_path: Path, more: tuple[str, ...], complaint: str
) -> None:
    assert complaint in spot("tune", "wn_usage", "--folder", "tuned", *more).error
    assert not (tmp_path / "tuned" / "model").exists()


def test_a_model_that_is_one_file_becomes_a_folder(spot: Spot, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from tests.spot.backbone.test_gguf_file import write

    write(tmp_path / "model.gguf")
    ask = ("tune", "wn_usage", "--folder", "tuned", "--backbone", "./model.gguf", *SHORT)
    model = spot(*ask, "--json").document["model"]
    few = ("wn_usage", "--limit", "4", "--max-input", "16", "--json")
    assert spot("eval", *few, "--backbone", model).document["scores"]
