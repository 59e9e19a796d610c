"""Every test runs on two devices of the CPU and with strict numerics: no dtype or rank is promoted unasked, and no
warning passes. It sees nothing of what the environment says to commands, and keeps its caches in a folder of the
session. Programs are compiled without LLVM's optimisations and MLIR's fusions, which take longer than such small ones
run, unless ``XLA_FLAGS`` says otherwise, as ``make interop`` does."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.further import write_further_files
from tests.official import write_official_files

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2".strip()
if "optimization_level" not in flags:
    flags += " --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = flags
for name in [name for name in os.environ if name.startswith("SPOT_") and name != "SPOT_CACHE"]:
    del os.environ[name]


LONG = (
    "test_first_hour.py",
    "cli/test_main_job.py",
    "test_fuzz.py",
    "transfer/test_processes.py",
    "tasks/test_overlaps.py",
    "backbone/test_process.py",
    "cli/test_partial_data.py",
    "study/test_study.py",
    "training/test_forms.py",
    "backbone/test_model.py",
    "training/test_step.py",
)
"""Files that take longest, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that processes which share the files end together."""

    def turn(item: pytest.Item) -> int:
        places = [place for place, end in enumerate(LONG) if item.path.as_posix().endswith(end)]
        return places[0] if places else len(LONG)

    items.sort(key=turn)


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
    return write_further_files(write_official_files(tmp_path_factory.mktemp("official")))
