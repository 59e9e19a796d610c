"""Damaged and hostile files: every reader reads them or refuses them in one line, within its time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(
    sys.platform != "linux", reason="children are forked, and their memory is read from /proc"
)
def test_every_reader_reads_a_damaged_file_or_refuses_it_in_one_line() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", "--seed", "0", "--each", "14"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["failures"] == []
    assert found["counts"]["refused"] + found["counts"]["read"] >= 300
