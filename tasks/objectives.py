"""Corpora as tasks: T5's span corruption and the prefix language model of LM adaptation.

A batch is a pure function of (corpus, seed, index), so the only state an iterator has is its index.
"""

from __future__ import annotations

import dataclasses
import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tasks.errors import TaskError

Encode = Callable[[Sequence[str]], list[list[int]]]


def read_lines(paths: Iterable[Path]) -> Iterator[str]:
    """Lines of text files (``.gz`` too): one paragraph each, an empty string between documents.

    Raises:
        TaskError: a file that is missing or not UTF-8.
    """
    for path in paths:
        opener = gzip.open if path.suffix == ".gz" else open
        try:
            with opener(path, "rt", encoding="utf-8") as lines:
                for line in lines:
                    yield line.strip()
        except FileNotFoundError as error:
            raise TaskError(f"{path}: no such file") from error
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise TaskError(f"{path}: cannot be read as UTF-8 text ({error})") from error
        yield ""


def tokenize_corpus(
    lines: Iterable[str], encode: Encode, path: Path, *, end: int, chunk: int = 4096
) -> None:
    """Write all tokens to ``path`` as little-endian uint16, an ``end`` token after every document."""
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as out:
        pending: list[str] = []
        open_document = False

        def flush() -> None:
            encoded = iter(encode([line for line in pending if line]))
            for line in pending:
                ids = next(encoded) if line else [end]
                out.write(np.asarray(ids, dtype="<u2").tobytes())
            pending.clear()

        for line in lines:
            if not line and not open_document:
                continue
            open_document = bool(line)
            pending.append(line)
            if len(pending) == chunk:
                flush()
        flush()
    os.replace(temporary, path)


def open_corpus(path: Path) -> np.ndarray:
    """The tokens ``[n]`` written by :func:`tokenize_corpus`, memory-mapped, uint16."""
    if not path.stat().st_size:
        return np.zeros(0, "<u2")
    return np.memmap(path, dtype="<u2", mode="r")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextBatch:
    """Inputs ``[B, T]`` and targets ``[B, L]`` int32, zero-padded, with masks of the same shapes."""

    input_ids: np.ndarray
    input_mask: np.ndarray
    target_ids: np.ndarray
    target_mask: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanCorruption:
    """Raffel et al. (2020), section 3.1.4: 15 % of the tokens in spans of mean length 3.

    Each noise span of the input is replaced by one sentinel; the target lists sentinel and span in turn.
    ``input_length`` is met exactly, without padding.
    """

    vocab_size: int
    input_length: int = 128
    density: float = 0.15
    mean_span: float = 3.0
    end: int = 1

    def _counts(self, window: int) -> tuple[int, int]:
        noise = max(1, round(window * self.density))
        return noise, max(1, round(noise / self.mean_span))

    @property
    def window(self) -> int:
        """Corpus tokens in one example: the most whose corrupted form fits ``input_length``."""
        window = 2
        while True:
            noise, spans = self._counts(window + 1)
            if window + 1 - noise + spans + 1 > self.input_length:
                return window
            window += 1

    @property
    def target_length(self) -> int:
        noise, spans = self._counts(self.window)
        return noise + spans + 1

    def example(
        self, tokens: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Corrupt ``tokens[window]``: (input ids, target ids), both with the end token."""
        noise, spans = self._counts(len(tokens))
        noise_lengths = _split_at_random(noise, spans, rng)
        kept_lengths = _split_at_random(len(tokens) - noise, spans, rng)
        inputs: list[np.ndarray] = []
        targets: list[np.ndarray] = []
        start = 0
        for i, (kept, hidden) in enumerate(zip(kept_lengths, noise_lengths, strict=True)):
            sentinel = np.array([self.vocab_size - 1 - i])
            inputs += [tokens[start : start + kept], sentinel]
            targets += [sentinel, tokens[start + kept : start + kept + hidden]]
            start += kept + hidden
        last = np.array([self.end])
        return np.concatenate([*inputs, last]), np.concatenate([*targets, last])


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefixLM:
    """LM adaptation (Lester et al. 2021, section 3.2): a text prefix as input, its continuation as target."""

    vocab_size: int
    input_length: int = 96
    target_length: int = 48
    end: int = 1

    @property
    def window(self) -> int:
        return self.input_length + self.target_length

    def example(
        self, tokens: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Split ``tokens[window]`` at a random point: (prefix, continuation), no end token."""
        split = int(rng.integers(8, self.input_length + 1))
        return tokens[:split], tokens[split : split + self.target_length]


Objective = SpanCorruption | PrefixLM


def objective_batch(
    corpus: np.ndarray, objective: Objective, *, index: int, batch_size: int, seed: int
) -> TextBatch:
    """The ``index``-th batch of an endless pass over ``corpus``, whole numbers ``[n]``.

    Every epoch cuts the corpus into windows from another offset and visits them in another order.

    Raises:
        TaskError: a corpus shorter than one batch of windows.
    """
    per_epoch = (len(corpus) // objective.window - 1) // batch_size
    if per_epoch < 1:
        raise TaskError(
            f"corpus of {len(corpus)} tokens is too short: a batch needs {objective.window * (batch_size + 1)}"
        )
    epoch, position = divmod(index, per_epoch)
    order = np.random.default_rng([seed, epoch])
    windows = len(corpus) // objective.window - 1
    offset = int(order.integers(len(corpus) - windows * objective.window + 1))
    starts = order.permutation(windows)[position * batch_size : (position + 1) * batch_size]
    noise = np.random.default_rng([seed, index, 1])
    pairs = []
    for start in offset + starts * objective.window:
        window = np.asarray(corpus[start : start + objective.window], dtype=np.int32)
        pairs.append(objective.example(window, noise))
    inputs = pad([pair[0] for pair in pairs], objective.input_length)
    targets = pad([pair[1] for pair in pairs], objective.target_length)
    return TextBatch(
        input_ids=inputs[0], input_mask=inputs[1], target_ids=targets[0], target_mask=targets[1]
    )


def pad(rows: Sequence[Sequence[int] | np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ids to ``[B, length]`` int32 with zeros behind, and the mask of real tokens."""
    ids = np.zeros((len(rows), length), np.int32)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = True
    return ids, mask


def _split_at_random(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Lengths >= 1 of ``parts`` random pieces that sum to ``total``."""
    cuts = np.sort(rng.choice(total - 1, size=parts - 1, replace=False) + 1)
    return np.diff(np.concatenate([[0], cuts, [total]]))
