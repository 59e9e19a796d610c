"""Cases that measures are judged by: targets whose sources' scores are known, of a bank or of files."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bank import Bank, Outcome, Partition
from bank.keys import keys_of_prompts
from spot.errors import RetrievalError
from spot.prompts.files import prompts_in, read_prompt
from spot.retrieval.keys import Context, KeySet
from spot.retrieval.measures import MEASURES, resolved_measure
from spot.retrieval.query import Query
from tasks.overlaps import overlapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A target with one seed: its query, and what every source gave it.

    Attributes:
        target: its name.
        family: its family; empty if unknown.
        query: early prompt ``[P, H]``.
        scores: of the target's runs, by source task.
        baseline: its score without transfer, if known.
        restarts: scores of the target without transfer, one a seed.
        start: mean token ``[H]`` of the prompt that the query's run started from, if known.
        keys: keys of the sources, without any of the target's or of tasks that share its texts, and the outcomes of
            other targets.
    """

    target: str
    family: str
    query: np.ndarray
    scores: Mapping[str, float]
    keys: KeySet
    baseline: float | None = None
    restarts: Sequence[float] = ()
    start: np.ndarray | None = None

    @property
    def tried(self) -> float:
        """Share of the sources that were tried: where it is below one, the best source may be another."""
        return len(self.scores) / len(self.keys.tasks)

    @cached_property
    def _query(self) -> Query:
        return Query(self.query, self.start)

    @property
    def knows_starts(self) -> bool:
        """Whether it is known where query and keys started, as ``displacement`` needs."""
        return not MEASURES["displacement"].lacking(self._query, self.keys)

    def worth(self, measure: str) -> dict[str, float]:
        """A measure's score of every source that was tried, mean over its keys; higher is held to be better."""
        values = MEASURES[resolved_measure(measure, self._query, self.keys)].by_task(
            self._query, self.keys
        )
        return {source: values[source] for source in self.scores}


def cases_of_bank(
    bank: Bank,
    partition: Partition,
    *,
    targets: Sequence[str] | None = None,
    context_of: Callable[[str], Context] = lambda _target: Context(),
    recipe: str = "",
) -> list[Case]:
    """Every target and seed of a partition for which two sources or more were tried.

    Args:
        bank: where the transfers are.
        partition: of their keys and queries.
        targets: the only ones to look at; all if not given.
        context_of: gives what measures look at beside prompts, by target.
        recipe: digest of that by which the targets were trained; whatever it was if not given.
    """
    tried: dict[_Trial, list[Outcome]] = {}
    for outcome in bank.outcomes(partition, recipe=recipe):
        if targets is None or outcome.target in targets:
            trial = _Trial(
                outcome.target, outcome.train_limit, outcome.recipe, outcome.seed, outcome.query
            )
            tried.setdefault(trial, []).append(outcome)
    restarts = _restarts(tried)
    key_sets = {
        (target, limit): KeySet.from_bank(
            bank,
            partition,
            exclude=[target, *overlapping(target)],
            context=dataclasses.replace(context_of(target), train_limit=limit),
        )
        for target, limit in dict.fromkeys(trial.known for trial in tried)
    }
    cases = []
    for trial, outcomes in tried.items():
        keys, first = key_sets[trial.known], outcomes[0]
        scores = _scores_by_source(outcomes, keys)
        if len(scores) > 1:
            cases.append(
                Case(
                    target=trial.target,
                    family=first.target_family,
                    query=bank.prompt(trial.query),
                    scores=scores,
                    keys=keys,
                    baseline=first.baseline,
                    restarts=restarts.get(trial.sample, []),
                    start=first.start
                    if keys.context.start is None
                    else keys.context.start(trial.seed),
                )
            )
    return cases


class _Trial(NamedTuple):
    """What outcomes of one case have in common; ``train_limit`` is the number of training examples, 0 for all, and
    ``recipe`` that of the target's runs: scores after other steps are no choice among sources."""

    target: str
    train_limit: int
    recipe: str
    seed: int
    query: str

    @property
    def known(self) -> tuple[str, int]:
        """What is known of the target: its name, and how many of its examples are used."""
        return self.target, self.train_limit

    @property
    def sample(self) -> tuple[str, int, str]:
        """What its seeds share."""
        return self.target, self.train_limit, self.recipe


def _restarts(tried: Mapping[_Trial, Sequence[Outcome]]) -> dict[tuple[str, int, str], list[float]]:
    """Scores without transfer, one a seed."""
    by_seed: dict[tuple[str, int, str], dict[int, float]] = {}
    for trial, (first, *_) in tried.items():
        if first.baseline is not None:
            by_seed.setdefault(trial.sample, {})[trial.seed] = first.baseline
    return {sample: list(scores.values()) for sample, scores in by_seed.items()}


def _scores_by_source(outcomes: Sequence[Outcome], keys: KeySet) -> dict[str, float]:
    """Mean score from each source that has keys."""
    scores: dict[str, list[float]] = {}
    for outcome in outcomes:
        if outcome.source in keys.number:
            scores.setdefault(outcome.source, []).append(outcome.score)
    return {source: float(np.mean(values)) for source, values in scores.items()}


def complete_cases(cases: Sequence[Case]) -> list[Case]:
    """Those whose sources were all tried, since elsewhere the best may be another; all cases where there is none."""
    return [case for case in cases if case.tried == 1] or list(cases)


def telling(k: Sequence[int], cases: Sequence[Case]) -> list[int]:
    """Those of ``k`` that say something: below the number of sources of every case, the whole of which is no choice."""
    fewest = min((len(case.scores) for case in cases), default=0)
    return [at for at in k if at < fewest]


def cases_of_files(prompts: Path, scores: Path) -> tuple[list[Case], list[str]]:
    """Cases of somebody else's study, and the tasks that were left out since there is no prompt of theirs.

    Args:
        prompts: folder with a prompt ``[P, H]`` a task, ``<task>.npy`` or any other format: query of the task as a
            target, key of it as a source.
        scores: JSON, ``{target: {source: score}}``; scores of a target from itself are left out.

    Raises:
        RetrievalError: a file that cannot be read so, or prompts of different shapes.
        PromptError: a file that holds no prompt.
    """
    table = _read_scores(scores)
    named = dict.fromkeys([*table, *(source for row in table.values() for source in row)])
    loaded = _read_prompts(prompts, list(named))
    table = {
        t: {s: v for s, v in row.items() if s in loaded} for t, row in table.items() if t in loaded
    }
    sources = dict.fromkeys(source for row in table.values() for source in row)
    outcomes = [outcome for target, row in table.items() for outcome in _outcomes(target, row)]

    def keys(target: str) -> KeySet:
        others = [outcome for outcome in outcomes if outcome.target != target]
        names = [task for task in sources if task != target]
        return KeySet(
            keys_of_prompts(names, [loaded[task] for task in names]),
            loaded.__getitem__,
            lambda: others,
        )

    cases = [
        Case(target=target, family="", query=loaded[target], scores=row, keys=keys(target))
        for target, row in table.items()
        if len(row) > 1
    ]
    return cases, [task for task in named if task not in loaded]


def _read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Scores by target and source, of a target from others."""
    try:
        matrix = json.loads(path.read_text(encoding="utf-8"))
        table = {
            str(t): {str(s): float(v) for s, v in row.items() if s != t}
            for t, row in matrix.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RetrievalError(
            f"{path}: expected JSON {{target: {{source: score}}}} ({error})"
        ) from error
    bad = [
        f"{t} from {s}" for t, row in table.items() for s, v in row.items() if not math.isfinite(v)
    ]
    if bad:
        raise RetrievalError(
            f"{path}: no finite score of {', '.join(bad)}; leave out what was not measured"
        )
    return table


def _read_prompts(folder: Path, tasks: Sequence[str]) -> dict[str, np.ndarray]:
    """Prompts of one shape, of those tasks that have one in a folder."""
    files = prompts_in(folder)
    prompts = {task: read_prompt(files[task]).prompt for task in tasks if task in files}
    shapes = {prompt.shape for prompt in prompts.values()}
    if len(shapes) > 1:
        raise RetrievalError(
            f"{folder}: prompts of different shapes {sorted(shapes)} cannot be compared; keep those of one backbone "
            "and length"
        )
    return prompts


def _outcomes(target: str, row: Mapping[str, float]) -> list[Outcome]:
    """A row of a matrix as history, from its mean: what the target scored without transfer is not known."""
    return [
        Outcome(
            target=target,
            target_family="",
            seed=0,
            query=target,
            source=source,
            source_family="",
            source_run=source,
            score=score,
            baseline=mean(list(row.values())),
        )
        for source, score in row.items()
    ]


def mean(values: Sequence[float]) -> float:
    """Zero of none."""
    return float(np.mean(values)) if values else 0.0
