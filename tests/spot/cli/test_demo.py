"""The demo: files as a user has them, and commands that exist. The whole of it runs by ``make demo``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spot.cli import demo
from spot.cli.reference import reference
from spot.errors import BackboneError, SpotError
from tasks import Split, get_task


def test_its_task_is_read_from_its_files(tmp_path: Path) -> None:
    demo.write_task(tmp_path)
    task = get_task(str(tmp_path / "living.toml"))
    for split in Split:
        examples = task.examples(split)
        assert len(examples) == demo.ROWS[split.value]
        assert all(len(e.inputs) <= len("definition: ") + demo.LONGEST for e in examples)
        assert {example.target for example in examples} == {"animal", "food", "person", "plant"}


@pytest.mark.parametrize("backbone", list(demo.WORLDS))
def test_every_command_and_option_of_it_exists(
    backbone: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given: list[tuple[str, ...]] = []
    monkeypatch.setattr(demo, "spot", lambda *arguments: given.append(arguments))
    demo.demo(backbone, tmp_path / "here")
    assert [arguments[0] for arguments in given][1:] == ["transfer", "predict"]
    pages = dict(
        re.findall(r"^## (spot [a-z -]+)\n(.*?)(?=^## |\Z)", reference(), re.MULTILINE | re.DOTALL)
    )
    for arguments in given:
        words = 2 if arguments[0] == "bank" else 1
        page = pages["spot " + " ".join(arguments[:words])]
        for option in (word for word in arguments if word.startswith("--")):
            assert option in page
        assert str(tmp_path / "here" / "bank.sqlite") in arguments
    assert "next, try" in capsys.readouterr().out


def test_without_the_package_it_takes_the_embedded_model_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> Path:
        raise BackboneError(f"{name} is not installed")

    monkeypatch.setattr("spot.backbone.load.find_model", missing)
    assert demo.installed() == "tiny"
    assert "smollm2 is not installed" in capsys.readouterr().out


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpotError, match="smollm2, tiny"):
        demo.demo("gpt", tmp_path)
