"""Readers of one file: JSON, Parquet, and lines of labels and texts, beside the tables of ``tasks.tables``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.answers import answer_texts
from tasks.errors import TaskError, reason, repeated, shown
from tasks.files import checked_file, read_text
from tasks.rows import Left, Numbered, Reader, Row
from tasks.tables import table, text_lines

DEEPEST = 100
"""Lists and objects within each other in JSON."""

PARQUET_ROWS = 1000
"""Rows of a Parquet file that are unpacked at once."""

PARQUET_GROWTH = 300
"""Times its size that a Parquet file may hold unpacked."""

PARQUET_FREE = 2**26, 100_000
"""Bytes and rows that every Parquet file may hold."""

# -- JSON ------------------------------------------------------------------------------------------------


def parse_json(where: str, text: str) -> Any:
    """A JSON document of bounded depth, in which no object says a key twice.

    Raises:
        TaskError: anything else, beginning with ``where``.
    """
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise TaskError(f"{where}: not JSON ({error.msg})") from error
    except RecursionError as error:
        raise TaskError(f"{where}: not JSON (nested too deeply)") from error
    except ValueError as error:
        why = str(error) if isinstance(error, _Twice) else "a number of too many digits"
        raise TaskError(f"{where}: not JSON ({why})") from error
    if text.count("[") + text.count("{") > DEEPEST and _depth_exceeds(content, DEEPEST):
        raise TaskError(f"{where}: not JSON (nested too deeply)")
    return content


class _Twice(ValueError):
    """A key that an object says twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _Twice(f"key {shown(repeated(key for key, _ in pairs)[0])} twice in one object")
    return values


def _depth_exceeds(content: object, deepest: int) -> bool:
    level = [content]
    for _ in range(deepest):
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [value for values in inner for value in values]
    return any(isinstance(item, dict | list) for item in level)


def jsonl(encoding: str = "") -> Callable[[Path], Iterator[Numbered]]:
    """A reader of JSON lines: one object a line, a row or an article of SQuAD's nested shape."""

    def read(path: Path) -> Iterator[Numbered]:
        for number, line in enumerate(text_lines(read_text(path, encoding)), 1):
            if line.strip():
                row = _as_row(path, number, _line(path, number, line))
                questions = _squad_questions(f"{path}, row {number}", [row]) if "paragraphs" in row else [row]
                yield from (Numbered(number, question) for question in questions)

    return read


def _line(path: Path, number: int, line: str) -> Any:
    try:
        return parse_json(f"{path}, row {number}", line)
    except TaskError as error:
        whole = number == 1 and line.strip() in ("[", "{", "[{")
        hint = '; if the file is one list of objects, say format = "json" under [data]' if whole else ""
        raise TaskError(f"{error}{hint}") from error.__cause__


def json_document(encoding: str = "") -> Callable[[Path], Iterator[Numbered]]:
    """A reader of a JSON list of objects, or such a list under ``data``, flat or in SQuAD's nested shape."""

    def read(path: Path) -> Iterator[Numbered]:
        text = read_text(path, encoding)
        try:
            content = parse_json(str(path), text)
        except TaskError as error:
            raise _located(path, text, error) from error
        rows = content
        if isinstance(content, dict):
            rows = content.get("data", [content] if "paragraphs" in content else None)
        if not isinstance(rows, list):
            raise TaskError(f"{path}: expected a list of objects, or SQuAD's format, found {_outline(content)}")
        if any(isinstance(row, dict) and "paragraphs" in row for row in rows):
            rows = list(_squad_questions(str(path), rows))
        for number, row in enumerate(rows, 1):
            yield Numbered(number, _as_row(path, number, row))

    return read


def _located(path: Path, text: str, error: TaskError) -> TaskError:
    """The error with the row where the document stops being one, and a word where it is one of lines."""
    cause = error.__cause__
    if not isinstance(cause, json.JSONDecodeError):
        return error
    lines = cause.msg == "Extra data" and text.lstrip().startswith("{")
    hint = '; if every line is an object of its own, say format = "jsonl" under [data]' if lines else ""
    return TaskError(f"{path}, row {cause.lineno}: not JSON ({cause.msg}){hint}")


def _outline(content: object) -> str:
    """What a document is instead of a list of rows, and how columns become one."""
    if not isinstance(content, dict):
        return f"{type(content).__name__}"
    keys = ", ".join(shown(key) for key in list(content)[:5])
    columns = content and all(isinstance(value, dict | list) for value in content.values())
    hint = '; write a list of rows, as pandas does with to_json(orient="records")' if columns else ""
    return f"an object with {keys or 'nothing in it'}{hint}"


def _as_row(path: Path, number: int, row: object) -> Row:
    if not isinstance(row, dict):
        raise TaskError(f"{path}, row {number}: expected a JSON object, found {type(row).__name__}")
    return row


def _squad_questions(where: str, articles: Iterable[Any]) -> Iterator[Row]:
    """One row a question; the answers of one that its text does not answer are an empty list."""
    number = 0
    try:
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    number += 1
                    answers = () if question.get("is_impossible") else answer_texts(question["answers"])
                    yield {
                        "context": paragraph["context"],
                        "question": question["question"],
                        "answers": list(answers),
                    }
    except KeyError as error:
        raise TaskError(f"{where}: not in SQuAD's format (question {number}: no {error})") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise TaskError(f"{where}: not in SQuAD's format (question {number}: {error})") from error


read_jsonl, read_json = jsonl(), json_document()

# -- Parquet ---------------------------------------------------------------------------------------------


def read_parquet(path: Path) -> Iterator[Numbered]:
    """A Parquet file (needs ``pyarrow``, in the extra ``hub``)."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise TaskError(f"{path}: Parquet needs pyarrow; install spot-prompt-transfer[hub]") from error
    size = checked_file(path).st_size
    most_bytes, most_rows = max(PARQUET_FREE[0], PARQUET_GROWTH * size), max(PARQUET_FREE[1], size)
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names, facts, fields = file.schema_arrow.names, file.metadata, list(file.schema_arrow)
        if twice := repeated(names):
            raise TaskError(f"{path}: two columns are called {shown(twice[0])}; rename one of them")
        unpacked = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
        if unpacked > most_bytes or facts.num_rows > most_rows:
            raise TaskError(f"{path}: {facts.num_rows} rows of {unpacked} bytes, which no file of its size holds")
        texts = [field.name for field in fields if field.type in (pyarrow.string(), pyarrow.large_string())]
        # As a dictionary, a text that many rows share is unpacked once.
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(PARQUET_ROWS):
                columns = [_parquet_values(column) for column in batch.columns]
                for values in zip(*columns, strict=True):
                    number += 1
                    most_bytes -= sum(len(value) for value in values if isinstance(value, str | bytes))
                    if most_bytes < 0:
                        raise TaskError(f"{path}, row {number}: unpacks to more than a file of its size holds")
                    yield Numbered(number, dict(zip(names, values, strict=True)))
    except TaskError:
        raise
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: not UTF-8 text, after row {number}") from error
    except Exception as error:  # pyarrow raises errors of many kinds, all of them about the file
        raise TaskError(f"{path}: not a Parquet file ({reason(error)})") from error


def _parquet_values(column: Any) -> list[Any]:
    """Values of an array, those of a dictionary shared."""
    if not hasattr(column, "dictionary"):
        values: list[Any] = column.to_pylist()
        return values
    used = column.indices.unique()
    words = dict(zip(used.to_pylist(), column.dictionary.take(used).to_pylist(), strict=True))
    return [words[index] for index in column.indices.to_pylist()]


# -- lines -----------------------------------------------------------------------------------------------


def label_first(encoding: str = "") -> Reader:
    """A reader of lines of ``label text`` (TREC, MR, SST-5), a space or tab between them."""

    def read(path: Path) -> Iterator[Numbered]:
        for number, line in enumerate(text_lines(read_text(path, encoding)), 1):
            if line.strip():
                label, *text = line.split(maxsplit=1)
                yield Numbered(number, {"label": label, "text": "".join(text).strip()})

    return read


def labels_beside(path: Path) -> Path:
    """The file of the labels of ``NAME_text.txt``; the file itself where its name does not say that it holds texts."""
    return path.with_name(path.name.replace("_text", "_labels"))


def text_and_labels(encoding: str = "", labels: Mapping[Path, Path] | None = None) -> Reader:
    """A reader of texts in one file and their labels in another, a line each.

    Args:
        encoding: of both.
        labels: file of texts to file of labels; by default ``NAME_text.txt`` has ``NAME_labels.txt`` (TweetEval).
    """

    def read(path: Path) -> Iterator[Numbered]:
        texts = _lines_with_blanks(path, encoding)
        beside = (labels or {}).get(path) or labels_beside(path)
        if beside == path:
            raise TaskError(f"{path}: its labels are not known; expected NAME_text beside NAME_labels")
        words = _lines_with_blanks(beside, encoding)
        if len(texts) != len(words):
            raise TaskError(f"{path}: {len(texts)} texts, but {beside.name} has {len(words)} labels")
        for number, (text, word) in enumerate(zip(texts, words, strict=True), 1):
            yield Numbered(number, {"text": text.strip(), "label": word.strip()})

    return read


def _lines_with_blanks(path: Path, encoding: str) -> list[str]:
    return text_lines(read_text(path, encoding).rstrip("\r\n"))


# -- formats ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Writing:
    """How the files of a task are written, as its task file says.

    Attributes:
        format: a name of ``FORMATS``; empty: by each file's suffix.
        columns: their names in a table without a header.
        delimiter: what stands between the columns of a table.
        quoted: whether the fields of a table may stand between quotation marks.
        encoding: of text; empty: what a byte-order mark says, else UTF-8.
        allow_bad_rows: rows of a table with another number of columns that are left out.
        labels: files of texts to files of labels, of the format ``text and labels``.
    """

    format: str = ""
    columns: tuple[str, ...] = ()
    delimiter: str = ""
    quoted: bool | None = None
    encoding: str = ""
    allow_bad_rows: int = 0
    labels: Mapping[Path, Path] = dataclasses.field(default_factory=dict)


def _table(delimiter: str, quoted: bool | None) -> Callable[[Writing], Reader]:
    def make(writing: Writing) -> Reader:
        return table(
            writing.delimiter or delimiter,
            *writing.columns,
            quoted=quoted if writing.quoted is None else writing.quoted,
            encoding=writing.encoding,
            allow_bad_rows=writing.allow_bad_rows,
        )

    return make


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of files: suffixes, how a reader of it is made, and what of ``Writing`` it can be told."""

    suffixes: tuple[str, ...]
    make: Callable[[Writing], Reader]
    told: tuple[str, ...] = ("encoding",)


OF_TABLES = ("columns", "delimiter", "quoted", "encoding", "allow_bad_rows")
"""What of ``Writing`` a table can be told: all that any format can."""

FORMATS: Mapping[str, Format] = {
    "jsonl": Format((".jsonl", ".ndjson"), lambda writing: jsonl(writing.encoding)),
    "json": Format((".json",), lambda writing: json_document(writing.encoding)),
    "csv": Format((".csv",), _table(",", True), OF_TABLES),
    "tsv": Format((".tsv", ".tab"), _table("\t", None), OF_TABLES),
    "parquet": Format((".parquet",), lambda writing: read_parquet, ()),
    "label text": Format((), lambda writing: label_first(writing.encoding)),
    "text and labels": Format((), lambda writing: text_and_labels(writing.encoding, writing.labels)),
}
"""Formats of files by the name that a task file calls them; those without a suffix are only read when named."""


SUFFIXES = ", ".join(format.suffixes[0] for format in FORMATS.values() if format.suffixes)


def format_of(path: Path, writing: Writing) -> str:
    """The format's name, by what is said or by the suffix.

    Raises:
        TaskError: a suffix that no format has.
    """
    if writing.format:
        return writing.format
    for name, format in FORMATS.items():
        if path.suffix.lower() in format.suffixes:
            return name
    raise TaskError(f"{path}: unknown format {path.suffix!r}; expected one of {SUFFIXES}, or say format under [data]")


def reader_of(writing: Writing) -> Reader:
    """A reader that goes by what is said, and by a file's suffix where nothing is."""

    def read(path: Path) -> Iterator[Numbered | Left]:
        return FORMATS[format_of(path, writing)].make(writing)(path)

    return read
