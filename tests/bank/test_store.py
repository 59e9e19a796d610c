"""What is written is written once, whole, and comes back bit by bit, whoever else is writing."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pkgutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sqlalchemy import select

from bank import Bank, BankError, CandidateRecord, Evaluation, Partition, RunRecord, TaskRecord
from bank.files import import_prompt
from bank.integrity import verify
from bank.listing import list_prompts, list_runs, list_tasks, list_transfers, show_run
from bank.records import ROLES, SIGNATURE
from bank.schema import Base
from bank.vectors import average, average_normalized, prompt_sha256, tokens
from tests.bank.conftest import damage, statements, transfer_of

RunMaker = Callable[..., RunRecord]

WRITER = Path(__file__).with_name("writer.py")


@contextlib.contextmanager
def writers(*ranges: tuple[int, int]) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that write runs FIRST to LAST and have finished their imports."""
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(WRITER), str(first), str(last)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for first, last in ranges
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started
        for process in started:
            process.kill()


def tell(process: subprocess.Popen[str], address: Path) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{address}\n")
    process.stdin.flush()


def written(process: subprocess.Popen[str]) -> list[str]:
    """Digests of the runs that a process wrote into one bank."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        if line == "done\n":
            return lines
        lines.append(line.strip())
    raise AssertionError(f"a writer ended with {process.wait()} after {len(lines)} runs")


# -- once, and whole -----------------------------------------------------------------------------------------


def test_a_twin_shares_everything_but_its_role(bank: Bank, make_run: RunMaker) -> None:
    source = make_run()
    digest = bank.record_run(source)
    identity = dataclasses.replace(source.identity, role="baseline")
    assert (
        bank.record_twin(identity, digest) == bank.record_twin(identity, digest) == identity.digest
    )
    first, second = bank.run(digest), bank.run(identity.digest)
    assert first is not None
    assert second == dataclasses.replace(first, digest=identity.digest)
    assert bank.count_rows()["prompt"] == 2
    assert verify(bank) == []


def test_a_twin_of_another_task_or_of_nothing_is_refused(bank: Bank, make_run: RunMaker) -> None:
    digest = bank.record_run(make_run())
    with pytest.raises(BankError, match="another recipe or task"):
        bank.record_twin(make_run("rte", role="baseline").identity, digest)
    with pytest.raises(BankError, match="is not in the bank"):
        bank.record_twin(make_run(role="baseline").identity, "0" * 64)
    assert bank.count_rows()["run"] == 1


def test_the_same_run_twice_is_one_run(bank: Bank, make_run: RunMaker) -> None:
    first = bank.record_run(make_run())
    before = bank.count_rows()
    assert bank.record_run(make_run()) == first
    assert bank.count_rows() == before
    assert before["run"] == 1
    assert before["snapshot"] == before["prompt"] == before["key_vectors"] == 2


def test_another_seed_role_or_data_is_another_run(bank: Bank, make_run: RunMaker) -> None:
    digests = {
        bank.record_run(make_run()),
        bank.record_run(make_run(seed=1)),
        bank.record_run(make_run(role="query")),
        bank.record_run(make_run(task="mrpc")),
        bank.record_run(make_run(key_step=20)),
    }
    assert len(digests) == 5
    assert {row["run"] for row in list_runs(bank.engine)} == {digest[:12] for digest in digests}


def test_a_stored_run_comes_back_as_it_was(bank: Bank, make_run: RunMaker) -> None:
    record = make_run(
        seconds=12.5, history=[{"step": 10.0, "loss": 0.5}], environment={"device": "cpu"}
    )
    stored = bank.run(bank.record_run(record))
    assert stored is not None and record.key is not None
    assert (stored.task, stored.seed, stored.score, stored.steps) == ("sst2", 0, 90.0, 30)
    assert (stored.metrics, stored.seconds) == ({"accuracy": 90.0}, 12.5)
    np.testing.assert_array_equal(bank.prompt(stored.value), record.value.prompt)
    assert stored.key is not None
    np.testing.assert_array_equal(bank.prompt(stored.key), record.key.prompt)


def test_a_run_may_have_no_key(bank: Bank, make_run: RunMaker) -> None:
    stored = bank.run(bank.record_run(make_run(role="baseline", with_key=False)))
    assert stored is not None
    assert stored.key is None
    assert bank.run("0" * 64) is None


@pytest.mark.parametrize("place", ["bank.runs._snapshot_row", "bank.prompts.average_normalized"])
@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_at_the_second_snapshot_leaves_nothing(
    bank: Bank,
    make_run: RunMaker,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    failure: type[BaseException],
) -> None:
    right = pkgutil.resolve_name(place)
    calls = []

    def fail_second(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise failure("in the middle")
        return right(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(place, fail_second)
        with pytest.raises(failure, match="in the middle"):
            bank.record_run(make_run())
    assert set(bank.count_rows().values()) == {0}
    bank.record_run(make_run())
    assert bank.count_rows()["snapshot"] == 2
    assert verify(bank) == []


def rows_of(bank: Bank) -> dict[str, list[tuple[object, ...]]]:
    """All rows of a bank but the times at which they were written."""
    with bank.engine.connect() as connection:
        return {
            table.name: [
                tuple(bytes(cell) if isinstance(cell, np.ndarray) else cell for cell in row)
                for row in connection.execute(
                    select(*(c for c in table.columns if c.name != "created"))
                )
            ]
            for table in Base.metadata.sorted_tables
        }


def test_many_runs_at_once_are_stored_as_each_would_be(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: RunMaker
) -> None:
    monkeypatch.setattr("bank.sessions.AT_ONCE", 3)
    shared = np.full((3, 4), 0.5, np.float32)
    records = [
        make_run(f"task{seed % 3}", seed, key=shared, role=role)
        for seed in range(4)
        for role in ROLES[:2]
    ]
    records.append(
        make_run(
            "task0", 9, role="baseline", fingerprint="e" * 64, with_key=False, start=np.ones(4)
        )
    )
    bank.record_run(records[5])
    digests = bank.record_runs([*records, records[2]])
    assert digests == [record.identity.digest for record in (*records, records[2])]
    with Bank.open(tmp_path / "other.sqlite") as other:
        for record in (records[5], *records):
            other.record_run(record)
        assert rows_of(other) == rows_of(bank)
    assert bank.record_runs([]) == []
    assert verify(bank) == []


def test_of_many_runs_none_is_stored_where_one_cannot_be(bank: Bank, make_run: RunMaker) -> None:
    first, second = make_run(), make_run(seed=1)
    task = dataclasses.replace(second.identity.task, description={"tasks": ["mnli"]})
    second = dataclasses.replace(second, identity=dataclasses.replace(second.identity, task=task))
    with pytest.raises(BankError, match="task 'sst2' in bank"):
        bank.record_runs([first, second])
    assert set(bank.count_rows().values()) == {0}


def test_a_killed_writer_leaves_a_sound_bank_that_another_finishes(tmp_path: Path) -> None:
    path = tmp_path / "bank.sqlite"
    with writers((0, 150)) as (process,):
        tell(process, path)
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(20)]
        process.kill()
        process.wait()
    with Bank.open(path, create=False) as bank:
        assert verify(bank) == []
        assert all(bank.run(digest) for digest in said)
    with writers((0, 150)) as (process,):
        tell(process, path)
        digests = written(process)
    with Bank.open(path, create=False) as bank:
        assert set(said) < set(digests)
        assert verify(bank) == []
        counts = bank.count_rows()
        assert (counts["run"], counts["snapshot"], counts["prompt"]) == (150, 300, 151)


def test_processes_that_write_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bank.sqlite"
    with writers((0, 24), (8, 32), (16, 40), (0, 40)) as processes:
        for process in processes:
            tell(process, path)
        digests = {digest for process in processes for digest in written(process)}
    with Bank.open(path, create=False) as bank:
        assert {row["run"] for row in list_runs(bank.engine)} == {digest[:12] for digest in digests}
        counts = bank.count_rows()
        assert (counts["run"], counts["prompt"], counts["task"]) == (40, 41, 7)
        assert (counts["backbone"], counts["recipe"]) == (1, 1)
        assert verify(bank) == []


def test_opening_waits_for_another_that_creates_the_bank(tmp_path: Path) -> None:
    path = tmp_path / "bank.sqlite"
    with contextlib.closing(
        sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    ) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("DROP TABLE t")
        other.execute("BEGIN IMMEDIATE")
        end = threading.Timer(0.3, other.rollback)
        end.start()
        Bank.open(path).close()
        end.join()


def test_processes_that_create_a_bank_at_once_all_write_into_it(tmp_path: Path) -> None:
    with writers((0, 1), (0, 2), (1, 2), (0, 1)) as processes:
        for attempt in range(10):
            path = tmp_path / f"new folder {attempt}" / "bank.sqlite"
            for process in processes:
                tell(process, path)
            digests = {digest for process in processes for digest in written(process)}
            with Bank.open(path, create=False) as bank:
                assert {row["run"] for row in list_runs(bank.engine)} == {
                    digest[:12] for digest in digests
                }


def test_a_reader_does_not_wait_for_a_writer(bank: Bank, make_run: RunMaker) -> None:
    from bank.schema import Task
    from bank.sessions import transaction

    digest = bank.record_run(make_run())
    with transaction(bank.engine) as session:
        session.add(Task(name="cola", family="grammar", description={}))
        with Bank.open(str(bank.engine.url.database), create=False) as other:
            assert other.run(digest) is not None
            assert other.count_rows()["task"] == 1
    assert bank.count_rows()["task"] == 2


# -- prompts -------------------------------------------------------------------------------------------------


def test_the_same_bytes_are_stored_once(bank: Bank, make_run: RunMaker) -> None:
    one = np.full((3, 4), 0.5, np.float32)
    bank.record_run(make_run(key=one, value=one))
    bank.record_run(make_run(seed=1, key=one, value=-one))
    counts = bank.count_rows()
    assert (counts["run"], counts["snapshot"], counts["prompt"], counts["key_vectors"]) == (
        2,
        4,
        2,
        2,
    )


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 2, 3, 4), (1, 3, 4)])
def test_a_prompt_may_have_axes_before_its_tokens(
    bank: Bank, make_run: RunMaker, shape: tuple[int, ...]
) -> None:
    early, late = (np.random.default_rng(n).normal(size=shape).astype(np.float32) for n in range(2))
    width = math.prod(shape) // 3
    digest = bank.record_run(make_run(key=early, value=late, start=np.ones(width)))
    np.testing.assert_array_equal(bank.find_prompt(digest), late)
    np.testing.assert_array_equal(bank.prompt(bank.put(early)), early)
    assert [row["shape"] for row in show_run(bank.engine, digest)["snapshots"]] == [list(shape)] * 2
    assert {(*row["shape"], row["length"], row["width"]) for row in list_prompts(bank.engine)} == {
        (*shape, 3, 4)
    }
    assert verify(bank) == []
    joined = np.concatenate(early.reshape(-1, 3, 4), axis=1)
    np.testing.assert_array_equal(tokens(early), joined)
    for vector in (average, average_normalized):
        np.testing.assert_array_equal(vector(early), vector(joined))
    for wrong in (
        {"start": np.ones(4 if width > 4 else 8)},
        {"key": late[None]},
        {"value": late[..., :2]},
    ):
        with pytest.raises(BankError, match=r"(start|key|value) of sst2: expected shape"):
            make_run(**{"key": early, "value": late} | wrong)


def test_an_address_depends_on_the_shape_and_every_bit() -> None:
    prompt = np.zeros((2, 6), np.float32)
    addresses = {prompt_sha256(p) for p in (prompt, prompt.reshape(3, 4), -prompt, prompt + 1e-45)}
    assert len(addresses) == 4
    assert (
        prompt_sha256(prompt.astype(">f4")) == prompt_sha256(np.asfortranarray(prompt)) in addresses
    )


@settings(max_examples=60, deadline=None)
@given(
    prompt=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_every_float32_comes_back_with_the_same_bits(
    shared_bank: Bank, make_run: RunMaker, prompt: np.ndarray
) -> None:
    length, width = prompt.shape
    address = prompt_sha256(prompt)
    shared_bank.record_run(
        make_run(
            address,
            length=length,
            width=width,
            fingerprint=f"{width:064d}",
            key=prompt,
            value=prompt,
        )
    )
    back = shared_bank.prompt(address)
    assert (back.dtype, back.shape) == (np.float32, prompt.shape)
    assert back.tobytes() == prompt.tobytes()


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        (np.full((3, 4), np.nan), "12 of 12 entries are NaN or infinite"),
        (np.where(np.eye(3, 4) > 0, np.inf, 0.0), "3 of 12 entries are NaN or infinite"),
        (np.full((3, 4), 1e300), "12 of 12 entries are NaN or infinite"),
        (np.zeros(12), r"expected an array \[P, H\], found shape \[12\]"),
        (np.zeros((0, 4)), r"found shape \[0, 4\]"),
        (np.zeros((1, 3, 4)), r"expected shape \[(1, )?3, 4\], found \[(1, )?3, 4\]"),
        (np.full((3, 4), "x"), "expected numbers"),
        (np.zeros((2, 4)), r"expected shape \[3, 4\], found \[2, 4\]"),
        (np.zeros((3, 5)), r"expected shape \[3, 4\], found \[3, 5\]"),
    ],
)
@pytest.mark.parametrize("kind", ["key", "value"])
def test_a_prompt_that_cannot_be_is_refused_and_nothing_is_written(
    bank: Bank, make_run: RunMaker, kind: str, prompt: np.ndarray, complaint: str
) -> None:
    with pytest.raises(BankError, match=complaint):
        bank.record_run(make_run(**{kind: prompt}))
    assert set(bank.count_rows().values()) == {0}


@pytest.mark.parametrize("text", ["", " ", "a\nb"])
@pytest.mark.parametrize("name", ["name", "family"])
def test_a_task_is_called_by_a_text_in_one_line(name: str, text: str) -> None:
    with pytest.raises(BankError, match=f"a task's {name} is "):
        TaskRecord(**{"name": "sst2", "family": "sentiment"} | {name: text})


def test_a_task_that_was_imported_first_gets_its_family_from_who_trains_it(
    bank: Bank, make_run: RunMaker
) -> None:
    import_prompt(
        bank, make_run().value.prompt, task=TaskRecord(name="sst2", family="imported"),
        backbone=make_run().identity.recipe.backbone,
    )  # fmt: skip
    bank.record_run(make_run("sst2"))
    assert list_tasks(bank.engine)[0]["family"] == "sentiment"
    import_prompt(
        bank, make_run("x").value.prompt, task=TaskRecord(name="sst2", family="imported"),
        backbone=make_run().identity.recipe.backbone,
    )  # fmt: skip
    assert list_tasks(bank.engine)[0]["family"] == "sentiment"


def test_an_unknown_role_is_refused(make_run: RunMaker) -> None:
    with pytest.raises(BankError, match="role 'teacher' is not known; choose from source, query"):
        make_run(role="teacher")


def test_a_score_that_is_no_number_is_refused_and_nothing_is_written(
    bank: Bank, make_run: RunMaker
) -> None:
    with pytest.raises(BankError, match="score"):
        bank.record_run(make_run(score=float("nan")))
    assert set(bank.count_rows().values()) == {0}


# -- partitions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [np.zeros(5), np.zeros((1, 4)), np.array([0, 1, 2, np.nan])])
def test_a_start_that_does_not_fit_is_refused(make_run: RunMaker, start: np.ndarray) -> None:
    with pytest.raises(BankError, match="start of sst2"):
        make_run(start=start)


def test_the_recipe_of_a_partition_says_what_it_is(bank: Bank, make_run: RunMaker) -> None:
    record = make_run()
    bank.record_run(record)
    assert bank.recipe_options(Partition.of(record.identity.recipe)) == {"steps": 30}
    assert bank.recipe_options(Partition.of(make_run(key_step=9).identity.recipe)) == {}


def test_listing_and_ranking_read_no_prompt(bank: Bank, make_run: RunMaker) -> None:
    record = make_run()
    digest = bank.record_run(record)
    with statements(bank) as sent:
        (key,) = bank.keys(Partition.of(record.identity.recipe)).prompts
        bank.run(digest)
        bank.partitions()
        list_prompts(bank.engine)
        list_runs(bank.engine)
        show_run(bank.engine, digest)
    assert len(sent) > 5
    assert not [statement for statement in sent if 'prompt."values"' in statement]
    with statements(bank) as sent:
        bank.prompt(key)
    assert [statement for statement in sent if 'prompt."values"' in statement]


# -- addresses -----------------------------------------------------------------------------------------------


def test_prompts_are_found_by_address_by_its_start_and_by_their_run(
    bank: Bank, make_run: RunMaker
) -> None:
    record = make_run()
    assert record.key is not None
    digest = bank.record_run(record)
    key, value = prompt_sha256(record.key.prompt), prompt_sha256(record.value.prompt)
    for name in (digest, digest[:8], value, value[:8]):
        np.testing.assert_array_equal(bank.find_prompt(name), record.value.prompt)
    for name, kind in ((digest, "key"), (key, "value"), (key, "key")):
        np.testing.assert_array_equal(bank.find_prompt(name, kind=kind), record.key.prompt)


def test_unknown_short_and_ambiguous_addresses_are_refused(
    bank: Bank, make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = iter(["12345678a", "12345678b"])
    with monkeypatch.context() as patch:
        patch.setattr("bank.prompts.prompt_sha256", lambda _values: next(addresses).ljust(64, "0"))
        bank.record_run(make_run())
    for name in ("12345678", "1234567"):
        with pytest.raises(
            BankError, match=f"prompt '{name}' is ambiguous; give more of its address"
        ):
            bank.prompt(name)
    with pytest.raises(
        BankError, match="prompt '7654321' is too short to name one; give 8 characters or more"
    ):
        bank.find_prompt("7654321")
    for name in ("feed" * 16, "%%%%%%%%", "________"):
        with pytest.raises(
            BankError, match="is not in the bank; `spot bank prompts` lists addresses"
        ):
            bank.find_prompt(name)


def test_a_run_without_that_snapshot_says_which_it_has(bank: Bank, make_run: RunMaker) -> None:
    digest = bank.record_run(make_run(with_key=False))
    with pytest.raises(BankError, match="has no key; it has value"):
        bank.find_prompt(digest, kind="key")


def test_damaged_bytes_are_not_handed_out(bank: Bank, make_run: RunMaker) -> None:
    from bank.schema import Prompt
    from bank.sessions import transaction

    record = make_run()
    bank.record_run(record)
    address = prompt_sha256(record.value.prompt)
    for damaged, complaint in (
        (np.zeros(12, np.float32), "checksum differs"),
        (np.zeros(11, np.float32), "wrong number of bytes"),
    ):
        with transaction(bank.engine) as session:
            session.query(Prompt).filter_by(sha256=address).update({"values": damaged})
        with pytest.raises(BankError, match=f"damaged \\({complaint}\\); see `spot bank verify`"):
            bank.prompt(address)


# -- transfers -----------------------------------------------------------------------------------------------


def test_a_transfer_is_stored_once_with_its_sources(bank: Bank, make_run: RunMaker) -> None:
    source, query, outcome, baseline = (
        bank.record_run(make_run(task, role=role))
        for task, role in (
            ("mnli", "source"),
            ("rte", "query"),
            ("rte", "transfer"),
            ("rte", "baseline"),
        )
    )
    record = transfer_of(
        source, query, outcome, baseline_run=baseline, baseline_metrics={"accuracy": 60.0}
    )
    assert bank.record_transfer(record) == bank.record_transfer(record) == record.digest
    (row,) = list_transfers(bank.engine)
    assert (row["target"], row["baseline"], row["outcome"]) == ("rte", 60.0, 70.0)
    assert [source["task"] for source in row["sources"]] == ["mnli"]
    assert list_transfers(bank.engine, task="mnli") == []
    assert bank.count_rows()["candidate"] == 1


@pytest.mark.parametrize("missing", ["source", "query", "outcome", "baseline", "candidate"])
def test_a_transfer_needs_its_runs(bank: Bank, make_run: RunMaker, missing: str) -> None:
    source, query, outcome = (
        bank.record_run(make_run(task, role=role))
        for task, role in (("mnli", "source"), ("rte", "query"), ("rte", "transfer"))
    )
    unknown = "0" * 64
    record = {
        "source": transfer_of(unknown, query, outcome),
        "query": transfer_of(source, unknown, outcome),
        "outcome": transfer_of(source, query, unknown),
        "baseline": transfer_of(source, query, outcome, baseline_run=unknown),
        "candidate": transfer_of(
            source,
            query,
            outcome,
            candidates=[
                CandidateRecord(source_run=source, similarity=1.0, weight=1.0, run=unknown)
            ],
        ),
    }[missing]
    with pytest.raises(
        BankError, match=f"run '{unknown}' is not in the bank; `spot bank runs` lists them"
    ):
        bank.record_transfer(record)
    counts = bank.count_rows()
    assert (counts["transfer"], counts["candidate"]) == (0, 0)


def test_transfers_that_differ_in_an_option_a_weight_or_a_run_are_two(
    bank: Bank, make_run: RunMaker
) -> None:
    source, query, outcome, baseline, other = (
        bank.record_run(make_run(task, seed, role=role))
        for task, seed, role in (
            ("mnli", 0, "source"),
            ("rte", 0, "query"),
            ("rte", 0, "transfer"),
            ("rte", 0, "baseline"),
            ("rte", 1, "transfer"),
        )
    )
    weighed = CandidateRecord(
        source_run=source, similarity=0.5, weight=0.5, run=outcome, score=90.0
    )
    records = [
        transfer_of(source, query, outcome),
        transfer_of(source, query, outcome, aggregate="max"),
        transfer_of(source, query, outcome, allow_overlap=True),
        transfer_of(source, query, outcome, method="oracle"),
        transfer_of(source, query, outcome, similarity="per_token"),
        transfer_of(source, query, outcome, budget="halving"),
        transfer_of(source, query, outcome, candidates=[weighed]),
        transfer_of(source, query, outcome, candidates=[]),
        transfer_of(
            source, query, outcome, baseline_run=baseline, baseline_metrics={"accuracy": 60.0}
        ),
        transfer_of(source, query, other),
    ]
    assert len({bank.record_transfer(record) for record in records}) == len(records)
    assert len({bank.record_transfer(record) for record in records}) == len(records)
    assert bank.count_rows()["transfer"] == len(records)


def test_a_transfer_that_the_first_release_stored_is_found_as_held(
    bank: Bank, make_run: RunMaker
) -> None:
    source, query, outcome = (
        bank.record_run(make_run(task, role=role))
        for task, role in (("mnli", "source"), ("rte", "query"), ("rte", "transfer"))
    )
    record = transfer_of(source, query, outcome)
    bank.record_transfer(record)
    damage(bank, f"UPDATE transfer SET options = NULL, digest = '{record.first_digest}'")
    assert verify(bank) == []
    assert bank.record_transfer(record) == record.first_digest
    wider = dataclasses.replace(record, aggregate="max")
    assert bank.record_transfer(wider) == wider.digest
    assert bank.count_rows()["transfer"] == 2
    assert verify(bank) == []


def test_a_transfer_to_another_task_than_its_chosen_run_is_refused(
    bank: Bank, make_run: RunMaker
) -> None:
    source, query = (
        bank.record_run(make_run("mnli")),
        bank.record_run(make_run("rte", role="query")),
    )
    with pytest.raises(BankError, match=r"transfer to rte: its chosen run .* is mnli's"):
        bank.record_transfer(transfer_of(source, query, source))


# -- tasks ---------------------------------------------------------------------------------------------------


def of_task(record: RunRecord, **changes: object) -> RunRecord:
    task = dataclasses.replace(record.identity.task, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(record, identity=dataclasses.replace(record.identity, task=task))


def test_another_task_of_a_name_is_refused_and_nothing_is_written(
    bank: Bank, make_run: RunMaker
) -> None:
    bank.record_run(of_task(make_run("mine"), content="c" * 64))
    other = of_task(make_run("mine", 1), content="d" * 64)
    for refused in (lambda: bank.check_task(other.identity.task), lambda: bank.record_run(other)):
        with pytest.raises(
            BankError,
            match=r"task 'mine' in bank sqlite:.* is another one: its file or data differ",
        ):
            refused()
    assert bank.count_rows()["run"] == 1
    bank.check_task(make_run("mine").identity.task)  # one that says nothing of its content
    bank.check_task(of_task(make_run("yours"), content="d" * 64).identity.task)


def test_a_mixture_of_other_members_is_another_one(bank: Bank, make_run: RunMaker) -> None:
    bank.record_run(of_task(make_run("both"), description={"tasks": ["mnli", "sst2"]}))
    bank.record_run(
        of_task(make_run("both", 1), description={"tasks": ["sst2", "mnli"]}, content="c" * 64)
    )
    with pytest.raises(BankError, match=r"mixture 'both' in bank .* is another one") as caught:
        bank.record_run(of_task(make_run("both", 2), description={"tasks": ["mnli", "rte"]}))
    assert str(caught.value).endswith(
        "there it is made of mnli, sst2; use another bank, or train yours under a name of its own, as mnli+rte or "
        "from a file"
    )
    with pytest.raises(BankError, match=r"task 'both' in bank .* is another one: its file or data"):
        bank.record_run(make_run("both", 3))


def test_what_is_first_learned_of_a_task_later_is_filled_in(bank: Bank, make_run: RunMaker) -> None:
    bank.record_run(make_run("mine"))
    assert bank.texts(["mine", "unheard of"]) == {}
    hashes = np.arange(3, dtype="<u8").tobytes()
    bank.record_run(of_task(make_run("mine", 1), content="c" * 64, texts=hashes))
    bank.record_run(of_task(make_run("mine", 2), texts=bytes(8)))
    assert bank.texts(["mine", "unheard of"]) == {"mine": hashes}
    with pytest.raises(BankError, match="is another one"):
        bank.check_task(of_task(make_run("mine"), content="d" * 64).identity.task)


# -- answers and outcomes ------------------------------------------------------------------------------------


def test_answers_of_a_run_are_stored_once_per_split(bank: Bank, make_run: RunMaker) -> None:
    run = bank.record_run(make_run())
    assert bank.evaluation(run, "a" * 64) is None
    for metrics, answers in (({"score": 50.0}, ["yes", "no"]), ({"score": 0.0}, ["no", "no"])):
        bank.record_evaluation(run, "a" * 64, metrics=metrics, answers=answers)
    assert bank.evaluation(run, "a" * 64) == Evaluation(
        metrics={"score": 50.0}, answers=["yes", "no"]
    )
    assert bank.evaluation(run, "b" * 64) is None
    with pytest.raises(BankError, match="is not in the bank"):
        bank.record_evaluation("0" * 64, "a" * 64, metrics={}, answers=[])


def test_an_evaluation_says_how_its_answers_were_decoded(bank: Bank, make_run: RunMaker) -> None:
    run = bank.record_run(make_run())
    bank.record_evaluation(run, "a" * 64, metrics={"score": 50.0}, answers=["yes"])
    bank.record_evaluation(
        run, "b" * 64, metrics={"score": 60.0}, answers=["no"], decoding={"beams": 4}
    )
    greedy, beams = (bank.evaluation(run, data * 64) for data in "ab")
    assert greedy is not None and greedy.decoding is None
    assert beams is not None and beams.decoding == {"beams": 4}
    assert [
        (row["metrics"], row["decoding"]) for row in show_run(bank.engine, run)["evaluations"]
    ] == [
        ({"score": 50.0}, None),
        ({"score": 60.0}, {"beams": 4}),
    ]


def test_runs_that_share_a_start_are_no_outcomes_of_single_sources(
    bank: Bank, make_run: RunMaker
) -> None:
    source, query, ended = (
        bank.record_run(make_run(task, role=role))
        for task, role in (("mnli", "source"), ("rte", "baseline"), ("rte", "transfer"))
    )
    partition = Partition.of(make_run().identity.recipe)
    shared = transfer_of(source, query, ended, method="average", single=False)
    bank.record_transfer(shared)
    assert bank.outcomes(partition) == []
    alone = dataclasses.replace(shared, method="my own", single=True)
    assert dataclasses.replace(alone, single=False).digest == alone.digest
    bank.record_transfer(alone)
    assert [outcome.source for outcome in bank.outcomes(partition)] == ["mnli"]


def test_outcomes_are_what_single_sources_did_for_targets(bank: Bank, make_run: RunMaker) -> None:
    records = {
        (task, role): make_run(task, role=role, score=score)
        for task, role, score in (
            ("mnli", "source", 90.0), ("sst2", "source", 91.0), ("rte", "baseline", 60.0), ("rte", "transfer", 71.0),
        )
    }  # fmt: skip
    runs = {name: bank.record_run(record) for name, record in records.items()}
    stopped = CandidateRecord(
        source_run=runs["sst2", "source"], similarity=0.2, weight=0.3, score=65.0, steps=10
    )
    ended = CandidateRecord(
        source_run=runs["mnli", "source"],
        similarity=0.5,
        weight=0.7,
        run=runs["rte", "transfer"],
        score=71.0,
    )
    for method in ("best", "oracle", "average"):
        bank.record_transfer(
            transfer_of(
                runs["mnli", "source"],
                runs["rte", "baseline"],
                runs["rte", "transfer"],
                method=method,
                single=method != "average",
                baseline_run=runs["rte", "baseline"],
                candidates=[ended, stopped],
            )
        )
    (outcome,) = bank.outcomes(Partition.of(records["mnli", "source"].identity.recipe))
    assert (outcome.target, outcome.seed, outcome.source, outcome.source_run) == (
        "rte",
        0,
        "mnli",
        runs["mnli", "source"],
    )
    assert (outcome.score, outcome.baseline) == (71.0, 60.0)
    assert outcome.query == bank.run(runs["rte", "baseline"]).key  # type: ignore[union-attr]
    assert (outcome.data, outcome.train_limit) == ("", 0)
    partition = Partition.of(records["mnli", "source"].identity.recipe)
    elsewhere = Partition.of(make_run(fingerprint="0" * 64).identity.recipe)
    assert bank.outcomes(elsewhere) == []
    damage(bank, "UPDATE candidate SET score = 'good'")
    with pytest.raises(
        BankError,
        match=r"rte from run .*: its score is 'good', not a number; see `spot bank verify`",
    ):
        bank.outcomes(partition)


def test_whom_a_race_left_over_is_no_outcome(bank: Bank, make_run: RunMaker) -> None:
    source, query, ended = (
        bank.record_run(make_run(task, role=role))
        for task, role in (("mnli", "source"), ("rte", "baseline"), ("rte", "transfer"))
    )
    bank.record_transfer(transfer_of(source, query, ended, budget="halving"))
    partition = Partition.of(make_run().identity.recipe)
    assert bank.outcomes(partition) == []
    bank.record_transfer(transfer_of(source, query, ended, candidates=[
        CandidateRecord(source_run=source, similarity=0.5, weight=1.0, run=ended, score=None)
    ]))  # fmt: skip
    assert bank.outcomes(partition) == []
    bank.record_transfer(transfer_of(source, query, ended, method="oracle"))
    assert [outcome.score for outcome in bank.outcomes(partition)] == [90.0]


def test_an_outcome_says_how_many_training_examples_the_target_had(
    bank: Bank, make_run: RunMaker
) -> None:
    source = bank.record_run(make_run())
    for options in ({"steps": 30}, {"steps": 30, "train_limit": 64}):
        record = make_run("rte", role="baseline")
        recipe = dataclasses.replace(record.identity.recipe, options=options)
        identity = dataclasses.replace(record.identity, recipe=recipe)
        query = bank.record_run(dataclasses.replace(record, identity=identity))
        bank.record_transfer(transfer_of(source, query, query))
    assert {o.train_limit for o in bank.outcomes(Partition.of(make_run().identity.recipe))} == {
        64,
        0,
    }


# -- what is known of texts ----------------------------------------------------------------------------------


def test_texts_are_added_to_a_task_once_and_never_changed(bank: Bank, make_run: RunMaker) -> None:
    bank.record_run(make_run())
    task = make_run().identity.task
    first, second = (np.full(SIGNATURE, share, "<f2").tobytes() for share in (0.5, 0.25))
    assert (bank.lacking_texts(), bank.signatures(["sst2"])) == (["sst2"], {})
    bank.record_texts(dataclasses.replace(task, signature=first))
    bank.record_texts(dataclasses.replace(task, signature=second, texts=bytes(8)))
    bank.record_texts(dataclasses.replace(task, texts=bytes(16)))
    assert bank.signatures(["sst2", "none"]) == {"sst2": first}
    assert bank.texts(["sst2"]) == {"sst2": bytes(8)}
    assert bank.lacking_texts() == []
    assert verify(bank) == []


def test_texts_of_a_task_that_is_not_there_or_another_are_refused(
    bank: Bank, make_run: RunMaker
) -> None:
    record = TaskRecord(name="sst2", family="sentiment", content="c" * 64, texts=bytes(8))
    with pytest.raises(BankError, match="holds no task 'sst2'; train on it first"):
        bank.record_texts(record)
    run = make_run()
    bank.record_run(
        dataclasses.replace(
            run,
            identity=dataclasses.replace(run.identity, task=dataclasses.replace(record, texts=b"")),
        )
    )
    with pytest.raises(BankError, match="is another one"):
        bank.record_texts(dataclasses.replace(record, content="d" * 64))
    assert bank.texts(["sst2"]) == {}


def test_a_run_brings_the_signature_of_its_task(bank: Bank, make_run: RunMaker) -> None:
    run = make_run()
    signature = np.ones(SIGNATURE, "<f2").tobytes()
    task = dataclasses.replace(run.identity.task, signature=signature)
    bank.record_run(make_run(seed=1))
    digest = bank.record_run(
        dataclasses.replace(run, identity=dataclasses.replace(run.identity, task=task))
    )
    assert bank.signatures(["sst2"]) == {"sst2": signature}
    assert digest == run.identity.digest
