"""From examples to batches: tokenise once, bring rows of one length together, shuffle by seed.

A batch is a pure function of (data, seed, index), so the state of an iterator is its index. Rows are shuffled
every epoch, sorted by length within a window of many batches, cut into batches, and the batches shuffled again:
each batch then carries rows of about one length. Rows stay ragged until they are computed with; there they are
padded to the smallest bucket that holds them. Buckets are few, since every new shape is compiled once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.errors import TaskError
from tasks.task import Example

Encode = Callable[[Sequence[str]], list[list[int]]]

Ends = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids behind every input, and behind every target."""

BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Lengths that inputs are padded to; at most 1.5 times apart, so padding within a bucket stays below a third."""

TARGET_BUCKETS = (4, 8, 16, 32, 64, 128, 256)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lengths:
    """Longest input and target in tokens, the end token included; what is longer is cut."""

    inputs: int = 512
    targets: int = 64


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


@dataclasses.dataclass(frozen=True)
class Tokenized:
    """Tokenised examples; ``choices`` of example i are rows ``choice_rows[i]`` of the table ``choices``."""

    inputs: Ragged
    targets: Ragged
    choices: Ragged
    choice_rows: Ragged
    cut: int
    """Examples whose input was longer than allowed."""
    digest: str
    """sha256 of the content: equal digests hold equal tokens."""

    def __len__(self) -> int:
        return len(self.inputs)


def tokenize(
    examples: Sequence[Example],
    encode: Encode,
    *,
    tokenizer_fingerprint: str,
    ends: Ends,
    lengths: Lengths,
    cache: Path | None = None,
    name: str = "",
) -> Tokenized:
    """Tokenise examples, or read them back from ``cache``, where they lie under a digest of what shapes their tokens.

    An input that is too long loses the tail of its field ``Example.cut``, or its own, not what stands behind it.

    Args:
        examples: inputs, targets and choices.
        encode: text to ids, without anything behind them.
        tokenizer_fingerprint: part of the digest.
        ends: ids put behind every input, and behind every target and choice.
        lengths: the longest allowed, those ids included.
        cache: folder.
        name: of the task, for messages.

    Raises:
        TaskError: answers that become the same tokens, or none; see :func:`check_choices`.
    """
    digest = _digest(examples, tokenizer_fingerprint, lengths, ends)
    key = _cache_key(digest, examples)
    path = cache / f"{key}.npz" if cache else None
    cached = path and _read_cache(path)
    tokenized = cached or _tokenize(examples, encode, lengths, ends, digest)
    check_choices(examples, tokenized, end=len(ends[1]), name=name)
    if path and not cached:
        _write_cache(path, tokenized)
    return tokenized


def _tokenize(examples: Sequence[Example], encode: Encode, lengths: Lengths, ends: Ends, digest: str) -> Tokenized:
    words = _words(examples)
    row_of = {word: i for i, word in enumerate(words)}
    encoded = encode([example.inputs for example in examples])
    room = lengths.inputs - len(ends[0])
    shortened = _shortened(examples, encoded, encode, room)
    inputs = _ended([shortened.get(i, ids) for i, ids in enumerate(encoded)], lengths.inputs, ends[0])
    if any(ids != encoded[i][:room] for i, ids in shortened.items()):
        digest = hashlib.sha256(f"{digest} shortened".encode() + inputs.ids.astype("<i4").tobytes()).hexdigest()
    return Tokenized(
        inputs=inputs,
        targets=_ended(encode([example.target for example in examples]), lengths.targets, ends[1]),
        choices=_ended(encode(words), lengths.targets, ends[1]),
        choice_rows=Ragged.from_rows([[row_of[choice] for choice in example.choices] for example in examples]),
        cut=sum(len(ids) > room for ids in encoded),
        digest=digest,
    )


def _shortened(
    examples: Sequence[Example], encoded: Sequence[list[int]], encode: Encode, room: int
) -> Mapping[int, list[int]]:
    """Ids of the inputs that are too long and have a field to shorten, where what stands around it leaves it room."""
    long = [i for i, ids in enumerate(encoded) if len(ids) > room and 0 < examples[i].cut[1] < len(examples[i].inputs)]
    around: list[str] = []
    for i in long:
        text, (start, stop) = examples[i].inputs, examples[i].cut
        start = len(text[:start].rstrip())  # a space belongs to the word behind it
        around += (text[:start], text[start:stop], text[stop:])
    ids = encode(around) if around else []
    shortened = {}
    for i, before, field, behind in zip(long, ids[::3], ids[1::3], ids[2::3], strict=True):
        left = room - len(before) - len(behind)
        if left >= 0:
            shortened[i] = [*before, *field[:left], *behind]
    return shortened


def check_choices(examples: Sequence[Example], tokenized: Tokenized, *, end: int, name: str = "") -> None:
    """Refuse answers that become the same tokens, and answers that become none.

    Args:
        examples: as they were tokenised; an empty target is one that is not known.
        tokenized: their tokens.
        end: ids behind every target.
        name: of the task, for messages.

    Raises:
        TaskError: two different choices of one example with equal tokens, or an answer without any.
    """
    prefix = f"task {name}: " if name else ""
    words = _words(examples)
    rows = {word: tokenized.choices[i].tobytes() for i, word in enumerate(words)}
    answers = [words[i] for i in np.flatnonzero(tokenized.choices.lengths <= end).tolist()]
    answers += [examples[i].target for i in np.flatnonzero(tokenized.targets.lengths <= end).tolist()]
    for answer in filter(None, answers):
        raise TaskError(f"{prefix}the answer {answer!r} becomes no token; choose one that the tokenizer can write")
    if len(set(rows.values())) == len(rows):
        return
    for choices in dict.fromkeys(example.choices for example in examples):
        seen: dict[bytes, str] = {}
        for word in choices:
            other = seen.setdefault(rows[word], word)
            if other != word:
                raise TaskError(
                    f"{prefix}the answers {other!r} and {word!r} become the same tokens, so that neither can be told "
                    "from the other; choose words that the tokenizer knows and that differ at their start"
                )


def _words(examples: Sequence[Example]) -> list[str]:
    """Every choice once, as the table of choices holds them."""
    return list(dict.fromkeys(choice for example in examples for choice in example.choices))


def _ended(rows: Sequence[Sequence[int]], longest: int, end: Sequence[int]) -> Ragged:
    return Ragged.from_rows([[*row[: longest - len(end)], *end] for row in rows])


def _digest(examples: Sequence[Example], tokenizer_fingerprint: str, lengths: Lengths, ends: Ends) -> str:
    sha = hashlib.sha256(json.dumps([tokenizer_fingerprint, dataclasses.asdict(lengths), ends]).encode())
    for example in examples:
        sha.update(json.dumps([example.inputs, example.target, example.choices]).encode())
    return sha.hexdigest()


def _cache_key(digest: str, examples: Sequence[Example]) -> str:
    """Name in the cache: the digest, and what is shortened of which example."""
    cuts = [(i, example.cut) for i, example in enumerate(examples) if any(example.cut)]
    return hashlib.sha256(f"{digest} {cuts}".encode()).hexdigest() if cuts else digest


RAGGED = ("inputs", "targets", "choices", "choice_rows")


def _write_cache(path: Path, tokenized: Tokenized) -> None:
    arrays = {"cut": np.array(tokenized.cut), "digest": np.array(tokenized.digest)}
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


def _read_cache(path: Path) -> Tokenized | None:
    """The tokens of that file, or ``None`` where there are none or the file is damaged in whatever way."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if sum(member.file_size for member in arrays.zip.infolist()) > path.stat().st_size:
                return None  # nothing is compressed where we write
            ragged = {name: Ragged(arrays[f"{name}_ids"], arrays[f"{name}_starts"]) for name in RAGGED}
            if any(len(rows.ids) != rows.starts[-1] for rows in ragged.values()):
                return None
            return Tokenized(**ragged, cut=int(arrays["cut"]), digest=str(arrays["digest"]))
    except Exception:  # zipfile and numpy raise errors of many kinds; all of them mean: tokenise anew
        return None


def bucket(length: int, buckets: Sequence[int] = BUCKETS) -> int:
    """The smallest bucket that holds ``length``, or the next multiple of the largest."""
    for size in buckets:
        if length <= size:
            return size
    return -(-length // buckets[-1]) * buckets[-1]


class RaggedBatch(NamedTuple):
    """Rows of a batch, not padded: ids int32 ``[T]`` of every input and ``[L]`` of every target."""

    inputs: list[np.ndarray]
    targets: list[np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batches:
    """Training batches of one task, endless and deterministic.

    Args of the constructor:
        data: tokenised examples.
        batch_size: rows a batch; a task with fewer examples repeats some within one.
        seed: of the shuffles.
        window: batches whose rows are sorted by length together.
        draws: ``(rows, drawn)`` of every part of the data, in order: how many of its rows an epoch holds. A part of
            which more are drawn than it has repeats them; of which fewer, changes them by the epoch. Default: all
            rows once.
    """

    data: Tokenized
    batch_size: int
    seed: int
    window: int = 50
    draws: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not len(self.data):
            raise TaskError("no examples to draw batches from")
        if self.draws and sum(rows for rows, _ in self.draws) != len(self.data):
            raise TaskError(f"draws cover {sum(rows for rows, _ in self.draws)} of {len(self.data)} examples")

    def __getitem__(self, index: int) -> RaggedBatch:
        rows = self._order(index // self.per_epoch)[index % self.per_epoch]
        return RaggedBatch([self.data.inputs[row] for row in rows], [self.data.targets[row] for row in rows])

    @property
    def per_epoch(self) -> int:
        """Batches of one epoch; the last one is filled up from the epoch's start."""
        drawn = sum(count for _, count in self.draws) if self.draws else len(self.data)
        return -(-drawn // self.batch_size)

    def padding_share(self, epochs: int = 1) -> float:
        """Share of input positions that are padding."""
        real = padded = 0
        for epoch in range(epochs):
            for rows in self._order(epoch):
                lengths = self.data.inputs.lengths[rows]
                real += int(lengths.sum())
                padded += bucket(int(lengths.max())) * len(rows)
        return 1 - real / padded

    def _order(self, epoch: int) -> np.ndarray:
        """Rows of every batch of an epoch, ``[per_epoch, batch_size]``."""
        cached = self.__dict__.get("_cached")
        if cached is not None and cached[0] == epoch:
            order: np.ndarray = cached[1]
            return order
        rng = np.random.default_rng([self.seed, epoch])
        rows = self._drawn(rng)
        rows = np.resize(rows, self.per_epoch * self.batch_size)
        size = self.batch_size * self.window
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            rows[start : start + size] = chunk[np.argsort(self.data.inputs.lengths[chunk], kind="stable")]
        order = rng.permutation(rows.reshape(-1, self.batch_size))
        self.__dict__["_cached"] = (epoch, order)
        return order

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        """The rows of an epoch, shuffled."""
        if not self.draws:
            return rng.permutation(len(self.data))
        starts = itertools.accumulate((rows for rows, _ in self.draws), initial=0)
        parts = [
            start + np.resize(rng.permutation(rows), drawn)
            for start, (rows, drawn) in zip(starts, self.draws, strict=False)
        ]
        return rng.permutation(np.concatenate(parts))


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
        digest=hashlib.sha256("\n".join(part.digest for part in parts).encode()).hexdigest(),
    )


def evaluation_order(data: Tokenized, batch_size: Callable[[int], int]) -> list[np.ndarray]:
    """Rows int64 ``[B]`` by falling length, cut into batches: every example once, little padding.

    Args:
        data: what is evaluated.
        batch_size: how many rows go together, by the bucket of the longest of them.
    """
    rows = np.argsort(-data.inputs.lengths, kind="stable")
    batches = []
    while len(rows):
        size = batch_size(bucket(int(data.inputs.lengths[rows[0]])))
        batches.append(rows[:size])
        rows = rows[size:]
    return batches


def summary(data: Tokenized, batches: Batches) -> Mapping[str, float | int]:
    """Facts about a tokenised split worth showing before training."""
    return {
        "examples": len(data),
        "longest input": int(data.inputs.lengths.max()),
        "mean input": round(float(data.inputs.lengths.mean()), 1),
        "cut inputs": data.cut,
        "padding share": round(batches.padding_share(), 3),
    }
