"""GLUE (``nyu-mll/glue``): test labels are hidden."""

from __future__ import annotations

from datasets import ClassLabel, Value

from tests.official import sentence
from tests.tasks.published import Published, Row, numbered

TEXT, INDEX = Value("string"), Value("int32")

CUT, WHOLE = 80, 6
"""Rows of parts that are cut in two, and of others."""


def classified(texts: dict[str, str], classes: list[str], *held: str) -> Published:
    """Texts by column, each of a collection; further parts beside ``validation`` and ``test`` are ``held``."""

    def row(number: int) -> Row:
        drawn = {column: sentence(of, number) for column, of in texts.items()}
        return drawn | {"label": number % len(classes), "idx": number}

    features = dict.fromkeys(texts, TEXT) | {"label": ClassLabel(names=classes), "idx": INDEX}
    sizes = dict.fromkeys(held or ("validation", "test"), WHOLE)
    return Published(features=features, parts=hidden(numbered(row, train=CUT, **sizes)))


def hidden(parts: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The parts with labels of -1 in the test sets."""
    return {
        part: [dict(row) | ({"label": -1} if part.startswith("test") else {}) for row in rows]
        for part, rows in parts.items()
    }


def scored(number: int) -> Row:
    """A row of STS-B."""
    return {
        "sentence1": sentence("news", number),
        "sentence2": sentence("like news", number),
        "label": number % 25 / 5 + 0.01,
        "idx": number,
    }


ENTAILMENT = ["entailment", "not_entailment"]
PAIR = {"sentence1": "first", "sentence2": "second"}

PUBLISHED: dict[tuple[str, str], Published] = {
    ("nyu-mll/glue", "cola"): classified({"sentence": "grammar"}, ["unacceptable", "acceptable"]),
    ("nyu-mll/glue", "sst2"): classified({"sentence": "reviews"}, ["negative", "positive"]),
    ("nyu-mll/glue", "mrpc"): classified(PAIR, ["not_equivalent", "equivalent"]),
    ("nyu-mll/glue", "qqp"): classified(
        {"question1": "asked", "question2": "asked again"}, ["not_duplicate", "duplicate"]
    ),
    ("nyu-mll/glue", "mnli"): classified(
        {"premise": "genres", "hypothesis": "inferred"},
        ["entailment", "neutral", "contradiction"],
        "validation_matched",
        "validation_mismatched",
        "test_matched",
        "test_mismatched",
    ),
    ("nyu-mll/glue", "qnli"): classified({"question": "asked", "sentence": "answer"}, ENTAILMENT),
    ("nyu-mll/glue", "rte"): classified(PAIR, ENTAILMENT),
    ("nyu-mll/glue", "wnli"): classified(PAIR, ["not_entailment", "entailment"]),
    ("nyu-mll/glue", "stsb"): Published(
        features={"sentence1": TEXT, "sentence2": TEXT, "label": Value("float32"), "idx": INDEX},
        parts=hidden(numbered(scored, train=CUT, validation=WHOLE, test=WHOLE)),
    ),
}
