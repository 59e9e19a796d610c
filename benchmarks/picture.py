"""The picture at the head of README.md, from a bank that holds transfers to one target, as `spot demo` leaves it.

spot demo --folder demo
python benchmarks/picture.py demo/bank.sqlite living docs/picture.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from bank import Bank
from bank.listing import list_runs, list_transfers, show_run


def curves(bank: Bank, target: str, role: str) -> tuple[list[int], np.ndarray]:
    """Steps, and development scores ``[runs, steps]`` of a target's runs in a role."""
    runs = list_runs(bank.engine, task=target, role=role)
    histories = [show_run(bank.engine, run["run"])["history"] for run in runs]
    steps = [int(each["step"]) for each in histories[0]]
    return steps, np.array([[each["score"] for each in history] for history in histories])


def draw(bank: Bank, target: str, path: Path) -> None:
    sources = list_transfers(bank.engine, task=target)[0]["sources"]
    matplotlib.rcParams["svg.hashsalt"] = "picture"
    figure = Figure(figsize=(9, 2.8))
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    names = [source["task"] for source in sources][::-1]
    left.barh(names, [source["similarity"] for source in sources][::-1], color="#4c78a8")
    left.set_title(f"1. nearest sources in the bank for {target!r}", fontsize=9, loc="left")
    for role, name, colour in (
        ("transfer", "from their values", "#4c78a8"),
        ("baseline", "without transfer", "#bab0ac"),
    ):
        steps, scores = curves(bank, target, role)
        right.plot(steps, scores.mean(axis=0), marker="o", label=name, color=colour)
        right.fill_between(steps, scores.min(axis=0), scores.max(axis=0), alpha=0.2, color=colour)
    right.set_title("2. the target's prompt trains from them", fontsize=9, loc="left")
    right.set_xlabel("steps", fontsize=8)
    right.set_ylabel("development score", fontsize=8)
    right.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bank")
    parser.add_argument("target")
    parser.add_argument("path", type=Path)
    given = parser.parse_args()
    with Bank.open(given.bank, create=False) as bank:
        draw(bank, given.target, given.path)


if __name__ == "__main__":
    main()
