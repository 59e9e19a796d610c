"""Formatters: closures that turn a row into T5's ``key: text`` form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tasks.answers import UNANSWERABLE, answer_texts, is_impossible, text_in
from tasks.sources import Row
from tasks.task import Example, Formatter

UNLABELLED = "-1"
"""Label of rows without one: SNLI's annotators could not agree, and test sets of the hub hide theirs."""


def fields(*names: str, **columns: str) -> dict[str, str]:
    """Ordered ``key -> column``; ``fields("a", b="text")`` is ``{"a": "a", "b": "text"}``."""
    return {name: name for name in names} | columns


def joined(keys: Mapping[str, str], row: Row) -> str:
    """``key: text key: text`` in the given order, with single spaces."""
    return " ".join(f"{key}: {' '.join(text_in(row, column).split())}" for key, column in keys.items())


def classify(keys: Mapping[str, str], labels: Mapping[str, str], *, label: str = "label") -> Formatter:
    """Classification: ``labels`` maps every raw label to its word; the words in their first order are the choices."""
    choices = tuple(dict.fromkeys(labels.values()))

    def formatter(row: Row) -> Sequence[Example]:
        raw = text_in(row, label).strip()
        if raw not in labels and raw == UNLABELLED:
            return []
        if raw not in labels:
            raise ValueError(f"unknown label {raw!r}; expected one of {', '.join(labels)}")
        return [Example(inputs=joined(keys, row), target=labels[raw], choices=choices)]

    return formatter


def free_text(keys: Mapping[str, str], target: str) -> Formatter:
    """Generation: the target column as it is."""

    def formatter(row: Row) -> Sequence[Example]:
        return [Example(inputs=joined(keys, row), target=text_in(row, target))]

    return formatter


def multiple_choice(keys: Mapping[str, str], choices: Sequence[str], *, label: str = "label") -> Formatter:
    """The answer is the text of one of the ``choices`` columns."""

    def formatter(row: Row) -> Sequence[Example]:
        options = tuple(text_in(row, column) for column in choices)
        answer = text_in(row, label)
        if answer not in options:
            raise ValueError(f"label {answer!r} is none of the choices {', '.join(options)}")
        return [Example(inputs=joined(keys, row), target=answer, choices=options)]

    return formatter


def similarity_score(row: Row) -> Sequence[Example]:
    """STS-B: the score rounded to the nearest 0.2, as text."""
    raw = row["label"] if "label" in row else row["score"]
    score = f"{round(float(raw) * 5) / 5:.1f}"
    choices = tuple(f"{i / 5:.1f}" for i in range(26))
    return [Example(inputs=joined(fields("sentence1", "sentence2"), row), target=score, choices=choices)]


def multirc(row: Row) -> Sequence[Example]:
    """MultiRC: one example an answer, in the order question, answer, paragraph, without ``<br>`` and ``<b>``."""
    if "passage" not in row or isinstance(row["passage"], str):  # the hub's flat rows
        return [_multirc_example(row["question"], row["answer"], row["paragraph"], row["label"], _flat_group(row))]
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


def _flat_group(row: Row) -> str:
    return f"{row['idx']['paragraph']}-{row['idx']['question']}"


def _multirc_example(question: str, answer: str, paragraph: str, label: object, group: str) -> Example:
    values = {"question": question, "answer": answer, "paragraph": re.sub(r"<br>|</?b>", " ", paragraph)}
    target = str(str(label).lower() in ("1", "true"))
    return Example(
        inputs=joined(fields("question", "answer", "paragraph"), values),
        target=target,
        choices=("False", "True"),
        group=group,
    )


def wsc(row: Row) -> Sequence[Example]:
    """WSC: the pronoun between asterisks; the referent is the target, the row's label the group."""
    span = row.get("target", row)
    words = row["text"].split(" ")
    start = int(span["span2_index"])
    end = start + len(span["span2_text"].split(" "))
    marked = " ".join([*words[:start], f"*{' '.join(words[start:end])}*", *words[end:]])
    label = str(str(row["label"]).lower() in ("1", "true"))
    return [Example(inputs=f"text: {' '.join(marked.split())}", target=span["span1_text"], group=label)]


def wsc_is_true(row: Row) -> bool:
    """Training rows of WSC are those whose referent is right."""
    return str(row["label"]).lower() in ("1", "true")


def question_answer(row: Row) -> Sequence[Example]:
    """SQuAD's format: ``question: ... context: ...``; the first answer is the target, all are accepted.

    A question that its text does not answer (SQuAD 2) has one answer, ``unanswerable``.
    """
    answers = row["answers"] if "answers" in row else row["answer"]
    accepted = () if is_impossible(row) else answer_texts(answers)
    accepted = accepted or (UNANSWERABLE,)
    return [Example(inputs=joined(fields("question", "context"), row), target=accepted[0], answers=accepted)]
