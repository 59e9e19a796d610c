"""``auto``: the search for settings of a recipe before sources are trained, and what is shown of it. Imports no JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spot.cli.output import tell

if TYPE_CHECKING:
    from spot.prompts.files import PromptFile
    from spot.training.found import Found
    from spot.transfer.recipes import Chosen
    from spot.transfer.runs import Trainer
    from tasks import Mixture, Task


def search_settings(
    trainer: Trainer,
    chosen: Chosen,
    tasks: Sequence[Task | Mixture],
    searched: Sequence[str],
    *,
    seed: int,
    start: PromptFile | None,
) -> tuple[Trainer, Chosen, Found | None]:
    """The trainer and recipe with what a search finds on tasks, and that; as they are where nothing is searched."""
    if not searched:
        return trainer, chosen, None
    found = trainer.search(tasks, searched, seed=seed, initial=start.prompt if start else None)
    tell(found_line(found, len(tasks)))
    recipe = found.configuration.of(trainer.recipe)
    return trainer.with_recipe(recipe), dataclasses.replace(chosen, recipe=recipe), found


def found_line(found: Found, tasks: int) -> str:
    """What a search chose, why, and what it took."""
    on, cost = ", ".join(found.tasks), f"{found.steps} steps, {found.runs:.2f} of a run a task"
    why = f"least development loss on {on}, seed {found.seed}"
    if len(found.tasks) > 1:
        why = f"best mean rank by development loss on {on}, seed {found.seed}"
    shared = "; one for all tasks, so that their keys compare" if tasks > 1 else ""
    return f"{found.configuration}: {why}{shared} ({cost})"


def found_rows(found: Found) -> list[dict[str, Any]]:
    """A row for everything that was tried: its last development loss on every task."""
    furthest = max(trial.steps for trial in found.trials)
    ends = [
        "diverged" if trial.diverged else "" if trial.steps == furthest else "given up"
        for trial in found.trials
    ]
    ends[found.chosen] = "chosen"
    return [
        {
            "learning rate": f"{trial.configuration.learning_rate:g}",
            "start": trial.configuration.init,
            **{
                f"loss on {task}": losses[-1][1] if losses else None
                for task, losses in trial.losses.items()
            },
            "steps": trial.steps,
            "": end,
        }
        for trial, end in zip(found.trials, ends, strict=True)
    ]


def found_document(found: Found) -> dict[str, Any]:
    """A search, whole."""
    return {
        "chosen": dataclasses.asdict(found.configuration),
        "tasks": list(found.tasks),
        "seed": found.seed,
        "steps": found.steps,
        "runs": found.runs,
        "tried": [
            dataclasses.asdict(trial.configuration)
            | {
                "losses": {
                    task: [{"step": step, "loss": loss} for step, loss in losses]
                    for task, losses in trial.losses.items()
                },
                "steps": trial.steps,
                "diverged": trial.diverged,
                "chosen": i == found.chosen,
            }
            for i, trial in enumerate(found.trials)
        ],
    }
