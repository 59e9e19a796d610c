"""``spot eval`` and ``spot predict`` take prompts of their backbone from files, folders and the bank, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bank import BackboneRecord, Bank, TaskRecord
from bank.files import import_prompt
from bank.identity import by_name
from spot.backbone.load import load_backbone
from spot.prompts.write import write_prompt

Spot = Callable[..., Any]

WIDTH = 256
PROMPT = np.random.default_rng(0).normal(size=(4, WIDTH)).astype(np.float32)
ASK = ("predict", "kamo rilu", "--choices", "animal,plant")


@pytest.fixture(scope="module")
def fingerprint() -> str:
    return load_backbone("tiny").fingerprint


@pytest.mark.parametrize("name", ["prompt.npy", "prompt.safetensors", "adapter", "./adapter"])
def test_a_prompt_from_a_file_or_folder_answers(
    spot: Spot, tmp_path: Path, fingerprint: str, name: str
) -> None:
    write_prompt(tmp_path / name, PROMPT, {"fingerprint": fingerprint})
    answer = spot(*ASK, "--prompt", name)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.strip() in ("animal", "plant")


@pytest.mark.parametrize(
    "command", [ASK, ("eval", "wn_pos", "--limit", "2")], ids=lambda ask: ask[0]
)
def test_a_prompt_of_another_backbone_is_refused(
    spot: Spot, tmp_path: Path, command: tuple[str, ...]
) -> None:
    write_prompt(
        tmp_path / "other.safetensors", PROMPT, {"fingerprint": "0" * 64, "backbone": "other"}
    )
    line = spot(*command, "--prompt", "other.safetensors").error
    assert line.startswith(
        "other.safetensors: prompt was made for backbone 'other' (000000000000), not for tiny"
    )
    write_prompt(tmp_path / "wide.npy", PROMPT[:, :-1])
    assert (
        "has width 255, but backbone tiny has width 256"
        in spot(*command, "--prompt", "wide.npy").error
    )


@pytest.mark.parametrize("choices", ["bad", "bad,", "bad,bad", "bad, bad ", ",", " "])
def test_choices_that_leave_none_are_refused(spot: Spot, choices: str) -> None:
    line = spot("predict", "kamo rilu", "--choices", choices).error
    assert (
        line
        == f"--choices {choices!r}: expected two different answers or more, as in --choices yes,no"
    )


def test_a_name_that_is_no_address_is_a_path(spot: Spot, tmp_path: Path) -> None:
    assert spot(*ASK, "--prompt", "sst2").error.startswith("sst2: no such file")
    assert spot(*ASK, "--prompt", "prompt.txt").error.startswith("prompt.txt: no such file")
    assert spot(*ASK, "--prompt", "feedfeed").error.startswith("bank bank.sqlite: no such file")


def test_a_bank_that_is_not_looked_into_is_refused(spot: Spot, tmp_path: Path) -> None:
    write_prompt(tmp_path / "prompt.npy", PROMPT)
    line = spot(*ASK, "--prompt", "prompt.npy", "--bank", "bank.sqlite").error
    assert line == "--bank would not be used: the prompt is a file; leave it out"
    assert spot(*ASK, "--bank", "bank.sqlite").error.startswith(
        "--bank would not be used: there is no --prompt"
    )


@pytest.mark.filterwarnings("always::UserWarning")
def test_a_prompt_of_the_bank_is_refused_with_another_backbone(
    spot: Spot, tmp_path: Path, fingerprint: str
) -> None:
    runs = {}
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        for name, made_for in (
            ("ours", fingerprint),
            ("other", "0" * 64),
            ("named", by_name("named")),
        ):
            model = BackboneRecord(fingerprint=made_for, name=name, width=WIDTH)
            task = TaskRecord(name="t", family="f")
            runs[name] = import_prompt(bank, PROMPT + len(runs), task=task, backbone=model)[:12]
    assert spot(*ASK, "--prompt", runs["ours"]).code == 0
    line = spot(*ASK, "--prompt", runs["other"]).error
    assert line.startswith(
        f"{runs['other']}: prompt was made for backbone 'other' (000000000000), not for tiny"
    )
    assert (
        f"{runs['other']}: prompt was made for"
        in spot("train-source", "wn_pos", "--start", runs["other"]).error
    )
    named = spot(*ASK, "--prompt", runs["named"])
    assert named.code == 0
    assert "made for a backbone called 'named'" in named.err, "no more than name and width is known"


def test_a_prompt_is_read_before_the_backbone_is_loaded(spot: Spot, tmp_path: Path) -> None:
    assert spot(*ASK, "--prompt", "missing.npy", "--backbone", "./missing").error.startswith(
        "missing.npy: no such file"
    )
