"""The one vector per prompt behind each similarity of SPoT (Vu et al. 2022, section 4.1)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bank.errors import BankError

if TYPE_CHECKING:
    import numpy as np


def checked_prompt(values: np.ndarray, *, where: str = "prompt") -> np.ndarray:
    """A prompt as C-ordered float32 ``[..., P, H]``.

    Raises:
        BankError: of less than two dimensions, empty, not a number type, or with NaN or infinite entries.
    """
    import numpy as np

    array = np.asarray(values)
    if array.ndim < 2 or 0 in array.shape:
        raise BankError(f"{where}: expected an array [P, H], found shape {list(array.shape)}")
    if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
        raise BankError(f"{where}: expected numbers, found dtype {array.dtype}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is counted below
        array = np.ascontiguousarray(array, dtype=np.float32)
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise BankError(f"{where}: {bad} of {array.size} entries are NaN or infinite")
    return array


def prompt_sha256(values: np.ndarray) -> str:
    """Address of a float32 prompt ``[..., P, H]``: sha256 of its shape and little-endian bytes."""
    import numpy as np

    array = np.ascontiguousarray(values, dtype="<f4")
    return hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest()


def tokens(prompt: np.ndarray) -> np.ndarray:
    """The tokens ``[P, W]`` that similarities compare of a prompt ``[..., P, H]``: its leading axes stand beside H."""
    import numpy as np

    return np.moveaxis(prompt, -2, 0).reshape(prompt.shape[-2], -1)


def average(prompt: np.ndarray) -> np.ndarray:
    """Mean token ``[W]`` of ``[..., P, H]``: the cosine of two of these is the similarity of average tokens."""
    import numpy as np

    return _mean(np.asarray(tokens(prompt), np.float64))


def average_normalized(prompt: np.ndarray) -> np.ndarray:
    """Mean of the L2-normalised tokens of ``[..., P, H]``, ``[W]``; a zero token counts as zero.

    The inner product of two of these is the mean cosine over all token pairs, so the vector (of norm at most 1)
    must not be normalised again.
    """
    import numpy as np

    return _mean(_normalized(np.asarray(tokens(prompt), np.float64)))


def belong(prompts: np.ndarray, averages: np.ndarray, normalized: np.ndarray) -> np.ndarray:
    """Which of N prompts ``[N, ..., P, H]`` have the vectors ``[N, W]`` as ``average`` and ``average_normalized``, to
    1e-6 or 1e-5 of their size: bool ``[N]``."""
    import numpy as np

    rows = (
        np.moveaxis(prompts, -2, 1).reshape(len(prompts), prompts.shape[-2], -1).astype(np.float64)
    )
    matching = np.ones(len(prompts), bool)
    for stored, right in ((averages, _mean(rows)), (normalized, _mean(_normalized(rows)))):
        matching &= (np.abs(stored - right) <= 1e-6 + 1e-5 * np.abs(right)).all(axis=1)
    return matching


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean token ``[..., W]`` float32 of ``[..., P, W]`` float64."""
    import numpy as np

    mean: np.ndarray = rows.mean(axis=-2).astype(np.float32)
    return mean


def _normalized(rows: np.ndarray) -> np.ndarray:
    """Tokens ``[..., P, W]`` of unit length, or zero."""
    import numpy as np

    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)
