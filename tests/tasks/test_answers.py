"""Texts and answers of rows, in every shape that files hold them."""

import datetime
import decimal
import json
from typing import Any

import pytest

from tasks.answers import UNANSWERABLE, answer_texts, is_null, text_in
from tasks.formats import classify, fields, free_text, question_answer

SHAPES: dict[str, Any] = {
    "list": ["red", "dark red"],
    "struct of the hub": {"text": ["red", "dark red"], "answer_start": [0, 5]},
    "list of objects": [
        {"text": "red", "answer_start": 0},
        {"text": "dark red", "answer_start": 5},
    ],
    "list of structs": [{"text": ["red"]}, {"text": ["dark red"]}],
    "tuple": ("red", "dark red"),
    "list with blanks": ["", "red", " ", "dark red"],
    "JSON of a list": '["red", "dark red"]',
    "JSON of a struct": json.dumps({"text": ["red", "dark red"], "answer_start": [0, 5]}),
}

ONE: dict[str, Any] = {
    "text": "red",
    "object": {"text": "red", "answer_start": 0},
    "list of one": ["red"],
    "JSON of an object": '{"text": "red"}',
    "bytes": b"red",
}

NONE: dict[str, Any] = {
    "empty list": [],
    "empty struct": {"text": [], "answer_start": []},
    "blank": " ",
    "list of a blank": [""],
    "JSON of nothing": "[]",
}


@pytest.mark.parametrize("value", SHAPES.values(), ids=SHAPES)
def test_several_answers_are_found_in_every_shape(value: Any) -> None:
    assert answer_texts(value) == ("red", "dark red")


@pytest.mark.parametrize("value", ONE.values(), ids=ONE)
def test_one_answer_is_found_in_every_shape(value: Any) -> None:
    assert answer_texts(value) == ("red",)


@pytest.mark.parametrize("value", NONE.values(), ids=NONE)
def test_no_answer_is_found_in_every_shape(value: Any) -> None:
    assert answer_texts(value) == ()


@pytest.mark.parametrize("text", ["[sic] he said", "{x}", "[1, 2]", "[", '{"a": 1}', "[[[["])
def test_a_text_that_only_begins_like_json_is_a_text(text: str) -> None:
    assert answer_texts(text) == (text,)


@pytest.mark.parametrize("value", [3, 2.5, True])
def test_numbers_are_answers_as_text(value: Any) -> None:
    assert answer_texts([value]) == (str(value),)


@pytest.mark.parametrize(
    "value",
    [None, float("nan"), [None], {"answer_start": [1]}, [["red"]], {"text": {"text": "a"}}, "['red', 'dark red']",
     "{'text': ['red'], 'answer_start': [0]}", "{'text': array(['red'], dtype=object)}"],
)  # fmt: skip
def test_other_shapes_are_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        answer_texts(value)


@pytest.mark.parametrize("value", [*SHAPES.values(), *ONE.values()])
def test_the_built_in_reader_takes_every_shape(value: Any) -> None:
    (example,) = question_answer({"question": "q", "context": "c", "answers": value})
    assert example.target == "red"
    assert example.answers[0] == "red"


@pytest.mark.parametrize("value", NONE.values(), ids=NONE)
def test_the_built_in_reader_has_a_word_for_questions_without_answer(value: Any) -> None:
    (example,) = question_answer({"question": "q", "context": "c", "answers": value})
    assert (example.target, example.answers) == ("unanswerable", ("unanswerable",))
    truths: tuple[tuple[Any, str], ...] = (
        (True, UNANSWERABLE),
        ("True", UNANSWERABLE),
        ("0", "x"),
        (None, "x"),
    )
    for said, target in truths:
        (example,) = question_answer(
            {"question": "q", "context": "c", "answers": ["x"], "is_impossible": said}
        )
        assert example.target == target


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (b"caf\xc3\xa9", "café"),
        (1, "1"),
        (1.5, "1.5"),
        (True, "True"),
        (decimal.Decimal("1.50"), "1.50"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
    ],
)
def test_values_are_texts(value: Any, text: str) -> None:
    assert text_in({"x": value}, "x") == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "is null"),
        (float("nan"), "is NaN"),
        (float("inf"), "number out of range"),
        (b"\xff", "bytes that are not UTF-8"),
        (["a"], "holds a list"),
        ({"a": 1}, "holds an object"),
        ("\ud800", "half a character"),
    ],
)
def test_values_that_are_no_text_are_refused_by_every_formatter(value: Any, reason: str) -> None:
    row = {"x": value, "label": "1"}
    for formatter in (
        classify(fields("x"), {"1": "yes"}),
        classify(fields("label"), {"1": "yes"}, label="x"),
        free_text(fields("x"), "label"),
        free_text(fields("label"), "x"),
    ):
        with pytest.raises(ValueError, match=reason):
            formatter(row)


def test_only_null_and_nan_are_null() -> None:
    assert [is_null(value) for value in (None, float("nan"), "", "nan", 0, [], False)] == [
        True,
        True,
        *[False] * 5,
    ]
