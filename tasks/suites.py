"""GLUE and SuperGLUE as tasks.

Formats and label words are those of T5's preprocessors with the task's name left out (Raffel et al. 2020,
appendix D; Lester et al. 2021), and their alphabetical order of fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from tasks.classification import (
    ENTAILMENT,
    NO_YES_ENTAILMENT,
    SENTIMENT,
    TRUTH,
    Labels,
    classification,
    files,
)
from tasks.formats import (
    classify,
    fields,
    multirc,
    multirc_passages,
    similarity_score,
    wsc,
    wsc_is_true,
)
from tasks.json_files import read_jsonl
from tasks.sources import Hub, Source
from tasks.tables import tsv
from tasks.task import PUBLISHED, TRAIN_AND_DEV, SplitKeys, Task
from tasks.together import by_shared_texts


def _glue_hub(config: str) -> Hub:
    return Hub(path="nyu-mll/glue", config=config)


def glue() -> Iterator[Task]:
    """GLUE (Wang et al. 2019) in its official TSV files."""
    both = "train dev"
    pair = fields("sentence1", "sentence2")
    yield classification(
        "sst2", "sentiment", files("glue/SST-2", both, "{}.tsv"), tsv(), fields("sentence"), SENTIMENT,
        hub=_glue_hub("sst2"), split_key=by_shared_texts("sentence"),
        notes="train holds phrases beside their sentences; they stay together",
    )  # fmt: skip
    yield classification(
        "cola", "acceptability", files("glue/CoLA", both, "{}.tsv"),
        tsv("origin", "label", "mark", "sentence"), fields("sentence"),
        {"0": "unacceptable", "1": "acceptable", "unacceptable": "unacceptable", "acceptable": "acceptable"},
        hub=_glue_hub("cola"), metrics=("matthews_correlation",), split_key=by_shared_texts("sentence"),
    )  # fmt: skip
    yield classification(
        "mrpc", "paraphrase", files("glue/MRPC", both, "{}.tsv"), tsv(),
        fields(sentence1="#1 String", sentence2="#2 String"),
        {"0": "not_equivalent", "1": "equivalent", "not_equivalent": "not_equivalent", "equivalent": "equivalent"},
        label="Quality", metrics=("f1", "accuracy"), split_key=by_shared_texts("#1 String", "#2 String"),
        hub=Hub(path="nyu-mll/glue", config="mrpc",
                columns={"#1 String": "sentence1", "#2 String": "sentence2", "Quality": "label"}),
    )  # fmt: skip
    yield Task(
        name="stsb",
        family="similarity",
        source=Source(
            files=files("glue/STS-B", both, "{}.tsv"), reader=tsv(), hub=_glue_hub("stsb")
        ),
        formatter=similarity_score,
        metrics=("pearson", "spearman"),
        splits=TRAIN_AND_DEV,
        split_key=by_shared_texts(*pair),
    )
    yield classification(
        "glue_rte", "inference", files("glue/RTE", both, "{}.tsv"), tsv(), pair, ENTAILMENT,
        hub=_glue_hub("rte"), split_key=by_shared_texts(*pair),
    )  # fmt: skip
    yield classification(
        "wnli", "coreference", files("glue/WNLI", both, "{}.tsv"), tsv(), pair, NO_YES_ENTAILMENT,
        hub=_glue_hub("wnli"), split_key=by_shared_texts(*pair),
    )  # fmt: skip
    yield classification(
        "qnli", "inference", files("glue/QNLI", both, "{}.tsv"), tsv(), fields("question", "sentence"), ENTAILMENT,
        hub=_glue_hub("qnli"), split_key=by_shared_texts("question", "sentence", equal="question"),
        notes="questions and sentences stay together",
    )  # fmt: skip


def _super_glue(folder: str, config: str, parts: Mapping[str, str]) -> Source:
    files = {part: Path("super_glue", folder, f"{name}.jsonl") for part, name in parts.items()}
    return Source(files=files, reader=read_jsonl, hub=Hub(path="aps/super_glue", config=config))


def _few(folder: str) -> Source:
    few = {
        part: Path("few_glue", folder, f"{file}.jsonl")
        for part, file in (("train", "train"), ("dev", "dev32"))
    }
    return Source(files=few | {"test": Path("super_glue", folder, "val.jsonl")}, reader=read_jsonl)


TRAIN_VAL = {"train": "train", "dev": "val"}


def super_glue() -> Iterator[Task]:
    """SuperGLUE (Wang et al. 2019) in its official JSON lines; ``few_`` are the 32-example sets of FewGLUE."""
    entail = fields("hypothesis", "premise")
    three = {word: word for word in ("entailment", "contradiction", "neutral")}
    contexts = ("sentence1", "sentence2")
    yield from _in_both(
        "boolq",
        "qa",
        "BoolQ",
        fields("passage", "question"),
        TRUTH,
        split_key="passage",
    )
    yield from _in_both("cb", "inference", "CB", entail, three, metrics=("macro_f1", "accuracy"))
    yield from _in_both(
        "rte", "inference", "RTE", entail, ENTAILMENT, split_key=by_shared_texts(*entail)
    )
    yield from _in_both(
        "wic",
        "word_sense",
        "WiC",
        fields(*contexts, "word"),
        TRUTH,
        split_key=by_shared_texts(*contexts),
    )
    yield Task(
        name="copa",
        family="reasoning",
        source=_super_glue("COPA", "copa", TRAIN_VAL),
        formatter=classify(
            fields("choice1", "choice2", "premise", "question"),
            {"0": "choice1", "1": "choice2", "choice1": "choice1", "choice2": "choice2"},
        ),
        labels=("choice1", "choice2"),
        splits=TRAIN_AND_DEV,
    )
    yield Task(
        name="multirc",
        family="qa",
        source=_super_glue("MultiRC", "multirc", TRAIN_VAL),
        formatter=multirc,
        metrics=("f1_over_answers", "group_exact_match"),
        labels=("False", "True"),
        splits=TRAIN_AND_DEV,
        split_key=multirc_passages,
    )
    yield Task(
        name="wsc",
        family="coreference",
        source=_super_glue("WSC", "wsc", TRAIN_VAL),
        formatter=wsc,
        metrics=("word_subset",),
        splits=TRAIN_AND_DEV,
        split_key=by_shared_texts("text"),
        train_filter=wsc_is_true,
    )


def _in_both(
    name: str,
    family: str,
    folder: str,
    keys: Mapping[str, str],
    labels: Labels,
    *,
    metrics: tuple[str, ...] = ("accuracy",),
    split_key: str | SplitKeys = "",
) -> Iterator[Task]:
    """A task of SuperGLUE, and its few examples of FewGLUE."""
    task = Task(
        name=name,
        family=family,
        source=_super_glue(folder, name, TRAIN_VAL),
        formatter=classify(keys, labels),
        metrics=metrics,
        labels=tuple(labels.values()),
        splits=TRAIN_AND_DEV,
        split_key=split_key,
    )
    yield task
    yield dataclasses.replace(
        task,
        name=f"few_{name}",
        source=_few(folder),
        splits=PUBLISHED,
        split_key="",
        notes="FewGLUE (Schick and Schuetze 2021): 32 training and 32 development examples",
    )
