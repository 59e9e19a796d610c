"""Training in other processes: what they leave, and what is left of them when somebody is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bank import Bank
from bank.integrity import verify
from bank.listing import list_runs, show_run
from spot.errors import TrainingError
from spot.transfer.processes import ProcessExecutor
from spot.transfer.runs import Trainer
from tasks import get_task
from tests.closeness import assert_close
from tests.spot.training.conftest import write_task
from tests.spot.transfer.conftest import World

STEPS, EVERY = 1600, 100


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def trainer(world: World, said: list[str]) -> Iterator[Trainer]:
    executor = ProcessExecutor(world.bank, workers=2, say=said.append)
    yield Trainer(
        world.bank,
        world.trainer.backbone,
        world.trainer.recipe,
        executor=executor,
        folder=world.runs,
    )


def test_what_processes_train_is_what_one_trains_and_their_lines_are_passed_on(
    trainer: Trainer, world: World, said: list[str], tmp_path: Path
) -> None:
    specs = [trainer.spec(world.target, seed, "source") for seed in (3, 4)]
    runs = trainer.run_all(specs)
    with Bank.open(tmp_path / "alone.sqlite") as bank:
        local = Trainer(bank, trainer.backbone, trainer.recipe, slots=1)
        alone = [local.run(world.target, seed=seed, role="source") for seed in (3, 4)]
        for run, other in zip(runs, alone, strict=True):
            assert run.digest == other.digest
            assert_close(world.bank.prompt(run.value), bank.prompt(other.value), relative=1e-3)
    programs = [show_run(world.bank.engine, run.digest)["environment"]["program"] for run in runs]
    assert programs == 2 * [{"slots": 1, "shared with": []}]
    for worker, seed in ((1, 3), (2, 4)):
        assert any(
            re.match(rf"worker {worker}: source target seed {seed}: step 10/40 ", line)
            for line in said
        )
    assert list(world.runs.iterdir()) == []
    assert verify(world.bank) == []

    starts = list(world.bank.keys(trainer.partition, exclude=["target"]).values)
    heats = [
        [trainer.spec(world.target, seed, "transfer", start) for start in starts[:3]]
        for seed in (0, 1)
    ]
    for heat in trainer.race(heats):
        assert sum(ended.run is None for ended in heat) == 2
        assert all(0 < ended.steps < 40 for ended in heat if ended.run is None)


def test_what_fails_in_one_process_is_one_line_and_the_others_end(
    trainer: Trainer, world: World, tmp_path: Path
) -> None:
    path = write_task(tmp_path, "mine")
    specs = [
        trainer.spec(get_task(str(path)), 0, "source"),
        trainer.spec(world.target, 6, "source"),
    ]
    planned = trainer.plan(specs)
    with (tmp_path / "mine_train.csv").open("a", encoding="utf-8") as out:
        out.write("kamo ta,good\n")
    with pytest.raises(
        TrainingError, match=rf"^worker 1: {path}: its file or data have changed since"
    ):
        trainer.run_all(specs)
    assert set(world.bank.runs([run.digest for run in planned])) == {planned[1].digest}


def test_a_bank_in_memory_is_refused() -> None:
    with (
        Bank.open("sqlite://") as bank,
        pytest.raises(TrainingError, match="where no other can write"),
    ):
        ProcessExecutor(bank, workers=2)


# -- who is killed -------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path: Path, backbone_folder: Path) -> list[str]:
    """``spot train-source`` of two tasks in two processes, without bank and run folder."""
    tasks = [str(write_task(tmp_path, name)) for name in ("first", "second")]
    options = {
        "backbone": backbone_folder,
        "prompt-length": 4,
        "batch-size": 8,
        "steps": STEPS,
        "key-step": 700,
        "evaluate-every": EVERY,
        "max-input": 16,
        "max-target": 8,
        "learning-rate": 0.05,
        "executor": "processes",
        "workers": 2,
    }
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return [
        sys.executable,
        "-c",
        "from spot.cli.main import main; main()",
        "train-source",
        *tasks,
        *given,
    ]


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True
    )
    return [int(pid) for pid in listed.stdout.split()]


def alive(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            != "Z"
        )
    except FileNotFoundError:
        return False


def terminate(process: subprocess.Popen[str]) -> None:
    process.terminate()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()


def kill_a_worker(process: subprocess.Popen[str]) -> None:
    os.kill(workers_of(process)[0], signal.SIGKILL)


def disturb(
    command: list[str], how: Callable[[subprocess.Popen[str]], None]
) -> tuple[int, list[str], list[int]]:
    """Run a command and do something to it after some evaluations: its exit code and lines, and where runs began."""
    lines: list[str] = []
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        evaluations = 0
        for line in process.stderr:
            lines.append(line.rstrip())
            evaluations += "score" in line and "step" in line
            if evaluations == 3:
                evaluations += 1
                workers = workers_of(process)
                how(process)
        code = process.wait()
    deadline = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers)), "orphans are left"
    return (
        code,
        lines,
        [int(step) for step in re.findall(r"goes on at step (\d+)", "\n".join(lines))],
    )


def outcome(path: Path) -> list[tuple[str, str | None, object]]:
    """Addresses and histories of all runs of a bank."""
    with Bank.open(path, create=False) as bank:
        assert verify(bank) == []
        shown = [show_run(bank.engine, row["run"]) for row in list_runs(bank.engine)]
        runs = [(bank.run(row["run"]), row["history"]) for row in shown]
        return sorted((run.value, run.key, history) for run, history in runs if run)


def test_whoever_is_killed_the_same_command_goes_on_to_the_same_bits(
    command: list[str], tmp_path: Path
) -> None:
    left = [*command, "--bank", str(tmp_path / "left.sqlite"), "--runs", str(tmp_path / "unused")]
    subprocess.run(left, check=True, capture_output=True, timeout=600)
    runs, bank = tmp_path / "runs", tmp_path / "killed.sqlite"
    exposed = [*command, "--bank", str(bank), "--runs", str(runs)]

    code, lines, began = disturb(exposed, terminate)
    assert (code, began) == (128 + signal.SIGTERM, [])
    assert re.fullmatch(
        rf"error: stopped by SIGTERM at step \d+: saved in {runs}; run the .*", lines[-1]
    )
    assert len(list(runs.iterdir())) == 2

    code, lines, began = disturb(exposed, kill)
    assert (code, len(began)) == (-signal.SIGKILL, 2)

    code, lines, again = disturb(exposed, kill_a_worker)
    assert (code, len(again)) == (1, 2)
    assert sum(again) > sum(began)
    assert re.fullmatch(
        r"error: worker [12] was stopped by SIGKILL: what it had saved is in .*", lines[-1]
    )

    subprocess.run(exposed, check=True, capture_output=True, timeout=600)
    assert outcome(bank) == outcome(tmp_path / "left.sqlite")
    assert len(outcome(bank)) == 2
    assert list(runs.iterdir()) == []
