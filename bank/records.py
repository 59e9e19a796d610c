"""What goes into a bank and what comes out of it, as frozen records. Imports no SQLAlchemy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bank.errors import BankError
from bank.identity import first_transfer_digest, recipe_digest, run_digest, transfer_digest
from bank.vectors import checked_prompt, tokens

if TYPE_CHECKING:
    import numpy as np

ROLES = ("source", "query", "baseline", "transfer")

SIGNATURE = 1 << 14
"""Numbers of a task's signature."""
"""What a run can be."""


def check_role(role: str) -> None:
    """Refuse what no run can be.

    Raises:
        BankError: none of ``ROLES``.
    """
    if role not in ROLES:
        raise BankError(f"role {role!r} is not known; choose from {', '.join(ROLES)}")


# -- what goes in --------------------------------------------------------------------------------------------


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
        signature: shares of its training examples, 0 to 1, that hold words of each hash, little-endian float16; empty
            where they are not known.

    Raises:
        BankError: a name or family without letters, or of several lines.
    """

    name: str
    family: str
    description: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    content: str = ""
    texts: bytes = b""
    signature: bytes = b""

    def __post_init__(self) -> None:
        for what, text in (("name", self.name), ("family", self.family)):
            if not (text.strip() and text.isprintable()):
                raise BankError(f"a task's {what} is {text!r}; expected a text in one line")

    @property
    def members(self) -> tuple[str, ...]:
        """Names of a mixture's members, each once; none of a task."""
        return tuple(dict.fromkeys(self.description.get("tasks", ())))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecyclerRecord:
    """A map that makes prompts of one backbone into prompts of another.

    Attributes:
        source: whose prompts are mapped.
        target: whose they become.
        method: how the map was fitted.
        shared: pieces that both vocabularies have.
        cosine: of mapped and true rows of pieces that a second map was not fitted on.
        error: squared error of these beside their variance.
        numbers: of the map, arrays by name.
    """

    source: BackboneRecord
    target: BackboneRecord
    method: str
    shared: int
    cosine: float
    error: float
    numbers: Mapping[str, np.ndarray]


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
        return recipe_digest(
            self.backbone.fingerprint, self.prompt_length, self.key_step, self.family, self.options
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SnapshotRecord:
    """A prompt ``[..., P, H]`` of a run, the step it was taken at, and its development score."""

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
        check_role(self.role)

    @property
    def digest(self) -> str:
        return run_digest(
            self.recipe.digest, self.task.name, self.data, self.seed, self.role, self.started_from
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A finished run: who it is, its snapshots, and how it went.

    Key and value have one shape, whose last two axes are the recipe's length and the backbone's width. ``own`` is the
    value's part that is the task's alone, where it shares another one, and may be shorter. ``start`` is the mean token
    ``[W]`` float32 of the prompt that it started from, where that is known.

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
    own: SnapshotRecord | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise BankError(
                f"score of {self.identity.task.name} is {self.score}; expected a number"
            )
        recipe = self.identity.recipe
        expected = (recipe.prompt_length, recipe.backbone.width)
        for kind, snapshot in (("key", self.key), ("value", self.value)):
            if snapshot is not None:
                self._check_shape(
                    kind, snapshot.prompt.shape, (*self.value.prompt.shape[:-2], *expected)
                )
        if self.own is not None:
            own, value = self.own.prompt.shape, self.value.prompt.shape
            self._check_shape("own part", own, (*value[:-2], min(own[-2], value[-2]), value[-1]))
        if self.start is not None:
            start = checked_prompt(self.start[None], where=f"start of {self.identity.task.name}")[0]
            self._check_shape("start", start.shape, tokens(self.value.prompt).shape[1:])
            object.__setattr__(self, "start", start)

    def _check_shape(self, kind: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if shape != expected:
            raise BankError(
                f"{kind} of {self.identity.task.name}: expected shape {list(expected)}, found {list(shape)}"
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

    Two are the same where all that was asked for is, the runs, the sources in their order, and the weights of each.
    ``single`` says whether every candidate's run started from one source. ``steps`` counts those of all candidates
    under the ``budget``, ``full`` or ``halving``; ``floor`` is the test score of the most frequent training answer.
    """

    task: str
    method: str
    similarity: str
    single: bool
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
        asked = {
            "aggregate": self.aggregate,
            "allow_overlap": self.allow_overlap,
            "top_k": len(self.candidates),
        }
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


# -- what comes out ------------------------------------------------------------------------------------------


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
class SourceRecipe:
    """By what a partition's sources were trained.

    Attributes:
        partition: where their keys are.
        backbone: its name, as whoever trained the first run of it called it.
        options: of the recipe that most of its tasks share, as a record holds them.
        sources: tasks that have keys in the partition.
    """

    partition: Partition
    backbone: str
    options: Mapping[str, Any]
    sources: int


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
    """Metrics and answers of a run's value on a test split.

    ``decoding`` says how the answers were found; ``None``: greedily, or by the scores of the choices.
    """

    metrics: Mapping[str, float]
    answers: Sequence[str]
    decoding: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a source did for a target: the development scores of the target's run from it, and of that without.

    Attributes:
        query: address of the target's early prompt.
        baseline: score without a source, ``None`` where none was trained.
        data: digest of the target's training data, empty where it was not stored.
        train_limit: training examples that the target's recipe allows; 0 is all.
        recipe: digest of that by which the target was trained from the source, empty where it is not known.
        start: mean token ``[W]`` of the prompt that the query's run started from, where that was stored.
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
    recipe: str = ""
    start: np.ndarray | None = dataclasses.field(default=None, compare=False)
