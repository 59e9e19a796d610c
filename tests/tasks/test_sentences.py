"""Self-supervised tasks made from plain text."""

from __future__ import annotations

from collections import Counter

import pytest

from tasks.sentences import BLAME, PRAISE, sentence_tasks
from tasks.wordings import Labelled

ARTICLES = [
    "Velta is a town in the north of the country. It was first mentioned in an old chronicle of the realm.",
    "The market of the place is known for its bread and its glass. Many people come here for the festival in summer.",
    "",
    "Mara Tal was a gifted novelist who wrote about the sea. She was born in a small house near the old harbour.",
    "Her first book told of a wonderful journey to the islands. Readers praised the lovely pictures of the waves.",
    "Her last years were spent in the city of her birth. She suffered from a terrible disease and died alone there.",
    "",
]


@pytest.fixture(scope="module")
def made() -> dict[str, list[Labelled]]:
    return sentence_tasks(ARTICLES * 20, 40, seed=0)


def test_every_task_is_made_and_its_targets_are_choices(made: dict[str, list[Labelled]]) -> None:
    assert set(made) == {"acceptability", "follows", "paraphrase", "sentiment", "topic", "subject"}
    for name, examples in made.items():
        assert 0 < len(examples) <= 40, name
        assert all(example.target in example.choices for example in examples), name


def test_disturbed_sentences_are_not_as_they_were_written(made: dict[str, list[Labelled]]) -> None:
    text = " ".join(ARTICLES)
    for source, target, _ in made["acceptability"]:
        assert (source.removeprefix("sentence: ") in text) == (target == "acceptable")


def test_labels_of_two_come_alike_often(made: dict[str, list[Labelled]]) -> None:
    for name in ("acceptability", "follows", "paraphrase"):
        counts = Counter(example.target for example in made[name])
        assert len(counts) == 2
        assert min(counts.values()) > 10, name


def test_an_articles_topic_and_subject_are_those_of_its_first_sentence(
    made: dict[str, list[Labelled]],
) -> None:
    for topic, subject in zip(made["topic"], made["subject"], strict=True):
        about_mara = any(word in topic.input for word in ("She", "Her", "Readers"))
        assert (topic.target, subject.target) == (
            ("people", "novelist") if about_mara else ("places", "town")
        )
        assert topic.input == subject.input
        assert "is a town" not in topic.input
        assert "gifted novelist" not in topic.input


def test_sentiment_is_that_of_the_words_though_they_may_be_taken_out(
    made: dict[str, list[Labelled]],
) -> None:
    assert {example.target for example in made["sentiment"]} == {"positive", "negative"}
    shown = Counter(
        bool((PRAISE | BLAME) & set(example.input.split())) for example in made["sentiment"]
    )
    assert shown[True] and shown[False]
    for source, target, _ in made["sentiment"]:
        assert ("disease" in source or "suffered" in source or "died" in source) <= (
            target == "negative"
        )


def test_the_same_seed_makes_the_same_examples() -> None:
    assert sentence_tasks(ARTICLES * 20, 10, seed=3) == sentence_tasks(ARTICLES * 20, 10, seed=3)
    assert sentence_tasks(ARTICLES * 20, 10, seed=3) != sentence_tasks(ARTICLES * 20, 10, seed=4)


def test_no_examples_read_nothing() -> None:
    def unread():  # type: ignore[no-untyped-def]
        raise AssertionError
        yield ""

    assert sentence_tasks(unread(), 0, seed=0) == {}
