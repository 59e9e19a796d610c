"""Ensembles against their definitions on small tables, and many prompts in one pass against each alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from spot.backbone.load import Backbone
from spot.cli.prompts import asked
from spot.errors import SpotError
from spot.inference.ensembles import ENSEMBLES, Voters, weights_of
from spot.inference.many import Given, answer_all
from spot.inference.predict import Answers, answer
from spot.prompts.forms import FORMS
from tasks import get_task
from tasks.task import Example, Split, take

CHOICES = ("a", "b", "c")


def voters(probabilities: object, targets: str) -> Voters:
    """Of ``probabilities[N, n, C]``, to examples with the given targets."""
    table = np.log(np.asarray(probabilities, np.float64))
    shifted = (
        table - np.arange(table.shape[1])[:, None]
    )  # likelihoods do not add up to 1 over choices
    return Voters(
        [
            Answers([CHOICES[row.argmax()] for row in each], True, None, list(each))
            for each in shifted
        ],
        [Example(inputs="", target=target, choices=CHOICES) for target in targets],
    )


THREE = [
    [[0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.4, 0.3, 0.3]],
    [[0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3]],
    [[0.001, 0.998, 0.001], [0.4, 0.5, 0.1], [0.3, 0.3, 0.4]],
]


def test_a_vote_is_of_answers_and_ties_go_to_the_first_prompt() -> None:
    assert ENSEMBLES["vote"](voters(THREE, "aaa"), ()) == ["a", "b", "a"]


def test_means_are_of_logarithms_or_of_probabilities() -> None:
    table = np.array(THREE)
    products = [CHOICES[i] for i in np.prod(table, axis=0).argmax(axis=1)]
    means = [CHOICES[i] for i in table.mean(axis=0).argmax(axis=1)]
    assert ENSEMBLES["likelihood"](voters(THREE, "aaa"), ()) == products
    assert ENSEMBLES["probability"](voters(THREE, "aaa"), ()) == means
    assert products[0] == "b"


def test_weights_are_those_of_the_smallest_loss() -> None:
    rng = np.random.default_rng(0)
    targets = "".join(rng.choice(list(CHOICES), 200))
    known = np.array([[target == choice for choice in CHOICES] for target in targets])
    good, noise = rng.normal(size=(2, 200, 3))
    given = voters(
        [softmax(good + 2 * known, axis=1), softmax(noise, axis=1), softmax(-2.0 * known, axis=1)],
        targets,
    )
    weights = weights_of(given)
    logs = np.stack(given.log_probabilities())

    def loss(weights: np.ndarray) -> float:
        mixed = softmax(np.einsum("n,enc->ec", weights, logs), axis=1)
        return float(-np.log(mixed[known]).mean())

    assert (weights >= 0).all()
    assert weights[0] > 0.5
    assert weights[2] == 0
    for other in np.abs(weights + rng.normal(size=(200, 3)) * 0.1):
        assert loss(weights) <= loss(other) + 1e-6
    free = minimize(lambda w: loss(np.abs(w)), np.ones(3), method="Nelder-Mead")
    assert abs(free.fun - loss(weights)) < 1e-3
    assert ENSEMBLES["weighted"](given, weights) == [
        CHOICES[i] for i in np.einsum("n,enc->ec", weights, logs).argmax(axis=1)
    ]


def test_generated_answers_have_votes_alone() -> None:
    examples = [Example(inputs="", target="x")] * 2
    given = Voters([Answers(["x", "y"], False, None), Answers(["z", "y"], False, None)], examples)
    assert ENSEMBLES["vote"](given, ()) == ["x", "y"]
    for name in ("likelihood", "probability"):
        with pytest.raises(SpotError, match="generated answers have no probability"):
            ENSEMBLES[name](given, ())
    unknown = voters(THREE, "zzz")
    with pytest.raises(SpotError, match="with known answers; there are none"):
        weights_of(unknown)


def test_prompts_of_several_forms_answer_several_sets_as_each_alone(
    backbone: Backbone,
) -> None:
    rng, config = np.random.default_rng(2), backbone.config
    given = [
        Given(rng.normal(size=FORMS[form].shape(config, length)).astype(np.float32), form)
        for form, length in (("prompt", 3), ("deep", 2), ("prompt", 5))
    ]
    sets = [
        asked(backbone, take(get_task(name).examples(Split.DEV), 12))
        for name in ("wn_pos", "wn_living")
    ]
    found = answer_all(backbone, given, sets, method="rank")
    assert [len(row) for row in found] == [2, 2, 2]
    for one, row in zip(given, found, strict=True):
        for each, answers in zip(sets, row, strict=True):
            alone = answer(backbone, one.prompt, *each, form=one.form, method="rank")
            assert answers.texts == alone.texts
            assert answers.ranked
            assert answers.scores is not None
            assert len(answers.scores) == len(each.examples)
