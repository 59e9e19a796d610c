"""Summaries, facts to tell, and C4."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import List, Value

from tests.further import c4, cnn_dailymail, e2e, samsum, webnlg, xsum
from tests.tasks.published import Published

TEXT, NUMBER = Value("string"), Value("int32")

NAMES = {"train": 0, "validation": 480, "test": 600}


def texts(*columns: str) -> dict[str, Any]:
    """Features that are texts."""
    return dict.fromkeys(columns, TEXT)


def three(row: Callable[[int], dict[str, Any]], count: int = 3) -> Mapping[str, Sequence[Any]]:
    """Three parts of some rows."""
    return {part: list(map(row, range(start, start + count))) for part, start in NAMES.items()}


PUBLISHED = {
    ("EdinburghNLP/xsum", ""): Published(
        features=texts("document", "summary", "id"), parts=three(xsum)
    ),
    ("abisee/cnn_dailymail", "3.0.0"): Published(
        features=texts("article", "highlights", "id"), parts=three(cnn_dailymail)
    ),
    ("knkarthick/samsum", ""): Published(
        features=texts("id", "dialogue", "summary"), parts=three(samsum)
    ),
    ("tuetschek/e2e_nlg", ""): Published(
        features=texts("meaning_representation", "human_reference"), parts=three(e2e, 4)
    ),
    ("webnlg-challenge/web_nlg", "webnlg_challenge_2017"): Published(
        features={
            "category": TEXT,
            "size": NUMBER,
            "eid": TEXT,
            "original_triple_sets": {"otriple_set": List(List(TEXT))},
            "modified_triple_sets": {"mtriple_set": List(List(TEXT))},
            **texts("shape", "shape_type"),
            "lex": {name: List(TEXT) for name in ("comment", "lid", "text", "lang")},
            "test_category": TEXT,
            "dbpedia_links": List(TEXT),
            "links": List(TEXT),
        },
        parts=three(webnlg),
    ),
    ("allenai/c4", "en"): Published(
        features=texts("text", "timestamp", "url"),
        parts={"train": list(map(c4, range(60))), "validation": list(map(c4, range(480, 483)))},
    ),
}
