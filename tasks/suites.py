"""GLUE and SuperGLUE as tasks.

Formats and label words are those of T5's preprocessors with the task's name left out (Raffel et al. 2020,
appendix D; Lester et al. 2021), and their alphabetical order of fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.classification import (
    DUPLICATE,
    ENTAILMENT,
    INFERENCE,
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
    record,
    record_passages,
    similarity_score,
    wsc,
    wsc_is_true,
)
from tasks.json_files import read_jsonl
from tasks.sources import Hub, Source
from tasks.tables import table, tsv
from tasks.task import PUBLISHED, TRAIN_AND_DEV, SplitKeys, Task
from tasks.together import by_shared_texts


def glue_hub(config: str, **options: Any) -> Hub:
    """A configuration of GLUE on the hub; ``options`` are further fields of :class:`tasks.sources.Hub`."""
    revision = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
    return Hub(path="nyu-mll/glue", config=config, revision=revision, **options)


QQP_BROKEN = 50
"""Lines of QQP's files that may be parts of a row; the published training file has some two dozen."""


def glue() -> Iterator[Task]:
    """GLUE (Wang et al. 2019) in its official TSV files."""
    both = "train dev"
    pair = fields("sentence1", "sentence2")
    yield classification(
        "sst2", "sentiment", files("glue/SST-2", both, "{}.tsv"), tsv(), fields("sentence"), SENTIMENT,
        hub=glue_hub("sst2"), split_key=by_shared_texts("sentence"),
        notes="train holds phrases beside their sentences; they stay together",
    )  # fmt: skip
    yield classification(
        "cola", "acceptability", files("glue/CoLA", both, "{}.tsv"),
        tsv("origin", "label", "mark", "sentence"), fields("sentence"),
        {"0": "unacceptable", "1": "acceptable", "unacceptable": "unacceptable", "acceptable": "acceptable"},
        hub=glue_hub("cola"), metrics=("matthews_correlation",), split_key=by_shared_texts("sentence"),
    )  # fmt: skip
    yield classification(
        "mrpc", "paraphrase", files("glue/MRPC", both, "{}.tsv"), tsv(),
        fields(sentence1="#1 String", sentence2="#2 String"),
        {"0": "not_equivalent", "1": "equivalent", "not_equivalent": "not_equivalent", "equivalent": "equivalent"},
        label="Quality", metrics=("f1", "accuracy"), split_key=by_shared_texts("#1 String", "#2 String"),
        hub=glue_hub("mrpc", columns={"#1 String": "sentence1", "#2 String": "sentence2", "Quality": "label"}),
    )  # fmt: skip
    yield classification(
        "qqp", "paraphrase", files("glue/QQP", both, "{}.tsv"), table("\t", quoted=False, allow_bad_rows=QQP_BROKEN),
        fields("question1", "question2"), DUPLICATE, label="is_duplicate", metrics=("f1", "accuracy"),
        hub=glue_hub("qqp", columns={"is_duplicate": "label"}), split_key=by_shared_texts("question1", "question2"),
        notes="rows that line ends inside questions have broken are left out",
    )  # fmt: skip
    yield Task(
        name="stsb",
        family="similarity",
        source=Source(
            files=files("glue/STS-B", both, "{}.tsv"), reader=tsv(), hub=glue_hub("stsb")
        ),
        formatter=similarity_score,
        metrics=("pearson", "spearman"),
        splits=TRAIN_AND_DEV,
        split_key=by_shared_texts(*pair),
    )
    for name, part in (("mnli", "matched"), ("mnli_mismatched", "mismatched")):
        paths = {"train": Path("glue/MNLI/train.tsv"), "dev": Path(f"glue/MNLI/dev_{part}.tsv")}
        yield classification(
            name, "inference", paths, tsv(), fields(hypothesis="sentence2", premise="sentence1"), INFERENCE,
            label="gold_label", split_key="sentence1", notes=f"reported on the published {part} development set",
            hub=glue_hub(
                "mnli", parts={"train": "train", "dev": f"validation_{part}", "test": f"test_{part}"},
                columns={"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"},
            ),
        )  # fmt: skip
    yield classification(
        "glue_rte", "inference", files("glue/RTE", both, "{}.tsv"), tsv(), pair, ENTAILMENT,
        hub=glue_hub("rte"), split_key=by_shared_texts(*pair),
    )  # fmt: skip
    yield classification(
        "wnli", "coreference", files("glue/WNLI", both, "{}.tsv"), tsv(), pair, NO_YES_ENTAILMENT,
        hub=glue_hub("wnli"), split_key=by_shared_texts(*pair),
    )  # fmt: skip
    yield classification(
        "qnli", "inference", files("glue/QNLI", both, "{}.tsv"), tsv(), fields("question", "sentence"), ENTAILMENT,
        hub=glue_hub("qnli"), split_key=by_shared_texts("question", "sentence", equal="question"),
        notes="questions and sentences stay together",
    )  # fmt: skip


def _super_glue(folder: str, config: str, parts: Mapping[str, str]) -> Source:
    files = {part: Path("super_glue", folder, f"{name}.jsonl") for part, name in parts.items()}
    hub = Hub(
        path="aps/super_glue",
        config=config,
        revision="3de24cf8022e94f4ee4b9d55a6f539891524d646",
    )
    return Source(files=files, reader=read_jsonl, hub=hub)


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
        name="record",
        family="qa",
        source=_super_glue("ReCoRD", "record", TRAIN_VAL),
        formatter=record,
        metrics=("exact_match_of_groups", "token_f1_of_groups"),
        splits=TRAIN_AND_DEV,
        split_key=record_passages,
        notes="an example for each right entity of a query; of those one is scored",
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
