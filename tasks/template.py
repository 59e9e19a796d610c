"""What ``[format]`` of a task file says, and its template filled in."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from tasks.answers import UNANSWERABLE
from tasks.choices import choose
from tasks.errors import repeated, shown
from tasks.formats import Numbers
from tasks.tomlfile import TomlTable

MARK = ("column", "word", "index")

LATER = ("choices", "numbers", "truth", "mark", "replace", "spaced_punctuation")
"""Keys that are part of a task's content as they are written, where they are given."""

PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
"""Of a template: a brace, written twice, or a column."""

KEYS = ("template", "label", "answers", "unanswerable", "group", "cut", *LATER)

LARGEST_NUMBER = 1e9
"""What no number is as large as: those in between are told apart then."""

MOST_NUMBERS = 10_000
"""Steps from the lowest to the highest number: each is a choice."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What ``[format]`` says.

    Attributes:
        template: as it is written.
        pieces: its literals, each with the column that follows it, or ``None``.
        label: the column of the label or the answers.
        several: whether that column holds answers.
        unanswerable: the target where there is no answer.
        group: the columns whose values together group examples.
        cut: the column that is shortened in too long an input; empty: the longest of the row.
        choices: columns whose texts are the allowed answers of a row.
        numbers: the allowed answers where they are numbers.
        truth: the column that says whether the label is right, or empty.
        mark: column, word in it and that word's index: the word stands between asterisks.
        replace: what is replaced in the template's columns, by what.
        spaced: whether punctuation stands between spaces.
    """

    template: str
    pieces: Sequence[tuple[str, str | None]]
    label: str
    several: bool
    unanswerable: str
    group: tuple[str, ...]
    cut: str
    choices: tuple[str, ...] = ()
    numbers: Numbers | None = None
    truth: str = ""
    mark: tuple[str, ...] = ()
    replace: Mapping[str, str] = dataclasses.field(default_factory=dict)
    spaced: bool = False

    @property
    def used(self) -> tuple[str, ...]:
        """All columns that a row must have, each once."""
        others = (self.label, *self.group, *self.choices, self.truth, *self.mark)
        return tuple(dict.fromkeys(filter(None, (*self.columns, *others))))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the template, each once."""
        return tuple(dict.fromkeys(column for _, column in self.pieces if column is not None))


def read_layout(file: TomlTable, labels: Mapping[str, str]) -> Layout:
    """The table ``[format]`` of a task file.

    Raises:
        TaskError: an unknown key, a value of the wrong kind, a template without a column.
    """
    file.refuse_unknown(KEYS)
    template = file.get("template", str)
    several = "answers" in file.values
    if several and "label" in file.values:
        raise file.error("answers", "stands beside format.label; give one of them")
    if several and labels:
        raise file.error(
            "answers", "is for free text; with [labels], name the column by format.label"
        )
    _check_one_kind(file, labels)
    try:
        pieces = _pieces(template)
    except ValueError as error:
        raise file.error("template", f"cannot be read: {error}") from error
    layout = Layout(
        template=template,
        pieces=pieces,
        label=file.get("answers" if several else "label", str),
        several=several,
        unanswerable=file.get("unanswerable", str, UNANSWERABLE) or UNANSWERABLE,
        group=file.columns("group"),
        cut=file.get("cut", str, ""),
        choices=_choices(file, labels),
        numbers=_numbers(file),
        truth=file.get("truth", str, ""),
        mark=_mark(file),
        replace=_replaced(file),
        spaced=file.get("spaced_punctuation", bool, False),
    )
    if not layout.columns or not all(layout.columns):
        raise file.error("template", "names no column; write them in braces, as in {text}")
    if layout.cut:
        choose(layout.cut, layout.columns, f"{file.path}: format.cut: the template's column")
    if layout.mark:
        choose(layout.mark[0], layout.columns, f"{file.path}: format.mark: the template's column")
    return layout


def _pieces(template: str) -> list[tuple[str, str | None]]:
    """Literals of a template, each with the column that follows it, or ``None`` at the end.

    Whatever stands between braces names a column, colons and all, but for braces themselves.

    Raises:
        ValueError: a brace without another.
    """
    pieces: list[tuple[str, str | None]] = []
    literal, end = "", 0

    def plain(text: str) -> str:
        if set("{}") & set(text):
            raise ValueError(
                f"a brace stands alone in {shown(text)}; columns stand in braces, a brace of the text is written twice"
            )
        return text

    for found in PART.finditer(template):
        literal += plain(template[end : found.start()])
        end = found.end()
        if found[1] is None:
            literal += found[0][0]
        else:
            pieces.append((literal, found[1]))
            literal = ""
    literal += plain(template[end:])
    return [*pieces, (literal, None)] if literal else pieces


def _check_one_kind(file: TomlTable, labels: Mapping[str, str]) -> None:
    """Refuse what says of answers that they are of two kinds."""
    for key, excluded in (("choices", ("answers", "numbers")), ("numbers", ("answers",))):
        for other in excluded:
            if key in file.values and other in file.values:
                raise file.error(key, f"stands beside format.{other}; give one of them")
    if labels and "numbers" in file.values:
        raise file.error("numbers", "is for numbers; leave [labels] out")


def _choices(file: TomlTable, labels: Mapping[str, str]) -> tuple[str, ...]:
    choices = file.texts("choices")
    if "choices" in file.values and (len(choices) < 2 or repeated(choices)):
        raise file.error(
            "choices", f"is {shown(list(choices))}; expected two columns or more, each once"
        )
    for word in labels.values() if choices else ():
        choose(word, choices, f"{file.path}: a value of [labels]: format.choices' column")
    return choices


def _numbers(file: TomlTable) -> Numbers | None:
    if "numbers" not in file.values:
        return None
    given = file.get("numbers", dict)
    numbers = all(
        type(value) in (int, float) and abs(value) < LARGEST_NUMBER for value in given.values()
    )
    if set(given) != {"low", "high", "step"} or not numbers:
        raise file.error(
            "numbers",
            f"is {shown(given)}; expected low, high and step, as in {{ low = 0, high = 5, step = 0.2 }}",
        )
    low, high, step = (float(given[key]) for key in ("low", "high", "step"))
    if not (low < high and 0 < step <= high - low and (high - low) / step < MOST_NUMBERS):
        raise file.error(
            "numbers",
            f"is {shown(given)}; expected low below high, and fewer than {MOST_NUMBERS} steps",
        )
    return Numbers(low=low, high=high, step=step)


def _mark(file: TomlTable) -> tuple[str, ...]:
    given = file.get("mark", dict, {})
    texts = all(isinstance(value, str) and value for value in given.values())
    if "mark" in file.values and (set(given) != set(MARK) or not texts):
        raise file.error("mark", f"is {shown(given)}; expected the columns {', '.join(MARK)}")
    return tuple(given[key] for key in MARK) if given else ()


def _replaced(file: TomlTable) -> dict[str, str]:
    given = file.get("replace", dict, {})
    if not all(old and isinstance(new, str) for old, new in given.items()):
        raise file.error("replace", f'is {shown(given)}; expected texts, as in {{ "<br>" = " " }}')
    return given


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
