"""Language modelling as a task: C4, of which a prompt learns to continue texts.

SPoT (Vu et al. 2022) trains a source prompt on C4 with the prefix objective of LM adaptation. A document's first words
are cut in two at a place that its hash draws, so that a document is the same example every time. The continuation is
scored by the words that it shares with the true one; between equal scores the development loss decides, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.answers import text_in
from tasks.layouts import first_of_gzip
from tasks.rows import Row
from tasks.sources import Hub, Source
from tasks.task import TRAIN_AND_DEV, Example, Task, place

WINDOW = 96
"""Words of a document that are read."""

PREFIX = (16, 64)
"""The fewest and most words in front of the cut."""

CONTINUATION = 32
"""The most words after it."""

DOCUMENTS = {"train": 100_000, "validation": 5_000}
"""Documents that are read of each of C4's parts, from its start."""


def language_modelling() -> Iterator[Task]:
    """C4 (Raffel et al. 2020), English."""
    yield Task(
        name="c4",
        family="language_modelling",
        source=Source(
            files={
                "train": Path("c4/en/c4-train.00000-of-01024.json.gz"),
                "dev": Path("c4/en/c4-validation.00000-of-00008.json.gz"),
            },
            reader=first_of_gzip(DOCUMENTS),
            hub=Hub(
                path="allenai/c4",
                config="en",
                revision="1588ec454efa1a09f29cd18ddd04fe05fc8653a2",
                parts={"train": "train", "dev": "validation"},
                streaming=True,
                take={"train": DOCUMENTS["train"], "dev": DOCUMENTS["validation"]},
            ),
        ),
        formatter=continuation,
        metrics=("token_f1",),
        splits=TRAIN_AND_DEV,
        split_key="text",
        notes=f"Raffel et al. 2020, ODC-BY; the first {DOCUMENTS['train']:,} documents train and select, "
        f"{DOCUMENTS['validation']:,} of the validation part are reported",
    )


def continuation(row: Row) -> Sequence[Example]:
    """The first words of a text as input, those that follow as target; texts too short for both give nothing."""
    text = text_in(row, "text")
    words = text.split()[:WINDOW]
    least, most = PREFIX
    most = min(most, len(words) // 2)
    if most < least:
        return []
    cut = least + int(place(text) * (most - least + 1))
    return [Example(inputs=" ".join(words[:cut]), target=" ".join(words[cut : cut + CONTINUATION]))]
