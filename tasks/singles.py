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
from tasks.task import DEV_AND_TEST, PUBLISHED, TRAIN_AND_TEST, Task, one_part
from tasks.together import by_shared_texts


def singles() -> Iterator[Task]:
    """All of them."""
    for group in (topics, pairs, reviews, tweets, long_texts):
        yield from group()


def topics() -> Iterator[Task]:
    """Topic of news, kind of a question, sentiment of sentences."""
    news = {"World": "world", "Sports": "sports", "Business": "business", "Sci/Tech": "technology"}
    yield classification(
        "ag_news", "topic", files("ag_news", "train", "{}.tsv"), tsv("text", "label", quoted=True), fields("text"),
        news, hub=Hub(path="fancyzhx/ag_news"), splits=one_part("train"),
    )  # fmt: skip
    kinds = ("description", "entity", "abbreviation", "human", "location", "number")
    coarse = dict(zip(("DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM"), kinds, strict=True))
    yield classification(
        "trec", "question_type", files("trec", "train test", "{}.txt"), label_first("latin-1"), fields("text"),
        {str(i): kind for i, kind in enumerate(kinds)} | coarse, splits=TRAIN_AND_TEST,
        hub=Hub(path="CogComp/trec", columns={"label": "coarse_label"}),
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
    columns = tsv("premise", "hypothesis", "label")
    yield classification(
        "snli", "inference", files("snli", "dev test", "{}.txt"), columns, hypothesis_premise, INFERENCE,
        splits=DEV_AND_TEST, split_key="premise", notes="only dev and test at hand; dev cut by premise",
        hub=Hub(path="stanfordnlp/snli", parts={"dev": "validation", "test": "test"}),
    )  # fmt: skip
    yield classification(
        "scitail", "inference", files("scitail", "dev test", "{}.txt"), columns, hypothesis_premise,
        {"0": "neutral", "1": "entailment"} | {"neutral": "neutral", "entails": "entailment"},
        splits=DEV_AND_TEST, split_key="hypothesis", notes="only dev and test at hand; dev cut by hypothesis",
        hub=Hub(path="allenai/scitail", config="tsv_format", parts={"dev": "validation", "test": "test"}),
    )  # fmt: skip
    yield classification(
        "quora", "paraphrase", files("quora", "dev test", "{}.txt"), tsv("question1", "question2", "label"),
        fields("question1", "question2"), DUPLICATE, splits=DEV_AND_TEST, metrics=("f1", "accuracy"),
        split_key=by_shared_texts("question1", "question2"),
        hub=Hub(path="nyu-mll/glue", config="qqp", parts={"dev": "train", "test": "validation"}),
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
