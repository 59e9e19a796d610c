"""Texts to write: summaries of news and dialogues, restaurants from their attributes, and facts from triples.

Summaries have T5's format, which keeps its ``summarize:`` where the task's name is left out. E2E and WebNLG are
linearised as prefix-tuning does (Li and Liang 2021). Scores are those of the papers, by sacrebleu and rouge-score.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.answers import text_in
from tasks.formats import fields, text_to_text
from tasks.json_files import read_json, read_jsonl
from tasks.layouts import read_meanings, read_stories, read_webnlg
from tasks.rows import Reader, Row
from tasks.sources import Hub, Source
from tasks.task import PUBLISHED, Example, Formatter, Split, Task
from tasks.together import by_shared_texts

SUMMARIES = ("rouge1", "rouge2", "rougeL")
DATA_TO_TEXT = ("bleu", "chrf", "rougeL")

PARTS = ("train", "dev", "test")


class Referenced(Task):
    """A task whose inputs have several references.

    Each of them trains. In the other splits an input is one example, whose target is its first reference, and all of
    them are accepted answers.
    """

    def examples(self, split: Split, **options: Any) -> list[Example]:
        """See :meth:`Task.examples`."""
        found = super().examples(split, **options)
        return found if split is Split.TRAIN else together(found)


def together(examples: Sequence[Example]) -> list[Example]:
    """One example for each input, in their first order, with the targets of all of its examples as answers."""
    targets: dict[str, list[str]] = {}
    for example in examples:
        targets.setdefault(example.inputs, []).append(example.target)
    return [
        Example(inputs=inputs, target=texts[0], answers=tuple(dict.fromkeys(texts)))
        for inputs, texts in targets.items()
    ]


def generation() -> Iterator[Task]:
    """All of them."""
    yield from summaries()
    yield e2e()
    yield webnlg()


def summaries() -> Iterator[Task]:
    """XSum, CNN/DailyMail and SAMSum."""
    yield _summary(
        "xsum", _files("xsum/{}.jsonl", "train validation test"), read_jsonl, ("document", "summary"),
        Hub(path="EdinburghNLP/xsum", revision="7d4d486c2f8ef850b1a11aead99b894ff3dd7da9"),
        "Narayan et al. 2018; files: a row a line with document and summary",
    )  # fmt: skip
    yield _summary(
        "cnn_dailymail", _files("cnn_dailymail/all_{}.txt", "train val test"), read_stories, ("article", "highlights"),
        Hub(path="abisee/cnn_dailymail", config="3.0.0", revision="96df5e686bee6baa90b8bee7c28b81fa3fa6223d"),
        "See et al. 2017, names not replaced; files: lists of addresses beside the folders cnn and dailymail",
    )  # fmt: skip
    yield _summary(
        "samsum", _files("samsum/{}.json", "train val test"), read_json, ("dialogue", "summary"),
        Hub(path="knkarthick/samsum", revision="6b929ff10edec703164e3ddb2e94aae058c9ab5f"),
        "Gliwa et al. 2019, CC BY-NC-ND 4.0",
    )  # fmt: skip


def _files(pattern: str, names: str) -> dict[str, Path]:
    """The files of train, dev and test, given what stands for ``{}`` in each."""
    return {
        part: Path(pattern.format(name)) for part, name in zip(PARTS, names.split(), strict=True)
    }


def _summary(
    name: str,
    files: dict[str, Path],
    reader: Reader,
    columns: tuple[str, str],
    hub: Hub,
    notes: str,
) -> Task:
    return Task(
        name=name,
        family="summarization",
        source=Source(files=files, reader=reader, hub=hub),
        formatter=summarize(*columns),
        metrics=SUMMARIES,
        splits=PUBLISHED,
        notes=notes,
    )


def summarize(text: str, summary: str) -> Formatter:
    """T5's ``summarize: TEXT``, and the summary on one line, given their columns; none where one is empty."""

    def formatter(row: Row) -> Sequence[Example]:
        target = " ".join(text_in(row, summary).split())
        if not target or not text_in(row, text).strip():
            return []
        return [text_to_text(fields(summarize=text), row, target)]

    return formatter


def e2e() -> Task:
    """E2E (Novikova et al. 2017)."""
    return Referenced(
        name="e2e",
        family="data_to_text",
        source=Source(
            files=_files("e2e/{}.csv", "trainset devset testset_w_refs"),
            reader=read_meanings,
            hub=Hub(
                path="tuetschek/e2e_nlg",
                revision="refs/convert/parquet",
                columns={"mr": "meaning_representation", "ref": "human_reference"},
            ),
        ),
        formatter=restaurant,
        metrics=DATA_TO_TEXT,
        splits=PUBLISHED,
        split_key=by_shared_texts("mr"),
        notes="Novikova et al. 2017, CC BY-SA 4.0; references of one meaning are accepted together",
    )


ATTRIBUTES = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}
"""What prefix-tuning calls attributes of E2E by another name than its files."""

ATTRIBUTE = re.compile(r"\s*([^\[\],]+)\[([^\]]*)\](?:,|$)")


def restaurant(row: Row) -> Sequence[Example]:
    """E2E: ``name : Blue Spice | Type : pub`` of ``name[Blue Spice], eatType[pub]``.

    Raises:
        ValueError: a meaning in another form.
    """
    meaning = text_in(row, "mr").strip()
    pairs = ATTRIBUTE.findall(meaning)
    if not pairs or ATTRIBUTE.sub("", meaning):
        raise ValueError(f"the meaning {meaning!r} is not of the form name[value], name[value]")
    inputs = " | ".join(f"{ATTRIBUTES.get(name, name)} : {value.strip()}" for name, value in pairs)
    return [Example(inputs=inputs, target=" ".join(text_in(row, "ref").split()))]


def webnlg() -> Task:
    """WebNLG (Gardent et al. 2017)."""
    return Referenced(
        name="webnlg",
        family="data_to_text",
        source=Source(
            files={part: Path("webnlg", part) for part in PARTS},
            reader=read_webnlg,
            hub=Hub(
                path="webnlg-challenge/web_nlg",
                folder="webnlg_challenge_2017",
                revision="refs/convert/parquet",
            ),
        ),
        formatter=triples,
        metrics=DATA_TO_TEXT,
        splits=PUBLISHED,
        split_key=facts_together,
        notes="Gardent et al. 2017, the challenge's release, CC BY-NC-SA 4.0; without references marked as bad",
    )


KEPT = ("good", "")
"""What is said of references that are used."""


def triples(row: Row) -> Sequence[Example]:
    """WebNLG: ``subject : property : object | ...``, one example for each good reference, none where there is none."""
    inputs, lex = _linear(row), row["lex"]
    return [
        Example(inputs=inputs, target=" ".join(text.split()))
        for text, comment in zip(lex["text"], lex["comment"], strict=True)
        if comment in KEPT and text.strip()
    ]


def facts_together(rows: Sequence[Row]) -> Sequence[object]:
    """What WebNLG's rows are cut by: entries stay together whose facts are the same, or those of one in the other's."""
    return by_shared_texts("facts")([{"facts": _linear(row)} for row in rows])


def _linear(row: Row) -> str:
    """The last set of modified triples, on one line."""
    (*_, facts) = row["modified_triple_sets"]["mtriple_set"]
    return " | ".join(" : ".join(part.strip() for part in fact.split(" | ")) for fact in facts)
