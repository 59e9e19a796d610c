"""Readers leave a bank as it lies there, writers find out early what stops them, and no line shows a secret."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from bank import Bank, BankError, Partition, RunRecord
from bank.engine import connected
from bank.integrity import verify
from bank.keys import KINDS
from bank.listing import list_prompts, list_runs, list_tasks, list_transfers
from bank.location import bank_url, shown, shown_location

RunMaker = Callable[..., RunRecord]

ROOT = Path(__file__).parents[2]

WRITER = Path(__file__).with_name("writer.py")


def look(location: str | Path, make_run: RunMaker) -> int:
    """Read a bank in every way; returns its number of runs."""
    with connected(location) as engine:
        list_tasks(engine), list_prompts(engine), list_transfers(engine)
        count = len(list_runs(engine))
    with Bank.open(location, create=False) as bank:
        keys = bank.keys(Partition.of(make_run().identity.recipe))
        assert [len(keys.vectors(kind)) for kind in KINDS] == [count] * len(KINDS)
        assert bank.count_rows()["run"] == count
        assert verify(bank) == []
    return count


def lying(folder: Path) -> dict[str, bytes]:
    """What lies in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- readers -------------------------------------------------------------------------------------------------


def test_a_reader_leaves_nothing_and_changes_nothing(tmp_path: Path, make_run: RunMaker) -> None:
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        bank.record_run(make_run())
    before = lying(tmp_path)
    assert look(tmp_path / "bank.sqlite", make_run) == 1
    assert lying(tmp_path) == before
    assert list(before) == ["bank.sqlite"]


def test_a_reader_sees_what_an_open_writer_wrote_and_leaves_its_log(
    tmp_path: Path, make_run: RunMaker
) -> None:
    path = tmp_path / "bank.sqlite"
    with Bank.open(path) as bank:
        bank.record_run(make_run())
        with Bank.open(path, create=False) as reader:
            assert reader.count_rows()["run"] == 1
            bank.record_run(make_run(seed=1))
            assert reader.count_rows()["run"] == 2
            names = set(lying(tmp_path))
            assert look(path, make_run) == 2
            assert set(lying(tmp_path)) == names
            bank.record_run(make_run(seed=2))
    assert set(lying(tmp_path)) == {"bank.sqlite"}
    assert look(path, make_run) == 3


def test_a_reader_follows_a_file_that_is_written_after_it_was_opened(
    tmp_path: Path, make_run: RunMaker
) -> None:
    path = tmp_path / "bank.sqlite"
    with Bank.open(path) as bank:
        bank.record_run(make_run())
    with Bank.open(path, create=False) as reader:
        assert reader.count_rows()["run"] == 1
        with Bank.open(path) as bank:
            bank.record_run(make_run(seed=1))
        assert reader.count_rows()["run"] == 2


def test_what_is_written_while_a_file_is_read_is_noticed(
    tmp_path: Path, make_run: RunMaker
) -> None:
    path = tmp_path / "bank.sqlite"
    with Bank.open(path) as bank:
        bank.record_run(make_run())
    from bank.sessions import reading

    with Bank.open(path, create=False) as reader:
        with (
            pytest.raises(BankError, match="was written while it was read; try again"),
            reading(reader.engine) as session,
        ):
            session.execute(text("SELECT count(*) FROM run"))
            with Bank.open(path) as bank:
                bank.record_run(make_run(seed=1))
        assert reader.count_rows()["run"] == 2


@pytest.mark.parametrize("index", [True, False])
def test_what_a_killed_writer_left_in_its_log_is_read(tmp_path: Path, index: bool) -> None:
    path = tmp_path / "bank.sqlite"
    command = [sys.executable, str(WRITER), "0", "1000"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        said = [process.stdout.readline() for _ in range(6)]  # ready, and five runs
        process.kill()
    assert len(said) == 6
    if not index:
        (tmp_path / "bank.sqlite-shm").unlink()
    before = lying(tmp_path)
    assert before["bank.sqlite-wal"]
    with Bank.open(path, create=False) as bank:
        assert bank.count_rows()["run"] >= 5
        assert verify(bank) == []
    assert lying(tmp_path) == before
    with Bank.open(path) as bank:
        assert bank.count_rows()["run"] >= 5


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_bank_in_a_read_only_folder_is_read_and_a_writer_is_told(
    tmp_path: Path, make_run: RunMaker
) -> None:
    folder = Path(shutil.copytree(tmp_path, f"/tmp/spot-readonly-{os.getpid()}"))
    path = folder / "bank.sqlite"
    try:
        with Bank.open(path) as bank:
            bank.record_run(make_run())
        path.chmod(0o444)
        folder.chmod(0o555)
        script = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from bank import Bank, BankError
from bank.engine import connected
from bank.listing import list_runs
if os.getuid() == 0:
    os.setgroups([]); os.setgid(54321); os.setuid(54321)
with connected({str(path)!r}) as engine:
    print(len(list_runs(engine)))
with Bank.open({str(path)!r}, create=False) as bank:
    print(bank.count_rows()["prompt"], *map(len, map(bank.keys, bank.partitions())))
try:
    with Bank.open({str(path)!r}) as bank:
        bank.try_write()
except BankError as error:
    print(error)
"""
        answer = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, cwd="/", check=False
        )
        assert answer.stderr == ""
        runs, counts, refusal = answer.stdout.splitlines()
        assert (runs, counts) == ("1", "2 1")
        assert (
            refusal.startswith(f"bank {path}: this user may not write the file")
            or "read-only" in refusal
        )
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


# -- what is another program's -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tables", ["CREATE TABLE notes (text)", "CREATE TABLE alembic_version (version_num)"]
)
@pytest.mark.parametrize("create", [True, False])
def test_another_program_s_file_is_refused_and_left_as_it_is(
    tmp_path: Path, tables: str, create: bool
) -> None:
    path = tmp_path / "notes.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(tables)
        if "alembic" in tables:
            connection.execute("INSERT INTO alembic_version VALUES ('0001')")
        connection.execute("CREATE TABLE run (id, text)")
    connection.close()
    before = lying(tmp_path)
    with pytest.raises(
        BankError, match="holds tables of another program, or not all of a bank's; name another"
    ):
        Bank.open(path, create=create)
    with pytest.raises(BankError, match="holds tables of another program"), connected(path):
        pass
    assert lying(tmp_path) == before


# -- a trial write -------------------------------------------------------------------------------------------


def test_a_trial_write_leaves_nothing(bank: Bank) -> None:
    bank.try_write()
    bank.try_write()
    assert set(bank.count_rows().values()) == {0}
    assert verify(bank) == []


def test_a_trial_write_says_what_stops_it(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(bank.engine.url.database)
    with monkeypatch.context() as patch:
        patch.setattr("bank.sqlite.BUSY_SECONDS", 0.2)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with (
            Bank.open(path) as waiting,
            pytest.raises(BankError, match=r"database is locked \(another process holds"),
        ):
            waiting.try_write()
        other.execute("ROLLBACK")
        other.close()
    with bank.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(
        BankError, match=r"database or disk is full \(the disk is full; free some space"
    ):
        bank.try_write()
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 10}))
        with pytest.raises(BankError, match="the disk is full"):
            bank.try_write()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE alembic_version SET version_num = '0002'")
    other.close()
    with pytest.raises(BankError, match="its schema is 0002, not 0008; open it for writing"):
        bank.try_write()


def test_a_copy_holds_what_the_bank_holds_and_keeps_what_is_added_to_itself(
    tmp_path: Path, make_run: RunMaker
) -> None:
    path = tmp_path / "bank.sqlite"
    with Bank.open(path) as bank:
        bank.record_run(make_run())
    before = lying(tmp_path)
    with Bank.copied(path) as copy:
        copy.record_run(make_run("rte", role="query"))
        copy.try_write()
        assert [row["task"] for row in list_runs(copy.engine)] == ["rte", "sst2"]
        assert len(copy.keys(Partition.of(make_run().identity.recipe))) == 1
        assert verify(copy) == []
    assert lying(tmp_path) == before
    with pytest.raises(BankError, match="only a file can be copied"):
        Bank.copied("sqlite:///:memory:")


def test_a_reader_cannot_write(tmp_path: Path, make_run: RunMaker) -> None:
    Bank.open(tmp_path / "bank.sqlite").close()
    with (
        Bank.open(tmp_path / "bank.sqlite", create=False) as bank,
        pytest.raises(BankError, match=r"readonly database \(the file or its folder is read-only"),
    ):
        bank.record_run(make_run())


# -- locations -----------------------------------------------------------------------------------------------

SECRET = "hunter2"

SHAPES = [
    "postgres://u:{}@localhost/spot",
    "postgres://u:se@{}@localhost:5999/spot",
    "postgresql://u:{}@cret@localhost:5999/spot",
    "postgresql://u:a@{}@localhost:5999/spot",
    "postgresql://u:a/{}@localhost:5999/spot",
    "postgresql://u:a#{}@localhost:5999/spot",
    "postgresql://u:a?{}@localhost:5999/spot",
    "postgresql://u:a:{}@localhost:5999/spot",
    "postgresql://u:{}@localhost:5999:1/spot",
    "postgresql://u:{}@localhost:port/spot",
    "postgresql://u:{}",
    "postgresql://u:{}@",
    "postgresql://:{}@localhost:5999/spot",
    "postgresql://u:%68{}@localhost:5999/spot",
    "postgresql://localhost:5999/spot?password={}",
    "postgresql://localhost:5999/spot?user=u&PASSWORD={}",
    "postgresql://localhost:5999/spot?passwd={}",
    "postgresql://localhost:5999/spot?options=-c%20my.password%3D{}",
    "postgresql://localhost:5999/spot?options=-cpassword={}",
    "postgresql://localhost:5999/spot?sslpassword={}",
    "postgresql://localhost:5999/spot?unknown={}",
    "postgresql://localhost:5999/spot?host=u:{}@there",
    "postgresql://localhost:5999/spot?sslmode={}",
    "postgresql:///u:{}@localhost/spot",
    "postgresql:///u:{}",
    "postgresql:/u:{}@localhost:5999/spot",
    "postgresql:u:{}@localhost:5999/spot",
    "postgresql//u:{}@localhost:5999/spot",
    "postgresql+psycopg:/u:{}@localhost/spot",
    "PostgreSQL://u:{}@localhost:5999/spot",
    "Postgres:/u:{}@localhost/spot",
    "postgresql+nosuch://u:{}@localhost/spot",
    "postgresql+psycopg://u:{}@localhost:5999/spot",
    "mysql://u:{}@localhost:5999/spot",
    "mysql+pymysql://u:{}@localhost:5999/spot?passwd={}",
    "nosuch://u:{}@localhost/spot",
    "not a scheme://u:{}@localhost/spot",
    "jdbc:postgresql://u:{}@localhost/spot",
    "jdbc:postgresql://localhost/spot?password={}",
    "://u:{}@localhost/spot",
    "u:{}@localhost/spot",
    "u:{}@localhost:5999",
    "host=localhost password={} dbname=spot",
    "dbname=spot;Password = {}",
    "sqlite://u:{}@localhost/spot",
    "sqlite:///u:{}@localhost/spot",
    "sqlite:u:{}@localhost/spot",
    "sqlite+pysqlcipher://:{}@/spot",
    "sqlite:///spot?password={}",
    "sqlite:///spot?key={}",
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("create", [True, False])
def test_no_part_of_a_secret_is_shown(
    shape: str, create: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    location = shape.replace("{}", SECRET)
    seen = [shown_location(location)]
    try:
        with Bank.open(location, create=create) as bank:
            seen.append(str(bank))
    except BankError as error:
        assert "\n" not in str(error)
        seen += traceback.format_exception(error)
    for line in seen:
        assert SECRET not in line
        assert "cret@" not in line
    assert not [path for path in tmp_path.rglob("*") if SECRET in path.name]


@pytest.mark.parametrize(
    ("location", "complaint"),
    [
        ("postgres://u:pw@localhost/spot", "write postgresql:// in place of postgres://"),
        ("postgresql://u:se@cret@localhost:5999/spot", "more than one @; write %40"),
        ("postgresql:/localhost/spot", "write postgresql://..."),
        ("sqlite:bank.sqlite", "write sqlite:///..."),
        ("sqlite://bank.sqlite", "sqlite:/// has three slashes"),
        ("postgresql:///u:pw@localhost/spot", "no host where one is expected"),
        ("u:pw@localhost/spot", "write scheme://user:password@host/name, or ./ before a path"),
        ("~nobody-of-that-name/bank.sqlite", "no home folder is known for ~nobody-of-that-name"),
        (
            "sqlite:///~nobody-of-that-name/bank.sqlite",
            "no home folder is known for ~nobody-of-that-name",
        ),
        ("bank\0.sqlite", "a path or URL holds no zero bytes"),
        ("postgresql://localhost:1/spot", "check that the database is up and can be reached"),
        ("sqlite:///bank.sqlite?nosuch=1", "its options are not those of SQLite"),
    ],
)
def test_a_location_that_leads_nowhere_says_how_to_write_it(
    location: str, complaint: str, tmp_path: Path
) -> None:
    if location.startswith("postgresql://localhost"):
        pytest.importorskip("psycopg")
    with pytest.raises(BankError) as caught:
        Bank.open(location)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_home_folders_are_expanded_and_a_folder_of_that_name_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for location, path in (
        ("~/a.sqlite", "home/a.sqlite"),
        ("sqlite:///~/b.sqlite", "home/b.sqlite"),
        ("./~/c.sqlite", "~/c.sqlite"),
        ("sqlite:///./~/d.sqlite", "~/d.sqlite"),
        (f"{tmp_path}/~/e.sqlite", "~/e.sqlite"),
        ("p@ge.sqlite", "p@ge.sqlite"),
        ("./a:b@c.sqlite", "a:b@c.sqlite"),
    ):
        Bank.open(location).close()
        assert (tmp_path / path).is_file(), location


def test_a_url_keeps_its_options_and_shows_those_that_are_no_secrets() -> None:
    assert shown(bank_url("postgresql://me:pw@host:5432/db?sslmode=require&sslpassword=pw")) == (
        "postgresql://me:***@host:5432/db?sslmode=***&sslpassword=***"
    )
    assert shown(bank_url("a/bank.sqlite")) == "sqlite:///a/bank.sqlite"
    assert shown(bank_url("/a/bank.sqlite")) == "sqlite:////a/bank.sqlite"
