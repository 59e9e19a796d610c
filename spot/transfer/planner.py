"""Runs that are wanted, as plain data that another process can take, and which of them a bank lacks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from bank import Bank, RunIdentity, StoredRun
from tasks import Mixture, Task, get_task
from tasks.errors import TaskError

TWINS = {"source": "baseline", "baseline": "source"}
"""Roles in which one recipe, task and seed train alike."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task or mixture by what it can be read again from; it pickles, which a task does not.

    Attributes:
        name: of a built-in task; of one from a file, and of a mixture, what it is called.
        file: the file that describes it; empty for one by name.
        content: digest of what it was when it was asked for, see :class:`tasks.task.Task`.
        members: of a mixture; empty for a task.
        cap: of a mixture, likewise ``temperature`` and ``whole``; see :class:`tasks.mixture.Mixture`.
    """

    name: str
    file: str = ""
    content: str = ""
    members: tuple[TaskSpec, ...] = ()
    cap: int = 0
    temperature: float = 1.0
    whole: tuple[str, ...] = ()

    @classmethod
    def from_task(cls, task: Task | Mixture) -> TaskSpec:
        if isinstance(task, Task):
            return cls(name=task.name, file=task.file, content=task.content)
        return cls(
            name=task.name,
            file=task.file,
            content=task.content,
            members=tuple(map(cls.from_task, task.members)),
            cap=task.cap,
            temperature=task.temperature,
            whole=task.whole,
        )

    def read(self) -> Task | Mixture:
        """The task or mixture, read again.

        Raises:
            TaskError: no such task, or a file that has changed.
        """
        task = self._mixture() if self.members else get_task(self.file or self.name)
        if (task.name, task.content) != (self.name, self.content):
            raise TaskError(
                f"{self.file or self.name}: its file or data have changed since runs of task {self.name!r} were "
                "planned; start the command again"
            )
        return task

    def _mixture(self) -> Mixture:
        members = [member.read() for member in self.members]
        return Mixture(
            name=self.name,
            members=tuple(member for member in members if isinstance(member, Task)),
            cap=self.cap,
            temperature=self.temperature,
            whole=self.whole,
            file=self.file,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSpec:
    """A run that is wanted, beside its recipe.

    Attributes:
        task: what it trains on.
        seed: of initialiser and batches.
        role: ``source``, ``baseline``, ``transfer``, or ``query``, which ends at the key step.
        start: address of a prompt of the bank to start from; ``None`` for the recipe's initialiser.
    """

    task: TaskSpec
    seed: int
    role: str
    start: str | None = None


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A run that is wanted, and who it will be in the bank."""

    spec: RunSpec
    identity: RunIdentity

    @functools.cached_property
    def digest(self) -> str:
        """The one name of the run: in the bank, in checkpoints and in the names of their folders."""
        return self.identity.digest

    @functools.cached_property
    def twin(self) -> str | None:
        """Digest of the run that trains exactly alike in another role."""
        role = TWINS.get(self.identity.role)
        return dataclasses.replace(self.identity, role=role).digest if role else None

    @property
    def title(self) -> str:
        """What progress is shown under."""
        return f"{self.identity.role} {self.identity.task.name} seed {self.identity.seed}"


@dataclasses.dataclass(frozen=True)
class Missing:
    """What a bank lacks of the runs that are wanted.

    Attributes:
        train: runs that must be trained, each once, in the order asked for.
        adopt: of the others the digest, with that of the twin, which trains alike and is in the bank or in ``train``.
        stored: what the bank holds of both, by digest.
    """

    train: Sequence[PlannedRun]
    adopt: Mapping[str, str]
    stored: Mapping[str, StoredRun]


def missing(bank: Bank, runs: Sequence[PlannedRun]) -> Missing:
    """Compare with a bank, which is asked once and not written to; runs that are removed count as held."""
    stored = bank.runs([digest for run in runs for digest in (run.digest, run.twin) if digest])
    train: dict[str, PlannedRun] = {}
    adopt: dict[str, str] = {}
    for run in runs:
        if run.digest in stored or run.digest in train:
            continue
        if run.twin and (run.twin in stored or run.twin in train):
            adopt[run.digest] = run.twin
        else:
            train[run.digest] = run
    return Missing(list(train.values()), adopt, stored)


def distinct(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """What there is to train where a bank holds nothing: of runs that train alike the first."""
    first: dict[str, PlannedRun] = {}
    for run in runs:
        if run.twin not in first:
            first.setdefault(run.digest, run)
    return list(first.values())


def adopt(bank: Bank, runs: Sequence[PlannedRun], twins: Mapping[str, str]) -> None:
    """Store runs with the snapshots of their twins, which trained alike.

    Args:
        bank: where both lie.
        runs: among which the adopted ones are.
        twins: digest of each to that of its twin, which the bank holds.
    """
    by_digest = {run.digest: run for run in runs}
    for digest, twin in twins.items():
        bank.record_twin(by_digest[digest].identity, twin)


def chunks(runs: Sequence[PlannedRun], parts: int) -> list[list[PlannedRun]]:
    """Runs in at most so many chunks of neighbours, as equal in size as they can be."""
    size = -(-len(runs) // parts)
    return [list(runs[first : first + size]) for first in range(0, len(runs), size or 1)]
