"""A study's findings as tables: CSV for programs, Markdown for people."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spot.retrieval.bootstrap import LEVEL, Estimate, bootstrap
from spot.retrieval.evaluate import Calibration
from spot.study.baselines import MOST_FREQUENT
from spot.study.budgets import BudgetFindings
from spot.study.findings import Findings, RunScores, Trial
from spot.study.run import halved
from spot.transfer.gain import paired_gain
from tasks.task import PARTIAL, Split

DRAWS = 2000

Row = dict[str, Any]

Choice = Callable[[Trial], tuple[RunScores, int] | None]
"""What a method gives a trial, and the training steps that finding it took; ``None`` where it was not tried."""


def methods(findings: Findings) -> dict[str, Choice]:
    """Everything that is compared, by the name of its row: what needs no prompt, no transfer, ..., and the oracle."""
    plan, steps = findings.plan, findings.steps
    names = dict.fromkeys(name for by_name in findings.baselines.values() for name in by_name)
    choices: dict[str, Choice] = {name: _promptless(name, findings) for name in names}
    choices["no transfer"] = lambda trial: (trial.baseline, steps)
    for measure in plan.measures:
        for k in plan.k:
            choices[f"best of top-{k}, {measure}"] = _best(measure, k, steps)
    for k in plan.k:
        if k > 1:
            choices[f"halving of top-{k}, {plan.measures[0]}"] = _halving(
                plan.measures[0], k, findings
            )
    for name in dict.fromkeys(name for trial in findings.trials for name in trial.others):
        choices[name] = _other(name)
    choices["oracle"] = lambda trial: (trial.best(list(trial.sources)), len(trial.sources) * steps)
    return choices


def _promptless(name: str, findings: Findings) -> Choice:
    def choice(trial: Trial) -> tuple[RunScores, int] | None:
        splits = findings.baselines[trial.target].get(name)
        if splits is None:
            return None
        dev = splits[Split.DEV].metrics["score"]
        return RunScores(dev=dev, test=splits[Split.TEST], history=()), 0

    return choice


def _best(measure: str, k: int, steps: int) -> Choice:
    return lambda trial: (trial.best(trial.head(measure, k)), min(k, len(trial.sources)) * steps)


def _halving(measure: str, k: int, findings: Findings) -> Choice:
    return lambda trial: halved(trial, trial.head(measure, k), findings)


def _other(name: str) -> Choice:
    return lambda trial: trial.others.get(name)


def score(scores: RunScores) -> float:
    """Test score in points."""
    return scores.test.metrics["score"]


def method_rows(findings: Findings) -> list[Row]:
    """A row a method: test score of every target, mean over seeds; gain over no transfer and share of the oracle's.

    Means and intervals are over targets, which are what is sampled (seeds of one target go together).
    """
    targets = list(findings.tasks)
    table = methods(findings)
    reached = {
        name: {target: _mean(findings, target, choice) for target in targets}
        for name, choice in table.items()
    }
    none, oracle = reached["no transfer"], reached["oracle"]
    rows = []
    for name, choice in table.items():
        known = [target for target in targets if reached[name][target] is not None]
        gains = np.array([_minus(reached[name][target], none[target]) for target in known])
        best = np.array([_minus(oracle[target], none[target]) for target in known])
        spent = [chosen[1] for trial in findings.trials if (chosen := choice(trial))]
        gain, share = _mean_gain(gains), _share_of(gains, best)
        rows.append(
            {"method": name}
            | {target: reached[name][target] for target in targets}
            | {
                "mean": float(np.mean([reached[name][target] or 0.0 for target in known])),
                "gain": gain.mean,
                "gain low": gain.low,
                "gain high": gain.high,
                "share of the oracle's gain": share.mean,
                "share low": share.low,
                "share high": share.high,
                "steps": float(np.mean(spent)),
            }
        )
    return rows


def target_rows(findings: Findings) -> list[Row]:
    """A row a target: without transfer, with the best of top-k by the first measure, with the oracle's source.

    Gains carry the paired bootstrap's interval over seeds and test examples.
    """
    plan, rows = findings.plan, []
    for name, task in findings.tasks.items():
        trials = [trial for trial in findings.trials if trial.target == name]
        none = [score(trial.baseline) for trial in trials]
        row: Row = {
            "target": name,
            "family": task.family,
            "test examples": len(findings.examples[name]),
        }
        row |= {
            title: splits[Split.TEST].metrics["score"]
            for title, splits in findings.baselines[name].items()
        }
        row |= {
            "no transfer": float(np.mean(none)),
            "sd": float(np.std(none, ddof=1)) if len(none) > 1 else 0.0,
        }
        choices = {
            f"top-{k}": [trial.best(trial.head(plan.measures[0], k)) for trial in trials]
            for k in plan.k
        }
        choices["oracle"] = [trial.best(list(trial.sources)) for trial in trials]
        for title, chosen in choices.items():
            gain = paired_gain(
                task,
                findings.examples[name],
                [tried.test.answers for tried in chosen],
                [trial.baseline.test.answers for trial in trials],
                draws=500,
            )
            row |= {
                f"{title} gain": gain.mean,
                f"{title} low": gain.low,
                f"{title} high": gain.high,
            }
        floor = findings.floor(name, Split.TEST)
        learnt = [
            float(np.mean(none)) > floor,
            *(np.mean([score(t) for t in c]) > floor for c in choices.values()),
        ]
        row["above the most frequent answer"] = (
            "yes" if all(learnt) else "no" if not any(learnt) else "in part"
        )
        harmed = [
            score(tried) < score(trial.baseline)
            for trial in trials
            for tried in trial.sources.values()
        ]
        row["sources that hurt"] = float(np.mean(harmed))
        rows.append(row | _marked(findings, name))
    return rows


def trial_rows(findings: Findings) -> list[Row]:
    """A row a target, seed and source: what every measure held of it, and what came of it."""
    return [
        {"target": trial.target, "family": trial.family, "seed": trial.seed, "source": source}
        | {measure: worth[source] for measure, worth in trial.worth.items()}
        | {
            "dev": tried.dev,
            "test": score(tried),
            "dev without": trial.baseline.dev,
            "test without": score(trial.baseline),
            MOST_FREQUENT: findings.floor(trial.target, Split.TEST),
        }
        | _marked(findings, trial.target, source)
        for trial in findings.trials
        for source, tried in trial.sources.items()
    ]


def retrieval_rows(findings: Findings | BudgetFindings) -> list[Row]:
    """A row a measure: its figures with their intervals."""
    return [
        {"measure": name}
        | {
            f"{figure}{part}": getattr(estimate, attribute)
            for figure, estimate in figures.items()
            for part, attribute in (("", "mean"), (" low", "low"), (" high", "high"))
        }
        for name, figures in findings.retrieval.items()
    ]


def sized_rows(findings: Findings) -> list[Row]:
    """A row a target and size: test score without and with the best of top-1, mean over seeds."""
    return [
        {
            "target": sized.target,
            "size": sized.size,
            "no transfer": float(np.mean(sized.without)),
            "best of top-1": float(np.mean(sized.with_transfer)),
            "gain": float(np.mean(sized.with_transfer) - np.mean(sized.without)),
        }
        | _marked(findings, sized.target)
        for sized in findings.sized
    ]


def _marked(findings: Findings, *tasks: str) -> Row:
    """What a row says besides where one of its tasks was cut from the parts that are there; else nothing."""
    return {PARTIAL: "yes"} if findings.partial & set(tasks) else {}


TABLES: Mapping[str, Callable[[Findings], list[Row]]] = {
    "methods": method_rows,
    "targets": target_rows,
    "retrieval": retrieval_rows,
    "sizes": sized_rows,
    "trials": trial_rows,
}
"""Tables by the name of their file."""


def write_tables(findings: Findings, folder: Path) -> dict[str, list[Row]]:
    """Every table as CSV, and the first four together as ``tables.md``."""
    written = {name: rows for name, build in TABLES.items() if (rows := build(findings))}
    headings = {
        "methods": "Test score, mean over seeds; gain over no transfer and share of the oracle's gain, mean over "
        f"targets with {LEVEL:.0%} bootstrap intervals over targets; training steps for the choice",
        "targets": f"Gain a target by `{findings.plan.measures[0]}`, with {LEVEL:.0%} paired bootstrap intervals over "
        "seeds and test examples; share of single sources that end below no transfer",
        "retrieval": "What the measures recover, left-out targets, judged by dev scores of all sources' runs",
        "sizes": "Gain against the number of training examples",
    }
    also = [calibration_line(findings.calibration), partial_line(findings.partial)]
    write_files(written, headings, also, folder)
    return written


def write_files(
    written: Mapping[str, list[Row]],
    headings: Mapping[str, str],
    also: Sequence[str],
    folder: Path,
) -> None:
    """Tables as CSV, and those with a heading together as ``tables.md``, with further lines behind them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in written.items():
        (folder / f"{name}.csv").write_text(as_csv(rows), encoding="utf-8")
    parts = [
        f"{heading}:\n\n{as_markdown(written[name])}"
        for name, heading in headings.items()
        if name in written
    ]
    parts += [line for line in also if line]
    (folder / "tables.md").write_text("\n".join(parts), encoding="utf-8")


def calibration_line(intervals: Calibration | None) -> str:
    """How often the measure ``evidence`` was right about what it expects; empty where it was not judged."""
    if not intervals:
        return ""
    return (
        f"Of {intervals.pairs} gains {intervals.covered:.0%} lie in the 90 % interval that `evidence` expected "
        f"without the target's own outcomes; the intervals are {intervals.width:.1f} points wide on average.\n"
    )


def partial_line(partial: frozenset[str]) -> str:
    """Which tasks were cut from the parts that are there; empty where none was."""
    if not partial:
        return ""
    names = ", ".join(sorted(partial))
    return f"Published parts are missing ({PARTIAL}), splits cut from the others: {names}.\n"


def as_csv(rows: Sequence[Row]) -> str:
    """With all digits."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def as_markdown(rows: Sequence[Row]) -> str:
    """A column and its ``low`` and ``high`` become one cell."""
    columns = [name for name in _columns(rows) if not name.endswith((" low", " high"))]
    lines = [columns, ["---"] * len(columns)]
    lines += [[_cell(row, name) for name in columns] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _columns(rows: Sequence[Row]) -> list[str]:
    """Of all rows: what a row lacks stays empty."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _cell(row: Row, name: str) -> str:
    low = next(
        (row[key] for key in (f"{name} low", f"{name.split(' ')[0]} low") if key in row), None
    )
    high = next(
        (row[key] for key in (f"{name} high", f"{name.split(' ')[0]} high") if key in row), None
    )
    known = low is not None and math.isfinite(low)
    return _number(row.get(name)) + (f" [{_number(low)}, {_number(high)}]" if known else "")


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _mean(findings: Findings, target: str, choice: Choice) -> float | None:
    choices = [choice(trial) for trial in findings.trials if trial.target == target]
    scores = [score(chosen[0]) for chosen in choices if chosen]
    return float(np.mean(scores)) if scores else None


def _minus(with_transfer: float | None, without: float | None) -> float:
    assert with_transfer is not None
    assert without is not None
    return with_transfer - without


def _mean_gain(gains: np.ndarray) -> Estimate:
    return bootstrap(lambda rows: float(gains[rows].mean()), len(gains), draws=DRAWS)


def _share_of(gains: np.ndarray, best: np.ndarray) -> Estimate:
    def share(rows: np.ndarray) -> float:
        total = float(best[rows].sum())
        return float(gains[rows].sum()) / total if total else 0.0

    return bootstrap(share, len(gains), draws=DRAWS)
