"""Official splits, and what is cut where published parts are missing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tasks import Mixture, Split, TaskError, get_task
from tasks.overlaps import task_sentences, task_sketch
from tasks.sources import Hub
from tasks.task import (
    DEV_AND_TEST,
    PUBLISHED,
    SPLITS_BY_PARTS,
    TRAIN_AND_DEV,
    TRAIN_AND_TEST,
    Part,
    one_part,
)
from tests.official import BEFORE_OFFICIAL, write_official_files

CUT: Mapping[str, Mapping[Split, Part]] = {
    "qnli": one_part("dev"),
    "boolq": one_part("dev"),
    "snli": DEV_AND_TEST,
    "scitail": DEV_AND_TEST,
    "quora": DEV_AND_TEST,
    "ag_news": one_part("train"),
    "squad": one_part("sample"),
}
"""How earlier versions cut these tasks from the files that lay at hand: digests of their runs' data hang on it."""

OFFICIAL: Mapping[str, Mapping[Split, Part]] = {
    "qnli": TRAIN_AND_DEV,
    "boolq": TRAIN_AND_DEV,
    "snli": PUBLISHED,
    "scitail": PUBLISHED,
    "quora": PUBLISHED,
    "ag_news": TRAIN_AND_TEST,
    "squad": TRAIN_AND_DEV,
}

every_task = pytest.mark.parametrize("name", CUT)


@pytest.fixture(scope="module")
def partial_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which published parts are missing."""
    return write_official_files(tmp_path_factory.mktemp("partial"), partial=True)


@every_task
def test_official_parts_serve_as_they_are_published(name: str, official_files: Path) -> None:
    task = get_task(name)
    assert task.splits == OFFICIAL[name]
    assert not task.is_partial(official_files)
    for split in Split:
        plain = task.examples(split, data_dir=official_files)
        assert plain == task.examples(split, data_dir=official_files, allow_partial=True)


@every_task
def test_partial_data_is_cut_as_it_was_before_official_splits(
    name: str, partial_files: Path
) -> None:
    task = get_task(name)
    assert task.is_partial(partial_files)
    as_before = dataclasses.replace(task, splits=CUT[name])
    for split in Split:
        found = task.examples(split, data_dir=partial_files, allow_partial=True)
        assert found == as_before.examples(split, data_dir=partial_files)


@every_task
def test_a_missing_part_is_named_with_what_to_do(name: str, partial_files: Path) -> None:
    task = get_task(name)
    with pytest.raises(TaskError) as caught:
        task.examples(Split.TRAIN, data_dir=partial_files)
    for split in Split:
        with pytest.raises(TaskError, match=re.escape(str(caught.value))):
            task.examples(split, data_dir=partial_files)
    missing = [path for path in BEFORE_OFFICIAL if str(partial_files / path) in str(caught.value)]
    assert len(missing) == 1
    assert task.source.hub is not None
    for words in (
        f"of task {name} as published",
        "put the official file there",
        f"leave --data-dir out to read it from the hub ({task.source.hub.path})",
        f"cut all splits from what is there ({', '.join(sorted(task.source.present(partial_files)))}) "
        "by --allow-partial-data",
    ):
        assert words in str(caught.value)


def test_where_nothing_is_there_nothing_can_be_cut(tmp_path: Path) -> None:
    for allowed in (False, True):
        with pytest.raises(
            TaskError, match=r"QNLI/train\.tsv: no such file, the part train"
        ) as caught:
            get_task("qnli").examples(Split.TRAIN, data_dir=tmp_path, allow_partial=allowed)
        assert "--allow-partial-data" not in str(caught.value)


def test_a_task_without_a_hub_asks_for_the_folder_of_its_files() -> None:
    with pytest.raises(
        TaskError, match=r"^task mr: its part all \(mr/all\.txt\) .* --data-dir or SPOT_DATA$"
    ):
        get_task("mr").examples(Split.TRAIN)


@pytest.mark.parametrize("present", SPLITS_BY_PARTS, ids=lambda parts: "+".join(sorted(parts)))
def test_any_task_is_cut_from_whichever_parts_are_there(
    present: frozenset[str], tmp_path: Path, official_files: Path
) -> None:
    files = get_task("sst5").source.files
    for part in present:
        path = tmp_path / files[part]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((official_files / files[part]).read_bytes())
    task = get_task("sst5")
    found = [task.examples(split, data_dir=tmp_path, allow_partial=True) for split in Split]
    lines = [(tmp_path / files[part]).read_text(encoding="utf-8").splitlines() for part in present]
    assert sum(map(len, found)) == sum(map(len, lines))
    assert all(found)


@pytest.mark.parametrize("name", [*CUT, "trec", "imdb"])
def test_the_parts_of_the_hub_are_never_partial(name: str) -> None:
    task = get_task(name)
    assert not task.is_partial(None)
    hub = task.source.hub
    assert isinstance(hub, Hub)
    needed = {part.name for part in task.splits.values()}
    assert needed <= set(hub.parts) or name == "quora"


def test_quora_has_the_parts_of_qqp_on_the_hub() -> None:
    task = get_task("quora")
    assert task.source.present(None) == {"train", "test"}
    assert task.partial[frozenset({"train", "test"})] == TRAIN_AND_TEST


def test_texts_of_partial_data_are_those_of_its_splits(partial_files: Path) -> None:
    task = get_task("snli")
    mixture = Mixture(name="m", members=(task, get_task("trec")))
    for learnable in (task, mixture):
        assert len(task_sketch(learnable, partial_files, allow_partial=True))
        assert len(task_sentences(learnable, partial_files, allow_partial=True))
        with pytest.raises(TaskError, match=r"snli/train\.txt: no such file"):
            task_sketch(learnable, partial_files)
