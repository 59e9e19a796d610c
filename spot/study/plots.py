"""A study's findings as pictures, by matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bank.vectors import average
from spot.errors import SpotError
from spot.retrieval.similarity import unit_rows
from spot.study.baselines import MOST_FREQUENT
from spot.study.budget_tables import Compared, of_plan
from spot.study.budgets import (
    NO_TRANSFER,
    UNTRAINED,
    BudgetFindings,
    head_row,
    restarts_row,
)
from spot.study.findings import Findings
from spot.study.plan import StudyPlan
from spot.study.tables import score
from tasks.task import Split


def write_plots(findings: Findings, folder: Path) -> list[Path]:
    """Every picture that the findings allow, as PNG.

    Raises:
        SpotError: matplotlib is not installed.
    """
    return _write(PLOTS, findings, folder)


def write_budget_plots(findings: BudgetFindings, folder: Path) -> list[Path]:
    """The same of a study at budgets."""
    return _write(BUDGET_PLOTS, findings, folder)


def _write(
    plots: Mapping[str, Callable[[Any, Any], Any]], findings: Any, folder: Path
) -> list[Path]:
    pyplot = load_pyplot("use --no-plots")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in plots.items():
        figure = draw(findings, pyplot)
        if figure is not None:
            path = folder / f"{name}.png"
            _save(figure, path, pyplot)
            written.append(path)
    return written


def load_pyplot(otherwise: str) -> Any:
    """matplotlib's pyplot, which draws into files.

    Raises:
        SpotError: it is not installed; what to do ``otherwise`` is said.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise SpotError(
            f"plots need matplotlib: pip install 'spot-prompt-transfer[study]', or {otherwise}"
        ) from error
    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path, pyplot: Any) -> None:
    figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)


def check_picture(path: Path) -> Any:
    """pyplot, for a picture that can be drawn there.

    Raises:
        SpotError: another ending than .png, no such folder, or no matplotlib.
    """
    if path.suffix != ".png":
        raise SpotError(f"{path}: a picture goes into a file .png")
    if not path.parent.is_dir():
        raise SpotError(f"{path}: no such folder")
    return load_pyplot("leave out --plot")


def write_heat_map(
    path: Path, cells: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Scores of rows on columns as a picture, PNG, every cell with its number.

    Raises:
        SpotError: what :func:`check_picture` raises, or a place that cannot be written.
    """
    pyplot = check_picture(path)
    figure, axes = pyplot.subplots(figsize=(2.5 + 0.7 * len(columns), 1.5 + 0.35 * len(rows)))
    image = axes.imshow(cells, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(rows)), rows)
    for y, row in enumerate(cells):
        for x, cell in enumerate(row):
            shade = "white" if cell < 60 else "black"
            axes.text(x, y, f"{cell:.0f}", ha="center", va="center", color=shade, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.7, label="score")
    _save_or_say(figure, path, pyplot)


def write_line(path: Path, x: Sequence[float], y: Sequence[float], label: str, title: str) -> None:
    """Scores ``y`` at ``x`` as a picture, PNG; raises as :func:`write_heat_map`."""
    pyplot = check_picture(path)
    figure, axes = pyplot.subplots(figsize=(5, 3))
    axes.plot(x, y, marker="o")
    axes.set_xlabel(label)
    axes.set_ylabel("score")
    axes.set_title(title)
    _save_or_say(figure, path, pyplot)


def write_points(
    path: Path,
    x: Sequence[float],
    y: Sequence[float],
    names: Sequence[str],
    label: str,
    title: str,
) -> None:
    """Scores ``y`` at ``x``, on a logarithmic axis and each with its name, as a picture; raises as
    :func:`write_heat_map`."""
    pyplot = check_picture(path)
    figure, axes = pyplot.subplots(figsize=(6, 4))
    axes.set_xscale("log")
    axes.plot(x, y, "o")
    for each, value, name in zip(x, y, names, strict=True):
        axes.annotate(name, (each, value), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel(label)
    axes.set_ylabel("score")
    axes.set_title(title)
    _save_or_say(figure, path, pyplot)


def _save_or_say(figure: Any, path: Path, pyplot: Any) -> None:
    try:
        _save(figure, path, pyplot)
    except OSError as error:
        raise SpotError(f"{path}: cannot be written ({error.strerror})") from error


def similarity_map(findings: Findings, pyplot: Any) -> Any:
    """Cosine of mean tokens between all sources' keys and all targets' queries, ordered by clustering (the paper's
    figure of task embeddings)."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    queries: dict[str, list[np.ndarray]] = {}
    for trial in findings.trials:
        queries.setdefault(f"{trial.target} (target)", []).append(average(trial.query))
    vectors = dict(findings.keys) | {
        name: np.mean(seeds, axis=0) for name, seeds in queries.items()
    }
    names, unit = list(vectors), unit_rows(np.stack(list(vectors.values())))
    cosines = unit @ unit.T
    near = np.sqrt(np.maximum(0.0, 2 - 2 * cosines))[np.triu_indices(len(names), 1)]
    order = (
        leaves_list(linkage(near, "average", optimal_ordering=True))
        if len(names) > 2
        else np.arange(len(names))
    )
    side = 2 + 0.32 * len(names)
    figure, axes = pyplot.subplots(figsize=(side, side))
    image = axes.imshow(cosines[np.ix_(order, order)], cmap="viridis")
    labels = [names[i] for i in order]
    axes.set_xticks(range(len(names)), labels, rotation=90)
    axes.set_yticks(range(len(names)), labels)
    figure.colorbar(image, ax=axes, shrink=0.7, label="cosine of mean tokens")
    axes.set_title("Similarity of keys and queries")
    return figure


def similarity_and_gain(findings: Findings, pyplot: Any) -> Any:
    """Every measure's score of a source against the relative reduction of the error by it (the paper's figure 4)."""
    from scipy import stats

    measures = findings.plan.measures
    figure, panels = _panels(pyplot, len(measures), 3.4, sharey=True)
    for axes, measure in zip(panels, measures, strict=True):
        everything: list[tuple[float, float]] = []
        for target in findings.tasks:
            points = [
                (trial.worth[measure][source], reduction(score(tried), score(trial.baseline)))
                for trial in findings.trials
                if trial.target == target
                for source, tried in trial.sources.items()
            ]
            everything += points
            axes.scatter(*zip(*points, strict=True), s=12, label=target)
        x, y = np.array(everything).T
        if np.ptp(x) > 0 and np.ptp(y) > 0:
            fit = stats.pearsonr(x, y)
            axes.set_title(f"{measure}\nr = {fit.statistic:.2f}, p = {fit.pvalue:.2g}", fontsize=10)
        axes.axhline(0, color="grey", linewidth=0.8)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        fontsize=7,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )
    figure.supxlabel("score of the source")
    figure.supylabel("relative error reduction, %")
    figure.tight_layout()
    return figure


def reduction(with_transfer: float, without: float) -> float:
    """Percent of the error, in points from 100, that transfer takes away."""
    return 100 * (with_transfer - without) / max(100 - without, 1e-9)


def score_and_k(findings: Findings, pyplot: Any) -> Any:
    """Test score of the best of top-k on dev, mean over targets and seeds, for every k (the paper's table 2)."""
    figure, axes = pyplot.subplots(figsize=(5.5, 3.8))
    count = min(len(trial.sources) for trial in findings.trials)
    for measure in findings.plan.measures:
        means = [
            np.mean([score(trial.best(trial.head(measure, k))) for trial in findings.trials])
            for k in range(1, count + 1)
        ]
        axes.plot(range(1, count + 1), means, marker="o", markersize=3, label=measure)
    oracle = np.mean([score(trial.best(list(trial.sources))) for trial in findings.trials])
    axes.axhline(oracle, color="black", linestyle="--", linewidth=1, label="oracle")
    without = np.mean([score(trial.baseline) for trial in findings.trials])
    axes.axhline(without, color="grey", linestyle=":", linewidth=1, label="no transfer")
    floor = np.mean([findings.floor(trial.target, Split.TEST) for trial in findings.trials])
    axes.axhline(floor, color="lightgrey", linestyle=":", linewidth=1, label=MOST_FREQUENT)
    axes.set_xlabel("k")
    axes.set_ylabel("test score")
    axes.legend(fontsize=8)
    return figure


def learning_curves(findings: Findings, pyplot: Any) -> Any:
    """Development score by step without transfer, and from the source that the first measure ranks first."""
    figure, panels = _panels(pyplot, len(findings.tasks), 2.6)
    for axes, target in zip(panels, findings.tasks, strict=True):
        trials = [trial for trial in findings.trials if trial.target == target]
        first = [trial.sources[trial.head(findings.plan.measures[0], 1)[0]] for trial in trials]
        for label, runs in (
            ("no transfer", [trial.baseline for trial in trials]),
            ("top-1", first),
        ):
            steps = [row["step"] for row in runs[0].history]
            scores = np.array([[row["score"] for row in run.history][: len(steps)] for run in runs])
            axes.plot(steps, scores.mean(axis=0), marker="o", markersize=3, label=label)
            axes.fill_between(steps, scores.min(axis=0), scores.max(axis=0), alpha=0.2)
        floor = findings.floor(target, Split.DEV)
        axes.axhline(floor, color="grey", linestyle=":", linewidth=1, label=MOST_FREQUENT)
        axes.set_title(target, fontsize=9)
    panels[0].legend(fontsize=8)
    figure.supxlabel("step")
    figure.supylabel("dev score (mean and range over seeds)")
    figure.tight_layout()
    return figure


def gain_and_size(findings: Findings, pyplot: Any) -> Any:
    """Gain of the best of top-1 against the number of training examples."""
    if not findings.sized:
        return None
    figure, axes = pyplot.subplots(figsize=(5.5, 3.8))
    for target in dict.fromkeys(sized.target for sized in findings.sized):
        points = sorted((s for s in findings.sized if s.target == target), key=lambda s: s.size)
        gains = [np.mean(s.with_transfer) - np.mean(s.without) for s in points]
        axes.plot([s.size for s in points], gains, marker="o", markersize=3, label=target)
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("training examples")
    axes.set_ylabel("gain of the best of top-1, points")
    axes.legend(fontsize=8)
    return figure


def score_and_steps(findings: BudgetFindings, pyplot: Any) -> Any:
    """Test score of the main rows at every budget, mean over the targets and seeds that all of them have; nothing of
    one budget."""
    compared = of_plan(findings)
    if not compared.several:
        return None
    figure, axes = pyplot.subplots(figsize=(6.5, 4.2))
    for name in _main_rows(compared, findings.plan):
        scores = compared.scores(name)[..., 0].mean(axis=(0, 1))
        flat = name in FLAT
        axes.plot(
            compared.budgets,
            scores,
            marker=None if flat else "o",
            markersize=3,
            linestyle=":" if flat else "-",
            label=name,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(compared.budgets, [str(budget) for budget in compared.budgets])
    axes.minorticks_off()
    axes.set_xlabel("steps of every run")
    axes.set_ylabel("test score")
    axes.legend(fontsize=8)
    return figure


def scores_of_targets(findings: BudgetFindings, pyplot: Any) -> Any:
    """Test score of the main rows on every target where plain tuning is best, mean over seeds; targets by what the
    last of the rows that train gives over no transfer."""
    compared = of_plan(findings)
    names = _main_rows(compared, findings.plan)
    at = compared.plain_best
    means = {name: compared.scores(name)[:, :, at, 0].mean(axis=1) for name in names}
    trained = [name for name in names if name not in FLAT]
    order = np.argsort(means[trained[-1]] - means[NO_TRANSFER])
    targets = compared.targets(NO_TRANSFER)
    size = (8.5, 1.2 + 0.38 * len(targets))
    figure, axes = pyplot.subplots(figsize=size, layout="constrained")
    for name in names:
        marks = {"marker": "|", "markersize": 10} if name in FLAT else {"marker": "o"}
        axes.plot(means[name][order], range(len(targets)), linestyle="", label=name, **marks)
    axes.set_yticks(range(len(targets)), [targets[i] for i in order])
    axes.grid(axis="y", alpha=0.3)
    axes.set_xlabel(f"test score after {compared.budgets[at]} steps of every run")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


FLAT = (UNTRAINED, MOST_FREQUENT)
"""Rows that no budget changes."""


def _main_rows(compared: Compared, plan: StudyPlan) -> list[str]:
    """Those that a picture can hold, of which a study has some."""
    heads = [head_row(k, plan.measures[0]) for k in plan.k]
    main = [NO_TRANSFER, restarts_row(plan.restarts), *heads, *FLAT]
    return [name for name in main if name in compared.names]


def _panels(pyplot: Any, count: int, height: float, **options: Any) -> tuple[Any, list[Any]]:
    """A figure of so many panels, three in a row."""
    columns = min(3, count)
    rows = -(-count // columns)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=(3.4 * columns, height * rows), squeeze=False, **options
    )
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    return figure, list(grid.flat[:count])


PLOTS: Mapping[str, Callable[[Findings, Any], Any]] = {
    "similarity_map": similarity_map,
    "similarity_and_gain": similarity_and_gain,
    "score_and_k": score_and_k,
    "learning_curves": learning_curves,
    "gain_and_size": gain_and_size,
}
"""Pictures by the name of their file."""

BUDGET_PLOTS: Mapping[str, Callable[[BudgetFindings, Any], Any]] = {
    "score_and_steps": score_and_steps,
    "scores_of_targets": scores_of_targets,
}
"""Those of a study at budgets."""
