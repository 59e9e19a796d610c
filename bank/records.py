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


FIRST = (
    "prompt_length", "init", "optimizer", "batch_size", "steps", "key_step", "evaluate_every", "patience", "max_input",
    "max_target", "train_limit", "dev_limit", "evaluate_by", "dtype",
)  # fmt: skip
"""Options of a recipe that the first release had. Options that came later stand in a recipe only where they differ from
their defaults, and then shape its family."""

SHAPING = ("init", "optimizer", "batch_size", "max_input", "max_target", "dtype")
"""Those of them that shape a prompt up to its key step."""


def recipe_family(options: Mapping[str, Any]) -> str:
    """Digest of the options that shape a prompt up to its key step: keys of one family can be compared.

    Raises:
        KeyError: options that are not those of a recipe, such as an imported prompt's.
    """
    added = {name: value for name, value in options.items() if name not in FIRST}
    return digest(*(options[name] for name in SHAPING), _decay(options), *([added] if added else []))


def _decay(options: Mapping[str, Any]) -> Any:
    """A decaying schedule reaches the key step at another rate when the run is longer."""
    return options["steps"] if options["optimizer"]["schedule"] in ("linear", "cosine") else None


def differing(options: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The options by which keys of two recipes cannot be compared, with what each says; ``None`` where it is silent.

    Options of the optimiser stand beside the others, its name as ``optimizer``.
    """
    mine, theirs = _comparable(options), _comparable(other)
    names = dict.fromkeys([*mine, *theirs])
    return {name: (mine.get(name), theirs.get(name)) for name in names if mine.get(name) != theirs.get(name)}


def _comparable(options: Mapping[str, Any]) -> dict[str, Any]:
    shaping = {
        name: value
        for name, value in options.items()
        if name in ("prompt_length", "key_step", *SHAPING) or name not in FIRST
    }
    optimizer = shaping.pop("optimizer", {})
    if "schedule" in optimizer and _decay(options) is not None:
        shaping["steps"] = options["steps"]
    return shaping | {"optimizer" if name == "name" else name: value for name, value in optimizer.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackboneRecord:
    """A frozen model: fingerprint, name, width H and config."""

    fingerprint: str
    name: str
    width: int
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """A task: its name and family, and what else describes it.

    Attributes:
        name: by which it is known; a bank holds one task of a name.
        family: of the task.
        description: what else there is to say; a mixture names its members under ``tasks``.
        content: digest of a task that came from a file, or of a mixture's members; empty for those built in.
        texts: hashes of its training sentences, little-endian uint64; empty where they are not known.
    """

    name: str
    family: str
    description: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    content: str = ""
    texts: bytes = b""


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

    ``start`` is the mean token ``[H]`` float32 of the prompt that it started from, where that is known.

    Raises:
        BankError: a prompt or start that does not fit recipe and backbone, or a score that is no number.
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
    start: np.ndarray | None = None

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
        if self.start is not None:
            start = checked_prompt(self.start[None], where=f"start of {self.identity.task.name}")[0]
            if start.shape != expected[1:]:
                raise BankError(
                    f"start of {self.identity.task.name}: expected shape {list(expected[1:])}, "
                    f"found {list(start.shape)}"
                )
            object.__setattr__(self, "start", start)


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

    Two are the same where all that was asked for is, the runs, the sources in their order, and the weights of each.
    ``steps`` counts those of all candidates under the ``budget``, ``full`` or ``halving``; ``floor`` is the test score
    of the most frequent training answer.
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
    aggregate: str = "mean"
    allow_overlap: bool = False
    floor: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What was asked for beside method, similarity and budget; and the floor, which follows from the target."""
        asked = {"aggregate": self.aggregate, "allow_overlap": self.allow_overlap, "top_k": len(self.candidates)}
        return asked if self.floor is None else asked | {"floor": self.floor}

    @property
    def digest(self) -> str:
        starts = [(candidate.source_run, candidate.weight) for candidate in self.candidates]
        return transfer_digest(
            *self._asked(),
            options=self.options,
            query=self.query_run,
            baseline=self.baseline_run,
            chosen=self.chosen_run,
            starts=starts,
        )

    @property
    def first_digest(self) -> str:
        """As the first release named it."""
        sources = [candidate.source_run for candidate in self.candidates]
        return first_transfer_digest(*self._asked(), query=self.query_run, sources=sources)

    def _asked(self) -> tuple[str, str, str, int, str]:
        return self.task, self.method, self.similarity, self.seed, self.budget


def transfer_digest(
    task: str,
    method: str,
    similarity: str,
    seed: int,
    budget: str,
    *,
    options: Mapping[str, Any],
    query: str,
    baseline: str | None,
    chosen: str,
    starts: Sequence[tuple[str, float]],
) -> str:
    """What makes two transfers the same: all that was asked for, the runs, and the sources with their weights."""
    asked = [task, method, similarity, seed, budget, dict(options)]
    return digest("transfer", *asked, query, baseline, chosen, [list(start) for start in starts])


def first_transfer_digest(
    task: str, method: str, similarity: str, seed: int, budget: str, *, query: str, sources: Sequence[str]
) -> str:
    """The first release's, which leaves out options, so that others can share it; transfers that it stored keep it."""
    spent = [] if budget == "full" else [budget]
    return digest(task, method, similarity, seed, query, list(sources), *spent)
