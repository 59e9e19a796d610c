"""Files that are written beside their place and moved there when all of them are whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def stage_beside(path: Path) -> Iterator[Path]:
    """A new folder beside a place, for what shall be moved there; it is gone afterwards.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(os.path.abspath(path))
    stage = place.with_name(f".{place.name[:100]}.{os.getpid()}.part")
    try:
        stage.mkdir()
        yield stage
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(stage)


def move_in(stage: Path, folder: Path, names: Sequence[str]) -> None:
    """Move files of a stage into a folder, in this order; a folder that is new or empty moves as one.

    Raises:
        OSError: it cannot be written.
    """
    if not (folder.is_dir() and any(folder.iterdir())):
        os.replace(stage, folder)
        return
    for name in names:
        os.replace(stage / name, folder / name)
