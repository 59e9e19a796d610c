"""SuperGLUE (``aps/super_glue``): test labels and answers are hidden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datasets import ClassLabel, List, Sequence

from tests.official import sentence
from tests.tasks.published import Published, Row, numbered
from tests.tasks.published.glue import CUT, INDEX, TEXT, WHOLE, hidden

TRUTH = ["False", "True"]


def labelled(row: Callable[[int], Row], classes: list[str], **others: Any) -> Published:
    """Rows of texts and, as ``others`` say, of something else, with an index and a label."""
    columns = {column: others.get(column, TEXT) for column in row(0)}
    features = columns | {"idx": others.get("idx", INDEX), "label": ClassLabel(names=classes)}

    def whole(number: int) -> Row:
        return {"idx": number} | dict(row(number)) | {"label": number % len(classes)}

    return Published(
        features=features, parts=hidden(numbered(whole, train=CUT, validation=WHOLE, test=WHOLE))
    )


def asked(number: int) -> Row:
    """A row of BoolQ."""
    return {"question": sentence("asked", number), "passage": sentence("told", number)}


def inferred(number: int) -> Row:
    """A row of CB and RTE."""
    return {"premise": sentence("premise", number), "hypothesis": sentence("thesis", number)}


def caused(number: int) -> Row:
    """A row of COPA."""
    return {
        "premise": sentence("cause", number),
        "choice1": sentence("first", number),
        "choice2": sentence("second", number),
        "question": ("cause", "effect")[number % 2],
    }


def answered(number: int) -> Row:
    """A row of MultiRC: an answer; two of a question, three questions of a paragraph."""
    return {
        "paragraph": f"<b>Sent 1: </b>{sentence('story', number // 6)}<br>",
        "question": sentence("about", number // 2),
        "answer": sentence("answer", number),
        "idx": {"paragraph": number // 6, "question": number // 2, "answer": number},
    }


def used(number: int) -> Row:
    """A row of WiC."""
    return {
        "word": "kamo",
        "sentence1": f"kamo {sentence('senses', number)}",
        "sentence2": f"a kamo {sentence('uses', number)}",
        "start1": 0,
        "start2": 2,
        "end1": 4,
        "end2": 6,
    }


def resolved(number: int) -> Row:
    """A row of WSC."""
    text = f"Toma said that he {sentence('schema', number)}"
    return {
        "text": text,
        "span1_index": 0,
        "span2_index": 3,
        "span1_text": "Toma",
        "span2_text": "he",
    }


def clozed(number: int) -> Row:
    """A row of ReCoRD: a query; two of a passage, the second with two right entities."""
    text = f"Toma met Rilu {sentence('reported', number // 2)}\n@highlight\nAll is well"
    return {
        "passage": text,
        "query": f"Then @placeholder {sentence('clozed', number)}",
        "entities": ["Rilu", "Toma"],
        "entity_spans": {"text": ["Toma", "Rilu"], "start": [0, 9], "end": [4, 13]},
        "answers": ["Rilu", "Toma"][: 1 + number % 2],
        "idx": {"passage": number // 2, "query": number},
    }


def unanswered(number: int) -> Row:
    """A row of ReCoRD's test set."""
    return {**clozed(number), "answers": []}


PUBLISHED: dict[tuple[str, str], Published] = {
    ("aps/super_glue", "boolq"): labelled(asked, TRUTH),
    ("aps/super_glue", "cb"): labelled(inferred, ["entailment", "contradiction", "neutral"]),
    ("aps/super_glue", "copa"): labelled(caused, ["choice1", "choice2"]),
    ("aps/super_glue", "multirc"): labelled(
        answered, TRUTH, idx={"paragraph": INDEX, "question": INDEX, "answer": INDEX}
    ),
    ("aps/super_glue", "record"): Published(
        features={
            "passage": TEXT,
            "query": TEXT,
            "entities": List(TEXT),
            "entity_spans": Sequence({"text": TEXT, "start": INDEX, "end": INDEX}),
            "answers": List(TEXT),
            "idx": {"passage": INDEX, "query": INDEX},
        },
        parts=numbered(clozed, train=CUT, validation=WHOLE) | numbered(unanswered, test=WHOLE),
    ),
    ("aps/super_glue", "rte"): labelled(inferred, ["entailment", "not_entailment"]),
    ("aps/super_glue", "wic"): labelled(
        used, TRUTH, **dict.fromkeys(("start1", "start2", "end1", "end2"), INDEX)
    ),
    ("aps/super_glue", "wsc"): labelled(
        resolved, TRUTH, **dict.fromkeys(("span1_index", "span2_index"), INDEX)
    ),
}
