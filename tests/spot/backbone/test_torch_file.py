"""PyTorch checkpoints read without PyTorch: what is admitted, and that nothing else is ever run."""

import contextlib
import os
import pickle
import random
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot.backbone.torch_file import LEGACY_MAGIC, TorchFile
from spot.errors import BackboneError

VALUES = np.arange(12, dtype="<f4")


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(shape, stride, *, offset=0, size=12, key="0", storage="FloatStorage"):
    """Opcodes of one tensor, as ``torch.save`` writes them."""
    reference = b"(" + text("storage") + f"ctorch\n{storage}\n".encode() + text(key) + text("cpu")
    reference += number(size) + b"tQ"
    arguments = reference + number(offset) + numbers(shape) + numbers(stride)
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def dictionary(**values):
    return b"}(" + b"".join(text(name) + value for name, value in values.items()) + b"u"


def write_zip(path, body, records=None, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
        for key, content in (records or {"0": VALUES.tobytes()}).items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def write_legacy(path, body):
    header = b"".join(
        pickle.dumps(part, 2) for part in (LEGACY_MAGIC, 1001, {"little_endian": True})
    )
    storages = pickle.dumps(["0"], 2) + struct.pack("<q", len(VALUES)) + VALUES.tobytes()
    path.write_bytes(header + b"\x80\x02" + body + b"." + storages)
    return path


WRITERS = pytest.mark.parametrize("write", [write_zip, write_legacy])


def read_all(path):
    opened = TorchFile(path)
    return {name: np.array(opened.read(name)) for name in opened.names()}


def refused(path):
    with pytest.raises(BackboneError) as caught:
        read_all(path)
    return str(caught.value)


@WRITERS
def test_tensors_are_read_with_their_offsets_and_strides(tmp_path, write):
    body = dictionary(
        whole=tensor((3, 4), (4, 1)),
        turned=tensor((4, 3), (1, 4)),
        tail=tensor((2, 2), (2, 1), offset=8),
        one=tensor((), (), offset=5),
        none=tensor((0, 4), (4, 1)),
    )
    read = read_all(write(tmp_path / "x.bin", body))
    assert np.array_equal(read["whole"], VALUES.reshape(3, 4))
    assert np.array_equal(read["turned"], VALUES.reshape(3, 4).T)
    assert np.array_equal(read["tail"], [[8, 9], [10, 11]])
    assert read["one"] == 5
    assert read["none"].shape == (0, 4)


@WRITERS
def test_a_state_dict_beside_other_values_is_found(tmp_path, write):
    body = dictionary(epoch=number(3), state_dict=dictionary(a=tensor((12,), (1,))))
    assert np.array_equal(read_all(write(tmp_path / "x.bin", body))["a"], VALUES)


@WRITERS
def test_a_bare_tensor_goes_by_the_name_tensor(tmp_path, write):
    read = read_all(write(tmp_path / "x.pt", tensor((3, 4), (4, 1))))
    assert list(read) == ["tensor"]
    assert np.array_equal(read["tensor"], VALUES.reshape(3, 4))


@WRITERS
@pytest.mark.parametrize(
    "beside", [{}, {"epoch": number(3), "settings": dictionary(rate=number(1))}]
)
def test_the_one_dictionary_of_tensors_in_a_checkpoint_is_found(tmp_path, write, beside):
    body = dictionary(model=dictionary(a=tensor((12,), (1,))), **beside)
    assert np.array_equal(read_all(write(tmp_path / "x.bin", body))["a"], VALUES)


@WRITERS
@pytest.mark.parametrize(
    "described",
    [
        tensor((3, 4), (4, 1), offset=1),
        tensor((13,), (1,)),
        tensor((2,), (12,)),
        tensor((12,), (1,), offset=-1),
        tensor((12,), (-1,), offset=11),
        tensor((2,), (2**31 - 1,)),
    ],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path, write, described):
    path = write(tmp_path / "x.bin", dictionary(a=described))
    assert "tensor a reaches beyond its storage" in refused(path)


@WRITERS
def test_a_storage_that_reaches_beyond_the_file_is_refused(tmp_path, write):
    path = write(tmp_path / "x.bin", dictionary(a=tensor((4000,), (1,), size=4000)))
    assert "tensor a is not whole" in refused(path)


def test_a_storage_larger_than_its_record_is_refused(tmp_path):
    body = dictionary(a=tensor((16,), (1,), size=16))
    refused(write_zip(tmp_path / "x.bin", body, {"0": VALUES.tobytes(), "1": VALUES.tobytes()}))


def test_a_storage_without_its_record_is_refused(tmp_path):
    refused(write_zip(tmp_path / "x.bin", dictionary(a=tensor((12,), (1,), key="7"))))


def test_a_shape_with_too_few_strides_is_refused(tmp_path):
    refused(write_zip(tmp_path / "x.bin", dictionary(a=tensor((3, 4), (1,)))))


def test_a_compressed_storage_is_refused(tmp_path):
    body = dictionary(a=tensor((12,), (1,)))
    assert "is compressed" in refused(
        write_zip(tmp_path / "x.bin", body, compression=zipfile.ZIP_DEFLATED)
    )


def test_a_zip_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.bin", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    assert "no data.pkl" in refused(tmp_path / "x.bin")


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02K\x01.", b"\x80\x02]."])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    refused(path)


@WRITERS
@pytest.mark.parametrize("body", [b"]", number(3), b")", b"N"])
def test_anything_but_a_dictionary_is_refused(tmp_path, write, body):
    assert "expected a dictionary of tensors" in refused(write(tmp_path / "x.bin", body))


@WRITERS
@settings(deadline=None, max_examples=60, derandomize=True)
@given(data=st.data())
def test_a_file_cut_short_is_refused(write, data):
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "x.bin", dictionary(a=tensor((3, 4), (4, 1))))
        content = path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        refused(path)


@WRITERS
def test_a_file_with_any_byte_altered_is_read_or_refused(tmp_path, write):
    path = write(
        tmp_path / "x.bin", dictionary(a=tensor((3, 4), (4, 1)), b=tensor((2, 2), (2, 1), offset=8))
    )
    content = path.read_bytes()
    rng = random.Random(0)
    for at in range(len(content)):
        for value in rng.sample(range(256), 6):
            path.write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
            with contextlib.suppress(BackboneError):
                read_all(path)


# -- programs that would do more than describe tensors ---------------------------------------------------


class Runs:
    """Unpickling this runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def malicious(mark):
    """Bodies of pickles that create ``mark`` when they are unpickled."""
    command = f"touch {mark}"
    call = f"(S'{command}'\ntR".encode()
    short = bytes([len(command)]) + command.encode()
    memoised = b"\x8c\x02os\x94\x8c\x06system\x940"
    function = b"cos\nsystem\n"
    return {
        **{f"protocol {p}": pickle.dumps(Runs(command), p)[2 * (p > 1) : -1] for p in range(5)},
        "global": function + call,
        "stack global": b"\x8c\x02os\x8c\x06system\x93\x8c" + short + b"\x85R",
        "stack global of memoised names": memoised + b"h\x00h\x01\x93\x8c" + short + b"\x85R",
        "stack global with a dotted name": b"\x8c\x05torch\x8c\x13FloatStorage.__init__\x93)R",
        "stack global of no text": b"K\x01K\x02\x93)R",
        "inst": f"(S'{command}'\nios\nsystem\n".encode(),
        "obj": f"(cos\nsystem\nS'{command}'\no".encode(),
        "newobj": function + b"\x8c" + short + b"\x85\x81",
        "extension": b"\x82\x01",
        "text persistent id": b"P0\n",
        "eval": b"cbuiltins\neval\n" + f'(S\'__import__("os").system("{command}")\'\ntR'.encode(),
        "another torch function": b"ctorch\nload\n(S'x'\ntR",
        "a storage called": b"ctorch\nFloatStorage\n" + call,
        "text called": text("os.system") + call,
        "storage of a function": b"("
        + text("storage")
        + function
        + text("0") * 2
        + number(1)
        + b"tQ",
        "storage that names no type": b"(" + text("module") + text("os") * 3 + number(1) + b"tQ",
        "tensor without a storage": b"ctorch._utils\n_rebuild_tensor_v2\n("
        + text("os") * 4
        + b"tR",
    }


@WRITERS
@pytest.mark.parametrize("nested", [False, True], ids=["whole", "value"])
@pytest.mark.parametrize("way", list(malicious("x")))
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(
    tmp_path, write, way, nested
):
    mark = tmp_path / "ran"
    body = malicious(mark)[way]
    refused(
        write(tmp_path / "x.bin", dictionary(good=tensor((12,), (1,)), a=body) if nested else body)
    )
    assert not mark.exists()


def test_the_malicious_pickles_would_run_if_they_were_unpickled(tmp_path):
    mark = tmp_path / "ran"
    pickle.loads(malicious(mark)["stack global"] + b".")
    assert mark.exists()


@WRITERS
def test_attributes_of_the_dictionary_are_passed_over(tmp_path, write):
    attributes = dictionary(_metadata=dictionary(version=number(1)))
    body = (
        b"ccollections\nOrderedDict\n)R("
        + text("a")
        + tensor((12,), (1,))
        + b"u"
        + attributes
        + b"b"
    )
    assert np.array_equal(read_all(write(tmp_path / "x.bin", body))["a"], VALUES)


@pytest.mark.parametrize(
    "target", [number(1), text("x"), b")", tensor((12,), (1,)), b"ctorch\nFloatStorage\n"]
)
def test_attributes_of_anything_but_a_dictionary_are_refused(tmp_path, target):
    refused(write_zip(tmp_path / "x.bin", dictionary(a=target + b"}b")))


@pytest.mark.parametrize(
    "body", [number(1) + number(2) + b"a", number(1) + b"(" + number(2) + b"e", number(1) + b"(u"]
)
def test_items_added_to_no_container_are_refused(tmp_path, body):
    refused(write_zip(tmp_path / "x.bin", body))
