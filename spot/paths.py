"""Where things lie on a user's machine, and whether they can be written."""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path

from spot.errors import SpotError


def expanded(path: Path | str) -> Path:
    """The path with the home folder in place of a leading ``~`` or ``~user``.

    Raises:
        SpotError: no such user, or no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise SpotError(
            f"{path}: no home folder is known for {Path(path).parts[0]}; write the whole path"
        ) from error


def cache_folder() -> Path:
    """``$SPOT_CACHE``, else ``$XDG_CACHE_HOME/spot``, else ``~/.cache/spot``.

    Raises:
        SpotError: no home folder is known.
    """
    if given := os.environ.get("SPOT_CACHE"):
        return expanded(given)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "spot"
    try:
        return Path.home() / ".cache" / "spot"
    except RuntimeError as error:
        raise SpotError(
            "no home folder is known; set SPOT_CACHE to a folder for the caches"
        ) from error


def check_writable(folder: Path) -> None:
    """Make ``folder`` where it is missing, and write, flush to disk and remove a small file in it.

    Raises:
        SpotError: something of that failed.
    """
    trial = folder / f".{os.getpid()}.trial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with trial.open("wb") as out:
                out.write(bytes(4096))
                out.flush()
                os.fsync(out.fileno())
        finally:
            with contextlib.suppress(FileNotFoundError):
                trial.unlink()
    except OSError as error:
        raise SpotError(
            f"{folder}: cannot be written ({error.strerror}); choose another folder"
        ) from error


def prepare_cache() -> bool:
    """Whether the cache can be written; warns where it cannot, and everything is then done without it.

    Raises:
        SpotError: as :func:`cache_folder`.
    """
    folder = cache_folder()
    try:
        check_writable(folder)
    except SpotError as error:
        warnings.warn(
            f"cache {error} with SPOT_CACHE; nothing is kept for the next start", stacklevel=2
        )
        return False
    return True


def prepare_folders(*folders: Path | None) -> None:
    """Try every folder that a run will write into, before it starts.

    Raises:
        SpotError: one of them cannot be written.
    """
    for folder in folders:
        if folder is not None:
            check_writable(folder)
