"""A checkpoint is there whole or not at all, and a damaged one is never trained on."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import flax.serialization
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot.errors import TrainingError
from spot.training import checkpoint
from spot.training.jobs import Plan
from spot.training.loop import CHECKPOINT_FILE
from tests.spot.training import toy

ARRAYS = {
    "trained": np.arange(12, dtype=np.float32).reshape(3, 4),
    "state": (np.int32(7), np.ones(2, np.float32)),
}
NOTES = {"step": 3, "losses": [0.1, 1e-30, 3.0]}


def saved(path: Path) -> bytes:
    checkpoint.save(path, ARRAYS, NOTES, identity="run")
    return path.read_bytes()


def test_what_is_saved_comes_back_bit_by_bit(tmp_path: Path) -> None:
    saved(tmp_path / "new" / "file")
    found = checkpoint.load(tmp_path / "new" / "file", ARRAYS, identity="run")
    assert found is not None
    arrays, notes = found
    assert notes == NOTES
    np.testing.assert_array_equal(arrays["trained"], ARRAYS["trained"])
    assert arrays["state"][0] == 7
    assert arrays["state"][1].dtype == np.float32


def test_bfloat16_comes_back_as_it_was(tmp_path: Path) -> None:
    weights = jnp.arange(5, dtype=jnp.bfloat16) / 3
    checkpoint.save(tmp_path / "file", [weights], {}, identity="run")
    found = checkpoint.load(tmp_path / "file", [weights], identity="run")
    assert found is not None
    assert found[0][0].dtype == jnp.bfloat16
    assert found[0][0].tobytes() == np.asarray(weights).tobytes()


def test_no_file_is_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "file", ARRAYS, identity="run") is None


@pytest.mark.parametrize(
    ("identity", "template"), [("other", ARRAYS), ("run", {"trained": np.zeros(3)})]
)
def test_a_checkpoint_of_another_run_is_refused(
    identity: str, template: Any, tmp_path: Path
) -> None:
    saved(tmp_path / "file")
    with pytest.raises(TrainingError, match="belongs to a run with other arguments"):
        checkpoint.load(tmp_path / "file", template, identity=identity)


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_checkpoint_that_was_cut_is_refused(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "file"
    content = saved(path)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(TrainingError, match="not a checkpoint, or damaged; remove it"):
        checkpoint.load(path, ARRAYS, identity="run")


@settings(max_examples=300, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_checkpoint_with_a_flipped_bit_is_refused(
    place: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("flipped") / "file"
    content = bytearray(saved(path))
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(TrainingError):
        checkpoint.load(path, ARRAYS, identity="run")


@pytest.mark.parametrize(
    "content", [{}, [1, 2], {"identity": "run", "notes": "{}", "arrays": {"a": 1, "b": 2, "c": 3}}]
)
def test_a_file_of_another_kind_is_refused(content: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(flax.serialization.msgpack_serialize(content))
    with pytest.raises(TrainingError, match="not a checkpoint, or damaged"):
        checkpoint.load(tmp_path / "file", ARRAYS, identity="run")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_content(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    before = saved(path)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.os, call, full)
    with pytest.raises(
        TrainingError, match=r"cannot be written \(No space left on device\); free space"
    ):
        checkpoint.save(path, ARRAYS, {"step": 4}, identity="run")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_stops_a_run_which_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(steps=30, evaluate_every=10, key_step=15, report_every=5, checkpoint_seconds=0.0)

    def fill(step: int) -> None:
        if step == 20:
            monkeypatch.setattr(checkpoint.os, "fsync", full)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(TrainingError, match="No space left on device"):
        toy.run(plan, folder=tmp_path, reporter=toy.Recorder(on_advance=fill))
    monkeypatch.undo()
    heard = toy.Recorder()
    resumed, alone = toy.run(plan, folder=tmp_path, reporter=heard), toy.run(plan)
    assert heard.named("start") == [(15, 30)]
    assert resumed.final.tobytes() == alone.final.tobytes()
    assert resumed.progress == alone.progress


def test_a_folder_that_cannot_be_made_is_an_error_of_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match="cannot be written"):
        checkpoint.write_atomically(tmp_path / "file" / "checkpoint", b"content")


def test_what_a_killed_process_left_half_written_is_not_read(tmp_path: Path) -> None:
    plan = Plan(steps=10, evaluate_every=5)
    path = tmp_path / CHECKPOINT_FILE
    path.with_name(f"{path.name}.1.part").write_bytes(b"half")
    assert toy.run(plan, folder=tmp_path).progress.step == 10


def test_a_damaged_checkpoint_stops_a_run_before_it_trains(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(os.urandom(200))
    heard = toy.Recorder()
    with pytest.raises(TrainingError, match="not a checkpoint, or damaged"):
        toy.run(Plan(steps=5, evaluate_every=5), folder=tmp_path, reporter=heard)
    assert heard.calls == []
