"""Diagnostics against values worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from spot.inference.diagnostics import (
    FAR,
    NAMED,
    Answered,
    Diagnostics,
    chance_level,
    count_answers,
    mean_norm,
    remedies,
)
from tasks.task import Example
from tasks.tokenized import Ragged, Tokenized

YES_NO = ("no", "yes")


def labelled(*targets: str, choices: tuple[str, ...] = YES_NO) -> list[Example]:
    return [Example(inputs=f"text {i}", target=t, choices=choices) for i, t in enumerate(targets)]


def tokens_of(targets: Sequence[Sequence[int]], cut: int = 0) -> Tokenized:
    rows, none = Ragged.from_rows(targets), Ragged.from_rows([])
    return Tokenized(
        inputs=rows,
        targets=rows,
        choices=none,
        choice_rows=none,
        cut=cut,
        cut_targets=0,
        digest="d",
    )


def answered(**changes: object) -> Answered:
    facts = count_answers(["no"] * 4, labelled("no", "no", "no", "yes"), ranked=True)
    return dataclasses.replace(facts, **changes)  # type: ignore[arg-type]


# -- answers -------------------------------------------------------------------------------------------------


def test_answers_are_counted_by_label_and_those_outside_apart() -> None:
    facts = count_answers(
        ["yes", "maybe", "no", "yes"], labelled("yes", "no", "no", "no"), ranked=False
    )
    assert (facts.examples, facts.outside, facts.different) == (4, 1, 3)
    assert facts.predicted == {"yes": 2, "no": 1}
    assert facts.true == {"no": 3, "yes": 1}
    assert not facts.one_class


def test_choices_of_each_examples_own_are_counted_by_their_place() -> None:
    examples = [
        Example(inputs="", target=target, choices=choices)
        for target, choices in (("a", ("a", "b")), ("d", ("c", "d")), ("e", ("e", "f")))
    ]
    facts = count_answers(["a", "c", "e"], examples, ranked=True)
    assert facts.predicted == {"choice 1": 3}
    assert facts.true == {"choice 1": 2, "choice 2": 1}
    assert (facts.one_class, facts.outside) == (True, 0)


def test_free_text_has_no_labels_to_lie_outside_of() -> None:
    examples = [Example(inputs="", target=str(i)) for i in range(NAMED + 5)]
    facts = count_answers([str(i) for i in range(NAMED + 5)], examples, ranked=False)
    assert facts.outside is None
    assert (facts.different, len(facts.predicted)) == (NAMED + 5, NAMED)
    assert count_answers(["x"] * len(examples), examples, ranked=False).one_class


@pytest.mark.parametrize(
    ("answers", "targets", "constant"),
    [
        (("no", "no", "no"), ("no", "yes", "no"), True),
        (("no", "yes", "no"), ("no", "yes", "no"), False),
        (("no", "no", "no"), ("no", "no", "no"), False),
    ],
)
def test_one_class_for_all_is_one_where_targets_differ(
    answers: tuple[str, ...], targets: tuple[str, ...], constant: bool
) -> None:
    assert count_answers(answers, labelled(*targets), ranked=True).one_class is constant


def test_a_mixture_that_answers_one_class_in_every_task_is_constant() -> None:
    examples = labelled("no", "yes") + labelled("good", "bad", choices=("bad", "good"))
    assert count_answers(["no", "no", "bad", "bad"], examples, ranked=True).one_class
    assert not count_answers(["no", "no", "good", "bad"], examples, ranked=True).one_class


def test_the_mean_loss_is_that_of_examples_and_unknown_where_one_is() -> None:
    examples = labelled("no", "yes")
    losses = np.array([0.5, 1.5])
    assert count_answers(["no", "no"], examples, ranked=True, losses=losses).loss == 1.0
    losses[1] = np.nan
    assert count_answers(["no", "no"], examples, ranked=True, losses=losses).loss is None


# -- chance --------------------------------------------------------------------------------------------------


def test_two_equal_labels_of_two_tokens_cost_half_of_ln_2_a_token() -> None:
    chance = chance_level(labelled("no", "yes"), tokens_of([[5, 1], [6, 1]]))
    assert chance == pytest.approx((math.log(2) / 2, math.log(2) / 2))


def test_unequal_labels_of_unequal_lengths_weigh_by_examples_and_by_tokens() -> None:
    examples = labelled("no", "no", "no", "yes")
    chance = chance_level(examples, tokens_of([[5, 1], [5, 1], [5, 1], [6, 7, 8, 1]]))
    often, seldom = math.log(4 / 3), math.log(4)
    assert chance.by_example == pytest.approx((3 * often / 2 + seldom / 4) / 4)
    assert chance.by_token == pytest.approx((3 * often + seldom) / 10)


def test_labels_of_a_mixture_are_as_likely_as_within_their_own_task() -> None:
    examples = labelled("no", "yes") + labelled("good", "good", choices=("bad", "good"))
    chance = chance_level(examples, tokens_of([[2], [3], [4], [4]]))
    assert chance.by_example == pytest.approx(2 * math.log(2) / 4)


def test_free_text_has_the_loss_of_a_unigram_model() -> None:
    examples = [Example(inputs="", target=str(i)) for i in range(2)]
    chance = chance_level(examples, tokens_of([[7, 1], [8, 9, 1]]))
    rare, end = math.log(5), math.log(5 / 2)
    assert chance.by_token == pytest.approx((3 * rare + 2 * end) / 5)
    assert chance.by_example == pytest.approx(((rare + end) / 2 + (2 * rare + end) / 3) / 2)


# -- prompt, inputs and what is said -------------------------------------------------------------------------


def test_the_norm_of_a_prompt_is_the_mean_of_its_tokens_whatever_its_form() -> None:
    tokens = np.array([[3.0, 4.0], [0.0, 1.0]])
    assert mean_norm(tokens) == 3.0
    assert mean_norm(np.stack([tokens, 3 * tokens])) == 6.0


def test_a_run_that_has_learnt_is_told_in_its_essentials_alone() -> None:
    facts = Diagnostics(
        split="dev",
        answered=count_answers(
            ["no", "yes", "no", "no"],
            labelled("no", "yes", "yes", "no"),
            ranked=True,
            losses=np.full(4, 0.125),
        ),
        chance=0.35,
        prompt_norm=3.14,
        moved=2.71,
        inputs=200,
        cut=1,
    )
    assert facts.findings == []
    assert facts.line() == (
        "dev answers (true): no 75 % (50 %), yes 25 % (50 %); loss 0.12, chance 0.35; "
        "prompt 3.1 times the embedding's norm, moved 2.7"
    )


def test_one_class_for_all_is_said_with_what_to_try() -> None:
    facts = Diagnostics(
        split="dev", answered=answered(loss=0.34), chance=0.35, prompt_norm=1.0, moved=0.01
    )
    assert facts.at_chance
    (finding,) = facts.findings
    assert finding.what == "answers one class for all ('no')"
    assert [remedy.partition(" (")[0] for remedy in finding.tries] == [
        "a higher --learning-rate",
        "more --steps or another --learning-rate",
        "--learning-rate auto",
        "--init labels",
    ]
    assert "Answers one class for all ('no'): try a higher --learning-rate" in facts.line()


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"prompt_norm": FAR}, "a lower --learning-rate"),
        ({"moved": 0.01}, "a higher --learning-rate"),
        ({"training_loss": 0.5, "training_chance": 0.5}, "more --steps or another --learning-rate"),
        ({"training_loss": 0.2, "training_chance": 0.5}, "more --steps (its loss is below"),
        ({"answered": answered(ranked=False)}, "--evaluate-by rank"),
        ({}, "--learning-rate auto"),
    ],
)
def test_what_to_try_first_follows_from_the_facts(changes: dict[str, object], first: str) -> None:
    facts = Diagnostics(split="dev", answered=answered())
    facts = dataclasses.replace(facts, **changes)  # type: ignore[arg-type]
    assert remedies(facts)[0].startswith(first)


def test_answers_outside_and_inputs_cut_are_said_where_they_are_many() -> None:
    facts = Diagnostics(
        split="test",
        answered=count_answers(["no", "yes", "nay"], labelled("no", "yes", "no"), ranked=False),
        inputs=50,
        cut=2,
        cut_targets=3,
    )
    assert [finding.what for finding in facts.findings] == [
        "1 of 3 answers are outside the labels",
        "2 of 50 inputs were cut",
        "3 of 50 targets were cut",
    ]
    document = facts.document()
    assert document["outside_share"] == pytest.approx(1 / 3)
    assert document["cut_share"] == 0.04
    assert document["try"] == [
        "more --steps", "--evaluate-by rank", "a larger --max-input", "a larger --max-target",
    ]  # fmt: skip


def test_where_the_answers_loss_is_not_known_that_of_training_stands_for_it() -> None:
    facts = Diagnostics(
        split="dev", answered=answered(), chance=0.3, training_loss=0.2, training_chance=0.4
    )
    assert facts.loss == (0.2, 0.4)
    assert "; training loss 0.20, chance 0.40" in facts.line()
    of_dev = dataclasses.replace(facts, split="test", answered=answered(loss=0.1), loss_split="dev")
    assert "test answers" in of_dev.line()
    assert "; dev loss 0.10, chance 0.30" in of_dev.line()


def test_diagnostics_pass_through_json_and_none_is_made_of_anything_else() -> None:
    facts = Diagnostics(split="dev", answered=answered(loss=0.3), chance=0.4, inputs=4)
    assert Diagnostics.from_record(json.loads(json.dumps(facts.record()))) == facts
    assert Diagnostics.from_record({}) is None
    assert Diagnostics.from_record({"answered": {"examples": 3}}) is None
