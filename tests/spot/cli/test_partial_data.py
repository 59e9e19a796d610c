"""Scores on splits that were cut because published parts are missing are marked wherever they are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.official import write_official_files

Spot = Callable[..., Any]

SHORT = ("--steps", 4, "--key-step", 2, "--evaluate-every", 2, "--prompt-length", 2, "--max-input", 32,
         "--train-limit", 16, "--dev-limit", 8)  # fmt: skip


@pytest.fixture(scope="module")
def partial_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which published parts are missing."""
    return write_official_files(tmp_path_factory.mktemp("partial"), partial=True)


def test_a_missing_part_stops_a_command_with_one_line(spot: Spot, partial_files: Path) -> None:
    line = spot("train-source", "ag_news", "--data-dir", partial_files, *SHORT).error
    assert line.startswith(f"{partial_files}/ag_news/test.tsv: no such file, the part test")
    assert line.endswith("or cut all splits from what is there (train) by --allow-partial-data")
    assert "glue/QNLI/train.tsv" in spot("tasks", "qnli", "--data-dir", partial_files).error


def test_partial_data_is_marked_in_every_table_and_document(
    spot: Spot, partial_files: Path
) -> None:
    where = ("--data-dir", partial_files, "--allow-partial-data")
    trained = spot("train-source", "ag_news", "mr", *where, *SHORT)
    assert "ag_news: partial data;" in trained.err
    assert "mr: partial data" not in trained.err
    marked = {
        line.split()[0]: line.endswith("partial data") for line in trained.out.splitlines()[1:3]
    }
    assert marked == {"ag_news": True, "mr": False}
    again = spot("train-source", "ag_news", "mr", *where, *SHORT, "--json").document["runs"]
    assert [run["partial_data"] for run in again] == [True, False]

    listed = spot("bank", "runs", "--json").document["runs"]
    assert {run["task"]: run["partial_data"] for run in listed} == {"ag_news": True, "mr": False}
    assert spot("bank", "runs").out.count("partial data") == 1
    assert spot("bank", "show", again[0]["run"]).document["environment"]["partial data"] is True
    assert spot("bank", "verify").code == 0

    (found,) = spot("transfer", "snli", *where, *SHORT, "--top-k", 1, "--json").document[
        "transfers"
    ]
    assert found["partial_data"] is True
    shown = spot("transfer", "snli", *where, *SHORT, "--top-k", 1)
    assert "partial data" in shown.out
    (row,) = spot("bank", "transfers", "--json").document["transfers"]
    assert row["partial_data"] is True
    assert "partial data" in spot("bank", "transfers").out


def test_partial_data_is_marked_where_a_task_is_shown_and_a_prompt_scored(
    spot: Spot, partial_files: Path, official_files: Path
) -> None:
    where = ("--data-dir", partial_files, "--allow-partial-data")
    assert spot("tasks", "qnli", *where, "--json").document["partial_data"] is True
    assert (
        "partial_data"
        not in spot(
            "tasks", "qnli", "--data-dir", official_files, "--allow-partial-data", "--json"
        ).document
    )
    scored = spot("eval", "qnli", *where, "--limit", 4, "--json").document
    assert scored["partial_data"] is True
    assert "partial data" in spot("eval", "qnli", *where, "--limit", 4).out
