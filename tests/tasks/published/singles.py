"""Data sets that stand alone: topics, question types, sentiment, inference, tweets, question answering."""

from __future__ import annotations

from datasets import ClassLabel, Sequence, Value

from tests.official import sentence
from tests.tasks.published import Published, Row, numbered
from tests.tasks.published.glue import CUT, TEXT, WHOLE

INTEGER = Value("int64")

FINE_KINDS = """
ABBR: abb exp
ENTY: animal body color cremat currency dismed event food instru lang letter other plant product religion sport
ENTY: substance symbol techmeth termeq veh word
DESC: def desc manner reason
HUM: gr ind title desc
LOC: city country mount other state
NUM: code count date dist money ord other period perc speed temp volsize weight
"""
FINE = [
    f"{coarse}:{kind}"
    for coarse, _, kinds in (line.partition(":") for line in FINE_KINDS.strip().splitlines())
    for kind in kinds.split()
]
"""TREC's fifty finer kinds of questions."""


def texts(of: str, classes: list[str], **sizes: int) -> Published:
    """One text and its class."""

    def row(number: int) -> Row:
        return {"text": sentence(of, number), "label": number % len(classes)}

    return Published(
        features={"text": TEXT, "label": ClassLabel(names=classes)}, parts=numbered(row, **sizes)
    )


def question(number: int) -> Row:
    """A row of TREC."""
    return {
        "text": f"{sentence('question types', number)} ?",
        "coarse_label": number % 6,
        "fine_label": number % 50,
    }


def stars(number: int) -> Row:
    """A row of SST-5, whose repository holds JSON lines."""
    words = ("very negative", "negative", "neutral", "positive", "very positive")
    return {
        "text": sentence("stars", number),
        "label": number % 5,
        "label_text": words[number % 5],
    }


def pictures(number: int) -> Row:
    """A row of SNLI: of a premise's three hypotheses; on some the annotators could not agree."""
    return {
        "premise": sentence("pictures", number // 3),
        "hypothesis": sentence("seen", number),
        "label": number % 4 - 1,
    }


def science(number: int) -> Row:
    """A row of SciTail."""
    return {
        "premise": sentence("evidence", number),
        "hypothesis": sentence("science", number // 3),
        "label": ("neutral", "entails")[number % 2],
    }


def passage(number: int) -> Row:
    """A row of SQuAD: a question; two of a passage."""
    told = sentence("passages", number // 2)
    return {
        "id": f"{number:024x}",
        "title": f"Article {number // 8}",
        "context": told,
        "question": f"{sentence('questions', number)} ?",
        "answers": {"text": [told[:9], told[:12]], "answer_start": [0, 0]},
    }


PUBLISHED: dict[tuple[str, str], Published] = {
    ("fancyzhx/ag_news", ""): texts(
        "topics", ["World", "Sports", "Business", "Sci/Tech"], train=CUT, test=WHOLE
    ),
    ("CogComp/trec", ""): Published(
        features={
            "text": TEXT,
            "coarse_label": ClassLabel(names=["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"]),
            "fine_label": ClassLabel(names=FINE),
        },
        parts=numbered(question, train=CUT, test=WHOLE),
        converted=True,
    ),
    ("SetFit/sst5", ""): Published(
        features={"text": TEXT, "label": INTEGER, "label_text": TEXT},
        parts=numbered(stars, train=WHOLE, validation=WHOLE, test=WHOLE),
    ),
    ("stanfordnlp/snli", ""): Published(
        features={
            "premise": TEXT,
            "hypothesis": TEXT,
            "label": ClassLabel(names=["entailment", "neutral", "contradiction"]),
        },
        parts=numbered(pictures, test=WHOLE, validation=2 * CUT, train=2 * CUT),
    ),
    ("allenai/scitail", "tsv_format"): Published(
        features={"premise": TEXT, "hypothesis": TEXT, "label": TEXT},
        parts=numbered(science, train=2 * CUT, test=WHOLE, validation=2 * CUT),
    ),
    ("cardiffnlp/tweet_eval", "irony"): texts(
        "irony", ["non_irony", "irony"], train=WHOLE, test=WHOLE, validation=WHOLE
    ),
    ("cardiffnlp/tweet_eval", "hate"): texts(
        "hate", ["non-hate", "hate"], train=WHOLE, test=WHOLE, validation=WHOLE
    ),
    ("cardiffnlp/tweet_eval", "offensive"): texts(
        "offensive", ["non-offensive", "offensive"], train=WHOLE, test=WHOLE, validation=WHOLE
    ),
    ("stanfordnlp/imdb", ""): texts(
        "films", ["neg", "pos"], train=CUT, test=WHOLE, unsupervised=WHOLE
    ),
    ("rajpurkar/squad", ""): Published(
        features={
            "id": TEXT,
            "title": TEXT,
            "context": TEXT,
            "question": TEXT,
            "answers": Sequence({"text": TEXT, "answer_start": Value("int32")}),
        },
        parts=numbered(passage, train=2 * CUT, validation=2 * CUT),
    ),
}
