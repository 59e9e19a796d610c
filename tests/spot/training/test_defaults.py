"""Defaults that follow from an embedding, a prompt's length, steps and data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spot.training.defaults import (
    evaluate_every,
    fitted,
    key_step,
    learning_rate,
    lengths_of,
    schedule,
)
from spot.training.recipe import Recipe
from spot.training.settings import FORM_NAMES
from tasks.tokenize import Lengths
from tasks.tokenized import Ragged, Tokenized

EMBEDDED, SMOLLM2, T5 = 2.134762, 0.1355782, 8.0
"""Standard deviations of embeddings; T5's is below that of any token of the prompts that are known of it."""


@pytest.mark.parametrize(
    ("deviation", "prompt_length", "rate"),
    [
        (T5, 100, 0.3),
        (T5, 20, 0.3),
        (EMBEDDED, 16, 0.3),
        (SMOLLM2, 20, 0.1),
        (SMOLLM2, 100, 0.009),
        (SMOLLM2, 8, 0.1),
        (0.02, 20, 0.01),
    ],
)
def test_the_rate_is_what_is_known_of_three_backbones(
    deviation: float, prompt_length: int, rate: float
) -> None:
    assert learning_rate(deviation, prompt_length) == rate


def test_vectors_in_every_layer_move_less() -> None:
    rates = {form: learning_rate(0.136, 20, form) for form in FORM_NAMES}
    assert {rates.pop(form) for form in ("prompt", "suffix", "decoder", "attention")} == {0.1}
    assert set(rates.values()) == {0.03}


def test_the_paper_s_steps_give_the_paper_s_schedule_key_and_evaluations() -> None:
    paper = Recipe()
    assert schedule(paper.steps) == paper.optimizer.schedule
    assert (key_step(paper.steps), evaluate_every(paper.steps)) == (10_000, 500)
    assert (schedule(150), key_step(150), evaluate_every(150)) == ("linear", 50, 30)
    assert (key_step(1), evaluate_every(1)) == (1, 1)


def test_smollm2_gets_a_short_recipe_and_every_choice_has_a_reason() -> None:
    found = fitted({}, deviation=SMOLLM2, lengths=Lengths(inputs=64, targets=4))
    assert found.settings == {
        "prompt_length": 20,
        "batch_size": 8,
        "steps": 150,
        "key_step": 50,
        "evaluate_every": 30,
        "dev_limit": 100,
        "learning_rate": 0.1,
        "schedule": "linear",
        "max_input": 64,
        "max_target": 4,
    }
    assert set(found.why) == set(found.settings)
    assert (
        found.why["learning_rate"]
        == "the embedding's standard deviation is 0.14, and 20 tokens move"
    )


def test_what_is_given_stands_and_the_rest_follows_from_it() -> None:
    given: dict[str, Any] = {"prompt_length": 100, "steps": 30_000, "max_input": 32}
    found = fitted(given, deviation=SMOLLM2, lengths=Lengths(inputs=64, targets=4))
    assert not set(given) & set(found.why)
    expected = given | {"learning_rate": 0.009, "schedule": "constant", "key_step": 10_000}
    assert {name: found.settings[name] for name in expected} == expected


def sample(inputs: list[int], targets: list[int], choices: list[int]) -> Tokenized:
    def rows(lengths: list[int]) -> Ragged:
        return Ragged.from_rows([[7] * length for length in lengths])

    return Tokenized(
        inputs=rows(inputs),
        targets=rows(targets),
        choices=rows(choices),
        choice_rows=rows([0] * len(inputs)),
        cut=0,
        cut_targets=0,
        digest="",
    )


def test_inputs_hold_nearly_all_of_the_longest_task_in_a_bucket() -> None:
    short, longer = (sample([length] * 98 + [500] * 2, [2] * 100, [2, 3]) for length in (20, 40))
    assert np.percentile(longer.inputs.lengths, 97) == 40
    found = lengths_of([short, sample([40] * 99 + [500], [2] * 100, [2, 3])])
    assert (found.inputs, found.targets) == (48, 4)


def test_a_longest_label_word_counts_though_it_is_rare() -> None:
    assert lengths_of([sample([10] * 100, [2] * 100, [2, 2, 9])]).targets == 16


def test_long_data_is_bounded_by_what_a_cpu_can_train_on() -> None:
    found = lengths_of([sample([3000] * 10, [900] * 10, [])])
    assert (found.inputs, found.targets) == (128, 64)
