"""The committed WordNet task files: no leaks between splits, sound labels and sizes, baselines that match."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks.wordnet.words import leaks

FOLDER = Path(__file__).resolve().parents[2] / "tasks" / "data" / "wordnet"
SPLITS = ("train", "dev", "test")
BASELINES: dict[str, dict[str, Any]] = json.loads(
    (FOLDER / "baselines.json").read_text(encoding="utf-8")
)
TASKS = sorted(BASELINES)
FEW_EXAMPLES = {"wn_living": 128, "wn_verb_motion": 128, "wn_opposite": 192, "wn_usage": 192}


@cache
def rows(task: str, split: str) -> list[dict[str, Any]]:
    """The rows of one task file."""
    lines = (FOLDER / f"{task}.{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def inputs(task: str, split: str) -> Iterator[tuple[str, ...]]:
    """The input of each row as values in a fixed order, so that a mere swap of fields is the same input."""
    for row in rows(task, split):
        yield tuple(
            sorted(value.lower() for name, value in row.items() if name not in ("label", "synsets"))
        )


def test_every_file_belongs_to_a_task_with_baselines() -> None:
    expected = {f"{task}.{split}.jsonl" for task in TASKS for split in SPLITS}
    assert {path.name for path in FOLDER.glob("*.jsonl")} == expected


def test_no_synset_is_in_two_splits_of_any_tasks() -> None:
    splits = defaultdict(set)
    for task in TASKS:
        for split in SPLITS:
            for row in rows(task, split):
                for synset in row["synsets"]:
                    splits[synset].add(split)
    assert splits
    assert [synset for synset, found in splits.items() if len(found) > 1] == []


@pytest.mark.parametrize("task", TASKS)
def test_rows_have_the_same_text_fields(task: str) -> None:
    names = {tuple(row) for split in SPLITS for row in rows(task, split)}
    assert len(names) == 1
    assert names.pop()[-2:] == ("label", "synsets")
    for split in SPLITS:
        for row in rows(task, split):
            assert all(
                isinstance(value, str) and value.strip()
                for key, value in row.items()
                if key != "synsets"
            )
            assert row["synsets"]


@pytest.mark.parametrize("task", TASKS)
def test_splits_have_the_same_labels(task: str) -> None:
    labels = BASELINES[task]["labels"]
    for split in SPLITS:
        found = Counter(row["label"] for row in rows(task, split))
        if labels is not None:
            assert sorted(found) == labels
            assert max(found.values()) <= min(found.values()) + 1


@pytest.mark.parametrize("task", TASKS)
def test_sizes(task: str) -> None:
    few = FEW_EXAMPLES.get(task)
    assert few is None or len(rows(task, "train")) == few
    assert few is not None or 1400 <= len(rows(task, "train")) <= 2000
    assert len(rows(task, "dev")) in range(198, 201)
    assert len(rows(task, "test")) in range(396, 401)


@pytest.mark.parametrize("task", TASKS)
def test_no_input_is_repeated_within_or_across_splits(task: str) -> None:
    counts = Counter(key for split in SPLITS for key in inputs(task, split))
    assert [key for key, count in counts.items() if count > 1] == []


def test_opposite_and_synonym_share_no_pair_of_words() -> None:
    synonym, opposite = (
        {key for split in SPLITS for key in inputs(task, split)}
        for task in ("wn_synonym", "wn_opposite")
    )
    assert synonym.isdisjoint(opposite)


@pytest.mark.parametrize("task", ["wn_choose_word", "wn_define", "wn_gloss_word"])
def test_definitions_do_not_give_the_word_away(task: str) -> None:
    for split in SPLITS:
        for row in rows(task, split):
            names = [name for name in row if name == "word" or name.startswith("choice")]
            words = [row[name] for name in names] or [row["label"]]
            assert not any(leaks(word, row["definition"]) for word in words)


def test_the_right_choice_is_given_and_evenly_placed() -> None:
    places: Counter[int] = Counter()
    for split in SPLITS:
        for row in rows("wn_choose_word", split):
            choices = [row[f"choice{number}"] for number in range(1, 5)]
            assert len(set(choices)) == 4
            places[choices.index(row["label"])] += 1
    assert max(places.values()) < 1.15 * min(places.values())


@pytest.mark.parametrize("task", TASKS)
def test_baselines_match_the_files(task: str) -> None:
    report = BASELINES[task]
    assert {split: report[split] for split in SPLITS} == {
        split: len(rows(task, split)) for split in SPLITS
    }
    counts = Counter(row["label"] for row in rows(task, "train"))
    majority = min(counts, key=lambda label: (-counts[label], label))
    right = sum(row["label"] == majority for row in rows(task, "test"))
    assert report["majority"] == pytest.approx(right / len(rows(task, "test")), abs=1e-4)
    assert 0 <= report["tfidf_logreg"] <= 1
    assert report["family"] in {"topic", "relation", "sense", "definition"}


def test_files_are_small_and_licensed() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_200_000
    licence = (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in licence
    assert "derived from the database files of WordNet 3.0" in licence
