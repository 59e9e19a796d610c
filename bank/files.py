"""Prompts in and out of a bank: ``.npy`` and safetensors. Nothing is ever unpickled."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError

import numpy as np

from bank.errors import BankError
from bank.records import (
    BackboneRecord,
    RecipeRecord,
    RunIdentity,
    RunRecord,
    SnapshotRecord,
    TaskRecord,
    digest,
)
from bank.store import Bank
from bank.vectors import checked_prompt, prompt_sha256

TENSOR = "prompt"
"""Name of the prompt in a safetensors file that we write; a file with a single tensor may name it anything."""


@dataclasses.dataclass(frozen=True)
class PromptFile:
    """A prompt ``[P, H]`` float32 read from a file, and what the file says about it."""

    prompt: np.ndarray
    metadata: Mapping[str, str]


def read_prompt(path: Path) -> PromptFile:
    """Read ``.npy`` or ``.safetensors``.

    Raises:
        BankError: missing file, another format, pickled objects, several tensors, wrong shape, or NaN.
    """
    if not path.is_file():
        raise BankError(f"{path}: no such file")
    readers = {".npy": _read_npy, ".safetensors": _read_safetensors}
    reader = readers.get(path.suffix)
    if reader is None:
        raise BankError(f"{path}: unknown format {path.suffix!r}; expected .npy or .safetensors")
    values, metadata = reader(path)
    return PromptFile(checked_prompt(values, where=str(path)), metadata)


def write_prompt(path: Path, prompt: np.ndarray, metadata: Mapping[str, str] | None = None) -> None:
    """Write ``.npy`` (the array alone) or ``.safetensors`` (with metadata); whole or not at all.

    Raises:
        BankError: unknown format, or a folder or disk that cannot take it.
    """
    values = checked_prompt(prompt)
    if path.suffix == ".npy":
        stream = io.BytesIO()
        np.save(stream, values, allow_pickle=False)
        content = stream.getvalue()
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save

        content = save({TENSOR: values}, metadata=dict(metadata or {}))
    else:
        raise BankError(f"{path}: unknown format {path.suffix!r}; expected .npy or .safetensors")
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    try:
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    except OSError as error:
        raise BankError(f"{path}: cannot be written ({error.strerror})") from error


def import_prompt(
    bank: Bank,
    path: Path,
    *,
    task: TaskRecord,
    backbone: BackboneRecord,
    seed: int = 0,
    key: Path | None = None,
    score: float = float("nan"),
) -> str:
    """Store a prompt that others trained as a source run; returns the run's digest.

    Its recipe is unknown, so imported prompts form a partition of their own and are never ranked against keys
    that were trained here. Without ``key`` the prompt itself stands in as its key.

    Raises:
        BankError: an unreadable file, or a prompt of another width than the backbone's.
    """
    value = read_prompt(path).prompt
    early = read_prompt(key).prompt if key else value
    for name, prompt in ((path, value), (key, early)):
        if prompt.shape[1] != backbone.width:
            raise BankError(
                f"{name}: prompt has width {prompt.shape[1]}, but backbone {backbone.name} has width "
                f"{backbone.width}; it was made for another model"
            )
    recipe = RecipeRecord(
        backbone=backbone,
        prompt_length=value.shape[0],
        key_step=0,
        family=digest("imported"),
        options={"imported": True},
    )
    return bank.record_run(
        RunRecord(
            identity=RunIdentity(recipe=recipe, task=task, seed=seed, role="source", data=prompt_sha256(value)),
            steps=0,
            metric="unknown",
            score=0.0 if np.isnan(score) else score,
            value=SnapshotRecord(prompt=value, step=0),
            key=SnapshotRecord(prompt=early, step=0),
            environment={"imported from": path.name},
        )
    )


def _read_npy(path: Path) -> tuple[np.ndarray, Mapping[str, str]]:
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                raise BankError(f"{path}: an archive of several arrays; expected one array [P, H]")
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False), {}
    except (OSError, ValueError, SyntaxError, TokenError, MemoryError, OverflowError, TypeError) as error:
        if isinstance(error, BankError):
            raise
        raise BankError(f"{path}: not a plain .npy array (pickled objects are refused)") from error


def _read_safetensors(path: Path) -> tuple[np.ndarray, Mapping[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as opened:
            names = list(opened.keys())
            name = TENSOR if TENSOR in names else names[0] if len(names) == 1 else None
            if name is None:
                raise BankError(f"{path}: holds {len(names)} tensors; expected one, or one named {TENSOR!r}")
            return opened.get_tensor(name), opened.metadata() or {}
    except (SafetensorError, OSError, AttributeError, TypeError) as error:
        raise BankError(f"{path}: not a safetensors file, or damaged ({error})") from error
