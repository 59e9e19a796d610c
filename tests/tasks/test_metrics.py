"""Metrics against scikit-learn, scipy and plain counting; predictions outside the labels are wrong, never a class."""

import math
import warnings
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from tasks import Example, TaskError
from tasks.metrics import METRICS, compute, normalize_answer, points_of_each
from tasks.written import NEEDS
from tests.closeness import assert_close

TWO = ("no", "yes")
THREE = ("entailment", "contradiction", "neutral")
OUTSIDE = ("", "Yes", "yes ", "maybe", "-1", "1")


def examples(targets: list[str], groups: list[str] | None = None) -> list[Example]:
    """Examples of these targets."""
    return [
        Example(inputs="x", target=t, group=g)
        for t, g in zip(targets, groups or targets, strict=True)
    ]


def pairs(
    labels: tuple[str, ...], *, outside: bool = True
) -> st.SearchStrategy[list[tuple[str, str]]]:
    """(prediction, target) pairs, with predictions outside the labels among them."""
    guess = st.sampled_from(labels + OUTSIDE if outside else labels)
    return st.lists(st.tuples(guess, st.sampled_from(labels)), min_size=1, max_size=40)


def measured(name: str, drawn: list[tuple[str, str]], labels: tuple[str, ...] = ()) -> float:
    """A metric of (prediction, target) pairs."""
    return compute(name, [p for p, _ in drawn], examples([t for _, t in drawn]), labels)


def as_wrong(drawn: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Targets and predictions of two classes, where what is outside of them is replaced by the wrong one."""
    other = {"no": "yes", "yes": "no"}
    return [t for _, t in drawn], [p if p in other else other[t] for p, t in drawn]


def by_scikit_learn(function: Any, *args: Any, **kwargs: Any) -> float:
    """A metric of scikit-learn in points, without its warnings about classes that do not occur."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return 100 * float(function(*args, **kwargs))


# -- classification -----------------------------------------------------------------------------------------


@given(pairs(THREE))
def test_accuracy_is_that_of_scikit_learn(drawn: list[tuple[str, str]]) -> None:
    expected = by_scikit_learn(
        reference.accuracy_score, [t for _, t in drawn], [p for p, _ in drawn]
    )
    assert measured("accuracy", drawn, THREE) == pytest.approx(expected)


@settings(max_examples=40)
@given(pairs(TWO))
def test_f1_is_that_of_the_second_label_with_outside_predictions_wrong(
    drawn: list[tuple[str, str]],
) -> None:
    expected = by_scikit_learn(
        reference.f1_score, *as_wrong(drawn), pos_label="yes", zero_division=0
    )
    assert measured("f1", drawn, TWO) == pytest.approx(expected)
    assert measured("f1_over_answers", drawn, TWO) == pytest.approx(expected)


@settings(max_examples=40)
@given(pairs(TWO).filter(lambda drawn: len({*as_wrong(drawn)[0], *as_wrong(drawn)[1]}) == 2))
def test_matthews_correlation_is_that_of_scikit_learn_with_outside_predictions_wrong(
    drawn: list[tuple[str, str]],
) -> None:
    expected = by_scikit_learn(reference.matthews_corrcoef, *as_wrong(drawn))
    assert_close(
        measured("matthews_correlation", drawn, TWO), expected, scale=100, dtype=np.float64
    )


@pytest.mark.parametrize("label", TWO)
def test_matthews_correlation_of_one_label_alone_is_zero_without_a_warning(label: str) -> None:
    assert measured("matthews_correlation", [(label, label)] * 3, TWO) == 0


@settings(max_examples=40)
@given(pairs(THREE))
def test_macro_f1_is_the_mean_over_all_labels_and_no_other_class(
    drawn: list[tuple[str, str]],
) -> None:
    each = []
    for label in THREE:
        right = sum(p == t == label for p, t in drawn)
        wrong = sum((p == label) != (t == label) for p, t in drawn)
        each.append(2 * right / (2 * right + wrong) if right else 0.0)
    assert measured("macro_f1", drawn, THREE) == pytest.approx(100 * sum(each) / 3)


@settings(max_examples=40)
@given(pairs(THREE, outside=False).filter(lambda drawn: {t for _, t in drawn} == set(THREE)))
def test_macro_f1_is_that_of_scikit_learn(drawn: list[tuple[str, str]]) -> None:
    targets, guesses = [t for _, t in drawn], [p for p, _ in drawn]
    expected = by_scikit_learn(
        reference.f1_score, targets, guesses, average="macro", zero_division=0
    )
    assert measured("macro_f1", drawn, THREE) == pytest.approx(expected)


@settings(max_examples=40)
@given(pairs(TWO), st.sampled_from(OUTSIDE))
def test_no_outside_prediction_beats_any_label(drawn: list[tuple[str, str]], outside: str) -> None:
    assume(len(drawn) > 1)
    targets = [t for _, t in drawn]
    assume(len(set(targets)) == 2)
    for name in ("accuracy", "f1", "macro_f1", "f1_over_answers"):
        assert measured(name, [(outside, t) for t in targets], TWO) == 0
    assert measured("matthews_correlation", [(outside, t) for t in targets], TWO) == pytest.approx(
        -100
    )


@settings(max_examples=40)
@given(pairs(TWO), st.sampled_from(OUTSIDE), st.randoms(use_true_random=False))
def test_spoiling_a_right_prediction_never_helps(
    drawn: list[tuple[str, str]], outside: str, random: Any
) -> None:
    drawn = [(t if t in TWO else p, t) for p, t in drawn]
    assume(len({t for _, t in drawn}) == 2)
    spoilt = list(drawn)
    row = random.randrange(len(drawn))
    spoilt[row] = (outside, drawn[row][1])
    for name in ("accuracy", "f1", "macro_f1", "matthews_correlation"):
        assert measured(name, spoilt, TWO) <= measured(name, drawn, TWO)


def test_f1_looks_at_the_second_label_and_not_at_the_first() -> None:
    drawn = [("yes", "yes"), ("no", "yes"), ("no", "no"), ("no", "no"), ("no", "no")]
    assert measured("f1", drawn, TWO) == pytest.approx(100 * 2 / 3)
    assert measured("f1", drawn, ("yes", "no")) == pytest.approx(100 * 6 / 7)


def test_accuracy_asks_for_the_exact_word() -> None:
    assert (
        measured("accuracy", [("Yes", "yes"), ("yes ", "yes"), ("ye", "yes"), ("yes", "yes")], TWO)
        == 25
    )


# -- MultiRC ------------------------------------------------------------------------------------------------

answers = st.lists(
    st.tuples(
        st.sampled_from(("False", "True", "", "maybe")),
        st.sampled_from(("False", "True")),
        st.integers(0, 6),
    ),
    min_size=1,
    max_size=40,
)


@given(answers)
def test_multirc_is_scored_over_answers_and_by_question(drawn: list[tuple[str, str, int]]) -> None:
    scored = examples([t for _, t, _ in drawn], [str(g) for _, _, g in drawn])
    guesses = [p for p, _, _ in drawn]
    right = [p == t for p, t, _ in drawn]
    true_right = sum(r and t == "True" for r, (_, t, _) in zip(right, drawn, strict=True))
    f1a = 200 * true_right / (2 * true_right + sum(not r for r in right)) if true_right else 0.0
    questions: dict[int, list[bool]] = defaultdict(list)
    for r, (_, _, group) in zip(right, drawn, strict=True):
        questions[group].append(r)
    exact = 100 * sum(all(question) for question in questions.values()) / len(questions)
    assert compute("f1_over_answers", guesses, scored, ("False", "True")) == pytest.approx(f1a)
    assert compute("group_exact_match", guesses, scored, ("False", "True")) == pytest.approx(exact)


def test_groups_are_scored_once_each_by_their_first_example_and_its_accepted_answers() -> None:
    scored = [
        Example(inputs="", target=target, group=group, answers=answers)
        for target, group, answers in (
            ("Rilu", "a", ("Rilu", "Toma")),
            ("Toma", "a", ("Rilu", "Toma")),
            ("Lake Kamo", "b", ("Lake Kamo",)),
        )
    ]
    guesses = ["toma", "nobody", "the Lake"]
    assert compute("exact_match_of_groups", guesses, scored, ()) == 50
    assert compute("token_f1_of_groups", guesses, scored, ()) == pytest.approx(
        100 * (1 + 2 / 3) / 2
    )


# -- numbers ------------------------------------------------------------------------------------------------

score = st.integers(0, 25).map(lambda i: f"{i / 5:.1f}")


@given(st.lists(st.tuples(score, score), min_size=2, max_size=40))
def test_correlations_are_those_of_scipy(drawn: list[tuple[str, str]]) -> None:
    guess, gold = ([float(pair[i]) for pair in drawn] for i in (0, 1))
    assume(len(set(guess)) > 1 and len(set(gold)) > 1)
    assert_close(
        measured("pearson", drawn),
        100 * stats.pearsonr(guess, gold).statistic,
        scale=100,
        relative=1e-8,
    )
    assert_close(
        measured("spearman", drawn),
        100 * stats.spearmanr(guess, gold).statistic,
        scale=100,
        relative=1e-8,
    )


def test_pearson_and_spearman_differ_where_the_order_is_right_and_the_line_bent() -> None:
    drawn = [("0.0", "0.0"), ("0.2", "1.0"), ("0.4", "2.0"), ("5.0", "3.0")]
    assert measured("spearman", drawn) == pytest.approx(100)
    assert measured("pearson", drawn) < 90


@pytest.mark.parametrize("text", ["", "similar", "3,4", "nan", "inf", "-infinity", "2.0 2.0"])
def test_what_is_no_number_counts_as_zero(text: str) -> None:
    gold = ["0.4", "2.0", "5.0", "3.2"]
    for name in ("pearson", "spearman"):
        drawn = measured(name, list(zip(["1.0", text, "4.0", "3.0"], gold, strict=True)))
        zero = measured(name, list(zip(["1.0", "0", "4.0", "3.0"], gold, strict=True)))
        assert drawn == zero
        assert math.isfinite(drawn)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize("text", ["0.0", "2.5", "5.0", "", "words"])
def test_constant_predictions_score_zero(name: str, text: str) -> None:
    assert measured(name, [(text, "1.0"), (text, "2.0"), (text, "4.4")]) == 0


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize("text", ["0.1", "0.8", "3.8"])
def test_constant_numbers_score_zero_though_their_mean_is_rounded(name: str, text: str) -> None:
    drawn = [(text, target) for target in ("0.1", "0.3", "0.8", "1.0", "2.2", "2.4")]
    for count in range(2, len(drawn) + 1):
        assert measured(name, drawn[:count]) == 0
        assert measured(name, [(target, prediction) for prediction, target in drawn[:count]]) == 0


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_one_example_alone_has_no_correlation(name: str) -> None:
    assert measured(name, [("1.0", "1.0")]) == 0


# -- free text ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat's hat!", "cats hat"),
        ("An apple a day", "apple day"),
        ("theatre and anthem", "theatre and anthem"),
        ("U.S.A.", "usa"),
        ("10,000", "10000"),
        ("a", ""),
        ("\tTabs\nand lines ", "tabs and lines"),
    ],
)
def test_answers_are_normalised_as_in_squad(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("prediction", "accepted", "exact", "f1"),
    [
        ("The Cat.", ("cat",), 100, 100),
        ("cat", ("dog", "a cat"), 100, 100),
        ("black cat", ("cat",), 0, 100 * 2 / 3),
        ("black cat sat", ("dog", "cat", "cat sat down"), 0, 100 * 2 / 3),
        ("cat cat", ("cat",), 0, 100 * 2 / 3),
        ("cat", ("cat cat cat",), 0, 50),
        ("dog", ("cat",), 0, 0),
        ("", ("cat",), 0, 0),
        ("the", ("a",), 100, 100),
        ("sat cat", ("cat sat",), 0, 100),
    ],
)
def test_exact_match_and_token_f1_of_known_pairs(
    prediction: str, accepted: tuple[str, ...], exact: float, f1: float
) -> None:
    scored = [Example(inputs="x", target=accepted[0], answers=accepted)]
    assert compute("exact_match", [prediction], scored, ()) == pytest.approx(exact)
    assert compute("token_f1", [prediction], scored, ()) == pytest.approx(f1)


def test_without_accepted_answers_the_target_is_the_only_one() -> None:
    scored = [Example(inputs="x", target="cat"), Example(inputs="x", target="dog")]
    assert compute("exact_match", ["cat", "cat"], scored, ()) == 50
    assert compute("token_f1", ["a cat", "old dog"], scored, ()) == pytest.approx(
        100 * (1 + 2 / 3) / 2
    )


word = st.sampled_from(["the", "cat", "dog", "Cat", "sat,", "a", "on", ""])
phrase = st.lists(word, max_size=5).map(" ".join)


@given(phrase, st.lists(phrase, min_size=1, max_size=3))
def test_exact_match_never_exceeds_token_f1_and_more_answers_never_harm(
    prediction: str, accepted: list[str]
) -> None:
    def measure(name: str, answers: list[str]) -> float:
        return compute(
            name, [prediction], [Example(inputs="x", target="", answers=tuple(answers))], ()
        )

    assert measure("exact_match", accepted) <= measure("token_f1", accepted) + 1e-9
    for name in ("exact_match", "token_f1"):
        assert measure(name, accepted) == pytest.approx(
            max(measure(name, [answer]) for answer in accepted)
        )
        assert measure(name, [*accepted, prediction]) == 100


# -- WSC ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "referent", "same"),
    [
        ("fuzzy bunny", "bunny", True),
        ("bunny", "the fuzzy bunny", True),
        ("Bunny", "bunny", True),
        (" Bunny ", "bunny", True),
        ("Bunny.", "bunny", False),
        ("bunny fuzzy", "fuzzy bunny", True),
        ("bun", "bunny", False),
        ("Bob", "Bob's", False),
        ("Bob's", "Bob's hat", True),
        ("black cat", "black dog", False),
        ("the dog", "her dog", True),
        ("the black cat", "the black dog", False),
        ("...", "bunny", False),
    ],
)
def test_a_referent_is_found_where_one_set_of_words_holds_the_other(
    prediction: str, referent: str, same: bool
) -> None:
    for label in ("True", "False"):
        scored = [Example(inputs="x", target=referent, label=label)]
        assert compute("word_subset", [prediction], scored, ()) == (
            100 if same == (label == "True") else 0
        )


@pytest.mark.parametrize("prediction", ["", "  ", "the", "Her", "the  a", "those their"])
@pytest.mark.parametrize("label", ["True", "False"])
def test_an_answer_without_a_word_is_wrong_whatever_the_label(prediction: str, label: str) -> None:
    scored = [Example(inputs="x", target="her dog", label=label)]
    assert compute("word_subset", [prediction], scored, ()) == 0


def test_rows_with_a_false_referent_count_as_much_as_those_with_a_true_one() -> None:
    scored = [
        Example(inputs="x", target="cat", label=label)
        for label in ("True", "False", "False", "False")
    ]
    assert compute("word_subset", ["cat"] * 4, scored, ()) == 25
    assert compute("word_subset", ["dog"] * 4, scored, ()) == 75


# -- all metrics --------------------------------------------------------------------------------------------


def targets_for(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels and targets that suit a metric."""
    if name in ("pearson", "spearman"):
        return (), ("0.0", "1.0", "3.2", "5.0")
    if name in NEEDS:
        first, second = "no one was at home then", "yes they all were there"
        return (), (first, second, second, first)
    return TWO, ("no", "yes", "yes", "no")


@pytest.mark.parametrize("name", METRICS)
def test_gold_predictions_score_100_and_the_order_of_examples_does_not_matter(name: str) -> None:
    labels, targets = targets_for(name)
    scored = [Example(inputs="x", target=t, group=t, label="True") for t in targets]
    gold = compute(name, list(targets), scored, labels)
    assert gold == pytest.approx(100, abs=0.4 if name == "meteor" else None), "one chunk is some"
    guesses = [targets[1], *targets[1:]]
    order = [2, 0, 3, 1]
    again = compute(name, [guesses[i] for i in order], [scored[i] for i in order], labels)
    assert again == pytest.approx(compute(name, guesses, scored, labels))
    assert again < 100


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=20)
@given(data=st.data())
def test_every_metric_is_finite_and_at_most_100(name: str, data: st.DataObject) -> None:
    labels, targets = targets_for(name)
    drawn = data.draw(
        st.lists(
            st.tuples(st.sampled_from(targets + OUTSIDE), st.sampled_from(targets)), min_size=4
        )
    )
    assume(len({t for _, t in drawn}) > 1 and len({p for p, _ in drawn}) > 1)
    value = measured(name, drawn, labels)
    assert np.isfinite(value)
    assert -100 - 1e-9 <= value <= 100 + 1e-9


@pytest.mark.parametrize("name", METRICS)
def test_predictions_and_examples_of_unequal_number_are_refused(name: str) -> None:
    if name in ("pearson", "spearman", "macro_f1"):
        predictions, scored = ["1.0", "2.0", "3.0"], examples(["1.0", "2.0"])
    else:
        predictions, scored = ["no", "yes", "no"], examples(["no", "yes"])
    with pytest.raises(ValueError):
        compute(
            name,
            predictions,
            scored,
            ("no", "yes") if name != "macro_f1" else ("1.0", "2.0", "3.0"),
        )


@pytest.mark.parametrize(("name", "meant"), [("acuracy", "accuracy"), ("macrof1", "macro_f1")])
def test_an_unknown_metric_says_what_was_meant(name: str, meant: str) -> None:
    with pytest.raises(TaskError) as caught:
        compute(name, ["yes"], examples(["yes"]), TWO)
    message = str(caught.value)
    assert message.startswith(
        f"metric {name!r} is not known; did you mean {meant!r}? choose from accuracy, f1"
    )


def test_an_unknown_metric_like_no_other_lists_them_all() -> None:
    with pytest.raises(TaskError) as caught:
        compute("zzz", ["yes"], examples(["yes"]), TWO)
    assert str(caught.value) == f"metric 'zzz' is not known; choose from {', '.join(METRICS)}"


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.needs_labels])
@pytest.mark.parametrize("labels", [(), ("yes",)])
def test_metrics_of_classes_need_two_label_words(name: str, labels: tuple[str, ...]) -> None:
    with pytest.raises(TaskError, match=f"metric .{name}. needs at least two"):
        compute(name, ["yes"], examples(["yes"]), labels)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.share])
def test_a_mean_over_examples_is_the_mean_of_the_points_of_each(name: str) -> None:
    scored = [
        Example(inputs="x", target="the red cat", answers=("a cat", "the red cat"), label="True"),
        Example(inputs="y", target="dog", label="False"),
        Example(inputs="z", target="yes", label="True"),
    ]
    guesses = ["red cat", "cat", "yes"]
    points = points_of_each([name], guesses, scored)
    assert points is not None and points.shape == (3,)
    assert compute(name, guesses, scored, ()) == pytest.approx(points.mean())


def test_points_of_each_are_means_over_metrics_and_none_where_one_is_no_mean() -> None:
    scored, guesses = examples(["yes", "no"]), ["yes", "yes"]
    both = points_of_each(["accuracy", "token_f1"], guesses, scored)
    assert both is not None and both.tolist() == [100, 0]
    assert points_of_each(["accuracy", "f1"], guesses, scored) is None
