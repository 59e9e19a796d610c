"""What a small file claims costs no more than the file: no depth, count or size is believed before it is checked."""

import dataclasses
import json
import math
import pickle
import random
import shutil
import struct
import zipfile

import jax
import msgpack
import numpy as np
import pytest
import safetensors.numpy

from spot.backbone.load import load_backbone
from spot.backbone.t5 import T5
from spot.backbone.torch_file import LEGACY_MAGIC, TorchFile
from spot.backbone.weights import open_tensors
from spot.errors import BackboneError


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "backbone")


def refused(path):
    with pytest.raises(BackboneError) as caught:
        load_backbone(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def change_json(path, **changes):
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | changes))


# -- configs -----------------------------------------------------------------------------------------------

SIZES = ["vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads"]


@pytest.mark.parametrize("size", [10**6, 10**9, 10**12])
@pytest.mark.parametrize("name", [*SIZES, "relative_attention_num_buckets"])
def test_a_config_of_sizes_that_its_tensors_do_not_have_is_refused(folder, name, size):
    distance = (
        {"relative_attention_max_distance": 2**31 - 1}
        if name == "relative_attention_num_buckets"
        else {}
    )
    change_json(folder / "config.json", **{name: size}, **distance)
    assert any(
        word in refused(folder) for word in ("do not fit their config", "at most 2147483647")
    )


def test_layers_by_the_million_are_not_followed_to_their_end(folder):
    change_json(folder / "config.json", num_layers=10**9)
    message = refused(folder)
    assert "missing encoder.block.1.layer.0.layer_norm.weight" in message
    assert "more" in message


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer_config.json", "added_tokens.json"]
)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a": ' * 100_000, "nested too deep"),
        ('{"a": ' + "9" * 5_000 + "}", "not JSON"),
        ("[1]", "expected an object, found list"),
        ("\udcff", "not JSON"),
    ],
)
def test_json_that_is_none_or_nested_without_end_is_refused(folder, name, content, message):
    (folder / name).write_text(content, errors="surrogateescape")
    assert message in refused(folder)


def test_a_json_file_beyond_all_measure_is_not_read(folder):
    with (folder / "config.json").open("r+b") as file:
        file.truncate(2**40)
    assert "expected a JSON file of at most" in refused(folder)


FILES = [
    "config.json",
    "tokenizer_config.json",
    "spiece.model",
    "model.safetensors",
    "added_tokens.json",
]


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_an_altered_file_is_read_or_refused_in_one_line(folder, name):
    (folder / "added_tokens.json").write_text('{"<sep>": 139, "[EVENT]": 141}')
    path, rng = folder / name, random.Random(0)
    content = path.read_bytes()
    for _ in range(60):
        at = min(rng.randrange(len(content)) for _ in range(2))
        put = rng.choice(
            [bytes([rng.randrange(256)]), b"9" * 8, b"NaN", b"null", b"[[", b"\xff" * 4, b""]
        )
        path.write_bytes(content[:at] + put + content[at + max(1, len(put)) :])
        try:
            load_backbone(str(folder)).tokenizer.encode(["ba </s> <sep> <extra_id_0> ki"])
        except BackboneError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 2000


# -- weights that are not finite ---------------------------------------------------------------------------

NORM, LAYER = "encoder.final_layer_norm.weight", "decoder.block.1.layer.2.DenseReluDense.wo.weight"


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_every_tensor_that_is_not_finite_is_named_with_its_number_of_entries(folder, dtype, value):
    path = folder / "model.safetensors"
    tensors = {
        name: tensor.astype(dtype) for name, tensor in safetensors.numpy.load_file(path).items()
    }
    tensors[NORM][[0, 3]] = value
    tensors[LAYER][1, 2] = value
    path.unlink()
    safetensors.numpy.save_file(tensors, path)
    for _ in range(2):  # with a digest to compute, and with one at hand
        message = refused(folder)
        assert f"{NORM} (2 of 16 entries)" in message
        assert f"{LAYER} (1 of 384 entries)" in message


def test_numbers_beyond_float32_are_not_finite(folder):
    path = folder / "model.safetensors"
    tensors = {
        name: tensor.astype("<f8") for name, tensor in safetensors.numpy.load_file(path).items()
    }
    tensors[NORM][5] = 1e200
    path.unlink()
    safetensors.numpy.save_file(tensors, path)
    assert f"{NORM} (1 of 16 entries)" in refused(folder)


# -- PyTorch -----------------------------------------------------------------------------------------------


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


SHARED_TUPLES = b")q\x00" + b"".join(
    b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(90)
)
"""A tuple of two of a tuple of two ...: a hundred bytes that unfold to 2 ** 90 parts."""
TIP = SHARED_TUPLES + b"h\x5a"
SHARED_DICTIONARIES = b"".join(
    b"}q" + bytes([i + 1]) + b"(" + b"".join(text(k) + b"h" + bytes([i]) for k in "ab") + b"u"
    for i in range(90)
)
STORAGE = (
    b"("
    + text("storage")
    + b"ctorch\nFloatStorage\n"
    + text("0")
    + text("cpu")
    + b"J"
    + struct.pack("<i", 12)
)
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"tQ"

PROGRAMS = {
    "a key": b"}" + TIP + b"Ns",
    "keys": b"}(" + TIP + b"N" + TIP + b"Nu",
    "a key of a list": b"}" + b"]" + b"Ns",
    "a module": TIP + text("x") + b"\x93",
    "a name": text("os") + TIP + b"\x93",
    "a function": TIP + b")R",
    "arguments": b"ccollections\nOrderedDict\n" + TIP + b"R" + TIP + b"R",
    "a storage's key": b"("
    + text("storage")
    + b"ctorch\nFloatStorage\n"
    + TIP
    + text("cpu")
    + b"K\x01tQ",
    "a storage's kind": b"("
    + TIP
    + b"ctorch\nFloatStorage\n"
    + text("0")
    + text("cpu")
    + b"K\x01tQ",
    "a storage's type": b"(" + text("storage") + TIP + text("0") + text("cpu") + b"K\x01tQ",
    "a storage's size": b"("
    + text("storage")
    + b"ctorch\nFloatStorage\n"
    + text("0")
    + text("cpu")
    + TIP
    + b"tQ",
    "a shape": b"}" + text("a") + TENSOR + b"K\x00" + TIP + TIP + b"\x89NtRs",
    "an offset": b"}" + text("a") + TENSOR + TIP + b"))\x89NtRs",
    "axes without end": b"}"
    + text("a")
    + TENSOR
    + b"K\x00("
    + b"K\x01" * 100_000
    + b"t("
    + b"K\x01" * 100_000
    + b"t\x89NtRs",
    "marks": b"(" * 300_000 + b"t" * 300_000,
    "marks of lists": b"](" * 150_000 + b"e" * 150_000,
    "a number of many digits": b"I" + b"9" * 5_000 + b"\n",
    "a text longer than the file": b"\x8d" + struct.pack("<Q", 2**62),
    "a text of gigabytes": b"X" + struct.pack("<I", 2**32 - 1),
}


def write_zip(path, body, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".", compression)
        archive.writestr("archive/data/0", bytes(48))
    return path


def write_legacy(path, body):
    header = b"".join(pickle.dumps(part, 2) for part in (LEGACY_MAGIC, 1001, {}))
    path.write_bytes(
        header
        + b"\x80\x02"
        + body
        + b"."
        + pickle.dumps(["0"], 2)
        + struct.pack("<q", 12)
        + bytes(48)
    )
    return path


WRITERS = pytest.mark.parametrize("write", [write_zip, write_legacy])


@WRITERS
@pytest.mark.parametrize("place", PROGRAMS)
def test_a_program_that_unfolds_without_end_is_refused(tmp_path, write, place):
    with pytest.raises(BackboneError) as caught:
        TorchFile(write(tmp_path / "x.bin", PROGRAMS[place]))
    assert len(str(caught.value)) < 400


@WRITERS
def test_dictionaries_that_share_their_parts_are_not_walked(tmp_path, write):
    assert TorchFile(write(tmp_path / "x.bin", b"}q\x00" + SHARED_DICTIONARIES)).names() == []


def test_keys_of_storages_are_texts_or_numbers(tmp_path):
    header = b"".join(pickle.dumps(part, 2) for part in (LEGACY_MAGIC, 1001, {}, {}))
    (tmp_path / "x.bin").write_bytes(header + b"\x80\x02](" + TIP + b"e." + bytes(8))
    with pytest.raises(BackboneError, match="its storages have no keys"):
        TorchFile(tmp_path / "x.bin")


@pytest.mark.parametrize("count", [-1, 2**62, 2**40])
def test_a_storage_of_an_impossible_size_is_refused(tmp_path, count):
    header = b"".join(pickle.dumps(part, 2) for part in (LEGACY_MAGIC, 1001, {}, {}, ["0", "1"]))
    (tmp_path / "x.bin").write_bytes(header + struct.pack("<q", count) + bytes(48))
    with pytest.raises(BackboneError, match="cut short; storage '0' is not whole"):
        TorchFile(tmp_path / "x.bin")


def test_a_program_that_unpacks_to_more_than_the_file_is_not_unpacked(tmp_path):
    path = write_zip(tmp_path / "x.bin", b"(" * 50_000_000, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(BackboneError, match=r"archive/data\.pkl is compressed"):
        TorchFile(path)


def number(value):
    return b"J" + struct.pack("<i", value)


@pytest.mark.parametrize(
    ("shape", "stride"), [((2**20, 2**20), (0, 0)), ((100, 2), (0, 1)), ((13,), (0,))]
)
def test_a_tensor_that_repeats_its_storage_is_refused(tmp_path, shape, stride):
    axes = b"".join(b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (shape, stride))
    body = b"}" + text("a") + TENSOR + number(0) + axes + b"\x89NtRs"
    with pytest.raises(BackboneError, match="tensor a repeats entries"):
        TorchFile(write_zip(tmp_path / "x.bin", body))


def test_tensors_that_share_their_bytes_stand_for_no_more_than_a_file_can_hold(folder, config):
    wide = dataclasses.replace(config, d_model=128, d_kv=64, d_ff=128, num_heads=2, num_layers=20)
    shapes = {}

    def ask(name, shape):
        shapes[name] = shape
        return jax.ShapeDtypeStruct(shape, np.float32)

    T5(wide, ask)
    size = max(math.prod(shape) for shape in shapes.values())
    tensors = [text("none"), STORAGE[:-4] + struct.pack("<i", size) + b"tQq\x01"]
    for name, shape in shapes.items():
        strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
        axes = b"".join(
            b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (shape, strides)
        )
        tensors += [
            text(name),
            b"ctorch._utils\n_rebuild_tensor_v2\n(h\x01" + number(0) + axes + b"\x89NtR",
        ]
    (folder / "model.safetensors").unlink()
    (folder / "config.json").write_text(json.dumps(wide.to_huggingface()))
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}(" + b"".join(tensors) + b"u.")
        archive.writestr("archive/data/0", bytes(4 * size))
    assert "tensors share their bytes" in refused(folder)


# -- Flax and GGUF -----------------------------------------------------------------------------------------


def test_dictionaries_nested_without_end_are_refused(tmp_path):
    (tmp_path / "flax_model.msgpack").write_bytes(b"\x81\xa1a" * 100_000 + b"\xc0")
    with pytest.raises(BackboneError, match="nests dictionaries more than 64 deep"):
        open_tensors(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"\xdf\xff\xff\xff\xff" + b"\xa1a\x80" * 100,
        b"\x81\xa1a\xc9\xff\xff\xff\xff\x01" + bytes(50),
        b"\x81\xdb\xff\xff\xff\xff" + b"a" * 10_000,
        msgpack.packb(
            {"a": {"b": msgpack.ExtType(1, msgpack.packb(((2**40, 2**40), "float32", b"1234")))}}
        ),
        msgpack.packb(
            {"a": {"b": msgpack.ExtType(1, msgpack.packb(((-1, -1), "float32", b"1234")))}}
        ),
        msgpack.packb(
            {"a": {"b": msgpack.ExtType(1, msgpack.packb(([1] * 1000, "float32", b"1234")))}}
        ),
        msgpack.packb({"a": {"b": msgpack.ExtType(1, b"\xdd\xff\xff\xff\xff")}}),
        msgpack.packb({"a": [[[[[]]]]]}),
    ],
)
def test_counts_and_sizes_beyond_the_file_are_refused(tmp_path, content):
    (tmp_path / "flax_model.msgpack").write_bytes(content)
    with pytest.raises(BackboneError):
        open_tensors(tmp_path)


def gguf_text(value):
    return struct.pack("<Q", len(value)) + value.encode()


HEADER = b"GGUF" + struct.pack("<I", 3)
FIELDS = {
    "tensors": HEADER + struct.pack("<QQ", 2**60, 0),
    "fields": HEADER + struct.pack("<QQ", 0, 2**60),
    "a name": HEADER + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 2**62),
    "numbers": HEADER
    + struct.pack("<QQ", 0, 1)
    + gguf_text("a")
    + struct.pack("<IIQ", 9, 0, 2**62),
    "texts": HEADER + struct.pack("<QQ", 0, 1) + gguf_text("a") + struct.pack("<IIQ", 9, 8, 2**60),
    "arrays": HEADER + struct.pack("<QQ", 0, 1) + gguf_text("a") + struct.pack("<IIQ", 9, 9, 2**60),
    "axes": HEADER + struct.pack("<QQ", 1, 0) + gguf_text("a") + struct.pack("<I", 2**31),
    "a shape": HEADER
    + struct.pack("<QQ", 1, 0)
    + gguf_text("a")
    + struct.pack("<IQQIQ", 2, 2**62, 2**62, 0, 0),
    "an offset": HEADER
    + struct.pack("<QQ", 1, 0)
    + gguf_text("a")
    + struct.pack("<IQIQ", 1, 4, 0, 2**62),
    "the alignment": HEADER
    + struct.pack("<QQ", 0, 1)
    + gguf_text("general.alignment")
    + struct.pack("<II", 4, 0),
}


@pytest.mark.parametrize("of", FIELDS)
def test_counts_of_a_gguf_file_beyond_its_size_are_refused(tmp_path, of):
    pytest.importorskip("gguf")
    (tmp_path / "model.gguf").write_bytes(FIELDS[of] + bytes(200))
    assert "not a GGUF file, or damaged" in refused(tmp_path / "model.gguf")
