"""The built-in tasks, as data: official file formats, hub names, label words and metrics.

Formats and label words are those of T5's preprocessors with the task's name left out (Raffel et al. 2020,
appendix D; Lester et al. 2021), and their alphabetical order of fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tasks.formats import (
    classify,
    fields,
    free_text,
    multiple_choice,
    multirc,
    multirc_passages,
    question_answer,
    similarity_score,
    wsc,
    wsc_is_true,
)
from tasks.readers import label_first, read_json, read_jsonl, text_and_labels
from tasks.rows import Reader
from tasks.sources import Hub, Source
from tasks.tables import tsv
from tasks.task import DEV_AND_TEST, PUBLISHED, TRAIN_AND_DEV, TRAIN_AND_TEST, Part, Split, SplitKeys, Task, one_part
from tasks.together import by_shared_texts

Labels = Mapping[str, str]
Splits = Mapping[Split, Part]

ENTAILMENT = {"entailment": "entailment", "not_entailment": "not_entailment"}
NO_YES_ENTAILMENT = {"0": "not_entailment", "1": "entailment"} | ENTAILMENT
SENTIMENT = {"0": "negative", "1": "positive", "negative": "negative", "positive": "positive", "neg": "negative",
             "pos": "positive"}  # fmt: skip
TRUTH = {"False": "False", "True": "True"}
DUPLICATE = {
    "0": "not_duplicate",
    "1": "duplicate",
    "not_duplicate": "not_duplicate",
    "duplicate": "duplicate",
}
INFERENCE = {"0": "entailment", "1": "neutral", "2": "contradiction"} | {
    word: word for word in ("entailment", "neutral", "contradiction")
}


def _files(folder: str, parts: str, pattern: str) -> dict[str, Path]:
    return {part: Path(folder, pattern.format(part)) for part in parts.split()}


def _classification(
    name: str,
    family: str,
    files: Mapping[str, Path],
    reader: Reader | None,
    keys: Mapping[str, str],
    labels: Labels,
    *,
    hub: Hub | None = None,
    splits: Splits = TRAIN_AND_DEV,
    metrics: tuple[str, ...] = ("accuracy",),
    label: str = "label",
    split_key: str | SplitKeys = "",
    unseen: str = "",
    notes: str = "",
) -> Task:
    return Task(
        name=name,
        family=family,
        source=Source(files=files, reader=reader, hub=hub),
        formatter=classify(keys, labels, label=label),
        metrics=metrics,
        labels=tuple(dict.fromkeys(labels.values())),
        splits=splits,
        split_key=split_key,
        unseen=unseen,
        notes=notes,
    )


def _glue_hub(config: str) -> Hub:
    return Hub(path="nyu-mll/glue", config=config)


def glue() -> Iterator[Task]:
    """GLUE (Wang et al. 2019) in its official TSV files."""
    both = "train dev"
    pair = fields("sentence1", "sentence2")
    yield _classification(
        "sst2", "sentiment", _files("glue/SST-2", both, "{}.tsv"), tsv(), fields("sentence"), SENTIMENT,
        hub=_glue_hub("sst2"), split_key=by_shared_texts("sentence"),
        notes="train holds phrases beside their sentences; they stay together",
    )  # fmt: skip
    yield _classification(
        "cola", "acceptability", _files("glue/CoLA", both, "{}.tsv"),
        tsv("origin", "label", "mark", "sentence"), fields("sentence"),
        {"0": "unacceptable", "1": "acceptable", "unacceptable": "unacceptable", "acceptable": "acceptable"},
        hub=_glue_hub("cola"), metrics=("matthews_correlation",), split_key=by_shared_texts("sentence"),
    )  # fmt: skip
    yield _classification(
        "mrpc", "paraphrase", _files("glue/MRPC", both, "{}.tsv"), tsv(),
        fields(sentence1="#1 String", sentence2="#2 String"),
        {"0": "not_equivalent", "1": "equivalent", "not_equivalent": "not_equivalent", "equivalent": "equivalent"},
        label="Quality", metrics=("f1", "accuracy"), split_key=by_shared_texts("#1 String", "#2 String"),
        hub=Hub(path="nyu-mll/glue", config="mrpc",
                columns={"#1 String": "sentence1", "#2 String": "sentence2", "Quality": "label"}),
    )  # fmt: skip
    yield Task(
        name="stsb",
        family="similarity",
        source=Source(files=_files("glue/STS-B", both, "{}.tsv"), reader=tsv(), hub=_glue_hub("stsb")),
        formatter=similarity_score,
        metrics=("pearson", "spearman"),
        splits=TRAIN_AND_DEV,
        split_key=by_shared_texts(*pair),
    )
    yield _classification(
        "glue_rte", "inference", _files("glue/RTE", both, "{}.tsv"), tsv(), pair, ENTAILMENT,
        hub=_glue_hub("rte"), split_key=by_shared_texts(*pair),
    )  # fmt: skip
    yield _classification(
        "wnli", "coreference", _files("glue/WNLI", both, "{}.tsv"), tsv(), pair, NO_YES_ENTAILMENT,
        hub=_glue_hub("wnli"), split_key=by_shared_texts(*pair),
    )  # fmt: skip
    yield _classification(
        "qnli", "inference", _files("glue/QNLI", "dev", "{}.tsv"), tsv(), fields("question", "sentence"), ENTAILMENT,
        hub=_glue_hub("qnli"), splits=one_part("dev"),
        split_key=by_shared_texts("question", "sentence", equal="question"),
        notes="only the published dev set, cut 80/10/10; questions and sentences stay together",
    )  # fmt: skip


def super_glue() -> Iterator[Task]:
    """SuperGLUE (Wang et al. 2019) in its official JSON lines; ``few_`` are the 32-example sets of FewGLUE."""

    def source(folder: str, config: str, parts: Mapping[str, str]) -> Source:
        files = {part: Path("super_glue", folder, f"{name}.jsonl") for part, name in parts.items()}
        return Source(files=files, reader=read_jsonl, hub=Hub(path="aps/super_glue", config=config))

    train_val = {"train": "train", "dev": "val"}
    entail = fields("hypothesis", "premise")
    three = {word: word for word in ("entailment", "contradiction", "neutral")}
    word_in_context = fields("sentence1", "sentence2", "word")
    plain: tuple[tuple[str, str, str, Mapping[str, str], Labels, tuple[str, ...], str | SplitKeys], ...] = (
        ("boolq", "qa", "BoolQ", fields("passage", "question"), TRUTH, ("accuracy",), "passage"),
        ("cb", "inference", "CB", entail, three, ("macro_f1", "accuracy"), ""),
        ("rte", "inference", "RTE", entail, ENTAILMENT, ("accuracy",), by_shared_texts(*entail)),
        ("wic", "word_sense", "WiC", word_in_context, TRUTH, ("accuracy",), by_shared_texts("sentence1", "sentence2")),
    )
    for name, family, folder, keys, labels, metrics, split_key in plain:
        only_dev = name == "boolq"
        yield Task(
            name=name,
            family=family,
            source=source(folder, name, {"dev": "val"} if only_dev else train_val),
            formatter=classify(keys, labels),
            metrics=metrics,
            labels=tuple(labels.values()),
            splits=one_part("dev") if only_dev else TRAIN_AND_DEV,
            split_key=split_key,
            notes="only the published validation set, cut 80/10/10 by hash of the passage" if only_dev else "",
        )
        few = {
            "train": Path("few_glue", folder, "train.jsonl"),
            "dev": Path("few_glue", folder, "dev32.jsonl"),
        }
        yield Task(
            name=f"few_{name}",
            family=family,
            source=Source(files=few | {"test": Path("super_glue", folder, "val.jsonl")}, reader=read_jsonl),
            formatter=classify(keys, labels),
            metrics=metrics,
            labels=tuple(labels.values()),
            splits=PUBLISHED,
            notes="FewGLUE (Schick and Schuetze 2021): 32 training and 32 development examples",
        )
    yield Task(
        name="copa",
        family="reasoning",
        source=source("COPA", "copa", train_val),
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
        source=source("MultiRC", "multirc", train_val),
        formatter=multirc,
        metrics=("f1_over_answers", "group_exact_match"),
        labels=("False", "True"),
        splits=TRAIN_AND_DEV,
        split_key=multirc_passages,
    )
    yield Task(
        name="wsc",
        family="coreference",
        source=source("WSC", "wsc", train_val),
        formatter=wsc,
        metrics=("word_subset",),
        splits=TRAIN_AND_DEV,
        split_key=by_shared_texts("text"),
        train_filter=wsc_is_true,
    )


def others() -> Iterator[Task]:
    """Sentiment, topic, question type, inference, paraphrase, tweets and question answering."""
    topics = {"World": "world", "Sports": "sports", "Business": "business", "Sci/Tech": "technology"}
    yield _classification(
        "ag_news", "topic", _files("ag_news", "train", "{}.tsv"), tsv("text", "label", quoted=True), fields("text"),
        topics, hub=Hub(path="fancyzhx/ag_news"), splits=one_part("train"),
    )  # fmt: skip
    kinds = ("description", "entity", "abbreviation", "human", "location", "number")
    coarse = dict(zip(("DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM"), kinds, strict=True))
    yield _classification(
        "trec", "question_type", _files("trec", "train test", "{}.txt"), label_first("latin-1"), fields("text"),
        {str(i): kind for i, kind in enumerate(kinds)} | coarse, splits=TRAIN_AND_TEST,
        hub=Hub(path="CogComp/trec", columns={"label": "coarse_label"}),
    )  # fmt: skip
    yield _classification(
        "mr", "sentiment", {"all": Path("mr/all.txt")}, label_first("latin-1"), fields("text"), SENTIMENT,
        splits=one_part("all"),
    )  # fmt: skip
    stars = ("terrible", "bad", "okay", "good", "great")
    yield _classification(
        "sst5", "sentiment", _files("sst5", "train dev test", "stsa.fine.{}"), label_first(), fields("text"),
        {str(i): word for i, word in enumerate(stars)}
        | dict(zip(("very negative", "negative", "neutral", "positive", "very positive"), stars, strict=True)),
        splits=PUBLISHED, hub=Hub(path="SetFit/sst5", columns={"label": "label_text"}),
    )  # fmt: skip
    hypothesis_premise = fields("hypothesis", "premise")
    columns = tsv("premise", "hypothesis", "label")
    yield _classification(
        "snli", "inference", _files("snli", "dev test", "{}.txt"), columns, hypothesis_premise, INFERENCE,
        splits=DEV_AND_TEST, split_key="premise", notes="only dev and test at hand; dev cut by premise",
        hub=Hub(path="stanfordnlp/snli", parts={"dev": "validation", "test": "test"}),
    )  # fmt: skip
    yield _classification(
        "scitail", "inference", _files("scitail", "dev test", "{}.txt"), columns, hypothesis_premise,
        {"0": "neutral", "1": "entailment"} | {"neutral": "neutral", "entails": "entailment"},
        splits=DEV_AND_TEST, split_key="hypothesis", notes="only dev and test at hand; dev cut by hypothesis",
        hub=Hub(path="allenai/scitail", config="tsv_format", parts={"dev": "validation", "test": "test"}),
    )  # fmt: skip
    yield _classification(
        "quora", "paraphrase", _files("quora", "dev test", "{}.txt"), tsv("question1", "question2", "label"),
        fields("question1", "question2"), DUPLICATE, splits=DEV_AND_TEST, metrics=("f1", "accuracy"),
        split_key=by_shared_texts("question1", "question2"),
        hub=Hub(path="nyu-mll/glue", config="qqp", parts={"dev": "train", "test": "validation"}),
    )  # fmt: skip
    for domain in ("books", "dvd", "electronics"):
        yield _classification(
            f"blitzer_{domain}", "sentiment", _files(f"blitzer/{domain}", "train dev", "{}.tsv"), tsv(quoted=True),
            fields("sentence"), SENTIMENT, notes="Blitzer et al. 2007, one domain of product reviews",
        )  # fmt: skip
    words = {
        "irony": {"0": "literal", "1": "irony", "non_irony": "literal", "irony": "irony"},
        "hate": {"0": "harmless", "1": "hate", "non-hate": "harmless", "hate": "hate"},
        "offensive": {"0": "polite", "1": "offensive", "non-offensive": "polite", "offensive": "offensive"},
    }
    for name, labels in words.items():
        files = {p.value: Path("tweet_eval", name, f"{'val' if p == 'dev' else p}_text.txt") for p in PUBLISHED}
        yield _classification(
            f"tweet_{name}", "tweets", files, text_and_labels(), fields("text"), labels,
            hub=Hub(path="cardiffnlp/tweet_eval", config=name), splits=PUBLISHED,
            unseen="" if name == "irony" else "text",
            notes="" if name == "irony" else "without the training tweets that hold one of the development set",
        )  # fmt: skip
    yield _classification(
        "imdb", "sentiment", _files("imdb", "train test", "{}.jsonl"), read_jsonl, fields("text"), SENTIMENT,
        hub=Hub(path="stanfordnlp/imdb", parts={"train": "train", "test": "test"}), splits=TRAIN_AND_TEST,
    )  # fmt: skip
    yield Task(
        name="squad",
        family="qa",
        source=Source(
            files={"all": Path("squad_sample/squad.json")},
            reader=read_json,
            hub=Hub(path="rajpurkar/squad", parts={"all": "validation"}),
        ),
        formatter=question_answer,
        metrics=("exact_match", "token_f1"),
        splits=one_part("all"),
        split_key="context",
        notes="any SQuAD-style JSON; one part, cut by passage",
    )


WORDNET_FOLDER = Path(__file__).parent / "data" / "wordnet"

WORDNET_FIELDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "wn_noun_topic": ("topic", ("definition",)),
    "wn_verb_topic": ("topic", ("definition",)),
    "wn_pos": ("topic", ("definition",)),
    "wn_living": ("topic", ("definition",)),
    "wn_verb_motion": ("topic", ("definition",)),
    "wn_isa": ("relation", ("word", "category")),
    "wn_part": ("relation", ("part", "whole")),
    "wn_synonym": ("relation", ("word", "other")),
    "wn_opposite": ("relation", ("word", "other")),
    "wn_wic": ("sense", ("word", "sentence1", "sentence2")),
    "wn_gloss_word": ("sense", ("word", "definition")),
    "wn_usage": ("sense", ("word", "sentence", "definition")),
    "wn_choose_word": ("definition", ("definition", "choice1", "choice2", "choice3", "choice4")),
    "wn_define": ("definition", ("definition",)),
}


def wordnet() -> Iterator[Task]:
    """Small tasks derived from WordNet 3.0 by ``benchmarks/wordnet``; their files come with the package."""
    facts = json.loads((WORDNET_FOLDER / "baselines.json").read_text(encoding="utf-8"))
    for name, (family, keys) in WORDNET_FIELDS.items():
        labels = tuple(facts[name]["labels"] or ())
        if name == "wn_choose_word":
            formatter = multiple_choice(fields(*keys), keys[1:])
        elif labels:
            formatter = classify(fields(*keys), {word: word for word in labels})
        else:
            formatter = free_text(fields(*keys), "label")
        files = {split.value: WORDNET_FOLDER / f"{name}.{split.value}.jsonl" for split in Split}
        yield Task(
            name=name,
            family=f"wordnet_{family}",
            source=Source(files=files, reader=read_jsonl),
            formatter=formatter,
            metrics=("accuracy",) if labels or name == "wn_choose_word" else ("exact_match",),
            labels=labels,
            notes=f"WordNet 3.0; majority class {100 * facts[name]['majority']:.1f}, "
            f"TF-IDF baseline {100 * facts[name]['tfidf_logreg']:.1f} on test",
        )


def built_in() -> Iterator[Task]:
    """Every built-in task."""
    for group in (wordnet, glue, super_glue, others):
        yield from group()
