"""A bank as it is published: a folder in the layout of a hub repository, written whole and read with care.

It holds ``prompts.safetensors``, all arrays by address; ``bank.json``, the manifest with everything else
(:mod:`bank.manifest`); and ``README.md``, the card. Nothing is ever unpickled.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from bank.errors import BankError, reason
from bank.folders import is_empty, move_in, stage_for
from bank.manifest import Published, document_of, named_arrays, rows_of
from bank.vectors import checked_prompt, prompt_sha256

if TYPE_CHECKING:
    import numpy as np

PROMPTS, MANIFEST, CARD = "prompts.safetensors", "bank.json", "README.md"

FILES = (PROMPTS, CARD, MANIFEST)
"""In the order in which they are replaced: the manifest, which names what the others hold, comes last."""

START = "start."
"""What stands before the address of a mean token."""

OF_TASKS = {"texts": "<u8", "signature": "<f2"}
"""What is kept of tasks' texts, as arrays ``[n]`` of these dtypes; the field and a dot stand before their addresses."""

LARGEST_MANIFEST = 2**28
"""Bytes; one of a thousand runs with histories of hundred evaluations has a tenth of it."""

APART = "the two files do not belong together, fetch both again"

POINTER = b"version https://git-lfs"


def start_name(start: np.ndarray) -> str:
    """Name of a mean token ``[W]`` float32."""
    return START + prompt_sha256(start)


def text_name(field: str, array: np.ndarray) -> str:
    """Name of an array ``[n]`` of ``OF_TASKS``."""
    return f"{field}.{hashlib.sha256(array.astype(OF_TASKS[field]).tobytes()).hexdigest()}"


# -- writing -----------------------------------------------------------------------------------------------------


def write_repository(folder: Path, published: Published, card: str) -> None:
    """Write a published bank, whole or not at all; one that is there already is replaced, with its card.

    Raises:
        BankError: a place of something else, or one that cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    if folder.exists() and not (
        folder.is_dir() and (is_empty(folder) or (folder / MANIFEST).is_file())
    ):
        raise BankError(f"{folder}: exists and is no published bank; choose another folder")
    content = json.dumps(document_of(published), ensure_ascii=False, allow_nan=False, indent=1)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with stage_for(folder) as stage:
            save_file(dict(published.arrays), stage / PROMPTS)
            (stage / CARD).write_text(card, encoding="utf-8")
            (stage / MANIFEST).write_text(content + "\n", encoding="utf-8")
            for name in FILES:
                (stage / name).chmod(0o644)  # the library lets nobody else read what it writes
            move_in(stage, folder, FILES)
    except (OSError, SafetensorError) as error:
        said = getattr(error, "strerror", None) or reason(error)
        raise BankError(f"{folder}: cannot be written ({said}); choose another place") from error


# -- reading -----------------------------------------------------------------------------------------------------


def read_repository(folder: Path) -> Published:
    """A published bank, of which every name, size, number and address has been checked.

    Raises:
        BankError: no such folder, a file that is missing, too large or damaged, another version of the format, rows
            that cannot be, and arrays that are not those that the manifest names.
    """
    if not folder.is_dir():
        raise BankError(f"{folder}: no such folder; expected one that `spot bank push` wrote")
    manifest, prompts = folder / MANIFEST, folder / PROMPTS
    program, rows = rows_of(_read_json(manifest), manifest)
    arrays = _read_arrays(prompts)
    named = named_arrays(rows)
    for name, by in named.items():
        if name not in arrays:
            raise BankError(f"{prompts}: lacks {name[:18]}, which {by} names; {APART}")
    if others := sorted(arrays.keys() - named.keys()):
        raise BankError(
            f"{prompts}: holds {others[0][:18]}, which {MANIFEST} does not name; {APART}"
        )
    return Published(program=program, rows=rows, arrays=arrays)


def _read_json(path: Path) -> Any:
    _check_file(path)
    size = path.stat().st_size
    if size > LARGEST_MANIFEST:
        raise BankError(f"{path}: has {size} bytes; expected at most {LARGEST_MANIFEST}")
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise BankError(f"{path}: nested too deep for a manifest") from error
    except OSError as error:
        raise BankError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise BankError(f"{path}: not JSON, or cut short ({error})") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise BankError(f"{path}: not there; a published bank has {', '.join(FILES)}")
    try:
        with path.open("rb") as file:
            start = file.read(len(POINTER))
    except OSError as error:
        raise BankError(f"{path}: cannot be read ({error.strerror})") from error
    if start == POINTER:
        raise BankError(
            f"{path}: a git-LFS pointer, not the file; run `git lfs pull` in its repository"
        )


def _read_arrays(path: Path) -> Mapping[str, np.ndarray]:
    """All arrays of a file, each with the address that its numbers have."""
    from safetensors import SafetensorError, safe_open

    _check_file(path)
    arrays: dict[str, np.ndarray] = {}
    try:
        with safe_open(
            str(path), framework="numpy"
        ) as opened:  # holds what a header says against the file's size
            for name in opened.keys():  # noqa: SIM118
                arrays[name] = _checked_array(name, opened.get_tensor(name), path)
    except (SafetensorError, OSError, TypeError, ValueError, MemoryError) as error:
        if isinstance(error, BankError):
            raise
        raise BankError(f"{path}: not a safetensors file, or damaged ({reason(error)})") from error
    return arrays


class Stored(NamedTuple):
    """A kind of arrays: dtype, axes (0: two or more), its name for numbers, and what else its numbers must be."""

    dtype: str
    axes: int
    named: Callable[[np.ndarray], str]
    check: Callable[[np.ndarray, str], object] = lambda _array, _where: None


def _check_shares(array: np.ndarray, where: str) -> None:
    """Shares of examples lie between 0 and 1, and NaN lies nowhere."""
    if not ((array >= 0) & (array <= 1)).all():
        raise BankError(f"{where}: holds numbers that are no shares; fetch the file again")


NAMED = {
    "": Stored(
        "float32", 0, prompt_sha256, lambda array, where: checked_prompt(array, where=where)
    ),
    START: Stored(
        "float32", 1, start_name, lambda array, where: checked_prompt(array[None], where=where)
    ),
    "texts.": Stored("uint64", 1, functools.partial(text_name, "texts")),
    "signature.": Stored("float16", 1, functools.partial(text_name, "signature"), _check_shares),
}
"""Kinds of arrays by what stands before their addresses."""


def _checked_array(name: str, array: np.ndarray, path: Path) -> np.ndarray:
    """The array, if its name says what it is and what its numbers are."""
    where = f"{path}, {name[:18]}"
    field, dot, address = name.rpartition(".")
    if not re.fullmatch("[0-9a-f]{64}", address) or f"{field}{dot}" not in NAMED:
        raise BankError(f"{where}: is no address of a prompt; publish the bank again")
    kind = NAMED[f"{field}{dot}"]
    if (array.dtype.name, array.ndim) != (kind.dtype, kind.axes or max(array.ndim, 2)):
        axes = kind.axes or 2
        raise BankError(
            f"{where}: is {array.dtype.name} {list(array.shape)}, expected {kind.dtype} in "
            f"{axes} {'axis' if axes == 1 else 'axes'}"
        )
    kind.check(array, where)
    if kind.named(array) != name:
        raise BankError(f"{where}: its numbers differ from its address; fetch the file again")
    return array
