"""What ``--learning-rate auto`` finds beside a full grid of the same learning rates.

Every rate trains to the end on every task, with one seed; then the search chooses among them. Its pick is judged by
the final scores of the run that it stands for, and by what the best rate of the grid would have given.

    python benchmarks/learning_rate.py --backbone tiny --prompt-length 20 --steps 300 wn_pos wn_living
    python benchmarks/learning_rate.py --backbone smollm2 --prompt-length 100 --schedule linear --steps 150 \\
        --data-dir data --train-limit 1000 --dev-limit 200 sst2 trec

Runs lie in the bank and the folder of checkpoints that are given, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from bank import Bank
from spot.backbone.load import Backbone, load_backbone
from spot.backbone.process import prepare_process
from spot.cli.output import print_rows
from spot.training.configurations import Configuration, configurations
from spot.training.defaults import learning_rate
from spot.training.found import Found
from spot.training.optimizers import Optimizer
from spot.training.recipe import Recipe
from spot.transfer.datasets import Datasets
from spot.transfer.runs import Trainer
from tasks import Mixture, Task, get_learnable


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--prompt-length", type=int, default=20)
    parser.add_argument(
        "--learning-rate", type=float, help="centre of the grid; else the backbone's own"
    )
    parser.add_argument("--schedule", default="constant")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--evaluate-every", type=int, default=50)
    parser.add_argument("--max-input", type=int, default=128)
    parser.add_argument("--max-target", type=int, default=16)
    parser.add_argument("--train-limit", type=int, default=0)
    parser.add_argument("--dev-limit", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bank", default="learning_rate.sqlite")
    parser.add_argument("--runs", type=Path, default=Path("learning_rate_runs"))
    return parser.parse_args()


def centre(given: argparse.Namespace, backbone: Backbone) -> float:
    """The rate around which others are tried."""
    own = learning_rate(float(backbone.embedding.std()), given.prompt_length)
    return own if given.learning_rate is None else float(given.learning_rate)


def recipe_of(given: argparse.Namespace, backbone: Backbone) -> Recipe:
    return Recipe(
        prompt_length=given.prompt_length,
        steps=given.steps,
        key_step=max(1, given.steps // 3),
        batch_size=given.batch_size,
        evaluate_every=given.evaluate_every,
        max_input=given.max_input,
        max_target=given.max_target,
        train_limit=given.train_limit,
        dev_limit=given.dev_limit,
        optimizer=Optimizer(learning_rate=centre(given, backbone), schedule=given.schedule),
    )


@dataclasses.dataclass(frozen=True)
class Final:
    """Scores of a configuration's runs, on development data and on test, one a task."""

    configuration: Configuration
    dev: Sequence[float]
    test: Sequence[float]


def final(
    trainer: Trainer, tasks: Sequence[Task | Mixture], seed: int, one: Configuration
) -> Final:
    """Train to the end on all tasks; a bank holds what has ended."""
    at_rate = trainer.with_recipe(one.of(trainer.recipe))
    runs = at_rate.run_all([at_rate.spec(task, seed, "source") for task in tasks])
    tests = [at_rate.test_all(task, [run])[0] for task, run in zip(tasks, runs, strict=True)]
    return Final(one, [run.score for run in runs], [test.metrics["score"] for test in tests])


def row(
    one: Final, found: Found, tasks: Sequence[Task | Mixture], best: Final
) -> dict[str, object]:
    trial = found.trials[[trial.configuration for trial in found.trials].index(one.configuration)]
    marks = ["auto"] * (one.configuration == found.configuration) + ["best on dev"] * (one is best)
    return {
        "learning rate": f"{one.configuration.learning_rate:g}",
        **{
            f"{task.name} {split}": scores[i]
            for i, task in enumerate(tasks)
            for split, scores in (("dev", one.dev), ("test", one.test))
        },
        "search steps": trial.steps,
        "": ", ".join(marks),
    }


def main() -> None:
    given = options()
    prepare_process()
    tasks = [get_learnable(name) for name in given.tasks]
    backbone = load_backbone(given.backbone, dtype=given.dtype)
    with Bank.open(given.bank) as bank:
        datasets = Datasets(backbone, data_dir=given.data_dir)
        recipe = recipe_of(given, backbone)
        folder = given.runs / f"around-{recipe.optimizer.learning_rate:g}"
        trainer = Trainer(bank, backbone, recipe, datasets=datasets, folder=folder)
        began = time.monotonic()
        found = trainer.search(tasks, ["learning_rate"], seed=given.seed)
        seconds = time.monotonic() - began
        tried = configurations(trainer.recipe, ["learning_rate"], tasks)
        tried.sort(key=lambda one: one.learning_rate)
        grid = [final(trainer, tasks, given.seed, one) for one in tried]
    best = max(grid, key=lambda one: statistics.mean(one.dev))
    auto = next(one for one in grid if one.configuration == found.configuration)
    print_rows(
        [row(one, found, tasks, best) for one in grid],
        title=f"{given.backbone}, P = {given.prompt_length}, {given.steps} steps, {given.schedule}",
    )
    means = {
        name: (statistics.mean(one.dev), statistics.mean(one.test))
        for name, one in (("auto", auto), ("best of the grid", best))
    }
    for name, (dev, test) in means.items():
        print(f"{name}: dev {dev:.2f}, test {test:.2f}")
    print(
        f"cost in runs a task: auto {1 + found.runs:.2f} ({seconds:.0f} s for the search), grid {len(grid)}"
    )


if __name__ == "__main__":
    main()
