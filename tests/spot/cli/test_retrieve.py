"""``spot retrieve`` by the measures that look at more than prompts, on the bank of the first release."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bank import Bank
from bank.integrity import verify
from tasks import Split, get_task

Spot = Callable[..., Any]

FIRST_RELEASE = Path(__file__).parents[2] / "banks" / "first_release.sqlite"
RECIPE = "--prompt-length 4 --batch-size 4 --steps 4 --key-step 2 --evaluate-every 2 --dev-limit 20 --max-input 48"
SHORT = (*RECIPE.split(), "--train-limit", "64")


@pytest.fixture
def old_bank(tmp_path: Path) -> Path:
    """Sources ``wn_isa`` and ``wn_pos``, of whose texts it knows nothing, where commands look without ``--bank``."""
    return Path(shutil.copy(FIRST_RELEASE, tmp_path / "bank.sqlite"))


def counted(path: Path) -> dict[str, int]:
    with Bank.open(path, create=False) as bank:
        assert verify(bank) == []
        return bank.count_rows()


def test_text_ranks_without_a_query_once_the_bank_knows_its_sources_words(
    spot: Spot, old_bank: Path
) -> None:
    ask = ("retrieve", "wn_living", "--similarity", "text", *SHORT)
    before = counted(old_bank)
    assert (
        "the bank does not know those of wn_isa, wn_pos; `spot bank add-texts` reads"
        in spot(*ask).error
    )
    added = spot("bank", "add-texts", "wn_isa", "--json").document
    assert added == {"bank": "sqlite:///bank.sqlite", "tasks": {"wn_isa": "added"}}
    assert "does not know those of wn_pos; " in spot(*ask).error
    added = spot("bank", "add-texts").out.splitlines()
    assert added == ["wn_living: added", "wn_pos: added"]
    assert spot("bank", "add-texts").out.splitlines() == [
        "no task of sqlite:///bank.sqlite lacks its texts"
    ]
    document = spot(*ask, "--json").document
    assert (document["similarity"], document["cautions"]) == ("text", [])
    ranked = {row["task"]: row["similarities"] for row in document["ranked"]}
    assert set(ranked) == {"wn_isa", "wn_pos"}
    assert all(0 < row.pop("text") < 1 and not row for row in ranked.values())
    assert counted(old_bank) == before
    refused = spot(*ask, "--seed", "1").error
    assert refused.startswith("--seed would not be used: measure text ranks without a query")


def test_sources_that_share_texts_with_a_task_of_ones_own_are_named(
    spot: Spot, old_bank: Path, tmp_path: Path
) -> None:
    rows = [
        {"text": example.inputs.removeprefix("definition: "), "label": example.target}
        for example in get_task("wn_pos").examples(Split.TRAIN)
        if len(example.inputs.split()) > 12
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert spot("init-task", "mine.toml", "--train", "mine.jsonl").code == 0
    spot("bank", "add-texts")
    ask = ("retrieve", "mine.toml", "--similarity", "text", *SHORT)
    assert spot(*ask, "--json").document["left_out"] == ["wn_pos"]
    assert "left out: wn_pos, whose training texts may hold" in spot(*ask).out
    assert spot(*ask, "--allow-overlap", "--json").document["left_out"] == []


def test_a_way_to_another_length_is_refused_where_lengths_are_equal(
    spot: Spot, old_bank: Path
) -> None:
    refused = spot("transfer", "wn_living", "--resize", "repeat", *SHORT).error
    assert refused.startswith("--resize would not be used: the sources' prompts have 4 tokens")


@pytest.mark.parametrize("measure", ["neurons", "fused", "demonstrations"])
def test_sources_are_ranked_by_what_fires_and_by_both_similarities(
    spot: Spot, old_bank: Path, measure: str
) -> None:
    document = spot("retrieve", "wn_living", "--similarity", measure, *SHORT, "--json").document
    values = [row["similarity"] for row in document["ranked"]]
    assert values == sorted(values, reverse=True)
    assert len(values) == 2
    if measure == "fused":
        assert values[0] > 0 > values[1]
        assert sum(values) == pytest.approx(0, abs=1e-6)
    else:
        assert all(0 < value < 1 for value in values)


def test_texts_are_added_only_to_tasks_that_the_bank_holds(spot: Spot, old_bank: Path) -> None:
    assert (
        "holds no task 'wn_part'; train on it first" in spot("bank", "add-texts", "wn_part").error
    )
    assert "task 'wn_prt' is not known" in spot("bank", "add-texts", "wn_prt").error
