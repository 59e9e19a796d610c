"""What is known of the built-in tasks beside what trains: the look of inputs, sizes as published, licences.

Nothing of it shapes a task. WordNet's tasks are not here: their files come with the package and say it themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts of one task.

    Attributes:
        inputs: how every input looks, with ``…`` for what differs.
        rows: published part to its number of rows, where it is known.
        unit: what is counted, where files and hub have other rows.
        licence: of the data, in words; empty where it is not known.
        answer: what is answered where there are no label words.
    """

    inputs: str
    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unit: str = "rows"
    licence: str = ""
    answer: str = "a text"


TEXT, SENTENCE, SENTENCES = "text: …", "sentence: …", "sentence1: … sentence2: …"
ENTAIL, QUESTIONS = "hypothesis: … premise: …", "question1: … question2: …"
QUESTION = "question: … context: …"
TWO = "choice1: … choice2: …"
FOUR = f"{TWO} choice3: … choice4: …"
READ = "a span of the text"

BY, BY_SA, BY_NC = "CC BY 4.0", "CC BY-SA 4.0", "CC BY-NC 4.0"
QUORA = "Quora's terms, not commercial"
OWN = "that of each data set"


def few(inputs: str, test: int, licence: str = "") -> Facts:
    """FewGLUE's 32 examples, and the published validation set."""
    return Facts(inputs=inputs, rows={"train": 32, "dev": 32, "test": test}, licence=licence)


def mrqa(**rows: int) -> Facts:
    """A data set of MRQA."""
    return Facts(inputs=QUESTION, rows=rows, licence=OWN, answer=READ)


def three(inputs: str, train: int, dev: int, test: int, licence: str = "") -> Facts:
    """All three parts are published, with labels."""
    return Facts(inputs=inputs, rows={"train": train, "dev": dev, "test": test}, licence=licence)


def two(inputs: str, train: int, dev: int, licence: str = "", answer: str = "a text") -> Facts:
    """Train and development parts are published with labels."""
    return Facts(inputs=inputs, rows={"train": train, "dev": dev}, licence=licence, answer=answer)


def tested(inputs: str, train: int, test: int, licence: str = "") -> Facts:
    """Train and test parts are published with labels."""
    return Facts(inputs=inputs, rows={"train": train, "test": test}, licence=licence)


GLUE = {
    "cola": two(SENTENCE, 8_551, 1_043),
    "sst2": two(SENTENCE, 67_349, 872),
    "mrpc": two(SENTENCES, 3_668, 408),
    "stsb": two(SENTENCES, 5_749, 1_500, answer="a number from 0.0 to 5.0, in steps of 0.2"),
    "qqp": two(QUESTIONS, 363_846, 40_430, QUORA),
    "mnli": two(
        ENTAIL, 392_702, 9_815, "OANC's, and CC BY and CC BY-SA 3.0 for parts of the fiction"
    ),
    "mnli_mismatched": two(
        ENTAIL, 392_702, 9_832, "OANC's, and CC BY and CC BY-SA 3.0 for parts of the fiction"
    ),
    "qnli": two("question: … sentence: …", 104_743, 5_463, BY_SA),
    "glue_rte": two(SENTENCES, 2_490, 277),
    "wnli": two(SENTENCES, 635, 71),
}

SUPER_GLUE = {
    "boolq": two("passage: … question: …", 9_427, 3_270, "CC BY-SA 3.0"),
    "cb": two(ENTAIL, 250, 56),
    "copa": two(f"{TWO} premise: … question: …", 400, 100, "BSD 2-clause"),
    "multirc": Facts(
        inputs="question: … answer: … paragraph: …",
        rows={"train": 27_243, "dev": 4_848},
        unit="answers",
    ),
    "record": Facts(
        inputs="query: … entities: … passage: …",
        rows={"train": 100_730, "dev": 10_000},
        unit="queries",
        answer="one of the entities, each of which is a choice",
    ),
    "rte": two(ENTAIL, 2_490, 277),
    "wic": two(f"{SENTENCES} word: …", 5_428, 638, BY_NC),
    "wsc": two("… *…* …", 554, 104, BY, "what the marked pronoun refers to"),
    "few_boolq": few("passage: … question: …", 3_270, "CC BY-SA 3.0"),
    "few_cb": few(ENTAIL, 56),
    "few_rte": few(ENTAIL, 277),
    "few_wic": few(f"{SENTENCES} word: …", 638, BY_NC),
}
SINGLES = {
    "ag_news": tested(TEXT, 120_000, 7_600, "for use that is not commercial"),
    "trec": tested(TEXT, 5_452, 500),
    "mr": Facts(inputs=TEXT, rows={"all": 10_662}),
    "sst5": three(TEXT, 8_544, 1_101, 2_210),
    "snli": three(ENTAIL, 550_152, 10_000, 10_000, BY_SA),
    "scitail": three(ENTAIL, 23_097, 1_304, 2_126, "Apache 2.0"),
    "quora": three(QUESTIONS, 384_348, 10_000, 10_000, QUORA),
    **dict.fromkeys(
        ("blitzer_books", "blitzer_dvd", "blitzer_electronics"), Facts(inputs=SENTENCE)
    ),
    "tweet_irony": three(TEXT, 2_862, 955, 784),
    "tweet_hate": three(TEXT, 9_000, 1_000, 2_970),
    "tweet_offensive": three(TEXT, 11_916, 1_324, 860),
    "imdb": tested(TEXT, 25_000, 25_000),
    "squad": two(QUESTION, 87_599, 10_570, BY_SA, READ),
    "cr": Facts(inputs=TEXT),
    "yelp2": tested(TEXT, 560_000, 38_000, "Yelp's terms"),
}

INFERENCE = {
    "docnli": three(ENTAIL, 942_314, 234_258, 267_086),
    "anli": three("hypothesis: … context: …", 162_865, 3_200, 3_200, BY_NC),
    "anli_r1": three("hypothesis: … context: …", 16_946, 1_000, 1_000, BY_NC),
    "anli_r2": three("hypothesis: … context: …", 45_460, 1_000, 1_000, BY_NC),
    "anli_r3": three("hypothesis: … context: …", 100_459, 1_200, 1_200, BY_NC),
}

READING = {
    "drop": two(QUESTION, 77_409, 9_536, BY_SA, "a span of the text, a number or a date"),
    "mrqa_squad": mrqa(train=86_588, dev=10_507),
    "mrqa_newsqa": mrqa(train=74_160, dev=4_212),
    "mrqa_triviaqa": mrqa(train=61_688, dev=7_785),
    "mrqa_searchqa": mrqa(train=117_384, dev=16_980),
    "mrqa_hotpotqa": mrqa(train=72_928, dev=5_901),
    "mrqa_natural_questions": mrqa(train=104_071, dev=12_836),
    "mrqa_bioasq": mrqa(test=1_504),
    "mrqa_drop": mrqa(test=1_503),
    "mrqa_duorc": mrqa(test=1_501),
    "mrqa_race": mrqa(test=674),
    "mrqa_relation_extraction": mrqa(test=2_948),
    "mrqa_textbookqa": mrqa(test=1_503),
}

REASONING = {
    "hellaswag": two(f"{FOUR} context: …", 39_905, 10_042, "MIT"),
    "winogrande": two(f"{TWO} sentence: …", 40_398, 1_267, "CC BY"),
    "cosmosqa": two(f"{FOUR} context: … question: …", 25_262, 2_985, BY),
    "race": three(f"{FOUR} context: … question: …", 87_866, 4_887, 4_934, "for research alone"),
}

WRITING = {
    "xsum": three("summarize: …", 204_045, 11_332, 11_334),
    "cnn_dailymail": three(
        "summarize: …", 287_113, 13_368, 11_490, "Apache 2.0, by the hub's card"
    ),
    "samsum": three("summarize: …", 14_732, 818, 819, "CC BY-NC-ND 4.0"),
    "e2e": three("name : …", 42_061, 4_672, 4_693, BY_SA),
    "webnlg": Facts(inputs="… : … : …", licence="CC BY-NC-SA 4.0"),
    "c4": Facts(
        inputs="…",
        rows={"train": 364_868_892, "dev": 364_608},
        licence="ODC-BY",
        answer="how the text goes on",
    ),
}

FACTS: Mapping[str, Facts] = {
    **GLUE, **SUPER_GLUE, **SINGLES, **INFERENCE, **READING, **REASONING, **WRITING,
}  # fmt: skip
"""By name of the task; sizes are those of the papers, or of the hub's cards where files and hub differ."""
