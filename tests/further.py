"""Rows of data sets for reading, reasoning, inference, opinions and writing: as on the hub, and in official files.

The texts are of the invented language of :mod:`tests.official`. A row's number says what it holds; rows whose numbers
are ``MEMBERS`` apart or less share a passage where a data set has passages.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.official import GROUPS, MEMBERS, sentence

Row = dict[str, Any]

IN_DOMAIN = ("SQuAD", "NewsQA", "TriviaQA-web", "SearchQA", "HotpotQA", "NaturalQuestionsShort")
OUT_OF_DOMAIN = ("BioASQ", "DROP", "DuoRC.ParaphraseRC", "RACE", "RelationExtraction", "TextbookQA")
"""Data sets of MRQA, as it calls them."""

LEARNT = range(GROUPS * MEMBERS)
FEW = 40 * MEMBERS
PARTS = {
    "train": LEARNT,
    "dev": range(LEARNT.stop, LEARNT.stop + FEW),
    "test": range(LEARNT.stop + FEW, LEARNT.stop + 2 * FEW),
}
"""Numbers of the rows of each part; data sets of one part have those that are learnt."""

_TWO, _THREE = len(LEARNT) + FEW, len(LEARNT) + 2 * FEW

FURTHER_ROWS = {
    **dict.fromkeys(("drop", "hellaswag", "winogrande", "cosmosqa", "yelp2", "c4"), _TWO),
    **dict.fromkeys(("race", "docnli", "anli_r1", "anli_r2", "anli_r3"), _THREE),
    **dict.fromkeys(("xsum", "cnn_dailymail", "samsum"), _THREE),
    **dict.fromkeys(
        (f"mrqa_{name}" for name in ("squad", "newsqa", "triviaqa", "searchqa", "hotpotqa", "natural_questions")), _TWO
    ),
    **dict.fromkeys(
        (f"mrqa_{name}" for name in ("bioasq", "drop", "duorc", "race", "relation_extraction", "textbookqa")),
        len(LEARNT),
    ),
    "cr": len(LEARNT),
    "anli": 3 * _THREE,
    "e2e": len(LEARNT) + 2 * FEW // 2,
    "webnlg": 2 * len(LEARNT) + 2 * FEW,
}  # fmt: skip
"""Examples of all three splits together: every good reference trains, and those of an input are tested together."""


# -- rows of the hub -------------------------------------------------------------------------------------


def _passage(of: str, number: int) -> str:
    return " ".join(sentence(of, 10 * (number // MEMBERS) + i) for i in range(MEMBERS))


def _asked(of: str, number: int) -> tuple[str, str, str]:
    """Passage, question and a text of the passage."""
    passage = _passage(of, number)
    answer = sentence(of, 10 * (number // MEMBERS) + number % MEMBERS)[:16].strip(' "')
    return passage, f"{sentence(f'{of} asked', number)} ?", answer


def drop(number: int) -> Row:
    passage, question, answer = _asked("counting", number)
    return {
        "section_id": f"history_{number // MEMBERS}",
        "query_id": f"q{number}",
        "passage": passage,
        "question": question,
        "answers_spans": {"spans": [answer, "12"], "types": ["span", "number"]},
    }


def mrqa(subset: str) -> Callable[[int], Row]:
    def row(number: int) -> Row:
        passage, question, answer = _asked(subset, number)
        tokens = {"tokens": [passage[:3]], "offsets": [0]}
        return {
            "subset": subset,
            "context": passage,
            "context_tokens": tokens,
            "qid": f"{number:032x}",
            "question": question,
            "question_tokens": tokens,
            "detected_answers": {
                "text": [answer],
                "char_spans": [{"start": [0], "end": [1]}],
                "token_spans": [{"start": [0], "end": [0]}],
            },
            "answers": [answer, answer.upper()],
        }

    return row


def hellaswag(number: int) -> Row:
    context = sentence("scenes", number)
    return {
        "ind": number,
        "activity_label": "Rowing",
        "ctx_a": context,
        "ctx_b": "",
        "ctx": context,
        "endings": [sentence(f"ending {i}", number) for i in range(4)],
        "source_id": f"activitynet~v_{number // MEMBERS}",
        "split": "train",
        "split_type": "indomain",
        "label": str(number % 4),
    }


def winogrande(number: int) -> Row:
    pair = sentence("pairs", number // 2)[:-2]
    return {
        "sentence": f"Toma met Rilu {pair} because _ {('sang', 'slept')[number % 2]}.",
        "option1": f"Toma {number // 2}",
        "option2": f"Rilu {number // 2}",
        "answer": str(1 + number % 2),
    }


def cosmosqa(number: int) -> Row:
    passage, question, _ = _asked("diaries", number)
    answers = {f"answer{i}": sentence(f"cosmos {i}", number) for i in range(4)}
    return {"id": f"id##{number}", "context": passage, "question": question, **answers} | {
        "label": number % 4
    }


def race(number: int) -> Row:
    article, question, _ = _asked("articles", number)
    return {
        "example_id": f"high{number // MEMBERS}.txt",
        "article": article,
        "answer": "ABCD"[number % 4],
        "question": question,
        "options": [sentence(f"option {i}", number) for i in range(4)],
    }


def docnli(number: int) -> Row:
    return {
        "premise": _passage("documents", number),
        "hypothesis": sentence("documents say", number),
        "label": ("entailment", "not_entailment")[number % 2],
    }


def anli(round: int) -> Callable[[int], Row]:
    def row(number: int) -> Row:
        return {
            "uid": f"{round}-{number}",
            "premise": _passage(f"round {round}", number),
            "hypothesis": sentence(f"claims {round}", number),
            "label": number % 3,
            "reason": "",
        }

    return row


def cr(number: int) -> Row:
    label = number % 2
    return {
        "text": sentence("customers", number),
        "label": label,
        "label_text": ("negative", "positive")[label],
    }


def yelp2(number: int) -> Row:
    text = rf"{sentence('places', number)}\n\nI said \"{sentence('more places', number)}\""
    return {"text": text, "label": number % 2}


def xsum(number: int) -> Row:
    return {
        "document": "\n".join(sentence(f"news {i}", number) for i in range(3)),
        "summary": sentence("in short", number),
        "id": str(number),
    }


def cnn_dailymail(number: int) -> Row:
    return {
        "article": " ".join(sentence(f"paper {i}", number) for i in range(3)),
        "highlights": "\n".join(sentence(f"highlight {i}", number) for i in range(2)),
        "id": hashlib.sha1(_address(number).encode()).hexdigest(),
    }


def _address(number: int) -> str:
    return f"http://web.archive.org/web/2015id_/http://www.cnn.com/{number}"


def samsum(number: int) -> Row:
    turns = "\r\n".join(f"{name}: {sentence(name, number)}" for name in ("Toma", "Rilu"))
    return {"id": str(number), "dialogue": turns, "summary": sentence("they agree", number)}


def e2e(number: int) -> Row:
    """Two references a meaning."""
    name = sentence("inns", number // 2)[:-2]
    area = ("riverside", "city centre")[number // 2 % 2]
    return {
        "meaning_representation": f"name[{name.strip()}], eatType[pub], area[{area}], familyFriendly[yes]",
        "human_reference": sentence("menus", number),
    }


def webnlg(number: int) -> Row:
    """Three references, one of them bad."""
    subject = sentence("facts", number)[:-2].replace(" ", "_")
    facts = [f"{subject} | capital | Kamo", f'Kamo | population | "{number}"']
    texts = [sentence(f"told {i}", number) for i in range(3)]
    return {
        "category": "City",
        "size": 2,
        "eid": f"Id{number}",
        "original_triple_sets": {"otriple_set": [facts]},
        "modified_triple_sets": {"mtriple_set": [facts]},
        "shape": "",
        "shape_type": "",
        "lex": {
            "comment": ["good", "good", "toFix"],
            "lid": ["Id1", "Id2", "Id3"],
            "text": texts,
            "lang": ["", "", ""],
        },
        "test_category": "",
        "dbpedia_links": [],
        "links": [],
    }


def c4(number: int) -> Row:
    text = "\n".join(sentence(f"pages {i}", number) for i in range(12))
    return {"text": text, "timestamp": "2019-04-25T12:57:54Z", "url": f"https://x.y/{number}"}


# -- official files --------------------------------------------------------------------------------------


def write_further_files(folder: Path) -> Path:
    """Writes all of them, and returns the ``folder``."""
    for part, numbers in PARTS.items():
        for write in (_drop, _mrqa, _choices, _race, _pairs, _yelp, _summaries, _facts):
            write(folder, part, numbers)
    for subset in OUT_OF_DOMAIN:
        _gzip_lines(folder / f"mrqa/dev/{subset}.jsonl.gz", _mrqa_documents(subset, LEARNT))
    _reviews(folder / "CR", LEARNT)
    for name, part in (("train.00000-of-01024", "train"), ("validation.00000-of-00008", "dev")):
        _gzip_lines(folder / f"c4/en/c4-{name}.json.gz", map(c4, PARTS[part]))
    return folder


def _write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def _lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    _write(path, "".join(json.dumps(row) + "\n" for row in rows))


def _gzip_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    _write(path, out.getvalue())


def _drop(folder: Path, part: str, numbers: range) -> None:
    """Without a test part."""
    if part == "test":
        return
    passages: dict[str, Any] = {}
    for row in map(drop, numbers):
        passage = passages.setdefault(
            row["section_id"], {"passage": row["passage"], "qa_pairs": [], "wiki_url": ""}
        )
        nothing: Row = {"number": "", "date": {"day": "", "month": "", "year": ""}, "spans": []}
        span, number = row["answers_spans"]["spans"]
        asked = {"question": row["question"], "query_id": row["query_id"]}
        asked["answer"] = nothing | {"spans": [span]}
        asked["validated_answers"] = [nothing | {"number": number}, nothing | {"spans": [span]}]
        passage["qa_pairs"].append(asked)
    _write(folder / f"drop_dataset/drop_dataset_{part}.json", json.dumps(passages))


def _mrqa(folder: Path, part: str, numbers: range) -> None:
    if part != "test":
        for subset in IN_DOMAIN:
            path = folder / f"mrqa/{part}/{subset}.jsonl.gz"
            _gzip_lines(path, _mrqa_documents(subset, numbers))


def _mrqa_documents(subset: str, numbers: range) -> Iterable[Row]:
    yield {"header": {"dataset": subset, "split": "train"}}
    rows = list(map(mrqa(subset), numbers))
    for start in range(0, len(rows), MEMBERS):
        asked = rows[start : start + MEMBERS]
        questions = [
            {
                "qid": row["qid"],
                "question": row["question"],
                "question_tokens": [["a", 0]],
                "detected_answers": [
                    {"text": row["answers"][0], "char_spans": [[0, 1]], "token_spans": [[0, 0]]}
                ],
                "answers": row["answers"],
            }
            for row in asked
        ]
        context = asked[0]["context"]
        yield {"id": "", "context": context, "context_tokens": [["a", 0]], "qas": questions}


def _choices(folder: Path, part: str, numbers: range) -> None:
    """HellaSwag, WinoGrande and CosmosQA, without test parts."""
    if part == "test":
        return
    name = {"train": "train", "dev": "val"}[part]
    scenes = (row | {"label": int(row["label"])} for row in map(hellaswag, numbers))
    _lines(folder / f"hellaswag/hellaswag_{name}.jsonl", scenes)
    name = {"train": "train_xl", "dev": "dev"}[part]
    blanks = ({"qID": f"3Q-{row['answer']}"} | row for row in map(winogrande, numbers))
    _lines(folder / f"winogrande_1.1/{name}.jsonl", blanks)
    name = {"train": "train", "dev": "valid"}[part]
    rows = list(map(cosmosqa, numbers))
    _table(folder / f"cosmosqa/{name}.csv", [list(rows[0]), *(row.values() for row in rows)])


def _race(folder: Path, part: str, numbers: range) -> None:
    """Every other article is of the middle school."""
    rows = list(map(race, numbers))
    for start in range(0, len(rows), MEMBERS):
        asked = rows[start : start + MEMBERS]
        name = asked[0]["example_id"].removeprefix("high")
        level = ("middle", "high")[start // MEMBERS % 2]
        document = {
            "answers": [row["answer"] for row in asked],
            "options": [row["options"] for row in asked],
            "questions": [row["question"] for row in asked],
            "article": asked[0]["article"],
            "id": f"{level}{name}",
        }
        _write(folder / f"RACE/{part}/{level}/{name}", json.dumps(document))


def _pairs(folder: Path, part: str, numbers: range) -> None:
    documents = json.dumps(list(map(docnli, numbers)))
    _write(folder / f"DocNLI_dataset/{part}.json", documents)
    for round in (1, 2, 3):
        claims = (
            {"uid": row["uid"], "context": row["premise"], "hypothesis": row["hypothesis"]}
            | {"label": "enc"[row["label"]], "genre": "wiki", "reason": row["reason"]}
            for row in map(anli(round), numbers)
        )
        _lines(folder / f"anli_v1.0/R{round}/{part}.jsonl", claims)


def _reviews(folder: Path, numbers: range) -> None:
    rows = list(map(cr, numbers))
    for suffix, label in (("pos", 1), ("neg", 0)):
        text = "".join(f"{row['text']} \n" for row in rows if row["label"] == label)
        _write(folder / f"custrev.{suffix}", text, "latin-1")


def _yelp(folder: Path, part: str, numbers: range) -> None:
    if part != "dev":
        rows = ((row["label"] + 1, row["text"].replace(r"\"", '"')) for row in map(yelp2, numbers))
        _table(folder / f"yelp_review_polarity_csv/{part}.csv", rows)


def _summaries(folder: Path, part: str, numbers: range) -> None:
    name = {"train": "train", "dev": "validation", "test": "test"}[part]
    _lines(folder / f"xsum/{name}.jsonl", map(xsum, numbers))
    name = {"train": "train", "dev": "val", "test": "test"}[part]
    _write(folder / f"samsum/{name}.json", json.dumps(list(map(samsum, numbers))))
    base = folder / "cnn_dailymail"
    _write(base / f"all_{name}.txt", "".join(f"{_address(number)}\n" for number in numbers))
    for number in numbers:
        row = cnn_dailymail(number)
        paper = ("cnn", "dailymail")[number % 2]
        highlights = (f"@highlight\n\n{line}" for line in row["highlights"].split("\n"))
        text = "\n\n".join([row["article"], *highlights])
        _write(base / paper / "stories" / f"{row['id']}.story", text)


def _facts(folder: Path, part: str, numbers: range) -> None:
    name = {"train": "trainset", "dev": "devset", "test": "testset_w_refs"}[part]
    meanings = (row.values() for row in map(e2e, numbers))
    _table(folder / f"e2e/{name}.csv", [("mr", "ref"), *meanings])
    root = ElementTree.Element("benchmark")
    entries = ElementTree.SubElement(root, "entries")
    for row in map(webnlg, numbers):
        entry = ElementTree.SubElement(entries, "entry", category="City", eid=row["eid"], size="2")
        for kind in ("original", "modified"):
            triples = ElementTree.SubElement(entry, f"{kind}tripleset")
            for fact in row["modified_triple_sets"]["mtriple_set"][0]:
                ElementTree.SubElement(triples, f"{kind[0]}triple").text = fact
        for text, comment in zip(row["lex"]["text"], row["lex"]["comment"], strict=True):
            ElementTree.SubElement(entry, "lex", comment=comment, lid="Id1").text = text
    _write(
        folder / f"webnlg/{part}/2triples/City.xml", ElementTree.tostring(root, encoding="unicode")
    )
