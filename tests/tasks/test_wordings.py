"""Ways of asking a labelled example."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from tasks.wordings import OPTIONS, SHARES, Labelled, other_names, reword

NAMES = ["river", "slow", "north", "stone", "glass", "bread", "River", "Slow"]
CAT = Labelled("definition: a large wild cat", "animal", ("animal", "food", "plant"))


def asked(example: Labelled, count: int = 600) -> list[tuple[str, str]]:
    rng = np.random.default_rng(0)
    return [reword("topic", example, NAMES, rng) for _ in range(count)]


def way(text: str) -> str:
    return "renamed" if " is " in text else "options" if "," in text else "name"


def test_an_example_without_choices_is_asked_by_its_tasks_name() -> None:
    assert set(asked(Labelled("word: cat", "a large animal"), 20)) == {
        ("topic: word: cat", "a large animal")
    }


def test_the_input_stands_whole_behind_what_says_what_to_do() -> None:
    assert all(
        text.endswith(CAT.input) and not text.startswith(CAT.input) for text, _ in asked(CAT)
    )


def test_ways_come_in_their_shares() -> None:
    counts = Counter(way(text) for text, _ in asked(CAT, 3000))
    for name, share in zip(("name", "options", "renamed"), SHARES, strict=True):
        assert counts[name] / 3000 == pytest.approx(share, abs=0.03)


def test_listed_options_are_all_choices_in_any_order() -> None:
    listed = [text.removeprefix("topic: ") for text, _ in asked(CAT) if way(text) == "options"]
    orders = {text.split(".")[0] for text in listed}
    assert {frozenset(order.split(", ")) for order in orders} == {frozenset(CAT.choices)}
    assert len(orders) == 6


def test_a_renamed_answer_is_the_targets_other_name() -> None:
    for text, target in asked(CAT):
        if way(text) == "renamed":
            names = dict(re.findall(r"(\w+) is (\w+)[,.]", text))
            assert set(names) == set(CAT.choices)
            assert len(set(names.values())) == 3
            assert names["animal"] == target
        else:
            assert target == "animal"


def test_of_many_choices_the_target_is_always_listed() -> None:
    choices = tuple(f"label{i}" for i in range(40))
    for text, _ in asked(Labelled("x", "label7", choices), 100):
        if way(text) != "name":
            assert "label7" in text
            assert len(set(re.findall(r"label\d+", text))) == OPTIONS


def test_other_names_are_frequent_words_and_their_capitalised_forms() -> None:
    examples = [Labelled("the cat saw xy Tom", "a")] * 20 + [Labelled("rare", "a")]
    assert other_names(examples) == ["cat", "saw", "the", "Cat", "Saw", "The"]
