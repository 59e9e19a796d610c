"""Built-in tasks from the hub: real ``datasets.load_dataset`` on local repositories in the hub's layout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks import Example, Task, get_task, registry
from tasks.sources import Hub
from tasks.task import Split

datasets = pytest.importorskip("datasets")

OF_THE_HUB = [name for name, task in registry().items() if task.source.hub]

REVISION = re.compile(r"[0-9a-f]{40}|refs/convert/parquet|v?\d[\w.]*")
"""A full commit; where none is known, the hub's own conversion or a tag."""


UNPINNED = {"SetFit/SentEval-CR", "saattrupdan/doc-nli"}
"""Repositories of which no commit was known; what their branch holds may change, as the page of tasks says."""


def hub_of(name: str) -> Hub:
    """Where a task's data lies on the hub."""
    hub = get_task(name).source.hub
    assert hub is not None
    return hub


def check(task: Task, example: Example) -> None:
    """Hold an example's target to what the task may answer."""
    assert example.inputs.strip()
    assert example.target.strip()
    for allowed in (task.labels, example.choices, example.answers):
        assert not allowed or example.target in allowed or (task.name == "wsc")


@pytest.mark.parametrize("name", OF_THE_HUB)
def test_all_splits_of_a_built_in_task_load_from_the_hub(name: str, local_hub: Path) -> None:
    task = get_task(name)
    for split in Split:
        examples = task.examples(split)
        assert examples
        for example in examples:
            check(task, example)


def test_every_built_in_task_of_the_hub_has_a_fixture() -> None:
    from tests.tasks.published import published

    known = published()
    wanted = {
        name: (hub_of(name).path, hub_of(name).config or hub_of(name).folder) for name in OF_THE_HUB
    }
    assert {name: place for name, place in wanted.items() if place not in known} == {}


@pytest.mark.parametrize("name", OF_THE_HUB)
def test_a_built_in_task_of_the_hub_names_a_revision(name: str) -> None:
    hub = hub_of(name)
    assert hub.revision
    assert REVISION.fullmatch(hub.revision) or hub.path in UNPINNED


def test_one_repository_has_one_revision() -> None:
    revisions: dict[str, set[str]] = {}
    for name in OF_THE_HUB:
        revisions.setdefault(hub_of(name).path, set()).add(hub_of(name).revision)
    assert {path: found for path, found in revisions.items() if len(found) > 1} == {}


def test_every_fixture_has_three_rows_a_part() -> None:
    from tests.tasks.published import published

    for name, data in published().items():
        assert all(len(rows) >= 3 for rows in data.parts.values()), name


@pytest.mark.parametrize("streaming", [False, True])
def test_a_local_repository_is_loaded_as_the_hub_s_with_its_features(
    local_hub: Path, streaming: bool
) -> None:
    data = datasets.load_dataset(
        "nyu-mll/glue", "sst2", split="validation", revision="abc", streaming=streaming
    )
    assert data.features["label"] == datasets.ClassLabel(names=["negative", "positive"])
    assert [row["label"] for row in data] == [0, 1] * 3
    targets = [example.target for example in get_task("sst2").examples(Split.TEST)]
    assert targets == ["negative", "positive"] * 3


def test_rows_that_are_streamed_are_those_that_are_loaded_and_as_many_as_are_taken(
    local_hub: Path,
) -> None:
    place = {"path": "nyu-mll/glue", "config": "sst2"}
    loaded = list(Hub(**place).rows("train").rows)
    assert list(Hub(**place, streaming=True).rows("train").rows) == loaded
    for streaming in (False, True):
        hub = Hub(**place, streaming=streaming, take={"train": 5})
        assert list(hub.rows("train").rows) == loaded[:5]
        assert len(list(hub.rows("dev").rows)) == 6


def test_a_folder_of_a_converted_repository_has_its_classes(local_hub: Path) -> None:
    for hub in (Hub(path="CogComp/trec"), Hub(path="CogComp/trec", folder="default")):
        rows = list(hub.rows("test").rows)
        assert rows[0].values["coarse_label"] in ("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM")
        assert len(rows) == 6
