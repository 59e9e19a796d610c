"""Keys come as columns and matrices, read once, whole and checked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bank import Bank, BankError, Partition, TaskRecord, key_store
from bank import keys as keys_module
from bank.keys import KINDS, keys_of_prompts
from bank.vectors import average, average_normalized
from tests.bank.conftest import RunMaker, damage, prompt_of, statements

START = np.array([0.5, -1, 2, 0], np.float32)


def partition_of(make_run: RunMaker) -> Partition:
    return Partition.of(make_run().identity.recipe)


def test_keys_are_those_of_the_sources_of_one_partition(bank: Bank, make_run: RunMaker) -> None:
    wanted = [make_run("mrpc", 1, score=70.0), make_run("mrpc", 0), make_run("boolq", 5)]
    others = [
        make_run(role="query"),
        make_run(role="transfer"),
        make_run(family="b" * 64),
        make_run(fingerprint="e" * 64),
        make_run(key_step=11),
        make_run(length=2),
    ]
    for record in wanted + others:
        bank.record_run(record)
    partition = partition_of(make_run)
    keys = bank.keys(partition)
    assert list(zip(keys.tasks, keys.seeds.tolist(), strict=True)) == [
        ("boolq", 5),
        ("mrpc", 0),
        ("mrpc", 1),
    ]
    assert (len(keys), keys.shape, keys.scores.tolist()) == (3, (3, 4), [90.0, 90.0, 70.0])
    early = [bank.prompt(address) for address in keys.prompts]
    np.testing.assert_array_equal(keys.vectors("average"), [average(prompt) for prompt in early])
    np.testing.assert_array_equal(
        keys.vectors("average_normalized"), [average_normalized(prompt) for prompt in early]
    )
    stored = [bank.run(run) for run in keys.runs]
    assert [(run.key, run.value) for run in stored if run] == list(
        zip(keys.prompts, keys.values, strict=True)
    )
    assert bank.keys(partition, exclude=["mrpc", "unheard of"]).tasks == ["boolq"]
    assert partition in bank.partitions()
    assert len(bank.partitions()) == 5


def test_names_are_in_the_order_of_their_letters_and_runs_in_that_of_their_seeds(
    bank: Bank, make_run: RunMaker
) -> None:
    for task, seed in (("b", 10), ("a", 2), ("B", 0), ("b", 9), ("\u00e4", 1)):
        bank.record_run(make_run(task, seed))
    keys = bank.keys(partition_of(make_run))
    assert keys.tasks == ["B", "a", "b", "b", "\u00e4"]
    assert keys.seeds.tolist() == [0, 2, 9, 10, 1]
    for row, (task, seed) in enumerate(zip(keys.tasks, keys.seeds.tolist(), strict=True)):
        early = prompt_of(f"{task}/{seed}/source/key")
        np.testing.assert_array_equal(keys.vectors("average")[row], average(early))


def test_a_key_knows_where_its_run_started_and_what_its_value_scored(
    bank: Bank, make_run: RunMaker
) -> None:
    record = make_run(start=START, score=77.0)
    twin = dataclasses.replace(record.identity, role="baseline")
    bank.record_twin(twin, bank.record_run(record))
    bank.record_run(make_run(seed=1))
    keys = bank.keys(partition_of(make_run))
    assert (keys.scores.tolist(), keys.has_start.tolist(), list(keys.started_from)) == (
        [77.0, 90.0], [True, False], [None, None],
    )  # fmt: skip
    np.testing.assert_array_equal(keys.vectors("start"), [START, np.full(4, np.nan)])


def test_layers_of_a_prompt_stand_beside_its_width(bank: Bank, make_run: RunMaker) -> None:
    deep = np.stack([prompt_of("lower"), prompt_of("upper")])
    bank.record_run(make_run(key=deep, value=deep, start=np.arange(8.0)))
    keys = bank.keys(partition_of(make_run))
    assert (keys.shape, keys.width) == ((2, 3, 4), 8)
    np.testing.assert_array_equal(
        keys.vectors("average"), [np.concatenate([average(layer) for layer in deep])]
    )
    np.testing.assert_array_equal(keys.vectors("start"), [np.arange(8.0)])


def test_mixtures_of_an_excluded_task_are_left_out_with_it(bank: Bank, make_run: RunMaker) -> None:
    record = make_run("glue")
    mixture = TaskRecord(name="glue", family="mixture", description={"tasks": ["sst2", "rte"]})
    identity = dataclasses.replace(record.identity, task=mixture)
    for each in (
        dataclasses.replace(record, identity=identity),
        make_run("sst2"),
        make_run("mnli"),
    ):
        bank.record_run(each)
    assert bank.keys(partition_of(make_run)).tasks == ["glue", "mnli", "sst2"]
    assert bank.keys(partition_of(make_run), exclude=["rte"]).tasks == ["mnli", "sst2"]
    assert bank.keys(partition_of(make_run), exclude=["sst2"]).tasks == ["mnli"]
    assert bank.keys(partition_of(make_run), exclude=["glue"]).tasks == ["mnli", "sst2"]


def test_prompts_that_are_in_no_bank_are_keys_too() -> None:
    prompts = [prompt_of("a"), prompt_of("b")]
    keys = keys_of_prompts(["sst2", "rte"], prompts)
    assert (keys.tasks, keys.runs, keys.width, keys.has_start.tolist()) == (
        ["sst2", "rte"], ["sst2", "rte"], 4, [False, False],
    )  # fmt: skip
    np.testing.assert_array_equal(keys.vectors("average"), [average(prompt) for prompt in prompts])
    deep = keys_of_prompts(["sst2"], [np.ones((5, 3, 4), np.float32)])
    assert (deep.width, deep.vectors("average").shape) == (20, (1, 20))


# -- read once, and only what is needed ----------------------------------------------------------------------


def test_every_kind_of_vectors_is_read_once_and_in_one_query(
    bank: Bank, make_run: RunMaker
) -> None:
    for seed in range(3):
        bank.record_run(make_run(seed=seed, start=START))
    with statements(bank) as sent:
        keys = bank.keys(partition_of(make_run))
    assert len([text for text in sent if text.startswith("SELECT")]) < 6
    assert not [text for text in sent if "average" in text]
    for kind in KINDS:
        with statements(bank) as sent:
            assert keys.vectors(kind) is keys.vectors(kind)
        selects = [text for text in sent if text.startswith("SELECT")]
        assert len(selects) == 1
        assert selects[0].startswith(
            f"SELECT run.id, {'run' if kind == 'start' else 'key_vectors'}.{kind}"
        )


def test_vectors_of_some_keys_are_those_rows_of_all(bank: Bank, make_run: RunMaker) -> None:
    for seed in range(5):
        bank.record_run(make_run(seed=seed, start=START if seed != 3 else None))
    for kind in KINDS:
        keys, rows = bank.keys(partition_of(make_run)), np.array([4, 0, 3])
        some = keys.take(rows)
        assert (some.tasks, some.seeds.tolist(), some.runs[1]) == (
            ["sst2"] * 3,
            [4, 0, 3],
            keys.runs[0],
        )
        with statements(bank) as sent:
            few = some.vectors(kind)
        assert " IN (" in sent[-1]
        np.testing.assert_array_equal(few, keys.vectors(kind)[rows])
        with statements(bank) as sent:
            np.testing.assert_array_equal(keys.take(rows).vectors(kind), few)
        assert not sent, "all were kept"


def test_many_keys_are_read_as_few_are(
    bank: Bank, make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(7):
        bank.record_run(make_run(("b", "a")[seed % 2], seed, start=START + seed))
    whole = bank.keys(partition_of(make_run))
    monkeypatch.setattr(key_store, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(key_store, "VECTORS_AT_ONCE", 2)
    monkeypatch.setattr(keys_module, "FEW", 1)
    monkeypatch.setattr(key_store, "FEW", 1)
    again = bank.keys(partition_of(make_run))
    assert (again.tasks, list(again.runs)) == (whole.tasks, list(whole.runs))
    for kind in KINDS:
        np.testing.assert_array_equal(again.vectors(kind), whole.vectors(kind))
        np.testing.assert_array_equal(
            again.take(np.array([5, 2])).vectors(kind), whole.vectors(kind)[[5, 2]]
        )


def test_a_run_that_came_later_has_no_part(bank: Bank, make_run: RunMaker) -> None:
    for task in ("boolq", "rte"):
        bank.record_run(make_run(task))
    keys = bank.keys(partition_of(make_run), exclude=["rte"])
    bank.record_run(make_run("mnli"))
    for kind in KINDS:
        assert keys.vectors(kind).shape == (1, 4)
    np.testing.assert_array_equal(
        keys.vectors("average"), [average(prompt_of("boolq/0/source/key"))]
    )


# -- damage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("DELETE FROM snapshot WHERE kind = 'key' AND run_id = 1", "has no key"),
        ("DELETE FROM snapshot WHERE kind = 'value' AND run_id = 1", "has no value"),
        ("DELETE FROM prompt WHERE id = 2", "has no value"),
        ("DELETE FROM task WHERE id = 1", "has no task"),
        ("DELETE FROM recipe", "has no recipe or backbone"),
        ("UPDATE run SET score = 'high'", "its score is 'high', not a number"),
        ("UPDATE run SET score = 9e999", "its score is inf, not a number"),
        ("UPDATE run SET seed = 'first'", "its seed is no whole number"),
        ("UPDATE backbone SET width = 1e30", "their shape is"),
        ("UPDATE prompt SET shape = '[' WHERE id = 1", "a damaged cell"),
        ("UPDATE prompt SET shape = '[90000000, 3, 4]'", "their shape is"),
    ],
)
def test_a_source_that_a_ranking_would_lose_or_misplace_is_named(
    bank: Bank, make_run: RunMaker, statement: str, complaint: str
) -> None:
    for seed in range(2):
        bank.record_run(make_run(seed=seed))
    assert len(bank.keys(partition_of(make_run))) == 2
    damage(bank, statement)
    with pytest.raises(BankError, match=complaint) as caught:
        bank.keys(partition_of(make_run))
    assert "see `spot bank verify`" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "statement", "complaint"),
    [
        ("average", "DELETE FROM key_vectors WHERE prompt_id = 1", "has no key vectors"),
        (
            "average",
            "UPDATE key_vectors SET average = x'0000c07f0000000000000000000000ff'",
            "is not finite",
        ),
        ("average", "UPDATE key_vectors SET average = 'sixteen letters.'", "a damaged cell"),
        (
            "average_normalized",
            "UPDATE key_vectors SET average_normalized = zeroblob(8)",
            "has 2 numbers, its",
        ),
        (
            "start",
            "UPDATE run SET start = zeroblob(20) WHERE id = 2",
            "has 5 numbers, its backbone 4",
        ),
        ("start", "UPDATE run SET start = x'0000807f0000000000000000000000ff'", "is not finite"),
        ("start", "UPDATE run SET start = NULL WHERE id = 2", "has no start"),
    ],
)
def test_vectors_that_are_lost_or_none_are_named_when_they_are_read(
    bank: Bank, make_run: RunMaker, kind: str, statement: str, complaint: str
) -> None:
    for seed in range(2):
        bank.record_run(make_run(seed=seed, start=START))
    keys = bank.keys(partition_of(make_run))
    damage(bank, statement)
    for damaged in (keys, keys.take(np.array([0, 1]))):
        with pytest.raises(BankError, match=complaint) as caught:
            damaged.vectors(kind)
        assert "see `spot bank verify`" in str(caught.value)
