"""What a study's transfer gains beside what as many restarts of plain tuning gain, from its ``trials.csv``.

Everything is chosen by development score and scored on test: among a target's runs without transfer, one a seed; and
among its runs from sources, of one seed. Gains are over the mean test score without transfer.

    python benchmarks/restarts.py docs/study/embedded/trials.csv
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from spot.retrieval.bootstrap import Estimate, bootstrap

Score = tuple[float, float]
"""On development data and on test."""


def main(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    without: dict[str, dict[str, Score]] = {}
    sources: dict[tuple[str, str], list[Score]] = {}
    for row in rows:
        without.setdefault(row["target"], {})[row["seed"]] = (
            float(row["dev without"]),
            float(row["test without"]),
        )
        sources.setdefault((row["target"], row["seed"]), []).append(
            (float(row["dev"]), float(row["test"]))
        )
    restarts = {target: list(runs.values()) for target, runs in without.items()}
    for k in range(1, min(map(len, restarts.values())) + 1):
        show(
            f"best of {k} restarts",
            {target: [best_of(k, runs)] for target, runs in restarts.items()},
            restarts,
        )
    most = min(map(len, sources.values()))
    for k in sorted({1, 2, 3, 6, most} & {*range(1, most + 1)}):
        of_target: dict[str, list[float]] = {}
        for (target, _seed), runs in sources.items():
            of_target.setdefault(target, []).append(best_of(k, runs))
        show(f"best of {k} random sources", of_target, restarts)
    oracle: dict[str, list[float]] = {}
    for (target, _seed), runs in sources.items():
        oracle.setdefault(target, []).append(best_of(len(runs), runs))
    show("oracle: best of all sources", oracle, restarts)


def best_of(k: int, runs: Sequence[Score]) -> float:
    """Test score of the best on dev of k runs: mean over all choices of k."""
    return float(np.mean([chosen(some) for some in itertools.combinations(runs, k)]))


def chosen(runs: Iterable[Score]) -> float:
    """Test score of the first of those that are best on dev."""
    return max(runs, key=lambda run: run[0])[1]


def show(name: str, tests: dict[str, list[float]], restarts: dict[str, list[Score]]) -> None:
    gains = np.array(
        [np.mean(found) - np.mean([test for _, test in restarts[t]]) for t, found in tests.items()]
    )
    gain: Estimate = bootstrap(lambda drawn: float(gains[drawn].mean()), len(gains), draws=2000)
    print(f"{name:28s} {gain}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
