"""Readers of a Hugging Face folder's weights: safetensors, Flax msgpack, and PyTorch files without PyTorch.

Each gives tensors one by one under their Hugging Face names in PyTorch's orientation, so that at most one tensor
is held beside the loaded model.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from spot.backbone.torch_file import TorchFile
from spot.errors import BackboneError

Tensors = Mapping[str, Callable[[], np.ndarray]]
"""Name to a function that reads the tensor."""

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
        BackboneError: none of the known files is there, or a shard is missing.
    """
    for name, index in FORMATS:
        if (folder / name).exists():
            return [folder / name]
        if (folder / index).exists():
            try:
                shards = sorted(set(json.loads((folder / index).read_text())["weight_map"].values()))
                suffixes = {Path(shard).suffix for shard in shards}
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise BackboneError(f"{folder / index}: not a shard index") from error
            if suffixes != {Path(name).suffix}:
                raise BackboneError(f"{folder / index}: names shards that are no {Path(name).suffix} files")
            missing = [shard for shard in shards if not (folder / shard).exists()]
            if missing:
                raise BackboneError(f"{folder}: shards named in {index} are missing: {', '.join(missing)}")
            return [folder / shard for shard in shards]
    expected = ", ".join(name for name, _ in FORMATS)
    raise BackboneError(f"{folder}: no weights found; expected one of {expected} or an index of shards")


def open_tensors(folder: Path) -> Tensors:
    """All tensors of a folder by Hugging Face name.

    Raises:
        BackboneError: no weights, or a file that is damaged or holds more than tensors.
    """
    readers = {".safetensors": _open_safetensors, ".msgpack": _open_msgpack, ".bin": _open_torch}
    tensors: dict[str, Callable[[], np.ndarray]] = {}
    for path in weight_files(folder):
        tensors |= readers[path.suffix](path)
    return tensors


def _open_safetensors(path: Path) -> Tensors:
    """The library checks the header; tensors are then read from the file, since mapped pages count as memory."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as opened:
            names = list(opened.keys())
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError, struct.error) as error:
        raise BackboneError(f"{path}: not a safetensors file, or damaged ({error})") from error

    def reader(name: str) -> Callable[[], np.ndarray]:
        facts = header[name]
        dtype = SAFETENSORS_DTYPES.get(facts["dtype"])
        if dtype is None:
            raise BackboneError(f"{path}: tensor {name} has dtype {facts['dtype']}, which no T5 uses")
        start, end = facts["data_offsets"]
        count = (end - start) // dtype.itemsize
        return lambda: np.fromfile(path, dtype, count, offset=8 + length + start).reshape(facts["shape"])

    return {name: reader(name) for name in names}


def _open_torch(path: Path) -> Tensors:
    opened = TorchFile(path)

    def reader(name: str) -> Callable[[], np.ndarray]:
        return lambda: opened.read(name)

    return {name: reader(name) for name in opened.names()}


def _open_msgpack(path: Path) -> Tensors:
    """Flax nests modules and stores kernels transposed; arrays are extension type 1: (shape, dtype, bytes)."""
    import msgpack

    def array(code: int, data: bytes) -> Any:
        """An array over the bytes it came in: shape and dtype lead, and are read without copying what follows."""
        if code != 1:
            raise BackboneError(f"{path}: holds something other than arrays (extension type {code})")
        start = msgpack.Unpacker(raw=True)
        start.feed(data[:512])
        if start.read_array_header() != 3:
            raise BackboneError(f"{path}: holds an array that is not (shape, dtype, bytes)")
        shape, dtype = start.unpack(), start.unpack()
        marker = data[start.tell()]
        offset = start.tell() + {0xC4: 2, 0xC5: 3, 0xC6: 5}[marker]
        return np.frombuffer(data, dtype=_dtype(dtype.decode()), offset=offset).reshape(shape)

    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            tree = msgpack.Unpacker(file, ext_hook=array, max_buffer_size=max(size, 1), raw=False).unpack()
    except (ValueError, TypeError, AttributeError, LookupError, msgpack.exceptions.UnpackException) as error:
        raise BackboneError(f"{path}: not a Flax msgpack file, or damaged ({error})") from error
    if not isinstance(tree, dict):
        raise BackboneError(f"{path}: expected nested dictionaries of arrays")
    flat = dict(_flatten(tree, path))
    tree.clear()

    def reader(name: str) -> Callable[[], np.ndarray]:
        return lambda: flat.pop(name)  # the loader takes each tensor once; let go of it

    return {name: reader(name) for name in flat}


def _flatten(tree: Mapping[str, Any], path: Path, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for key, value in tree.items():
        if isinstance(value, dict) and "__msgpack_chunked_array__" in value:
            raise BackboneError(f"{path}: {prefix}{key} is stored in chunks; convert the model to safetensors")
        if isinstance(value, dict):
            yield from _flatten(value, path, f"{prefix}{key}.")
        elif not isinstance(value, np.ndarray):
            raise BackboneError(f"{path}: {prefix}{key} is no array")
        elif key == "kernel":
            yield f"{prefix}weight", value.T
        elif key in ("embedding", "weight"):
            yield f"{prefix}weight", value
        else:
            yield f"{prefix}{key}", value


def _dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)
