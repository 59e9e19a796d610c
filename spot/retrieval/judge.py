"""What a study's cases say of measures, and what a reader of the figures must know."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from spot.retrieval.bootstrap import Estimate
from spot.retrieval.cases import Case, complete_cases, telling
from spot.retrieval.evaluate import Calibration, calibration, evaluate, speaking
from spot.retrieval.measures import MEASURES

OF_A_STUDY = ("", "starts", "history")
"""What measures need that is known without a backbone and a target's data."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """Figures of measures on a study.

    Attributes:
        targets: how many there are.
        cases: targets with a seed each, how many.
        k: lengths of a ranking's head that say something.
        notes: what was left out and why, and what makes the figures doubtful, a line each.
        figures: by measure or baseline, see :func:`spot.retrieval.evaluate.evaluate`.
        calibration: of the intervals of ``evidence``, where it was judged and has any.
    """

    targets: int
    cases: int
    k: Sequence[int]
    notes: Sequence[str]
    figures: Mapping[str, Mapping[str, Estimate]]
    calibration: Calibration | None


def judge(
    cases: Sequence[Case],
    *,
    measures: Sequence[str] = (),
    k: Sequence[int] = (1, 3),
    partial: bool = False,
) -> Judgement:
    """Judge measures by the cases that can tell.

    Args:
        cases: of a study.
        measures: all that need no more than prompts and outcomes if none is given.
        k: lengths of a ranking's head.
        partial: count cases of which only some sources were tried beside the others.

    Raises:
        RetrievalError: as :func:`spot.retrieval.evaluate.evaluate`.
    """
    judged = cases if partial else complete_cases(cases)
    told = telling(k, judged)
    chosen, doubts = _measures(judged, measures)
    known = [case for case in judged if case.baseline is not None]
    return Judgement(
        targets=len({case.target for case in judged}),
        cases=len(judged),
        k=told,
        notes=[*_limits(cases, judged, k, told), *doubts],
        figures=evaluate(judged, chosen, k=told),
        calibration=calibration(known) if known and "evidence" in chosen else None,
    )


def _limits(
    cases: Sequence[Case], judged: Sequence[Case], k: Sequence[int], told: Sequence[int]
) -> list[str]:
    """What the cases themselves cannot tell."""
    notes = []
    if fewer := len(cases) - len(judged):
        notes.append(
            f"{fewer} cases left out of which only some sources were tried; --partial takes them in"
        )
    if judged and (least := min(case.tried for case in judged)) < 1:
        notes.append(
            f"down to {least:.0%} of a target's sources were tried: figures are among those"
        )
    if len({case.target for case in judged}) == 1:
        notes.append("one target: no intervals")
    if judged and (mute := [str(at) for at in k if at not in told]):
        fewest = min(len(case.scores) for case in judged)
        notes.append(f"k {', '.join(mute)} left out: a target has no more than {fewest} sources")
    return notes


def _measures(judged: Sequence[Case], measures: Sequence[str]) -> tuple[list[str], list[str]]:
    """The measures to judge, and why others are left out."""
    possible = [name for name, one in MEASURES.items() if one.needs in OF_A_STUDY]
    chosen, notes = list(dict.fromkeys(measures or possible)), []
    if not measures and not all(case.knows_starts for case in judged):
        chosen.remove("displacement")
        notes.append("displacement left out: the bank does not say where all runs started")
    if judged and "evidence" in chosen:
        heard, silence = speaking(judged)
        if not heard:
            chosen.remove("evidence")
        if silence:
            notes.append(f"evidence, for {len(judged) - heard} of {len(judged)} cases: {silence}")
    return chosen, notes
