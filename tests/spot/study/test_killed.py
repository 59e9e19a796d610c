"""A study that is killed and started again ends with the tables of one left alone, and loses little."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bank import Bank
from bank.integrity import verify
from bank.listing import list_runs
from tests.spot.training.conftest import write_task
from tests.spot.training.test_killed import progress

EVERY, STEPS = 50, 400

PLAN = """\
sources = ["{first}", "{second}"]
targets = ["{target}"]
source_seeds = 2
target_seeds = 2
k = [1]
measures = ["average", "trial"]

[recipe]
prompt_length = 4
batch_size = 8
steps = {steps}
key_step = 100
evaluate_every = {every}
max_input = 16
max_target = 8
learning_rate = 0.05
"""


@pytest.fixture
def command(tmp_path: Path, backbone_folder: Path) -> list[str]:
    """``spot study``, without bank, run folder and output."""
    paths = {name: write_task(tmp_path, name) for name in ("first", "second", "target")}
    plan = tmp_path / "study.toml"
    plan.write_text(PLAN.format(**paths, steps=STEPS, every=EVERY), encoding="utf-8")
    program = "from spot.cli.main import main; main()"
    return [
        sys.executable,
        "-c",
        program,
        "study",
        str(plan),
        "--no-plots",
        "--backbone",
        str(backbone_folder),
    ]


def tables(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_a_killed_study_goes_on_from_its_last_evaluation_to_the_same_tables(
    command: list[str], tmp_path: Path
) -> None:
    left = [
        "--bank",
        str(tmp_path / "left.sqlite"),
        "--runs",
        str(tmp_path / "unused"),
        "--out",
        str(tmp_path / "left"),
    ]
    subprocess.run([*command, *left], check=True, capture_output=True, timeout=600)
    runs, bank = tmp_path / "runs", tmp_path / "killed.sqlite"
    exposed = [
        *command,
        "--bank",
        str(bank),
        "--runs",
        str(runs),
        "--out",
        str(tmp_path / "killed"),
    ]
    exposed += ["--checkpoint-seconds", "1e9"]  # leaves evaluations as the only occasions
    for wanted in (2, 3):
        seen = 0
        with subprocess.Popen(
            [*exposed], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                found = re.search(rf"step (\d+)/{STEPS} .*score", line)
                seen += bool(found)
                if found and seen >= 4 * wanted and int(found[1]) < STEPS - 2 * EVERY:
                    process.kill()
                    break
            process.wait()
        assert process.returncode == -signal.SIGKILL, "the study was over before it could be killed"
        assert found is not None
        assert progress(runs) >= int(found[1]) - EVERY
    subprocess.run(exposed, check=True, capture_output=True, timeout=600)
    assert tables(tmp_path / "killed") == tables(tmp_path / "left")
    assert list(runs.iterdir()) == []
    with Bank.open(bank, create=False) as opened:
        assert verify(opened) == []
        assert len(list_runs(opened.engine)) == 10
