"""Whether prompts of several seeds together answer better than the best of them (Lester et al. 2021, section 6).

    python benchmarks/ensembles.py --bank bank.sqlite --backbone smollm2 --data-dir DATA --allow-partial-data \
        --tasks sst2 wn_pos ag_news blitzer_books

Of every task all source runs of the bank answer the same test examples. The single prompt is the best on dev, which is
what one would take; its control of equal cost in answering is none: an ensemble of N reads N times the rows. Gains are
in points with intervals over examples.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from bank import Bank
from bank.listing import list_runs
from spot.backbone.load import load_backbone
from spot.backbone.process import prepare_process
from spot.cli.prompts import asked
from spot.inference.ensembles import AVERAGE, ENSEMBLES, Voters, weights_of
from spot.inference.many import Given, answer_all
from spot.transfer.gain import paired_gain
from tasks import Split, get_task
from tasks.task import take


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bank", required=True)
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--examples", type=int, default=500, help="test examples of each task")
    parser.add_argument("--development", type=int, default=200, help="that weights are learnt on")
    parser.add_argument("--max-input", type=int, default=48)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--allow-partial-data", action="store_true")
    options = parser.parse_args()
    prepare_process()
    backbone = load_backbone(options.backbone)
    with Bank.open(options.bank, create=False) as bank:
        for name in options.tasks:
            task = get_task(name)
            rows = list_runs(bank.engine, task=name, role="source")
            runs = sorted(rows, key=lambda row: -row["score"])  # the best on dev first
            prompts = [bank.find_prompt(row["run"]) for row in runs]
            sets = [
                asked(
                    backbone,
                    take(
                        task.examples(
                            split,
                            data_dir=options.data_dir,
                            allow_partial=options.allow_partial_data,
                        ),
                        limit,
                    ),
                    max_input=options.max_input,
                )
                for split, limit in (
                    (Split.TEST, options.examples),
                    (Split.DEV, options.development),
                )
            ]
            mean = np.mean(prompts, axis=0, dtype=np.float64).astype(np.float32)
            answers = answer_all(backbone, [Given(each) for each in (*prompts, mean)], sets)
            voters, development = (
                Voters([each[number] for each in answers[:-1]], sets[number].examples)
                for number in (0, 1)
            )
            weights = weights_of(development)
            given = {name: way(voters, weights) for name, way in ENSEMBLES.items()}
            given[AVERAGE] = answers[-1][0].texts
            examples, best = sets[0].examples, answers[0][0].texts
            singles = [task.score(each[0].texts, examples)["score"] for each in answers[:-1]]
            report = {"task": name, "singles, best on dev first": [round(s, 1) for s in singles]}
            for way, texts in given.items():
                gain = paired_gain(task, examples, [texts], [best])
                report[way] = {
                    "score": round(task.score(texts, examples)["score"], 1),
                    "over the best on dev": str(gain),
                }
            print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
