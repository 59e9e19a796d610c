"""Choices that need common sense or a text: HellaSwag, WinoGrande, CosmosQA and RACE.

T5 has no preprocessor for them; they have the format of its COPA: the choices by number, then the other fields in
alphabetical order, answered by ``choice1``, ``choice2``, ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tasks.answers import text_in
from tasks.formats import UNLABELLED, fields, text_to_text
from tasks.json_files import read_jsonl
from tasks.layouts import read_race
from tasks.rows import Row
from tasks.sources import Hub, Source
from tasks.tables import table
from tasks.task import PUBLISHED, TRAIN_AND_DEV, Example, Task
from tasks.texts import letters

LETTERS = "ABCD"


def reasoning() -> Iterator[Task]:
    """All of them."""
    yield hellaswag()
    yield winogrande()
    yield cosmosqa()
    yield race()


def choices(count: int) -> tuple[str, ...]:
    """``choice1`` to ``choiceN``: keys of options, and label words."""
    return tuple(f"choice{i}" for i in range(1, count + 1))


def chosen(options: Sequence[str], answer: int, others: Mapping[str, str]) -> Sequence[Example]:
    """One example in COPA's format.

    Args:
        options: texts to choose from.
        answer: which one is right, from 0.
        others: further fields, key to text.

    Raises:
        ValueError: an answer that is none of the options.
    """
    words = choices(len(options))
    if not 0 <= answer < len(options):
        raise ValueError(f"the answer is number {answer} of {len(options)} options from 0")
    values = dict(zip(words, options, strict=True)) | dict(others)
    return [text_to_text(fields(*values), values, words[answer], choices=words)]


def hellaswag() -> Task:
    """HellaSwag (Zellers et al. 2019)."""
    return Task(
        name="hellaswag",
        family="reasoning",
        source=Source(
            files={
                "train": Path("hellaswag/hellaswag_train.jsonl"),
                "dev": Path("hellaswag/hellaswag_val.jsonl"),
            },
            reader=read_jsonl,
            hub=Hub(
                path="Rowan/hellaswag",
                revision="218ec52e09a7e7462a5400043bb9a69a41d06b76",
                parts={"train": "train", "dev": "validation"},
            ),
        ),
        formatter=ending,
        labels=choices(4),
        splits=TRAIN_AND_DEV,
        split_key="source_id",
        notes="Zellers et al. 2019, MIT licence; rows of one video or article stay together",
    )


def ending(row: Row) -> Sequence[Example]:
    """HellaSwag: which of four endings continues the context; a row without a label gives nothing."""
    label = text_in(row, "label").strip()
    if not label:
        return []
    return chosen(row["endings"], int(label), {"context": text_in(row, "ctx")})


def winogrande() -> Task:
    """WinoGrande (Sakaguchi et al. 2020), the training part ``xl``."""
    return Task(
        name="winogrande",
        family="reasoning",
        source=Source(
            files={
                "train": Path("winogrande_1.1/train_xl.jsonl"),
                "dev": Path("winogrande_1.1/dev.jsonl"),
            },
            reader=read_jsonl,
            hub=Hub(
                path="allenai/winogrande",
                config="winogrande_xl",
                revision="01e74176c63542e6b0bcb004dcdea22d94fb67b5",
                parts={"train": "train", "dev": "validation"},
            ),
        ),
        formatter=blank,
        labels=choices(2),
        splits=TRAIN_AND_DEV,
        split_key=twins,
        notes="Sakaguchi et al. 2020, CC BY; training part xl; the two sentences of a pair stay together",
    )


def blank(row: Row) -> Sequence[Example]:
    """WinoGrande: which of two options fills the blank ``_``; a row without an answer gives nothing."""
    answer = text_in(row, "answer").strip()
    if not answer:
        return []
    options = [text_in(row, "option1"), text_in(row, "option2")]
    return chosen(options, int(answer) - 1, {"sentence": text_in(row, "sentence")})


ALIKE = 12
"""First letters that the two sentences of a pair share."""


def twins(rows: Sequence[Row]) -> Sequence[object]:
    """What WinoGrande's rows are cut by: their options and how the sentence begins, which two of a pair share."""
    return [
        [
            *sorted(letters(str(row[option])) for option in ("option1", "option2")),
            letters(str(row["sentence"]))[:ALIKE],
        ]
        for row in rows
    ]


def cosmosqa() -> Task:
    """CosmosQA (Huang et al. 2019)."""
    return Task(
        name="cosmosqa",
        family="reasoning",
        source=Source(
            files={"train": Path("cosmosqa/train.csv"), "dev": Path("cosmosqa/valid.csv")},
            reader=table(","),
            hub=Hub(
                path="allenai/cosmos_qa",
                revision="ed50fe83db62b355759053b1cd5eef344ee371e0",
                parts={"train": "train", "dev": "validation"},
            ),
        ),
        formatter=cosmos,
        labels=choices(4),
        splits=TRAIN_AND_DEV,
        split_key="context",
        notes="Huang et al. 2019, CC BY 4.0; questions on one text stay together",
    )


def cosmos(row: Row) -> Sequence[Example]:
    """CosmosQA: which of four answers fits the text."""
    label = text_in(row, "label").strip()
    if label == UNLABELLED:
        return []
    options = [text_in(row, f"answer{i}") for i in range(4)]
    others = {column: text_in(row, column) for column in ("context", "question")}
    return chosen(options, int(label), others)


def race() -> Task:
    """RACE (Lai et al. 2017), middle and high school together."""
    return Task(
        name="race",
        family="reasoning",
        source=Source(
            files={part: Path("RACE", part) for part in ("train", "dev", "test")},
            reader=read_race,
            hub=Hub(
                path="ehovy/race",
                config="all",
                revision="2fec9fd81f1dc971569a9b729c43f2f0e6436637",
            ),
        ),
        formatter=examination,
        labels=choices(4),
        splits=PUBLISHED,
        split_key="article",
        notes="Lai et al. 2017, for research alone; middle and high school together",
    )


def examination(row: Row) -> Sequence[Example]:
    """RACE: which of four options answers the question on the article, ``context`` here."""
    others = {"context": text_in(row, "article"), "question": text_in(row, "question")}
    return chosen(row["options"], LETTERS.find(text_in(row, "answer").strip()), others)
