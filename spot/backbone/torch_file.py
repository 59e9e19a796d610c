"""Read the tensors of a PyTorch checkpoint without PyTorch and without unpickling.

A checkpoint is a pickle program beside raw storages. Instead of running that program, this reader walks its
opcodes and accepts only those that describe a dictionary of tensors: building dictionaries, tuples and numbers,
referring to a storage record, and naming the two rebuild functions and the storage types listed below. Names are
looked up in that table and nothing is ever imported or called. The LM-adapted T5 checkpoints of Lester et al.
(2021) exist in this format only.
"""

from __future__ import annotations

import dataclasses
import pickletools
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from spot.errors import BackboneError

STORAGE_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class _Name(NamedTuple):
    """A global that the table admits."""

    module: str
    name: str


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]
    size: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


ADMITTED = {
    _Name("collections", "OrderedDict"),
    _Name("torch._utils", "_rebuild_tensor_v2"),
    _Name("torch._utils", "_rebuild_parameter"),
} | {_Name("torch", name) for name in STORAGE_DTYPES}

_MARK = object()

DAMAGE = (
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

    Raises:
        BackboneError: damaged, or anything in it is more than a dictionary of tensors.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        try:
            content = self._open_zip() if zipfile.is_zipfile(path) else self._open_legacy()
        except BackboneError:
            raise
        except DAMAGE as error:
            raise BackboneError(f"{path}: not a PyTorch checkpoint, or damaged ({error})") from error
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
        if not isinstance(content, dict):
            raise BackboneError(f"{path}: expected a dictionary of tensors")
        self._tensors = {str(name): value for name, value in content.items() if isinstance(value, _Tensor)}
        for name, tensor in self._tensors.items():
            self._check(name, tensor)

    def names(self) -> list[str]:
        return list(self._tensors)

    def read(self, name: str) -> np.ndarray:
        """One tensor, from the file's storage record."""
        tensor = self._tensors[name]
        dtype, start = tensor.storage.dtype, self._offsets[tensor.storage.key]
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, dtype)
        count = _extent(tensor) - tensor.offset
        used = np.fromfile(self._path, dtype, count, offset=start + tensor.offset * dtype.itemsize)
        strides = tuple(s * dtype.itemsize for s in tensor.stride)
        return np.lib.stride_tricks.as_strided(used, tensor.shape, strides)

    def _check(self, name: str, tensor: _Tensor) -> None:
        """Refuse a tensor that is not wholly inside a storage record of this file."""
        numbers = (tensor.offset, *tensor.shape, *tensor.stride)
        if len(tensor.shape) != len(tensor.stride) or not all(isinstance(n, int) for n in numbers):
            raise BackboneError(f"{self._path}: tensor {name} has no sensible shape")
        key, dtype = tensor.storage.key, tensor.storage.dtype
        if key not in self._offsets:
            raise BackboneError(f"{self._path}: cut short; the storage of tensor {name} is missing")
        size = tensor.storage.size * dtype.itemsize
        if min(numbers) < 0 or _extent(tensor) > tensor.storage.size:
            raise BackboneError(f"{self._path}: tensor {name} reaches beyond its storage")
        if size > self._sizes[key] or self._offsets[key] + size > self._path.stat().st_size:
            raise BackboneError(f"{self._path}: cut short; tensor {name} is not whole")

    def _open_zip(self) -> Any:
        with zipfile.ZipFile(self._path) as archive, self._path.open("rb") as raw:
            programs = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
            if len(programs) != 1:
                raise BackboneError(f"{self._path}: not a PyTorch checkpoint (no data.pkl)")
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
            with archive.open(programs[0]) as program:
                return self._walk(program)

    def _open_legacy(self) -> Any:
        """The format before PyTorch 1.6: magic, version, machine, object, keys, then storages in key order."""
        with self._path.open("rb") as file:
            if self._walk(file) != LEGACY_MAGIC:
                raise BackboneError(f"{self._path}: not a PyTorch checkpoint")
            self._walk(file), self._walk(file)
            content = self._walk(file)
            keys = self._walk(file)
            sizes = {s.key: s for s in _storages(content)}
            for key in keys:
                (size,) = struct.unpack("<q", file.read(8))
                self._offsets[key] = file.tell()
                dtype = sizes[key].dtype if key in sizes else np.dtype("<f4")
                self._sizes[key] = size * dtype.itemsize
                file.seek(size * dtype.itemsize, 1)
            return content

    def _walk(self, program: IO[bytes]) -> Any:
        """Interpret one pickle program over the few admitted opcodes; returns what it describes."""
        stack: list[Any] = []
        memo: dict[int, Any] = {}

        def to_mark() -> list[Any]:
            index = len(stack) - 1 - stack[::-1].index(_MARK)
            items = stack[index + 1 :]
            del stack[index:]
            return items

        argument: Any
        for opcode, argument, _position in pickletools.genops(program):
            match opcode.name:
                case "PROTO" | "FRAME":
                    pass
                case "STOP":
                    return stack.pop()
                case "MARK":
                    stack.append(_MARK)
                case "NONE" | "NEWTRUE" | "NEWFALSE":
                    stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
                case (
                    "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE"
                    | "BINUNICODE8" | "INT" | "LONG" | "UNICODE"
                ):  # fmt: skip
                    stack.append(argument)
                case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                    stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[opcode.name])
                case "TUPLE":
                    stack.append(tuple(to_mark()))
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    count = int(opcode.name[-1])
                    items = tuple(stack[-count:])
                    del stack[-count:]
                    stack.append(items)
                case "APPEND":
                    item = stack.pop()
                    stack[-1].append(item)
                case "APPENDS":
                    items_to_add = to_mark()
                    stack[-1].extend(items_to_add)
                case "SETITEM":
                    value, key = stack.pop(), stack.pop()
                    stack[-1][key] = value
                case "SETITEMS":
                    pairs = to_mark()
                    stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))
                case "BINPUT" | "LONG_BINPUT" | "PUT":
                    memo[int(argument)] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "BINGET" | "LONG_BINGET" | "GET":
                    stack.append(memo[int(argument)])
                case "GLOBAL":
                    stack.append(self._admit(*argument.split(" ", 1)))
                case "STACK_GLOBAL":
                    name, module = stack.pop(), stack.pop()
                    stack.append(self._admit(module, name))
                case "BINPERSID":
                    stack.append(self._storage(stack.pop()))
                case "REDUCE":
                    arguments, function = stack.pop(), stack.pop()
                    stack.append(self._describe(function, arguments))
                case "BUILD":  # attributes of a dictionary (its _metadata): of no use here
                    stack.pop()
                    if not isinstance(stack[-1], dict):
                        raise BackboneError(f"{self._path}: refused, it sets attributes of something else")
                case _:
                    raise BackboneError(
                        f"{self._path}: refused, its pickle holds more than tensors (opcode {opcode.name})"
                    )
        raise BackboneError(f"{self._path}: its pickle has no end")

    def _admit(self, module: str, name: str) -> _Name:
        found = _Name(module, name)
        if found not in ADMITTED:
            raise BackboneError(f"{self._path}: refused, its pickle names {module}.{name}, which is no tensor")
        return found

    def _storage(self, reference: Any) -> _Storage:
        kind, storage_type, key, _location, size = reference[:5]
        if kind != "storage" or not isinstance(storage_type, _Name):
            raise BackboneError(f"{self._path}: refused, it refers to something that is no storage")
        return _Storage(str(key), STORAGE_DTYPES[storage_type.name], int(size))

    def _describe(self, function: Any, arguments: Any) -> Any:
        match function:
            case _Name(name="OrderedDict"):
                return {}
            case _Name(name="_rebuild_tensor_v2"):
                storage, offset, shape, stride = arguments[:4]
                if not isinstance(storage, _Storage):
                    raise BackboneError(f"{self._path}: refused, a tensor without a storage")
                return _Tensor(storage, int(offset), tuple(shape), tuple(stride))
            case _Name(name="_rebuild_parameter"):
                return arguments[0]
        raise BackboneError(f"{self._path}: refused, its pickle calls {function!r}")


def _extent(tensor: _Tensor) -> int:
    """One past the last element of the storage that the tensor reads."""
    if 0 in tensor.shape:
        return tensor.offset
    return tensor.offset + 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride, strict=True))


def _storages(content: Any) -> Iterator[_Storage]:
    if isinstance(content, _Tensor):
        yield content.storage
    elif isinstance(content, dict):
        for value in content.values():
            yield from _storages(value)
