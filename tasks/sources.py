"""Where rows come from: official files in a folder, files a task carries, or the Hugging Face hub."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tasks.answers import is_null, spellings
from tasks.errors import TaskError, reason, shown
from tasks.nested import Shape
from tasks.readers import Writing, reader_of
from tasks.rows import Numbered, Reader, Row, Skipped


class Rows(NamedTuple):
    """Rows and a name for where they come from, for messages."""

    where: str
    rows: Iterable[Numbered]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hub:
    """A data set of the Hugging Face hub.

    Attributes:
        path: repository, ``owner/name``.
        config: its configuration, or empty.
        revision: branch, tag or commit of the repository; empty: its newest. Every built-in task names one.
        parts: our part names to the hub's split names.
        columns: our column names to the hub's, where they differ.
        folder: where its files lie in the repository without a card, as on the branch ``refs/convert/parquet``, which
            has a folder each configuration; then ``config`` is empty.
        where: column to the value of the rows that are read; others stay in their Parquet files.
        streaming: rows are read as they come, and what is not read is not downloaded.
        take: part name to the rows that are read of it, from its start; all where it is not named.
    """

    path: str
    config: str = ""
    revision: str = ""
    parts: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"train": "train", "dev": "validation", "test": "test"}
    )
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folder: str = ""
    where: Mapping[str, str] = dataclasses.field(default_factory=dict)
    streaming: bool = False
    take: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [part for part in self.take if part not in self.parts]
        if unknown or any(count < 1 for count in self.take.values()):
            raise TaskError(
                f"hub data set {self.name}: take is {shown(dict(self.take))}; expected positive numbers of rows of "
                f"{', '.join(self.parts)}"
            )

    @property
    def name(self) -> str:
        """Repository and configuration, for messages."""
        return "/".join(name for name in (self.path, self.config or self.folder) if name)

    def rows(self, part: str) -> Rows:
        """Rows of a part, class labels as their names.

        Raises:
            TaskError: no such part, ``datasets`` is not installed, or the hub cannot be reached.
        """
        name = self.name
        if part not in self.parts:
            raise TaskError(
                f"hub data set {name}: has no part {part!r}; it has {', '.join(self.parts)}"
            )
        try:
            import datasets
        except ImportError as error:
            raise TaskError(
                f"hub data set {name}: needs the datasets package; install spot-prompt-transfer[hub], "
                "or give --data-dir with the official files"
            ) from error
        options = {
            "revision": self.revision,
            "data_dir": self.folder,
            "streaming": self.streaming,
            "filters": [(column, "==", value) for column, value in self.where.items()],
            # the card counts all rows, and a part with fewer would not pass its checks
            "verification_mode": "no_checks" if self.where else "",
        }
        try:
            data = datasets.load_dataset(
                self.path, self.config or None, split=self.parts[part], **_given(options)
            )
        except Exception as error:  # the hub's client raises errors of several libraries
            raise TaskError(
                f"hub data set {name}: cannot be loaded ({reason(error)}); give --data-dir with the official files"
            ) from error
        # streamed JSON has no features before it is read, and no classes
        features = data.features or {}
        names = {c: f.names for c, f in features.items() if isinstance(f, datasets.ClassLabel)}
        taken = itertools.islice(data, self.take.get(part))
        return Rows(f"hub data set {name}", self._numbered(name, taken, names))

    def _numbered(
        self, name: str, data: Iterable[Row], names: Mapping[str, list[str]]
    ) -> Iterator[Numbered]:
        theirs = set(self.columns.values())
        number = 0
        try:
            for row in data:
                values = {
                    c: names[c][v] if c in names and v is not None and v >= 0 else v
                    for c, v in row.items()
                }
                number += 1
                # A column of the hub that has our name already gives way to the one that is named for it.
                plain = {
                    c: v for c, v in values.items() if c not in theirs and c not in self.columns
                }
                yield Numbered(
                    number,
                    plain | {ours: values[c] for ours, c in self.columns.items() if c in values},
                )
        except Exception as error:  # files are unpacked as rows are asked for
            raise TaskError(
                f"hub data set {name}, row {number + 1}: cannot be read ({reason(error)})"
            ) from error


def _given(options: Mapping[str, object]) -> dict[str, Any]:
    """Those options that say something."""
    return {name: value for name, value in options.items() if value}


NO_LABEL = "no label"
"""How the reason of a row that is skipped for its label begins."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skip:
    """Rows that are left out because they cannot be used.

    Attributes:
        values: column to the texts that mean no answer there, such as the label of rows without one.
        nulls: columns of which none may be null, or lack in a row.
        label: the column of labels; a row without one is called so.
    """

    values: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    nulls: tuple[str, ...] = ()
    label: str = ""

    def why(self, row: Row) -> str:
        """Why the row is left out, or empty.

        Raises:
            KeyError: a column of ``values`` that the row has not.
            ValueError: a value that is no text.
        """
        for column in self.nulls:
            if is_null(row.get(column)):
                return f"{NO_LABEL} (null)" if column == self.label else f"{column} is null"
        for column, values in self.values.items():
            if isinstance(row[column], list | dict) or is_null(row[column]):
                continue
            text = next((text for text in spellings(row, column) if text in values), None)
            if text is not None:
                return f"{NO_LABEL} ({text})" if column == self.label else f"{column} is {text}"
        return ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Official files under a data folder, files of the task's own, or the hub, in this order.

    Attributes:
        files: part name to path; relative to the data folder, or absolute.
        reader: reads one file; by suffix where not given.
        hub: where else the data lies.
        skip: which rows are left out.
        shape: what rows become before all else.
        skipped: how many rows the last reading of each part left out, by the reason.
    """

    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    reader: Reader | None = None
    hub: Hub | None = None
    skip: Skip = dataclasses.field(default_factory=Skip)
    shape: Shape | None = None
    skipped: dict[str, Counter[str]] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )

    def rows(self, part: str, data_dir: Path | None) -> Rows:
        """Rows of a part; ``skipped`` counts those that are left out while they are read.

        Raises:
            TaskError: the part is nowhere to be found, or its file cannot be read.
        """
        where, rows = self._open_part(part, data_dir)
        counts = self.skipped[part] = Counter()
        return Rows(where, self._kept(where, self._shaped(where, rows), counts))

    def present(self, data_dir: Path | None) -> frozenset[str]:
        """Parts that can be read: those whose file is there, or else those of the hub where that is read."""
        if self.of_hub(data_dir) and self.hub is not None:
            return frozenset(self.hub.parts)
        return frozenset(part for part in self.files if self._path(part, data_dir) is not None)

    def of_hub(self, data_dir: Path | None) -> bool:
        """Whether the hub is read: it has the data, and no folder is named that has official files of it."""
        relative = not any(path.is_absolute() for path in self.files.values())
        return self.hub is not None and relative and (data_dir is None or not self.files)

    def describe(self) -> str:
        """The hub's name or the files' folder."""
        if self.hub:
            return f"{self.hub.path} {self.hub.config}".strip()
        return str(next(iter(self.files.values())).parent.name) if self.files else ""

    def _open_part(
        self, part: str, data_dir: Path | None
    ) -> tuple[str, Iterable[Numbered | Skipped]]:
        path = self._path(part, data_dir)
        if path is not None:
            reader = self.reader or reader_of(Writing())
            return str(path), reader(path)
        if self.hub is not None and self.of_hub(data_dir):
            return self.hub.rows(part)
        if part not in self.files:
            raise TaskError(f"no part {part!r} among the files ({', '.join(self.files) or 'none'})")
        raise TaskError(
            f"{(data_dir or Path()) / self.files[part]}: no such file; see --data-dir and SPOT_DATA"
        )

    def _shaped(
        self, where: str, rows: Iterable[Numbered | Skipped]
    ) -> Iterable[Numbered | Skipped]:
        if self.shape is None:
            yield from rows
            return
        for row in rows:
            if isinstance(row, Skipped):
                yield row
                continue
            try:
                yield from (Numbered(row.number, one) for one in self.shape.rows(row.values))
            except KeyError as error:
                columns = ", ".join(row.values) or "none"
                raise TaskError(
                    f"{where}, row {row.number}: no column {shown(error.args[0])} (columns: {columns})"
                ) from error
            except ValueError as error:
                raise TaskError(f"{where}, row {row.number}: {error}") from error

    def _kept(
        self, where: str, rows: Iterable[Numbered | Skipped], counts: Counter[str]
    ) -> Iterator[Numbered]:
        for row in rows:
            if isinstance(row, Skipped):
                counts[row.why] += 1
                continue
            try:
                why = self.skip.why(row.values)
            except KeyError as error:
                columns = ", ".join(row.values) or "none"
                raise TaskError(
                    f"{where}, row {row.number}: no column {shown(error.args[0])} (columns: {columns})"
                ) from error
            except ValueError as error:
                raise TaskError(f"{where}, row {row.number}: {error}") from error
            if why:
                counts[why] += 1
            else:
                yield row

    def _path(self, part: str, data_dir: Path | None) -> Path | None:
        file = self.files.get(part)
        if file is None:
            return None
        if file.is_absolute():
            return file
        path = data_dir / file if data_dir else None
        return path if path is not None and path.exists() else None
