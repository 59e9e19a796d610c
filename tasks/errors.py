"""What a user can do wrong with data: one line each, naming the file and the row."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterable

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80

WHOLE = 900
"""Letters of a message; what is longer loses its middle."""


class TaskError(ValueError):
    """A task, data file or metric that cannot be found, read or understood."""

    def __init__(self, message: str) -> None:
        # names of files and columns may hold line ends, and be long
        line = " ".join(message.splitlines())
        super().__init__(
            line if len(line) <= WHOLE else f"{line[: 2 * WHOLE // 3]} ... {line[-WHOLE // 3 :]}"
        )


def repeated(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, in their first order."""
    return [name for name, count in Counter(names).items() if count > 1]


def reason(error: Exception) -> str:
    """The first line of what another library says of an error, or the name of its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def shown(value: object) -> str:
    """A value as messages show it: one short line, however long or deep it is."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # a number of more digits than Python writes
        return f"a {type(value).__name__} too long to show"
