"""What listing, checking and ranking take where a bank holds keys by the ten thousand.

    python benchmarks/bank_scale.py FOLDER --keys 10000 100000

Banks of N keys [4, 768] are made in FOLDER where they are not there yet (3.6 GB for 100,000): N source runs of N / 100
tasks, each with a value of its own. Every figure is taken in a process of its own and counts its start: seconds by the
clock and of the processor, the best of ``--repeat``, and the peak of resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from memory import peak_bytes

from bank import (
    BackboneRecord,
    Bank,
    RecipeRecord,
    RunIdentity,
    RunRecord,
    SnapshotRecord,
    TaskRecord,
)
from bank.identity import recipe_family
from bank.vectors import average

LENGTH, WIDTH, SEEDS, AT_ONCE = 4, 768, 100, 1000

SPOT = """
import atexit, sys
sys.path.insert(0, sys.argv.pop(1))
from memory import peak_bytes
atexit.register(lambda: sys.stderr.write(str(peak_bytes())))
from spot.cli.main import main
main()
"""

NEEDED = {"average": 1, "displacement": 2}
"""Vectors of every key that a measure needs."""

COMMANDS = ("tasks", "runs", "prompts", "transfers", "verify")


# -- banks ---------------------------------------------------------------------------------------------------


def make_bank(path: Path, keys: int) -> None:
    """A bank of so many source runs, written whole or not at all."""
    unfinished = path.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    records = runs_of(keys)
    with Bank.open(unfinished) as bank:
        for _ in range(0, keys, AT_ONCE):
            bank.record_runs(list(islice(records, AT_ONCE)))
    unfinished.rename(path)


def runs_of(keys: int) -> Iterator[RunRecord]:
    """Source runs of one recipe: prompts of one task lie near each other, runs of one seed start alike."""
    model = BackboneRecord(fingerprint="f" * 64, name="toy", width=WIDTH, config={"d_model": WIDTH})
    recipe = recipe_of(model)
    random = np.random.default_rng(0)
    starts = [average(random.normal(size=(LENGTH, WIDTH))) for _ in range(SEEDS)]
    for number in range(keys):
        task, seed = divmod(number, SEEDS)
        middle = np.random.default_rng(task).normal(size=(LENGTH, WIDTH))
        early, late = middle + random.normal(size=(2, LENGTH, WIDTH))
        scores = [float(score) for score in np.sort(random.uniform(50, 90, size=4))]
        history = [
            {"step": 10.0 * (i + 1), "loss": 0.5, "score": score} for i, score in enumerate(scores)
        ]
        yield RunRecord(
            identity=RunIdentity(
                recipe=recipe, task=TaskRecord(name=f"task{task:05}", family="toy"), seed=seed, role="source",
                data=f"{task:064}",
            ),
            steps=40,
            metric="score",
            score=scores[-1],
            key=SnapshotRecord(prompt=early, step=10, score=scores[0]),
            value=SnapshotRecord(prompt=late, step=40, score=scores[-1]),
            metrics={"score": scores[-1]},
            history=history,
            environment={"most frequent answer": 50.0},
            seconds=1.0,
            start=starts[seed],
        )  # fmt: skip


def recipe_of(model: BackboneRecord) -> RecipeRecord:
    """A recipe with the options that training gives it."""
    options: dict[str, Any] = {
        "prompt_length": LENGTH, "init": "vocabulary", "optimizer": {"name": "adafactor", "schedule": "constant"},
        "batch_size": 16, "steps": 40, "key_step": 10, "evaluate_every": 10, "patience": 0, "max_input": 128,
        "max_target": 16, "train_limit": 0, "dev_limit": 0, "evaluate_by": "auto", "dtype": "float32",
    }  # fmt: skip
    family = recipe_family(options)
    return RecipeRecord(
        backbone=model, prompt_length=LENGTH, key_step=10, family=family, options=options
    )


# -- figures -------------------------------------------------------------------------------------------------


class Timed(NamedTuple):
    """Seconds that a process took, by the clock and of the processor, and what it wrote."""

    seconds: float
    processor: float
    out: str
    errors: str


def timed(arguments: list[str]) -> Timed:
    began, before = time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    seconds, after = time.perf_counter() - began, os.times()
    used = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return Timed(seconds, used, done.stdout, done.stderr)


def command_figures(path: Path, repeat: int) -> Iterator[dict[str, object]]:
    for command in COMMANDS:
        arguments = ["-c", SPOT, str(Path(__file__).parent), "bank", command, "--bank", str(path)]
        runs = [timed(arguments) for _ in range(1 if command == "verify" else repeat)]
        yield {
            "what": f"spot bank {command}",
            "seconds": round(min(run.seconds for run in runs), 2),
            "processor": round(min(run.processor for run in runs), 2),
            "MB": max(int(run.errors) for run in runs) >> 20,
        }


def retriever_figures(path: Path) -> Iterator[dict[str, object]]:
    """Of every measure in a process of its own, see :func:`rank_here`."""
    for measure in NEEDED:
        yield from json.loads(timed([__file__, "--rank", str(path), "--measure", measure]).out)


def rank_here(path: Path, measure: str) -> list[dict[str, object]]:
    """Seconds to make a retriever, for the first ranking and the median of others, and what memory they take."""
    from spot.retrieval.query import Query
    from spot.retrieval.rank import Retriever

    random = np.random.default_rng(1)
    query = Query(
        random.normal(size=(LENGTH, WIDTH)).astype(np.float32), np.zeros(WIDTH, np.float32)
    )
    with Bank.open(path, create=False) as bank:
        (partition,) = bank.partitions()
        before = peak_bytes()  # with all that is imported to look into a bank
        seconds, processor = [time.perf_counter()], [time.process_time()]
        retriever = Retriever(bank, partition)
        for _ in range(11):
            seconds.append(time.perf_counter())
            processor.append(time.process_time())
            retriever.rank(query, measure=measure, top_k=10)
        seconds.append(time.perf_counter())
        processor.append(time.process_time())
    made, first, *further = np.diff(seconds)
    used, vectors = (
        peak_bytes() - before,
        NEEDED[measure] * len(retriever.keys) * retriever.keys.width * 4,
    )
    return [
        {"what": f"retriever made, first ranking by {measure}", "seconds": round(made + first, 2),
         "processor": round(processor[2] - processor[0], 2)},
        {"what": f"further ranking by {measure}", "seconds": round(float(np.median(further)), 4),
         "processor": round(float(np.median(np.diff(processor[2:]))), 4),
         "MB": used >> 20, "share of the vectors": round(used / vectors, 2)},
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--keys", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--rank", type=Path, help="rank in this process, and print its figures as JSON"
    )
    parser.add_argument("--measure", choices=NEEDED, default="average", help="what ranks")
    options = parser.parse_args()
    if options.rank:
        print(json.dumps(rank_here(options.rank, options.measure)))
        return
    if options.folder is None:
        parser.error("a folder for the banks is needed")
    options.folder.mkdir(parents=True, exist_ok=True)
    for keys in options.keys:
        path = options.folder / f"keys-{keys}.sqlite"
        if not path.exists():
            began = time.perf_counter()
            make_bank(path, keys)
            print(
                f"{path}: {path.stat().st_size >> 20} MB made in {time.perf_counter() - began:.0f} s",
                flush=True,
            )
        for figures in (command_figures(path, options.repeat), retriever_figures(path)):
            for figure in figures:
                print(json.dumps({"keys": keys} | figure), flush=True)


if __name__ == "__main__":
    main()
