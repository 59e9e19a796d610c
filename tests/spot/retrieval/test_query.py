"""A query from a file is ranked against the keys it belongs to, or refused by the fields that differ."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bank import (
    BackboneRecord,
    Bank,
    Partition,
    RecipeRecord,
    RunIdentity,
    RunRecord,
    SnapshotRecord,
    TaskRecord,
)
from bank.files import exported
from spot.errors import PromptError, RetrievalError
from spot.prompts.files import PromptFile, read_prompt
from spot.prompts.write import write_prompt
from spot.retrieval.query import partition_of

LENGTH, WIDTH = 3, 4
OPTIONS = {
    "prompt_length": LENGTH,
    "key_step": 10,
    "steps": 30,
    "optimizer": {"learning_rate": 0.3},
    "max_input": 64,
}


def run_of(
    task: str,
    role: str = "source",
    *,
    fingerprint: str = "f" * 64,
    length: int = LENGTH,
    **changes: Any,
) -> Any:
    options = OPTIONS | {"prompt_length": length} | changes
    recipe = RecipeRecord(
        backbone=BackboneRecord(fingerprint=fingerprint, name="toy", width=WIDTH),
        prompt_length=length,
        key_step=options["key_step"],
        family=f"{options['optimizer']['learning_rate']}, {options['max_input']}".ljust(64, "."),
        options=options,
    )
    key, value = np.random.default_rng(len(task)).normal(size=(2, length, WIDTH))
    return RunRecord(
        identity=RunIdentity(
            recipe=recipe, task=TaskRecord(name=task, family="toy"), seed=0, role=role
        ),
        steps=30,
        metric="score",
        score=90.0,
        key=SnapshotRecord(prompt=key, step=recipe.key_step),
        value=SnapshotRecord(prompt=value, step=30),
    )


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    """Sources of two recipes that differ in their learning rate."""
    with Bank.open(tmp_path / "bank.sqlite") as opened:
        opened.record_run(run_of("mnli"))
        opened.record_run(run_of("boolq", optimizer={"learning_rate": 0.1}))
        yield opened


def query_file(
    bank: Bank, folder: Path, record: RunRecord, *, kind: str = "key", without: tuple[str, ...] = ()
) -> PromptFile:
    """The key of a run, through a file."""
    found = exported(bank, bank.record_run(record), kind=kind)
    facts = {name: fact for name, fact in found.metadata.items() if name not in without}
    write_prompt(folder / "query.safetensors", found.prompt, facts)
    return read_prompt(folder / "query.safetensors")


@pytest.mark.parametrize("rate", [0.3, 0.1])
def test_a_query_finds_the_keys_of_its_recipe_without_a_word(
    bank: Bank, tmp_path: Path, rate: float
) -> None:
    record = run_of("rte", "query", optimizer={"learning_rate": rate})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert partition_of(query_file(bank, tmp_path, record), bank) == Partition.of(
            record.identity.recipe
        )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optimizer": {"learning_rate": 0.5}}, ["learning rate 0.5 (keys: 0.1)"]),
        ({"max_input": 32}, ["max input 32 (keys: 64)"]),
        ({"key_step": 5}, ["key step 5 (keys: 10)"]),
        ({"key_step": 5, "max_input": 32}, ["key step 5 (keys: 10)", "max input 32 (keys: 64)"]),
        ({"length": 5}, ["length 5 (keys: 3)"]),
        ({"fingerprint": "e" * 64}, [f"backbone {'e' * 12}"]),
    ],
    ids=str,
)
def test_what_differs_is_named(
    bank: Bank, tmp_path: Path, changes: dict[str, Any], named: list[str]
) -> None:
    file = query_file(bank, tmp_path, run_of("rte", "query", **changes))
    with pytest.raises(
        RetrievalError, match=r"query.safetensors: no key in bank .* can be compared with it"
    ) as caught:
        partition_of(file, bank)
    line = str(caught.value)
    assert all(field in line for field in named)
    assert "recipe family" not in line
    assert "\n" not in line


def test_a_file_without_its_recipe_s_options_is_told_its_family_differs(
    bank: Bank, tmp_path: Path
) -> None:
    file = query_file(bank, tmp_path, run_of("rte", "query", max_input=32), without=("recipe",))
    with pytest.raises(RetrievalError, match=r"it differs in recipe family 0.3, 32"):
        partition_of(file, bank)


def test_a_bare_array_is_ranked_with_a_word_where_only_one_group_has_its_length(bank: Bank) -> None:
    file = PromptFile(Path("query.npy"), np.ones((LENGTH, WIDTH), np.float32))
    with pytest.raises(
        RetrievalError, match=r"2 groups of keys have 3 tokens, and the file does not say to which"
    ):
        partition_of(file, bank)
    only = run_of("sst2", length=5)
    bank.record_run(only)
    longer = dataclasses.replace(file, prompt=np.ones((5, WIDTH), np.float32))
    with pytest.warns(
        UserWarning,
        match=r"query.npy: says nothing of the recipe it was trained with; .*\(key step 10\)",
    ):
        assert partition_of(longer, bank) == Partition.of(only.identity.recipe)
    with pytest.raises(RetrievalError, match=r"it differs in length 7 \(keys: "):
        partition_of(dataclasses.replace(file, prompt=np.ones((7, WIDTH), np.float32)), bank)


def test_what_an_older_file_says_is_used(bank: Bank, tmp_path: Path) -> None:
    older = ("recipe", "recipe_family", "key_step")
    file = query_file(bank, tmp_path, run_of("rte", "query", key_step=5), without=older)
    with pytest.raises(RetrievalError, match=r"it differs in key step 5 \(keys: 10\)"):
        partition_of(file, bank)
    with pytest.raises(RetrievalError, match="2 groups of keys"):
        partition_of(query_file(bank, tmp_path, run_of("cb", "query"), without=older), bank)


def test_a_value_in_place_of_a_query_is_told(bank: Bank, tmp_path: Path) -> None:
    file = query_file(bank, tmp_path, run_of("rte", "transfer"), kind="value")
    with pytest.warns(
        UserWarning,
        match="is the value of its run, while keys are early prompts; export the run with",
    ):
        partition_of(file, bank)
    at_key = dataclasses.replace(file, metadata=dict(file.metadata) | {"step": "10"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        partition_of(at_key, bank)


def test_a_bank_without_keys_and_facts_that_make_no_sense_are_refused(
    bank: Bank, tmp_path: Path
) -> None:
    file = query_file(bank, tmp_path, run_of("rte", "query", max_input=32))
    with (
        Bank.open(tmp_path / "empty.sqlite") as empty,
        pytest.raises(RetrievalError, match="holds no source yet"),
    ):
        partition_of(file, empty)
    for facts in ({"fingerprint": "f"}, {"recipe": "[" * 100_000}, {"recipe": json.dumps([1])}):
        with pytest.raises(PromptError):
            partition_of(dataclasses.replace(file, metadata=dict(file.metadata) | facts), bank)
