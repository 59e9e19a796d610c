"""What scoring needs of an example, and what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Scored(Protocol):
    """What scoring needs of an example."""

    @property
    def target(self) -> str: ...

    @property
    def choices(self) -> tuple[str, ...]: ...

    @property
    def group(self) -> str: ...

    @property
    def answers(self) -> tuple[str, ...]: ...

    @property
    def label(self) -> str: ...


Predictions = Sequence[str]
Examples = Sequence[Scored]
Labels = tuple[str, ...]


def answers_of(example: Scored) -> tuple[str, ...]:
    """All accepted answers: the target where none are named."""
    return example.answers or (example.target,)
