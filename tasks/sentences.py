"""Self-supervised classification from plain text: skills that prompts can call on, without any labelled data.

* ``acceptability``: is this a sentence as it was written, or were its words disturbed?
* ``follows``: did the second sentence follow the first?
* ``paraphrase``: was the second sentence only shortened by function words, or was a content word replaced?
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np

Pair = tuple[str, str]

WORDS = range(6, 31)
"""Lengths of the sentences used, in words."""

SMALL_WORDS = frozenset(
    (
        "the", "a", "an", "of", "to", "in", "on", "at", "by", "for", "with", "and", "or", "but", "that", "which",
        "who", "his", "her", "its", "their", "this", "these", "very", "also", "then",
    )
)  # fmt: skip


RESERVOIR = 200_000
"""Pairs of sentences kept to draw from."""


def sentence_tasks(lines: Iterable[str], count: int, *, seed: int) -> dict[str, list[Pair]]:
    """``count`` examples (input, target) of every task, half of each label.

    Args:
        lines: paragraphs, with empty lines between documents.
        count: examples of each task; 0 gives none and reads nothing.
        seed: of the draw.
    """
    if not count:
        return {}
    rng = np.random.default_rng(seed)
    neighbours = _sample(_neighbours(lines), RESERVOIR, rng)
    makers: dict[str, Callable[[int], Pair | None]] = {
        "acceptability": lambda i: _acceptability(neighbours[i][0], i % 2 == 0, rng),
        "follows": lambda i: _follows(neighbours, i, i % 2 == 0, rng),
        "paraphrase": lambda i: _paraphrase(neighbours, i, i % 2 == 0, rng),
    }
    tasks: dict[str, list[Pair]] = {}
    for name, make in makers.items():
        made = (make(int(i)) for i in rng.permutation(len(neighbours)))
        tasks[name] = [pair for pair, _ in zip(filter(None, made), range(count), strict=False)]
    return tasks


def _neighbours(lines: Iterable[str]) -> Iterator[Pair]:
    """Consecutive sentences of a paragraph, both of a usable length."""
    for line in lines:
        sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", line)
        for left, right in itertools.pairwise(sentences):
            if len(left.split()) in WORDS and len(right.split()) in WORDS:
                yield left, right


def _sample(pairs: Iterable[Pair], size: int, rng: np.random.Generator) -> list[Pair]:
    """A uniform sample of a stream (algorithm R of Vitter 1985)."""
    kept: list[Pair] = []
    for i, pair in enumerate(pairs):
        if i < size:
            kept.append(pair)
        elif (slot := int(rng.integers(i + 1))) < size:
            kept[slot] = pair
    return kept


def _acceptability(sentence: str, keep: bool, rng: np.random.Generator) -> Pair:
    words = sentence.split()
    if not keep:
        start = int(rng.integers(1, len(words) - 3))
        disturb = int(rng.integers(3))
        if disturb == 0:
            words[start : start + 3] = [words[start + 2], words[start], words[start + 1]]
        elif disturb == 1:
            words.insert(int(rng.integers(1, len(words) - 1)), words.pop(start))
        else:
            del words[start]
    return f"sentence: {' '.join(words)}", "acceptable" if keep else "unacceptable"


def _follows(neighbours: list[Pair], i: int, keep: bool, rng: np.random.Generator) -> Pair:
    left, right = neighbours[i]
    if not keep:
        right = neighbours[int(rng.integers(len(neighbours)))][1]
    return f"sentence1: {left} sentence2: {right}", "yes" if keep else "no"


def _paraphrase(neighbours: list[Pair], i: int, keep: bool, rng: np.random.Generator) -> Pair | None:
    words = neighbours[i][0].split()
    if keep:
        small = [k for k, word in enumerate(words) if word in SMALL_WORDS]
        if not small:
            return None
        dropped = {int(k) for k in rng.choice(small, size=min(2, len(small)), replace=False)}
        changed = [word for k, word in enumerate(words) if k not in dropped]
    else:
        content = [k for k, word in enumerate(words) if len(word) > 4 and word.isalpha()]
        other = [w for w in neighbours[int(rng.integers(len(neighbours)))][0].split() if len(w) > 4 and w.isalpha()]
        if not content or not other:
            return None
        changed = list(words)
        changed[int(rng.choice(content))] = str(rng.choice(other))
        small = [k for k, word in enumerate(changed) if word in SMALL_WORDS]
        if small:  # shorten these too, so that length tells nothing
            del changed[int(rng.choice(small))]
    source = f"sentence1: {' '.join(words)} sentence2: {' '.join(changed)}"
    return source, "equivalent" if keep else "not_equivalent"
