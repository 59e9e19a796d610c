"""Inference beyond GLUE: DocNLI and ANLI.

Keys and label words are those of SPoT (Vu et al. 2022), whose ANLI calls the premise ``context``.
"""

from __future__ import annotations

from collections.abc import Iterator

from tasks.classification import INFERENCE, NO_YES_ENTAILMENT, classification, files
from tasks.formats import fields
from tasks.json_files import read_json, read_jsonl
from tasks.layouts import read_anli_rounds
from tasks.sources import Hub
from tasks.task import PUBLISHED, Task

PARTS = "train dev test"

ROUNDS = ("1", "2", "3")


def inference() -> Iterator[Task]:
    """All of them."""
    yield docnli()
    yield from anli()


def docnli() -> Task:
    """DocNLI (Yin et al. 2021): whether a document entails a text."""
    return classification(
        "docnli", "inference", files("DocNLI_dataset", PARTS, "{}.json"), read_json, fields("hypothesis", "premise"),
        NO_YES_ENTAILMENT, metrics=("f1", "accuracy"), splits=PUBLISHED, split_key="premise",
        hub=Hub(path="saattrupdan/doc-nli", revision="refs/convert/parquet"),
        notes="Yin et al. 2021, made of ANLI, SQuAD and three collections of summaries; F1 is that of entailment",
    )  # fmt: skip


def anli() -> Iterator[Task]:
    """ANLI (Nie et al. 2020): each of three rounds as ``anli_rN``, and all of them together."""
    labels = {"e": "entailment", "n": "neutral", "c": "contradiction"} | INFERENCE
    for name, folder, reader, rounds in (
        ("anli", "R1", read_anli_rounds, ROUNDS),
        *((f"anli_r{i}", f"R{i}", read_jsonl, (i,)) for i in ROUNDS),
    ):
        parts = {part: "+".join(f"{part}_r{i}" for i in rounds) for part in PARTS.split()}
        yield classification(
            name, "inference", files(f"anli_v1.0/{folder}", PARTS, "{}.jsonl"), reader, fields("hypothesis", "context"),
            labels, splits=PUBLISHED, split_key="context",
            hub=Hub(path="facebook/anli", config="plain_text", revision="8e4813d81f46d313dac7892e1c28076917cfcdf9",
                    parts=parts, columns={"context": "premise"}),
            notes=f"Nie et al. 2020, CC BY-NC 4.0; round {', '.join(rounds)}",
        )  # fmt: skip
