"""Rows that must not be parted when a published part is cut: those that share a text."""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable, Mapping, Sequence

from tasks.rows import Row
from tasks.task import SplitKeys, place
from tasks.texts import LONG, letters

Texts = tuple[str, ...]


def by_shared_texts(*columns: str, equal: str = "") -> SplitKeys:
    """One key for all rows that share a text, or of which one's text lies inside another's.

    Texts are compared by their letters and digits. Those of :data:`tasks.texts.LONG` or more hold rows together.
    Shorter ones lie inside many others by accident: a row that has no other goes with whichever of the rows it lies
    inside falls first, since what falls first trains.

    Args:
        columns: of the texts.
        equal: a column whose equal texts hold rows together however short they are.
    """

    def keys(rows: Sequence[Row]) -> Sequence[object]:
        texts = tuple(tuple(letters(str(row[column])) for column in columns) for row in rows)
        return _keys(
            texts, frozenset(letters(str(row[equal])) for row in rows) if equal else frozenset()
        )

    return keys


def by_columns(*columns: str) -> SplitKeys:
    """One key for all rows with the same values in these columns."""
    return lambda rows: [[row[column] for column in columns] for row in rows]


@functools.lru_cache(maxsize=2)
def _keys(rows: tuple[Texts, ...], equal: frozenset[str]) -> Sequence[str]:
    """The key of each of ``rows``, which are their texts; kept, since every split of a part asks for it."""
    holders = _holders({text for row in rows for text in row})
    sets = _Sets()

    def holding(row: Texts) -> list[str]:
        """What the row's texts have in common with others."""
        long = [holder for text in row if len(text) >= LONG for holder in holders[text]]
        return long + [text for text in row if text in equal]

    for row in rows:
        sets.join(holding(row))
    places = functools.cache(place)

    def key(row: Texts) -> str:
        shared = holding(row) or [holder for text in row for holder in holders[text]]
        names = {sets.name(text) for text in shared}
        return min(names, key=lambda name: (places(name), name))

    return [key(row) for row in rows]


KEY = 8
"""First letters by which texts are looked up."""


def _holders(texts: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """For every text those that it lies inside and that lie inside no other; itself where it lies inside none."""
    lengths: dict[str, set[int]] = collections.defaultdict(set)
    known = set(texts)
    for text in known:
        lengths[text[:KEY]].add(len(text))
    sizes = sorted({len(key) for key in lengths})
    holders: dict[str, dict[str, None]] = {}
    for whole in sorted(known, key=lambda text: (-len(text), text)):
        if whole in holders:
            continue
        for start in range(len(whole) or 1):
            for size in sizes:
                for length in lengths.get(whole[start : start + size], ()):
                    inside = whole[start : start + length]
                    if len(inside) == length and inside in known:
                        holders.setdefault(inside, {})[whole] = None
    return {text: tuple(whole) for text, whole in holders.items()}


class _Sets:
    """Disjoint sets of texts, each named by its first text in alphabetical order."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def join(self, texts: Iterable[str]) -> None:
        """Make one set of all that hold any of these texts."""
        names = {self.name(text) for text in texts}
        for name in names:
            self._above[name] = min(names)

    def name(self, text: str) -> str:
        """The first text of the set that holds this one."""
        while (above := self._above.setdefault(text, text)) != text:
            self._above[text] = self._above[above]
            text = above
        return text
