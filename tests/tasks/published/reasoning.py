"""HellaSwag, WinoGrande, CosmosQA and RACE; test parts without labels stand beside those that are read."""

from __future__ import annotations

from datasets import List, Value

from tests.further import cosmosqa, hellaswag, race, winogrande
from tests.tasks.published import Published

TEXT, NUMBER = Value("string"), Value("int32")

CUT, TESTED = range(60), range(480, 483)

PUBLISHED = {
    ("Rowan/hellaswag", ""): Published(
        features={
            "ind": NUMBER,
            **dict.fromkeys(("activity_label", "ctx_a", "ctx_b", "ctx"), TEXT),
            "endings": List(TEXT),
            **dict.fromkeys(("source_id", "split", "split_type", "label"), TEXT),
        },
        parts={
            "train": list(map(hellaswag, CUT)),
            "test": [hellaswag(i) | {"label": ""} for i in range(600, 603)],
            "validation": list(map(hellaswag, TESTED)),
        },
    ),
    ("allenai/winogrande", "winogrande_xl"): Published(
        features=dict.fromkeys(("sentence", "option1", "option2", "answer"), TEXT),
        parts={
            "train": list(map(winogrande, CUT)),
            "test": [winogrande(i) | {"answer": ""} for i in range(600, 603)],
            "validation": list(map(winogrande, TESTED)),
        },
    ),
    ("allenai/cosmos_qa", ""): Published(
        features=dict.fromkeys(
            ("id", "context", "question", "answer0", "answer1", "answer2", "answer3"), TEXT
        )
        | {"label": NUMBER},
        parts={
            "train": list(map(cosmosqa, CUT)),
            "test": [cosmosqa(i) | {"label": -1} for i in range(600, 603)],
            "validation": list(map(cosmosqa, TESTED)),
        },
    ),
    ("ehovy/race", "all"): Published(
        features={
            "example_id": TEXT,
            "article": TEXT,
            "answer": TEXT,
            "question": TEXT,
            "options": List(TEXT),
        },
        parts={
            "test": list(map(race, range(600, 603))),
            "train": list(map(race, range(3))),
            "validation": list(map(race, TESTED)),
        },
    ),
}
