"""Tasks that stand alone: sentiment, topic, question type, inference, paraphrase, tweets, question answering."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.classification import DUPLICATE, INFERENCE, SENTIMENT, classification, files
from tasks.formats import fields, question_answer
from tasks.json_files import read_json, read_jsonl
from tasks.readers import label_first, text_and_labels
from tasks.sources import Hub, Source
from tasks.tables import tsv
from tasks.task import PUBLISHED, SPLITS_BY_PARTS, TRAIN_AND_DEV, TRAIN_AND_TEST, Task, one_part
from tasks.together import by_shared_texts

TRAIN_TEST = {"train": "train", "test": "test"}
"""Parts of a data set of the hub that has no development part."""


def singles() -> Iterator[Task]:
    """All of them."""
    for group in (topics, pairs, reviews, tweets, long_texts):
        yield from group()


def topics() -> Iterator[Task]:
    """Topic of news, kind of a question, sentiment of sentences."""
    news = {"World": "world", "Sports": "sports", "Business": "business", "Sci/Tech": "technology"}
    yield classification(
        "ag_news", "topic", files("ag_news", "train test", "{}.tsv"), tsv("text", "label", quoted=True),
        fields("text"), news, hub=Hub(path="fancyzhx/ag_news", parts=TRAIN_TEST), splits=TRAIN_AND_TEST,
    )  # fmt: skip
    kinds = ("description", "entity", "abbreviation", "human", "location", "number")
    coarse = dict(zip(("DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM"), kinds, strict=True))
    yield classification(
        "trec", "question_type", files("trec", "train test", "{}.txt"), label_first("latin-1"), fields("text"),
        {str(i): kind for i, kind in enumerate(kinds)} | coarse, splits=TRAIN_AND_TEST,
        hub=Hub(path="CogComp/trec", parts=TRAIN_TEST, columns={"label": "coarse_label"}),
    )  # fmt: skip
    yield classification(
        "mr", "sentiment", {"all": Path("mr/all.txt")}, label_first("latin-1"), fields("text"), SENTIMENT,
        splits=one_part("all"),
    )  # fmt: skip
    stars = ("terrible", "bad", "okay", "good", "great")
    yield classification(
        "sst5", "sentiment", files("sst5", "train dev test", "stsa.fine.{}"), label_first(), fields("text"),
        {str(i): word for i, word in enumerate(stars)}
        | dict(zip(("very negative", "negative", "neutral", "positive", "very positive"), stars, strict=True)),
        splits=PUBLISHED, hub=Hub(path="SetFit/sst5", columns={"label": "label_text"}),
    )  # fmt: skip


def pairs() -> Iterator[Task]:
    """Inference and paraphrase."""
    hypothesis_premise = fields("hypothesis", "premise")
    columns, all_three = tsv("premise", "hypothesis", "label"), "train dev test"
    yield classification(
        "snli", "inference", files("snli", all_three, "{}.txt"), columns, hypothesis_premise, INFERENCE,
        splits=PUBLISHED, split_key="premise", hub=Hub(path="stanfordnlp/snli"),
    )  # fmt: skip
    yield classification(
        "scitail", "inference", files("scitail", all_three, "{}.txt"), columns, hypothesis_premise,
        {"0": "neutral", "1": "entailment"} | {"neutral": "neutral", "entails": "entailment"},
        splits=PUBLISHED, split_key="hypothesis", hub=Hub(path="allenai/scitail", config="tsv_format"),
    )  # fmt: skip
    yield classification(
        "quora", "paraphrase", files("quora", all_three, "{}.txt"), tsv("question1", "question2", "label"),
        fields("question1", "question2"), DUPLICATE, splits=PUBLISHED, metrics=("f1", "accuracy"),
        split_key=by_shared_texts("question1", "question2"),
        hub=Hub(path="nyu-mll/glue", config="qqp", parts={"train": "train", "test": "validation"}),
        notes="files: the parts of Wang et al. 2017; hub: those of GLUE's QQP, development rows cut from train",
    )  # fmt: skip


def reviews() -> Iterator[Task]:
    """Sentiment of product reviews, by domain."""
    for domain in ("books", "dvd", "electronics"):
        yield classification(
            f"blitzer_{domain}", "sentiment", files(f"blitzer/{domain}", "train dev", "{}.tsv"), tsv(quoted=True),
            fields("sentence"), SENTIMENT, notes="Blitzer et al. 2007, one domain of product reviews",
        )  # fmt: skip


def tweets() -> Iterator[Task]:
    """TweetEval (Barbieri et al. 2020)."""
    words = {
        "irony": {"0": "literal", "1": "irony", "non_irony": "literal", "irony": "irony"},
        "hate": {"0": "harmless", "1": "hate", "non-hate": "harmless", "hate": "hate"},
        "offensive": {
            "0": "polite",
            "1": "offensive",
            "non-offensive": "polite",
            "offensive": "offensive",
        },
    }
    for name, labels in words.items():
        paths = {
            p.value: Path("tweet_eval", name, f"{'val' if p == 'dev' else p}_text.txt")
            for p in PUBLISHED
        }
        yield classification(
            f"tweet_{name}", "tweets", paths, text_and_labels(), fields("text"), labels,
            hub=Hub(path="cardiffnlp/tweet_eval", config=name), splits=PUBLISHED,
            unseen="" if name == "irony" else "text",
            notes="" if name == "irony" else "without the training tweets that hold one of the development set",
        )  # fmt: skip


def long_texts() -> Iterator[Task]:
    """Reviews and passages of many words."""
    yield classification(
        "imdb", "sentiment", files("imdb", "train test", "{}.jsonl"), read_jsonl, fields("text"), SENTIMENT,
        hub=Hub(path="stanfordnlp/imdb", parts=TRAIN_TEST), splits=TRAIN_AND_TEST,
    )  # fmt: skip
    yield Task(
        name="squad",
        family="qa",
        source=Source(
            files={
                "train": Path("squad/train-v1.1.json"),
                "dev": Path("squad/dev-v1.1.json"),
                "sample": Path("squad_sample/squad.json"),
            },
            reader=read_json,
            hub=Hub(path="rajpurkar/squad", parts={"train": "train", "dev": "validation"}),
        ),
        formatter=question_answer,
        metrics=("exact_match", "token_f1"),
        splits=TRAIN_AND_DEV,
        partial={**SPLITS_BY_PARTS, frozenset({"sample"}): one_part("sample")},
        split_key="context",
        notes="SQuAD 1.1; punctuation stands between spaces, as in T5; cut by passage",
    )
