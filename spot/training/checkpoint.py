"""Saved training state: one file, replaced atomically, never pickled."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import numpy as np

from spot.errors import TrainingError

DIGEST = hashlib.sha256().digest_size
"""A checkpoint begins with the sha256 of what follows."""


MADE = ("training", "model")
"""What a folder holds once a model has trained there."""


def claim(path: Path, told: Mapping[str, Any]) -> None:
    """Write down what a folder is for, in which ``MADE`` may follow.

    Raises:
        TrainingError: these are there, of something else.
    """
    content = json.dumps(told, indent=1).encode()
    begun = any((path.parent / name).exists() for name in MADE)
    if begun and path.is_file() and path.read_bytes() != content:
        raise TrainingError(
            f"{path.parent}: holds another training ({path.name} says which); choose another --folder"
        )
    write_atomically(path, content)


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path``, flush it to disk, then rename: a reader sees all of it or none.

    Raises:
        TrainingError: the disk is full or the folder cannot be written; ``path`` keeps its old content.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise TrainingError(
            f"{path}: cannot be written ({error.strerror}); free space or choose another folder"
        ) from error


def save(path: Path, arrays: Any, notes: dict[str, Any], *, identity: str) -> None:
    """Save a pytree of arrays and JSON-able notes; ``identity`` names the run they belong to."""
    leaves = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(arrays))}
    content = {"identity": identity, "notes": json.dumps(notes), "arrays": leaves}
    packed = flax.serialization.msgpack_serialize(content)
    write_atomically(path, hashlib.sha256(packed).digest() + packed)


def load(path: Path, template: Any, *, identity: str) -> tuple[Any, dict[str, Any]] | None:
    """The saved arrays in ``template``'s structure and the notes, or ``None`` where there is no file.

    Raises:
        TrainingError: a file that is damaged or belongs to a run with other arguments.
    """
    if not path.exists():
        return None
    try:
        whole = path.read_bytes()
        digest, packed = whole[:DIGEST], whole[DIGEST:]
        if hashlib.sha256(packed).digest() != digest:
            raise ValueError("checksum differs")
        content = flax.serialization.msgpack_restore(packed)
        saved_identity, notes, arrays = (
            content["identity"],
            json.loads(content["notes"]),
            dict(content["arrays"]),
        )
    except Exception as error:  # msgpack raises a family of its own for damaged data
        raise TrainingError(
            f"{path}: not a checkpoint, or damaged; remove it to start afresh"
        ) from error
    expected, structure = jax.tree.flatten(template)
    if saved_identity != identity or len(arrays) != len(expected):
        raise TrainingError(
            f"{path}: belongs to a run with other arguments; remove it, or choose another run folder"
        )
    leaves: list[Any] = [arrays.get(str(i)) for i in range(len(expected))]
    if any(
        np.shape(leaf) != np.shape(wanted) for leaf, wanted in zip(leaves, expected, strict=True)
    ):
        raise TrainingError(
            f"{path}: its arrays have other shapes than this run's; remove it to start afresh"
        )
    return jax.tree.unflatten(structure, leaves), notes
