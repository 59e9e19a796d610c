"""Every command explains itself, and shells complete it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

import spot as package
from spot.cli.app import make_app

Spot = Callable[..., Any]


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that does something, as words after ``spot``."""
    inner = getattr(command, "commands", None)
    if not inner:
        yield path
        return
    for name, child in inner.items():
        yield from commands(child, (*path, name))


ALL = sorted(commands(typer.main.get_command(make_app())))


def test_the_commands_are_the_known_ones() -> None:
    bank = {"tasks", "runs", "show", "prompts", "transfers", "verify", "export", "import"}
    top = {
        "train-source",
        "transfer",
        "retrieve",
        "pretrain",
        "eval",
        "predict",
        "doctor",
        "embed",
        "tasks",
        "init-task",
    }
    assert {("bank", name) for name in bank} | {(name,) for name in top} <= set(ALL)


@pytest.mark.parametrize("command", [(), *ALL], ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_shows_an_example(spot: Spot, command: tuple[str, ...], option: str) -> None:
    answer = spot(*command, option)
    assert (answer.code, answer.err) == (0, "")
    words = " ".join(answer.out.split())
    assert f"Example: spot {' '.join(command)}" in words
    assert "Usage: " in words


DOCUMENTS = {("bank", "show"): "JSON", ("bank", "card"): "Markdown", ("demo",): "a story"}
"""Commands that print one kind of document, and which."""


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_programs_may_ask_for_json(spot: Spot, command: tuple[str, ...]) -> None:
    assert ("--json" in spot(*command, "--help").out) == (command not in DOCUMENTS)


def test_a_group_without_a_command_prints_its_help(spot: Spot) -> None:
    for group in ((), ("bank",)):
        answer = spot(*group)
        assert answer.code == 2
        assert "Usage: " in answer.out + answer.err


def test_the_version_is_the_package_s(spot: Spot) -> None:
    answer = spot("--version")
    assert (answer.code, answer.out) == (0, f"spot {package.__version__}\n")


def test_the_module_of_the_command_needs_no_heavy_import() -> None:
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, spot.cli.main; print('jax' in sys.modules, 'numpy' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "False False\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("spot ba", {"bank"}),
        ("spot bank ", {name for _, name in (c for c in ALL if c[0] == "bank")}),
        ("spot t", {"tasks", "transfer", "train-source", "tune"}),
        ("spot bank runs --ro", {"--role"}),
    ],
)
def test_bash_completes_commands_and_options(words: str, expected: set[str]) -> None:
    variables = {
        "_SPOT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['spot']; from spot.cli.main import main; main()",
        ],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(answer.stdout.split()) == expected
    assert answer.stderr == ""


def test_the_completion_script_is_printed() -> None:
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['spot']; from spot.cli.main import main; main()",
        ],
        env=os.environ | {"_SPOT_COMPLETE": "source_bash"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_SPOT_COMPLETE=complete_bash" in answer.stdout
    assert "complete -o default -F _spot_completion spot" in answer.stdout
