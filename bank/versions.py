"""Versions of the schema: what each migration added, how a bank is brought to the newest, and how a reader sees an
older one as if it were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, inspect, text

from bank.driver_errors import database_errors
from bank.errors import BankError
from bank.location import shown

HEAD = "0008"
"""The newest migration; a test compares it with the folder."""

VERSIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")

TABLES = frozenset(
    {
        "backbone",
        "task",
        "recipe",
        "prompt",
        "key_vectors",
        "run",
        "snapshot",
        "transfer",
        "candidate",
    }
)
"""Those of the first schema: where they are missing, the tables are another program's."""

NO_NUMBER = "CAST(NULL AS INTEGER)"
NO_TIME = "CAST(NULL AS TIMESTAMP)"

ADDED: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "0002": {
        "transfer": {"budget": "'full'", "steps": NO_NUMBER},
        "candidate": {"steps": NO_NUMBER},
    },
    "0003": {
        "run": {"data": "NULL", "start": "NULL"},
        "task": {"content": "NULL", "texts": "NULL"},
        "transfer": {"options": "NULL"},
    },
    "0004": {
        "prompt": {"shape": "NULL"},
        "transfer": {"single": "method IN ('best', 'oracle', 'generic', 'imported')"},
        "evaluation": {"decoding": "NULL"},
    },
    "0005": {"run": {"removed": NO_TIME}},
    "0006": {"task": {"signature": "NULL"}},
    "0007": {},
    "0008": {},
}
"""Columns that each migration added to tables, each as a reader of an older bank finds it."""

NO_EVALUATIONS = f"SELECT {NO_NUMBER} AS id, {NO_NUMBER} AS run_id, NULL AS data, NULL AS metrics, NULL AS answers"

NO_TAGS = f"SELECT {NO_NUMBER} AS id, {NO_NUMBER} AS run_id, NULL AS name"

NO_RECYCLERS = (
    f"SELECT {NO_NUMBER} AS id, NULL AS digest, {NO_NUMBER} AS source_id, {NO_NUMBER} AS target_id, NULL AS method, "
    f"{NO_NUMBER} AS shared, {NO_NUMBER} AS cosine, {NO_NUMBER} AS error, NULL AS numbers, {NO_TIME} AS created"
)

MEMBERS = "SELECT row_number() OVER () AS id, task_id, name FROM (SELECT DISTINCT task.id AS task_id, {}) AS members"

NEW: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "0002": {
        "evaluation": dict.fromkeys(("sqlite", "postgresql"), f"{NO_EVALUATIONS} WHERE 1 = 0")
    },
    "0004": {
        "member": {
            "sqlite": MEMBERS.format(
                "entry.value AS name FROM main.task, json_each(CASE WHEN json_valid(task.description) "
                "THEN task.description ELSE '{}' END, '$.tasks') AS entry WHERE entry.type = 'text'"
            ),
            "postgresql": MEMBERS.format(
                "entry.name FROM {place}.task, json_array_elements_text(CASE json_typeof(task.description -> 'tasks') "
                "WHEN 'array' THEN task.description -> 'tasks' ELSE '[]' END) AS entry(name)"
            ),
        }
    },
    "0005": {"tag": dict.fromkeys(("sqlite", "postgresql"), f"{NO_TAGS} WHERE 1 = 0")},
    "0007": {"recycler": dict.fromkeys(("sqlite", "postgresql"), f"{NO_RECYCLERS} WHERE 1 = 0")},
}
"""Tables that each migration added, by the database's kind, each as a reader of an older bank finds it."""


def home(connection: Connection) -> str | None:
    """The schema of a server in which a bank's tables lie, to be named where views of a reader hide them."""
    return (
        connection.dialect.default_schema_name if connection.dialect.name == "postgresql" else None
    )


def current_version(connection: Connection, url: URL) -> str | None:
    """The migration that a database stands at, or ``None`` where it holds no bank.

    Raises:
        BankError: tables of another program, or of a newer version of this one.
    """
    tables = set(inspect(connection).get_table_names(home(connection)))
    versions = []
    if "alembic_version" in tables:
        versions = list(
            connection.execute(text("SELECT version_num FROM alembic_version")).scalars()
        )
    ours = tables >= TABLES
    foreign = (
        tables - {"alembic_version"} if connection.dialect.name == "sqlite" else tables & TABLES
    )
    if (versions or foreign) and not ours:
        raise BankError(
            f"bank {shown(url)}: holds tables of another program, or not all of a bank's; name another"
        )
    if not versions and not ours:
        return None
    current = str(versions[0]) if len(versions) == 1 else ""
    if current in VERSIONS:
        return current
    if not (current.isdigit() and len(current) == 4 and current > HEAD):
        raise BankError(
            f"bank {shown(url)}: does not say which schema it has; take a copy that is sound"
        )
    raise BankError(
        f"bank {shown(url)}: its schema is {current}, newer than {HEAD} that this version knows; upgrade the program"
    )


def upgrade(engine: Engine, url: URL) -> None:
    """Bring a bank to the newest migration, all the way or not at all."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    with (
        database_errors(url),
        engine.execution_options(writes=True).begin() as connection,
    ):
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(731852)"))
        if current_version(connection, url) != HEAD:  # another process may have come first
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)


def added_later(version: str, table: str) -> set[str]:
    """Columns of a table that a bank of a version lacks; those of a table that it lacks are not counted."""
    later = [tables for other, tables in ADDED.items() if other > version]
    return {column for tables in later for column in tables.get(table, {})}


def new_later(version: str) -> set[str]:
    """Tables that a bank of a version lacks."""
    return {table for other, tables in NEW.items() if other > version for table in tables}


def show_as_newest(engine: Engine, current: str) -> None:
    """Let every further connection see an older bank as if it were up to date: by views of its own."""
    sqlite = engine.dialect.name == "sqlite"
    place = "main" if sqlite else engine.dialect.default_schema_name
    views = list(_views(current, engine.dialect.name, place or ""))

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        if sqlite:
            cursor.execute("PRAGMA temp_store = MEMORY")
        for view in views:
            cursor.execute(view)
        cursor.close()
        if not sqlite:
            connection.commit()

    engine.dispose()


def _views(current: str, dialect: str, place: str) -> Iterator[str]:
    """One for every table that a bank of version ``current`` lacks, or of which it lacks columns."""
    rows: dict[str, str] = {}
    columns: dict[str, list[str]] = {}
    for version in VERSIONS[VERSIONS.index(current) + 1 :]:
        for table, selects in NEW.get(version, {}).items():
            rows[table] = f"({selects[dialect].replace('{place}', place)}) AS rows"
        for table, added in ADDED[version].items():
            columns.setdefault(table, []).extend(
                f"{value} AS {name}" for name, value in added.items()
            )
    for table in {**rows, **columns}:
        selected = ", ".join(["*", *columns.get(table, ())])
        yield f"CREATE TEMPORARY VIEW {table} AS SELECT {selected} FROM {rows.get(table, f'{place}.{table}')}"
