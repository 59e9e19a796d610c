"""Readers of a Hugging Face folder's weights: safetensors, Flax msgpack, and PyTorch files without PyTorch.

Each gives tensors one by one under their Hugging Face names in PyTorch's orientation, so that at most one tensor
is held beside the loaded model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from spot.backbone.torch_file import TorchFile
from spot.errors import BackboneError

Tensors = Mapping[str, Callable[[], np.ndarray]]
"""Name to a function that reads the tensor."""

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
            except (ValueError, KeyError, AttributeError) as error:
                raise BackboneError(f"{folder / index}: not a shard index") from error
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
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="flax") as opened:
            names = list(opened.keys())
    except (SafetensorError, OSError) as error:
        raise BackboneError(f"{path}: not a safetensors file, or damaged ({error})") from error

    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            # opened anew for each tensor: the pages of a mapped file count as memory until it is closed
            with safe_open(str(path), framework="flax") as opened:
                return np.asarray(opened.get_tensor(name))

        return read

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
        if code != 1:
            raise BackboneError(f"{path}: holds something other than arrays (extension type {code})")
        shape, dtype, buffer = msgpack.unpackb(data, raw=True)
        return np.frombuffer(buffer, dtype=_dtype(dtype.decode())).reshape(shape)

    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            tree = msgpack.Unpacker(file, ext_hook=array, max_buffer_size=max(size, 1), raw=False).unpack()
    except (ValueError, msgpack.exceptions.UnpackException, TypeError) as error:
        raise BackboneError(f"{path}: not a Flax msgpack file, or damaged ({error})") from error
    if not isinstance(tree, dict):
        raise BackboneError(f"{path}: expected nested dictionaries of arrays")
    flat = dict(_flatten(tree))

    def reader(name: str) -> Callable[[], np.ndarray]:
        return lambda: flat.pop(name)  # the loader takes each tensor once; let go of it

    return {name: reader(name) for name in flat}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
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
