"""Where the files of built-in tasks lie for tests: small ones of our own, and the published ones, if at hand."""

from __future__ import annotations

from pathlib import Path

from tasks import get_task

DATA = Path(__file__).parents[1].parent / "shared" / "data"
"""Published files."""

PLACES = ["made", *(["published"] if DATA.is_dir() else [])]
"""Small files of our own in the published formats, and the published ones where they are at hand."""


def places_of(name: str) -> list[str]:
    """Where the data of a built-in task lies; WordNet's comes with the package."""
    if name.startswith("wn_"):
        return ["package"]
    at_hand = any((DATA / path).exists() for path in get_task(name).source.files.values())
    return [place for place in PLACES if place == "made" or at_hand]
