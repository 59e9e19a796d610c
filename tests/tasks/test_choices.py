"""Choosing by name: what is known is given back, what is not is refused with what may be meant."""

from __future__ import annotations

import pytest

from tasks.choices import choose
from tasks.errors import TaskError

FRUIT = {"apple": 1, "pear": 2, "peach": 3}


def test_a_known_name_is_given_back() -> None:
    assert choose("pear", FRUIT, "fruit") == "pear"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aple", "fruit 'aple' is not known; did you mean 'apple'? choose from apple, pear, peach"),
        ("zzz", "fruit 'zzz' is not known; choose from apple, pear, peach"),
        ("", "fruit '' is not known; choose from apple, pear, peach"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_all(name: str, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        choose(name, FRUIT, "fruit")
    assert str(caught.value) == message


def test_where_names_are_many_the_near_ones_and_where_to_look_are_said() -> None:
    with pytest.raises(TaskError) as caught:
        choose("pea", FRUIT, "fruit", listing="the market lists them")
    assert (
        str(caught.value)
        == "fruit 'pea' is not known; did you mean 'pear' or 'peach'? the market lists them"
    )


def test_the_error_is_that_of_who_asks() -> None:
    with pytest.raises(LookupError, match="fruit 'plum' is not known"):
        choose("plum", list(FRUIT), "fruit", error=LookupError)


def test_a_long_name_is_cut_short() -> None:
    with pytest.raises(TaskError) as caught:
        choose("x" * 5000, FRUIT, "fruit")
    assert len(str(caught.value)) < 250
