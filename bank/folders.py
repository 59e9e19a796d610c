"""Files that are written in a stage, and moved to their place when all of them are whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STAGE = ".part"
"""Ends the name of a stage."""


@contextmanager
def stage_for(path: Path) -> Iterator[Path]:
    """A new folder for what shall be moved to a place; it is gone afterwards.

    It stands beside the place itself, wherever a link leads, so that moving is renaming; within one where another file
    system begins.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(os.path.realpath(path))
    name = f".{place.name[:100]}.{os.getpid()}{STAGE}"
    stage = place / name if os.path.ismount(place) else place.with_name(name)
    try:
        stage.mkdir()
        yield stage
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(stage)


def move_in(stage: Path, folder: Path, names: Sequence[str]) -> None:
    """Move files of a stage into a folder, in this order; a folder that is new moves as one, and one that is there
    stays, which may be somebody's working folder.

    Raises:
        OSError: it cannot be written.
    """
    if not folder.is_dir():
        os.replace(stage, folder)
        return
    for name in names:
        os.replace(stage / name, folder / name)


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what a killed process left of its stage."""
    return all(each.match(f".*{STAGE}") for each in folder.iterdir())
