"""A judgement counts the cases that can tell, and says what was left out."""

from __future__ import annotations

import pytest

from spot.errors import RetrievalError
from spot.retrieval.judge import judge
from tests.spot.retrieval.test_evaluate import SCORES, case

PART = {source: score for source, score in SCORES.items() if source != "s3"}


def test_cases_of_which_only_some_sources_were_tried_count_if_asked_for_or_alone() -> None:
    cases = [case(), case(PART, "t1")]
    whole, both = (judge(cases, measures=["average"], partial=partial) for partial in (False, True))
    assert (whole.targets, whole.cases, both.targets, both.cases) == (1, 1, 2, 2)
    assert (
        "1 cases left out of which only some sources were tried; --partial takes them in"
        in whole.notes
    )
    assert "one target: no intervals" in whole.notes
    assert both.notes[0] == "down to 75% of a target's sources were tried: figures are among those"
    assert judge([case(PART)], measures=["average"]).cases == 1


def test_a_head_that_takes_in_all_sources_is_left_out() -> None:
    judgement = judge([case()], measures=["average"], k=(1, 4))
    assert judgement.k == [1]
    assert "k 4 left out: a target has no more than 4 sources" in judgement.notes
    assert {name.partition("@")[2] for name in judgement.figures["average"]} == {"1", ""}


def test_measures_without_what_they_need_are_left_out_unless_asked_for() -> None:
    judgement = judge([case()])
    assert "displacement left out: the bank does not say where all runs started" in judgement.notes
    assert not {"displacement", "evidence", "vocabulary", "trial"} & set(judgement.figures)
    assert judgement.calibration is None
    assert list(judge([case()], measures=["average", "average"]).figures)[:2] == [
        "average",
        "random",
    ]


def test_without_cases_there_is_nothing_to_judge_by() -> None:
    with pytest.raises(RetrievalError, match="no target with two sources or more"):
        judge([])
