"""A name out of a table, or an error that says what was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from tasks.errors import TaskError


def choose(name: str, known: Iterable[str], what: str, *, error: type[Exception] = TaskError) -> str:
    """The name, if it is known.

    Args:
        name: what was given.
        known: all names.
        what: what they are names of.
        error: what is raised for any other name.
    """
    names = list(known)
    if name in names:
        return name
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise error(f"{what} {name!r} is not known; {hint}choose from {', '.join(names)}")
