"""What a task's texts are about, in numbers that give no text back: how often words occur, under hashes they share.

A task's *signature* is the share of its training examples that hold a word, for each of :data:`BUCKETS` numbers to
which words are hashed. Order, and which of the words of one number it was, are gone. Words of targets are hashed apart
from those of inputs, so that tasks with one set of labels are alike in these.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tasks.mixture import Mixture, members_of
from tasks.task import Example, Split, Task, take

BUCKETS = 1 << 14
"""Numbers to which words are hashed: 32 KiB a task as float16."""

EXAMPLES = 1000
"""Most training examples that a signature is made of, those of smallest hash."""

OF_TARGETS = "\0"
"""Stands before words of targets; no word holds it."""


def signature(examples: Sequence[Example]) -> np.ndarray:
    """Share of examples that hold a word of each number, 0 to 1: float16 ``[BUCKETS]``; zeros of no examples."""
    counts = np.zeros(BUCKETS)
    for example in examples:
        counts[list({_bucket(word) for word in _words(example)})] += 1
    return (counts / max(1, len(examples))).astype(np.float16)


def task_signature(
    task: Task | Mixture,
    data_dir: Path | None = None,
    limit: int = 0,
    *,
    sample: int = 0,
    allow_partial: bool = False,
) -> np.ndarray:
    """The signature, float16 ``[BUCKETS]``, of a task's training examples, or the mean of those of a mixture's members.

    Args:
        task: whose.
        data_dir: folder of official data sets.
        allow_partial: as of :meth:`tasks.task.Task.examples`.
        limit: most examples that count, of each member; :data:`EXAMPLES` if not given, or more.
        sample: which ones, see :func:`tasks.task.take`.
    """
    few = min(EXAMPLES, limit or EXAMPLES)
    read = functools.partial(Task.examples, data_dir=data_dir, allow_partial=allow_partial)
    each = [signature(take(read(member, Split.TRAIN), few, sample)) for member in members_of(task)]
    return np.asarray(np.mean(each, axis=0, dtype=np.float64), np.float16)


def _words(example: Example) -> Iterator[str]:
    yield from re.findall(r"\w+", example.inputs.casefold())
    yield from (OF_TARGETS + word for word in re.findall(r"\w+", example.target.casefold()))


def _bucket(word: str) -> int:
    return zlib.crc32(word.encode(errors="surrogatepass")) % BUCKETS
