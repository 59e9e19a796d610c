"""Readers of data sets with a layout of their own, and tasks whose inputs have several references."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks import Example, Split, TaskError, get_task
from tasks.generation import together
from tasks.layouts import (
    GZIP_FREE,
    first_of_gzip,
    read_anli_rounds,
    read_customer_reviews,
    read_drop,
    read_meanings,
    read_mrqa,
    read_race,
    read_stories,
    read_webnlg,
)
from tasks.rows import Numbered, Reader

DATA = Path(__file__).parents[2].parent / "shared" / "data"

at_hand = pytest.mark.skipif(not DATA.is_dir(), reason="no data sets at hand")

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of the test's folder, gzipped where its name says so."""

    def to(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else content.encode()
        packed = path.suffix == ".gz" and isinstance(content, str)
        path.write_bytes(gzip.compress(data) if packed else data)
        return path

    return to


def rows(reader: Reader, path: Path) -> list[Mapping[str, Any]]:
    """What a reader yields."""
    return [row.values for row in reader(path) if isinstance(row, Numbered)]


def fails(reader: Reader, path: Path) -> str:
    """The one-line message of the TaskError that reading raises."""
    with pytest.raises(TaskError) as caught:
        list(reader(path))
    message = str(caught.value)
    assert "\n" not in message
    return message


# -- MRQA and C4 -----------------------------------------------------------------------------------------

PASSAGE = {
    "id": "",
    "context": "It rained.",
    "context_tokens": [["It", 0]],
    "qas": [
        {"qid": "a", "question": "Did it?", "answers": ["yes", "It rained"], "detected_answers": []},
        {"qid": "b", "question": "What?", "answers": ["rained"], "detected_answers": []},
    ],
}  # fmt: skip


def lines(*documents: object) -> str:
    """JSON lines."""
    return "".join(json.dumps(document) + "\n" for document in documents)


def test_a_question_of_mrqa_is_a_row_with_its_passage_and_data_set(write: Write) -> None:
    header = {"header": {"dataset": "NewsQA", "split": "train"}}
    path = write("NewsQA.jsonl.gz", lines(header, PASSAGE))
    common = {"subset": "NewsQA", "context": "It rained."}
    assert [*read_mrqa(path)] == [
        Numbered(2, common | {"qid": "a", "question": "Did it?", "answers": ["yes", "It rained"]}),
        Numbered(2, common | {"qid": "b", "question": "What?", "answers": ["rained"]}),
    ]


def test_what_is_not_in_mrqas_layout_names_file_and_row(write: Write) -> None:
    path = write("a.jsonl.gz", lines({"header": {"dataset": "X"}}, {"context": "c"}))
    assert fails(read_mrqa, path) == f"{path}, row 2: not in the layout of MRQA (no 'qas')"
    path = write("b.jsonl.gz", lines([1]))
    assert fails(read_mrqa, path) == f"{path}, row 1: not in the layout of MRQA"
    path = write("c.jsonl.gz", lines({"context": "c", "qas": [3]}))
    assert fails(read_mrqa, path).startswith(f"{path}, row 1: not in the layout of MRQA (")
    path = write("d.jsonl.gz", "{\n")
    assert fails(read_mrqa, path).startswith(f"{path}, row 1: not JSON")


def test_a_file_that_is_no_whole_gzip_or_no_text_is_refused(write: Write) -> None:
    whole = gzip.compress(lines(*[PASSAGE] * 50).encode())
    assert "cannot be read as gzip" in fails(read_mrqa, write("a.jsonl.gz", b"plain text"))
    assert "cannot be read as gzip" in fails(read_mrqa, write("b.jsonl.gz", whole[:-20]))
    damaged = whole[:30] + bytes([whole[30] ^ 255]) + whole[31:]
    assert str(write("c.jsonl.gz", damaged)) in fails(read_mrqa, write("c.jsonl.gz", damaged))
    latin = write("d.jsonl.gz", gzip.compress('{"a": "é"}'.encode("latin-1")))
    assert fails(read_mrqa, latin) == f"{latin}, row 1: not UTF-8 text"
    assert fails(read_mrqa, latin.with_name("no.gz")) == f"{latin.with_name('no.gz')}: no such file"


def test_a_gzip_that_unpacks_to_far_more_than_its_size_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert GZIP_FREE == 2**26
    monkeypatch.setattr("tasks.layouts.GZIP_FREE", 1000)
    path = write("a.jsonl.gz", " " * 1_000_000)
    assert "unpacks to more than a file of its size holds" in fails(read_mrqa, path)


def test_only_the_first_rows_of_a_large_file_are_read(write: Write) -> None:
    good = lines(*({"text": str(i)} for i in range(9))) + "damaged\n"
    reader = first_of_gzip({"train": 9, "validation": 2})
    train = write("c4-train.0.json.gz", good)
    assert [row["text"] for row in rows(reader, train)] == [*"012345678"]
    assert [*reader(write("c4-validation.0.json.gz", good))] == [
        Numbered(1, {"text": "0"}),
        Numbered(2, {"text": "1"}),
    ]


# -- DROP, RACE, ANLI, reviews ---------------------------------------------------------------------------

NOTHING: dict[str, Any] = {
    "number": "",
    "date": {"day": "", "month": "", "year": ""},
    "spans": [],
}


def test_answers_of_drop_are_numbers_dates_and_spans_of_all_annotators_each_once(
    write: Write,
) -> None:
    answers = [
        NOTHING | {"number": "3"},
        NOTHING | {"date": {"day": "", "month": "May", "year": "1990"}},
        NOTHING | {"spans": ["Ann", "Bob"]},
    ]
    asked = [
        {"question": f"{i}?", "query_id": str(i), "answer": answer}
        for i, answer in enumerate(answers)
    ]
    asked[0]["validated_answers"] = [answers[0], NOTHING | {"spans": ["three"]}, NOTHING]
    path = write("d.json", json.dumps({"nfl_1": {"passage": "P.", "qa_pairs": asked}}))
    assert [row["answers"] for row in rows(read_drop, path)] == [
        ["3", "three"],
        ["May 1990"],
        ["Ann, Bob"],
    ]
    assert rows(read_drop, path)[1] == {
        "passage": "P.",
        "question": "1?",
        "query_id": "1",
        "answers": ["May 1990"],
    }
    path = write("e.json", json.dumps({"nfl_1": {"qa_pairs": asked}}))
    assert fails(read_drop, path) == f"{path}: not in the layout of DROP (no 'passage')"
    path = write("f.json", "[1]")
    assert fails(read_drop, path).startswith(f"{path}: not in the layout of DROP (")


def article(number: int) -> str:
    """A file of RACE with two questions."""
    return json.dumps(
        {
            "answers": ["A", "D"],
            "options": [["a", "b", "c", "d"], ["e", "f", "g", "h"]],
            "questions": [f"{number}?", f"{number}??"],
            "article": f"Article {number}.",
            "id": f"high{number}.txt",
        }
    )


def test_articles_of_both_schools_are_read_in_the_order_of_their_numbers(write: Write) -> None:
    for place, number in (("high/10", 10), ("high/9", 9), ("middle/1", 1)):
        write(f"train/{place}.txt", article(number))
    path = write("train/x", "").parent
    found = rows(read_race, path)
    assert [row["question"] for row in found] == ["9?", "9??", "10?", "10??", "1?", "1??"]
    assert [row.number for row in read_race(path)] == [1, 2, 3, 4, 5, 6]
    assert found[1] == {
        "article": "Article 9.",
        "question": "9??",
        "options": ["e", "f", "g", "h"],
        "answer": "D",
        "example_id": "high9.txt",
    }


def test_race_without_one_school_or_with_an_answer_missing_is_refused(write: Write) -> None:
    high = write("train/high/1.txt", article(1))
    assert fails(read_race, high.parents[1]) == (
        f"{high.parents[1] / 'middle'}: no article of RACE; both middle and high must be there"
    )
    write("train/middle/1.txt", article(2).replace('["A", "D"]', '["A"]'))
    assert "is shorter than" in fails(read_race, high.parents[1])


def test_rounds_of_anli_are_read_in_order_and_all_must_be_there(write: Write) -> None:
    for i in (1, 2, 3):
        first = write(f"R{i}/dev.jsonl", lines({"uid": f"r{i}"}))
    path = first.parents[1] / "R1" / "dev.jsonl"
    assert [row["uid"] for row in rows(read_anli_rounds, path)] == ["r1", "r2", "r3"]
    (path.parents[1] / "R2" / "dev.jsonl").unlink()
    assert fails(read_anli_rounds, path).endswith("R2/dev.jsonl: no such file")


def test_reviews_of_praise_and_of_blame_have_their_label(write: Write) -> None:
    write("custrev.neg", "too  loud \n".encode("latin-1"))
    path = write("custrev.pos", "a café\n\nso good \n".encode("latin-1"))
    assert rows(read_customer_reviews, path) == [
        {"text": "a café", "label": "1"},
        {"text": "so good", "label": "1"},
        {"text": "too  loud", "label": "0"},
    ]
    path.with_suffix(".neg").unlink()
    assert fails(read_customer_reviews, path).endswith("custrev.neg: no such file")


# -- texts to write --------------------------------------------------------------------------------------


def test_a_story_is_its_paragraphs_and_its_highlights_each_ending_as_a_sentence(
    write: Write,
) -> None:
    address = "http://web.archive.org/web/1id_/http://www.cnn.com/a"
    name = hashlib.sha1(address.encode()).hexdigest()
    text = '(CNN) -- It rained\n\n"Hard."\n\n@highlight\n\nIt rained\n\n@highlight\n\nHard!\n'
    write(f"dailymail/stories/{name}.story", text)
    path = write("all_test.txt", f"{address}\n")
    assert rows(read_stories, path) == [
        {"article": '(CNN) -- It rained . "Hard."', "highlights": "It rained .\nHard!"}
    ]
    path.write_text(f"{address}\n{address}b\n", encoding="utf-8")
    assert fails(read_stories, path).startswith(f"{path}, row 2: no article ")


def test_meanings_have_the_columns_of_the_header_and_no_more(write: Write) -> None:
    path = write("a.csv", 'MR,ref\n"name[A], near[B]","At B, ""A""."\nname[C],C .,-1 0\n')
    assert rows(read_meanings, path) == [
        {"mr": "name[A], near[B]", "ref": 'At B, "A".'},
        {"mr": "name[C]", "ref": "C ."},
    ]
    path = write("b.csv", "mr,ref\nname[A]\n")
    assert fails(read_meanings, path) == f"{path}, row 2: 1 columns, expected 2"


ENTRY = """<benchmark><entries><entry category="City" eid="Id1" size="1">
<originaltripleset><otriple>A | b | c</otriple></originaltripleset>
<modifiedtripleset><mtriple>A | b | d &amp; e</mtriple><mtriple>A | f | g</mtriple></modifiedtripleset>
<lex comment="good" lid="Id1">A is d.</lex><lex comment="toFix" lid="Id2">A.</lex></entry></entries></benchmark>"""


def test_entries_of_webnlg_are_read_from_all_files_of_a_folder(write: Write) -> None:
    write("dev/2triples/b.xml", ENTRY.replace("Id1", "Id2"))
    path = write("dev/1triples/a.xml", f"<?xml version='1.0' encoding='utf-8'?>\n{ENTRY}")
    entry = {
        "category": "City",
        "modified_triple_sets": {"mtriple_set": [["A | b | d & e", "A | f | g"]]},
        "lex": {"comment": ["good", "toFix"], "text": ["A is d.", "A."]},
    }
    assert rows(read_webnlg, path.parents[1]) == [entry, entry]
    assert [row.number for row in read_webnlg(path.parents[1])] == [1, 2]
    assert rows(read_webnlg, path) == [entry]


def test_xml_that_is_none_or_defines_entities_is_refused(write: Write) -> None:
    path = write("a.xml", ENTRY[:-5])
    assert fails(read_webnlg, path).startswith(f"{path}: not XML (")
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><benchmark>&b;</benchmark>'
    path = write("b.xml", bomb)
    assert fails(read_webnlg, path) == f"{path}: defines entities, which WebNLG's files do not"
    empty = write("c/readme.txt", "").parent
    assert fails(read_webnlg, empty) == f"{empty}: no XML file of WebNLG in it"


def test_references_train_one_by_one_and_are_accepted_together_elsewhere(write: Write) -> None:
    text = 'mr,ref\nname[A],One .\nname[B],Other .\nname[A],"Two ."\nname[A],One .\n'
    for name in ("trainset", "devset", "testset_w_refs"):
        folder = write(f"e2e/{name}.csv", text).parents[1]
    task = get_task("e2e")
    trained = task.examples(Split.TRAIN, data_dir=folder)
    assert [example.target for example in trained] == ["One .", "Other .", "Two .", "One ."]
    assert not any(example.answers for example in trained)
    for split in (Split.DEV, Split.TEST):
        assert task.examples(split, data_dir=folder) == [
            Example(inputs="name : A", target="One .", answers=("One .", "Two .")),
            Example(inputs="name : B", target="Other .", answers=("Other .",)),
        ]
    scores = task.score(["Two .", "Nothing"], task.examples(Split.TEST, data_dir=folder))
    assert scores["rougeL"] == 50.0
    assert set(scores) == {"bleu", "chrf", "rougeL", "score"}


def test_no_examples_are_none_together() -> None:
    assert together([]) == []


# -- the files at hand -----------------------------------------------------------------------------------


@at_hand
def test_published_files_of_facts_are_read_whole() -> None:
    meanings = rows(read_meanings, DATA / "e2e" / "testset_w_refs.csv")
    assert len(meanings) == 4_693
    assert len({row["mr"] for row in meanings}) == 1_847
    entries = rows(read_webnlg, DATA / "webnlg" / "dev")
    assert len(entries) == 1_619
    assert all(entry["lex"]["text"] for entry in entries)


@at_hand
@pytest.mark.parametrize("name", ["e2e", "webnlg"])
def test_inputs_of_published_facts_are_in_one_split(name: str) -> None:
    task = get_task(name)
    inputs = [
        {example.inputs for example in task.examples(split, data_dir=DATA, allow_partial=True)}
        for split in Split
    ]
    assert not inputs[0] & inputs[1]
    assert not inputs[0] & inputs[2]
    assert all(" : " in one for one in inputs[2])


@at_hand
def test_published_summaries_have_the_published_form() -> None:
    text = (DATA / "xsum" / "sample_1000.jsonl").read_text(encoding="utf-8")
    articles = [json.loads(line) for line in text.splitlines()]
    examples = [one for row in articles for one in get_task("xsum").formatter(row)]
    assert len(examples) == len(articles) == 1000
    assert all(example.inputs.startswith("summarize: ") for example in examples)
    text = (DATA / "samsum" / "test.jsonl").read_text(encoding="utf-8")
    dialogues = [json.loads(line) for line in text.splitlines()]
    for row in dialogues:
        renamed = {"dialogue": row["context"], "summary": row["response"]}
        (example,) = get_task("samsum").formatter(renamed)
        assert "\n" not in example.inputs + example.target
