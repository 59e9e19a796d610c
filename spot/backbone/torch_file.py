"""Read the tensors of a PyTorch checkpoint without PyTorch and without unpickling.

A checkpoint is a pickle program beside raw storages: the program is walked (:mod:`spot.backbone.torch_pickle`), and
tensors are read straight from the storages. The LM-adapted T5 checkpoints of Lester et al. (2021) exist in this format
only. The work is bounded by the file's size.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from spot.backbone.files import check_file
from spot.backbone.torch_pickle import Storage, StoredTensor, Walk
from spot.errors import BackboneError
from tasks.errors import shown

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

BARE = "tensor"
"""Name of the one tensor of a file that holds nothing else."""

LARGEST = 2**62
"""No offset, size or stride of a tensor counts further."""

PROGRAM_BYTES = 2**26
"""Bytes of a pickle program, which says names and shapes only; those of the largest models have a few million."""

DAMAGE = (
    ArithmeticError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OSError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
)
"""What reading a damaged file can raise."""


class TorchFile:
    """An open checkpoint: names, and tensors read on demand straight from the file.

    The tensors are those of the file's dictionary, of its ``state_dict``, or of the one dictionary of tensors in it. A
    file whose whole content is one bare tensor gives it under the name ``"tensor"``.

    Raises:
        BackboneError: damaged, or anything in it is more than a dictionary of tensors or a tensor.
    """

    def __init__(self, path: Path) -> None:
        self._path = check_file(path)
        self._offsets: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._named: dict[str, Storage] = {}
        try:
            content = self._open_zip() if zipfile.is_zipfile(path) else self._open_legacy()
        except BackboneError:
            raise
        except DAMAGE as error:
            raise BackboneError(
                f"{path}: not a PyTorch checkpoint, or damaged ({error})"
            ) from error
        if isinstance(content, StoredTensor):
            content = {BARE: content}
        if not isinstance(content, dict):
            raise BackboneError(f"{path}: expected a dictionary of tensors")
        self._tensors = {
            name: value
            for name, value in _state(content).items()
            if isinstance(value, StoredTensor)
        }
        for name, tensor in self._tensors.items():
            self._check(shown(name)[1:-1], tensor)

    def names(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, which nothing is read for."""
        return self._tensors[name].shape

    def read(self, name: str) -> np.ndarray:
        """One tensor ``[...]`` of its shape, from the file's storage record, in the dtype it is stored in."""
        tensor = self._tensors[name]
        dtype, start = tensor.storage.dtype, self._offsets[tensor.storage.key]
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, dtype)
        count = _extent(tensor) - tensor.offset
        used = np.fromfile(self._path, dtype, count, offset=start + tensor.offset * dtype.itemsize)
        strides = tuple(s * dtype.itemsize for s in tensor.stride)
        return np.lib.stride_tricks.as_strided(used, tensor.shape, strides)

    def _check(self, name: str, tensor: StoredTensor) -> None:
        """Refuse a tensor that is not wholly inside a storage record of this file."""
        numbers = (tensor.offset, *tensor.shape, *tensor.stride)
        sensible = all(isinstance(n, int) and abs(n) <= LARGEST for n in numbers)
        if (
            not sensible
            or len(tensor.shape) != len(tensor.stride)
            or math.prod(filter(None, tensor.shape)) > LARGEST
        ):
            raise BackboneError(f"{self._path}: tensor {name} has no sensible shape")
        key, dtype = tensor.storage.key, tensor.storage.dtype
        if key not in self._offsets:
            raise BackboneError(f"{self._path}: cut short; the storage of tensor {name} is missing")
        size = tensor.storage.size * dtype.itemsize
        if min(numbers) < 0 or _extent(tensor) > tensor.storage.size:
            raise BackboneError(f"{self._path}: tensor {name} reaches beyond its storage")
        if math.prod(tensor.shape) > tensor.storage.size:
            raise BackboneError(
                f"{self._path}: tensor {name} repeats entries: it is larger than its storage"
            )
        if size > self._sizes[key] or self._offsets[key] + size > self._path.stat().st_size:
            raise BackboneError(f"{self._path}: cut short; tensor {name} is not whole")

    def _open_zip(self) -> Any:
        with zipfile.ZipFile(self._path) as archive, self._path.open("rb") as raw:
            programs = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
            if len(programs) != 1:
                raise BackboneError(f"{self._path}: not a PyTorch checkpoint (no data.pkl)")
            if programs[0].compress_type != zipfile.ZIP_STORED:
                raise BackboneError(
                    f"{self._path}: {programs[0].filename} is compressed; PyTorch stores it as it is"
                )
            if programs[0].file_size > PROGRAM_BYTES:
                raise BackboneError(
                    f"{self._path}: {programs[0].filename} is too large to describe tensors"
                )
            root = programs[0].filename.removesuffix("data.pkl")
            for info in archive.infolist():
                if info.filename.startswith(f"{root}data/"):
                    if info.compress_type != zipfile.ZIP_STORED:
                        raise BackboneError(f"{self._path}: storage {info.filename} is compressed")
                    raw.seek(info.header_offset + 26)
                    lengths = struct.unpack("<HH", raw.read(4))
                    key = info.filename.removeprefix(f"{root}data/")
                    self._offsets[key] = info.header_offset + 30 + sum(lengths)
                    self._sizes[key] = info.file_size
            return self._walk(io.BytesIO(archive.read(programs[0])))

    def _open_legacy(self) -> Any:
        """The format before PyTorch 1.6: magic, version, machine, object, keys, then storages in key order."""
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            program = io.BytesIO(file.read(PROGRAM_BYTES))
            if self._walk(program) != LEGACY_MAGIC:
                raise BackboneError(f"{self._path}: not a PyTorch checkpoint")
            self._walk(program), self._walk(program)
            content = self._walk(program)
            keys = self._walk(program)
            if not isinstance(keys, list) or not all(isinstance(key, str | int) for key in keys):
                raise BackboneError(
                    f"{self._path}: not a PyTorch checkpoint (its storages have no keys)"
                )
            file.seek(program.tell())
            for key in map(str, keys):
                (count,) = struct.unpack("<q", file.read(8))
                dtype = self._named[key].dtype if key in self._named else np.dtype("<f4")
                self._offsets[key], self._sizes[key] = file.tell(), count * dtype.itemsize
                if not 0 <= count * dtype.itemsize <= size - file.tell():
                    raise BackboneError(
                        f"{self._path}: cut short; storage {shown(key)} is not whole"
                    )
                file.seek(self._sizes[key], 1)
            return content

    def _walk(self, program: IO[bytes]) -> Any:
        """What one pickle program describes."""
        return Walk(self._path, self._named).run(program)


def _state(content: dict[str, Any]) -> dict[str, Any]:
    """The dictionary of tensors: ``state_dict``, the content itself, or the one dictionary in it that holds any."""
    if isinstance(content.get("state_dict"), dict):
        state: dict[str, Any] = content["state_dict"]
        return state
    if any(isinstance(value, StoredTensor) for value in content.values()):
        return content
    inner = [value for value in content.values() if isinstance(value, dict)]
    holding = [
        value
        for value in inner
        if any(isinstance(tensor, StoredTensor) for tensor in value.values())
    ]
    return holding[0] if len(holding) == 1 else content


def _extent(tensor: StoredTensor) -> int:
    """One past the last element of the storage that the tensor reads."""
    if 0 in tensor.shape:
        return tensor.offset
    return (
        tensor.offset
        + 1
        + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride, strict=True))
    )
