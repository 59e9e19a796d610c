"""What a search tries: learning rates around the recipe's, and places where prompts start."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from spot.training.recipe import Recipe
from tasks.mixture import Mixture
from tasks.task import Task

FACTORS = (0.0, -0.5, 0.5, -1.0, 1.0, -1.5)
"""Powers of ten by which learning rates differ from the recipe's own, nearest first; more of them below it, since a
rate that is too high fails altogether."""

NEAR = FACTORS[:3]
"""Those that are tried with another start than the recipe's."""

STARTS = ("vocabulary", "labels", "uniform")
"""Initialisers that are tried."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a search tries.

    Attributes:
        learning_rate: at the peak of its schedule.
        init: name of an initialiser.
    """

    learning_rate: float
    init: str

    def of(self, recipe: Recipe) -> Recipe:
        """The recipe with it."""
        optimizer = dataclasses.replace(recipe.optimizer, learning_rate=self.learning_rate)
        return dataclasses.replace(recipe, optimizer=optimizer, init=self.init)

    def __str__(self) -> str:
        return f"learning rate {self.learning_rate:g}, start {self.init}"


def configurations(
    recipe: Recipe, searched: Sequence[str], tasks: Sequence[Task | Mixture]
) -> list[Configuration]:
    """What to try, the more promising first.

    Learning rates stand around the recipe's in half decades, of two digits, so that who types the one that was found
    asks for the same run. With both searched for, other starts are tried at the rates nearest to the recipe's.

    Args:
        recipe: whose learning rate and initialiser are the first to be tried.
        searched: ``learning_rate``, ``init``, or both.
        tasks: all that prompts will be trained on; their labels are tried where all have some that fit the prompt.
    """
    starts = list(
        dict.fromkeys([recipe.init, *(_starts(recipe, tasks) if "init" in searched else ())])
    )
    rate = recipe.optimizer.learning_rate
    wide, near = (FACTORS, NEAR) if "learning_rate" in searched else ((0.0,), (0.0,))
    return [
        Configuration(learning_rate=_rate(rate, power), init=start)
        for start in starts
        for power in (wide if start == recipe.init else near)
    ]


def _rate(rate: float, power: float) -> float:
    return float(f"{rate * 10**power:.2g}") if power else rate


def _starts(recipe: Recipe, tasks: Sequence[Task | Mixture]) -> list[str]:
    labelled = all(0 < len(task.labels) <= recipe.prompt_length for task in tasks)
    return [start for start in STARTS if start != "labels" or labelled]
