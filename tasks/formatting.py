"""From a row to an example, as ``[format]`` of a task file says."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence

from tasks.answers import answer_texts, is_impossible, is_null, spellings, text_in
from tasks.errors import shown
from tasks.formats import classify, marked, number_text, spaced, truth_of
from tasks.rows import Row
from tasks.task import Example, Formatter
from tasks.template import Layout, fill

Answered = Callable[[Row], Sequence[Example]]
"""From a row to an example without inputs, or to none."""


def _group(values: Sequence[str]) -> str:
    """What rows of one group share, and no others: values with ``-`` between, as MultiRC's passage and question."""
    if len(values) == 1:
        return values[0]
    return "-".join(value.replace("\\", r"\\").replace("-", r"\-") for value in values)


def formatter_of(
    layout: Layout, labels: Mapping[str, str], split_key: Sequence[str] = ()
) -> Formatter:
    """From a row to one example; a value that is no text is a ValueError.

    Args:
        layout: what ``[format]`` says.
        labels: raw label to word; empty for free text.
        split_key: columns that must not be null either.
    """
    answered = _answered(layout, labels)

    def formatter(row: Row) -> list[Example]:
        for column in split_key:
            if is_null(row[column]):
                raise ValueError(f"column {shown(column)}, the split_key, is null")
        inputs, spans = fill(layout.pieces, _texts(layout, row))
        span = (
            spans[layout.cut]
            if layout.cut
            else max(spans.values(), key=lambda span: (span[1] - span[0], span))
        )
        asked = functools.partial(
            dataclasses.replace,
            inputs=inputs,
            group=_group([text_in(row, column) for column in layout.group]),
            label=truth_of(row[layout.truth]) if layout.truth else "",
            cut=span if span[1] < len(inputs) else (0, 0),  # what stands last is the tail
        )
        return [asked(example) for example in answered(row)]

    return formatter


def _texts(layout: Layout, row: Row) -> dict[str, str]:
    """The texts of the template's columns."""
    texts = {column: text_in(row, column) for column in layout.columns}
    if layout.mark:
        column, word, index = layout.mark
        texts[column] = marked(texts[column], text_in(row, word), _whole(row, index))
    for old, new in layout.replace.items():
        texts = {column: text.replace(old, new) for column, text in texts.items()}
    return {column: spaced(text) for column, text in texts.items()} if layout.spaced else texts


def _whole(row: Row, column: str) -> int:
    try:
        return int(text_in(row, column))
    except ValueError as error:
        raise ValueError(
            f"column {shown(column)} is {shown(row[column])}; expected a whole number"
        ) from error


# -- what the model shall write ----------------------------------------------------------------------------


def _answered(layout: Layout, labels: Mapping[str, str]) -> Answered:
    if layout.choices:
        return lambda row: [_chosen(row, layout, labels)]
    if layout.numbers:
        return lambda row: [_number(row, layout)]
    if not labels:
        return lambda row: [_free_text(row, layout)]
    inner = classify({}, labels, label=layout.label)
    return lambda row: inner({layout.label: _raw_label(row, layout.label, labels)})


def _chosen(row: Row, layout: Layout, labels: Mapping[str, str]) -> Example:
    """The text of one of several columns, which the label names or is."""
    options = tuple(text_in(row, column) for column in layout.choices)
    named = labels[_raw_label(row, layout.label, labels)] if labels else layout.label
    target = text_in(row, named)
    if target not in options:
        raise ValueError(f"label {shown(target)} is none of the choices {', '.join(options)}")
    return Example(inputs="", target=target, choices=options)


def _number(row: Row, layout: Layout) -> Example:
    assert layout.numbers is not None
    target = number_text(text_in(row, layout.label), layout.numbers)
    return Example(inputs="", target=target, choices=layout.numbers.texts)


def _raw_label(row: Row, column: str, labels: Mapping[str, str]) -> str:
    """The label as ``[labels]`` spells it: ``true`` or ``True``, ``1`` or ``1.0``."""
    spelled = spellings(row, column)
    raw = next((text for text in spelled if text in labels), spelled[0])
    if raw not in labels:
        known = ", ".join(list(labels)[:20])
        raise ValueError(
            f"unknown label {shown(raw)}; expected one of {known}; name it under [labels], or such rows are left out "
            f"by skip = {{ {column} = [{json.dumps(raw[:20], ensure_ascii=False)}] }} under [data]"
        )
    return raw


def _free_text(row: Row, layout: Layout) -> Example:
    value = row[layout.label]
    clean = spaced if layout.spaced else str
    if not layout.several and not isinstance(value, list | tuple | Mapping):
        return Example(inputs="", target=clean(text_in(row, layout.label)))
    if is_null(value):
        text_in(row, layout.label)
    answers = () if is_impossible(row) else tuple(map(clean, answer_texts(value)))
    answers = answers or (layout.unanswerable,)
    return Example(inputs="", target=answers[0], answers=answers)
