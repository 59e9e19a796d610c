"""Similarities between prompts (Vu et al. 2022, section 4.1): cosine of average tokens, and per token."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from bank.vectors import average, average_normalized
from spot.errors import RetrievalError
from tasks.choices import choose

SPOT_MEASURES = ("average", "per_token")
"""``average``: cosine of the mean tokens. ``per_token``: mean cosine over all pairs of tokens."""

QueryVector = Callable[[np.ndarray], np.ndarray]

QUERY_VECTORS: Mapping[str, QueryVector] = {"average": average, "per_token": average_normalized}


def similarity(left: np.ndarray, right: np.ndarray, measure: str = "average") -> float:
    """Similarity of two prompts ``[P, H]`` and ``[Q, H]``, in [-1, 1].

    Raises:
        RetrievalError: unknown measure, or prompts of different width.
    """
    if left.shape[1] != right.shape[1]:
        raise RetrievalError(f"prompts of width {left.shape[1]} and {right.shape[1]} belong to different backbones")
    vector = QUERY_VECTORS[choose(measure, SPOT_MEASURES, "similarity", error=RetrievalError)]
    return float(compare(vector(left), vector(right)[None], measure)[0])


def compare(query: np.ndarray, keys: np.ndarray, measure: str) -> np.ndarray:
    """Similarities ``[K]`` float64 of one query vector ``[H]`` to key vectors ``[K, H]``.

    Average tokens are compared by cosine. The per-token vectors already are means of unit vectors, whose inner
    product is the mean cosine over all pairs; normalising them would undo that.
    """
    query, keys = query.astype(np.float64), keys.astype(np.float64)
    products = np.einsum("kh,h->k", keys, query)  # a row by itself: BLAS adds a row's products as its neighbours allow
    if measure == "per_token":
        return np.asarray(products)
    norms = np.linalg.norm(keys, axis=1) * np.linalg.norm(query)
    return np.asarray(products / np.where(norms > 0, norms, 1.0))


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """``rows[..., H]`` made of length one, float64; a zero row stays zero."""
    rows = np.asarray(rows, np.float64)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: np.ndarray = rows / np.where(norms > 0, norms, 1.0)
    return unit
