"""The ablations of Lester et al. (2021), figure 3: prompt length, initialiser, pre-training objective, LM adaptation.

    python benchmarks/ablations.py lengths initializers --backbone tiny --tasks wn_pos wn_living
    python benchmarks/ablations.py lengths initializers --backbone smollm2 --tasks wn_living --steps 60 \\
        --batch-size 8 --max-input 48 --train-limit 64 --dev-limit 60 --schedule linear
    python benchmarks/ablations.py objectives steps --corpus CORPUS.txt.gz --tasks wn_pos wn_living

``lengths`` are figure 3 a, ``initializers`` b, ``objectives`` c and ``steps`` d. The paper's T5s have learnt span
corruption alone, and are adapted to go on with text; the embedded model has learnt both. So c and d first train it on
span corruption, ``--corruption-steps`` long, and then adapt that model: ``span corruption`` is this one, ``+ sentinel``
the same with targets that begin with a sentinel, and ``LM adaptation`` what goes on with text again. Models, runs and
bank lie in ``--folder``, so that a stopped command goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bank import Bank
from spot.backbone.load import load_backbone
from spot.backbone.process import prepare_process
from spot.cli.output import print_rows
from spot.training.adapt import Adaptation, adapt
from spot.training.defaults import learning_rate
from spot.training.optimizers import Optimizer
from spot.training.recipe import Recipe
from spot.transfer.datasets import Datasets
from spot.transfer.runs import Trainer
from tasks import get_learnable

LENGTHS = (1, 5, 20, 100, 150)
INITIALIZERS = ("uniform", "vocabulary", "labels")


class Bar(NamedTuple):
    """One bar of a figure: what it is called, its model, and what it changes in the recipe."""

    name: str
    backbone: str
    recipe: Recipe


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", nargs="+", choices=list(FIGURES))
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--prompt-length", type=int, default=20, help="where that is not varied")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--schedule", default="constant")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--max-input", type=int, default=64)
    parser.add_argument("--train-limit", type=int, default=1000)
    parser.add_argument("--dev-limit", type=int, default=100)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--allow-partial-data", action="store_true")
    parser.add_argument("--corpus", type=Path, nargs="+", default=[], help="text for c and d")
    parser.add_argument("--corruption-steps", type=int, default=500)
    parser.add_argument("--adaptation-steps", type=int, nargs="+", default=[0, 125, 250, 500])
    parser.add_argument("--folder", type=Path, default=Path("ablations"))
    return parser.parse_args()


def recipe_of(given: argparse.Namespace) -> Recipe:
    return Recipe(
        prompt_length=given.prompt_length,
        steps=given.steps,
        key_step=given.steps,
        batch_size=given.batch_size,
        evaluate_every=max(1, given.steps // 4),
        max_input=given.max_input,
        max_target=8,
        train_limit=given.train_limit,
        dev_limit=given.dev_limit,
    )


def lengths(given: argparse.Namespace) -> Iterator[Bar]:
    """Figure 3 a."""
    for length in LENGTHS:
        yield Bar(
            f"P = {length}",
            given.backbone,
            dataclasses.replace(recipe_of(given), prompt_length=length),
        )


def initializers(given: argparse.Namespace) -> Iterator[Bar]:
    """Figure 3 b."""
    for name in INITIALIZERS:
        yield Bar(name, given.backbone, dataclasses.replace(recipe_of(given), init=name))


def objectives(given: argparse.Namespace) -> Iterator[Bar]:
    """Figure 3 c."""
    yield Bar("span corruption", corrupted(given), recipe_of(given))
    yield Bar("+ sentinel", adapted(given, 0, sentinel=True), recipe_of(given))
    yield Bar("LM adaptation", adapted(given, max(given.adaptation_steps)), recipe_of(given))


def steps(given: argparse.Namespace) -> Iterator[Bar]:
    """Figure 3 d."""
    for count in given.adaptation_steps:
        name = f"adapted for {count} steps"
        yield Bar(name, adapted(given, count) if count else corrupted(given), recipe_of(given))


FIGURES = {
    "lengths": lengths,
    "initializers": initializers,
    "objectives": objectives,
    "steps": steps,
}


def corrupted(given: argparse.Namespace) -> str:
    """The folder of the model that has last learnt span corruption."""
    chosen = Adaptation(objective="span_corruption", steps=given.corruption_steps)
    return made(given.backbone, chosen, given.corpus, given.folder / "span-corruption")


def adapted(given: argparse.Namespace, count: int, *, sentinel: bool = False) -> str:
    """The folder of what that becomes after so many steps of going on with text."""
    chosen = Adaptation(steps=count, sentinel=sentinel)
    name = "sentinel" if sentinel else f"adapted-{count}"
    return made(corrupted(given), chosen, given.corpus if count else [], given.folder / name)


def made(backbone: str, chosen: Adaptation, corpus: Sequence[Path], folder: Path) -> str:
    model = folder / "model"
    if not (model / "model.safetensors").is_file():
        adapt(load_backbone(backbone), chosen, corpus, folder)
    return str(model)


def scores(bar: Bar, given: argparse.Namespace, bank: Bank) -> dict[str, list[float]]:
    """Test scores of every task, one a seed."""
    backbone = load_backbone(bar.backbone)
    deviation = float(backbone.embedding.std())
    rate = learning_rate(deviation, bar.recipe.prompt_length)
    optimizer = Optimizer(learning_rate=rate, schedule=given.schedule)
    recipe = dataclasses.replace(bar.recipe, optimizer=optimizer)
    datasets = Datasets(backbone, data_dir=given.data_dir, allow_partial=given.allow_partial_data)
    trainer = Trainer(bank, backbone, recipe, datasets=datasets, folder=given.folder / "runs")
    found = {}
    for name in given.tasks:
        task = get_learnable(name)
        runs = trainer.run_all([trainer.spec(task, seed, "source") for seed in range(given.seeds)])
        tested = trainer.test_all(task, runs)
        found[name] = [evaluation.metrics["score"] for evaluation in tested]
    return found


def main() -> None:
    given = options()
    if not given.corpus and {"objectives", "steps"} & set(given.figures):
        raise SystemExit("objectives and steps train models; name text files by --corpus")
    prepare_process()
    given.folder.mkdir(parents=True, exist_ok=True)
    with Bank.open(given.folder / "bank.sqlite") as bank:
        for figure in given.figures:
            rows = []
            for bar in FIGURES[figure](given):
                found = scores(bar, given, bank)
                spread = {
                    name: f"{statistics.mean(each):.1f} ({min(each):.1f} to {max(each):.1f})"
                    for name, each in found.items()
                }
                rows.append({figure: bar.name} | spread)
                print(figure, bar.name, spread, flush=True)
            print_rows(rows, title=figure)


if __name__ == "__main__":
    main()
