"""Prompts go through files unchanged, and whatever else a file holds is refused in one line."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pickle
import random
import subprocess
import sys
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bank import BackboneRecord
from spot.errors import PromptError
from spot.prompts.files import prompts_in, read_prompt
from spot.prompts.made_for import check_backbone
from spot.prompts.write import write_prompt
from tests.spot.backbone.test_torch_file import dictionary, tensor, write_legacy, write_zip

SUFFIXES = (".npy", ".safetensors")
PROMPT = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
MODEL = BackboneRecord(fingerprint="e" * 64, name="toy", width=4)


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


# -- PyTorch's files -----------------------------------------------------------------------------------------

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
"""What the files of the tests of PyTorch's format hold."""


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize(
    "body",
    [
        tensor((3, 4), (4, 1)),
        dictionary(whatever=tensor((3, 4), (4, 1))),
        dictionary(bias=tensor((4,), (1,)), prompt_encoder=tensor((3, 4), (4, 1))),
        dictionary(state_dict=dictionary(prompt_embeddings=tensor((3, 4), (4, 1)))),
    ],
    ids=["bare", "one", "the only matrix", "nested"],
)
def test_a_pytorch_file_is_read_without_pytorch(tmp_path: Path, suffix: str, body: bytes) -> None:
    read = read_prompt(write_zip(tmp_path / f"prompt{suffix}", body))
    assert read.prompt.dtype == np.float32
    np.testing.assert_array_equal(read.prompt, VALUES)


@pytest.mark.parametrize("storage", ["HalfStorage", "BFloat16Storage", "DoubleStorage"])
def test_a_pytorch_file_of_other_floats_is_read_as_float32(tmp_path: Path, storage: str) -> None:
    dtype = {"HalfStorage": np.float16, "BFloat16Storage": ml_dtypes.bfloat16, "DoubleStorage": np.float64}[storage]
    records = {"0": VALUES.astype(dtype).tobytes()}
    body = dictionary(prompt=tensor((3, 4), (4, 1), storage=storage))
    np.testing.assert_array_equal(read_prompt(write_zip(tmp_path / "p.pt", body, records)).prompt, VALUES)


def test_a_pytorch_file_that_is_no_prompt_is_refused(tmp_path: Path) -> None:
    two = dictionary(a=tensor((3, 4), (4, 1)), b=tensor((4, 3), (3, 1)))
    assert "holds 2 tensors, 2 of them [P, H]" in refusal(write_zip(tmp_path / "two.pt", two))
    flat = dictionary(a=tensor((12,), (1,)))
    assert "expected an array [P, H], found shape [12]" in refusal(write_zip(tmp_path / "flat.pt", flat))
    (tmp_path / "bomb.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    refusal(tmp_path / "bomb.pt")
    assert not (tmp_path / "executed").exists()


# -- PEFT ----------------------------------------------------------------------------------------------------

STORED = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
ADAPTER = {
    "peft_type": "PROMPT_TUNING",
    "task_type": "SEQ_2_SEQ_LM",
    "num_virtual_tokens": 3,
    "num_transformer_submodules": 2,
    "token_dim": 4,
    "base_model_name_or_path": "google/t5-v1_1-small",
}


def adapter(folder: Path, stored: np.ndarray = STORED, **changes: object) -> Path:
    """The folder of an adapter as PEFT writes it."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER | changes))
    (folder / "adapter_model.safetensors").write_bytes(content(".safetensors", prompt_embeddings=stored))
    return folder


@pytest.mark.parametrize("given", ["", "adapter_model.safetensors"])
@pytest.mark.parametrize("parts", [2, None])
def test_an_adapter_of_an_encoder_decoder_gives_the_half_that_is_used(
    tmp_path: Path, given: str, parts: int | None
) -> None:
    read = read_prompt(adapter(tmp_path / "adapter", num_transformer_submodules=parts) / given)
    np.testing.assert_array_equal(read.prompt, STORED[:3])
    assert read.metadata["backbone"] == "google/t5-v1_1-small"


@pytest.mark.parametrize(
    "changes",
    [
        {"num_virtual_tokens": 6, "num_transformer_submodules": 1},
        {"num_virtual_tokens": 6, "num_transformer_submodules": 1, "task_type": "CAUSAL_LM"},
        {"num_virtual_tokens": 6, "num_transformer_submodules": None, "task_type": "CAUSAL_LM"},
        {"num_virtual_tokens": 6, "num_transformer_submodules": None, "task_type": None, "token_dim": None},
    ],
    ids=range(4),
)
def test_an_adapter_of_one_part_gives_all_of_it(tmp_path: Path, changes: dict[str, object]) -> None:
    np.testing.assert_array_equal(read_prompt(adapter(tmp_path / "adapter", **changes)).prompt, STORED)


def test_an_adapter_s_weights_may_be_a_pytorch_file(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", num_virtual_tokens=3, num_transformer_submodules=1)
    (folder / "adapter_model.safetensors").unlink()
    write_zip(folder / "adapter_model.bin", dictionary(prompt_embeddings=tensor((3, 4), (4, 1))))
    for path in (folder, folder / "adapter_model.bin"):
        np.testing.assert_array_equal(read_prompt(path).prompt, VALUES)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"peft_type": "LORA"}, "peft_type is 'LORA'; only PROMPT_TUNING is a prompt"),
        ({"peft_type": "PREFIX_TUNING"}, "only PROMPT_TUNING is a prompt"),
        ({"peft_type": "MULTITASK_PROMPT_TUNING"}, "only PROMPT_TUNING is a prompt"),
        ({"peft_type": ["x"] * 10_000}, "only PROMPT_TUNING is a prompt"),
        ({"task_type": "SEQ_CLS"}, "a classifier's head is no part of a prompt"),
        ({"num_virtual_tokens": 4}, "has shape [6, 4], but adapter_config.json says [8, 4]: 4 virtual tokens in 2"),
        ({"num_virtual_tokens": 10**30}, "has shape [6, 4], but adapter_config.json says"),
        ({"token_dim": 5}, "has shape [6, 4], but adapter_config.json says [6, 5]"),
        ({"num_virtual_tokens": 0}, "num_virtual_tokens is 0"),
        ({"num_virtual_tokens": "3"}, "num_virtual_tokens is '3'"),
        ({"num_virtual_tokens": None}, "num_virtual_tokens is None"),
        ({"num_transformer_submodules": 3}, "num_transformer_submodules 3"),
        ({"task_type": "CAUSAL_LM"}, "num_transformer_submodules 2; expected at least 1, and 1 or, for sequence"),
    ],
    ids=range(13),
)
def test_an_adapter_that_is_no_prompt_is_refused(tmp_path: Path, changes: dict[str, object], complaint: str) -> None:
    line = refusal(adapter(tmp_path / "adapter", **changes))
    assert complaint in line
    assert len(line) < 500


def test_an_adapter_that_trained_more_than_a_prompt_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter")
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(content(".safetensors", prompt_embeddings=STORED, prefix_task_cols=PROMPT))
    for path in (folder, weights):
        assert "more than a prompt; beside prompt_embeddings it holds 'prefix_task_cols'" in refusal(path)


def test_a_damaged_adapter_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter")
    (folder / "adapter_model.safetensors").unlink()
    assert "holds neither adapter_model.safetensors nor adapter_model.bin" in refusal(folder)
    for config in ("", "[]", "{", "[" * 100_000, '{"peft_type": ' + "9" * 5000 + "}"):
        (folder / "adapter_config.json").write_text(config)
        refusal(folder)


@pytest.mark.parametrize("name", ["prompt_embeddings", "base_model.prompt_encoder.default.embedding.weight"])
def test_weights_without_their_config_say_what_cannot_be_known(tmp_path: Path, name: str) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content(".safetensors", **{name: STORED}))
    with pytest.warns(UserWarning, match="all 6 tokens are taken; PEFT stores twice its length for sequence-to-seq"):
        np.testing.assert_array_equal(read_prompt(path).prompt, STORED)
    np.testing.assert_array_equal(read_prompt(path, length=6).prompt, STORED)
    path.write_bytes(content(".safetensors", prompt_embeddings=STORED[:5]))
    assert len(read_prompt(path).prompt) == 5


@pytest.mark.parametrize("name", ["prompt", "prompt_embeddings"])
def test_a_prompt_of_twice_the_expected_length_is_refused_with_the_likely_cause(tmp_path: Path, name: str) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content(".safetensors", **{name: STORED}))
    with pytest.raises(
        PromptError, match=r"has 6 tokens, expected 3: PEFT stores twice its length .* the adapter's fol"
    ):
        read_prompt(path, length=3)
    with pytest.raises(PromptError, match="has 6 tokens, expected 4; set --prompt-length to match"):
        read_prompt(path, length=4)
    assert len(read_prompt(adapter(tmp_path / "adapter"), length=3).prompt) == 3


def test_an_adapter_goes_through_a_folder_bit_by_bit(tmp_path: Path) -> None:
    facts = {"task": "sst2", "backbone": "toy"}
    for config, task in (({"num_decoder_layers": 2}, "SEQ_2_SEQ_LM"), ({"num_layers": 2}, "CAUSAL_LM"), (None, None)):
        write_prompt(tmp_path / "adapter", PROMPT, facts, config=config)
        read = read_prompt(tmp_path / "adapter", length=3)
        assert read.prompt.tobytes() == PROMPT.tobytes()
        assert {name: read.metadata[name] for name in facts} == facts
        written = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
        assert (written["task_type"], written["num_transformer_submodules"]) == (task, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_an_adapter_may_replace_one_and_nothing_else(tmp_path: Path) -> None:
    for name, occupant in (("lora", json.dumps({"peft_type": "LORA"})), ("notes", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / ("adapter_config.json" if occupant else "notes.txt")).write_text(occupant)
    (tmp_path / "file").touch()
    for name in ("lora", "notes", "file"):
        with pytest.raises(PromptError, match="exists and is no PEFT adapter of a prompt; choose another folder"):
            write_prompt(tmp_path / name, PROMPT)
    (tmp_path / "empty").mkdir()
    for name, written in (("empty", ""), ("empty", ""), ("v1.0", "peft"), ("v1.0", "")):
        write_prompt(tmp_path / name, PROMPT, format=written)
        np.testing.assert_array_equal(read_prompt(tmp_path / name).prompt, PROMPT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "lora", "notes", "v1.0"]


def test_a_full_disk_leaves_no_part_of_an_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "adapter_config.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(PromptError, match=r"cannot be written \(No space left on device\)"):
        write_prompt(tmp_path / "adapter", PROMPT)
    assert list(tmp_path.iterdir()) == []


# -- facts ---------------------------------------------------------------------------------------------------


def with_facts(path: Path, **facts: str) -> Path:
    write_prompt(path, PROMPT, facts)
    return path


def test_a_prompt_of_another_backbone_is_refused(tmp_path: Path) -> None:
    wrong = read_prompt(with_facts(tmp_path / "wrong.safetensors", fingerprint="d" * 64, backbone="other"))
    with pytest.raises(PromptError, match=r"made for backbone 'other' \(dddddddddddd\), not for toy \(eeeeeeeeeeee\)"):
        check_backbone(wrong, MODEL)
    right = read_prompt(with_facts(tmp_path / "right.safetensors", fingerprint="e" * 64))
    check_backbone(right, MODEL)
    with pytest.raises(PromptError, match="has width 4, but backbone toy has width 5; it was made for another model"):
        check_backbone(right, BackboneRecord(fingerprint="e" * 64, name="toy", width=5))


def test_a_prompt_that_names_no_backbone_is_known_by_its_width(tmp_path: Path) -> None:
    write_prompt(tmp_path / "prompt.npy", PROMPT)
    check_backbone(read_prompt(tmp_path / "prompt.npy"), MODEL)
    with pytest.raises(PromptError, match="it was made for another model"):
        check_backbone(read_prompt(tmp_path / "prompt.npy"), BackboneRecord(fingerprint="e", name="toy", width=5))


@pytest.mark.parametrize(("named", "warned"), [("hub/other", True), ("hub/toy", False), ("/home/me/toy", False)])
def test_a_prompt_that_only_names_another_backbone_says_so(tmp_path: Path, named: str, warned: bool) -> None:
    file = read_prompt(with_facts(tmp_path / "a.safetensors", backbone=named))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_backbone(file, MODEL)
    assert ["has no fingerprint to tell whether toy is the same" in str(w.message) for w in caught] == [True] * warned


@pytest.mark.parametrize("fingerprint", ["", "eeee", "e" * 100_000, "E" * 64, "line\nbreak"])
def test_a_fingerprint_that_is_none_is_refused(tmp_path: Path, fingerprint: str) -> None:
    file = read_prompt(with_facts(tmp_path / "prompt.safetensors", fingerprint=fingerprint))
    with pytest.raises(PromptError, match="is no sha256") as caught:
        check_backbone(file, MODEL)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_facts_are_read_as_far_as_they_make_sense(tmp_path: Path) -> None:
    file = read_prompt(with_facts(tmp_path / "a.safetensors", seed="3", step="many", recipe='{"steps": 3}'))
    assert (file.number("seed"), file.number("step"), file.number("key_step")) == (3, None, None)
    assert file.recipe == {"steps": 3}
    for i, recipe in enumerate(("{", "[1]", "[" * 100_000, "9" * 5000)):
        with pytest.raises(PromptError, match="its recipe is no"):
            _ = read_prompt(with_facts(tmp_path / f"{i}.safetensors", recipe=recipe)).recipe


def test_where_a_run_started_goes_with_its_prompt(tmp_path: Path) -> None:
    path = tmp_path / "prompt.safetensors"
    write_prompt(path, PROMPT, start=PROMPT.mean(axis=0))
    read = read_prompt(path)
    assert read.start is not None
    np.testing.assert_array_equal(read.start, PROMPT.mean(axis=0))
    np.testing.assert_array_equal(read.prompt, PROMPT)
    for start, complaint in (
        (PROMPT[0, :3], "start has width 3, the prompt 4"),
        (PROMPT, "start: expected an array [W], found shape [3, 4]"),
        (np.full(4, np.nan, np.float32), "start: 4 of 4 entries are NaN or infinite"),
    ):
        path.write_bytes(content(".safetensors", prompt=PROMPT, start=start))
        with pytest.raises(PromptError) as caught:
            read_prompt(path)
        assert complaint in str(caught.value)


def test_no_mutation_of_a_file_ends_in_more_than_a_line(tmp_path: Path) -> None:
    rng = random.Random(0)
    write_zip(tmp_path / "zip.pt", dictionary(prompt_embeddings=tensor((3, 4), (4, 1))))
    write_legacy(tmp_path / "legacy.bin", tensor((3, 4), (4, 1)))
    np.save(tmp_path / "array.npy", PROMPT)
    write_prompt(tmp_path / "prompt.safetensors", PROMPT, {"seed": "1"}, start=PROMPT[0])
    adapter(tmp_path / "adapter")
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    for _ in range(300):
        path = rng.choice(files)
        whole = path.read_bytes()
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8))):
            at = rng.randrange(len(damaged) or 1)
            damaged[at : at + rng.randrange(9)] = rng.choice(
                (rng.randbytes(4), b"", b"[" * 99, b"(" * 99, b"9" * 99, b"\xff" * 8, damaged[at : at + 20] * 3)
            )
        path.write_bytes(damaged)
        with warnings.catch_warnings(), contextlib.suppress(PromptError):
            warnings.simplefilter("ignore")
            read_prompt(path)
        path.write_bytes(whole)


def test_prompts_of_a_folder_go_by_their_names(tmp_path: Path) -> None:
    write_prompt(tmp_path / "rte.npy", PROMPT)
    write_prompt(tmp_path / "sst2.safetensors", PROMPT)
    adapter(tmp_path / "mnli.v1")
    (tmp_path / "notes.txt").touch()
    assert {name: path.name for name, path in prompts_in(tmp_path).items()} == {
        "mnli.v1": "mnli.v1",
        "rte": "rte.npy",
        "sst2": "sst2.safetensors",
    }
    write_prompt(tmp_path / "rte.safetensors", PROMPT)
    with pytest.raises(PromptError, match=r"holds two prompts of rte, rte\.npy and rte\.safetensors; keep one"):
        prompts_in(tmp_path)
    with pytest.raises(PromptError, match="no such folder"):
        prompts_in(tmp_path / "missing")


# -- refusals ------------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(PromptError) as caught:
        read_prompt(path)
    line = str(caught.value)
    assert line.startswith((f"{path}: ", f"{path}{os.sep}"))
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
        ("more axes", np.zeros((1, 1, 3, 4), np.float32), "found shape [1, 1, 3, 4]"),
        ("holes", np.full((3, 4), np.nan, np.float32), "12 of 12 entries are NaN or infinite"),
        ("truths", np.full((3, 4), True), {".npy": "expected numbers, found dtype bool", ".safetensors": "dtype BOOL"}),
    ):
        for suffix in SUFFIXES:
            path = tmp_path / f"{name}{suffix}"
            path.write_bytes(content(suffix, prompt=array))
            assert (complaint if isinstance(complaint, str) else complaint[suffix]) in refusal(path)


def test_several_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "archive.npz", a=PROMPT, b=PROMPT)
    assert "unknown format '.npz'; expected .npy, .safetensors, .pt" in refusal(tmp_path / "archive.npz")
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    assert "an archive of several arrays" in refusal(tmp_path / "archive.npy")
    path = tmp_path / "two.safetensors"
    path.write_bytes(content(".safetensors", a=PROMPT, b=PROMPT))
    assert "holds 2 tensors, 2 of them [P, H]; expected one, or one named 'prompt'" in refusal(path)


def test_missing_files_folders_and_unknown_suffixes_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.npy")
    (tmp_path / "folder.npy").mkdir()
    assert "a folder without adapter_config.json" in refusal(tmp_path / "folder.npy")
    (tmp_path / "prompt.txt").touch()
    assert "unknown format '.txt'; expected .npy, .safetensors, .pt" in refusal(tmp_path / "prompt.txt")
    for name, written in (("new.pt", ""), ("new.npy", "safetensors"), ("new.safetensors", "pt"), ("new", "npy")):
        with pytest.raises(PromptError, match=r"cannot be written as '.*'; expected a file \.npy or \.safetensors, or"):
            write_prompt(tmp_path / name, PROMPT, format=written)
        assert not (tmp_path / name).exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX pipes")
def test_what_is_no_regular_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    (tmp_path / "endless.npy").symlink_to("/dev/zero")
    for name in ("pipe.npy", "loop.npy", "endless.npy"):
        assert "no such file" in refusal(tmp_path / name)


def test_stand_ins_for_a_file_are_named(tmp_path: Path) -> None:
    for suffix in (*SUFFIXES, ".bin"):
        path = tmp_path / f"prompt{suffix}"
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
        assert "a git-LFS pointer, not the file" in refusal(path)
        path.write_bytes(b"")
        refusal(path)
        path.write_bytes(b"\x1f\x8b\x08" + bytes(99))
        refusal(path)


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
    except PromptError as error:
        assert "\n" not in str(error)


def with_header(path: Path, header: str, content: bytes = bytes(48), version: int = 1) -> Path:
    """A ``.npy`` file whose header says just that."""
    size = len(header).to_bytes(2 if version == 1 else 4, "little")
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + content)
    return path


def header_of(descr: str = "'<f4'", fortran: str = "False", shape: str = "(3, 4)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_version_and_order_of_a_header_is_read(tmp_path: Path, version: int, order: str) -> None:
    content = np.asarray(PROMPT, order=order).tobytes(order="A")
    path = with_header(tmp_path / "prompt.npy", header_of(fortran=str(order == "F")), content, version)
    np.testing.assert_array_equal(read_prompt(path).prompt, PROMPT)
    np.testing.assert_array_equal(np.load(path), PROMPT)


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (header_of(shape="(300000000000, 4)"), "cut short"),
        (header_of(shape="(1000000, 1000000)"), "cut short"),
        (header_of(shape="(99999999999999999999, 4)"), "a shape larger than any file"),
        (header_of(shape="(0, 99999999999999999999)"), "expected an array [P, H], found shape [0, 9"),
        (header_of(shape=f"({'9' * 2000}, {'9' * 2000})"), "a shape larger than any file"),
        (header_of(shape="(3, 0)"), "found shape [3, 0]"),
        (header_of(shape="(3, 2)"), "longer than one array"),
        (header_of(shape="()"), "expected an array [P, H]"),
        (header_of(shape=f"({'1, ' * 900})"), "expected an array [P, H]"),
        (header_of(shape="(-3, -4)"), "not a plain .npy array"),
        (header_of(shape="((3, 4)"), "not a plain .npy array"),
        (header_of(shape="{3: 4}"), "not a plain .npy array"),
        (header_of("'|O'"), "pickled objects are refused"),
        (header_of("[('a', '<f4')]"), "not a plain .npy array"),
        (header_of("'<f4,<f4'"), "not a plain .npy array"),
        (header_of("'<c8'"), "expected numbers, found dtype complex64"),
        (header_of("'<U4'"), "expected numbers, found dtype str128"),
        (header_of("'<M8'"), "expected numbers, found dtype datetime64"),
        (header_of("'|V4'"), "expected numbers, found dtype void32"),
        (header_of("'<f9999'"), "its dtype f9999 is unknown"),
        ("-" * 3000, "not a plain .npy array"),
        ("(" * 3000, "not a plain .npy array"),
        ("{" * 3000, "not a plain .npy array"),
        ("__import__('os').abort()", "not a plain .npy array"),
        (" " * 5000, "its header has 5000 bytes, expected at most 4096"),
    ],
    ids=range(25),
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: str, complaint: str) -> None:
    assert complaint in refusal(with_header(tmp_path / "prompt.npy", header))


def test_a_header_s_size_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "prompt.npy").write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}")
    assert "its header has 4294967295 bytes" in refusal(tmp_path / "prompt.npy")
    (tmp_path / "next.npy").write_bytes(b"\x93NUMPY\x04\x00" + bytes(99))
    assert "not a plain .npy array" in refusal(tmp_path / "next.npy")


def safetensors_file(path: Path, header: object, content: bytes = bytes(48)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry([3, 4], 0, 48), "b": entry([3, 4], 24, 72)},
        {"a": entry([3, 4], 0, 4800)},
        {"a": entry([10**6, 10**6], 0, 48)},
        {"a": entry([10**12, 10**12], 0, 48)},
        {"a": entry([3, -4], 0, 48)},
        {"a": entry([3, 2], 0, 48)},
        {"a": entry([3, 4], 0, 48, "F33")},
        {"a": entry([3, 2], 0, 48, "C64")},
        {"a": entry([2, 1, 3, 2], 0, 48)},
        {"a": entry([3, 4], 0, 48), "__metadata__": {"seed": 1}},
        {},
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
    ],
    ids=range(15),
)
def test_a_safetensors_header_that_lies_is_refused(tmp_path: Path, header: object) -> None:
    refusal(safetensors_file(tmp_path / "prompt.safetensors", header))


def test_a_safetensors_header_s_size_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "prompt.safetensors"
    for size in (2**40, 2**63, 2**64 - 1):
        path.write_bytes(size.to_bytes(8, "little") + b"{}")
        refusal(path)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".bin"])
def test_a_file_larger_than_any_prompt_is_not_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"prompt{suffix}"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert f"has {2**40} bytes; a prompt has at most" in refusal(path)


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
        with pytest.raises(PromptError, match=r"cannot be written \(No space left on device\)"):
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
from spot.errors import PromptError
from spot.prompts.write import write_prompt
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_prompt(Path("prompt{suffix}"), np.ones((64, 64)))
except PromptError as error:
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
        with pytest.raises(PromptError, match="cannot be written"):
            write_prompt(path, PROMPT)
    assert {file.name for file in tmp_path.iterdir()} == {"file", f"folder{suffix}"}


def test_a_prompt_that_cannot_be_is_not_written(tmp_path: Path) -> None:
    for prompt in (np.full((3, 4), np.nan), np.zeros(12)):
        with pytest.raises(PromptError):
            write_prompt(tmp_path / "prompt.npy", prompt)
    assert list(tmp_path.iterdir()) == []
