"""A bank in PostgreSQL behaves as one in a file; skipped without a server's programs or a driver."""

from __future__ import annotations

import dataclasses
import datetime as dt
import getpass
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from bank import Bank, BankError, Partition, RunRecord, versions
from bank.integrity import verify
from bank.listing import count, list_prompts, list_runs, list_tasks, list_transfers, show_run
from bank.publish import published, store
from bank.repository import read_repository, write_repository
from bank.schema import Base
from bank.selection import Selection
from tests.bank.conftest import transfer_of

RunMaker = Callable[..., RunRecord]

WRITER = Path(__file__).with_name("writer.py")


def program(name: str) -> str:
    """A server's program, on the path or where Debian puts it."""
    for folder in (
        None,
        *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True),
    ):
        if found := shutil.which(name, path=folder):
            return found
    pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own, reached through a socket in its folder: the start of a URL."""
    pytest.importorskip("psycopg")
    initdb, control = program("initdb"), program("pg_ctl")
    owner = "postgres" if getpass.getuser() == "root" else None  # PostgreSQL refuses to run as root
    with tempfile.TemporaryDirectory(prefix="spot-pg-", dir="/tmp") as folder:
        if owner:
            shutil.chown(folder, owner)

        def call(*command: str) -> None:
            subprocess.run(command, check=True, user=owner, cwd=folder, stdout=subprocess.DEVNULL)

        call(initdb, "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "-N")
        options = f"-k {folder} -c listen_addresses= -c fsync=off"
        call(control, "-D", f"{folder}/data", "-o", options, "-l", f"{folder}/log", "-w", "start")
        try:
            yield f"postgresql+psycopg://postgres:secret@/{{name}}?host={folder}"
        finally:
            call(control, "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """An empty database."""
    name = f"db{abs(hash(request.node.name))}"
    postgres = create_engine(server.format(name="postgres"), isolation_level="AUTOCOMMIT")
    with postgres.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    postgres.dispose()
    return server.format(name=name)


def test_migrations_lead_to_the_schema_of_the_models(url: str) -> None:
    with Bank.open(url) as bank, bank.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_what_is_written_comes_back(url: str, make_run: RunMaker) -> None:
    record = make_run()
    with Bank.open(url) as bank:
        digest = bank.record_run(record)
        assert bank.record_run(record) == digest
        stored = bank.run(digest)
        assert stored is not None
        assert bank.prompt(stored.value).tobytes() == record.value.prompt.tobytes()
        assert list(bank.keys(Partition.of(record.identity.recipe)).runs) == [digest]
        assert verify(bank) == []


def test_lists_are_those_of_a_bank_in_a_file(url: str, tmp_path: Path, make_run: RunMaker) -> None:
    def listed(location: str | Path) -> list[object]:
        with Bank.open(location) as bank:
            runs = [
                bank.record_run(make_run(task, role=role))
                for task, role in (("mnli", "source"), ("rte", "baseline"))
            ]
            bank.record_transfer(
                transfer_of(
                    *runs, runs[1], baseline_run=runs[1], baseline_metrics={"accuracy": 60.0}
                )
            )
            engine = bank.engine
            transfers, run = list_transfers(engine, task="rte"), show_run(engine, runs[0][:12])
            for row in (*transfers, run):
                del row["created"]
            return [
                list_tasks(engine),
                list_runs(engine, task="rte", role="baseline"),
                list_prompts(engine),
                transfers,
                run,
            ]

    found = listed(url)
    assert found == listed(tmp_path / "bank.sqlite")
    assert all(found)


def test_what_is_published_comes_back_and_what_is_removed_goes(
    url: str, tmp_path: Path, make_run: RunMaker
) -> None:
    with Bank.open(url) as bank:
        runs = [
            bank.record_run(make_run(task, role=role))
            for task, role in (("mnli", "source"), ("rte", "query"), ("rte", "transfer"))
        ]
        bank.record_transfer(transfer_of(*runs))
        bank.tag(runs[0], ["v1"])
        content = published(bank, Selection(), program="0", evidence=True)
        write_repository(tmp_path / "out", content, "card")
        assert bank.remove(Selection(tags=["v1"])) == [runs[0]]
        assert [row["run"] for row in list_runs(bank.engine, removed=True)] == [runs[0][:12]]
        assert len(list_prompts(bank.engine)) == count(bank.engine, "prompts") == 4
        assert store(bank, read_repository(tmp_path / "out")).restored == [runs[0]]
        assert show_run(bank.engine, "mnli@best")["tags"] == ["v1"]
        alone = bank.record_run(make_run("cola"))
        bank.remove(Selection(tasks=["cola", "mnli"]))
        done = bank.purge(dt.datetime.now(dt.UTC))
        assert (done.runs, done.kept) == ([alone], [runs[0]])
        assert verify(bank) == []
    with Bank.open(tmp_path / "bank.sqlite") as copy:
        store(copy, read_repository(tmp_path / "out"))
        assert copy.count_rows()["transfer"] == 1
        assert verify(copy) == []


def test_processes_that_create_and_fill_a_bank_at_once_lose_and_double_nothing(url: str) -> None:
    ranges = [(0, 12), (4, 16), (8, 20), (0, 20)]
    started = [
        subprocess.Popen(
            [sys.executable, str(WRITER), str(first), str(last)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first, last in ranges
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process, (first, last) in zip(started, ranges, strict=True):
        said, _ = process.communicate(f"{url}\n", timeout=60)
        assert process.returncode == 0
        assert said.count("\n") == last - first + 1
    with Bank.open(url, create=False) as bank:
        counts = bank.count_rows()
        assert (counts["run"], counts["prompt"], counts["task"]) == (20, 21, 7)
        assert verify(bank) == []


def test_a_server_that_does_not_answer_is_one_line_without_the_password(server: str) -> None:
    for address, hint in (
        (server.format(name="missing"), "no such database; create it first"),
        (
            server.format(name="postgres").replace("postgres:secret", "stranger:secret"),
            "no such user; check the URL",
        ),
        (
            "postgresql://me:secret@127.0.0.1:1/db",
            "check that the database is up and can be reached",
        ),
        ("postgresql://me:secret@nowhere.invalid/db", "no such host; check the URL"),
        (
            f"{server.format(name='postgres')}&options=-c%20password%3Dsecret",
            "check that the database is up",
        ),
        (f"{server.format(name='postgres')}&unheard=secret", "check that the database is up"),
    ):
        with pytest.raises(BankError, match=hint) as caught:
            Bank.open(address)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_empty_database_holds_no_bank_for_a_reader(url: str) -> None:
    with pytest.raises(BankError, match="holds no bank yet"):
        Bank.open(url, create=False)


def test_a_reader_of_an_older_bank_finds_the_columns_of_the_newest(
    url: str, make_run: RunMaker
) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(versions.__file__).parent / "migrations"))
    record = make_run("mixed")
    task = dataclasses.replace(record.identity.task, description={"tasks": ["mnli", "sst2"]})
    record = dataclasses.replace(record, identity=dataclasses.replace(record.identity, task=task))
    with Bank.open(url) as bank, bank.engine.begin() as connection:
        bank.record_run(record)
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    with Bank.open(url, create=False) as bank:
        keys = bank.keys(Partition.of(record.identity.recipe))
        assert keys.has_start.tolist() == [False]
        assert keys.vectors("average").shape == (1, keys.width)
        assert bank.evaluation(keys.runs[0], "a" * 64) is None
        assert bank.count_rows()["member"] == 2
        assert bank.recycler("a" * 64, "b" * 64, "linear") is None
        bank.check_task(task)
        assert verify(bank) == []
    with Bank.open(url) as bank:
        assert bank.count_rows()["member"] == 2
        assert verify(bank) == []


def test_a_trial_write_leaves_nothing(url: str) -> None:
    with Bank.open(url) as bank:
        bank.try_write()
        assert set(bank.count_rows().values()) == {0}
