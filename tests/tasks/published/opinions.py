"""Customers' reviews of products and of places."""

from __future__ import annotations

from datasets import ClassLabel, Value

from tests.further import cr, yelp2
from tests.tasks.published import Published

PUBLISHED = {
    ("SetFit/SentEval-CR", ""): Published(
        features={"text": Value("string"), "label": Value("int64"), "label_text": Value("string")},
        parts={"train": list(map(cr, range(60))), "test": list(map(cr, range(60, 80)))},
    ),
    ("fancyzhx/yelp_polarity", "plain_text"): Published(
        features={"text": Value("string"), "label": ClassLabel(names=["1", "2"])},
        parts={"train": list(map(yelp2, range(60))), "test": list(map(yelp2, range(600, 603)))},
    ),
}
