"""Verify finds every fault that a bank's content can show, whatever lies in a cell, and none in a sound bank."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bank import (
    BackboneRecord,
    Bank,
    BankError,
    CandidateRecord,
    Partition,
    RecipeRecord,
    RecyclerRecord,
    RunIdentity,
    RunRecord,
    SnapshotRecord,
    TaskRecord,
    TransferRecord,
)
from bank.engine import connected
from bank.identity import recipe_family
from bank.integrity import verify
from bank.keys import KINDS
from bank.listing import list_prompts, list_runs, list_tasks, list_transfers, show_run
from bank.outcomes import Measured, import_outcomes
from bank.records import SIGNATURE
from bank.vectors import average, prompt_sha256
from tests.bank.conftest import damage, prompt_of

OPTIONS: dict[str, Any] = {
    "prompt_length": 3, "init": "vocabulary", "optimizer": {"name": "adafactor", "schedule": "constant"},
    "batch_size": 16, "steps": 30, "key_step": 10, "evaluate_every": 10, "patience": 0, "max_input": 128,
    "max_target": 16, "train_limit": 0, "dev_limit": 0, "evaluate_by": "auto", "dtype": "float32",
}  # fmt: skip

RECIPE = RecipeRecord(
    backbone=BackboneRecord(fingerprint="f" * 64, name="toy", width=4, config={"d_model": 4}),
    prompt_length=3,
    key_step=10,
    family=recipe_family(OPTIONS),
    options=OPTIONS,
)

MAP = RecyclerRecord(
    source=RECIPE.backbone,
    target=RECIPE.backbone,
    method="linear",
    shared=100,
    cosine=1.0,
    error=0.0,
    numbers={"weights": np.eye(4, dtype=np.float32)},
)


def trained(
    task: str, seed: int, role: str, scores: tuple[float, ...], *, start: str | None = None
) -> RunRecord:
    """A run as training leaves it: one evaluation every ten steps with the given scores."""
    name, best = f"{task}/{seed}/{role}/{start}", max(scores)
    steps = 10 * (scores.index(best) + 1)
    begun = prompt_of(f"start {seed}")
    return RunRecord(
        identity=RunIdentity(
            recipe=RECIPE,
            task=TaskRecord(
                name=task,
                family="toys",
                description={"family": "toys"},
                content="c" * 64,
                texts=bytes(range(16)),
                signature=np.full(SIGNATURE, 0.5, "<f2").tobytes(),
            ),
            seed=seed,
            role=role,
            data="d" * 64,
            started_from=start,
        ),
        steps=10 * len(scores),
        metric="score",
        score=best,
        value=SnapshotRecord(prompt=prompt_of(f"{name}/value"), step=steps, score=best),
        key=SnapshotRecord(prompt=prompt_of(f"{name}/key"), step=10),
        metrics={"accuracy": best, "score": best},
        history=[
            {
                "step": 10.0 * (i + 1),
                "loss": math.nan if i == 0 else 0.5,
                "accuracy": score,
                "score": score,
            }
            for i, score in enumerate(scores)
        ],
        start=average(begun),
        seconds=1.5,
    )


def fill(bank: Bank, seeds: int = 1) -> None:
    """Two sources, and transfers to a third task from each, with answers."""
    for seed in range(seeds):
        sources = [
            trained("cats", seed, "source", (50.0, 60.0, 70.0)),
            trained("dogs", seed, "source", (55.0, 65.0, 62.0)),
        ]
        baseline = trained("birds", seed, "baseline", (40.0, 45.0, 44.0))
        targets = [
            trained("birds", seed, "transfer", scores, start=prompt_sha256(source.value.prompt))
            for source, scores in zip(
                sources, ((47.0, 49.0, 50.0), (41.0, 43.0, 42.0)), strict=True
            )
        ]
        *named, without, first, second = [
            bank.record_run(run) for run in (*sources, baseline, *targets)
        ]
        for run, score in ((without, 44.0), (first, 51.0)):
            bank.record_evaluation(
                run, "e" * 64, metrics={"score": score}, answers=["wing", "beak"]
            )
        bank.record_transfer(
            TransferRecord(
                task="birds", method="best", similarity="average", single=True, seed=seed, metric="score",
                query_run=without, baseline_run=without, baseline_metrics={"score": 44.0}, chosen_run=first,
                outcome_metrics={"score": 51.0}, steps=60,
                candidates=[
                    CandidateRecord(source_run=named[0], similarity=0.6, weight=0.6, run=first, score=50.0, steps=30),
                    CandidateRecord(source_run=named[1], similarity=0.4, weight=0.4, run=second, score=43.0, steps=30),
                ],
            )
        )  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "bank.sqlite"
    with Bank.open(path) as bank:
        fill(bank, seeds=2)
        bank.put(np.ones((3, 4)))
        bank.record_recycler(MAP)
        wolves = trained("wolves", 0, "source", (50.0, 60.0, 70.0))
        own = dataclasses.replace(wolves.value, prompt=prompt_of("wolves/own", length=2))
        bank.record_run(dataclasses.replace(wolves, own=own))
        mixture = trained("cats+dogs", 0, "transfer", (50.0,) * 3)
        members = dataclasses.replace(
            mixture.identity.task, description={"family": "toys", "tasks": ["cats", "dogs"]}
        )
        run = bank.record_run(
            dataclasses.replace(
                mixture, identity=dataclasses.replace(mixture.identity, task=members)
            )
        )
        bank.tag(run, ["both"])
        assert verify(bank) == []
    return path


@pytest.fixture
def bank(sound: Path, tmp_path: Path) -> Iterator[Bank]:
    with Bank.open(shutil.copyfile(sound, tmp_path / "bank.sqlite"), create=False) as opened:
        yield opened


def swap(table: str, column: str, one: int, other: int) -> str:
    """Exchange a column of two rows, also where it is unique."""
    held = f"(SELECT {column} FROM {table} AS held WHERE held.id = {{}})"
    return (
        f"CREATE TEMPORARY TABLE swapped AS SELECT {held.format(one)} AS a, {held.format(other)} AS b; "
        f"UPDATE {table} SET {column} = (CASE id WHEN {one} THEN (SELECT b FROM swapped) ELSE (SELECT a FROM swapped) "
        f"END) WHERE id IN ({one}, {other})"
    )


FAULTS = [
    # snapshots: 1 and 2 are key and value of run 1 (cats), 3 and 4 of run 2 (dogs); runs 4 and 5 start from them
    (swap("snapshot", "prompt_id", 1, 2), "brought"),
    (swap("snapshot", "prompt_id", 2, 4), "did not start from the value of its source"),
    (swap("snapshot", "prompt_id", 6, 8), "brought"),
    (swap("snapshot", "step", 1, 2), "its key is of step 30, its recipe's key step is 10"),
    (
        "UPDATE snapshot SET run_id = 1 - run_id WHERE id IN (2, 4); "  # 0 and -1, so that neither is taken
        "UPDATE snapshot SET run_id = run_id + 2 WHERE id IN (2, 4)",
        "its value is of step 20 with 60, its best was 70"),
    (swap("snapshot", "score", 2, 4), "its score is 70, that of its value 65"),
    ("DELETE FROM snapshot WHERE id = 1", "run {run1}: has no key prompt"),
    ("DELETE FROM snapshot WHERE id = 2", "run {run1}: has no value prompt"),
    ("UPDATE snapshot SET step = 20 WHERE id = 1", "its key is of step 20"),
    ("UPDATE snapshot SET step = 25 WHERE id = 2", "its value is of step 25, which was not evaluated"),
    ("UPDATE snapshot SET step = 300 WHERE id = 2", "its value is of step 300, after its 30 steps"),
    ("UPDATE snapshot SET step = -1 WHERE id = 2", "step is -1, expected a whole number of at least 0"),
    ("UPDATE snapshot SET score = NULL WHERE id = 2", "its value has no score"),
    ("UPDATE snapshot SET run_id = 99 WHERE id = 1", "row 1 of snapshot refers to a missing run"),
    ("UPDATE run SET digest = replace(digest, substr(digest, 1, 12), '0123456789ab') WHERE id = 1",
     "run 0123456789ab: its digest does not follow"),
    ("UPDATE run SET digest = 'none' WHERE id = 1", "digest is 'none', expected 64 hexadecimal digits"),
    ("UPDATE run SET seed = 7 WHERE id = 1", "run {run1}: its digest does not follow from its content"),
    ("UPDATE run SET seed = -1 WHERE id = 1", "seed is -1, expected a whole number of at least 0"),
    ("UPDATE run SET seed = 'first' WHERE id = 1", "seed is 'first', expected a whole number"),
    ("UPDATE run SET seed = 0.5 WHERE id = 1", "seed is 0.5, expected a whole number"),
    ("UPDATE run SET data = NULL, seed = 7 WHERE id = 4", "the run of its candidate 1 {run4} is of another seed"),
    ("UPDATE run SET task_id = 2 WHERE id = 1", "run {run1}: its digest does not follow from its content"),
    ("UPDATE run SET data = NULL, task_id = 2 WHERE id = 4", "is of another task"),
    ("UPDATE run SET started_from = NULL WHERE id = 4", "its digest does not follow from its content"),
    ("UPDATE run SET started_from = 'there' WHERE id = 4", "started_from is 'there', expected 64 hexadecimal"),
    ("UPDATE run SET role = 'query', data = NULL WHERE id = 1", "took 30 steps, its recipe plans 10"),
    ("PRAGMA ignore_check_constraints = ON; UPDATE run SET role = 'guest' WHERE id = 1",
     "role is 'guest', expected one of source, query, baseline, transfer"),
    ("UPDATE run SET steps = 20 WHERE id = 1", "took 20 steps, its recipe plans 30"),
    ("UPDATE run SET steps = 40 WHERE id = 1", "its history ends at step 30, its training at 40"),
    ("UPDATE run SET steps = 'many' WHERE id = 1", "steps is 'many', expected a whole number"),
    ("UPDATE run SET score = 71 WHERE id = 1", "its score is 71, its metrics say 70"),
    ("UPDATE run SET score = 'high' WHERE id = 1", "score is 'high', expected a finite number"),
    ("UPDATE run SET score = 9e999 WHERE id = 1", "score is inf, expected a finite number"),
    ("UPDATE run SET score = 7000 WHERE id = 1", "its score 7000 lies outside 0 to 100"),
    ("UPDATE run SET score = -3 WHERE id = 1", "its score -3 lies outside 0 to 100"),
    ("UPDATE run SET metric = 'f1' WHERE id = 1", "its metrics do not tell its metric f1"),
    ("UPDATE run SET metric = x'00ff' WHERE id = 1", "metric is b'\\x00\\xff', expected a text"),
    ("UPDATE run SET metrics = '{' WHERE id = 1", "metrics is '{', expected a JSON object of numbers"),
    ("UPDATE run SET metrics = '{}' WHERE id = 1", "has a history, but no metrics"),
    ("UPDATE run SET metrics = '{\"score\": \"x\"}' WHERE id = 1", "metrics is"),
    ("UPDATE run SET metrics = '{\"score\": NaN}' WHERE id = 1", "metrics is"),
    ("UPDATE run SET metrics = '{\"score\": 170}' WHERE id = 1", "a JSON object of numbers from 0 to 100"),
    ("UPDATE run SET metrics = '{\"score\": 70, \"accuracy\": 20}' WHERE id = 1",
     "its accuracy is 20, its history says 70"),
    ("UPDATE run SET metrics = CAST(x'7bff7d' AS TEXT) WHERE id = 1", "metrics is '{\\udcff}'"),
    ("UPDATE run SET history = '[{' WHERE id = 1", "expected a JSON list of evaluations"),
    ("UPDATE run SET history = '[1]' WHERE id = 1", "expected a JSON list of evaluations with their steps"),
    ("UPDATE run SET history = '[]' WHERE id = 1", "was trained, but has no history"),
    ("UPDATE run SET history = replace(history, '70.0', '69.0') WHERE id = 1", "the best of its history 69"),
    ("UPDATE run SET history = replace(history, '20.0', '5.0') WHERE id = 1", "does not go forward in steps"),
    ("UPDATE run SET history = replace(history, '60.0', 'null') WHERE id = 1", "history is"),
    ("UPDATE run SET environment = 'linux' WHERE id = 1", "environment is 'linux', expected a JSON object"),
    ("UPDATE run SET environment = printf('%.*c', 100000, '[') WHERE id = 1", "expected a JSON object"),
    ("UPDATE run SET seconds = -1 WHERE id = 1", "seconds is -1.0, expected a number of at least 0"),
    ("UPDATE run SET created = 'yesterday' WHERE id = 1", "created is 'yesterday', expected a time"),
    ("UPDATE run SET created = '2999-01-01 00:00:00' WHERE id = 1", "expected a time since 2020 that has been"),
    ("UPDATE run SET created = '1970-01-01 00:00:00' WHERE id = 1", "expected a time since 2020 that has been"),
    ("UPDATE run SET created = 5 WHERE id = 1", "created is"),
    ("UPDATE run SET start = zeroblob(8) WHERE id = 1", "its start has 2 numbers, expected 4"),
    ("UPDATE run SET start = x'0000c07f0000c07f0000c07f0000c07f' WHERE id = 1", "its start is not finite"),
    ("UPDATE run SET recipe_id = 9 WHERE id = 1", "row 1 of run refers to a missing recipe"),
    ("UPDATE recipe SET family = substr(family, 2) || '0'", "its family does not follow from its options"),
    ("UPDATE recipe SET options = replace(options, '128', '64')", "its family does not follow from its options"),
    ("UPDATE recipe SET options = replace(options, '\"dev_limit\": 0', '\"dev_limit\": 9')",
     "its digest does not follow from its content"),
    ("UPDATE recipe SET options = '[]'", "options is '[]', expected a JSON object"),
    ("UPDATE recipe SET key_step = 20", "its options say 10"),
    ("UPDATE recipe SET prompt_length = 4", "its value has shape [3, 4], its recipe and backbone [4, 4]"),
    ("UPDATE recipe SET prompt_length = 'long'", "prompt_length is 'long', expected a whole number"),
    ("UPDATE backbone SET width = 8", "is 8 wide, but its config says d_model 4"),
    ("UPDATE backbone SET fingerprint = replace(fingerprint, 'f', 'e')", "its digest does not follow"),
    ("UPDATE backbone SET config = 'null'", "config is 'null', expected a JSON object"),
    ("UPDATE task SET name = 'mice' WHERE id = 1", "its digest does not follow from its content"),
    ("UPDATE task SET name = '' WHERE id = 1", "name is '', expected a text"),
    ("UPDATE task SET content = 'cc' WHERE id = 1", "content is 'cc', expected 64 hexadecimal digits"),
    ("UPDATE task SET family = 'tools' WHERE id = 1", "is of family tools, but its description says 'toys'"),
    ("UPDATE task SET description = 'a task' WHERE id = 1", "description is 'a task', expected a JSON object"),
    ("UPDATE task SET description = '{\"tasks\": 5}' WHERE id = 1", "expected a list of names"),
    ("UPDATE task SET texts = x'0102' WHERE id = 1", "its hashes of texts end within one"),
    ("UPDATE task SET signature = x'0038' WHERE id = 1", "expected 16384 float16 numbers from 0 to 1"),
    (f"UPDATE task SET signature = x'{'ff' * 2 * SIGNATURE}' WHERE id = 1", "float16 numbers from 0 to 1"),
    ("UPDATE run SET seed = 9e999 WHERE id = 1", "seed is inf, expected"),
    ("INSERT INTO task (name, family, description) VALUES ('idle', 'toys', '{}')", "no run belongs to it"),
    ("DELETE FROM task WHERE id = 1", "row 1 of run refers to a missing task"),
    ("UPDATE prompt SET width = 'wide' WHERE id = 1", "width is 'wide', expected a whole number of at least 1"),
    ('UPDATE prompt SET "values" = \'text\' WHERE id = 1', "cannot be checked (bytes)"),
    ('UPDATE prompt SET "values" = zeroblob(48) WHERE id = 1', "checksum differs from its address"),
    ("UPDATE prompt SET sha256 = 'x' WHERE id = 1", "sha256 is 'x', expected 64 hexadecimal digits"),
    ("UPDATE key_vectors SET average = x'0000c07f0000c07f0000c07f0000c07f' WHERE prompt_id = 1",
     "key vectors do not belong to it"),
    ("UPDATE key_vectors SET average_normalized = 'text' WHERE prompt_id = 1", "cannot be checked (bytes)"),
    ("DELETE FROM key_vectors WHERE prompt_id = 1", "has no key vectors"),
    ("UPDATE key_vectors SET prompt_id = 99 WHERE prompt_id = 1", "of key_vectors refers to a missing prompt"),
    ("UPDATE evaluation SET answers = '\"wing\"' WHERE id = 1", "expected a JSON list of texts"),
    ("UPDATE evaluation SET answers = '[1, 2]' WHERE id = 1", "expected a JSON list of texts"),
    ("UPDATE evaluation SET answers = '[]' WHERE id = 1", "has no answers"),
    ("UPDATE evaluation SET answers = '[\"wing\"]' WHERE id = 2", "has 1 answers, evaluation 1 of the same data 2"),
    ("UPDATE evaluation SET metrics = '{\"score\": 12}' WHERE id = 2", "its outcome metrics are not those"),
    ("UPDATE evaluation SET run_id = 1 WHERE id = 2", "is of the data of another task's evaluation"),
    ("UPDATE evaluation SET run_id = 99 WHERE id = 1", "row 1 of evaluation refers to a missing run"),
    ("UPDATE transfer SET digest = printf('%064d', 0) WHERE id = 1", "its digest does not follow from its content"),
    ("UPDATE transfer SET similarity = 'per_token' WHERE id = 1", "its digest does not follow from its content"),
    ("UPDATE transfer SET options = replace(options, 'mean', 'max') WHERE id = 1", "its digest does not follow"),
    ("UPDATE transfer SET options = '{' WHERE id = 1", "options is '{', expected a JSON object"),
    ("UPDATE transfer SET task_id = 1 WHERE id = 1", "is of another task"),
    ("UPDATE transfer SET seed = 5 WHERE id = 1", "is of another seed"),
    ("UPDATE transfer SET top_k = 3 WHERE id = 1", "has 2 candidates, expected 3"),
    ("UPDATE transfer SET budget = 'none' WHERE id = 1", "budget is 'none', expected full or halving"),
    ("UPDATE transfer SET chosen_run_id = 1 WHERE id = 1", "its chosen run {run1} has the role source"),
    ("UPDATE transfer SET chosen_run_id = 5 WHERE id = 1", "chose a run with 43, another had 50"),
    ("UPDATE transfer SET chosen_run_id = 9 WHERE id = 1", "its chosen run is none of its own"),
    ("UPDATE transfer SET query_run_id = 4 WHERE id = 1", "its query run {run4} has the role transfer"),
    ("UPDATE transfer SET baseline_run_id = NULL WHERE id = 1", "metrics without a run"),
    ("UPDATE transfer SET baseline_metrics = '{\"score\": 10}' WHERE id = 1", "its baseline metrics are not those"),
    ("UPDATE transfer SET outcome_metrics = '{\"score\": 90}' WHERE id = 1", "its outcome metrics are not those"),
    ("UPDATE transfer SET metric = 'f1' WHERE id = 1", "its outcome metrics do not tell its metric f1"),
    ("UPDATE transfer SET created = '' WHERE id = 1", "created is '', expected a time"),
    ("UPDATE transfer SET steps = -5 WHERE id = 1", "steps is -5, expected a whole number"),
    ("UPDATE transfer SET single = 0 WHERE id = 1", "each of its runs has a source of its own, but it says"),
    ("UPDATE transfer SET single = 2 WHERE id = 1", "single is 2, expected true or false"),
    ("UPDATE evaluation SET decoding = '[1]' WHERE id = 1", "decoding is '[1]', expected a JSON object"),
    ("UPDATE prompt SET shape = '[3, 4]' WHERE id = 1", "shape is '[3, 4]', expected a JSON list of three axes"),
    ("UPDATE prompt SET shape = '[1, 3, 0]' WHERE id = 1", "shape is '[1, 3, 0]', expected a whole number"),
    ("UPDATE prompt SET shape = '[1, 4, 3]' WHERE id = 1", "has shape [1, 4, 3], whose last axes are not [3, 4]"),
    ("UPDATE prompt SET shape = '[1, 3, 4]' WHERE id = 1", "run {run1}: its key and value have different shapes"),
    ("UPDATE prompt SET shape = '[2, 3, 4]' WHERE id = 1", "12 numbers stored, expected 2 x 3 x 4"),
    ("UPDATE member SET name = 'fish' WHERE id = 1", "its members are ['dogs', 'fish'], its description"),
    ("DELETE FROM member WHERE id = 1", "task cats+dogs: its members are ['dogs'], its description says"),
    ("INSERT INTO member (task_id, name) VALUES (1, 'fish')", "cats: its members are ['fish'], its description says"),
    ("UPDATE member SET task_id = 9 WHERE id = 1", "row 1 of member refers to a missing task"),
    ("UPDATE member SET name = '' WHERE id = 1", "name is '', expected a text"),
    ("DROP TABLE member", "schema: table member is missing"),
    ("UPDATE candidate SET rank = 3 WHERE id = 2", "the ranks [1, 3], expected 1 to 2"),
    ("UPDATE candidate SET rank = 0 WHERE id = 2", "rank is 0, expected a whole number of at least 1"),
    ("DELETE FROM candidate WHERE id = 2", "has 1 candidates, expected 2"),
    (swap("candidate", "similarity", 1, 2), "its candidates are not ranked by their similarities"),
    (swap("candidate", "run_id", 1, 2), "has the score 50, its run 43"),
    (swap("candidate", "source_run_id", 1, 2), "did not start from the value of its source"),
    ("UPDATE candidate SET weight = 0.9 WHERE id = 2", "expected shares of 1"),
    ("UPDATE candidate SET weight = -0.4 WHERE id = 2", "expected shares of 1"),
    ("UPDATE candidate SET weight = 'much' WHERE id = 2", "weight is 'much', expected a finite number"),
    ("UPDATE candidate SET similarity = 9e999 WHERE id = 1", "similarity is inf, expected a finite number"),
    ("UPDATE candidate SET score = 51 WHERE id = 1", "has the score 51, its run 50"),
    ("UPDATE candidate SET steps = 20 WHERE id = 1", "took 20 steps, its run 30"),
    ("UPDATE candidate SET source_run_id = 3 WHERE id = 1", "is a source of the target itself"),
    ("UPDATE candidate SET run_id = 1 WHERE id = 1", "the run of its candidate 1 {run1} is of another task"),
    ("UPDATE candidate SET transfer_id = 99 WHERE id = 1", "row 1 of candidate refers to a missing transfer"),
    ("DROP INDEX ix_run_task_id", "schema: index ix_run_task_id of run is missing"),
    ("ALTER TABLE run DROP COLUMN environment", "schema: column environment of run is missing"),
    ("UPDATE prompt SET length = 5 WHERE id = (SELECT prompt_id FROM snapshot WHERE kind = 'own')",
     "its own part has shape [5, 4], which is none of its value's"),
    ("DROP TABLE evaluation", "schema: table evaluation is missing"),
    ("CREATE TABLE task2 AS SELECT * FROM task; DROP TABLE task; ALTER TABLE task2 RENAME TO task; "
     "INSERT INTO task SELECT 9, name, family, description, content, texts, signature FROM task WHERE id = 1",
     "task: 2 rows have the same name (cats)"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "complaint"), FAULTS, ids=range(len(FAULTS)))
def test_a_planted_fault_is_found_in_one_line(bank: Bank, statement: str, complaint: str) -> None:
    with sqlite3.connect(str(bank.engine.url.database)) as connection:
        digests = [
            digest[:12] for (digest,) in connection.execute("SELECT digest FROM run ORDER BY id")
        ]
    connection.close()
    damage(bank, statement)
    problems = verify(bank)
    expected = (
        complaint.format(run1=digests[0], run4=digests[3]) if "{run" in complaint else complaint
    )
    assert any(expected in problem for problem in problems), problems
    assert all("\n" not in problem and len(problem) < 400 for problem in problems)


def test_faults_of_a_prompt_with_more_axes_are_found(bank: Bank) -> None:
    shape = (2, 3, 4)
    record = trained("fish", 0, "source", (50.0, 60.0, 70.0))
    early, late = (np.random.default_rng(n).normal(size=shape) for n in range(2))
    with Bank.open(str(bank.engine.url.database)) as writer:
        digest = writer.record_run(
            dataclasses.replace(
                record,
                key=dataclasses.replace(record.key, prompt=early) if record.key else None,
                value=dataclasses.replace(record.value, prompt=late),
                start=np.ones(8),
            )
        )
    assert verify(bank) == []
    content = Path(str(bank.engine.url.database)).read_bytes()
    for statement, complaint in (
        (
            f"UPDATE run SET start = zeroblob(16) WHERE digest = '{digest}'",
            "its start has 4 numbers, expected 8",
        ),
        (
            "UPDATE prompt SET shape = NULL WHERE shape IS NOT NULL",
            "24 numbers stored, expected 3 x 4",
        ),
        (
            "UPDATE prompt SET shape = '[2, 1, 3, 4]' WHERE shape IS NOT NULL",
            "checksum differs from its address",
        ),
        ("UPDATE key_vectors SET average = zeroblob(16)", "key vectors do not belong to it"),
    ):
        damage(bank, statement)
        assert any(complaint in problem for problem in verify(bank)), statement
        Path(str(bank.engine.url.database)).write_bytes(content)


FREE = {"name", "method", "data", "content"}
"""Columns in which a text may be anything."""


def test_a_cell_of_any_kind_is_reported_and_stops_nothing(bank: Bank) -> None:
    path = Path(str(bank.engine.url.database))
    with sqlite3.connect(path) as connection:
        columns = [
            (table, column)
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall()
            for _, column, _, _, _, key in connection.execute(
                f"PRAGMA table_info({table})"
            ).fetchall()
            if not key and table != "alembic_version"
        ]
    connection.close()
    assert len(columns) > 50
    content = path.read_bytes()
    for table, column in columns:
        for cell in ("x'fe00'", "'{\"a\": [[1]]}'"):
            path.write_bytes(content)
            try:
                damage(bank, f"PRAGMA ignore_check_constraints = ON; UPDATE {table} SET \"{column}\" = {cell} "
                             f"WHERE rowid = (SELECT min(rowid) FROM {table})")  # fmt: skip
            except sqlite3.IntegrityError:
                continue
            free = column in FREE or (
                column in {"config", "description", "environment", "decoding"} and "{" in cell
            )
            assert verify(bank) or free, (table, column, cell)


def test_what_others_measured_is_sound_and_named_by_its_query(bank: Bank) -> None:
    rows = [
        Measured(where="table", target="birds", source=s, seed=1, score=41.5, baseline=40.0)
        for s in ("cats", "dogs")
    ]
    with Bank.open(str(bank.engine.url.database)) as writer:
        import_outcomes(writer, rows)
    assert verify(bank) == []
    damage(
        bank,
        "UPDATE transfer SET query_run_id = 4, baseline_run_id = NULL WHERE method = 'imported'",
    )
    assert any("its digest does not follow from its content" in problem for problem in verify(bank))


@pytest.mark.parametrize(
    ("path", "keys", "outcomes"),
    [("banks/first_release.sqlite", 4, 2), ("../../shared/banks/ef92587-demo.sqlite", 8, 9)],
)
def test_a_bank_of_the_first_release_is_sound(path: str, keys: int, outcomes: int) -> None:
    written = Path(__file__).parents[1] / path
    if not written.exists():
        pytest.skip("needs the first release's demo")
    with Bank.open(written, create=False) as bank:
        assert verify(bank) == []
        (partition,) = bank.partitions()
        assert recipe_family(bank.recipe_options(partition)) == partition.family
        assert len(bank.keys(partition)) == keys
        assert len(bank.outcomes(partition)) == outcomes


def test_ten_thousand_runs_are_checked_in_seconds(tmp_path: Path) -> None:
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        fill(bank)
        runs = 10_000
        with sqlite3.connect(str(bank.engine.url.database)) as connection:
            columns = [row[1] for row in connection.execute("PRAGMA table_info(run)")]
            copied = ", ".join(
                "x.n"
                if c == "id"
                else "printf('%012x', x.n) || printf('%052x', 0)"
                if c == "digest"
                else c
                for c in columns
            )
            numbers = f"WITH RECURSIVE x(n) AS (SELECT 100 UNION ALL SELECT n + 1 FROM x WHERE n < {runs + 99})"
            connection.execute(
                f"INSERT INTO run ({', '.join(columns)}) {numbers} SELECT {copied} FROM run, x WHERE run.id = 1"
            )
            connection.execute(
                "INSERT INTO snapshot (run_id, prompt_id, kind, step, score) "
                f"{numbers} SELECT x.n, prompt_id, kind, step, score FROM snapshot, x WHERE run_id = 1"
            )
        connection.close()
        began = time.process_time()
        problems = verify(bank)
        assert time.process_time() - began < 60
    assert len(problems) == runs  # their digests
    assert all("its digest does not follow from its content" in problem for problem in problems)


def test_partition_of_the_recipe_is_that_of_its_options() -> None:
    assert Partition.of(RECIPE).family == recipe_family(OPTIONS)
    assert dataclasses.replace(RECIPE, options=OPTIONS | {"steps": 60}).digest != RECIPE.digest


def read_in_every_way(path: Path) -> None:
    """All that reads a bank; raises what is no BankError."""

    def listed() -> None:
        with connected(path) as engine:
            for read in (list_tasks, list_runs, list_prompts, list_transfers):
                with contextlib.suppress(BankError):
                    read(engine)
            with contextlib.suppress(BankError):
                show_run(engine, str((list_runs(engine) or [{"run": "none"}])[0]["run"]))

    def ranked() -> None:
        with Bank.open(path, create=False) as bank:
            for partition in bank.partitions():
                for read in (bank.keys, bank.outcomes, bank.recipe_options):
                    with contextlib.suppress(BankError):
                        read(partition)
                keys = bank.keys(partition)
                for run, value in zip(keys.runs, keys.values, strict=True):
                    bank.run(run)
                    bank.history(run)
                    bank.prompt(value)
                for kind in KINDS:
                    keys.vectors(kind)

    for read in (listed, ranked):
        try:
            read()
        except BankError as error:
            assert "\n" not in str(error)


def test_a_file_with_damaged_bytes_is_read_or_refused_in_one_line(
    sound: Path, tmp_path: Path
) -> None:
    content, path = sound.read_bytes(), tmp_path / "bank.sqlite"
    random = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(content)
        kind = random.integers(4)
        at = int(random.integers(len(damaged) if kind else 4096))
        if kind == 3:
            del damaged[at:]
        else:
            for place in range(at, min(len(damaged), at + (1, 16, 4096)[kind])):
                damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        read_in_every_way(path)
        with contextlib.suppress(BankError), Bank.open(path, create=False) as bank:
            assert all("\n" not in problem for problem in verify(bank))


def test_a_bank_with_damaged_cells_is_listed_or_refused_in_one_line(
    sound: Path, tmp_path: Path
) -> None:
    path, random = tmp_path / "bank.sqlite", np.random.default_rng(0)
    cells = (
        "NULL",
        "'text'",
        "x'fe00'",
        "1e300",
        "9e999",
        "-1",
        "'[[1]]'",
        "'{\"tasks\": 5}'",
        "CAST(x'ff' AS TEXT)",
    )
    with sqlite3.connect(sound) as connection:
        columns = [
            (table, column)
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall()
            for _, column, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall()
        ]
    connection.close()
    for table, column in columns[::2]:
        shutil.copyfile(sound, path)
        with sqlite3.connect(path) as connection, contextlib.suppress(sqlite3.IntegrityError):
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(f'UPDATE {table} SET "{column}" = {random.choice(cells)}')
        connection.close()
        read_in_every_way(path)
