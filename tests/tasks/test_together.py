"""Rows that share a text are not parted: on small files in the official formats, and on the published ones."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import Split, Task, TaskError, get_task, registry
from tasks.task import place
from tasks.texts import LONG, letters, texts_of
from tasks.together import by_shared_texts
from tests.places import DATA, places_of

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heath",
    "islet",
    "jetty",
    "knoll",
    "larch",
]

phrase = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)


def sentence(draw: random.Random, size: int = 9) -> str:
    return " ".join(draw.choices(WORDS, k=size))


def contained(
    task: Task, data_dir: Path | None = None, *, least: int = LONG, most: int = 10**9
) -> float:
    """Share of development examples with a text of ``least`` letters that a training text holds."""
    trained = "\0".join(
        {
            bare
            for example in task.examples(Split.TRAIN, data_dir=data_dir, allow_partial=True)
            for bare in bares(example.inputs)
        }
    )
    examples = task.examples(Split.DEV, data_dir=data_dir, allow_partial=True)
    judged = [bares(example.inputs) for example in examples[:: len(examples) // most + 1]]
    return sum(any(len(bare) >= least and bare in trained for bare in one) for one in judged) / len(
        judged
    )


def bares(inputs: str) -> list[str]:
    """Letters of the texts of an input."""
    return [bare for text in texts_of(inputs) if (bare := letters(text))]


def written(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """The files of a built-in task's train and dev part, both with these rows."""
    task = get_task(name)
    for part, file in task.source.files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jsonl":
            lines = [json.dumps(row) for row in rows]
        elif name == "cola":
            lines = ["\t".join(map(str, row.values())) for row in rows]
        else:
            lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines), encoding="utf-8")
        assert part
    return folder


def phrases(draw: random.Random) -> list[dict[str, Any]]:
    """Sentences with the phrases they are made of, as SST-2 has them."""
    rows = []
    for _ in range(60):
        words = sentence(draw, 12).split()
        for _ in range(10):
            start = draw.randrange(12)
            rows.append(
                {"sentence": " ".join(words[start : start + draw.randint(1, 12)]) + " ", "label": 1}
            )
        rows.append({"sentence": " ".join(words), "label": 0})
    draw.shuffle(rows)
    return rows


def pairs(
    draw: random.Random, first: str, second: str, label: object, **others: object
) -> list[dict[str, Any]]:
    """Pairs of texts, every first one with four second ones, of which one it shares with another."""
    rows = []
    for i in range(80):
        one, other = f"{sentence(draw)} {i}", f"{sentence(draw)} {i}"
        rows += [
            {first: one, second: text, "label": label} | others
            for text in (other, sentence(draw, 12), "Yes it is")
        ]
        rows.append(
            {first: other.upper() + " !", second: sentence(draw, 11), "label": label} | others
        )
    return rows


def schemas(draw: random.Random) -> list[dict[str, Any]]:
    """Winograd schemas, each twice with other punctuation."""
    rows = []
    for i in range(150):
        text = f"Ann met Sue {i} when she saw {sentence(draw)}"
        for written_as in (text, text.replace(" when", ", when") + " ."):
            target = {"span1_text": "Ann", "span1_index": 0, "span2_text": "she", "span2_index": 5}
            rows.append({"text": written_as, "target": target, "label": True})
    return rows


FILES = {
    "sst2": phrases,
    "cola": lambda draw: [
        {"origin": "o", "label": 1, "mark": "", "sentence": row["sentence"].strip()}
        for row in phrases(draw)
    ],
    "rte": lambda draw: pairs(draw, "premise", "hypothesis", "entailment"),
    "glue_rte": lambda draw: pairs(draw, "sentence1", "sentence2", "entailment"),
    "wnli": lambda draw: pairs(draw, "sentence1", "sentence2", 1),
    "mrpc": lambda draw: [
        {"Quality": row["label"], "#1 String": row["#1 String"], "#2 String": row["#2 String"]}
        for row in pairs(draw, "#1 String", "#2 String", 1)
    ],
    "stsb": lambda draw: pairs(draw, "sentence1", "sentence2", 0, score=3),
    "wic": lambda draw: pairs(draw, "sentence1", "sentence2", True, word="w"),
    "wsc": schemas,
}


@pytest.mark.parametrize("name", FILES)
def test_no_development_text_lies_inside_a_training_text(name: str, tmp_path: Path) -> None:
    rows = FILES[name](random.Random(1))
    folder = written(tmp_path, name, rows)
    task = get_task(name)
    assert contained(task, folder) == 0
    sizes = [len(task.examples(split, data_dir=folder)) for split in (Split.TRAIN, Split.DEV)]
    assert sum(sizes) == len(rows)
    assert 0.02 * sum(sizes) < sizes[1] < 0.25 * sum(sizes)


@pytest.mark.parametrize("name", ["sst2", "cola"])
def test_not_even_a_short_phrase_of_the_development_set_lies_inside_a_training_text(
    name: str, tmp_path: Path
) -> None:
    folder = written(tmp_path, name, FILES[name](random.Random(2)))
    assert contained(get_task(name), folder, least=1) == 0


@pytest.mark.parametrize("name", FILES)
def test_neither_the_order_of_rows_nor_their_number_of_copies_moves_a_row(
    name: str, tmp_path: Path
) -> None:
    rows = FILES[name](random.Random(3))
    here = written(tmp_path / "a", name, rows)
    there = written(tmp_path / "b", name, [*rows[::-1], *rows[:7]])
    for split in (Split.TRAIN, Split.DEV):
        found = [
            {e.inputs for e in get_task(name).examples(split, data_dir=folder)}
            for folder in (here, there)
        ]
        assert found[0] == found[1]


@given(st.lists(phrase, min_size=1, max_size=30))
@settings(max_examples=50)
def test_what_trains_holds_nothing_that_selects(drawn: list[str]) -> None:
    keys = by_shared_texts("text")([{"text": text} for text in drawn])
    for high in (0.2, 0.5, 0.9):
        before = [letters(text) for text, key in zip(drawn, keys, strict=True) if place(key) < high]
        behind = [
            letters(text) for text, key in zip(drawn, keys, strict=True) if place(key) >= high
        ]
        assert not any(text in whole for text in behind for whole in before)


@given(st.lists(st.tuples(phrase, phrase), min_size=1, max_size=30))
@settings(max_examples=50)
def test_rows_with_a_long_text_in_common_have_one_key(drawn: list[tuple[str, str]]) -> None:
    keys = by_shared_texts("a", "b")([{"a": a, "b": b} for a, b in drawn])
    bare = [[letters(text) for text in pair] for pair in drawn]
    for one, key in zip(bare, keys, strict=True):
        for other, its in zip(bare, keys, strict=True):
            if any(len(text) >= LONG and text in whole for text in one for whole in other):
                assert key == its


def test_equal_texts_hold_rows_together_however_short_where_asked_to() -> None:
    rows = [{"a": "Who?", "b": f"{word} " * 6} for word in WORDS]
    assert len(set(by_shared_texts("a", "b")(rows))) == len(rows)
    assert len(set(by_shared_texts("a", "b", equal="a")(rows))) == 1


def test_short_texts_hold_no_rows_together_and_empty_ones_neither() -> None:
    rows = [{"a": f"{word} {word} {word} {word} {word} stone", "b": ""} for word in WORDS]
    keys = by_shared_texts("a", "b")([*rows, {"a": "stone", "b": ""}, {"a": "", "b": "?"}])
    assert len(set(keys[: len(rows)])) == len(rows)
    assert keys[len(rows)] == min(keys[: len(rows)], key=place)


def test_training_tweets_that_hold_one_of_the_development_set_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "tweet_eval" / "hate"
    folder.mkdir(parents=True)
    long = "one tweet of more than twenty-five letters"
    texts = {
        "train": [f"RT: {long.upper()} !", "good day", "another one that nobody sees again"],
        "val": [long, "good day"],
    }
    for part, lines in (texts | {"test": [long]}).items():
        (folder / f"{part}_text.txt").write_text("\n".join(lines), encoding="utf-8")
        (folder / f"{part}_labels.txt").write_text("\n".join("0" * len(lines)), encoding="utf-8")
    found = [
        [e.inputs[6:] for e in get_task("tweet_hate").examples(split, data_dir=tmp_path)]
        for split in Split
    ]
    assert found == [texts["train"][1:], texts["val"], [long]]


def test_a_row_without_the_column_is_named(tmp_path: Path) -> None:
    folder = written(
        tmp_path, "rte", pairs(random.Random(4), "premise", "hypothesis", "entailment")
    )
    path = folder / get_task("rte").source.files["train"]
    path.write_text(
        path.read_text() + '\n{"premise": "a", "label": "entailment"}', encoding="utf-8"
    )
    with pytest.raises(
        TaskError,
        match=r"train\.jsonl, row 321: no column 'hypothesis' \(columns: premise, label\)$",
    ):
        get_task("rte").examples(Split.DEV, data_dir=folder)


MOST = 0.01
"""Share of development examples that may be known from training."""


@pytest.mark.parametrize(
    ("name", "where"), [(name, where) for name in registry() for where in places_of(name)]
)
def test_less_than_one_in_a_hundred_development_texts_lies_inside_a_training_text(
    name: str, where: str, official_files: Path
) -> None:
    assert (
        contained(get_task(name), DATA if where == "published" else official_files, most=500) < MOST
    )
