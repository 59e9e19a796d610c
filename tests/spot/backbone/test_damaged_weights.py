"""Weight files cut short or altered anywhere give a ``BackboneError`` and nothing else."""

import contextlib
import tempfile
from pathlib import Path

import msgpack
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from spot.backbone.weights import open_tensors
from spot.errors import BackboneError

TENSORS = {
    "shared.weight": np.arange(24, dtype=np.float32).reshape(6, 4),
    "encoder.final_layer_norm.weight": np.ones(4, np.float32),
}


def flax_array(array):
    return msgpack.ExtType(1, msgpack.packb((array.shape, array.dtype.name, array.tobytes())))


def flax_file():
    shared, norm = TENSORS.values()
    tree = {
        "shared": {"embedding": flax_array(shared)},
        "encoder": {"final_layer_norm": {"weight": flax_array(norm)}},
    }
    return msgpack.packb(tree)


def read_all(name, content):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        return {key: np.array(read()) for key, read in open_tensors(Path(folder)).items()}


FILES = {"model.safetensors": safetensors.numpy.save(TENSORS), "flax_model.msgpack": flax_file()}
EVERY_FILE = pytest.mark.parametrize("name", FILES)
UNHURRIED = settings(deadline=None, max_examples=60, derandomize=True)


@EVERY_FILE
def test_a_whole_file_gives_its_tensors(name):
    read = read_all(name, FILES[name])
    assert read.keys() == TENSORS.keys()
    assert all(np.array_equal(read[key], TENSORS[key]) for key in TENSORS)


@EVERY_FILE
@UNHURRIED
@given(data=st.data())
def test_a_file_cut_short_is_refused(name, data):
    content = FILES[name]
    end = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(BackboneError):
        read_all(name, content[:end])


@EVERY_FILE
@UNHURRIED
@given(data=st.data())
def test_an_altered_file_is_read_or_refused(name, data):
    content = bytearray(FILES[name])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BackboneError):
        read_all(name, bytes(content))


@pytest.mark.parametrize(
    "leaf",
    [
        msgpack.ExtType(2, b""),
        msgpack.ExtType(1, b"\xc1"),
        msgpack.ExtType(1, msgpack.packb(((3,), "float32", b"1234"))),
        msgpack.ExtType(1, msgpack.packb(((1,), "float99", b"1234"))),
        msgpack.ExtType(1, msgpack.packb(((1,), "object", b"12345678"))),
    ],
)
def test_a_flax_file_with_a_damaged_array_is_refused(leaf):
    with pytest.raises(BackboneError):
        read_all("flax_model.msgpack", msgpack.packb({"shared": {"embedding": leaf}}))


@pytest.mark.parametrize("content", [3, [1, 2], "text", None])
def test_a_flax_file_of_anything_but_dictionaries_is_refused(content):
    with pytest.raises(BackboneError, match="expected nested dictionaries"):
        read_all("flax_model.msgpack", msgpack.packb(content))


@pytest.mark.parametrize("name", ["kernel", "embedding"])
@pytest.mark.parametrize(
    "leaf", [None, 3, [1, [2, 3]], msgpack.ExtType(1, msgpack.packb(((1,), 7, b"1234")))]
)
def test_a_flax_file_with_a_leaf_that_is_no_array_is_refused(name, leaf):
    with pytest.raises(BackboneError):
        read_all("flax_model.msgpack", msgpack.packb({"shared": {name: leaf}}))
