"""A process that writes runs FIRST to LAST into every bank whose address it reads from stdin.

It says ``ready``, then the digest of every run as soon as that is stored, and ``done`` after each bank.
Two runs in a row share a prompt, and so do all processes that write overlapping runs.
"""

from __future__ import annotations

import sys

import numpy as np

from bank import (
    BackboneRecord,
    Bank,
    RecipeRecord,
    RunIdentity,
    RunRecord,
    SnapshotRecord,
    TaskRecord,
)


def numbered_run(number: int) -> RunRecord:
    """Run ``number``: its key is the value of the run before."""
    recipe = RecipeRecord(
        backbone=BackboneRecord(fingerprint="f" * 64, name="toy", width=8),
        prompt_length=5,
        key_step=10,
        family="a" * 64,
        options={},
    )
    early, late = (np.random.default_rng(n).normal(size=(5, 8)) for n in (number, number + 1))
    return RunRecord(
        identity=RunIdentity(
            recipe=recipe,
            task=TaskRecord(name=f"task{number % 7}", family="toy"),
            seed=number,
            role="source",
        ),
        steps=30,
        metric="accuracy",
        score=50.0,
        key=SnapshotRecord(prompt=early, step=10),
        value=SnapshotRecord(prompt=late, step=30),
    )


def main() -> None:
    first, last = int(sys.argv[1]), int(sys.argv[2])
    print("ready", flush=True)
    for line in sys.stdin:
        with Bank.open(line.strip()) as bank:
            for number in range(first, last):
                print(bank.record_run(numbered_run(number)), flush=True)
        print("done", flush=True)


if __name__ == "__main__":
    main()
