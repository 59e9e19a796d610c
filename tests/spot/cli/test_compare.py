"""``spot compare``: a table, JSON, a picture, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spot.cli.conftest import Spot

SHORT = (
    "--steps", 2, "--key-step", 1, "--evaluate-every", 2, "--batch-size", 4, "--prompt-length", 4, "--max-input", 16,
    "--train-limit", 16, "--dev-limit", 4,
)  # fmt: skip


def test_systems_stand_side_by_side(spot: Spot, tmp_path: Path) -> None:
    ask = ("compare", "wn_usage", "--bank", "new.sqlite", *SHORT)
    systems = ("--system", "most frequent answer", "--system", "prompt tuning")
    picture = ("--plot", tmp_path / "systems.png")
    document = spot(*ask, *systems, *picture, "--json").document
    frequent, tuning = document["systems"]
    assert (frequent["system"], tuning["system"]) == ("most frequent answer", "prompt tuning")
    assert frequent["low"] <= frequent["score"] <= frequent["high"]
    assert (frequent["trained"], tuning["trained"]) == (0, 4 * 256)
    assert tuning["kept bytes"] == 4 * 4 * 256
    assert (tmp_path / "systems.png").read_bytes()[:4] == b"\x89PNG"
    again = spot(*ask, *systems)
    assert "wn_usage test, 1 seed" in again.out
    assert "prompt tuning" in again.out
    assert f"prompt tuning: {tuning['score']:.2f} [" in again.err, "as soon as it is known"


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--system", "prompttuning"), "did you mean 'prompt tuning'"),
        (("--plot", "none/x.png"), "no such folder"),
        (("--system", "multi-task model tuning"), "name others by --beside"),
        (
            ("--system", "zero-shot", "--shots", "3"),
            "--shots would not be used: no system that is compared is shown worked examples",
        ),
        (
            ("--system", "few-shot", "--top-k", "2"),
            "--top-k would not be used: no system that is compared starts from sources",
        ),
        (("--system", "SPoT", "--tuning-rate", "0.1"), "no system that is compared trains all"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    spot: Spot, more: tuple[str, ...], complaint: str
) -> None:
    assert complaint in spot("compare", "wn_usage", *more).error
