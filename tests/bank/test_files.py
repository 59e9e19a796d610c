"""Prompts go through files unchanged, and whatever else a file holds is refused in one line."""

from __future__ import annotations

import errno
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bank import BackboneRecord, Bank, BankError, Partition, RunRecord, TaskRecord, queries
from bank.files import import_prompt, read_prompt, write_prompt
from bank.listing import show_run

RunMaker = Callable[..., RunRecord]

SUFFIXES = (".npy", ".safetensors")
PROMPT = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
SHARED = Path(__file__).resolve().parents[3] / "shared" / "prompts" / "t5_1_1_lm100k_base"

MODEL = BackboneRecord(fingerprint="e" * 64, name="toy", width=4)
TASK = TaskRecord(name="mrpc", family="paraphrase")


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def content(suffix: str, **tensors: np.ndarray) -> bytes:
    """Bytes of a well-formed file."""
    if suffix == ".safetensors":
        return safetensors.numpy.save(tensors)
    stream = io.BytesIO()
    np.save(stream, next(iter(tensors.values())))
    return stream.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prompts")


# -- round trip ----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    prompt=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    suffix=st.sampled_from(SUFFIXES),
)
def test_a_prompt_goes_through_a_file_bit_by_bit(folder: Path, prompt: np.ndarray, suffix: str) -> None:
    path = folder / f"prompt{suffix}"
    write_prompt(path, prompt, {"task": "sst2"})
    back = read_prompt(path)
    assert (back.prompt.dtype, back.prompt.shape) == (np.float32, prompt.shape)
    assert back.prompt.tobytes() == prompt.tobytes()
    assert back.metadata == ({"task": "sst2"} if suffix == ".safetensors" else {})
    assert [file.name for file in folder.glob(".*")] == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_layout_is_written_the_same(tmp_path: Path, suffix: str) -> None:
    wide = np.random.default_rng(0).normal(size=(4, 6))
    for i, view in enumerate((wide[:, ::2], np.asfortranarray(wide[:, ::2]), wide[:, ::2].astype(">f8"))):
        write_prompt(tmp_path / f"{i}{suffix}", view)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    np.testing.assert_array_equal(read_prompt(tmp_path / f"0{suffix}").prompt, wide[:, ::2].astype(np.float32))


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "<i4", "|u1"])
def test_other_numbers_are_read_as_float32(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "prompt.npy", np.arange(12).reshape(3, 4).astype(dtype))
    read = read_prompt(tmp_path / "prompt.npy").prompt
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, np.arange(12).reshape(3, 4))


def test_bfloat16_is_read_from_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "prompt.safetensors"
    path.write_bytes(content(".safetensors", any_name=PROMPT.astype(ml_dtypes.bfloat16)))
    np.testing.assert_array_equal(read_prompt(path).prompt, PROMPT.astype(ml_dtypes.bfloat16).astype(np.float32))


def test_the_tensor_named_prompt_is_read_among_several(tmp_path: Path) -> None:
    path = tmp_path / "prompt.safetensors"
    path.write_bytes(content(".safetensors", other=PROMPT + 1, prompt=PROMPT))
    np.testing.assert_array_equal(read_prompt(path).prompt, PROMPT)


# -- refusals ------------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(BankError) as caught:
        read_prompt(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


def test_pickled_objects_are_refused_and_never_run(tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    np.save(tmp_path / "object.npy", np.array([[Bomb(proof)]], dtype=object), allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Bomb(proof)))
    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps(Bomb(proof)))
    assert "pickled objects are refused" in refusal(tmp_path / "object.npy")
    assert "pickled objects are refused" in refusal(tmp_path / "pickle.npy")
    assert "not a safetensors file" in refusal(tmp_path / "pickle.safetensors")
    assert not proof.exists()


def test_what_is_no_prompt_is_refused(tmp_path: Path) -> None:
    for name, array, complaint in (
        ("flat", np.zeros(12, np.float32), "expected an array [P, H], found shape [12]"),
        ("empty", np.zeros((0, 4), np.float32), "found shape [0, 4]"),
        ("cube", np.zeros((1, 3, 4), np.float32), "found shape [1, 3, 4]"),
        ("holes", np.full((3, 4), np.nan, np.float32), "12 of 12 entries are NaN or infinite"),
        ("words", np.full((3, 4), True), "expected numbers, found dtype bool"),
    ):
        for suffix in SUFFIXES:
            path = tmp_path / f"{name}{suffix}"
            path.write_bytes(content(suffix, prompt=array))
            assert complaint in refusal(path)


def test_several_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "archive.npz", a=PROMPT, b=PROMPT)
    assert "unknown format '.npz'; expected .npy or .safetensors" in refusal(tmp_path / "archive.npz")
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    assert "an archive of several arrays" in refusal(tmp_path / "archive.npy")
    path = tmp_path / "two.safetensors"
    path.write_bytes(content(".safetensors", a=PROMPT, b=PROMPT))
    assert "holds 2 tensors; expected one, or one named 'prompt'" in refusal(path)


def test_missing_files_folders_and_unknown_suffixes_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.npy")
    (tmp_path / "folder.npy").mkdir()
    assert "no such file" in refusal(tmp_path / "folder.npy")
    (tmp_path / "prompt.pt").touch()
    assert "unknown format '.pt'; expected .npy or .safetensors" in refusal(tmp_path / "prompt.pt")
    with pytest.raises(BankError, match=r"unknown format '\.pt'"):
        write_prompt(tmp_path / "new.pt", PROMPT)
    assert not (tmp_path / "new.pt").exists()


@settings(max_examples=120, deadline=None)
@given(suffix=st.sampled_from(SUFFIXES), data=st.data())
def test_a_file_cut_anywhere_is_refused(folder: Path, suffix: str, data: st.DataObject) -> None:
    whole = content(suffix, prompt=PROMPT)
    path = folder / f"cut{suffix}"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1), label="bytes kept")])
    refusal(path)


def test_an_archive_cut_anywhere_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", a=PROMPT)
    whole = (tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "cut.npy"
    for kept in range(0, len(whole), 10):
        path.write_bytes(whole[:kept])
        refusal(path)


@settings(max_examples=150, deadline=None)
@given(
    suffix=st.sampled_from(SUFFIXES),
    changes=st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_damaged_header_is_refused_or_harmless(folder: Path, suffix: str, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(content(suffix, prompt=PROMPT))
    for position, byte in changes:
        damaged[position % len(damaged)] = byte
    path = folder / f"damaged{suffix}"
    path.write_bytes(damaged)
    try:
        assert read_prompt(path).prompt.ndim == 2
    except BankError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("shape", ["(300000000000, 4)", "(99999999999999999999, 4)", "(-3, -4)", "((3, 4)", "{3: 4}"])
def test_a_header_that_lies_about_the_shape_is_refused(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    path = tmp_path / "prompt.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(48))
    refusal(path)


# -- writing whole or not at all -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"prompt{suffix}"
    write_prompt(path, PROMPT)

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(BankError, match=r"cannot be written \(No space left on device\)"):
            write_prompt(path, PROMPT + 1)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(read_prompt(path).prompt, PROMPT)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX resource limits")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_may_not_grow_says_why_and_leaves_the_old_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"prompt{suffix}"
    write_prompt(path, PROMPT)
    script = f"""
import resource, sys
from pathlib import Path
import numpy as np
from bank import BankError
from bank.files import write_prompt
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_prompt(Path("prompt{suffix}"), np.ones((64, 64)))
except BankError as error:
    print(error)
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    (line,) = answer.stdout.splitlines()
    assert "cannot be written (" in line
    assert "None" not in line
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(read_prompt(path).prompt, PROMPT)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_place_that_takes_no_file_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / f"folder{suffix}").mkdir()
    for path in (
        tmp_path / "missing" / f"prompt{suffix}",
        tmp_path / "file" / f"prompt{suffix}",
        tmp_path / f"folder{suffix}",
        tmp_path / f"{'long' * 80}{suffix}",
    ):
        with pytest.raises(BankError, match="cannot be written"):
            write_prompt(path, PROMPT)
    assert {file.name for file in tmp_path.iterdir()} == {"file", f"folder{suffix}"}


def test_a_prompt_that_cannot_be_is_not_written(tmp_path: Path) -> None:
    for prompt in (np.full((3, 4), np.nan), np.zeros(12)):
        with pytest.raises(BankError):
            write_prompt(tmp_path / "prompt.npy", prompt)
    assert list(tmp_path.iterdir()) == []


# -- import --------------------------------------------------------------------------------------------------


def test_an_imported_prompt_is_a_source_with_itself_as_key(bank: Bank, tmp_path: Path) -> None:
    path = tmp_path / "mrpc.npy"
    write_prompt(path, PROMPT)
    digest = import_prompt(bank, path, task=TASK, backbone=MODEL)
    assert import_prompt(bank, path, task=TASK, backbone=MODEL) == digest
    stored = bank.run(digest)
    assert stored is not None and stored.key == stored.value
    np.testing.assert_array_equal(bank.find_prompt(digest), PROMPT)
    assert show_run(bank.engine, digest)["environment"] == {"imported from": "mrpc.npy"}
    assert queries.verify(bank) == []


def test_an_imported_prompt_may_bring_its_key(bank: Bank, tmp_path: Path) -> None:
    write_prompt(tmp_path / "value.npy", PROMPT)
    write_prompt(tmp_path / "key.safetensors", -PROMPT)
    digest = import_prompt(
        bank,
        tmp_path / "value.npy",
        task=TASK,
        backbone=MODEL,
        key=tmp_path / "key.safetensors",
        seed=7,
        score=81.5,
    )
    np.testing.assert_array_equal(bank.find_prompt(digest, kind="key"), -PROMPT)
    stored = bank.run(digest)
    assert stored is not None and (stored.seed, stored.score) == (7, 81.5)


@pytest.mark.parametrize("wrong", ["value", "key"])
def test_a_prompt_of_another_width_is_not_imported(bank: Bank, tmp_path: Path, wrong: str) -> None:
    for name in ("value", "key"):
        write_prompt(tmp_path / f"{name}.npy", np.ones((3, 5 if name == wrong else 4)))
    with pytest.raises(BankError, match="has width 5, but backbone toy has width 4; it was made for another model"):
        import_prompt(bank, tmp_path / "value.npy", task=TASK, backbone=MODEL, key=tmp_path / "key.npy")
    assert set(queries.statistics(bank).values()) == {0}


def test_a_key_of_another_length_is_not_imported(bank: Bank, tmp_path: Path) -> None:
    write_prompt(tmp_path / "value.npy", PROMPT)
    write_prompt(tmp_path / "key.npy", PROMPT[:2])
    with pytest.raises(BankError, match=r"key of mrpc: expected shape \[3, 4\], found \[2, 4\]"):
        import_prompt(bank, tmp_path / "value.npy", task=TASK, backbone=MODEL, key=tmp_path / "key.npy")


def test_imported_prompts_stay_in_a_partition_of_their_own(bank: Bank, tmp_path: Path, make_run: RunMaker) -> None:
    trained = make_run(fingerprint=MODEL.fingerprint, key_step=0)
    bank.record_run(trained)
    write_prompt(tmp_path / "mrpc.npy", PROMPT)
    import_prompt(bank, tmp_path / "mrpc.npy", task=TASK, backbone=MODEL)
    ours = Partition.of(trained.identity.recipe)
    (theirs,) = set(bank.partitions()) - {ours}
    assert [key.task for key in bank.keys(ours)] == ["sst2"]
    assert [key.task for key in bank.keys(theirs)] == ["mrpc"]


@pytest.fixture(params=["made", *(["published"] if SHARED.is_dir() else [])])
def prompts_of_others(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of prompts ``[100, 768]`` as others saved them, for three tasks."""
    if request.param == "published":
        return SHARED
    for i, task in enumerate(("mrpc", "rte", "sst2")):
        np.save(tmp_path / f"{task}.npy", np.random.default_rng(i).normal(size=(100, 768)).astype(np.float32))
    return tmp_path


def test_prompts_of_the_t5_1_1_base_that_others_trained_are_imported(bank: Bank, prompts_of_others: Path) -> None:
    model = BackboneRecord(fingerprint="e" * 64, name="google/t5-base-lm-adapt", width=768)
    for path in sorted(prompts_of_others.glob("*.npy")):
        task = TaskRecord(name=path.stem, family="imported")
        digest = import_prompt(bank, path, task=task, backbone=model)
        np.testing.assert_array_equal(bank.find_prompt(digest), np.load(path))
    (partition,) = bank.partitions()
    assert (partition.fingerprint, partition.prompt_length) == ("e" * 64, 100)
    assert [key.task for key in bank.keys(partition)] == ["mrpc", "rte", "sst2"]
    assert queries.verify(bank) == []
