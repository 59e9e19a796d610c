"""Names that users choose: what is not known is refused in one way, with what may be meant."""

from __future__ import annotations

from collections.abc import Callable, Collection
from difflib import get_close_matches

from tasks.errors import TaskError, shown


def choose(
    name: str,
    known: Collection[str],
    what: str,
    *,
    error: Callable[[str], Exception] = TaskError,
    listing: str = "",
) -> str:
    """``name``, where it is one of those known.

    Args:
        name: what a user wrote.
        known: all names in the order in which they are listed: a table, or a list of names.
        what: it names, at the start of the message; a file or key in front of it says where.
        error: what is raised, built from the message.
        listing: said in place of all names, where they are too many for a line; up to three near ones are named then.

    Raises:
        error: no such name; the message has the nearest, and all of them.
    """
    if name in known:
        return name
    near = get_close_matches(name, known, n=3 if listing else 1)
    hint = f"did you mean {' or '.join(repr(str(each)) for each in near)}? " if near else ""
    raise error(
        f"{what} {shown(name)} is not known; {hint}{listing or 'choose from ' + ', '.join(filter(None, known))}"
    )
