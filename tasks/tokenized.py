"""Tokenised examples in memory, and as files of a cache."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np


class Ragged:
    """R rows of token ids of any length, flat: ``ids`` int32 ``[all]``, and ``starts`` int64 ``[R + 1]`` of the rows
    and of what is behind the last."""

    def __init__(self, ids: np.ndarray, starts: np.ndarray) -> None:
        self.ids, self.starts = ids, starts
        self.lengths = np.diff(starts)

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        return cls(np.array([i for row in rows for i in row], np.int32), starts)

    @classmethod
    def concatenate(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of several behind each other."""
        starts = np.cumsum([0, *itertools.chain.from_iterable(part.lengths for part in parts)])
        return cls(np.concatenate([part.ids for part in parts]), starts)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.starts[index] : self.starts[index + 1]]

    def take(self, rows: np.ndarray) -> Ragged:
        """Rows ``[n]`` int alone, in that order."""
        return Ragged.from_rows([self[row].tolist() for row in rows])


@dataclasses.dataclass(frozen=True)
class Tokenized:
    """Tokenised examples; ``choices`` of example i are rows ``choice_rows[i]`` of the table ``choices``."""

    inputs: Ragged
    targets: Ragged
    choices: Ragged
    choice_rows: Ragged
    cut: int
    """Examples whose input was longer than allowed."""
    cut_targets: int
    """Examples whose target was."""
    digest: str
    """sha256 of the content: equal digests hold equal tokens."""

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: np.ndarray) -> Tokenized:
        """Examples ``[n]`` int alone; how many of them are cut is not known."""
        return Tokenized(
            inputs=self.inputs.take(rows),
            targets=self.targets.take(rows),
            choices=self.choices,
            choice_rows=self.choice_rows.take(rows),
            cut=0,
            cut_targets=0,
            digest=hashlib.sha256(f"{self.digest} {rows.tolist()}".encode()).hexdigest(),
        )


def concatenate(parts: Sequence[Tokenized]) -> Tokenized:
    """Tokenised examples of several tasks behind each other."""
    shifts = np.cumsum([0, *(len(part.choices) for part in parts)])
    rows = [
        Ragged(part.choice_rows.ids + shift, part.choice_rows.starts)
        for part, shift in zip(parts, shifts, strict=False)
    ]
    return Tokenized(
        inputs=Ragged.concatenate([part.inputs for part in parts]),
        targets=Ragged.concatenate([part.targets for part in parts]),
        choices=Ragged.concatenate([part.choices for part in parts]),
        choice_rows=Ragged.concatenate(rows),
        cut=sum(part.cut for part in parts),
        cut_targets=sum(part.cut_targets for part in parts),
        digest=hashlib.sha256("\n".join(part.digest for part in parts).encode()).hexdigest(),
    )


def subset(whole: Tokenized, count: int) -> Tokenized:
    """At most ``count`` examples, spread evenly over all."""
    if len(whole) <= count:
        return whole
    rows = [i * len(whole) // count for i in range(count)]
    return Tokenized(
        inputs=Ragged.from_rows([whole.inputs[row].tolist() for row in rows]),
        targets=Ragged.from_rows([whole.targets[row].tolist() for row in rows]),
        choices=whole.choices,
        choice_rows=Ragged.from_rows([whole.choice_rows[row].tolist() for row in rows]),
        cut=whole.cut,
        cut_targets=whole.cut_targets,
        digest=hashlib.sha256(f"{whole.digest}\n{count}".encode()).hexdigest(),
    )


RAGGED = ("inputs", "targets", "choices", "choice_rows")


def write_cache(path: Path, tokenized: Tokenized) -> None:
    """Write a file of the cache, whole or not at all."""
    arrays = {name: np.array(getattr(tokenized, name)) for name in ("cut", "cut_targets", "digest")}
    for name in RAGGED:
        ragged: Ragged = getattr(tokenized, name)
        arrays |= {f"{name}_ids": ragged.ids, f"{name}_starts": ragged.starts}
    temporary = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as out:
            np.savez(out, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    except OSError:  # a cache that cannot be written is no reason to stop
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_cache(path: Path) -> Tokenized | None:
    """The tokens of that file, or ``None`` where there are none or the file is damaged in whatever way."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if sum(member.file_size for member in arrays.zip.infolist()) > path.stat().st_size:
                return None  # nothing is compressed where we write
            ragged = {
                name: Ragged(arrays[f"{name}_ids"], arrays[f"{name}_starts"]) for name in RAGGED
            }
            if any(len(rows.ids) != rows.starts[-1] for rows in ragged.values()):
                return None
            return Tokenized(
                **ragged,
                cut=int(arrays["cut"]),
                cut_targets=int(arrays["cut_targets"]),
                digest=str(arrays["digest"]),
            )
    except (
        Exception
    ):  # zipfile and numpy raise errors of many kinds; all of them mean: tokenise anew
        return None
