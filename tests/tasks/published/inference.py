"""DocNLI and ANLI."""

from __future__ import annotations

from datasets import ClassLabel, Value

from tests.further import anli, docnli
from tests.tasks.published import Published

TEXT = Value("string")

STARTS = {"train": 0, "dev": 480, "test": 600}

PUBLISHED = {
    ("saattrupdan/doc-nli", ""): Published(
        features=dict.fromkeys(("premise", "hypothesis", "label"), TEXT),
        parts={
            {"dev": "validation"}.get(part, part): list(map(docnli, range(start, start + 3)))
            for part, start in STARTS.items()
        },
    ),
    ("facebook/anli", "plain_text"): Published(
        features={
            "uid": TEXT,
            "premise": TEXT,
            "hypothesis": TEXT,
            "label": ClassLabel(names=["entailment", "neutral", "contradiction"]),
            "reason": TEXT,
        },
        parts={
            f"{part}_r{round}": list(map(anli(round), range(start, start + 3)))
            for round in (1, 2, 3)
            for part, start in STARTS.items()
        },
    ),
}
