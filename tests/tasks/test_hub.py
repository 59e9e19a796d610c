"""Built-in tasks from the hub: real ``datasets.load_dataset`` on local repositories in the hub's layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks import get_task
from tasks.task import Split

datasets = pytest.importorskip("datasets")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_local_repository_is_loaded_as_the_hub_s_with_its_features(
    local_hub: Path, streaming: bool
) -> None:
    data = datasets.load_dataset(
        "nyu-mll/glue", "sst2", split="validation", revision="abc", streaming=streaming
    )
    assert data.features["label"] == datasets.ClassLabel(names=["negative", "positive"])
    assert [row["label"] for row in data] == [1, 0, 1]
    targets = [example.target for example in get_task("sst2").examples(Split.TEST)]
    assert targets == ["positive", "negative", "positive"]
