"""Files with arrays: ``.npy``, safetensors and PyTorch's. Nothing is ever unpickled.

What a file claims is held against its size before anything is allocated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spot.backbone.torch_file import TorchFile
from spot.backbone.weights import open_safetensors, stored_array
from spot.errors import PromptError
from tasks.errors import shown

TENSOR = "prompt"
"""Name of the prompt in a safetensors file that we write."""

START = "start"
"""Beside it, the mean token of the prompt that the run started from, where that is known."""

RANKS = {
    "prompt": 2,
    "deep": 3,
    "prefix": 4,
    "prefix_encoder": 4,
    "prefix_decoder": 4,
    "prefix_cross": 4,
    "infix": 4,
    "suffix": 2,
    "decoder": 2,
    "attention": 3,
}
"""Axes of a prompt ``[..., P, H]`` by its form (:mod:`spot.prompts.forms`, which is not imported: it loads JAX)."""

LONGEST_HEADER = 4096
"""Bytes of a ``.npy`` header, which says one dtype and one shape."""

Tensors = Mapping[str, Callable[[], np.ndarray]]
"""Arrays by name, read when called."""


def _read_npy(path: Path) -> tuple[Tensors, Mapping[str, str]]:
    with path.open("rb") as file:
        start = file.read(8)
        if start[:2] == b"PK":
            raise PromptError(f"{path}: an archive of several arrays; expected one array [P, H]")
        if start[:6] != np.lib.format.MAGIC_PREFIX or start[6:7] not in (b"\1", b"\2", b"\3"):
            raise PromptError(f"{path}: not a plain .npy array (pickled objects are refused)")
        size = int.from_bytes(file.read(2 if start[6] == 1 else 4), "little")
        if size > LONGEST_HEADER:
            raise PromptError(
                f"{path}: its header has {size} bytes, expected at most {LONGEST_HEADER}"
            )
        dtype, fortran, shape = _npy_facts(path, file.read(size).decode("latin-1"))
        offset = file.tell()
    expected, found = math.prod(shape) * dtype.itemsize, path.stat().st_size - offset
    if found != expected:
        how = "cut short" if found < expected else "longer than one array"
        raise PromptError(
            f"{path}: {how}; its header says {shown(list(shape))} {dtype}, {found} bytes follow"
        )
    stored = stored_array(path, dtype, shape[::-1] if fortran else shape, offset)
    return {"": (lambda: stored().T) if fortran else stored}, {}


def _npy_facts(path: Path, header: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Dtype, order and shape that a header says. It is a Python literal, which is searched and not evaluated."""
    descr = re.search(r"""['"]descr['"]\s*:\s*['"]([<>=|]?)([a-zA-Z?])(\d{0,4})['"]""", header)
    fortran = re.search(r"""['"]fortran_order['"]\s*:\s*(True|False)""", header)
    shape = re.search(r"""['"]shape['"]\s*:\s*\(([\d, ]*)\)""", header)
    if descr and descr[2] == "O":
        raise PromptError(f"{path}: not a plain .npy array (pickled objects are refused)")
    if not (descr and fortran and shape):
        raise PromptError(
            f"{path}: not a plain .npy array; its header does not say one dtype, order and shape"
        )
    numbers = re.findall(r"\d+", shape[1])
    if len(numbers) not in RANKS.values() or any(not number.strip("0") for number in numbers):
        raise PromptError(
            f"{path}: expected an array [P, H], found shape [{', '.join(numbers)[:40]}]"
        )
    if max(map(len, numbers)) > 18:
        raise PromptError(f"{path}: cut short; its header says a shape larger than any file")
    try:
        dtype = np.dtype("".join(descr.groups()))
    except TypeError as error:
        raise PromptError(
            f"{path}: not a plain .npy array; its dtype {descr[2]}{descr[3]} is unknown"
        ) from error
    if dtype.kind not in "fiu":
        raise PromptError(f"{path}: expected numbers, found dtype {dtype.name}")
    return dtype, fortran[1] == "True", tuple(map(int, numbers))


def _read_safetensors(path: Path) -> tuple[Tensors, Mapping[str, str]]:
    from safetensors import safe_open

    tensors = open_safetensors(path)
    with safe_open(str(path), framework="numpy") as opened:
        return tensors, opened.metadata() or {}


def _read_torch(path: Path) -> tuple[Tensors, Mapping[str, str]]:
    opened = TorchFile(path)
    return {name: lambda name=name: opened.read(name) for name in opened.names()}, {}  # type: ignore[misc]


READERS: Mapping[str, Callable[[Path], tuple[Tensors, Mapping[str, str]]]] = {
    ".npy": _read_npy,
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".bin": _read_torch,
}
"""By a file's ending: all tensors of a file by name, read when called, and what its header says."""
