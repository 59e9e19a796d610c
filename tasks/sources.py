"""Where rows come from: official files in a folder, files a task carries, or the Hugging Face hub."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tasks.errors import TaskError

Row = Mapping[str, Any]


class Numbered(NamedTuple):
    """A row and its number in the file, counted from 1 as an editor shows it."""

    number: int
    values: Row


class Rows(NamedTuple):
    """Rows and a name for where they come from, for messages."""

    where: str
    rows: Iterable[Numbered]


Reader = Callable[[Path], Iterator[Numbered]]


# -- readers of one file ---------------------------------------------------------------------------------


def _text(path: Path, encoding: str = "utf-8-sig") -> str:
    try:
        return path.read_bytes().decode(encoding)
    except FileNotFoundError as error:
        raise TaskError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise TaskError(f"{path}, row {line}: not {encoding.removesuffix('-sig')} text") from error
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror})") from error


def tsv(*columns: str, quoted: bool = False, encoding: str = "utf-8-sig") -> Reader:
    """Tab-separated values with a header, or with the given ``columns`` and none.

    Official GLUE files are unquoted: a quotation mark is a character like any other. ``quoted`` reads fields
    that may hold tabs and newlines between quotation marks.
    """

    def read(path: Path) -> Iterator[Numbered]:
        text = _text(path, encoding)
        if quoted:
            yield from _table(path, _quoted(path, text, "\t"), columns)
        else:
            split = text.replace("\r\n", "\n").split("\n")
            yield from _table(path, ((i, s.split("\t")) for i, s in enumerate(split, 1) if s.strip()), columns)

    return read


def read_csv(path: Path) -> Iterator[Numbered]:
    """Comma-separated values with a header."""
    yield from _table(path, _quoted(path, _text(path), ","), ())


def _quoted(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of fields that quotation marks may hold together, without blank lines."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        yield from ((lines.line_num, row) for row in lines if row)
    except csv.Error as error:
        raise TaskError(f"{path}, row {lines.line_num}: not a table ({error})") from error


def _table(path: Path, rows: Iterator[tuple[int, list[str]]], columns: tuple[str, ...]) -> Iterator[Numbered]:
    names: tuple[str, ...] = columns
    if not names:
        names = tuple(next(rows, (0, []))[1])
    for number, values in rows:
        if len(values) != len(names):
            raise TaskError(f"{path}, row {number}: {len(values)} columns, expected {len(names)}")
        yield Numbered(number, dict(zip(names, values, strict=True)))


def read_jsonl(path: Path) -> Iterator[Numbered]:
    """One JSON object a line."""
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TaskError(f"{path}, row {number}: not JSON ({error.msg})") from error
        if not isinstance(row, dict):
            raise TaskError(f"{path}, row {number}: expected a JSON object, found {type(row).__name__}")
        yield Numbered(number, row)


def read_json(path: Path) -> Iterator[Numbered]:
    """A JSON list of objects, or SQuAD's nested ``data / paragraphs / qas``."""
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise TaskError(f"{path}, row {error.lineno}: not JSON ({error.msg})") from error
    try:
        nested = isinstance(content, dict) and "data" in content
        rows = list(_squad_questions(content["data"])) if nested else content
    except (KeyError, TypeError) as error:
        raise TaskError(f"{path}: not in SQuAD's format ({error!r})") from error
    if not isinstance(rows, list):
        raise TaskError(f"{path}: expected a list of objects, or SQuAD's format")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise TaskError(f"{path}, row {number}: expected a JSON object, found {type(row).__name__}")
        yield Numbered(number, row)


def _squad_questions(articles: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = [answer["text"] for answer in question["answers"]]
                yield {"context": paragraph["context"], "question": question["question"], "answers": answers}


def read_parquet(path: Path) -> Iterator[Numbered]:
    """A Parquet file (needs ``pyarrow``, in the extra ``hub``)."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise TaskError(f"{path}: Parquet needs pyarrow; install spot-prompt-transfer[hub]") from error
    try:
        table = pyarrow.parquet.read_table(path)
    except FileNotFoundError as error:
        raise TaskError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise TaskError(f"{path}: not a Parquet file ({error})") from error
    for number, row in enumerate(table.to_pylist(), 1):
        yield Numbered(number, row)


def label_first(encoding: str = "utf-8-sig") -> Reader:
    """Lines of ``label text`` (TREC, MR, SST-5)."""

    def read(path: Path) -> Iterator[Numbered]:
        for number, line in enumerate(_text(path, encoding).split("\n"), 1):
            if line.strip():
                label, _, text = line.strip().partition(" ")
                yield Numbered(number, {"label": label, "text": text.strip()})

    return read


def text_and_labels(path: Path) -> Iterator[Numbered]:
    """TweetEval: ``NAME_text.txt`` beside ``NAME_labels.txt``, a line each."""
    labels_path = path.with_name(path.name.replace("_text", "_labels"))
    texts = _text(path).rstrip("\n").split("\n")
    labels = _text(labels_path).rstrip("\n").split("\n")
    if len(texts) != len(labels):
        raise TaskError(f"{path}: {len(texts)} texts, but {labels_path.name} has {len(labels)} labels")
    for number, (text, label) in enumerate(zip(texts, labels, strict=True), 1):
        yield Numbered(number, {"text": text.strip(), "label": label.strip()})


BY_SUFFIX: Mapping[str, Reader] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": tsv(),
    ".parquet": read_parquet,
}


# -- sources -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hub:
    """A data set of the Hugging Face hub.

    Attributes:
        path: repository, ``owner/name``.
        config: its configuration, or empty.
        parts: our part names to the hub's split names.
        columns: our column names to the hub's, where they differ.
    """

    path: str
    config: str = ""
    parts: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"train": "train", "dev": "validation", "test": "test"}
    )
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def rows(self, part: str) -> Rows:
        """Rows of a part, class labels as their names.

        Raises:
            TaskError: no such part, ``datasets`` is not installed, or the hub cannot be reached.
        """
        name = f"{self.path}{'/' + self.config if self.config else ''}"
        if part not in self.parts:
            raise TaskError(f"hub data set {name}: has no part {part!r}; it has {', '.join(self.parts)}")
        try:
            import datasets
        except ImportError as error:
            raise TaskError(
                f"hub data set {name}: needs the datasets package; install spot-prompt-transfer[hub], "
                "or give --data-dir with the official files"
            ) from error
        try:
            data = datasets.load_dataset(self.path, self.config or None, split=self.parts[part])
        except Exception as error:  # the hub's client raises errors of several libraries
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise TaskError(
                f"hub data set {name}: cannot be loaded ({reason}); give --data-dir with the official files"
            ) from error
        names = {c: f.names for c, f in data.features.items() if isinstance(f, datasets.ClassLabel)}
        renamed = {theirs: ours for ours, theirs in self.columns.items()}
        return Rows(f"hub data set {name}", self._numbered(data, names, renamed))

    @staticmethod
    def _numbered(
        data: Iterable[Row], names: Mapping[str, list[str]], renamed: Mapping[str, str]
    ) -> Iterator[Numbered]:
        for number, row in enumerate(data, 1):
            values = {
                column: names[column][value] if column in names and value >= 0 else value
                for column, value in row.items()
            }
            yield Numbered(number, {renamed.get(c, c): v for c, v in values.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Official files under a data folder, files of the task's own, or the hub, in this order.

    Attributes:
        files: part name to path; relative to the data folder, or absolute.
        reader: reads one file; by suffix where not given.
        hub: where else the data lies.
    """

    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    reader: Reader | None = None
    hub: Hub | None = None

    def rows(self, part: str, data_dir: Path | None) -> Rows:
        """Rows of a part.

        Raises:
            TaskError: the part is nowhere to be found, or its file cannot be read.
        """
        path = self._path(part, data_dir)
        if path is not None:
            reader = self.reader or BY_SUFFIX.get(path.suffix)
            if reader is None:
                known = ", ".join(BY_SUFFIX)
                raise TaskError(f"{path}: unknown format {path.suffix!r}; expected one of {known}")
            return Rows(str(path), reader(path))
        if self.hub is not None and data_dir is None:
            return self.hub.rows(part)
        if part not in self.files:
            raise TaskError(f"no part {part!r} among the files ({', '.join(self.files) or 'none'})")
        raise TaskError(f"{(data_dir or Path()) / self.files[part]}: no such file; see --data-dir and SPOT_DATA")

    def describe(self) -> str:
        """The hub's name or the files' folder."""
        if self.hub:
            return f"{self.hub.path} {self.hub.config}".strip()
        return str(next(iter(self.files.values())).parent.name) if self.files else ""

    def _path(self, part: str, data_dir: Path | None) -> Path | None:
        file = self.files.get(part)
        if file is None:
            return None
        if file.is_absolute():
            return file
        path = data_dir / file if data_dir else None
        return path if path is not None and path.exists() else None
