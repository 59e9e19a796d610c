"""Errors end as one line and an exit code: 1 for what a user did, 2 for a wrong command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spot.cli.options import RecipeOptions
from spot.errors import TrainingError

Spot = Callable[..., Any]


def process(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    code = "import sys; from spot.cli.main import main; sys.argv[0] = 'spot'; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


# -- 1: what a user did --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("tasks", "sst"), "task 'sst' is not known; did you mean 'sst"),
        (("tasks", "zzzzzzzz"), "task 'zzzzzzzz' is not known; `spot tasks` lists them"),
        (("tasks", "missing.toml"), "missing.toml: no such file; `spot init-task` writes one"),
        (("train-source", "wn_poss"), "task 'wn_poss' is not known; did you mean 'wn_pos'"),
        (("transfer", "wn_poss"), "task 'wn_poss' is not known; did you mean 'wn_pos'"),
        (("eval", "sst2", "--split", "exam"), "split 'exam' is not known; choose from train, dev, test"),
        (("init-task", "reviews.csv"), "reviews.csv: a task file's name ends in .toml"),
        (("init-task", "missing/reviews.toml"), "missing/reviews.toml: No such file or directory"),
        (("retrieve",), "give either a TARGET task or --query FILE"),
        (("retrieve", "wn_pos", "--query", "q.npy"), "give either a TARGET task or --query FILE"),
        (("transfer", "wn_pos"), "bank bank.sqlite: no such file; train a source into it"),
        (("transfer", "wn_pos", "--method", "worst"), "method 'worst'"),
        (("transfer", "wn_pos", "--similarity", "euclidean"), "similarity 'euclidean' is not known"),
        (("transfer", "wn_pos", "--aggregate", "median"), "aggregate 'median'"),
        (("retrieve", "wn_pos"), "bank bank.sqlite: no such file"),
        (("bank", "runs"), "bank bank.sqlite: no such file; train a source into it"),
        (("bank", "runs", "--bank", "."), "a folder, not a file"),
        (("bank", "runs", "--bank", "nosuch://me:secret@host/db"), "no driver for it is installed"),
        (("bank", "runs", "--bank", "sqlite://bank.sqlite"), "not a database URL or path"),
        (("bank", "runs", "--bank", "postgresql://me:secret@host:port/db"), "not a database URL or path"),
        (("bank", "import", "missing.npy", "--task", "t", "--backbone", "b"), "missing.npy: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_user_s_error_is_one_line(spot: Spot, tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    line = spot(*arguments).error
    assert complaint in line
    assert "secret" not in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("show", "feedfeed"), "run 'feedfeed' is not in the bank; `spot bank runs` lists them"),
        (("export", "feedfeed", "out.npy"), "prompt 'feedfeed' is not in the bank"),
    ],
)
def test_an_unknown_name_in_a_bank_is_one_line(
    spot: Spot, bank_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    assert complaint in spot("bank", *arguments).error
    assert not (bank_path.parent / "out.npy").exists()


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TrainingError, match="preset 'nope' is not known; choose from auto, paper, quick"):
        RecipeOptions(preset="nope").recipe("tiny")


def test_an_unknown_preset_is_refused_before_anything_is_made(spot: Spot, tmp_path: Path) -> None:
    line = spot("train-source", "wn_pos", "--preset", "nope").error
    assert line == "preset 'nope' is not known; choose from auto, paper, quick"
    assert list(tmp_path.iterdir()) == []


def test_a_bank_that_is_something_else_is_one_line(spot: Spot, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("a letter to a friend\n" * 100)
    assert "file is not a database (the file is something else)" in spot("bank", "runs", "--bank", "letter.txt").error


# -- 2: a wrong command line ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("bank", "nosuch"),
        ("bank", "runs", "--nosuch"),
        ("bank", "show"),
        ("bank", "import", "prompt.npy"),
        ("transfer", "wn_pos", "--top-k", "0"),
        ("transfer", "wn_pos", "--top-k", "many"),
        ("train-source", "wn_pos", "--seeds", "0"),
        ("train-source",),
        ("retrieve", "wn_pos", "--top-k", "-1"),
        ("pretrain", "text.txt"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_two(spot: Spot, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    answer = spot(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Usage: " in answer.err
    assert "Traceback" not in answer.err
    assert list(tmp_path.iterdir()) == []


# -- the world outside ---------------------------------------------------------------------------------------


def test_the_command_itself_ends_with_one_line_and_no_traceback(tmp_path: Path) -> None:
    with process("bank", "runs", "--bank", "missing.sqlite", cwd=tmp_path) as ended:
        out, err = ended.communicate()
    assert (ended.returncode, out) == (1, b"")
    (line,) = err.decode().splitlines()
    assert line.startswith("error: bank missing.sqlite: no such file")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX pipes")
def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    with process("tasks", "--json", cwd=tmp_path) as ended:
        assert ended.stdout is not None and ended.stderr is not None
        ended.stdout.close()
        err = ended.stderr.read()
    assert err == b""
    assert ended.returncode in (1, 128 + signal.SIGPIPE)


def test_a_program_s_own_fault_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, spot: Spot, bank_path: Path
) -> None:
    def broken(_bank: object, **_filters: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("bank.listing.list_runs", broken)
    with pytest.raises(ValueError, match="a bug"):
        spot("bank", "runs")


# -- retrieve needs no backbone for a query from a file ------------------------------------------------------


def test_retrieve_refuses_a_query_that_cannot_be_compared(spot: Spot, bank_path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "long.npy", np.ones((5, 4), np.float32))
    np.save(tmp_path / "wide.npy", np.ones((3, 5), np.float32))
    np.save(tmp_path / "right.npy", np.ones((3, 4), np.float32))
    assert "it differs in length 5 (keys: 3)" in spot("retrieve", "--query", "long.npy").error
    with pytest.warns(UserWarning, match="says nothing of the recipe"):
        assert "query has shape [3, 5], keys have [3, 4]" in spot("retrieve", "--query", "wide.npy").error
    assert (
        "similarity 'euclidean' is not known"
        in spot("retrieve", "--query", "right.npy", "--similarity", "euclidean").error
    )
    assert "aggregate 'median' is not known" in spot("retrieve", "--query", "right.npy", "--aggregate", "median").error
