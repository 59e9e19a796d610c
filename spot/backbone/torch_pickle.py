"""What a PyTorch pickle describes, read from its opcodes without running it.

The walk accepts only the opcodes that describe dictionaries of tensors: building dictionaries, tuples and numbers,
referring to a storage record, and naming the two rebuild functions and the storage types listed below. Names are looked
up in that table and nothing is ever imported or called.

A program is walked once, opcode by opcode, and what it builds is never hashed, compared or printed before it is known
to be a text or a number, since tuples that share their parts unfold without end.
"""

from __future__ import annotations

import dataclasses
import pickletools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from spot.errors import BackboneError
from tasks.errors import shown

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

MOST_AXES = 64
"""Axes of a tensor; PyTorch has no more."""


class Name(NamedTuple):
    """A global that the table admits."""

    module: str
    name: str


class Storage(NamedTuple):
    """A record of numbers in the file: its key, their dtype and count."""

    key: str
    dtype: np.dtype[Any]
    size: int


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor as a view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


ADMITTED = {
    Name("collections", "OrderedDict"),
    Name("torch._utils", "_rebuild_tensor_v2"),
    Name("torch._utils", "_rebuild_parameter"),
} | {Name("torch", name) for name in STORAGE_DTYPES}


class Walk:
    """One pickle program on its way: the stack that its opcodes work on, marks in it, and what it remembers.

    Args:
        path: of the file, for errors.
        storages: takes every storage that the program refers to, by key.
    """

    def __init__(self, path: Path, storages: dict[str, Storage]) -> None:
        self.path, self.storages = path, storages
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, program: IO[bytes]) -> Any:
        """What the program describes.

        Raises:
            BackboneError: it describes more than tensors, or has no end; a damaged one may raise anything else.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of odd escapes in damaged text
            for opcode, argument, _position in pickletools.genops(program):
                if opcode.name == "STOP":
                    return self.stack.pop()
                if opcode.name not in OPCODES:
                    raise self.refused(f"its pickle holds more than tensors (opcode {opcode.name})")
                OPCODES[opcode.name](self, argument)
        raise BackboneError(f"{self.path}: its pickle has no end")

    def refused(self, why: str) -> BackboneError:
        return BackboneError(f"{self.path}: refused, {why}")

    # -- the stack ---------------------------------------------------------------------------------------

    def pop_to_mark(self) -> list[Any]:
        index = self.marks.pop()
        items = self.stack[index:]
        del self.stack[index:]
        return items

    def push_tuple(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def append(self) -> None:
        item = self.stack.pop()
        self.stack[-1].append(item)

    def extend(self) -> None:
        items = self.pop_to_mark()
        self.stack[-1].extend(items)

    def set_items(self, pairs: list[Any]) -> None:
        """Put keys and values, which stand in turn, into the dictionary on the stack."""
        if not self.stack or not isinstance(self.stack[-1], dict):
            raise self.refused("it sets items of something else than a dictionary")
        keys = map(self.key, pairs[::2])
        self.stack[-1].update(zip(keys, pairs[1::2], strict=True))

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def drop_attributes(self) -> None:
        """Attributes of a dictionary (its ``_metadata``) are of no use here."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise self.refused("it sets attributes of something else")

    # -- what stands for something -----------------------------------------------------------------------

    def key(self, key: Any) -> str:
        """A dictionary's key; numbers, as optimizers have them, are as good as their digits."""
        if not isinstance(key, str | int):
            raise self.refused(f"a key of its dictionaries is a {type(key).__name__}, no text")
        return str(key)

    def push_name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.refused("its pickle names something by no text")
        if (named := Name(module, name)) not in ADMITTED:
            raise self.refused(
                f"its pickle names {shown(f'{module}.{name}')[1:-1]}, which is no tensor"
            )
        self.stack.append(named)

    def push_name_from_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push_name(module, name)

    def push_storage(self) -> None:
        """The storage that a persistent id refers to: a tuple of kind, type, key, location and size."""
        reference = self.stack.pop()
        parts: tuple[Any, ...] = (
            reference if isinstance(reference, tuple) and len(reference) >= 5 else (None,) * 5
        )
        kind, storage_type, key, _location, size = parts[:5]
        named = (
            isinstance(storage_type, Name)
            and storage_type.name in STORAGE_DTYPES
            and isinstance(key, str | int)
        )
        if not isinstance(kind, str) or kind != "storage" or not named or not isinstance(size, int):
            raise self.refused("it refers to something that is no storage")
        storage = Storage(str(key), STORAGE_DTYPES[storage_type.name], size)
        self.storages[storage.key] = storage
        self.stack.append(storage)

    def push_call(self) -> None:
        """What a call of one of the admitted functions describes."""
        arguments, function = self.stack.pop(), self.stack.pop()
        name: str | None = (
            function.name if isinstance(function, Name) and isinstance(arguments, tuple) else None
        )
        match name:
            case "OrderedDict":
                self.stack.append({})
            case "_rebuild_tensor_v2" if len(arguments) >= 4:
                self.stack.append(self.tensor(*arguments[:4]))
            case "_rebuild_parameter" if arguments:
                self.stack.append(arguments[0])
            case _:
                raise self.refused("its pickle calls something that makes no tensor")

    def tensor(self, storage: Any, offset: Any, shape: Any, stride: Any) -> StoredTensor:
        if not isinstance(storage, Storage):
            raise self.refused("a tensor without a storage")
        for axes in (shape, stride):
            if not isinstance(axes, tuple) or len(axes) > MOST_AXES:
                raise self.refused("a tensor without a shape")
        return StoredTensor(storage, offset, shape, stride)


Opcode = Callable[[Walk, Any], object]
"""What an opcode does, given its argument."""


def _each(names: str, does: Opcode) -> dict[str, Opcode]:
    return dict.fromkeys(names.split(), does)


OPCODES: dict[str, Opcode] = (
    _each("PROTO FRAME", lambda _walk, _: None)
    | _each(
        "BININT BININT1 BININT2 LONG1 INT LONG BINFLOAT",
        lambda walk, number: walk.stack.append(number),
    )
    | _each(
        "BINUNICODE SHORT_BINUNICODE BINUNICODE8 UNICODE",
        lambda walk, text: walk.stack.append(text),
    )
    | _each(
        "BINPUT LONG_BINPUT PUT", lambda walk, slot: walk.memo.update({int(slot): walk.stack[-1]})
    )
    | _each("BINGET LONG_BINGET GET", lambda walk, slot: walk.stack.append(walk.memo[int(slot)]))
    | {
        "NONE": lambda walk, _: walk.stack.append(None),
        "NEWTRUE": lambda walk, _: walk.stack.append(True),
        "NEWFALSE": lambda walk, _: walk.stack.append(False),
        "EMPTY_DICT": lambda walk, _: walk.stack.append({}),
        "EMPTY_LIST": lambda walk, _: walk.stack.append([]),
        "EMPTY_TUPLE": lambda walk, _: walk.stack.append(()),
        "MARK": lambda walk, _: walk.marks.append(len(walk.stack)),
        "TUPLE": lambda walk, _: walk.stack.append(tuple(walk.pop_to_mark())),
        "TUPLE1": lambda walk, _: walk.push_tuple(1),
        "TUPLE2": lambda walk, _: walk.push_tuple(2),
        "TUPLE3": lambda walk, _: walk.push_tuple(3),
        "APPEND": lambda walk, _: walk.append(),
        "APPENDS": lambda walk, _: walk.extend(),
        "SETITEM": lambda walk, _: walk.set_item(),
        "SETITEMS": lambda walk, _: walk.set_items(walk.pop_to_mark()),
        "MEMOIZE": lambda walk, _: walk.memo.update({len(walk.memo): walk.stack[-1]}),
        "GLOBAL": lambda walk, named: walk.push_name(*named.split(" ", 1)),
        "STACK_GLOBAL": lambda walk, _: walk.push_name_from_stack(),
        "BINPERSID": lambda walk, _: walk.push_storage(),
        "REDUCE": lambda walk, _: walk.push_call(),
        "BUILD": lambda walk, _: walk.drop_attributes(),
    }
)
"""What every admitted opcode does; one that is not here ends the walk."""
