"""What goes into a bank, as frozen records; every digest says what makes two of them the same."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bank.errors import BankError
from bank.types import ROLES
from bank.vectors import checked_prompt

if TYPE_CHECKING:
    import numpy as np


def digest(*parts: Any) -> str:
    """sha256 of JSON-able parts, independent of the order of mappings."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def differing(options: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields in which the options of two recipes differ, as (ours, theirs); ``None`` where one has no such field.

    A field within a field, such as the optimiser's learning rate, is named after both.
    """

    def flat(fields: Mapping[str, Any]) -> dict[str, Any]:
        inner = [field for field in fields.items() if isinstance(field[1], Mapping)]
        outer = {name: value for name, value in fields.items() if not isinstance(value, Mapping)}
        return outer | {f"{name} {part}": value for name, values in inner for part, value in values.items()}

    ours, theirs = flat(options), flat(other)
    return {
        name: (ours.get(name), theirs.get(name))
        for name in dict.fromkeys((*ours, *theirs))
        if ours.get(name) != theirs.get(name)
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackboneRecord:
    """A frozen model: fingerprint, name, width H and config."""

    fingerprint: str
    name: str
    width: int
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """A task: its name and family, and what else describes it."""

    name: str
    family: str
    description: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeRecord:
    """A recipe: its options, and the digest of those that shape a prompt up to the key step."""

    backbone: BackboneRecord
    prompt_length: int
    key_step: int
    family: str
    options: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return digest(self.backbone.fingerprint, self.prompt_length, self.key_step, self.family, dict(self.options))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SnapshotRecord:
    """A prompt ``[P, H]`` of a run, the step it was taken at, and its development score."""

    prompt: np.ndarray
    step: int
    score: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", checked_prompt(self.prompt))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What makes two runs the same: recipe, task, data, seed, role and starting prompt.

    Attributes:
        recipe: how it trained.
        task: on what.
        data: digest of the training data, so that another sample of a task is another run.
        seed: of initialiser and batches.
        role: ``source``, ``query``, ``baseline`` or ``transfer``.
        started_from: sha256 of the prompt it started from, where that came from a bank or file.

    Raises:
        BankError: an unknown role.
    """

    recipe: RecipeRecord
    task: TaskRecord
    seed: int
    role: str
    data: str = ""
    started_from: str | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise BankError(f"role {self.role!r} is not known; choose from {', '.join(ROLES)}")

    @property
    def digest(self) -> str:
        return digest(self.recipe.digest, self.task.name, self.data, self.seed, self.role, self.started_from)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A finished run: who it is, its snapshots, and how it went.

    Raises:
        BankError: a prompt that does not fit recipe and backbone.
    """

    identity: RunIdentity
    steps: int
    metric: str
    score: float
    value: SnapshotRecord
    key: SnapshotRecord | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise BankError(f"score of {self.identity.task.name} is {self.score}; expected a number")
        recipe = self.identity.recipe
        expected = (recipe.prompt_length, recipe.backbone.width)
        for kind, snapshot in (("key", self.key), ("value", self.value)):
            if snapshot is not None and snapshot.prompt.shape != expected:
                raise BankError(
                    f"{kind} of {self.identity.task.name}: expected shape {list(expected)}, "
                    f"found {list(snapshot.prompt.shape)}"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CandidateRecord:
    """A ranked source of a transfer: its run, similarity and weight; the target run from it, and its score.

    A candidate that was stopped after ``steps`` has no run, only the development score it had reached.
    """

    source_run: str
    similarity: float
    weight: float
    run: str | None = None
    score: float | None = None
    steps: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferRecord:
    """A finished transfer; runs are named by their digests and must be in the bank already.

    ``steps`` counts those of all candidates under the ``budget``, ``full`` or ``halving``.
    """

    task: str
    method: str
    similarity: str
    seed: int
    metric: str
    query_run: str
    chosen_run: str
    outcome_metrics: Mapping[str, float]
    candidates: Sequence[CandidateRecord]
    budget: str = "full"
    steps: int | None = None
    baseline_run: str | None = None
    baseline_metrics: Mapping[str, float] | None = None

    @property
    def digest(self) -> str:
        sources = [candidate.source_run for candidate in self.candidates]
        budget = [] if self.budget == "full" else [self.budget]
        return digest(self.task, self.method, self.similarity, self.seed, self.query_run, sources, *budget)
