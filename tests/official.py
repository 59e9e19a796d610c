"""Small data sets of the project's own in the files that the built-in tasks are published in.

The texts are of an invented language, drawn by a name and a number: data sets that share texts as published (MR's
training part holds test sentences of SST-2, WNLI's those of WSC) take them by the same name and number.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]

TRAIN, TEST, FEW = 120, 40, 32
"""Rows of a part that trains, of one that is reported, and of FewGLUE's."""
GROUPS, MEMBERS = 160, 3
"""What several rows share (premises, questions, passages) where a data set is cut by it, and the rows of each."""
PASSAGES, QUESTIONS, ANSWERS = 20, 2, 3
"""Of MultiRC's training part: passages, questions of each, answers of each question; its other part has half."""

ROWS = {
    **dict.fromkeys(
        ("sst2", "cola", "mrpc", "stsb", "glue_rte", "wnli", "cb", "rte", "wic", "copa"),
        TRAIN + TEST,
    ),
    **dict.fromkeys(
        ("trec", "imdb", "blitzer_books", "blitzer_dvd", "blitzer_electronics"), TRAIN + TEST
    ),
    "mr": TRAIN + TEST,
    "ag_news": TRAIN + 2 * TEST,
    "quora": 2 * TRAIN + TEST,
    **dict.fromkeys(("sst5", "tweet_irony", "tweet_hate", "tweet_offensive"), TRAIN + 2 * TEST),
    **dict.fromkeys(("few_cb", "few_rte", "few_wic"), 2 * FEW + TEST),
    **dict.fromkeys(("qnli", "boolq", "squad"), 2 * GROUPS * MEMBERS),
    **dict.fromkeys(("snli", "scitail"), 2 * GROUPS * MEMBERS + TEST),
    "few_boolq": 2 * FEW + GROUPS * MEMBERS,
    "multirc": 3 * PASSAGES // 2 * QUESTIONS * ANSWERS,
}
"""Examples of all three splits together; of WSC those whose referent is wrong do not train."""


BEFORE_OFFICIAL = (
    "glue/QNLI/train.tsv", "super_glue/BoolQ/train.jsonl", "snli/train.txt", "scitail/train.txt", "quora/train.txt",
    "ag_news/test.tsv", "squad/train-v1.1.json", "squad/dev-v1.1.json",
)  # fmt: skip
"""Published parts without which tasks can still be cut from the others."""


def sentence(of: str, number: int) -> str:
    """The sentence of that number in a collection, tokenised as many published ones are, of 25 letters or more."""
    draw = random.Random(f"{of} {number}")
    words: list[str] = []
    while sum(map(len, words)) < 30:
        words.append("".join(draw.choices(SYLLABLES, k=draw.randint(1, 3))))
    extra = {0: '" {} "', 1: "{} 's café", 2: "{} , n't it"}.get(number % 7, "{}")
    return extra.format(" ".join(words)) + " ."


def write_official_files(folder: Path, *, partial: bool = False) -> Path:
    """Writes every data set that a built-in task without files of its own reads, and returns the ``folder``.

    With ``partial`` parts are missing that are published.
    """
    for write in (_glue, _super_glue, _sentiment, _pairs, _tweets, _squad):
        write(folder)
    for path in BEFORE_OFFICIAL if partial else ():
        (folder / path).unlink()
    return folder


# -- formats ---------------------------------------------------------------------------------------------


def _write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def _table(
    path: Path, header: str, rows: Iterable[Sequence[object]], encoding: str = "utf-8"
) -> None:
    """Unquoted tab-separated values, as GLUE's: a quotation mark is a character."""
    lines = [
        *([header.replace(" | ", "\t")] if header else []),
        *("\t".join(map(str, row)) for row in rows),
    ]
    _write(path, "\n".join(lines) + "\n", encoding)


def _quoted_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    out = io.StringIO()
    table = csv.writer(out, delimiter="\t", lineterminator="\n")
    table.writerows([header] if header else [])
    table.writerows(rows)
    _write(path, out.getvalue())


def _json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    _write(path, "".join(json.dumps(row) + "\n" for row in rows))


def _label_first(
    path: Path, of: str, labels: Sequence[int], numbers: range, encoding: str = "latin-1"
) -> None:
    lines = (f"{labels[i % len(labels)]} {sentence(of, i)} \n" for i in numbers)
    _write(path, "".join(lines), encoding)


# -- data sets -------------------------------------------------------------------------------------------

LEARNT, REPORTED = range(TRAIN), range(TRAIN, TRAIN + TEST)
GROUPED, GROUPED_TOO = (
    range(GROUPS * MEMBERS),
    range(2 * GROUPS * MEMBERS, 3 * GROUPS * MEMBERS),
)


def _glue(folder: Path) -> None:
    for part, numbers in (("train", LEARNT), ("dev", REPORTED)):
        reviews = ((f"{sentence('reviews', i)} ", i % 2) for i in numbers)
        _table(folder / f"glue/SST-2/{part}.tsv", "sentence | label", reviews)
        judged = (("kl04", i % 2, "" if i % 2 else "*", sentence("grammar", i)) for i in numbers)
        _table(folder / f"glue/CoLA/{part}.tsv", "", judged)
        news = (
            (i % 2, i, 1000 + i, sentence("news", i), sentence("news again", i)) for i in numbers
        )
        _table(
            folder / f"glue/MRPC/{part}.tsv",
            "Quality | #1 ID | #2 ID | #1 String | #2 String",
            news,
            "utf-8-sig",
        )
        scored = (
            (i, "news", "file", "2012", f"{i:04}", "none", "none", sentence("news", i), sentence("like news", i),
             f"{i % 26 / 5:.3f}")
            for i in numbers
        )  # fmt: skip
        columns = "index | genre | filename | year | old_index | source1 | source2 | sentence1 | sentence2 | score"
        _table(folder / f"glue/STS-B/{part}.tsv", columns, scored)
        header = "index | sentence1 | sentence2 | label"
        entailed = (
            (i, *_entailment("rte", i), ("entailment", "not_entailment")[i % 2]) for i in numbers
        )
        _table(folder / f"glue/RTE/{part}.tsv", header, entailed)
        resolved = ((i, _pronoun(i + TEST), sentence("resolved", i), i % 2) for i in numbers)
        _table(folder / f"glue/WNLI/{part}.tsv", header, resolved)
    for part, numbers in (("dev", GROUPED), ("train", GROUPED_TOO)):
        asked = (
            (
                i,
                f"{sentence('asked', i // MEMBERS)} ?",
                sentence("answering", i),
                ("entailment", "not_entailment")[i % 2],
            )
            for i in numbers
        )
        _table(folder / f"glue/QNLI/{part}.tsv", "index | question | sentence | label", asked)


def _entailment(of: str, number: int) -> tuple[str, str]:
    return sentence(of, number), sentence(f"{of} hypothesis", number)


def _pronoun(number: int) -> str:
    first, second = sentence("schemas", number), sentence("more schemas", number)
    return f"Toma and Rilu {first[:-2]} when he {second}"


def _super_glue(folder: Path) -> None:
    few_dev = range(FEW, 2 * FEW)
    for part, numbers, group in (
        ("train", LEARNT, "super_glue"), ("val", REPORTED, "super_glue"),
        ("train", range(FEW), "few_glue"), ("dev32", few_dev, "few_glue"),
    ):  # fmt: skip
        base = folder / group
        three = ("entailment", "contradiction", "neutral")
        for name, labels in (("CB", three), ("RTE", ("entailment", "not_entailment"))):
            entailed = (
                dict(zip(("premise", "hypothesis"), _entailment(name.lower(), i), strict=True))
                | {"label": labels[i % len(labels)], "idx": i}
                for i in numbers
            )
            _json_lines(base / name / f"{part}.jsonl", entailed)
        used = (
            {"word": "kamo", "sentence1": f"kamo {sentence('senses', i)}", "sentence2": f"a kamo {sentence('use', i)}",
             "idx": i, "label": i % 2 == 0, "start1": 0, "start2": 2, "end1": 4, "end2": 6, "version": 1.1}
            for i in numbers
        )  # fmt: skip
        _json_lines(base / "WiC" / f"{part}.jsonl", used)
        if group == "few_glue":
            _json_lines(
                base / "BoolQ" / f"{part}.jsonl",
                _boolq(range(numbers.start, numbers.stop), members=1),
            )
            continue
        caused = (
            {"premise": sentence("copa", i), "choice1": sentence("first", i), "choice2": sentence("second", i),
             "question": ("cause", "effect")[i // 2 % 2], "label": i % 2, "idx": i}
            for i in numbers
        )  # fmt: skip
        _json_lines(base / "COPA" / f"{part}.jsonl", caused)
        _json_lines(base / "WSC" / f"{part}.jsonl", map(_wsc, numbers))
        passages = range(PASSAGES) if part == "train" else range(PASSAGES, PASSAGES + PASSAGES // 2)
        _json_lines(base / "MultiRC" / f"{part}.jsonl", map(_multirc, passages))
    for part, first in (("val", FEW * 2), ("train", FEW * 2 + GROUPS)):
        passages = range(first, first + GROUPS)
        _json_lines(folder / f"super_glue/BoolQ/{part}.jsonl", _boolq(passages, members=MEMBERS))


def _boolq(passages: range, *, members: int) -> Iterable[dict[str, Any]]:
    return (
        {"question": f"is {sentence('questions', passage * members + member)[:-2]}",
         "passage": f"Kamo -- {sentence('passages', passage)}",
         "idx": passage * members + member, "label": (passage + member) % 2 == 0}
        for passage in passages for member in range(members)
    )  # fmt: skip


def _wsc(number: int) -> dict[str, Any]:
    text = _pronoun(number)
    span = {
        "span1_index": 0,
        "span1_text": "Toma",
        "span2_index": text.split(" ").index("he"),
        "span2_text": "he",
    }
    return {"text": text, "target": span, "idx": number, "label": number % 2 == 0}


def _multirc(passage: int) -> dict[str, Any]:
    questions = [
        {
            "question": f"{sentence('reading', passage * QUESTIONS + question)} ?",
            "answers": [
                {
                    "text": f"{sentence('read', passage * 10 + question * 5 + a)}",
                    "idx": a,
                    "label": (passage + a) % 2,
                }
                for a in range(ANSWERS)
            ],
            "idx": passage * QUESTIONS + question,
        }
        for question in range(QUESTIONS)
    ]
    text = f"<b>Sent 1: </b>{sentence('stories', passage)}<br><b>Sent 2: </b>{sentence('and then', passage)}<br>"
    return {"idx": passage, "version": 1.1, "passage": {"text": text, "questions": questions}}


def _sentiment(folder: Path) -> None:
    both = range(TRAIN + TEST)
    _label_first(folder / "mr/all.txt", "reviews", (0, 1), range(TEST, TEST + TRAIN + TEST))
    stars = range(5)
    _label_first(folder / "sst5/stsa.fine.train", "reviews", stars, LEARNT, "utf-8")
    _label_first(folder / "sst5/stsa.fine.dev", "reviews", stars, range(300, 300 + TEST), "utf-8")
    _label_first(folder / "sst5/stsa.fine.test", "reviews", stars, REPORTED, "utf-8")
    _label_first(folder / "trec/train.txt", "question types", range(6), LEARNT)
    _label_first(folder / "trec/test.txt", "question types", range(6), REPORTED)
    topics = ("World", "Sports", "Business", "Sci/Tech")
    for part, numbers in (("train", both), ("test", range(TRAIN + TEST, TRAIN + 2 * TEST))):
        news = ((sentence("topics", i), topics[i % 4]) for i in numbers)
        _quoted_table(folder / f"ag_news/{part}.tsv", (), news)
    for part, numbers in (("train", LEARNT), ("test", REPORTED)):
        films = (
            {"text": f"{sentence('films', i)}<br /><br />{sentence('more', i)}", "label": i % 2}
            for i in numbers
        )
        _json_lines(folder / f"imdb/{part}.jsonl", films)
    for domain in ("books", "dvd", "electronics"):
        for part, numbers in (("train", LEARNT), ("dev", REPORTED)):
            products = (
                (f'{sentence(domain, i)}\n\tthe "{sentence("details", i)}"\n', i % 2)
                for i in numbers
            )
            _quoted_table(folder / f"blitzer/{domain}/{part}.tsv", ("sentence", "label"), products)


def _pairs(folder: Path) -> None:
    reported = range(GROUPS * MEMBERS, GROUPS * MEMBERS + TEST)
    for part, numbers in (("dev", GROUPED), ("test", reported), ("train", GROUPED_TOO)):
        inferred = (
            (sentence("pictures", i // MEMBERS), sentence("seen", i), i % 3) for i in numbers
        )
        _table(folder / f"snli/{part}.txt", "", inferred)
        known = (
            (sentence("evidence", i), sentence("science", i // MEMBERS), i % 2) for i in numbers
        )
        _table(folder / f"scitail/{part}.txt", "", known)
    later = range(TRAIN + TEST, 2 * TRAIN + TEST)
    for part, numbers in (("dev", LEARNT), ("test", REPORTED), ("train", later)):
        asked = (
            (f"{sentence('quora', i)} ?", f"{sentence('asked again', i)} ?", i % 2) for i in numbers
        )
        _table(folder / f"quora/{part}.txt", "", asked)


def _tweets(folder: Path) -> None:
    later = range(TRAIN + TEST, TRAIN + 2 * TEST)
    for name in ("irony", "hate", "offensive"):
        for part, numbers in (("train", LEARNT), ("val", REPORTED), ("test", later)):
            texts = "".join(f"@user {sentence(name, i)} #{name} \n" for i in numbers)
            _write(folder / f"tweet_eval/{name}/{part}_text.txt", texts)
            _write(
                folder / f"tweet_eval/{name}/{part}_labels.txt",
                "".join(f"{i % 2}\n" for i in numbers),
            )


def _squad(folder: Path) -> None:
    """SQuAD 1.1: articles of paragraphs of questions, each with several answers; QNLI's are drawn from them."""
    parts = {"squad_sample/squad.json": 0, "squad/dev-v1.1.json": 0, "squad/train-v1.1.json": 2}
    for name, times in parts.items():
        paragraphs = [_paragraph(number + times * GROUPS) for number in range(GROUPS)]
        articles = [{"title": f"Article {i}", "paragraphs": paragraphs[i::10]} for i in range(10)]
        _write(folder / name, json.dumps({"version": "1.1", "data": articles}))


def _paragraph(number: int) -> dict[str, Any]:
    words = [sentence("answering", number * MEMBERS + member) for member in range(MEMBERS)]
    context = " ".join(words)
    questions = [
        {"id": f"{number}-{member}", "question": f"{sentence('asked', number * MEMBERS + member)} ?", "answers": [
            {"text": text, "answer_start": context.index(text)} for text in (words[member], words[member][:20])
        ]}
        for member in range(MEMBERS)
    ]  # fmt: skip
    return {"context": context, "qas": questions}
