"""Similarities between prompts (Vu et al. 2022, section 4.1): cosine of average tokens, and per token."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import numpy as np

from bank.vectors import average, average_normalized
from spot.errors import RetrievalError
from tasks.choices import choose

SPOT_MEASURES = ("average", "per_token")
"""``average``: cosine of the mean tokens. ``per_token``: mean cosine over all pairs of tokens."""

QueryVector = Callable[[np.ndarray], np.ndarray]

QUERY_VECTORS: Mapping[str, QueryVector] = {"average": average, "per_token": average_normalized}

ROWS_AT_ONCE = 1024
"""Rows of a matrix of all keys that are worked on at a time."""


def similarity(left: np.ndarray, right: np.ndarray, measure: str = "average") -> float:
    """Similarity of two prompts ``[P, H]`` and ``[Q, H]``, in [-1, 1].

    Raises:
        RetrievalError: unknown measure, or prompts of different width.
    """
    if left.shape[1] != right.shape[1]:
        raise RetrievalError(
            f"prompts of width {left.shape[1]} and {right.shape[1]} belong to different backbones"
        )
    vector = QUERY_VECTORS[choose(measure, SPOT_MEASURES, "similarity", error=RetrievalError)]
    return float(compare(vector(left), vector(right)[None], measure)[0])


def compare(query: np.ndarray, keys: np.ndarray, measure: str) -> np.ndarray:
    """Similarities ``[K]`` float64 of one query vector ``[W]`` to key vectors ``[K, W]``.

    Average tokens are compared by cosine. The per-token vectors already are means of unit vectors, whose inner
    product is the mean cosine over all pairs; normalising them would undo that.
    """
    keys = np.asarray(keys, np.float32)
    return products(keys, query) if measure == "per_token" else Directions(keys).cosines(query)


def products(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Inner products ``[K]`` float64 of ``rows[K, W]`` with ``vector[W]``.

    Each row by itself: a product of the whole matrix adds a row's numbers as its neighbours allow, and equal rows
    would differ. In float64, since weights of sources follow from them, and a transfer's digest from these.
    """
    inner, vector = np.empty(len(rows)), np.asarray(vector, np.float64)
    for part in parts(len(rows)):
        inner[part] = np.einsum("kw,w->k", rows[part].astype(np.float64), vector)
    return inner


def quick_products(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """The same ``[K]`` in float32, as fast as BLAS multiplies: right to :func:`rounding` of the product of norms."""
    return np.asarray(rows @ np.asarray(vector, np.float32))


def rounding(width: int) -> float:
    """How far a float32 cosine of vectors ``[W]`` may lie from the true one."""
    return (width + 2) * float(np.finfo(np.float32).eps)


@dataclasses.dataclass(frozen=True, eq=False)
class Directions:
    """Where ``K`` vectors point from their origins, whose norms are computed once.

    Attributes:
        vectors: float32 ``[K, W]``.
        origins: gives those of a slice of rows, ``[W]`` or ``[n, W]``; zero if not given.
    """

    vectors: np.ndarray
    origins: Callable[[slice], np.ndarray] | None = None

    @cached_property
    def norms(self) -> np.ndarray:
        """Float64 ``[K]``."""
        norms = np.empty(len(self.vectors))
        for rows in parts(len(norms)):
            norms[rows] = np.sqrt(np.square(self._directions(rows), dtype=np.float64).sum(axis=1))
        return norms

    def cosines(self, vector: np.ndarray) -> np.ndarray:
        """Cosines ``[K]`` float64 with ``vector[W]``; zero where one has no direction."""
        vector = np.asarray(vector, np.float64)
        norms = self.norms * np.linalg.norm(vector)
        cosines = np.empty(len(self.vectors))
        for rows in parts(len(norms)):
            cosines[rows] = products(self._directions(rows), vector)
        return np.asarray(cosines / np.where(norms > 0, norms, 1.0))

    def quick_cosines(self, vector: np.ndarray) -> np.ndarray:
        """The same ``[K]``, each right to :func:`rounding`, of vectors from zero."""
        norms = self.norms * np.linalg.norm(np.asarray(vector, np.float64))
        return np.asarray(quick_products(self.vectors, vector) / np.where(norms > 0, norms, 1.0))

    def _directions(self, rows: slice) -> np.ndarray:
        """Vectors float32 ``[n, W]`` of some rows from their origins."""
        if self.origins is None:
            return self.vectors[rows]
        return np.asarray(self.vectors[rows] - self.origins(rows), np.float32)


def parts(count: int) -> Iterator[slice]:
    """Slices of ``count`` rows, ``ROWS_AT_ONCE`` each, so that what is computed of them needs no second matrix."""
    return (
        slice(begin, min(begin + ROWS_AT_ONCE, count)) for begin in range(0, count, ROWS_AT_ONCE)
    )


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """``rows[..., H]`` made of length one, float64; a zero row stays zero."""
    rows = np.asarray(rows, np.float64)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: np.ndarray = rows / np.where(norms > 0, norms, 1.0)
    return unit
