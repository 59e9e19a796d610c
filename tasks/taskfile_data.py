"""The table [data] of a task file: where rows come from, how they are read, and which are left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from tasks.answers import spellings
from tasks.choices import choose
from tasks.errors import TaskError, repeated, shown
from tasks.files import checked_encoding
from tasks.formats import UNLABELLED
from tasks.nested import Shape
from tasks.readers import FORMATS, OF_TABLES, SUFFIXES, Writing, format_of, labels_beside, reader_of
from tasks.rows import Row
from tasks.sources import Hub, Skip, Source
from tasks.task import SPLITS_BY_PARTS, SplitKeys, Splits
from tasks.template import Layout
from tasks.together import by_columns, by_shared_texts
from tasks.tomlfile import TomlTable

PARTS = ("train", "dev", "test")
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")
OF_ROWS = (
    "split_key", "shared_texts", "equal_texts", "unseen", "train_where", "unfold", "skip", "skip_nulls",
)  # fmt: skip
OF_HUB = ("hub", "config", "revision", "parts", "columns")


def read_source(
    data: TomlTable, layout: Layout, labels: Mapping[str, str]
) -> tuple[Source, Splits]:
    """Where rows come from, and which part serves as train, dev and test.

    Raises:
        TaskError: an unknown key, a value of the wrong kind, or neither files nor a hub data set.
    """
    data.refuse_unknown({*PARTS, "format", *OF_TABLES, *OF_ROWS, *OF_HUB})
    skip, shape = _skip(data, layout, labels), _shape(data, layout)
    if "hub" in data.values:
        hub = _hub(data)
        return Source(hub=hub, skip=skip, shape=shape), SPLITS_BY_PARTS[frozenset(hub.parts)]
    for key in OF_HUB:
        if key in data.values and key not in OF_TABLES:
            raise data.error(key, "goes with data.hub, which is not given")
    writing, paths = _writing(data), paths_of(data)
    files = {part: pair[0] for part, pair in paths.items()}
    beside = {pair[0]: pair[1] for pair in paths.values() if len(pair) == 2}
    if not files:
        raise TaskError(
            f"{data.path}: [data] names neither a file for train, dev or test, nor a hub data set"
        )
    for part, file in files.items():
        told = FORMATS[_format(data, part, file, writing)].told
        for key in OF_TABLES:
            if key in data.values and key not in told:
                raise data.error(
                    key,
                    f"is not for files such as {file.name}; remove it, or say another data.format",
                )
    reader = reader_of(dataclasses.replace(writing, labels=beside))
    source = Source(files=files, reader=reader, skip=skip, shape=shape)
    return source, SPLITS_BY_PARTS[frozenset(files)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Together:
    """Which rows stay in one split, and which train.

    Attributes:
        key: what :class:`tasks.task.Task` calls so.
        columns: of which a key is made that must not be null.
        unseen: column whose long development texts no training row may hold, or empty.
        train_where: column to the values there of which a row must have one to train.
    """

    key: str | SplitKeys
    columns: tuple[str, ...]
    unseen: str
    train_where: Mapping[str, frozenset[str]]

    @property
    def train_filter(self) -> Callable[[Row], bool] | None:
        """Whether a row trains; ``None`` where all do."""
        if not self.train_where:
            return None

        def trains(row: Row) -> bool:
            return all(
                not values.isdisjoint(spellings(row, column))
                for column, values in self.train_where.items()
            )

        return trains


def read_together(data: TomlTable) -> Together:
    """Which rows stay together, and which train.

    Raises:
        TaskError: a value of the wrong kind, or two ways at once.
    """
    columns, shared = data.columns("split_key"), data.columns("shared_texts")
    equal = data.get("equal_texts", str, "")
    if columns and shared:
        raise data.error("shared_texts", "stands beside data.split_key; give one of them")
    if equal:
        choose(equal, shared, f"{data.path}: data.equal_texts: the column of data.shared_texts")
    key: str | SplitKeys = "".join(columns)
    if shared:
        key = by_shared_texts(*shared, equal=equal)
    elif len(columns) > 1:
        key = by_columns(*columns)
    return Together(
        key=key,
        columns=columns,
        unseen=data.get("unseen", str, ""),
        train_where=_values_of(data, "train_where"),
    )


def _shape(data: TomlTable, layout: Layout) -> Shape | None:
    """Lists that become rows, and columns that lie within others; ``None`` where there are neither."""
    path = data.get("unfold", str, "")
    if not all(path.split(".")) and path:
        raise data.error("unfold", f"is {shown(path)}; expected names with dots between")
    dotted = tuple(column for column in _used(data, layout) if "." in column)
    if not path and not dotted:
        return None
    return Shape(unfold=tuple(path.split(".")) if path else (), columns=dotted)


def _used(data: TomlTable, layout: Layout) -> tuple[str, ...]:
    """All columns that a task file names, each once."""
    tables = (data.get(key, dict, {}) for key in ("skip", "train_where"))
    named = (
        *layout.used,
        *data.columns("split_key"),
        *data.columns("shared_texts"),
        data.get("unseen", str, ""),
        *(column for table in tables for column in table),
    )
    return tuple(dict.fromkeys(filter(None, named)))


def _hub(data: TomlTable) -> Hub:
    if set(PARTS) & set(data.values):
        raise TaskError(f"{data.path}: [data] names both data.hub and files; give one of them")
    for key in ("format", *OF_TABLES):
        if key in data.values and key not in OF_HUB:
            raise data.error(key, "is for files, and data.hub names none")
    parts = data.values.get("parts", {"train": "train", "dev": "validation", "test": "test"})
    if not _texts_by_text(parts) or frozenset(parts) not in SPLITS_BY_PARTS:
        raise TaskError(f"{data.path}: data.parts must name some of train, dev and test")
    columns = data.values.get("columns", {})
    if not _texts_by_text(columns):
        raise data.error(
            "columns",
            f'is {shown(columns)}; expected our names for the hub\'s, as in {{ label = "star" }}',
        )
    config, revision = data.get("config", str, ""), data.get("revision", str, "")
    return Hub(
        path=data.get("hub", str), config=config, revision=revision, parts=parts, columns=columns
    )


def _texts_by_text(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(item, str) and item for item in value.values()
    )


def _writing(data: TomlTable) -> Writing:
    form = data.get("format", str, "")
    if form:
        choose(form, FORMATS, f"{data.path}: data.format")
    delimiter = data.get("delimiter", str, "")
    if "delimiter" in data.values and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise data.error("delimiter", f"is {shown(delimiter)}; expected one character, as in ';'")
    encoding = data.get("encoding", str, "")
    try:
        if "encoding" in data.values:
            checked_encoding(encoding)
    except LookupError as error:
        raise data.error(
            "encoding",
            f"is {shown(encoding)}, which is not known; known are utf-8, latin-1, cp1252",
        ) from error
    columns = data.texts("columns")
    if twice := repeated(columns):
        raise data.error("columns", f"names {shown(twice[0])} more than once")
    allowed = data.get("allow_bad_rows", int, 0)
    if allowed < 0 or not _fits(allowed):
        raise data.error("allow_bad_rows", f"is {shown(allowed)}; expected the number of rows")
    quoted = data.get("quoted", bool, False) if "quoted" in data.values else None
    return Writing(
        format=form,
        columns=columns,
        delimiter=delimiter,
        quoted=quoted,
        encoding=encoding,
        allow_bad_rows=allowed,
    )


def paths_of(data: TomlTable) -> dict[str, list[Path]]:
    """The file of every part, and for ``text and labels`` that of its labels."""
    pairs = data.values.get("format") == "text and labels"
    paths = {}
    for part in PARTS:
        if part not in data.values:
            continue
        value = data.values[part]
        names = value if pairs and isinstance(value, list) and len(value) == 2 else [value]
        if not all(isinstance(name, str) and name for name in names):
            raise data.error(part, f"is {shown(value)}; expected the name of a file")
        try:
            paths[part] = [(data.path.parent / name).resolve() for name in names]
        except (OSError, ValueError, RuntimeError) as error:
            raise TaskError(
                f"{data.path}: [data] names a file that cannot exist ({error})"
            ) from error
        if pairs and len(names) == 1:
            paths[part].append(labels_beside(paths[part][0]))
    return paths


def _format(data: TomlTable, part: str, file: Path, writing: Writing) -> str:
    if not writing.format and file.suffix.lower() in PACKED_SUFFIXES:
        raise data.error(part, f"is {file.name}, a compressed file; unpack it first")
    try:
        return format_of(file, writing)
    except TaskError as error:
        raise data.error(
            part, f'is {file.name}; expected one of {SUFFIXES}, or say format = "csv"'
        ) from error


def _skip(data: TomlTable, layout: Layout, labels: Mapping[str, str]) -> Skip:
    values = _values_of(data, "skip")
    if labels and UNLABELLED not in labels:
        values[layout.label] = values.get(layout.label, frozenset()) | {UNLABELLED}
    nulls = (
        (*layout.used, *data.columns("split_key"), *data.columns("shared_texts"))
        if data.get("skip_nulls", bool, False)
        else ()
    )
    return Skip(values=values, nulls=tuple(dict.fromkeys(nulls)), label=layout.label)


def _values_of(data: TomlTable, key: str) -> dict[str, frozenset[str]]:
    """A table of columns and the values that are meant there, as texts."""
    values: dict[str, frozenset[str]] = {}
    for column, listed in data.get(key, dict, {}).items():
        items = listed if isinstance(listed, list) else [listed]
        if not items or not all(
            isinstance(item, str) or (isinstance(item, int) and _fits(item)) for item in items
        ):
            raise data.error(
                f"{key}.{column}",
                f'is {shown(listed)}; expected a list of values, as in ["-", "-1"]',
            )
        values[column] = frozenset(
            str(item).lower() if isinstance(item, bool) else str(item).strip() for item in items
        )
    return values


def _fits(number: int) -> bool:
    """Whether data may hold this number; one of thousands of digits cannot even be written."""
    return abs(number) < 2**63
