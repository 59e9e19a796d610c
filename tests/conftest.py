"""Every test runs on the CPU, without what the environment says to commands, and keeps its caches in a folder of the
session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.official import write_official_files

os.environ["JAX_PLATFORMS"] = "cpu"
for name in [name for name in os.environ if name.startswith("SPOT_") and name != "SPOT_CACHE"]:
    del os.environ[name]


@pytest.fixture(autouse=True, scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """``SPOT_CACHE`` of the session."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPOT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def official_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with small data sets of the project's own in the published formats."""
    return write_official_files(tmp_path_factory.mktemp("official"))
