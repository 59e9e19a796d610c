"""``spot tune``: a model whose weights all learn tasks, the baseline of prompts, kept as a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from spot.cli.groups import refuse_given, takes_groups
from spot.cli.options import JsonOption, TrainerOptions, find_tasks
from spot.cli.output import errors, print_json, say
from spot.cli.recipes import finite
from spot.training.settings import SEED, WHOLE, OptimizerSettings, settings_of

OF_PROMPTS = (
    "form", "mlp_width", "shared", "prompt_length", "init", "key_step", "prompt_dropout", "toward", "toward_weight",
    "curve_limit", "slots", "log_dir", *(each.option or name for name, each in settings_of(OptimizerSettings).items()),
)  # fmt: skip
"""Options that mean nothing where all weights train."""

TuningRate = Annotated[
    float,
    typer.Option(
        help="Learning rate of model tuning, relative to the weights' scale.",
        min=1e-9,
        max=WHOLE,
        callback=finite,
    ),
]


@takes_groups
def tune(
    context: typer.Context,
    tasks: Annotated[list[str], typer.Argument(help="Tasks, or paths of task files.")],
    *,
    folder: Annotated[Path, typer.Option(help="Where everything goes; a second call resumes.")],
    tuning_rate: TuningRate = 0.001,
    seed: Annotated[int, typer.Option(help="Of the order of batches.", min=0, max=SEED)] = 0,
    training: TrainerOptions,
    out: JsonOption,
) -> None:
    """Train all weights of a model on tasks (model tuning), and save it in Hugging Face's format.

    T5's fine-tuning (Raffel et al. 2020): Adafactor at a constant rate. Of several tasks each is told by its name in
    front of the input. What prompts cost kilobytes for costs a model here.
    """
    from bank import Bank
    from spot.backbone.export import save_changed
    from spot.paths import prepare_folders
    from spot.training.checkpoint import claim
    from spot.training.model_tuning import OPTIMIZER, tune_model
    from spot.training.progress import make_reporter
    from spot.training.recipe import recorded
    from spot.transfer.methods import mixture_of

    refuse_given(context, OF_PROMPTS, "all weights train, and no prompt")
    learnt = find_tasks(tasks)
    prepare_folders(folder)
    with Bank.open("sqlite:///:memory:") as none:
        trainer, chosen = training.make(none, learnt, what="target")
    backbone, recipe = trainer.backbone, trainer.recipe
    *others, last = learnt
    data = trainer.datasets.read(
        mixture_of(last, others) if others else last, recipe, named=bool(others)
    )
    optimizer = dataclasses.replace(OPTIMIZER, learning_rate=tuning_rate)
    told = {"backbone": backbone.identity, "data": data.digest, "seed": seed}
    claim(
        folder / "tuning.json",
        told | {"recipe": recorded(recipe), "optimizer": dataclasses.asdict(optimizer)},
    )
    tuned = tune_model(
        backbone,
        data,
        recipe,
        seed=seed,
        optimizer=optimizer,
        folder=folder / "training",
        checkpoint_seconds=training.runs.checkpoint_seconds,
        reporter=make_reporter(f"tune {data.task.name}", errors()),
    )
    model = save_changed(backbone, tuned.backbone.weights, folder / "model")
    if out.json:
        print_json(
            {"model": str(model), "task": data.task.name, "dev": tuned.metrics}
            | {"history": tuned.history, "recipe": chosen.document()}
        )
        return
    say(f"dev {tuned.metrics['score']:.2f}; model in {model}; use it with --backbone {model}")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    example = "spot tune wn_pos --folder tuned, then: spot eval wn_pos --backbone tuned/model"
    app.command("tune", epilog=f"Example: {example}")(tune)
