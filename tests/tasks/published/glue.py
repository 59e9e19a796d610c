"""GLUE (``nyu-mll/glue``)."""

from __future__ import annotations

from datasets import ClassLabel, Value

from tests.tasks.published import Published

TEXT, INDEX = Value("string"), Value("int32")

PUBLISHED = {
    ("nyu-mll/glue", "sst2"): Published(
        features={
            "sentence": TEXT,
            "label": ClassLabel(names=["negative", "positive"]),
            "idx": INDEX,
        },
        parts={
            "train": [
                {"sentence": "a warm little tale ", "label": 1, "idx": 0},
                {"sentence": "flat and far too long ", "label": 0, "idx": 1},
                {"sentence": "gone stale by noon ", "label": 0, "idx": 2},
            ],
            "validation": [
                {"sentence": "i would see it twice . ", "label": 1, "idx": 0},
                {"sentence": "nobody laughed once . ", "label": 0, "idx": 1},
                {"sentence": "a joy . ", "label": 1, "idx": 2},
            ],
            "test": [{"sentence": f"unlabelled {i}", "label": -1, "idx": i} for i in range(3)],
        },
    ),
}
