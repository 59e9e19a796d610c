"""Properties are checked without a time limit for one example, since the machine may be busy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def local_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that stands for the hub: ``datasets.load_dataset`` finds every repository there, and no other."""
    datasets = pytest.importorskip("datasets")
    from tests.tasks.published import folder_of, published, write_hub

    hub = tmp_path_factory.mktemp("hub")
    write_hub(hub, published())
    load = datasets.load_dataset

    def load_dataset(path: str, *args: Any, **options: Any) -> Any:
        return load(str(folder_of(hub, path)), *args, cache_dir=str(hub / "cache"), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        patch.setattr(datasets, "load_dataset", load_dataset)
        yield hub
