"""What comes out of a bank, as frozen records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bank.records import RecipeRecord

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Partition:
    """The runs whose keys can be compared: one backbone, length, key step and recipe family."""

    fingerprint: str
    prompt_length: int
    key_step: int
    family: str

    @classmethod
    def of(cls, recipe: RecipeRecord) -> Partition:
        return cls(
            fingerprint=recipe.backbone.fingerprint,
            prompt_length=recipe.prompt_length,
            key_step=recipe.key_step,
            family=recipe.family,
        )

    def __str__(self) -> str:
        return (
            f"backbone {self.fingerprint[:12]}, {self.prompt_length} tokens, key step {self.key_step}, "
            f"recipe family {self.family[:12]}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run as the bank holds it; ``key`` and ``value`` are addresses of prompts."""

    digest: str
    task: str
    seed: int
    score: float
    metrics: Mapping[str, float]
    value: str
    key: str | None
    steps: int
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics and answers of a run's value on a test split."""

    metrics: Mapping[str, float]
    answers: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a source did for a target: the development scores of the target's run from it, and of that without.

    Attributes:
        query: address of the target's early prompt.
        baseline: score without a source, ``None`` where none was trained.
        data: digest of the target's training data, empty where it was not stored.
        train_limit: training examples that the target's recipe allows; 0 is all.
        start: mean token ``[H]`` of the prompt that the query's run started from, where that was stored.
    """

    target: str
    target_family: str
    seed: int
    query: str
    source: str
    source_family: str
    source_run: str
    score: float
    baseline: float | None
    data: str = ""
    train_limit: int = 0
    start: np.ndarray | None = dataclasses.field(default=None, compare=False)
