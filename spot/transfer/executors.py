"""Who trains runs that a bank lacks: groups that share a program each, in this process."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bank import Bank, RunRecord, SnapshotRecord, TaskRecord
from spot import paths
from spot.backbone.placement import environment
from spot.errors import TrainingError
from spot.training.jobs import CHECKPOINT_SECONDS, Progress, Reporter
from spot.training.prompt_tuning import PromptJob, TrainedPrompt, prompt_job, train_prompts
from spot.training.recipe import Recipe
from spot.training.task_data import MixtureData, TaskData
from spot.transfer.datasets import Datasets
from spot.transfer.halving import Halving
from spot.transfer.planner import PlannedRun
from spot.transfer.texts import with_texts
from tasks import Mixture, Split, Task
from tasks.pipeline import summary
from tasks.task import PARTIAL

Reporters = Callable[[str], Reporter | None]
"""A progress sink for a run of the given title."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that share a program, as plain data that pickles.

    Attributes:
        backbone: what :func:`spot.backbone.load.load_backbone` takes.
        dtype: likewise.
        recipe: of all runs.
        data_dir: folder of official data sets.
        allow_partial: whether splits are cut from the parts that are there where others are missing.
        runs: what is wanted, each training once.
        stored: digests of those that the bank holds, which are passed over.
        slots: prompts under way at once.
        folder: where the checkpoints of all groups lie; ``None`` saves nothing.
        checkpoint_seconds: longest time between checkpoints.
        halving: whom to give up on the way.
    """

    backbone: str
    dtype: str
    recipe: Recipe
    runs: tuple[PlannedRun, ...]
    stored: frozenset[str]
    slots: int
    data_dir: Path | None = None
    allow_partial: bool = False
    folder: Path | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    halving: Halving | None = None

    @property
    def checkpoint(self) -> Path | None:
        """The folder of this group's checkpoint, the same for the same runs whichever of them have ended."""
        if self.folder is None:
            return None
        names = [*(["race"] if self.halving else []), *(run.digest for run in self.runs)]
        return self.folder / hashlib.sha256("\n".join(names).encode()).hexdigest()[:20]


class Executor(Protocol):
    """Trains groups into a bank."""

    @property
    def workers(self) -> int:
        """Groups that train at once; what is wanted is divided into as many."""

    def train(self, groups: Sequence[Group]) -> Mapping[str, Progress]:
        """Train what the bank lacks of every group, and store it; returns the progress of runs given up, by digest.

        Raises:
            Interrupted: a signal stopped training; what has ended is in the bank, the rest in checkpoints.
            SpotError: what training raises; runs that it does not concern have ended.
        """


class LocalExecutor:
    """Trains in this process, one group after the other.

    Args of the constructor:
        bank: where finished runs go.
        datasets: tasks and splits for the backbone.
        reporters: gives every run its progress sink.
    """

    workers = 1

    def __init__(
        self, bank: Bank, datasets: Datasets, *, reporters: Reporters = lambda _title: None
    ) -> None:
        self._bank, self._datasets, self._reporters = bank, datasets, reporters

    def train(self, groups: Sequence[Group]) -> Mapping[str, Progress]:
        given_up: dict[str, Progress] = {}
        for group in groups:
            self._train(group, given_up)
        return given_up

    def _train(self, group: Group, given_up: dict[str, Progress]) -> None:
        backbone = self._datasets.backbone
        if {run.identity.recipe.backbone.fingerprint for run in group.runs} != {
            backbone.fingerprint
        }:
            raise TrainingError(
                f"backbone {backbone.name} is not the one that runs were planned with; start again"
            )
        self._bank.try_write()
        paths.prepare_folders(group.folder)
        sharing = [run.digest for run in group.runs if run.digest not in group.stored]
        program = {"slots": group.slots, "shared with": sharing if group.slots > 1 else []}
        train_prompts(
            backbone,
            group.recipe,
            [self._job(run, group, program, given_up) for run in group.runs],
            slots=group.slots,
            folder=group.checkpoint,
            give_up=group.halving or (lambda _progress: ()),
        )
        if group.checkpoint:
            shutil.rmtree(group.checkpoint, ignore_errors=True)

    def _job(
        self,
        run: PlannedRun,
        group: Group,
        program: Mapping[str, Any],
        given_up: dict[str, Progress],
    ) -> PromptJob:
        """The bank is asked again at the turn of a run that it lacked: that may have ended elsewhere."""
        task = self._datasets.task(run.spec.task)
        data = self._datasets.splits(task, group.recipe)
        if data.digest != run.identity.data:
            raise TrainingError(
                f"{task.name}: its data are not those that its runs were planned with; start again"
            )

        def done(trained: TrainedPrompt) -> None:
            facts = {
                **environment(),
                "data": data_summary(data, group.recipe),
                "program": program,
                "most frequent answer": data.floor(Split.DEV),
                **({PARTIAL: True} if data.partial else {}),
            }
            if trained.diagnostics:
                facts["diagnostics"] = trained.diagnostics.record()
            self._bank.record_run(
                run_record(run, trained, group.recipe, self._record(run, task), environment=facts)
            )

        def stopped(progress: Progress) -> None:
            given_up[run.digest] = progress

        return prompt_job(
            self._datasets.backbone,
            data,
            group.recipe,
            identity=run.digest,
            seed=run.spec.seed,
            done=done,
            initial=self._bank.prompt(run.spec.start) if run.spec.start else None,
            stop_at_key=run.spec.role == "query",
            shares=group.recipe.together if run.spec.role == "source" else "",
            known=lambda: run.digest in group.stored or self._held(run, group),
            given_up=stopped,
            checkpoint_seconds=group.checkpoint_seconds,
            reporter=None if run.digest in group.stored else self._reporters(run.title),
        )

    def _held(self, run: PlannedRun, group: Group) -> bool:
        """Whether the bank holds a run by now; of runs that share, whether it holds all of them."""
        digests = [each.digest for each in group.runs] if group.recipe.together else [run.digest]
        return len(self._bank.runs(digests)) == len(digests)

    def _record(self, run: PlannedRun, task: Task | Mixture) -> TaskRecord:
        return with_texts(
            run.identity.task,
            task,
            self._bank,
            self._datasets.data_dir,
            allow_partial=self._datasets.allow_partial,
        )


def run_record(
    run: PlannedRun,
    trained: TrainedPrompt,
    recipe: Recipe,
    task: TaskRecord,
    *,
    environment: Mapping[str, Any],
) -> RunRecord:
    """A finished run as the bank stores it.

    Args:
        run: who it is.
        trained: what training left.
        recipe: how it trained.
        task: what it was trained on, with what the bank lacks of its texts.
        environment: where it trained, on what, and beside whom.
    """
    score = trained.metrics["score"]
    value = SnapshotRecord(prompt=trained.value, step=trained.value_step, score=score)
    return RunRecord(
        identity=dataclasses.replace(run.identity, task=task),
        steps=trained.steps,
        metric="score",
        score=score,
        value=value,
        key=SnapshotRecord(prompt=trained.key, step=recipe.key_step),
        metrics=trained.metrics,
        history=trained.history,
        environment=environment,
        seconds=trained.seconds,
        start=trained.start,
        own=None if trained.own is None else dataclasses.replace(value, prompt=trained.own),
    )


def data_summary(data: TaskData | MixtureData, recipe: Recipe) -> Mapping[str, float | int]:
    """Size, lengths and padding share of the training split."""
    return summary(data[Split.TRAIN].tokens, data.batches(recipe.batch_size, seed=0))
