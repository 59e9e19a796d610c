"""Opening what a model folder holds, before any of it is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spot.errors import BackboneError

POINTER = b"version https://git-lfs"
LARGEST_JSON = 64 * 2**20
"""Bytes of a JSON file; configs have a few thousand, shard indices of the largest models a few million."""


def check_file(path: Path) -> Path:
    """The same path, once it is known to be a file and not a stand-in for one.

    Raises:
        BackboneError: no regular file, one that cannot be read, or a git-LFS pointer.
    """
    if not path.is_file():
        raise BackboneError(f"{path}: not there, or no regular file")
    try:
        with path.open("rb") as file:
            start = file.read(len(POINTER))
    except OSError as error:
        raise BackboneError(f"{path}: cannot be read ({error.strerror})") from error
    if start == POINTER:
        raise BackboneError(
            f"{path}: a git-LFS pointer, not the file; run `git lfs pull` in its repository"
        )
    return path


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        BackboneError: no file, too large, not JSON, nested too deep, or no object.
    """
    size = check_file(path).stat().st_size
    if size > LARGEST_JSON:
        raise BackboneError(
            f"{path}: has {size} bytes; expected a JSON file of at most {LARGEST_JSON}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise BackboneError(f"{path}: nested too deep for JSON of a model") from error
    except ValueError as error:
        raise BackboneError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise BackboneError(f"{path}: expected an object, found {type(content).__name__}")
    return content
