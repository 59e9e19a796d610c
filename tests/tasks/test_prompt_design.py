"""Words in front of an input."""

from __future__ import annotations

import pytest

from tasks.errors import TaskError
from tasks.prompt_design import designed, named, worked
from tasks.task import Example

TRAIN = [Example(inputs=f"x: {i}", target=str(i % 2), choices=("0", "1")) for i in range(10)]
ASKED = [Example(inputs="x: 11", target="1", choices=("0", "1"), cut=(3, 5))]


def test_worked_examples_are_drawn_by_their_seed() -> None:
    drawn = worked(TRAIN, 4, seed=1)
    assert len(set(drawn)) == 4
    assert set(drawn) <= set(TRAIN)
    assert worked(TRAIN, 4, seed=1) == drawn
    assert worked(TRAIN, 4, seed=2) != drawn
    assert worked(TRAIN, 0, seed=1) == []
    assert set(worked(TRAIN, 10, seed=1)) == set(TRAIN)
    with pytest.raises(TaskError, match=r"11 worked examples are asked for; .* has 10"):
        worked(TRAIN, 11, seed=1)


def test_inputs_stand_behind_instruction_and_worked_examples() -> None:
    (one,) = designed(ASKED, "Odd or even?", TRAIN[:2])
    assert one.inputs[one.context :] == ASKED[0].inputs
    assert one.inputs == "Odd or even?\n\nx: 0\n0\n\nx: 1\n1\n\nx: 11"
    assert one.inputs[slice(*one.cut)] == "Odd or even?\n\nx: 0\n0\n\nx: 1\n1", (
        "cut before the input"
    )
    assert (one.target, one.choices) == ("1", ("0", "1"))
    assert designed(ASKED, "", []) == ASKED
    (bare,) = designed(ASKED, "", TRAIN[:1])
    assert bare.inputs == "x: 0\n0\n\nx: 11"


def test_inputs_begin_with_the_name_of_their_task() -> None:
    (one,) = named(ASKED, "odd")
    assert one.inputs == "odd: x: 11"
    assert one.inputs[slice(*one.cut)] == ASKED[0].inputs[slice(*ASKED[0].cut)]
    assert named(TRAIN[:1], "odd")[0].cut == (0, 0), "its tail is cut, as before"
