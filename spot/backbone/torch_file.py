"""Read the tensors of a PyTorch checkpoint without PyTorch and without unpickling.

A checkpoint is a pickle program beside raw storages. Instead of running that program, this reader walks its
opcodes and accepts only those that describe a dictionary of tensors: building dictionaries, tuples and numbers,
referring to a storage record, and naming the two rebuild functions and the storage types listed below. Names are
looked up in that table and nothing is ever imported or called. The LM-adapted T5 checkpoints of Lester et al.
(2021) exist in this format only.

The work is bounded by the file's size: a program is walked once, opcode by opcode, and what it builds is never hashed,
compared or printed before it is known to be a text or a number, since tuples that share their parts unfold without end.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from spot.backbone.files import check_file, shown
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

BARE = "tensor"
"""Name of the one tensor of a file that holds nothing else."""

MOST_AXES = 64
"""Axes of a tensor; PyTorch has no more."""

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
        self._named: dict[str, _Storage] = {}
        try:
            content = self._open_zip() if zipfile.is_zipfile(path) else self._open_legacy()
        except BackboneError:
            raise
        except DAMAGE as error:
            raise BackboneError(f"{path}: not a PyTorch checkpoint, or damaged ({error})") from error
        if isinstance(content, _Tensor):
            content = {BARE: content}
        if not isinstance(content, dict):
            raise BackboneError(f"{path}: expected a dictionary of tensors")
        self._tensors = {name: value for name, value in _state(content).items() if isinstance(value, _Tensor)}
        for name, tensor in self._tensors.items():
            self._check(shown(name)[1:-1], tensor)

    def names(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, which nothing is read for."""
        return self._tensors[name].shape

    def read(self, name: str) -> np.ndarray:
        """One tensor, from the file's storage record, in the dtype it is stored in."""
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
        sensible = all(isinstance(n, int) and abs(n) <= LARGEST for n in numbers)
        if not sensible or len(tensor.shape) != len(tensor.stride) or math.prod(filter(None, tensor.shape)) > LARGEST:
            raise BackboneError(f"{self._path}: tensor {name} has no sensible shape")
        key, dtype = tensor.storage.key, tensor.storage.dtype
        if key not in self._offsets:
            raise BackboneError(f"{self._path}: cut short; the storage of tensor {name} is missing")
        size = tensor.storage.size * dtype.itemsize
        if min(numbers) < 0 or _extent(tensor) > tensor.storage.size:
            raise BackboneError(f"{self._path}: tensor {name} reaches beyond its storage")
        if math.prod(tensor.shape) > tensor.storage.size:
            raise BackboneError(f"{self._path}: tensor {name} repeats entries: it is larger than its storage")
        if size > self._sizes[key] or self._offsets[key] + size > self._path.stat().st_size:
            raise BackboneError(f"{self._path}: cut short; tensor {name} is not whole")

    def _open_zip(self) -> Any:
        with zipfile.ZipFile(self._path) as archive, self._path.open("rb") as raw:
            programs = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
            if len(programs) != 1:
                raise BackboneError(f"{self._path}: not a PyTorch checkpoint (no data.pkl)")
            if programs[0].compress_type != zipfile.ZIP_STORED:
                raise BackboneError(f"{self._path}: {programs[0].filename} is compressed; PyTorch stores it as it is")
            if programs[0].file_size > PROGRAM_BYTES:
                raise BackboneError(f"{self._path}: {programs[0].filename} is too large to describe tensors")
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
                raise BackboneError(f"{self._path}: not a PyTorch checkpoint (its storages have no keys)")
            file.seek(program.tell())
            for key in map(str, keys):
                (count,) = struct.unpack("<q", file.read(8))
                dtype = self._named[key].dtype if key in self._named else np.dtype("<f4")
                self._offsets[key], self._sizes[key] = file.tell(), count * dtype.itemsize
                if not 0 <= count * dtype.itemsize <= size - file.tell():
                    raise BackboneError(f"{self._path}: cut short; storage {shown(key)} is not whole")
                file.seek(self._sizes[key], 1)
            return content

    def _walk(self, program: IO[bytes]) -> Any:
        """Interpret one pickle program over the few admitted opcodes; returns what it describes."""
        stack: list[Any] = []
        marks: list[int] = []
        memo: dict[int, Any] = {}

        def to_mark() -> list[Any]:
            index = marks.pop()
            items = stack[index:]
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
                    marks.append(len(stack))
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
                    self._dictionary(stack)[self._key(key)] = value
                case "SETITEMS":
                    pairs = to_mark()
                    keys = map(self._key, pairs[::2])
                    self._dictionary(stack).update(zip(keys, pairs[1::2], strict=True))
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

    def _dictionary(self, stack: list[Any]) -> dict[str, Any]:
        if not stack or not isinstance(stack[-1], dict):
            raise BackboneError(f"{self._path}: refused, it sets items of something else than a dictionary")
        found: dict[str, Any] = stack[-1]
        return found

    def _key(self, key: Any) -> str:
        """A dictionary's key; numbers, as optimizers have them, are as good as their digits."""
        if not isinstance(key, str | int):
            raise BackboneError(f"{self._path}: refused, a key of its dictionaries is a {type(key).__name__}, no text")
        return str(key)

    def _admit(self, module: Any, name: Any) -> _Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise BackboneError(f"{self._path}: refused, its pickle names something by no text")
        found = _Name(module, name)
        if found not in ADMITTED:
            named = shown(f"{module}.{name}")[1:-1]
            raise BackboneError(f"{self._path}: refused, its pickle names {named}, which is no tensor")
        return found

    def _storage(self, reference: Any) -> _Storage:
        parts: tuple[Any, ...] = reference if isinstance(reference, tuple) and len(reference) >= 5 else (None,) * 5
        kind, storage_type, key, _location, size = parts[:5]
        named = isinstance(storage_type, _Name) and storage_type.name in STORAGE_DTYPES and isinstance(key, str | int)
        if not isinstance(kind, str) or kind != "storage" or not named or not isinstance(size, int):
            raise BackboneError(f"{self._path}: refused, it refers to something that is no storage")
        storage = _Storage(str(key), STORAGE_DTYPES[storage_type.name], size)
        self._named[storage.key] = storage
        return storage

    def _describe(self, function: Any, arguments: Any) -> Any:
        name: str | None = function.name if isinstance(function, _Name) and isinstance(arguments, tuple) else None
        match name:
            case "OrderedDict":
                return {}
            case "_rebuild_tensor_v2" if len(arguments) >= 4:
                storage, offset, shape, stride = arguments[:4]
                if not isinstance(storage, _Storage):
                    raise BackboneError(f"{self._path}: refused, a tensor without a storage")
                sizes = [tuple(axes) for axes in (shape, stride) if isinstance(axes, tuple) and len(axes) <= MOST_AXES]
                if len(sizes) != 2:
                    raise BackboneError(f"{self._path}: refused, a tensor without a shape")
                return _Tensor(storage, offset, *sizes)
            case "_rebuild_parameter" if arguments:
                return arguments[0]
        raise BackboneError(f"{self._path}: refused, its pickle calls something that makes no tensor")


def _state(content: dict[str, Any]) -> dict[str, Any]:
    """The dictionary of tensors: ``state_dict``, the content itself, or the one dictionary in it that holds any."""
    if isinstance(content.get("state_dict"), dict):
        state: dict[str, Any] = content["state_dict"]
        return state
    if any(isinstance(value, _Tensor) for value in content.values()):
        return content
    inner = [value for value in content.values() if isinstance(value, dict)]
    holding = [value for value in inner if any(isinstance(tensor, _Tensor) for tensor in value.values())]
    return holding[0] if len(holding) == 1 else content


def _extent(tensor: _Tensor) -> int:
    """One past the last element of the storage that the tensor reads."""
    if 0 in tensor.shape:
        return tensor.offset
    return tensor.offset + 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride, strict=True))
