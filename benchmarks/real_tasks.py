"""Prompt tuning of the embedded backbone on real data, against the most frequent class.

    python benchmarks/real_tasks.py --data-dir DATA --allow-partial-data trec ag_news sst2 --steps 400 --seeds 1
    python benchmarks/real_tasks.py --data-dir DATA --allow-partial-data trec ag_news sst2 --own-words

The embedded backbone is tiny, and which words an answer is made of matters to it: a word that its supervised phase
never asked for is hard to elicit. ``--own-words`` maps the official label words to words it knows (see ``OWN_WORDS``);
without it the official ones are used.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import time
from pathlib import Path

from spot.backbone.load import load_backbone
from spot.backbone.process import prepare_process
from spot.inference.predict import predict
from spot.training.optimizers import Optimizer
from spot.training.prompt_tuning import train_prompt
from spot.training.recipe import Recipe
from spot.training.task_data import TaskData
from tasks import Split, Task, get_task

OWN_WORDS = {
    "trec": {
        "description": "communication", "entity": "object", "abbreviation": "body", "human": "person",
        "location": "place", "number": "time",
    },
    "ag_news": {"world": "place", "sports": "act", "business": "possession", "technology": "object"},
    "sst2": {"negative": "no", "positive": "yes"},
    "mr": {"negative": "no", "positive": "yes"},
    "qnli": {"entailment": "yes", "not_entailment": "no"},
    "scitail": {"entailment": "yes", "neutral": "no"},
    "quora": {"duplicate": "equivalent", "not_duplicate": "not_equivalent"},
}  # fmt: skip


def with_words(task: Task, words: dict[str, str]) -> Task:
    """The same task answered in other words."""

    def formatter(row: object) -> list:
        return [
            dataclasses.replace(
                e, target=words[e.target], choices=tuple(words[c] for c in e.choices)
            )
            for e in task.formatter(row)
        ]

    return dataclasses.replace(
        task, formatter=formatter, labels=tuple(words[label] for label in task.labels)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--allow-partial-data", action="store_true")
    parser.add_argument("--own-words", action="store_true")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=0.3)
    options = parser.parse_args()
    prepare_process()
    backbone = load_backbone()
    recipe = Recipe(
        prompt_length=16,
        batch_size=16,
        steps=options.steps,
        key_step=100,
        evaluate_every=100,
        dev_limit=300,
        max_input=64,
        optimizer=Optimizer(learning_rate=options.learning_rate),
    )
    for name in options.tasks:
        task = get_task(name)
        if options.own_words:
            task = with_words(task, OWN_WORDS[name])
        data = TaskData(
            task,
            backbone,
            recipe,
            data_dir=options.data_dir,
            allow_partial=options.allow_partial_data,
        )
        test = data[Split.TEST]
        majority = collections.Counter(e.target for e in data[Split.TRAIN].examples).most_common(1)[
            0
        ][0]
        scores, dev, began = [], [], time.monotonic()
        for seed in range(options.seeds):
            trained = train_prompt(backbone, data, recipe, seed=seed)
            answers = predict(backbone, trained.value, test.examples, test.tokens)
            scores.append(round(data.score(Split.TEST, answers)["score"], 2))
            dev.append(
                [
                    (int(row["step"]), round(row["loss"], 2), round(row["score"], 1))
                    for row in trained.history
                ]
            )
        row = {
            "task": name,
            "own words": options.own_words,
            "test": scores,
            "majority": round(data.score(Split.TEST, [majority] * len(test.examples))["score"], 2),
            "examples": len(test.examples),
            "seconds": round(time.monotonic() - began),
            "dev curves": dev,
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
