"""A task's splits: read when asked for, limited by a hash, and digested."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.backbone.load import Backbone
from spot.training.recipe import Recipe
from spot.training.task_data import MixtureData, TaskData
from tasks import Mixture, TaskError, get_task
from tasks.task import Example, Split, Task, take
from tests.spot.training.conftest import write_task

EXAMPLES = [Example(inputs=f"text {i}", target=str(i % 3)) for i in range(60)]


@given(limits=st.tuples(st.integers(1, 70), st.integers(1, 70)))
def test_a_smaller_sample_is_part_of_a_larger_one(limits: tuple[int, int]) -> None:
    smaller, larger = (take(EXAMPLES, limit) for limit in sorted(limits))
    assert set(smaller) <= set(larger)
    assert (len(smaller), len(larger)) == tuple(min(limit, 60) for limit in sorted(limits))


@given(order=st.permutations(EXAMPLES), limit=st.integers(1, 60))
def test_a_sample_keeps_the_files_order_and_does_not_depend_on_it(
    order: list[Example], limit: int
) -> None:
    sample = take(order, limit)
    assert set(sample) == set(take(EXAMPLES, limit))
    assert [order.index(example) for example in sample] == sorted(
        order.index(example) for example in sample
    )


@pytest.mark.parametrize("limit", [0, 60, 61])
def test_no_limit_or_a_large_one_takes_all(limit: int) -> None:
    assert list(take(EXAMPLES, limit)) == EXAMPLES


def test_limits_hold_for_train_and_dev_and_never_for_test(
    task: Task, backbone: Backbone, recipe: Recipe
) -> None:
    data = TaskData(task, backbone, dataclasses.replace(recipe, train_limit=10, dev_limit=5))
    assert [len(data[split].examples) for split in Split] == [10, 5, 32]
    assert [len(data[split].tokens) for split in Split] == [10, 5, 32]


def test_a_split_is_read_once_and_only_when_asked_for(
    task: Task, backbone: Backbone, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Split] = []
    examples = Task.examples

    def watched(self: Task, split: Split, **where: Any) -> list[Example]:
        read.append(split)
        return examples(self, split, **where)

    monkeypatch.setattr(Task, "examples", watched)
    data = TaskData(task, backbone, recipe)
    assert read == []
    assert data.digest == data.digest
    assert data[Split.TRAIN] is data[Split.TRAIN]
    assert read == [Split.TRAIN, Split.DEV]


def test_the_digest_is_of_train_and_dev_as_they_are_used(
    tmp_path: Path, backbone: Backbone, recipe: Recipe
) -> None:
    def digest(folder: str, recipe: Recipe = recipe, **changes: int) -> str:
        path = write_task(tmp_path / folder, "cues", sizes=(30, 10, 10), **changes)
        return TaskData(get_task(str(path)), backbone, recipe).digest

    first = digest("first")
    assert digest("same") == first
    assert digest("other", seed=1) != first
    for field, value in (("train_limit", 5), ("dev_limit", 5), ("max_input", 12)):
        assert digest("first", dataclasses.replace(recipe, **{field: value})) != first
    (tmp_path / "same" / "cues_test.csv").write_text("text,label\nkamo,good\n", encoding="utf-8")
    assert (
        TaskData(get_task(str(tmp_path / "same" / "cues.toml")), backbone, recipe).digest == first
    )


def test_scores_are_of_the_examples_of_a_split(data: TaskData) -> None:
    targets = [example.target for example in data[Split.DEV].examples]
    assert data.score(Split.DEV, targets)["score"] == 100
    wrong = ["bad" if target == "good" else "good" for target in targets]
    assert data.score(Split.DEV, [*wrong[:8], *targets[8:]])["accuracy"] == 75


def test_a_mixture_names_all_members_without_data(
    backbone: Backbone, recipe: Recipe, tmp_path: Path
) -> None:
    mixture = Mixture(name="m", members=(get_task("wn_pos"), get_task("mnli"), get_task("qqp")))
    with pytest.raises(TaskError, match=r"not all data of mnli \(.*\), qqp \("):
        MixtureData(mixture, backbone, recipe, data_dir=tmp_path)[Split.TRAIN]


def test_a_mixture_scores_every_member_by_itself_and_shares_the_limit(
    backbone: Backbone, recipe: Recipe
) -> None:
    mixture = Mixture(name="m", members=(get_task("wn_pos"), get_task("wn_isa")))
    data = MixtureData(mixture, backbone, dataclasses.replace(recipe, dev_limit=21, train_limit=30))
    dev = data[Split.DEV]
    assert len(dev.examples) == len(dev.tokens) == 22
    right = [example.target for example in dev.examples]
    assert data.score(Split.DEV, right) == {"wn_pos": 100.0, "wn_isa": 100.0, "score": 100.0}
    half = [*right[:11], *["nonsense"] * 11]
    assert data.score(Split.DEV, half) == {"wn_pos": 100.0, "wn_isa": 0.0, "score": 50.0}
    assert data.batches(6, 0).per_epoch == 10
    apart = TaskData(get_task("wn_isa"), backbone, dataclasses.replace(recipe, dev_limit=11))[
        Split.DEV
    ]
    assert dev.examples[11:] == apart.examples


def test_the_proportions_of_a_mixture_are_part_of_its_digest(
    backbone: Backbone, recipe: Recipe
) -> None:
    members = (get_task("wn_pos"), get_task("wn_living"))
    digests = {
        MixtureData(Mixture(name="m", members=members, temperature=t), backbone, recipe).digest
        for t in (1.0, 2.0)
    }
    assert len(digests) == 2


def test_another_sample_draws_other_examples_and_other_runs(
    task: Task, backbone: Backbone, recipe: Recipe
) -> None:
    few = dataclasses.replace(recipe, train_limit=16, dev_limit=8)
    data = [
        TaskData(task, backbone, dataclasses.replace(few, sample=sample)) for sample in (0, 1, 2)
    ]
    trains = [{example.inputs for example in one[Split.TRAIN].examples} for one in data]
    assert [len(one[Split.TRAIN].examples) for one in data] == [16, 16, 16]
    assert trains[0] != trains[1] != trains[2] != trains[0]
    assert len({one.digest for one in data}) == 3
    assert data[0].digest == TaskData(task, backbone, few).digest
    tests = [[example.inputs for example in one.curve(4)[Split.TEST].examples] for one in data]  # type: ignore[index]
    assert tests[0] == tests[1] == tests[2], "curves are of the same examples"
    families = {dataclasses.replace(few, sample=sample).family(backbone) for sample in (0, 1)}
    assert len(families) == 1, "keys of samples compare"
