"""Tasks that share texts: a prompt of one may have seen the test examples of another.

Two ways to know it. :data:`SHARED_TEXTS` names groups of built-in tasks. For tasks that no table can name, texts
themselves are compared: of a source's training texts the smallest hashes of sentences are kept, a *sketch*, and the
share of a target's sentences that lie among them is estimated from those hashes that the sketch would hold (Broder
1997).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tasks.mixture import Mixture, members_of
from tasks.task import Split, Task
from tasks.texts import long_sentences

SHARED_TEXTS: tuple[frozenset[str], ...] = (
    # SST annotates the sentences of MR anew, and cuts them otherwise
    frozenset({"sst2", "sst5", "mr"}),
    frozenset({"rte", "glue_rte", "few_rte"}),
    frozenset({"boolq", "few_boolq"}),
    frozenset({"cb", "few_cb"}),
    frozenset({"wic", "few_wic", "wn_wic", "wn_usage"}),  # WiC draws on WordNet's examples
    frozenset({"wnli", "wsc"}),  # WNLI is made of Winograd schemas
    frozenset({"mrpc", "stsb"}),  # STS draws on MRPC
    frozenset({"mnli", "mnli_mismatched"}),  # one training set
    frozenset({"qqp", "quora"}),
    frozenset({"qnli", "squad", "mrqa_squad"}),  # QNLI is made of SQuAD
    frozenset({"drop", "mrqa_drop"}),
    frozenset({"race", "mrqa_race"}),
    # ReCoRD and NewsQA ask about articles of CNN
    frozenset({"cnn_dailymail", "record", "mrqa_newsqa"}),
    # DocNLI is made of ANLI, of SQuAD, and of summaries of news
    frozenset({"docnli", "anli", "anli_r1", "anli_r2", "anli_r3"}),
    frozenset({"docnli", "squad", "mrqa_squad", "qnli"}),
    frozenset({"docnli", "cnn_dailymail"}),
    # two rounds of ANLI are on passages of HotpotQA, and some of the third on those of RTE
    frozenset({"anli", "anli_r1", "anli_r2", "anli_r3", "mrqa_hotpotqa"}),
    frozenset({"anli", "anli_r3", "rte", "glue_rte", "few_rte"}),
)
"""Groups of built-in tasks, found by comparing texts of 25 letters or more, and from the data sets' papers."""

SKETCH = 8192
"""Most hashes that a sketch holds."""

OVERLAP = 0.01
"""Share of a target's development and test sentences from which a source that holds them is left out."""


def overlapping(name: str) -> tuple[str, ...]:
    """Other tasks whose training texts may hold this one's test texts, in alphabetical order."""
    others: set[str] = set()
    for group in SHARED_TEXTS:
        if name in group:
            others |= set(group)
    return tuple(sorted(others - {name}))


def hashes(inputs: Iterable[str]) -> np.ndarray:
    """Hashes of the sentences of 25 letters or more: uint64 ``[n]``, each once, sorted.

    Case, spaces, punctuation and the keys before texts do not count, so that a text under two templates is one.
    """
    drawn = b"".join(
        hashlib.blake2b(text.encode(), digest_size=8).digest() for text in long_sentences(inputs)
    )
    return np.unique(np.frombuffer(drawn, "<u8").astype(np.uint64))


def sketch(inputs: Iterable[str]) -> np.ndarray:
    """The smallest :data:`SKETCH` of the :func:`hashes`: uint64 ``[n]``, sorted."""
    return hashes(inputs)[:SKETCH]


def containment(sentences: np.ndarray, source: np.ndarray) -> float:
    """Estimated share of sentences that a source holds.

    Args:
        sentences: hashes of all sentences of a target, uint64 ``[n]``, sorted.
        source: a source's sketch, uint64, sorted. A full one says nothing of larger hashes, which are left out.

    Returns:
        0 to 1; 0 where there is nothing to judge by.
    """
    if len(source) >= SKETCH:
        sentences = sentences[sentences <= source[-1]]
    return float(np.isin(sentences, source).mean()) if len(sentences) else 0.0


def task_sketch(
    task: Task | Mixture, data_dir: Path | None = None, *, allow_partial: bool = False
) -> np.ndarray:
    """The sketch, uint64 ``[n]``, of all training inputs: of a task, or of a mixture's members together.

    ``data_dir`` and ``allow_partial`` are those of :meth:`tasks.task.Task.examples`.
    """
    trained = _inputs(task, [Split.TRAIN], data_dir, allow_partial=allow_partial)
    return np.unique(np.concatenate([sketch(inputs) for inputs in trained]))[:SKETCH]


def task_sentences(
    task: Task | Mixture,
    data_dir: Path | None = None,
    *,
    splits: Sequence[Split] = (Split.DEV, Split.TEST),
    allow_partial: bool = False,
) -> np.ndarray:
    """The hashes, uint64 ``[n]``, of all development and test inputs, by which a source's sketch is judged."""
    judged = _inputs(task, splits, data_dir, allow_partial=allow_partial)
    return np.unique(np.concatenate([hashes(inputs) for inputs in judged]))


def _inputs(
    task: Task | Mixture, splits: Sequence[Split], data_dir: Path | None, *, allow_partial: bool
) -> Iterator[list[str]]:
    """Inputs of a task, or of every member of a mixture; the longest text of each stands apart."""
    for member in members_of(task):
        examples = itertools.chain.from_iterable(
            member.examples(split, data_dir=data_dir, allow_partial=allow_partial)
            for split in splits
        )
        yield [_set_apart(example.inputs, *example.cut) for example in examples]


def _set_apart(inputs: str, start: int, stop: int) -> str:
    return f"{inputs[:start]}\n{inputs[start:stop]}\n{inputs[stop:]}"
