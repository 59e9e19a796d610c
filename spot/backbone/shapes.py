"""Shapes held against each other where parts meet: while a program is traced, so that running it costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spot.errors import BackboneError


def axes(
    where: str, known: Mapping[str, int] | None = None, **arrays: tuple[str, Any]
) -> dict[str, int]:
    """Sizes of the named axes of arrays.

    Args:
        where: what begins an error.
        known: sizes that are known already.
        arrays: by what they are called, the names of their axes, such as ``"B T"``, and the array.

    Raises:
        BackboneError: an array of another rank, or with another size of an axis than those before it.
    """
    sizes = dict(known or {})
    for name, (names, array) in arrays.items():
        letters = names.split()
        fits = len(letters) == array.ndim
        for letter, size in zip(letters, array.shape, strict=False):
            fits = fits and sizes.setdefault(letter, size) == size
        if not fits:
            expected = ", ".join(
                f"{letter} = {sizes[letter]}" if letter in sizes else letter for letter in letters
            )
            raise BackboneError(
                f"{where}: {name} has shape {list(array.shape)}, expected [{expected}]"
            )
    return sizes
