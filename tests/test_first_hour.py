"""``docs/first-hour.md`` works: every command and every Python block of it, in order, in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "first-hour.md"

BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

COMMAND = re.compile(r"^\$ ((?:(?!^\$ ).*\n?)+)", re.MULTILINE)


def commands() -> Iterator[tuple[str, list[str]]]:
    """What a reader would type, and the program that takes it."""
    for language, block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            yield block, [sys.executable, "-c", block]
            continue
        for command in COMMAND.findall(block):
            yield command, ["bash", "-e", "-c", command]


def test_the_page_has_commands_of_both_kinds() -> None:
    found = [arguments[0] for _, arguments in commands()]
    assert found.count("bash") > 20
    assert found.count(sys.executable) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="the page is written for a Unix shell")
def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SPOT_BA")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    printed: dict[str, str] = {}
    for command, arguments in commands():
        done = subprocess.run(
            arguments, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        printed[command.strip()] = done.stdout
    shown = next(
        output for command, output in printed.items() if command.endswith("spot tasks living.toml")
    )
    assert "'train': 64" in shown
    answers = [output.strip() for command, output in printed.items() if "spot predict" in command]
    assert len(answers) == 2
    assert set(answers) <= {"animal", "food", "person", "plant"}
    held = next(output for command, output in printed.items() if "run_transfer" in command)
    assert "living, test score over 1 seed" in held
    transfers = [output for command, output in printed.items() if command.endswith("--seeds 2")]
    assert "best of 3 restarts" in transfers[0]
