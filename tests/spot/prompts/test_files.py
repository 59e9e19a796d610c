"""Prompts go through files unchanged, and whatever else a file holds is refused in one line."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spot.errors import PromptError
from spot.prompts.files import prompts_in, read_prompt
from spot.prompts.write import write_prompt
from tests.spot.backbone.test_torch_file import dictionary, tensor, write_legacy, write_zip
from tests.spot.prompts.samples import (
    PROMPT,
    SUFFIXES,
    VALUES,
    adapter,
    content,
    refusal,
    with_facts,
)


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


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
def test_a_prompt_goes_through_a_file_bit_by_bit(
    folder: Path, prompt: np.ndarray, suffix: str
) -> None:
    path = folder / f"prompt{suffix}"
    write_prompt(path, prompt, {"task": "sst2"})
    back = read_prompt(path)
    assert (back.prompt.dtype, back.prompt.shape) == (np.float32, prompt.shape)
    assert back.prompt.tobytes() == prompt.tobytes()
    assert back.metadata == ({"task": "sst2"} if suffix == ".safetensors" else {})
    assert [file.name for file in folder.glob(".*")] == []


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "<i4", "|u1"])
def test_other_numbers_are_read_as_float32(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "prompt.npy", np.arange(12).reshape(3, 4).astype(dtype))
    read = read_prompt(tmp_path / "prompt.npy").prompt
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, np.arange(12).reshape(3, 4))


def test_bfloat16_is_read_from_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "prompt.safetensors"
    path.write_bytes(content(".safetensors", any_name=PROMPT.astype(ml_dtypes.bfloat16)))
    np.testing.assert_array_equal(
        read_prompt(path).prompt, PROMPT.astype(ml_dtypes.bfloat16).astype(np.float32)
    )


def test_the_tensor_named_prompt_is_read_among_several(tmp_path: Path) -> None:
    path = tmp_path / "prompt.safetensors"
    path.write_bytes(content(".safetensors", other=PROMPT + 1, prompt=PROMPT))
    np.testing.assert_array_equal(read_prompt(path).prompt, PROMPT)


# -- PyTorch's files -----------------------------------------------------------------------------------------


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
    dtype = {
        "HalfStorage": np.float16,
        "BFloat16Storage": ml_dtypes.bfloat16,
        "DoubleStorage": np.float64,
    }[storage]
    records = {"0": VALUES.astype(dtype).tobytes()}
    body = dictionary(prompt=tensor((3, 4), (4, 1), storage=storage))
    np.testing.assert_array_equal(
        read_prompt(write_zip(tmp_path / "p.pt", body, records)).prompt, VALUES
    )


def test_a_pytorch_file_that_is_no_prompt_is_refused(tmp_path: Path) -> None:
    two = dictionary(a=tensor((3, 4), (4, 1)), b=tensor((4, 3), (3, 1)))
    assert "holds 2 tensors, 2 of them [P, H]" in refusal(write_zip(tmp_path / "two.pt", two))
    flat = dictionary(a=tensor((12,), (1,)))
    assert "expected an array [P, H], found shape [12]" in refusal(
        write_zip(tmp_path / "flat.pt", flat)
    )
    (tmp_path / "bomb.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    refusal(tmp_path / "bomb.pt")
    assert not (tmp_path / "executed").exists()


# -- facts ---------------------------------------------------------------------------------------------------


def test_facts_are_read_as_far_as_they_make_sense(tmp_path: Path) -> None:
    file = read_prompt(
        with_facts(tmp_path / "a.safetensors", seed="3", step="many", recipe='{"steps": 3}')
    )
    assert (file.number("seed"), file.number("step"), file.number("key_step")) == (3, None, None)
    assert file.recipe == {"steps": 3}
    odd = with_facts(tmp_path / "odd.safetensors", recipe='{"form": ["prompt"]}')
    with pytest.raises(PromptError, match="its recipe says form"):
        _ = read_prompt(odd).form
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
                (
                    rng.randbytes(4),
                    b"",
                    b"[" * 99,
                    b"(" * 99,
                    b"9" * 99,
                    b"\xff" * 8,
                    damaged[at : at + 20] * 3,
                )
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
    with pytest.raises(
        PromptError, match=r"holds two prompts of rte, rte\.npy and rte\.safetensors; keep one"
    ):
        prompts_in(tmp_path)
    with pytest.raises(PromptError, match="no such folder"):
        prompts_in(tmp_path / "missing")


# -- refusals ------------------------------------------------------------------------------------------------


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
        ("more axes", np.zeros((1, 1, 1, 3, 4), np.float32), "found shape [1, 1, 1, 3, 4]"),
        ("holes", np.full((3, 4), np.nan, np.float32), "12 of 12 entries are NaN or infinite"),
        (
            "truths",
            np.full((3, 4), True),
            {".npy": "expected numbers, found dtype bool", ".safetensors": "dtype BOOL"},
        ),
    ):
        for suffix in SUFFIXES:
            path = tmp_path / f"{name}{suffix}"
            path.write_bytes(content(suffix, prompt=array))
            assert (complaint if isinstance(complaint, str) else complaint[suffix]) in refusal(path)


def test_several_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "archive.npz", a=PROMPT, b=PROMPT)
    assert "unknown format '.npz'; expected .npy, .safetensors, .pt" in refusal(
        tmp_path / "archive.npz"
    )
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
    assert "unknown format '.txt'; expected .npy, .safetensors, .pt" in refusal(
        tmp_path / "prompt.txt"
    )
    for name, written in (
        ("new.pt", ""),
        ("new.npy", "safetensors"),
        ("new.safetensors", "pt"),
        ("new", "npy"),
    ):
        with pytest.raises(
            PromptError,
            match=r"cannot be written as '.*'; expected a file \.npy or \.safetensors, or",
        ):
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
def test_a_damaged_header_is_refused_or_harmless(
    folder: Path, suffix: str, changes: list[tuple[int, int]]
) -> None:
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
def test_every_version_and_order_of_a_header_is_read(
    tmp_path: Path, version: int, order: str
) -> None:
    content = np.asarray(PROMPT, order=order).tobytes(order="A")
    path = with_header(
        tmp_path / "prompt.npy", header_of(fortran=str(order == "F")), content, version
    )
    np.testing.assert_array_equal(read_prompt(path).prompt, PROMPT)
    np.testing.assert_array_equal(np.load(path), PROMPT)


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (header_of(shape="(300000000000, 4)"), "cut short"),
        (header_of(shape="(1000000, 1000000)"), "cut short"),
        (header_of(shape="(99999999999999999999, 4)"), "a shape larger than any file"),
        (
            header_of(shape="(0, 99999999999999999999)"),
            "expected an array [P, H], found shape [0, 9",
        ),
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
        {"a": entry([1, 2, 1, 3, 2], 0, 48)},
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
