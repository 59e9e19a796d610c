"""The schema follows its migrations, and what is no bank is refused in one line that shows no password."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select

from bank import Bank, BankError, Partition, RunRecord, versions
from bank.integrity import verify
from bank.listing import list_transfers
from bank.location import bank_url, shown
from bank.schema import Base, Member, Transfer
from bank.sessions import reading
from bank.versions import current_version
from tests.bank.conftest import damage, transfer_of

RunMaker = Callable[..., RunRecord]

MIGRATIONS = Path(versions.__file__).parent / "migrations"


def refusal(location: str | Path, *, create: bool = True) -> str:
    """The line with which a bank is refused."""
    with pytest.raises(BankError) as caught:
        Bank.open(location, create=create).close()
    line = str(caught.value)
    assert "\n" not in line
    assert "secret" not in line
    return line


def downgrade(bank: Bank, version: str) -> None:
    """Take a bank back to an older schema."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with bank.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, version)


# -- the schema ----------------------------------------------------------------------------------------------


def test_the_newest_migration_is_the_one_that_the_engine_knows() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [versions.HEAD]


def test_migrations_lead_to_the_schema_of_the_models(bank: Bank) -> None:
    with bank.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_migrations_lead_back_to_nothing(bank: Bank) -> None:
    downgrade(bank, "base")
    assert inspect(bank.engine).get_table_names() == ["alembic_version"]


def test_a_bank_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "bank.sqlite"
    Bank.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert f"its schema is 9999, newer than {versions.HEAD} that this version knows" in refusal(
        path
    )
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    connection.close()


def test_a_bank_of_the_first_schema_is_brought_up_to_date_with_all_it_holds(
    tmp_path: Path, make_run: RunMaker
) -> None:
    path = tmp_path / "bank.sqlite"
    with Bank.open(path) as bank:
        source, query, outcome = (
            bank.record_run(make_run(task, role=role))
            for task, role in (("mnli", "source"), ("rte", "query"), ("rte", "transfer"))
        )
        record = transfer_of(source, query, outcome)
        bank.record_transfer(record)
        # as the first release named it
        damage(bank, f"UPDATE transfer SET digest = '{record.first_digest}'")
        downgrade(bank, "0001")
    before = path.read_bytes()
    for write in (False, True):
        with Bank.open(path, create=False, write=write) as bank:
            (row,) = list_transfers(bank.engine)
            assert (row["budget"], row["steps"]) == ("full", None)
            assert [candidate["steps"] for candidate in row["sources"]] == [None] * len(
                row["sources"]
            )
            assert bank.evaluation(source, "a" * 64) is None
            assert bank.keys(Partition.of(make_run().identity.recipe)).has_start.tolist() == [False]
            assert len(bank.outcomes(Partition.of(make_run().identity.recipe))) == 1
            assert bank.record_transfer(record) == record.first_digest if write else True
            assert verify(bank) == []
        assert (path.read_bytes() == before) != write
    with Bank.open(path, create=False) as bank, bank.engine.connect() as connection:
        assert current_version(connection, bank.engine.url) == versions.HEAD


def test_what_older_banks_say_otherwise_is_found_where_it_lies_now(
    tmp_path: Path, make_run: RunMaker
) -> None:
    path = tmp_path / "bank.sqlite"
    record = make_run("mnli+sst2")
    task = dataclasses.replace(record.identity.task, description={"tasks": ["mnli", "sst2"]})
    mixture = dataclasses.replace(record, identity=dataclasses.replace(record.identity, task=task))
    with Bank.open(path) as bank:
        bank.record_run(mixture)
        source, query, outcome = (
            bank.record_run(make_run(task, role=role))
            for task, role in (("mnli", "source"), ("rte", "query"), ("rte", "transfer"))
        )
        for method in ("best", "average"):
            bank.record_transfer(
                transfer_of(source, query, outcome, method=method, single=method == "best")
            )
        rows = transfers_and_members(bank)
        downgrade(bank, "0003")
    for write in (False, True):
        with Bank.open(path, create=False, write=write) as bank:
            assert (
                transfers_and_members(bank) == rows == ([True, False], [(1, "mnli"), (1, "sst2")])
            )
            assert len(bank.outcomes(Partition.of(record.identity.recipe))) == 1
            bank.check_task(task)
            with pytest.raises(BankError, match="is another one"):
                bank.check_task(dataclasses.replace(task, description={"tasks": ["mnli"]}))
            assert verify(bank) == []


@pytest.mark.parametrize(
    "cell", ["'{'", "'[1]'", "x'fe00'", "'{\"tasks\": 5}'", '\'{"tasks": [5, "mnli"]}\'']
)
def test_a_damaged_description_stops_neither_readers_nor_the_migration(
    tmp_path: Path, make_run: RunMaker, cell: str
) -> None:
    path = tmp_path / "bank.sqlite"
    with Bank.open(path) as bank:
        bank.record_run(make_run())
        downgrade(bank, "0003")
        damage(bank, f"UPDATE task SET description = {cell}")
    for write in (False, True):
        with Bank.open(path, create=False, write=write) as bank:
            assert any(
                "task sst2: " in problem and "description" in problem for problem in verify(bank)
            )


def transfers_and_members(bank: Bank) -> tuple[list[bool], list[tuple[int, str]]]:
    with reading(bank.engine) as session:
        single = session.scalars(select(Transfer.single).order_by(Transfer.id))
        members = session.execute(select(Member.task_id, Member.name).order_by(Member.name))
        return list(single), [(task, name) for task, name in members]


def test_a_reader_of_an_older_bank_finds_the_columns_of_the_newest(tmp_path: Path) -> None:
    for version in versions.VERSIONS[:-1]:
        path = tmp_path / f"{version}.sqlite"
        with Bank.open(path) as bank:
            downgrade(bank, version)
        with Bank.open(path, create=False) as bank, bank.engine.connect() as connection:
            for table in Base.metadata.sorted_tables:
                assert connection.execute(table.select()).all() == []


def test_opening_again_keeps_what_is_there(tmp_path: Path, make_run: RunMaker) -> None:
    path = tmp_path / "deep" / "folder" / "bank.sqlite"
    with Bank.open(path) as first:
        digest = first.record_run(make_run())
    with Bank.open(f"sqlite:///{path}", create=False) as again:
        assert again.run(digest) is not None


def test_sqlite_keeps_a_write_ahead_log_and_checks_references(bank: Bank) -> None:
    with bank.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_bank_in_memory_works(make_run: RunMaker) -> None:
    with Bank.open("sqlite:///:memory:") as bank:
        assert bank.run(bank.record_run(make_run())) is not None


def test_a_folder_with_odd_characters_works(tmp_path: Path, make_run: RunMaker) -> None:
    path = tmp_path / "50% of it? #1 &c @home" / "bänk.sqlite"
    with Bank.open(path) as bank:
        bank.record_run(make_run())
    assert path.is_file()


# -- what is no bank -----------------------------------------------------------------------------------------


def test_a_missing_file_is_not_created_for_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "bank.sqlite"
    assert "no such file; train a source into it" in refusal(path, create=False)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_no_bank_for_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "bank.sqlite"
    path.touch()
    assert "holds no bank yet" in refusal(path, create=False)
    Bank.open(path).close()


@pytest.mark.parametrize(
    "content", [b"a letter to a friend\n" * 100, b"\x93NUMPY" + bytes(4096), b"a word"]
)
def test_a_file_that_is_something_else_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    assert "file is not a database" in refusal(path)
    assert path.read_bytes() == content


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    assert "a folder, not a file; name the file in it" in refusal(tmp_path)


@pytest.mark.parametrize("create", [False, True])
def test_a_pipe_in_place_of_the_file_is_refused_unopened(tmp_path: Path, create: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(BankError, match="a pipe or device, not a file; name a file"):
            Bank.open(path, create=create)


@pytest.mark.parametrize("location", ["file:b.sqlite?mode=ro", "sqlite:///file:b.sqlite?mode=ro"])
def test_an_address_of_sqlite_is_not_taken_for_the_name_of_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BankError, match=r"bank (file:|sqlite://)"):
        Bank.open(location, create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file" in refusal(tmp_path / "file" / "bank.sqlite")


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs /proc, where nobody can make a file"
)
@pytest.mark.parametrize("path", ["/proc/bank.sqlite", "/proc/folder/bank.sqlite"])
def test_a_folder_that_takes_no_files_is_refused(path: str) -> None:
    assert path in refusal(path)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write everywhere")
    assert "unable to open database file (check the folder and its permissions)" in refusal(
        tmp_path / "bank.sqlite"
    )


@pytest.mark.parametrize(
    ("location", "complaint"),
    [
        ("nosuch://me:secret@host/db", "no driver for it is installed"),
        ("sqlite+nosuch:///bank.sqlite", "no driver for it is installed"),
        ("not a scheme://me:secret@host/db", "not a database URL or path"),
        ("postgresql://me:secret@host:port/db", "not a database URL or path"),
        ("sqlite://bank.sqlite", "not a database URL or path"),
        ("nosuch://host/db?user=me&password=secret", "no driver for it is installed"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(location: str, complaint: str) -> None:
    assert complaint in refusal(location)


@pytest.mark.parametrize("backend", ["mysql", "postgresql"])
def test_a_missing_driver_is_named(backend: str) -> None:
    script = f"""
import sys
for driver in ("MySQLdb", "psycopg", "psycopg2"):
    sys.modules[driver] = None
from bank import Bank, BankError
try:
    Bank.open("{backend}://me:secret@localhost/db")
except BankError as error:
    print(error)
"""
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert answer.stderr == ""
    (line,) = answer.stdout.splitlines()
    assert line.startswith(f"bank {backend}://me:***@localhost/db: no driver for it is installed")


def test_a_url_is_shown_without_its_password() -> None:
    assert shown(bank_url("postgresql://me:secret@host/db")) == "postgresql://me:***@host/db"
