"""What is guessed of a task from its data, and the task file that says it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.errors import TaskError
from tasks.guess import Guess, guess, word_of, words_of
from tasks.readers import Writing
from tasks.task import Split
from tasks.taskfile import guessed_task_file, load_task_file


def write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


TOPICS = ("MeanOfTransportation", "city", "comics_character")


def topics(path: Path, columns: Sequence[str] = ("id", "sentence", "topic")) -> Path:
    return write(path, columns, [(i, f"words of {i}", TOPICS[i % 3]) for i in range(12)])


def test_labels_texts_and_what_is_neither_are_told_apart(tmp_path: Path) -> None:
    expected = Guess(
        ["sentence"],
        "topic",
        {
            "MeanOfTransportation": "mean of transportation",
            "city": "city",
            "comics_character": "comics character",
        },
    )
    assert guess(topics(tmp_path / "a.csv")) == expected
    odd = guess(topics(tmp_path / "b.csv", ("id", "sentence", "kind of thing")))
    assert odd == expected._replace(label="kind of thing"), "the only one whose values repeat"


def test_labels_of_other_files_are_labels_too(tmp_path: Path) -> None:
    train = topics(tmp_path / "train.csv")
    columns = ("id", "sentence", "topic")
    dev = write(tmp_path / "dev.csv", columns, [(0, "words", "city"), (1, "words", "Monument")])
    bare = write(tmp_path / "test.csv", columns[:2], [(0, "words")])
    found = guess(train, others=[dev, bare])
    assert list(found.labels) == ["MeanOfTransportation", "Monument", "city", "comics_character"]
    assert found.untrained == ("Monument",)
    assert guess(train, others=[train]) == guess(train)


def test_a_guess_is_a_task(tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        topics(tmp_path / f"{part}.csv")
    path = tmp_path / "about.toml"
    files = {part: f"{part}.csv" for part in ("train", "dev", "test")}
    path.write_text(guessed_task_file("about", guess(tmp_path / "train.csv"), files))
    task = load_task_file(path)
    assert task.labels == ("mean of transportation", "city", "comics character")
    assert task.metrics == ("accuracy",)
    example = task.examples(Split.DEV)[0]
    assert (example.inputs, example.target) == ("sentence: words of 0", "mean of transportation")


def test_pairs_and_free_text_are_guessed_too(tmp_path: Path) -> None:
    pairs = [(f"one {i}", f"other {i}", i % 2) for i in range(8)]
    found = guess(write(tmp_path / "pairs.csv", ("premise", "hypothesis", "label"), pairs))
    assert found == Guess(["premise", "hypothesis"], "label", {"0": "0", "1": "1"})
    rows = [{"document": f"long {i}", "summary": f"short {i}", "more": {"a": 1}} for i in range(80)]
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = guess(path)
    assert found == Guess(["document"], "summary", {})
    (tmp_path / "sum.toml").write_text(guessed_task_file("sum", found, {"train": "texts.jsonl"}))
    task = load_task_file(tmp_path / "sum.toml")
    assert (task.labels, task.metrics) == ((), ("exact_match",))
    assert sum(len(task.examples(split)) for split in Split) == 80


@pytest.mark.parametrize("shape", ["texts", "squad"])
def test_answers_are_found_among_passages_that_come_again(tmp_path: Path, shape: str) -> None:
    rows = [
        {
            "qid": f"5a{i}b",
            "question": f"What is said of {i}?",
            "context": f"A passage of {i % 3}, of many more words than any label of a class would ever have.",
            "impossible": False,
            "answers": [f"some {i}", "many"] if shape == "texts" else {"text": [f"some {i}"], "answer_start": [2]},
        }
        for i in range(40)
    ]  # fmt: skip
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = guess(path)
    assert found == Guess(["question", "context"], "answers", {}, several=True)
    assert found == guess(path, "answers")
    (tmp_path / "qa.toml").write_text(guessed_task_file("qa", found, {"train": path.name}))
    task = load_task_file(tmp_path / "qa.toml")
    assert task.metrics == ("exact_match", "token_f1")
    example = next(one for split in Split for one in task.examples(split) if "of 7?" in one.inputs)
    assert example.inputs.startswith("question: What is said of 7? context: A passage of 1, of")
    assert example.target == "some 7"


LONG_TEXT = "More words than any name of a column has, as they stand in the first line: {}"

WRITTEN = [
    ("a.tsv", Writing(quoted=True), ["text\ttopic", *(f'"of ""{i}"""\t{TOPICS[i % 3]}' for i in range(9))]),
    ("b.csv", Writing(delimiter=";"), ["text;topic", *(f"one, {i};{TOPICS[i % 3]}" for i in range(9))]),
    ("c.tsv", Writing(columns=("text", "label")), [f"{LONG_TEXT.format(i)}\t{TOPICS[i % 3]}" for i in range(9)]),
    ("d.csv", Writing(columns=("label", "text")), [f"{TOPICS[i % 3]},word{i}" for i in range(9)]),
    ("e.txt", Writing(format="label text"), [f"{i % 2} some words" for i in range(9)]),
    ("f.txt", Writing(format="tsv", columns=("text1", "text2", "label")),
     [f"premise {i}\thypothesis\t{i % 2}" for i in range(9)]),
    ("g.csv", Writing(quoted=False), ["text,topic", *(f'"a mark {i},{TOPICS[i % 3]}' for i in range(7))]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "writing", "lines"), WRITTEN, ids=[one[0] for one in WRITTEN])
def test_how_a_file_is_written_is_found(
    tmp_path: Path, name: str, writing: Writing, lines: list[str]
) -> None:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    found = guess(path)
    assert found.writing == writing
    files = dict.fromkeys(("train", "dev", "test"), name)
    (tmp_path / "t.toml").write_text(guessed_task_file("t", found, files))
    examples = load_task_file(tmp_path / "t.toml").examples(Split.DEV)
    headed = not writing.columns and not writing.format
    assert len(examples) == len(lines) - headed
    assert {one.target for one in examples} == set(found.labels.values())


def test_rows_without_a_label_are_left_out(tmp_path: Path) -> None:
    def part(name: str, marks: Sequence[str]) -> Path:
        rows = [(f"premise {i}", marks[i % len(marks)]) for i in range(24)]
        return write(tmp_path / name, ("text", "gold label"), rows)

    train, test = part("train.csv", ("0", "1", "2", "-")), part("test.csv", ("0", "-1"))
    found = guess(train, "gold label", [test])
    assert (list(found.labels), found.lacking, found.untrained) == (
        ["0", "1", "2"], ("-", "-1"), (),
    )  # fmt: skip
    files = {"train": "train.csv", "dev": "train.csv", "test": "test.csv"}
    (tmp_path / "t.toml").write_text(guessed_task_file("t", found, files))
    task = load_task_file(tmp_path / "t.toml")
    assert [len(task.examples(split)) for split in Split] == [18, 18, 12]
    three = guess(part("three.csv", ("-1", "0", "1")), "gold label")
    assert (list(three.labels), three.lacking) == (["-1", "0", "1"], ())


def test_a_text_may_be_missing(tmp_path: Path) -> None:
    rows = [{"text": f"words {i}" if i else None, "label": i % 2} for i in range(8)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert guess(path).texts == ["text"]


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("".join(f"{i % 2} caf\xe9 {i}\n" for i in range(9)).encode("latin-1"))
    with pytest.raises(TaskError, match=r"not utf-8 text.*takes an --encoding"):
        guess(path)
    with pytest.raises(TaskError, match="encoding 'latin-one' is not known"):
        guess(path, encoding="latin-one")
    found = guess(path, encoding="latin-1")
    assert found.writing == Writing(format="label text", encoding="latin-1")
    assert 'encoding = "latin-1"' in guessed_task_file("t", found, {"train": "a.txt"})


def test_texts_and_labels_in_two_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "train_text.txt").write_text("".join(f"tweet {i}\n" for i in range(8)))
    (tmp_path / "train_labels.txt").write_text("".join(f"{i % 2}\n" for i in range(8)))
    found = guess(tmp_path / "train_text.txt")
    assert (found.texts, found.label) == (["text"], "label")
    path = tmp_path / "t.toml"
    path.write_text(
        guessed_task_file("t", found, dict.fromkeys(("train", "dev", "test"), "train_text.txt"))
    )
    assert len(load_task_file(path).examples(Split.TRAIN)) == 8


@pytest.mark.parametrize(
    ("label", "word"),
    [
        ("HUM", "hum"), ("NotEntailment", "not entailment"), ("not_entailment", "not entailment"),
        ("self-help", "self help"), ("label_1", "label 1"), ("-1", "-1"), ("A-", "a-"), ("1-2", "1-2"), ("_", "_"),
    ],
)  # fmt: skip
def test_words_of_labels(label: str, word: str) -> None:
    assert word_of(label) == word


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("-1", "0", "1"), ("-1", "0", "1")),
        (("A", "A-", "B"), ("a", "a-", "b")),
        (("a b", "a_b", "c"), ("a b", "a_b", "c")),
        (("Sports", "sports"), ("sports", "sports")),
    ],
)
def test_no_two_classes_get_one_word(labels: Sequence[str], words: Sequence[str]) -> None:
    assert words_of(labels) == dict(zip(labels, words, strict=True))


def test_blanks_around_labels_and_rows_that_lack_one_are_no_labels(tmp_path: Path) -> None:
    rows = [(f"words {i}", (" pos", "neg ", "")[i % 3]) for i in range(24)]
    found = guess(write(tmp_path / "a.csv", ("text", "label"), rows))
    assert (found.labels, found.lacking) == ({"neg": "neg", "pos": "pos"}, ("",))
    path = tmp_path / "t.toml"
    files = dict.fromkeys(("train", "dev", "test"), "a.csv")
    path.write_text(guessed_task_file("t", found, files))
    assert len(load_task_file(path).examples(Split.TRAIN)) == 16
    lines: list[dict[str, object]] = [
        {"text": f"words {i}", "label": "ab"[i % 2]} for i in range(24)
    ]
    lines[3]["label"] = None
    del lines[5]["label"]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = guess(tmp_path / "a.jsonl")
    assert found.nulls
    path.write_text(guessed_task_file("t", found, dict.fromkeys(files, "a.jsonl")))
    assert len(load_task_file(path).examples(Split.TRAIN)) == 22


@pytest.mark.parametrize(
    ("column", "label", "complaint"),
    [
        ("a {b}", "x", r"column 'a \{b\}' cannot stand in a template"),
        ("text", "x\\ud800", "has a character that is no Unicode text"),
    ],
)
def test_what_no_task_file_can_say_is_refused(
    tmp_path: Path, column: str, label: str, complaint: str
) -> None:
    lines = [f'{{"{column}": "words {i}", "label": "{(label, "y")[i % 2]}"}}' for i in range(8)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(TaskError, match=complaint):
        guess(tmp_path / "a.jsonl")


def test_odd_letters_of_columns_and_labels_are_written_as_toml_wants_them(tmp_path: Path) -> None:
    rows = [(f"words {i}", "x\x7f" if i % 2 else "y") for i in range(8)]
    found = guess(write(tmp_path / "a.csv", ("Tell us: why!", "label"), rows))
    path = tmp_path / "t.toml"
    path.write_text(
        guessed_task_file("t", found, dict.fromkeys(("train", "dev", "test"), "a.csv")),
        encoding="utf-8",
    )
    assert load_task_file(path).labels == ("x\x7f", "y")


def test_what_cannot_be_guessed_is_said(tmp_path: Path) -> None:
    path = topics(tmp_path / "a.csv")
    with pytest.raises(
        TaskError, match=r"a\.csv: column 'topics' is not known; did you mean 'topic'"
    ):
        guess(path, "topics")
    rows = [(f"text {i}", i % 2, i % 3) for i in range(12)]
    several = write(tmp_path / "b.csv", ("text", "one", "other"), rows)
    with pytest.raises(TaskError, match="not clear among one, other; say it by --label"):
        guess(several)
    assert guess(several, "one").labels == {"0": "0", "1": "1"}
    with pytest.raises(TaskError, match=r"no column of text beside 'label'"):
        guess(write(tmp_path / "c.csv", ("number", "label"), [(i, i % 2) for i in range(8)]))
    (tmp_path / "d.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(TaskError, match=r"d\.xlsx: unknown format '\.xlsx'; expected one of"):
        guess(tmp_path / "d.xlsx")
    with pytest.raises(TaskError, match=r"d\.csv: no such file"):
        guess(tmp_path / "d.csv")
    (tmp_path / "f.csv").write_text("text,label\none,two,three\n")
    with pytest.raises(TaskError, match=r"f\.csv, row 2: 3 columns.*without --train writes"):
        guess(tmp_path / "f.csv")
    (tmp_path / "g.jsonl").write_text('{"passage": {"text": "a", "questions": []}}\n')
    with pytest.raises(TaskError, match="values within others are reached"):
        guess(tmp_path / "g.jsonl")
    with pytest.raises(TaskError, match="no rows"):
        guess(write(tmp_path / "e.csv", ("text", "label"), []))
