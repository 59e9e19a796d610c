"""Formatters: closures that turn a row into T5's ``key: text`` form."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from tasks.answers import UNANSWERABLE, answer_texts, is_impossible, text_in
from tasks.errors import shown
from tasks.rows import Row
from tasks.task import Example, Formatter

UNLABELLED = "-1"
"""Label of rows without one: SNLI's annotators could not agree, and test sets of the hub hide theirs."""


def fields(*names: str, **columns: str) -> dict[str, str]:
    """Ordered ``key -> column``; ``fields("a", b="text")`` is ``{"a": "a", "b": "text"}``."""
    return {name: name for name in names} | columns


def joined(keys: Mapping[str, str], row: Row) -> str:
    """``key: text key: text`` in the given order, with single spaces."""
    return " ".join(
        f"{key}: {' '.join(text_in(row, column).split())}" for key, column in keys.items()
    )


def text_to_text(keys: Mapping[str, str], row: Row, target: str, **others: Any) -> Example:
    """The example of :func:`joined` fields; where it is too long, its longest field is shortened wherever it stands.

    Args:
        keys: ``key -> column``.
        row: the row.
        target: what shall be written.
        others: further fields of the example.
    """
    pieces = [joined({key: column}, row) for key, column in keys.items()]
    return Example(
        inputs=" ".join(pieces), target=target, cut=_longest(list(keys), pieces), **others
    )


def _longest(keys: Sequence[str], pieces: Sequence[str]) -> tuple[int, int]:
    """Span of the longest field's text; ``(0, 0)`` where it stands last, since then it is the tail."""
    sizes = [len(piece) - len(f"{key}: ") for key, piece in zip(keys, pieces, strict=True)]
    longest = max(range(len(sizes)), key=lambda i: (sizes[i], i), default=-1)
    if longest == len(sizes) - 1:
        return 0, 0
    stop = len(" ".join(pieces[: longest + 1]))
    return stop - sizes[longest], stop


def spaced(text: str) -> str:
    """The text with a space on both sides of whatever is no letter of ASCII, digit or underscore, and single spaces.

    So T5 reads questions, passages and answers (Raffel et al. 2020); letters with accents are set apart too.
    """
    return " ".join(re.sub(r"(\W)", r" \1 ", text, flags=re.ASCII).split())


def classify(
    keys: Mapping[str, str], labels: Mapping[str, str], *, label: str = "label"
) -> Formatter:
    """Classification: ``labels`` maps every raw label to its word; the words in their first order are the choices."""
    choices = tuple(dict.fromkeys(labels.values()))

    def formatter(row: Row) -> Sequence[Example]:
        raw = text_in(row, label).strip()
        if raw not in labels and raw == UNLABELLED:
            return []
        if raw not in labels:
            raise ValueError(f"unknown label {raw!r}; expected one of {', '.join(labels)}")
        return [text_to_text(keys, row, labels[raw], choices=choices)]

    return formatter


def free_text(keys: Mapping[str, str], target: str) -> Formatter:
    """Generation: the target column as it is."""

    def formatter(row: Row) -> Sequence[Example]:
        return [text_to_text(keys, row, text_in(row, target))]

    return formatter


def multiple_choice(
    keys: Mapping[str, str], choices: Sequence[str], *, label: str = "label"
) -> Formatter:
    """The answer is the text of one of the ``choices`` columns."""

    def formatter(row: Row) -> Sequence[Example]:
        options = tuple(text_in(row, column) for column in choices)
        answer = text_in(row, label)
        if answer not in options:
            raise ValueError(f"label {answer!r} is none of the choices {', '.join(options)}")
        return [text_to_text(keys, row, answer, choices=options)]

    return formatter


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers:
    """Numbers as answers: from ``low`` to ``high`` in steps, each written with as many decimals as these have."""

    low: float
    high: float
    step: float

    @functools.cached_property
    def texts(self) -> tuple[str, ...]:
        """All of them, in their order."""
        steps = (self.high - self.low) / self.step
        return tuple(map(self.text, range(math.floor(steps + 1e-6) + 1)))  # 5 / 0.2 is not quite 25

    @functools.cached_property
    def decimals(self) -> int:
        """How many each is written with."""
        return max(0, _decimals(self.low), _decimals(self.step))

    def text(self, steps: int) -> str:
        """The number so many steps above the lowest."""
        text = f"{self.low + steps / (1 / self.step):.{self.decimals}f}"
        return text if float(text) else text.removeprefix("-")


def _decimals(number: float) -> int:
    """Digits behind the point; negative where the last ones before it are zeros."""
    exponent = Decimal(str(number)).normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return -exponent


SIMILARITY = Numbers(low=0.0, high=5.0, step=0.2)
"""STS-B's scores as T5 writes them (Raffel et al. 2020, section 2.4)."""


def number_text(raw: object, numbers: Numbers) -> str:
    """A number rounded to the nearest of ``numbers``, as text.

    Raises:
        ValueError: no number, or one that lies outside.
    """
    try:
        value = float(str(raw))
    except ValueError as error:
        raise ValueError(f"label {shown(raw)} is no number") from error
    if not numbers.low <= value <= numbers.high:
        raise ValueError(f"label {shown(raw)} lies outside {numbers.low:g} to {numbers.high:g}")
    steps = round((value - numbers.low) * (1 / numbers.step))
    return numbers.texts[min(steps, len(numbers.texts) - 1)]


def similarity_score(row: Row) -> Sequence[Example]:
    """STS-B: the score rounded to the nearest 0.2, as text."""
    score = number_text(row["label"] if "label" in row else row["score"], SIMILARITY)
    return [text_to_text(fields("sentence1", "sentence2"), row, score, choices=SIMILARITY.texts)]


def multirc(row: Row) -> Sequence[Example]:
    """MultiRC: one example an answer, in the order question, answer, paragraph, without the tags of HTML, as T5."""
    if _is_flat(row):
        return [
            _multirc_example(
                row["question"], row["answer"], row["paragraph"], row["label"], _flat_group(row)
            )
        ]
    passage = row["passage"]
    return [
        _multirc_example(
            question["question"],
            answer["text"],
            passage["text"],
            answer["label"],
            f"{row['idx']}-{question['idx']}",
        )
        for question in passage["questions"]
        for answer in question["answers"]
    ]


def multirc_passages(rows: Sequence[Row]) -> Sequence[object]:
    """What MultiRC's rows are cut by: the official row of a passage, put together again from the hub's flat rows."""
    passages: dict[int, dict[str, Any]] = {}
    questions: dict[tuple[int, int], dict[str, Any]] = {}
    for row in filter(_is_flat, rows):
        index = row["idx"]
        passage = passages.setdefault(
            index["paragraph"], {"text": row["paragraph"], "questions": []}
        )
        key = index["paragraph"], index["question"]
        if key not in questions:
            questions[key] = {"question": row["question"], "answers": [], "idx": index["question"]}
            passage["questions"].append(questions[key])
        label = int(truth_of(row["label"]) == "True")
        questions[key]["answers"].append(
            {"text": row["answer"], "idx": index["answer"], "label": label}
        )
    nested = {
        number: {"idx": number, "version": 1.1, "passage": passage}
        for number, passage in passages.items()
    }
    return [nested[row["idx"]["paragraph"]] if _is_flat(row) else row for row in rows]


def _is_flat(row: Row) -> bool:
    """Whether a row of MultiRC is the hub's, which is one answer."""
    return "passage" not in row or isinstance(row["passage"], str)


def _flat_group(row: Row) -> str:
    return f"{row['idx']['paragraph']}-{row['idx']['question']}"


def _multirc_example(
    question: str, answer: str, paragraph: str, label: object, group: str
) -> Example:
    keys = fields("question", "answer", "paragraph")
    texts = (question, answer, paragraph)
    values = {
        key: re.sub(r"</?b>", "", text.replace("<br>", " "))
        for key, text in zip(keys, texts, strict=True)
    }
    return text_to_text(keys, values, truth_of(label), choices=("False", "True"), group=group)


def record(row: Row) -> Sequence[Example]:
    """ReCoRD as T5 writes it without the task's name: one example for each right entity of a query.

    A row is the hub's, which is a query, or the official one, which is a passage with its queries. Entities are in
    alphabetical order, each once; highlights of the passage become sentences. A query without answers gives nothing.
    """
    if isinstance(row["passage"], str):
        index = row["idx"]
        return _record_examples(
            row["passage"],
            row["query"],
            row["entities"],
            row["answers"],
            f"{index['passage']}-{index['query']}",
        )
    passage = row["passage"]
    text = passage["text"]
    entities = [text[span["start"] : span["end"] + 1] for span in passage["entities"]]
    return [
        example
        for query in row["qas"]
        for example in _record_examples(
            text,
            query["query"],
            entities,
            answer_texts(query.get("answers", [])),
            f"{row['idx']}-{query['idx']}",
        )
    ]


def record_passages(rows: Sequence[Row]) -> Sequence[object]:
    """What ReCoRD's rows are cut by: the text of their passage, in the official form and the hub's."""
    passages = [row["passage"] for row in rows]
    return [passage if isinstance(passage, str) else str(passage["text"]) for passage in passages]


def _record_examples(
    passage: str, query: str, entities: Sequence[str], answers: Sequence[str], group: str
) -> list[Example]:
    known, accepted = sorted(set(entities)), tuple(sorted(set(answers)))
    # an answer that is spelled as no entity is must be allowed all the same
    choices = tuple(dict.fromkeys([*known, *accepted]))
    text = re.sub(r"""([.?!"'])\n@highlight\n""", r"\1 ", passage)
    values = {
        "query": query,
        "entities": ", ".join(known),
        "passage": text.replace("\n@highlight\n", ". "),
    }
    keys = fields("query", "entities", "passage")
    return [
        text_to_text(keys, values, answer, choices=choices, group=group, answers=accepted)
        for answer in accepted
    ]


def truth_of(label: object) -> str:
    """``True`` or ``False``, however a file spells it."""
    return str(str(label).lower() in ("1", "true"))


def wsc(row: Row) -> Sequence[Example]:
    """WSC: the pronoun between asterisks, as T5 writes it without the task's name; the referent is the target."""
    span = row.get("target", row)
    inputs = marked(row["text"], span["span2_text"], int(span["span2_index"]))
    return [Example(inputs=inputs, target=span["span1_text"], label=truth_of(row["label"]))]


def marked(text: str, word: str, index: int) -> str:
    """The text with single spaces and a word of it between asterisks, at that index or next to it.

    Raises:
        ValueError: the text has no such word.
    """
    start, stop = _pronoun(text, word, index)
    return " ".join(f"{text[:start]} *{text[start:stop]}* {text[stop:]}".split())


def _pronoun(text: str, pronoun: str, index: int) -> tuple[int, int]:
    """Span of the pronoun: where the word of that index holds it, or else its place nearest to that word.

    Raises:
        ValueError: the text has no such word.
    """
    words = r"\s+".join(map(re.escape, pronoun.split()))
    spans = (
        [match.span() for match in re.finditer(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE)]
        if words
        else []
    )
    if not spans:
        raise ValueError(f"the pronoun {pronoun!r} is not in the text")
    return min(spans, key=lambda span: abs(text[: span[0]].count(" ") - index))


def wsc_is_true(row: Row) -> bool:
    """Training rows of WSC are those whose referent is right."""
    return truth_of(row["label"]) == "True"


def question_answer(row: Row) -> Sequence[Example]:
    """SQuAD's format: ``question: ... context: ...``; the first answer is the target, all are accepted.

    Punctuation stands between spaces in all of them, as in T5's preprocessing. A question that its text does not answer
    (SQuAD 2) has one answer, ``unanswerable``.
    """
    answers = row["answers"] if "answers" in row else row["answer"]
    accepted = () if is_impossible(row) else answer_texts(answers)
    accepted = tuple(map(spaced, accepted)) or (UNANSWERABLE,)
    keys = fields("question", "context")
    texts = {column: spaced(text_in(row, column)) for column in keys.values()}
    return [text_to_text(keys, texts, accepted[0], answers=accepted)]
