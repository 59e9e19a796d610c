"""Tasks that share texts are known, on small files that share them as the published ones do, and on those."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks import TaskError
from tasks.definitions import built_in
from tasks.overlaps import SHARED_TEXTS, overlapping
from tasks.task import Example, Split

DATA = Path(__file__).parents[2].parent / "shared" / "data"

MANY = 0.02
"""Share of test examples with a text from another task's training split, above which that is no accident."""


def texts(example: Example) -> set[str]:
    """Its fields of 25 letters or more, without case and punctuation."""
    fields = re.split(r"(?:^| )\w+: ", example.inputs)
    return {bare for field in fields if len(bare := re.sub(r"[^a-z0-9]", "", field.lower())) >= 25}


def test_the_table_names_tasks_and_is_symmetric() -> None:
    names = {task.name for task in built_in()}
    assert all(group <= names for group in SHARED_TEXTS)
    assert overlapping("sst2") == ("mr", "sst5")
    assert overlapping("ag_news") == ()
    assert all(name in overlapping(other) for name in names for other in overlapping(name))


@pytest.mark.parametrize("place", ["made", *(["published"] if DATA.is_dir() else [])])
def test_every_pair_of_tasks_that_shares_texts_is_in_the_table(place: str, official_files: Path) -> None:
    data = DATA if place == "published" else official_files
    trained: dict[str, set[str]] = {}
    tested: dict[str, list[set[str]]] = {}
    for task in built_in():
        try:
            trained[task.name] = set().union(*map(texts, task.examples(Split.TRAIN, data_dir=data)[:10_000]))
            tested[task.name] = [texts(example) for example in task.examples(Split.TEST, data_dir=data)[:1000]]
        except TaskError:  # no file of it at hand
            continue
    assert len(tested) > 40
    found = {
        (source, target)
        for source, known in trained.items()
        for target, examples in tested.items()
        if source != target and sum(bool(one & known) for one in examples) > MANY * len(examples)
    }
    assert {("mr", "sst2"), ("wnli", "wsc")} <= found
    assert [pair for pair in sorted(found) if pair[0] not in overlapping(pair[1])] == []
