"""What ``[format]`` of a task file says: from a row to an example."""

from __future__ import annotations

import dataclasses
import json
import string
from collections.abc import Mapping, Sequence

from tasks.answers import UNANSWERABLE, answer_texts, is_impossible, is_null, spellings, text_in
from tasks.choices import choose
from tasks.errors import shown
from tasks.formats import classify
from tasks.rows import Row
from tasks.task import Example, Formatter
from tasks.tomlfile import TomlTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What ``[format]`` says.

    Attributes:
        template: as it is written.
        pieces: its literals, each with the column that follows it, or ``None``.
        label: the column of the label or the answers.
        several: whether that column holds answers.
        unanswerable: the target where there is no answer.
        group: the column whose values group examples, or empty.
        cut: the column that is shortened in too long an input; empty: the longest of the row.
    """

    template: str
    pieces: Sequence[tuple[str, str | None]]
    label: str
    several: bool
    unanswerable: str
    group: str
    cut: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the template, each once."""
        return tuple(dict.fromkeys(column for _, column in self.pieces if column is not None))


def read_layout(file: TomlTable, labels: Mapping[str, str]) -> Layout:
    """The table ``[format]`` of a task file.

    Raises:
        TaskError: an unknown key, a value of the wrong kind, a template without a column.
    """
    file.refuse_unknown({"template", "label", "answers", "unanswerable", "group", "cut"})
    template = file.get("template", str)
    several = "answers" in file.values
    if several and "label" in file.values:
        raise file.error("answers", "stands beside format.label; give one of them")
    if several and labels:
        raise file.error(
            "answers", "is for free text; with [labels], name the column by format.label"
        )
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise file.error("template", f"cannot be read: {error}") from error
    pieces = [(literal, column) for literal, column, _, _ in parsed]
    if written := next(
        (column for _, column, form, conversion in parsed if form or conversion), None
    ):
        raise file.error(
            "template", f"says how {shown(written)} is written; a column stands alone in its braces"
        )
    layout = Layout(
        template=template,
        pieces=pieces,
        label=file.get("answers" if several else "label", str),
        several=several,
        unanswerable=file.get("unanswerable", str, UNANSWERABLE) or UNANSWERABLE,
        group=file.get("group", str, ""),
        cut=file.get("cut", str, ""),
    )
    if not layout.columns or not all(layout.columns):
        raise file.error("template", "names no column; write them in braces, as in {text}")
    if layout.cut:
        choose(layout.cut, layout.columns, f"{file.path}: format.cut: the template's column")
    return layout


def formatter_of(layout: Layout, labels: Mapping[str, str], split_key: str) -> Formatter:
    """From a row to one example; a value that is no text is a ValueError.

    Args:
        layout: what ``[format]`` says.
        labels: raw label to word; empty for free text.
        split_key: a column that must not be null either.
    """
    inner = classify({}, labels, label=layout.label) if labels else None

    def formatter(row: Row) -> list[Example]:
        if split_key and is_null(row[split_key]):
            raise ValueError(f"column {shown(split_key)}, the split_key, is null")
        texts = {column: text_in(row, column) for column in layout.columns}
        inputs, spans = fill(layout.pieces, texts)
        span = (
            spans[layout.cut]
            if layout.cut
            else max(spans.values(), key=lambda span: (span[1] - span[0], span))
        )
        span = span if span[1] < len(inputs) else (0, 0)  # what stands last is the tail
        group = text_in(row, layout.group) if layout.group else ""
        if inner is not None:
            examples = inner({layout.label: _raw_label(row, layout.label, labels)})
        else:
            examples = [_free_text(row, layout)]
        return [
            dataclasses.replace(example, inputs=inputs, group=group, cut=span)
            for example in examples
        ]

    return formatter


def fill(
    pieces: Sequence[tuple[str, str | None]], texts: Mapping[str, str]
) -> tuple[str, dict[str, tuple[int, int]]]:
    """A template with its columns filled in and single spaces.

    Args:
        pieces: literals, each with the column that follows it.
        texts: of every column.

    Returns:
        The text, and for every column the span ``[start, stop)`` of its first place there.
    """
    out, gap = "", False
    spans: dict[str, tuple[int, int]] = {}
    for literal, column in pieces:
        for text, name in ((literal, None), (texts[column] if column is not None else "", column)):
            words = " ".join(text.split())
            if words and out and (gap or text[0].isspace()):
                out += " "
            start = len(out)
            out += words
            gap = text[-1].isspace() if text else gap
            if name is not None:
                spans.setdefault(name, (start, len(out)))
    return out, spans


def _raw_label(row: Row, column: str, labels: Mapping[str, str]) -> str:
    """The label as ``[labels]`` spells it: ``true`` or ``True``, ``1`` or ``1.0``."""
    spelled = spellings(row, column)
    raw = next((text for text in spelled if text in labels), spelled[0])
    if raw not in labels:
        known = ", ".join(list(labels)[:20])
        raise ValueError(
            f"unknown label {shown(raw)}; expected one of {known}; rows without a label are left out by "
            f"skip = {{ {column} = [{json.dumps(raw[:20], ensure_ascii=False)}] }} under [data]"
        )
    return raw


def _free_text(row: Row, layout: Layout) -> Example:
    value = row[layout.label]
    if not layout.several and not isinstance(value, list | tuple | Mapping):
        return Example(inputs="", target=text_in(row, layout.label))
    if is_null(value):
        text_in(row, layout.label)
    answers = () if is_impossible(row) else answer_texts(value)
    answers = answers or (layout.unanswerable,)
    return Example(inputs="", target=answers[0], answers=answers)
