"""Where things lie on a user's machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$SPOT_CACHE``, else ``$XDG_CACHE_HOME/spot``, else ``~/.cache/spot``."""
    if given := os.environ.get("SPOT_CACHE"):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "spot"


def data_folder() -> Path | None:
    """``$SPOT_DATA``: the folder of official data sets, if set."""
    given = os.environ.get("SPOT_DATA")
    return Path(given).expanduser() if given else None


def default_bank() -> str:
    """``$SPOT_BANK``: a URL or path; else ``bank.sqlite`` in the current folder."""
    return os.environ.get("SPOT_BANK", "bank.sqlite")
