"""A process that is killed without warning, and started again, ends with the bits of one left alone."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import flax.serialization
import pytest

from bank import Bank
from bank.integrity import verify
from bank.listing import list_runs, show_run
from spot.training.checkpoint import DIGEST
from tests.spot.training.conftest import write_task

STEPS = 1500
KILLS = 3


def progress(runs: Path) -> int:
    """The step of the only checkpoint below ``runs``; 0 where there is none yet."""
    for path in runs.glob("*/checkpoint.msgpack"):
        try:
            content = flax.serialization.msgpack_restore(path.read_bytes()[DIGEST:])
        except FileNotFoundError:  # the run has just ended
            break
        return max(
            (slot["progress"]["step"] for slot in json.loads(content["notes"])["slots"].values()),
            default=0,
        )
    return 0


def outcome(bank: Path) -> tuple[str, str | None, object]:
    """Addresses of value and key, and the history, of a bank's only run."""
    with Bank.open(bank, create=False) as opened:
        (row,) = list_runs(opened.engine)
        shown = show_run(opened.engine, row["run"])
        run = opened.run(shown["run"])
        assert run is not None
        assert verify(opened) == []
        return run.value, run.key, shown["history"]


@pytest.fixture
def command(tmp_path: Path, backbone_folder: Path) -> list[str]:
    """``spot train-source``, without bank and run folder."""
    task = write_task(tmp_path, "cues")
    program = "from spot.cli.main import main; main()"
    options = {
        "backbone": backbone_folder,
        "prompt-length": 4,
        "batch-size": 8,
        "steps": STEPS,
        "key-step": 700,
        "evaluate-every": 50,
        "max-input": 16,
        "max-target": 8,
        "learning-rate": 0.05,
        "first-seed": 3,
    }
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return [sys.executable, "-c", program, "train-source", str(task), *given]


def test_runs_killed_at_random_moments_end_with_the_bits_of_one_left_alone(
    command: list[str], tmp_path: Path
) -> None:
    rng = random.Random()
    runs, bank = tmp_path / "runs", tmp_path / "killed.sqlite"
    exposed = [*command, "--bank", str(bank), "--runs", str(runs), "--checkpoint-seconds", "0"]
    left = [*command, "--bank", str(tmp_path / "left.sqlite"), "--runs", str(tmp_path / "unused")]
    subprocess.run(left, check=True, capture_output=True, timeout=600)
    reached: list[int] = []
    for kill in range(KILLS):
        # far from the end, which must not be missed
        target = rng.randint(STEPS * kill // 5, STEPS * (kill + 1) // 5)
        with subprocess.Popen(exposed, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and progress(runs) <= max(target, *reached, 0):
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.02))
            process.kill()
            process.wait()
        assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
        reached.append(progress(runs))
    assert 0 < reached[0] < reached[-1] < STEPS
    subprocess.run(exposed, check=True, capture_output=True, timeout=600)
    assert outcome(bank) == outcome(tmp_path / "left.sqlite")
    assert list(runs.iterdir()) == []
