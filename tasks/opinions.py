"""Sentiment of customers: their reviews of products, sentence by sentence, and of places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.answers import text_in
from tasks.classification import SENTIMENT, classification, files
from tasks.formats import classify, fields
from tasks.layouts import read_customer_reviews
from tasks.rows import Row
from tasks.sources import Hub, Source
from tasks.tables import table
from tasks.task import TRAIN_AND_TEST, Example, Task, one_part
from tasks.together import by_shared_texts


def opinions() -> Iterator[Task]:
    """All of them."""
    yield classification(
        "cr", "sentiment", {"all": Path("CR/custrev.pos")}, read_customer_reviews, fields("text"), SENTIMENT,
        splits=one_part("all"), split_key=by_shared_texts("text"),
        hub=Hub(path="SetFit/SentEval-CR", revision="refs/convert/parquet", parts={"all": "train+test"}),
        notes="Hu and Liu 2004 as in SentEval; one part, cut 80/10/10",
    )  # fmt: skip
    yield Task(
        name="yelp2",
        family="sentiment",
        source=Source(
            files=files("yelp_review_polarity_csv", "train test", "{}.csv"),
            reader=table(",", "label", "text"),
            hub=Hub(
                path="fancyzhx/yelp_polarity",
                config="plain_text",
                revision="bbf1c97a1f0cf005e5aded43839fd814654a1557",
                parts={"train": "train", "test": "test"},
            ),
        ),
        formatter=polarity,
        labels=("negative", "positive"),
        splits=TRAIN_AND_TEST,
        split_key=reviews_as_read,
        notes="Yelp reviews of one or two and of four or five stars (Zhang et al. 2015)",
    )


_polarity = classify(fields("text"), {"1": "negative", "2": "positive"})


def polarity(row: Row) -> Sequence[Example]:
    """Yelp's reviews, as they are read."""
    return _polarity({**row, "text": _as_read(row)})


def reviews_as_read(rows: Sequence[Row]) -> Sequence[object]:
    """What Yelp's rows are cut by: the review, however it is escaped."""
    return [_as_read(row) for row in rows]


def _as_read(row: Row) -> str:
    r"""The review; line ends are written as ``\n`` there, and quotation marks may be as ``\"``."""
    return text_in(row, "text").replace("\\n", " ").replace('\\"', '"')
