"""Parquet files, read within bounds that follow from their size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.errors import TaskError, reason, repeated, shown
from tasks.files import checked_file
from tasks.rows import Numbered

PARQUET_ROWS = 1000
"""Rows of a Parquet file that are unpacked at once."""

PARQUET_GROWTH = 300
"""Times its size that a Parquet file may hold unpacked."""

PARQUET_FREE = 2**26, 100_000
"""Bytes and rows that every Parquet file may hold."""


def read_parquet(path: Path) -> Iterator[Numbered]:
    """A Parquet file (needs ``pyarrow``, in the extra ``hub``)."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise TaskError(
            f"{path}: Parquet needs pyarrow; install spot-prompt-transfer[hub]"
        ) from error
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
            raise TaskError(
                f"{path}: {facts.num_rows} rows of {unpacked} bytes, which no file of its size holds"
            )
        texts = [
            field.name
            for field in fields
            if field.type in (pyarrow.string(), pyarrow.large_string())
        ]
        # As a dictionary, a text that many rows share is unpacked once.
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(PARQUET_ROWS):
                columns = [_parquet_values(column) for column in batch.columns]
                for values in zip(*columns, strict=True):
                    number += 1
                    most_bytes -= sum(
                        len(value) for value in values if isinstance(value, str | bytes)
                    )
                    if most_bytes < 0:
                        raise TaskError(
                            f"{path}, row {number}: unpacks to more than a file of its size holds"
                        )
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
