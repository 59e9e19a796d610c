"""Time of evaluating N prompts on their development examples: all in one pass, against one after another, alternating.

    python benchmarks/evaluations.py --prompts 4 16
    python benchmarks/evaluations.py --task trec --data-dir DATA --method generate
    python benchmarks/evaluations.py --backbone smollm2 --length 20 --prompts 4

Every prompt answers the same examples, as the seeds of a task do; ``--tasks`` gives each a task of its own, as the
sources of a study have. Programs are compiled before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from spot.backbone.load import load_backbone
from spot.backbone.process import prepare_process
from spot.inference.predict import METHODS, Questions, predict, predict_many
from spot.prompts.forms import FORMS
from spot.training.recipe import Recipe
from spot.training.task_data import TaskData
from tasks import Split, get_task


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--length", type=int, default=16)
    parser.add_argument("--tasks", nargs="+", default=["wn_living"])
    parser.add_argument(
        "--examples", type=int, default=200, help="development examples of each task"
    )
    parser.add_argument("--method", choices=METHODS, default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--allow-partial-data", action="store_true")
    options = parser.parse_args()
    prepare_process()
    backbone = load_backbone(options.backbone)
    recipe = Recipe(prompt_length=options.length, dev_limit=options.examples)
    splits = [
        TaskData(
            get_task(name),
            backbone,
            recipe,
            data_dir=options.data_dir,
            allow_partial=options.allow_partial_data,
        )[Split.DEV]
        for name in options.tasks
    ]
    ids = np.random.default_rng(0).integers(3, 1000, (max(options.prompts), options.length))
    prompts = np.asarray(backbone.embedding)[ids].astype(np.float32)
    for count in options.prompts:
        dev = [splits[row % len(splits)] for row in range(count)]
        soft = FORMS["prompt"].stack(list(prompts[:count]), backbone.config)
        questions = [Questions(row, one.examples, one.tokens) for row, one in enumerate(dev)]
        seconds: dict[str, list[float]] = {"together": [], "one by one": []}
        for timed in range(options.rounds + 1):
            began = time.perf_counter()
            together = predict_many(backbone, soft, questions, method=options.method)
            middle = time.perf_counter()
            alone = [
                predict(backbone, prompt, one.examples, one.tokens, method=options.method)
                for prompt, one in zip(prompts, dev, strict=False)
            ]
            if timed:
                seconds["together"].append(middle - began)
                seconds["one by one"].append(time.perf_counter() - middle)
            assert together == alone
        medians = {name: round(statistics.median(times), 3) for name, times in seconds.items()}
        ratio = statistics.median(seconds["one by one"]) / statistics.median(seconds["together"])
        print(
            json.dumps({"prompts": count, "seconds": medians, "speed": round(ratio, 2)}), flush=True
        )


if __name__ == "__main__":
    main()
