"""Time of one prompt-tuning step of two checkouts, each in a process of its own, in an order that turns every round.

    git worktree add ../before COMMIT
    python benchmarks/versions.py ../before . --rounds 9
    python benchmarks/versions.py ../before . --model smollm2 --batch 16 --inputs 64 --targets 4 --prompt 20

Options are those of ``step_time.py``; both checkouts have it, and their sides named ``spot`` are what is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

SERVE = """
import argparse, json, sys, time
from step_time import flax_step
run = flax_step(argparse.Namespace(**json.loads(sys.argv[1])))
for _ in sys.stdin:
    began = time.perf_counter()
    run()
    print(time.perf_counter() - began, flush=True)
"""


def start(checkout: Path, options: dict[str, object]) -> subprocess.Popen[str]:
    """A process that takes a step of the checkout's code at every line it is sent, and answers with its seconds."""
    path = os.pathsep.join(str(folder) for folder in (checkout, checkout / "benchmarks"))
    return subprocess.Popen(
        [sys.executable, "-P", "-c", SERVE, json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


def take_step(process: subprocess.Popen[str]) -> float:
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--model", choices=("t5-small", "smollm2"), default="t5-small")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--inputs", type=int, default=128)
    parser.add_argument("--targets", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    options = vars(parser.parse_args())
    checkouts = {name: options.pop(name).resolve() for name in ("before", "after")}
    rounds = options.pop("rounds")
    processes = {name: start(checkout, options) for name, checkout in checkouts.items()}
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    for timed in range(rounds + 2):
        for name in sorted(
            processes, reverse=bool(timed % 2)
        ):  # so that each is first as often as last
            taken = take_step(processes[name])
            if timed >= 2:
                seconds[name].append(taken)
    ratios = [
        after / before for before, after in zip(seconds["before"], seconds["after"], strict=True)
    ]
    figures = {
        "medians_ms": {
            name: round(1000 * statistics.median(times)) for name, times in seconds.items()
        },
        "minima_ms": {name: round(1000 * min(times)) for name, times in seconds.items()},
        "time_after_over_before": {
            "median of rounds": round(statistics.median(ratios), 3),
            "minima": round(min(seconds["after"]) / min(seconds["before"]), 3),
        },
    }
    print(json.dumps(options | figures, indent=1))


if __name__ == "__main__":
    main()
