"""Keys as a bank stores them: their columns in one query, and every kind of vectors in another."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Connection, Engine, LargeBinary, Select, func, select, type_coerce
from sqlalchemy.orm import aliased

from bank import schema
from bank.errors import BankError
from bank.keys import FEW, Digests, Keys, vector_width
from bank.recipes import in_partition
from bank.records import Partition
from bank.runs import check_scores
from bank.sessions import reading

if TYPE_CHECKING:
    import numpy as np

ROWS_AT_ONCE = 2048
"""Rows taken from the database at a time, so that no second copy of all is made."""

VECTORS_AT_ONCE = 256
"""The same of vectors."""

WIDEST = 2**24
"""Numbers of a vector that a model may have."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Tasks:
    """All tasks of a bank, in the order of their names: here and not in SQL, where it is another in every database.

    Attributes:
        names: of the tasks.
        families: of the tasks.
        place: that of every task in these, by its row.
        left_out: rows of those whose keys are not wanted.
    """

    names: Sequence[str]
    families: Sequence[str]
    place: Mapping[int, int]
    left_out: frozenset[int]


def get_keys(engine: Engine, partition: Partition, exclude: Sequence[str]) -> Keys:
    """See :meth:`bank.store.Bank.keys`."""
    import numpy as np

    with reading(engine) as session:
        connection = session.connection()
        _refuse_lost(connection)
        tasks = _read_tasks(connection, exclude)
        columns = _read_columns(connection, partition, tasks)
        shape = _read_shape(connection, partition)
    order = np.lexsort((columns["run"], columns["seed"], columns["task"]))
    columns |= {name: columns.pop(name)[order] for name in list(columns)}
    names, runs = [tasks.names[place] for place in columns["task"]], Digests(columns["run"])
    has_start = columns["start"] >= 0
    return Keys(
        tasks=names,
        families=[tasks.families[place] for place in columns["task"]],
        seeds=columns["seed"],
        runs=runs,
        prompts=Digests(columns["key"]),
        values=Digests(columns["value"]),
        scores=columns["score"],
        started_from=columns["started_from"].tolist(),
        has_start=has_start,
        shape=shape,
        read=_Stored(
            engine, partition, columns["id"], names, runs, has_start, vector_width(shape)
        ).read,
    )


# -- columns -------------------------------------------------------------------------------------------------


def _refuse_lost(connection: Connection) -> None:
    """Sources of which nobody can say to which partition they belong."""
    query = select(schema.Run.digest).outerjoin(schema.Run.recipe).outerjoin(schema.Recipe.backbone)
    lost = (schema.Run.role == "source", schema.Run.removed.is_(None), schema.Backbone.id.is_(None))
    query = query.where(*lost).limit(1)
    for digest in connection.scalars(query):
        raise BankError(f"run {digest[:12]}: has no recipe or backbone; see `spot bank verify`")


def _read_tasks(connection: Connection, exclude: Sequence[str]) -> _Tasks:
    """Left out are the excluded ones, and the mixtures that hold one of them."""
    excluded, left_out = set(exclude), set[int]()
    if excluded:
        members = connection.execute(select(schema.Member.task_id, schema.Member.name))
        left_out |= {row for row, name in members if name in excluded}
    rows, names, families, known = [], list[str](), list[str](), dict[str, str]()
    for row, name, family in connection.execute(
        select(schema.Task.id, schema.Task.name, schema.Task.family)
    ):
        rows.append(row)
        names.append(name)
        families.append(known.setdefault(family, family))
        if name in excluded:
            left_out.add(row)
    order = sorted(range(len(names)), key=names.__getitem__)
    place = {rows[at]: i for i, at in enumerate(order)}
    return _Tasks(
        [names[at] for at in order], [families[at] for at in order], place, frozenset(left_out)
    )


def _read_shape(connection: Connection, partition: Partition) -> tuple[int, ...]:
    """Of every key prompt, ``[..., P, H]``; keys of one recipe family are of one form.

    Raises:
        BankError: a width or shape that none can have.
    """
    width = (
        connection.scalar(
            select(schema.Backbone.width).filter_by(fingerprint=partition.fingerprint)
        )
        or 0
    )
    first = select(schema.Prompt.shape).join(
        schema.Snapshot, schema.Snapshot.prompt_id == schema.Prompt.id
    )
    first = first.join(schema.Run, schema.Run.id == schema.Snapshot.run_id).where(
        schema.Snapshot.kind == "key"
    )
    axes = connection.scalar(_of_sources(first, partition).limit(1)) or ()
    shape = (*axes[:-2], partition.prompt_length, width)
    if (
        not all(isinstance(axis, int) and 0 <= axis <= WIDEST for axis in shape)
        or vector_width(shape) > WIDEST
    ):
        raise BankError(
            f"keys of {partition}: their shape is {list(shape)}, which is none; see `spot bank verify`"
        )
    return shape


def _read_columns(
    connection: Connection, partition: Partition, tasks: _Tasks
) -> dict[str, np.ndarray]:
    """What the partition's source runs say, a column each; of a task its place.

    Raises:
        BankError: a source that a ranking would lose or misplace.
    """
    import numpy as np

    kinds = {
        "id": np.int64, "run": np.bytes_, "task": np.int64, "seed": np.int64, "score": np.float64,
        "started_from": object, "start": np.int64, "key": np.bytes_, "value": np.bytes_,
    }  # fmt: skip
    parts: dict[str, list[np.ndarray]] = {name: [np.zeros(0, kind)] for name, kind in kinds.items()}
    for rows in connection.execute(_columns_query(partition)).partitions(ROWS_AT_ONCE):
        kept = [row for row in rows if row.task not in tasks.left_out] if tasks.left_out else rows
        cells = dict(zip(kinds, zip(*kept, strict=True), strict=False))
        if kept and not _are_whole(cells, tasks):
            _refuse_broken(kept, tasks)
        cells["task"] = tuple(tasks.place[row] for row in cells.get("task", ()))
        for name, column in cells.items():
            parts[name].append(np.array(column, kinds[name]))
    return {name: np.concatenate(parts.pop(name)) for name in kinds}  # one column twice, not all


def _columns_query(partition: Partition) -> Select[*tuple[Any, ...]]:
    """Of all source runs, with ``None`` for what is lost; the length of a start is -1 where there is none."""
    key, value = aliased(schema.Snapshot), aliased(schema.Snapshot)
    early, best = aliased(schema.Prompt), aliased(schema.Prompt)
    query = (
        select(
            schema.Run.id, schema.Run.digest.label("run"), schema.Run.task_id.label("task"), schema.Run.seed,
            schema.Run.score, schema.Run.started_from, func.coalesce(func.length(schema.Run.start), -1).label("start"),
            early.sha256.label("key"), best.sha256.label("value"),
        )
        .outerjoin(key, (key.run_id == schema.Run.id) & (key.kind == "key"))
        .outerjoin(early, early.id == key.prompt_id)
        .outerjoin(value, (value.run_id == schema.Run.id) & (value.kind == "value"))
        .outerjoin(best, best.id == value.prompt_id)
    )  # fmt: skip
    return _of_sources(query, partition)


def _are_whole(cells: dict[str, tuple[Any, ...]], tasks: _Tasks) -> bool:
    """Whether nothing is amiss with some sources, seen at a glance at their columns."""
    lost = (
        None in cells["key"]
        or None in cells["value"]
        or not set(cells["task"]) <= tasks.place.keys()
    )
    return (
        not lost
        and set(map(type, cells["seed"])) == {int}
        and set(map(type, cells["score"])) == {float}
        and all(map(math.isfinite, cells["score"]))
    )


def _refuse_broken(rows: Iterable[Any], tasks: _Tasks) -> None:
    """Refuse the first source that a ranking would lose or misplace."""
    for row in rows:
        name = tasks.names[tasks.place[row.task]] if row.task in tasks.place else None
        for part, cell in (("task", name), ("key", row.key), ("value", row.value)):
            if cell is None:
                _refuse(name or "of no task", row.run, f"has no {part}")
        if type(row.seed) is not int:
            _refuse(name or "", row.run, "its seed is no whole number")
        check_scores([(_named(name or "", row.run), row.score)])


def _refuse(task: str, run: str, what: str) -> NoReturn:
    raise BankError(f"{_named(task, run)}: {what}; see `spot bank verify`")


def _named(task: str, run: str) -> str:
    return f"source {task}, run {run[:12]}"


# -- vectors -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class _Stored:
    """Where the vectors of keys are stored.

    Attributes:
        engine: of the bank.
        partition: of the keys.
        ids: int64 ``[K]``, of the rows of the keys' runs.
        tasks: names of the source tasks.
        runs: digests of the runs.
        has_start: bool ``[K]``, whether there is a start.
        width: W, numbers of a vector.
    """

    engine: Engine
    partition: Partition
    ids: np.ndarray
    tasks: Sequence[str]
    runs: Sequence[str]
    has_start: np.ndarray
    width: int

    def read(self, kind: str, rows: np.ndarray) -> np.ndarray:
        """As :attr:`Keys.read`.

        Raises:
            BankError: vectors that are not there, of another width, or with numbers that are none.
        """
        import numpy as np

        order = np.argsort(self.ids[rows])
        ids = self.ids[rows][order]
        query = _vectors_query(kind, self.partition)
        if len(rows) <= FEW:
            query = query.where(schema.Run.id.in_(ids.tolist()))
        matrix, missing = np.empty((0, self.width), np.float32), np.ones(len(rows), bool)
        with reading(self.engine) as session:
            for part in session.connection().execute(query).partitions(VECTORS_AT_ONCE):
                runs = np.array([run for run, _ in part], np.int64)
                place = np.minimum(np.searchsorted(ids, runs), len(ids) - 1)
                # the others are of excluded tasks, or came later
                wanted = np.flatnonzero(ids[place] == runs)
                filled = order[place[wanted]]
                numbers = self._numbers([part[i][1] for i in wanted.tolist()], rows[filled])
                if not len(matrix):  # made once a vector has shown that the width is true
                    matrix = np.empty((len(rows), self.width), np.float32)
                matrix[filled], missing[filled] = numbers, False
        if not len(matrix):
            matrix = np.empty((len(rows), self.width), np.float32)
        if kind == "start":
            matrix[missing] = np.nan
            missing &= self.has_start[rows]
        for row in rows[missing]:
            self._refuse(row, f"has no {'start' if kind == 'start' else 'key vectors'}")
        return matrix

    def _numbers(self, cells: Sequence[bytes], rows: np.ndarray) -> np.ndarray:
        """Bytes of the vectors of rows ``[n]`` as float32 ``[n, W]``."""
        import numpy as np

        for row, cell in zip(rows, cells, strict=True):
            if len(cell) != 4 * self.width:
                self._refuse(
                    row, f"a key vector has {len(cell) // 4} numbers, its backbone {self.width}"
                )
        numbers = np.frombuffer(b"".join(cells), "<f4").reshape(-1, self.width)
        for row in rows[~np.isfinite(numbers).all(axis=1)]:
            self._refuse(row, "a key vector is not finite")
        return numbers

    def _refuse(self, row: int, what: str) -> NoReturn:
        _refuse(self.tasks[row], self.runs[row], what)


def _vectors_query(kind: str, partition: Partition) -> Select[*tuple[Any, ...]]:
    """Ids of a partition's source runs, and bytes of their vectors."""
    table = schema.Run if kind == "start" else schema.KeyVectors
    query: Select[*tuple[Any, ...]] = select(
        schema.Run.id, type_coerce(getattr(table, kind), LargeBinary)
    )
    if kind == "start":
        query = query.where(schema.Run.start.is_not(None))
    else:
        key = (schema.Snapshot.run_id == schema.Run.id) & (schema.Snapshot.kind == "key")
        query = query.join(schema.Snapshot, key)
        query = query.join(
            schema.KeyVectors, schema.KeyVectors.prompt_id == schema.Snapshot.prompt_id
        )
    return _of_sources(query, partition)


def _of_sources(query: Select[*tuple[Any, ...]], partition: Partition) -> Select[*tuple[Any, ...]]:
    """What a query of runs asks, of a partition's source runs alone."""
    return (
        query.join(schema.Recipe, schema.Recipe.id == schema.Run.recipe_id)
        .join(schema.Backbone, schema.Backbone.id == schema.Recipe.backbone_id)
        .where(schema.Run.role == "source", schema.Run.removed.is_(None), *in_partition(partition))
    )
