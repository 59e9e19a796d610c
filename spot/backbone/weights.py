"""Readers of a Hugging Face folder's weights: safetensors, Flax msgpack, and PyTorch files without PyTorch.

Each gives tensors one by one under their Hugging Face names in PyTorch's orientation, so that at most one tensor
is held beside the loaded model.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

import ml_dtypes
import numpy as np

from spot.backbone.files import check_file, read_json
from spot.backbone.torch_file import TorchFile
from spot.errors import BackboneError
from tasks.errors import shown


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: its shape, and, when called, its values ``[...]`` of that shape."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]

    def __call__(self) -> np.ndarray:
        return self.read()


Tensors = Mapping[str, StoredTensor]
"""What files hold, by name; nothing is read before a tensor is called."""

SAFETENSORS_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}

FORMATS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("flax_model.msgpack", "flax_model.msgpack.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""File and shard index of every format, in the order they are looked for."""


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder: one, or all shards that its index names.

    Raises:
        BackboneError: none of the known files is there, a shard is missing, lies elsewhere, or is no file.
    """
    for name, index in FORMATS:
        if (folder / name).exists():
            return [check_file(folder / name)]
        if (folder / index).exists():
            return _shards(folder, index, Path(name).suffix)
    expected = ", ".join(name for name, _ in FORMATS)
    raise BackboneError(
        f"{folder}: no weights found; expected one of {expected} or an index of shards"
    )


def _shards(folder: Path, index: str, suffix: str) -> list[Path]:
    """The files that a shard index names, each of them inside the folder."""
    names = read_json(folder / index).get("weight_map")
    if (
        not isinstance(names, dict)
        or not names
        or not all(isinstance(name, str) for name in names.values())
    ):
        raise BackboneError(f"{folder / index}: not a shard index")
    shards = sorted(set(names.values()))
    for shard in shards:
        place = PurePosixPath(shard.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or "\0" in shard:
            raise BackboneError(
                f"{folder / index}: names {shown(shard)}, which is not inside the folder"
            )
        if place.suffix != suffix:
            raise BackboneError(
                f"{folder / index}: names {shown(shard)}, which is no {suffix} file"
            )
    if missing := [shard for shard in shards if not (folder / shard).exists()]:
        listed = ", ".join(missing[:8]) + (
            f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        )
        raise BackboneError(f"{folder}: shards named in {index} are missing: {listed}")
    return [check_file(folder / shard) for shard in shards]


def open_tensors(folder: Path) -> Tensors:
    """All tensors of a folder by Hugging Face name.

    Raises:
        BackboneError: no weights, or a file that is damaged or holds more than tensors.
    """
    readers = {".safetensors": open_safetensors, ".msgpack": _open_msgpack, ".bin": _open_torch}
    tensors: dict[str, StoredTensor] = {}
    for path in weight_files(folder):
        tensors |= readers[path.suffix](path)
    return tensors


def stored_array(
    path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int
) -> StoredTensor:
    """An array that lies in a file in C order, from a byte on."""

    def read() -> np.ndarray:
        return np.fromfile(path, dtype, math.prod(shape), offset=offset).reshape(shape)

    return StoredTensor(shape, read)


def open_safetensors(path: Path) -> Tensors:
    """The library checks the header; tensors are then read from the file, since mapped pages count as memory."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as opened:
            names = list(opened.keys())
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError, RecursionError, struct.error) as error:
        raise BackboneError(f"{path}: not a safetensors file, or damaged ({error})") from error

    def opened_as(name: str) -> StoredTensor:
        facts = header[name]
        dtype = SAFETENSORS_DTYPES.get(facts["dtype"])
        if dtype is None:
            raise BackboneError(
                f"{path}: tensor {shown(name)} has dtype {facts['dtype']}, which no model here uses"
            )
        return stored_array(
            path, dtype, tuple(facts["shape"]), 8 + length + facts["data_offsets"][0]
        )

    return {name: opened_as(name) for name in names}


def _open_torch(path: Path) -> Tensors:
    opened = TorchFile(path)

    def opened_as(name: str) -> StoredTensor:
        return StoredTensor(opened.shape(name), lambda: opened.read(name))

    return {name: opened_as(name) for name in opened.names()}


# -- Flax ----------------------------------------------------------------------------------------------------

DEEPEST = 64
"""Dictionaries within each other; Flax's models nest about ten."""

_SIZED: dict[int, tuple[str, str]] = {
    **{0xC4 + i: ("bytes", "BHI"[i]) for i in range(3)},
    **{0xC7 + i: ("extension", "BHI"[i]) for i in range(3)},
    **{0xD9 + i: ("text", "BHI"[i]) for i in range(3)},
    **{0xDC + i: ("array", "HI"[i]) for i in range(2)},
    **{0xDE + i: ("map", "HI"[i]) for i in range(2)},
    **{0xCC + i: ("number", "BHIQ"[i]) for i in range(4)},
    **{0xD0 + i: ("number", "bhiq"[i]) for i in range(4)},
}
"""First byte of a msgpack object to its kind and the number behind it: a size, a count, or the number itself."""


def _open_msgpack(path: Path) -> Tensors:
    """Flax nests modules and stores kernels transposed; arrays are extension type 1: (shape, dtype, bytes).

    Only the heads of objects are read, and sizes are held against the file's, so that no array is in memory before
    it is asked for, and no depth or count that a file claims costs more than the file.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            kind, count = _head(file)
            if kind != "map":
                raise BackboneError(f"{path}: expected nested dictionaries of arrays")
            return dict(_flax_arrays(file, path, size, count, ""))
    except (OSError, ValueError, TypeError, LookupError, struct.error) as error:
        if isinstance(error, BackboneError):
            raise
        raise BackboneError(f"{path}: not a Flax msgpack file, or damaged ({error})") from error


def _flax_arrays(
    file: IO[bytes], path: Path, size: int, count: int, prefix: str, depth: int = 1
) -> Iterator[tuple[str, StoredTensor]]:
    """The arrays of a map's entries, under their Hugging Face names; the file stands at the first entry."""
    if depth > DEEPEST:
        raise BackboneError(f"{path}: nests dictionaries more than {DEEPEST} deep")
    for _ in range(count):
        key = _text(file)
        if key == "__msgpack_chunked_array__":
            raise BackboneError(
                f"{path}: {prefix[:-1]} is stored in chunks; convert the model to safetensors"
            )
        kind, length = _head(file)
        if kind == "map":
            yield from _flax_arrays(file, path, size, length, f"{prefix}{key}.", depth + 1)
        elif kind == "extension":
            end = file.tell() + 1 + length
            if end > size:
                raise BackboneError(f"{path}: cut short; {prefix}{key} is not whole")
            tensor = _flax_array(file, path, end, f"{prefix}{key}")
            file.seek(end)
            if key == "kernel":
                yield f"{prefix}weight", _transposed(tensor)
            else:
                yield f"{prefix}weight" if key == "embedding" else f"{prefix}{key}", tensor
        else:
            raise BackboneError(f"{path}: {prefix}{key} is no array")


def _flax_array(file: IO[bytes], path: Path, end: int, name: str) -> StoredTensor:
    """One array, whose bytes must fill its object to the end."""
    (code,) = struct.unpack("b", file.read(1))
    if code != 1:
        raise BackboneError(f"{path}: holds something other than arrays (extension type {code})")
    outer, dimensions = _head(file), _head(file)
    if outer != ("array", 3) or dimensions[0] != "array" or dimensions[1] > 8:
        raise BackboneError(f"{path}: {name} is not (shape, dtype, bytes)")
    shape = tuple(
        length for kind, length in (_head(file) for _ in range(dimensions[1])) if kind == "number"
    )
    dtype = _dtype(_text(file))
    kind, length = _head(file)
    whole = len(shape) == dimensions[1] and all(n >= 0 for n in shape) and kind == "bytes"
    if not whole or length != math.prod(shape) * dtype.itemsize or file.tell() + length != end:
        raise BackboneError(f"{path}: {name} does not have the bytes of its shape")
    return stored_array(path, dtype, shape, file.tell())


def _transposed(tensor: StoredTensor) -> StoredTensor:
    return StoredTensor(tensor.shape[::-1], lambda: tensor.read().T)


def _head(file: IO[bytes]) -> tuple[str, int]:
    """Kind of the next object, and its size, its count or its value; of the rest only that it is something else."""
    (first,) = file.read(1) or b"\xc1"
    if first < 0x80:
        return "number", first
    if first < 0xC0:
        return ("map", first & 0xF) if first < 0x90 else ("array", first & 0xF) if first < 0xA0 else (
            "text", first & 0x1F)  # fmt: skip
    if 0xD4 <= first <= 0xD8:
        return "extension", 1 << (first - 0xD4)
    if first not in _SIZED:
        if first == 0xC1:
            raise ValueError("an object is cut short or of no known kind")
        return "something else", 0
    kind, form = _SIZED[first]
    (number,) = struct.unpack(f">{form}", file.read(struct.calcsize(form)))
    return kind, number


def _text(file: IO[bytes]) -> str:
    kind, length = _head(file)
    if kind not in ("text", "bytes") or length > 4096:
        raise ValueError("a name is no text")
    content = file.read(length)
    if len(content) < length:
        raise ValueError("a name is cut short")
    return content.decode()


def _dtype(name: str) -> np.dtype[Any]:
    dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    if name != "bfloat16" and dtype.kind not in "fiub":
        raise ValueError(f"arrays of {name!r} are no weights")
    return dtype
