"""Listings say what is there, and verify finds what has been damaged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bank import Bank, CandidateRecord, RunRecord, TransferRecord
from bank.errors import BankError
from bank.integrity import verify
from bank.listing import count, list_prompts, list_runs, list_tasks, list_transfers, show_run
from bank.vectors import prompt_sha256
from tests.bank.conftest import damage, transfer_of

RunMaker = Callable[..., RunRecord]


@pytest.fixture
def transfer(bank: Bank, make_run: RunMaker) -> TransferRecord:
    """A bank with two sources and a transfer to a third task."""
    first, second, query, outcome = (
        bank.record_run(make_run(task, role=role))
        for task, role in (
            ("mnli", "source"),
            ("sst2", "source"),
            ("rte", "query"),
            ("rte", "transfer"),
        )
    )
    record = TransferRecord(
        task="rte",
        method="best",
        similarity="average",
        single=True,
        seed=0,
        metric="accuracy",
        query_run=query,
        chosen_run=outcome,
        outcome_metrics={"accuracy": 70.0},
        candidates=[
            CandidateRecord(
                source_run=first, similarity=0.75, weight=0.75, run=outcome, score=90.0
            ),
            CandidateRecord(source_run=second, similarity=0.25, weight=0.25),
        ],
    )
    bank.record_transfer(record)
    return record


# -- verify --------------------------------------------------------------------------------------------------


def test_a_sound_bank_has_no_problems(bank: Bank, transfer: TransferRecord) -> None:
    assert verify(bank) == []


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("checksum", "checksum differs from its address"),
        (
            'UPDATE prompt SET "values" = substr("values", 1, 44) WHERE id = 1',
            "11 numbers stored, expected 3 x 4",
        ),
        ("UPDATE prompt SET length = 4 WHERE id = 1", "12 numbers stored, expected 4 x 4"),
        (
            "UPDATE prompt SET length = 4, width = 3 WHERE id = 1",
            "checksum differs from its address",
        ),
        (
            "UPDATE key_vectors SET average = zeroblob(16) WHERE prompt_id = 1",
            "key vectors do not belong to it",
        ),
        (
            "UPDATE key_vectors SET average_normalized = "
            "(SELECT average_normalized FROM key_vectors WHERE prompt_id = 2) WHERE prompt_id = 1",
            "key vectors do not belong to it",
        ),
        (
            "UPDATE key_vectors SET average = substr(average, 1, 12) WHERE prompt_id = 1",
            "do not belong to it",
        ),
        ("DELETE FROM key_vectors WHERE prompt_id = 1", "has no key vectors"),
    ],
)
def test_a_damaged_prompt_is_found_and_named(
    bank: Bank, transfer: TransferRecord, statement: str, complaint: str
) -> None:
    connection = sqlite3.connect(str(bank.engine.url.database))
    address, values = connection.execute(
        'SELECT sha256, "values" FROM prompt WHERE id = 1'
    ).fetchone()
    connection.close()
    if statement == "checksum":
        flipped = bytes([values[0] ^ 1]) + values[1:]
        statement = f"UPDATE prompt SET \"values\" = x'{flipped.hex()}' WHERE id = 1"
    damage(bank, statement)
    assert any(p.startswith(f"prompt {address[:12]}: ") and complaint in p for p in verify(bank))


@pytest.mark.parametrize("table", ["prompt", "key_vectors"])
def test_a_number_cut_in_half_is_found(bank: Bank, transfer: TransferRecord, table: str) -> None:
    column = '"values"' if table == "prompt" else "average"
    damage(bank, f"UPDATE {table} SET {column} = substr({column}, 1, 15)")
    assert len([p for p in verify(bank) if p.startswith("prompt ")]) == bank.count_rows()["prompt"]


def test_a_run_without_its_value_is_found(bank: Bank, transfer: TransferRecord) -> None:
    digest = transfer.query_run
    damage(
        bank,
        f"DELETE FROM snapshot WHERE kind = 'value' AND run_id = (SELECT id FROM run WHERE digest = '{digest}')",
    )
    assert f"run {digest[:12]}: has no value prompt" in verify(bank)
    with pytest.raises(BankError, match="value"):
        bank.run(digest)


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("DELETE FROM task WHERE name = 'mnli'", "of run refers to a missing task"),
        ("DELETE FROM recipe", "of run refers to a missing recipe"),
        ("DELETE FROM backbone", "of recipe refers to a missing backbone"),
        ("DELETE FROM prompt WHERE id = 1", "of snapshot refers to a missing prompt"),
        ("DELETE FROM run WHERE role = 'query'", "of transfer refers to a missing run"),
        ("DELETE FROM transfer", "of candidate refers to a missing transfer"),
    ],
)
def test_a_reference_to_nothing_is_found(
    bank: Bank, transfer: TransferRecord, statement: str, complaint: str
) -> None:
    damage(bank, statement)
    assert any(complaint in problem for problem in verify(bank))


def test_a_damaged_page_is_found_or_refused_in_one_line(
    bank: Bank, transfer: TransferRecord, make_run: RunMaker
) -> None:
    path = Path(str(bank.engine.url.database))
    bank.record_run(make_run(length=200, width=64, fingerprint="e" * 64))
    damage(bank, "PRAGMA wal_checkpoint(TRUNCATE)")
    bank.close()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :: 3] = b"\xff" * len(content[len(content) // 2 :: 3])
    path.write_bytes(content)
    try:
        problems = verify(bank)
    except BankError as error:
        problems = [str(error)]
    assert problems
    assert all("\n" not in problem for problem in problems)


# -- listings ------------------------------------------------------------------------------------------------


def test_tasks_are_listed_with_their_runs_by_role(
    bank: Bank, transfer: TransferRecord, make_run: RunMaker
) -> None:
    bank.record_run(make_run("mnli", seed=1))
    rows = list_tasks(bank.engine)
    assert [row["task"] for row in rows] == ["mnli", "rte", "sst2"]
    assert rows[0] == {
        "task": "mnli",
        "family": "sentiment",
        "source": 2,
        "query": 0,
        "baseline": 0,
        "transfer": 0,
        "tags": [],
    }
    assert (rows[1]["query"], rows[1]["transfer"]) == (1, 1)


def test_runs_are_listed_newest_first_and_filtered(bank: Bank, transfer: TransferRecord) -> None:
    rows = list_runs(bank.engine)
    assert [row["task"] for row in rows] == ["rte", "rte", "sst2", "mnli"]
    assert rows[0]["backbone"] == "toy"
    assert (rows[0]["length"], rows[0]["key step"], rows[0]["score"]) == (3, 10, 90.0)
    assert [row["role"] for row in list_runs(bank.engine, task="rte")] == ["transfer", "query"]
    assert [row["task"] for row in list_runs(bank.engine, role="source")] == ["sst2", "mnli"]
    assert list_runs(bank.engine, task="rte", role="source") == []


def test_a_page_is_the_newest_of_what_is_counted(
    bank: Bank, transfer: TransferRecord, make_run: RunMaker
) -> None:
    query, outcome = transfer.query_run, transfer.chosen_run
    second = transfer_of(transfer.candidates[0].source_run, query, outcome, method="oracle")
    bank.record_transfer(second)
    bank.record_run(make_run("cola", key=(same := np.ones((3, 4), np.float32)), value=same))
    for listing, what, total in (
        (list_runs, "runs", 5),
        (list_prompts, "prompts", 9),
        (list_transfers, "transfers", 2),
    ):
        rows = listing(bank.engine)
        assert count(bank.engine, what) == total
        for limit in (1, 2, 100):
            page = listing(bank.engine, limit=limit)
            assert page == rows[: len(page)]
            assert len({row[what.removesuffix("s")] for row in page}) == min(limit, total)
    assert [row["kind"] for row in list_prompts(bank.engine, limit=1)] == ["key", "value"]
    assert count(bank.engine, "runs", task="rte") == 2
    assert count(bank.engine, "runs", task="rte", role="query") == 1
    assert count(bank.engine, "transfers", task="mnli") == 0
    assert list_transfers(bank.engine, limit=1)[0]["sources"][0]["task"] == "mnli"


def test_runs_are_listed_beside_what_the_most_frequent_answer_scores(
    bank: Bank, make_run: RunMaker
) -> None:
    bank.record_run(make_run(environment={"most frequent answer": 54.5}))
    bank.record_run(make_run(seed=1, environment={}))
    assert [row["most frequent answer"] for row in list_runs(bank.engine)] == [None, 54.5]


def test_one_run_is_shown_whole(bank: Bank, make_run: RunMaker) -> None:
    record = make_run(history=[{"step": 10.0, "loss": 0.5}], environment={"device": "cpu"})
    digest = bank.record_run(record)
    shown = show_run(bank.engine, digest[:8])
    assert record.key is not None
    assert shown["run"] == digest
    assert shown["history"] == [{"step": 10.0, "loss": 0.5}]
    assert shown["environment"] == {"device": "cpu"}
    assert [(s["kind"], s["step"], s["shape"]) for s in shown["snapshots"]] == [
        ("key", 10, [3, 4]),
        ("value", 30, [3, 4]),
    ]
    assert shown["snapshots"][0]["prompt"] == prompt_sha256(record.key.prompt)
    assert shown["created"].endswith("+00:00")
    assert json.loads(json.dumps(shown)) == shown
    with pytest.raises(
        BankError, match="run 'feed' is not in the bank; `spot bank runs` lists them"
    ):
        show_run(bank.engine, "feed")


def test_a_source_shows_who_used_it(bank: Bank, transfer: TransferRecord) -> None:
    shown = show_run(bank.engine, transfer.candidates[1].source_run)
    assert shown["source of transfers"] == [
        {"transfer": transfer.digest[:12], "target": "rte", "rank": 2}
    ]


def test_prompts_are_listed_once_for_each_snapshot(bank: Bank, make_run: RunMaker) -> None:
    one = np.ones((3, 4), np.float32)
    bank.record_run(make_run(key=one, value=one))
    rows = list_prompts(bank.engine)
    assert [(row["prompt"], row["kind"], row["step"]) for row in rows] == [
        (prompt_sha256(one)[:12], "key", 10),
        (prompt_sha256(one)[:12], "value", 30),
    ]


def test_transfers_are_listed_with_ranked_sources(bank: Bank, transfer: TransferRecord) -> None:
    (row,) = list_transfers(bank.engine, task="rte")
    assert row["transfer"] == transfer.digest[:12]
    assert row["baseline"] is None
    assert [(s["rank"], s["task"], s["similarity"], s["dev score"]) for s in row["sources"]] == [
        (1, "mnli", 0.75, 90.0),
        (2, "sst2", 0.25, None),
    ]


def test_statistics_count_every_table(bank: Bank, transfer: TransferRecord) -> None:
    assert bank.count_rows() == {
        "backbone": 1,
        "candidate": 2,
        "evaluation": 0,
        "key_vectors": 8,
        "member": 0,
        "prompt": 8,
        "recipe": 1,
        "recycler": 0,
        "run": 4,
        "snapshot": 8,
        "tag": 0,
        "task": 3,
        "transfer": 1,
    }
