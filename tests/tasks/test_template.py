"""Templates filled in: single spaces, and where each column lies."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.template import fill

Pieces = list[tuple[str, str | None]]

text = st.text(st.sampled_from("ab \t\n\u00a0\u2003"), max_size=8)


def pieces_of(template: str) -> Pieces:
    """Literals and columns of a template."""
    return [(literal, column) for literal, column, _, _ in string.Formatter().parse(template)]


@given(st.lists(st.tuples(text, st.sampled_from(["x", "y", None])), max_size=5), text, text)
def test_a_template_has_single_spaces_and_every_column_lies_where_it_is_said(
    pieces: Pieces, x: str, y: str
) -> None:
    texts = {"x": x, "y": y}
    filled, spans = fill(pieces, texts)
    raw = "".join(literal + (texts[column] if column else "") for literal, column in pieces)
    assert filled == " ".join(raw.split())
    assert spans.keys() == {column for _, column in pieces if column}
    for column, (start, stop) in spans.items():
        assert filled[start:stop] == " ".join(texts[column].split())


@pytest.mark.parametrize(
    ("template", "filled", "span"),
    [
        ("review: {x}", "review: a b", (8, 11)),
        ("{x} question: {y}", "a b question: c", (0, 3)),
        ("  <{x}> {y} ", "< a b> c", (2, 5)),
        ("{y}{x}{y}", "c a bc", (2, 5)),
    ],
)
def test_spans_follow_the_spaces_that_are_left_out(
    template: str, filled: str, span: tuple[int, int]
) -> None:
    found, spans = fill(pieces_of(template), {"x": " a\n b", "y": "c"})
    assert found == filled
    assert spans["x"] == span
