"""Options of a recipe, made from its settings, and the presets they change."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from spot.training.settings import (
    AUTO,
    SEARCHED,
    OptimizerSettings,
    RecipeSettings,
    Setting,
    settings_of,
)

if TYPE_CHECKING:
    from spot.training.recipe import Recipe
    from spot.transfer.recipes import Base

EMBEDDED = "tiny"

Options = TypeVar("Options")

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"dropout": 0.1, "evaluate_by": "generate"},
    "prefix": {
        "form": "prefix",
        "prompt_length": 10,
        "mlp_width": 512,
        "optimizer": "adamw",
        "learning_rate": 5e-5,
        "schedule": "linear",
        "batch_size": 5,
        "evaluate_by": "generate",
    },
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
match as they do, where an answer outside the labels is wrong. ``prefix`` is that of Li and Liang (2021, section 5.3)
for table-to-text, but for its 10 epochs, which ``--steps`` says: 30,000 if not given. ``quick`` suits the embedded
backbone, and scores by the labels' likelihoods, which a short run learns sooner. The two ways differ by up to 4.5
points on trained prompts."""


def finite(value: float | None) -> float | None:
    """Callback of an option that takes a number: neither NaN nor infinite."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def _number_or_auto(setting: Setting) -> Callable[[str], float | str]:
    """Parser of an option that takes a number in the setting's bounds, or the word ``auto``."""

    def parse(text: str) -> float | str:
        if text == AUTO:
            return AUTO
        try:
            value = float(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is neither a number nor auto") from None
        finite(value)
        if problem := setting.problem(value):
            raise typer.BadParameter(f"{value:g} {problem}")
        return value

    return parse


def _option(name: str, setting: Setting) -> Any:
    searched, number = name in SEARCHED, setting.least is not None
    text = setting.help + (" auto searches for it (train-source)." if searched else "")
    if searched and number:
        return typer.Option(
            help=text,
            rich_help_panel="Recipe",
            show_default=False,
            metavar="FLOAT|auto",
            parser=_number_or_auto(setting),
        )
    return typer.Option(
        help=text,
        rich_help_panel="Recipe",
        show_default=False,
        min=setting.least,
        max=setting.most,
        callback=finite if number else None,
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
                    added.append(
                        (setting.option or name, Annotated[kind, _option(name, setting)], None)
                    )
        made = dataclasses.make_dataclass(options.__name__, added, bases=(options,), frozen=True)
        made.__module__, made.__doc__ = options.__module__, options.__doc__
        return made

    return decorate


SETTINGS = {
    setting.option or name: setting
    for group in (RecipeSettings, OptimizerSettings)
    for name, setting in settings_of(group).items()
}
"""What every option of a recipe says of itself, by the name of the option."""


@with_settings(RecipeSettings, OptimizerSettings)
@dataclasses.dataclass(frozen=True)
class RecipeOptions:
    """A preset, and what to change in it: an option for every setting of a recipe and its optimiser."""

    preset: Annotated[
        str,
        typer.Option(
            help="'paper' (P 100, 30,000 steps, key at 10,000, dropout 0.1, greedy text scored by exact match as "
            "the papers do), 'prefix' (prefix-tuning: P 10 through a network, AdamW at 5e-5 falling, batch 5), 'quick' "
            "(P 16, 300 steps, key at 100, labels ranked by likelihood), or 'auto': that of "
            "the bank's sources; without any, quick for the embedded backbone, and for others a short one, with a "
            "learning rate that follows from the embedding and lengths that follow from the data.",
            rich_help_panel="Recipe",
        ),
    ] = "auto"

    @property
    def searched(self) -> tuple[str, ...]:
        """Settings that shall be searched for."""
        return tuple(name for name in SEARCHED if getattr(self, name) == AUTO)

    def without_search(self) -> RecipeOptions:
        """The same with defaults where a search begins."""
        nothing: dict[str, Any] = dict.fromkeys(self.searched)
        return dataclasses.replace(self, **nothing)

    def refuse_search(self) -> None:
        """Refuse the word ``auto`` in commands that do not search.

        Raises:
            TrainingError: it was given.
        """
        from spot.errors import TrainingError

        for name in self.searched:
            raise TrainingError(
                f"--{name.replace('_', '-')} auto: spot train-source searches for it; give this command what that found"
            )

    @property
    def given(self) -> dict[str, Any]:
        """The settings that the command line gives, by the names of their options."""
        values = dataclasses.asdict(self).items()
        return {name: value for name, value in values if value is not None and name != "preset"}

    def check(self) -> None:
        """Refuse what no recipe takes, before anything is made.

        Raises:
            TrainingError: an unknown preset, settings that a recipe refuses, or such as must be searched for first.
        """
        from spot.training.recipe import Recipe

        if preset := self.named():
            preset.recipe.changed(self.given)
        else:  # what is not given follows from bank, backbone and data
            latest = max(self.given.get(name) or 1 for name in ("steps", "key_step"))
            Recipe(steps=latest, key_step=1).changed({"key_step": 1} | self.given)

    def recipe(self, backbone: str) -> Recipe:
        """The preset with the given changes; ``auto`` is that of the embedded backbone.

        Raises:
            TrainingError: an unknown preset, or settings that a recipe refuses.
        """
        base = self.named() or embedded(backbone) or _preset("quick")
        return base.recipe.changed(self.given)

    def named(self) -> Base | None:
        """The preset that was asked for by name.

        Raises:
            TrainingError: an unknown one.
        """
        from spot.errors import TrainingError
        from tasks.choices import choose

        self.refuse_search()
        choose(self.preset, ("auto", *PRESETS), "preset", error=TrainingError)
        return None if self.preset == "auto" else _preset(self.preset)


def embedded(backbone: str) -> Base | None:
    """What suits the embedded backbone, if that is the one."""
    if backbone != EMBEDDED:
        return None
    return _preset("quick")._replace(origin="quick, which suits the embedded backbone")


def _preset(name: str) -> Base:
    from spot.training.recipe import Recipe
    from spot.transfer.recipes import Base

    return Base(f"preset {name}", Recipe().changed(PRESETS[name]))
