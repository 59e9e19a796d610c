"""SmolLM2-135M on real tasks: most frequent class, zero-shot text prompts, prompt tuning, and SPoT from other tasks.

    python benchmarks/smollm2_study.py --data-dir DATA --allow-partial-data --bank smollm2.sqlite \\
        sst2 mr trec ag_news --length 20

For every task and seed: prompt tuning from sampled vocabulary, whose key is the query; then training from the value of
the nearest other task. The sources are the other tasks' own prompt-tuning runs, so nothing is trained twice. Zero-shot
prompts are the best of a few instructions on the development set, scored by the label's likelihood as everything
else. Runs live in the bank: interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bank import Bank
from spot.backbone.load import Backbone, load_backbone
from spot.backbone.process import prepare_process
from spot.inference.predict import predict
from spot.training.optimizers import Optimizer
from spot.training.progress import make_reporter
from spot.training.recipe import Recipe
from spot.transfer.datasets import Datasets
from spot.transfer.executors import LocalExecutor
from spot.transfer.runs import Trainer
from spot.transfer.transfer import TransferOptions, run_transfer
from tasks import Split, Task, get_task
from tasks.task import Example, take
from tasks.tokenize import tokenize

INSTRUCTIONS: dict[str, Sequence[str]] = {
    "sst2": ("{}\nIs this review positive or negative?", "Review: {}\nSentiment:", "{}\nIt was"),
    "mr": ("{}\nIs this review positive or negative?", "Review: {}\nSentiment:", "{}\nIt was"),
    "trec": (
        "{}\nWhat does the question ask for: description, entity, abbreviation, human, location or number?",
        "Question: {}\nType of the answer:",
    ),
    "ag_news": (
        "{}\nIs this news about the world, sports, business or technology?",
        "News: {}\nTopic:",
    ),
    "rte": ("{}\nDoes the premise entail the hypothesis?", "{}\nRelation:"),
    "tweet_offensive": ("{}\nIs this tweet polite or offensive?", "Tweet: {}\nTone:"),
}


def accuracy_of(
    backbone: Backbone, task: Task, examples: Sequence[Example], recipe: Recipe, instruction: str
) -> float:
    """Score of the bare model behind a text prompt."""
    plain = [example.inputs.split(": ", 1)[-1] if example.inputs.count(": ") == 1 else example.inputs
             for example in examples]  # fmt: skip
    asked = [
        dataclasses.replace(example, inputs=instruction.format(text))
        for example, text in zip(examples, plain, strict=True)
    ]
    data = tokenize(
        asked,
        backbone.tokenizer.encode,
        tokenizer_fingerprint=backbone.tokenizer.fingerprint,
        around=backbone.config.around,
        lengths=dataclasses.replace(recipe.lengths, inputs=recipe.max_input + 40),
    )
    answers = predict(backbone, np.zeros((0, backbone.width), np.float32), asked, data)
    return task.score(answers, examples)["score"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--allow-partial-data", action="store_true")
    parser.add_argument("--bank", required=True)
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--max-input", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--schedule", default="linear")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dev", type=int, default=100)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--zero-shot", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--test-limit", type=int, default=0, help="test examples of a task; 0 takes all"
    )
    options = parser.parse_args()
    prepare_process()
    backbone = load_backbone(options.backbone, dtype=options.dtype)
    recipe = Recipe(
        prompt_length=options.length,
        batch_size=options.batch,
        steps=options.steps,
        key_step=options.steps // 3,
        evaluate_every=options.steps // 3,
        dev_limit=options.dev,
        max_input=options.max_input,
        optimizer=Optimizer(learning_rate=options.learning_rate, schedule=options.schedule),
    )
    names = [get_task(name) for name in options.tasks]
    with Bank.open(options.bank) as bank:
        datasets = Datasets(
            backbone, data_dir=options.data_dir, allow_partial=options.allow_partial_data
        )
        trainer = Trainer(
            bank,
            backbone,
            recipe,
            datasets=datasets,
            executor=LocalExecutor(bank, datasets, reporters=_reporter),
            folder=Path(f"{options.bank}.runs"),
        )
        for seed in range(options.seeds):
            for task in names:
                trainer.run(task, seed=seed, role="source")
        for task in names:
            if options.test_limit:
                data = trainer.data(task)
                data._splits[Split.TEST] = data._tokenize(
                    take(data[Split.TEST].examples, options.test_limit)
                )
            report(trainer, task, recipe, options.seeds, zero_shot=options.zero_shot)


def _reporter(title: str):  # type: ignore[no-untyped-def]
    from rich.console import Console

    return make_reporter(title, Console(stderr=True))


def report(trainer: Trainer, task: Task, recipe: Recipe, seeds: int, *, zero_shot: bool) -> None:
    """One line of JSON: every method's test score."""
    began, backbone, data = time.monotonic(), trainer.backbone, trainer.data(task)
    dev, test, train = (
        data[Split.DEV].examples,
        data[Split.TEST].examples,
        data[Split.TRAIN].examples,
    )
    most = collections.Counter(example.target for example in train).most_common(1)[0][0]
    lines = INSTRUCTIONS[task.name] if zero_shot else ()
    by_dev = {line: accuracy_of(backbone, task, dev, recipe, line) for line in lines}
    best = max(by_dev, key=by_dev.__getitem__, default=None)
    transfers = [
        run_transfer(trainer, task, seed=seed, options=TransferOptions(top_k=1, aggregate="max"))
        for seed in range(seeds)
    ]
    tuned = [done.baseline_test.metrics["score"] for done in transfers if done.baseline_test]
    moved = [done.outcome_test.metrics["score"] for done in transfers]
    row = {
        "task": task.name,
        "length": recipe.prompt_length,
        "test examples": len(test),
        "most frequent class": task.score([most] * len(test), test)["score"],
        "zero-shot": accuracy_of(backbone, task, test, recipe, best) if best else None,
        "instruction": best,
        "prompt tuning": tuned,
        "SPoT": moved,
        "mean": [statistics.mean(tuned), statistics.mean(moved)],
        "sd": [statistics.stdev(scores) if len(scores) > 1 else 0.0 for scores in (tuned, moved)],
        "sources": [done.ranked[0].task for done in transfers],
        "similarity": [done.ranked[0].similarity for done in transfers],
        "seconds a run": [round(done.query.seconds) for done in transfers],
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
