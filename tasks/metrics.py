"""Metrics in points (0 to 100): thin names over scikit-learn, scipy and packages for written texts, and the scorers of
SQuAD and MultiRC."""

from __future__ import annotations

import collections
import dataclasses
import re
import string
from collections.abc import Callable, Sequence

import numpy as np

from tasks.choices import choose
from tasks.errors import TaskError, shown
from tasks.scored import Examples, Labels, Predictions, Scored, answers_of
from tasks.written import corpus, meteor, rouge


@dataclasses.dataclass(frozen=True)
class Metric:
    """How predictions are scored, and what that needs.

    Attributes:
        score: ``(predictions, examples, labels)`` to points.
        share: of one prediction and its example, 0 to 1, where the score is the mean of these; else ``None``.
        needs_labels: it is of classes, and needs their words.
        of_two: of two classes, no more.
        of_numbers: answers are numbers.
        needs_groups: it scores examples of one group together.
        needs_truth: it scores whether an answer is right of which the row says whether it shall be.
    """

    score: Callable[[Predictions, Examples, Labels], float]
    share: Callable[[str, Scored], float] | None = None
    needs_labels: bool = False
    of_two: bool = False
    of_numbers: bool = False
    needs_groups: bool = False
    needs_truth: bool = False

    def problem(self, labels: Labels) -> str:
        """What is wrong with label words for this metric, or empty; free text has none."""
        if self.needs_labels and len(labels) < 2:
            return "needs at least two [labels]"
        if self.of_two and len(labels) > 2:
            return f"is of two labels, and the task has {len(labels)}; take macro_f1 or accuracy"
        if self.of_numbers and (words := [word for word in labels if not is_number(word)]):
            return f"is of numbers, and {shown(words[0])} is none; take accuracy"
        return ""


def mean_of(share: Callable[[str, Scored], float]) -> Metric:
    """The metric that is the mean over examples."""

    def score(predictions: Predictions, examples: Examples, labels: Labels) -> float:
        return 100 * float(
            np.mean([share(p, e) for p, e in zip(predictions, examples, strict=True)])
        )

    return Metric(score, share)


def mean_over_groups(share: Callable[[str, Scored], float]) -> Metric:
    """The metric that is the mean over groups, each scored by its first example, as T5 scores ReCoRD's queries."""

    def score(predictions: Predictions, examples: Examples, labels: Labels) -> float:
        shares: dict[str, float] = {}
        for prediction, example in zip(predictions, examples, strict=True):
            if example.group not in shares:
                shares[example.group] = share(prediction, example)
        return 100 * float(np.mean(list(shares.values())))

    return Metric(score, needs_groups=True)


def compute(name: str, predictions: Predictions, examples: Examples, labels: Labels) -> float:
    """One metric by name, in points.

    Raises:
        TaskError: unknown metric, or one that needs label words the task has not.
    """
    metric = METRICS[choose(name, METRICS, "metric")]
    if problem := metric.problem(labels):
        raise TaskError(f"metric {name!r} {problem}")
    return float(metric.score(predictions, examples, labels))


def points_of_each(
    names: Sequence[str], predictions: Predictions, examples: Examples
) -> np.ndarray | None:
    """Points of every example ``[n]``, the mean over metrics, where all of these are means over examples."""
    shares = [share for name in names if (share := METRICS[name].share)]
    if len(shares) < len(names):
        return None
    pairs = zip(predictions, examples, strict=True)
    return np.array([np.mean([100 * share(p, e) for share in shares]) for p, e in pairs])


def equals_target(prediction: str, example: Scored) -> float:
    """Whether a prediction equals the target."""
    return float(prediction == example.target)


def f1(predictions: Predictions, examples: Examples, labels: Labels) -> float:
    """F1 of the second label (MRPC, QQP); a prediction outside the labels counts as the wrong one."""
    from sklearn.metrics import f1_score

    gold, guess = _binary(predictions, examples, labels)
    return 100 * float(f1_score(gold, guess, zero_division=0))


def matthews_correlation(predictions: Predictions, examples: Examples, labels: Labels) -> float:
    """Matthews correlation of two labels (CoLA); a prediction outside them counts as the wrong one."""
    from sklearn.metrics import matthews_corrcoef

    gold, guess = _binary(predictions, examples, labels)
    if len(set(gold)) < 2 or len(set(guess)) < 2:
        return 0.0
    return 100 * float(matthews_corrcoef(gold, guess))


def macro_f1(predictions: Predictions, examples: Examples, labels: Labels) -> float:
    """Unweighted mean of the F1 of every label (CB)."""
    from sklearn.metrics import f1_score

    index = {label: i for i, label in enumerate(labels)}
    gold = [index[e.target] for e in examples]
    guess = [index.get(p, -1) for p in predictions]
    return 100 * float(
        f1_score(gold, guess, labels=list(range(len(labels))), average="macro", zero_division=0)
    )


def pearson(predictions: Predictions, examples: Examples, labels: Labels) -> float:
    """Pearson correlation of numbers (STS-B); what is no number counts as 0, constant predictions score 0."""
    return _correlation("pearsonr", predictions, examples)


def spearman(predictions: Predictions, examples: Examples, labels: Labels) -> float:
    """Spearman correlation of numbers (STS-B)."""
    return _correlation("spearmanr", predictions, examples)


def group_exact_match(predictions: Predictions, examples: Examples, labels: Labels) -> float:
    """Share of groups (MultiRC: questions) all of whose predictions are right."""
    right: dict[str, bool] = collections.defaultdict(lambda: True)
    for prediction, example in zip(predictions, examples, strict=True):
        right[example.group] &= prediction == example.target
    return 100 * float(np.mean(list(right.values())))


def equals_an_answer(prediction: str, example: Scored) -> float:
    """Whether a prediction equals an accepted answer after SQuAD's normalisation."""
    guess = normalize_answer(prediction)
    return float(any(guess == normalize_answer(answer) for answer in answers_of(example)))


def overlap_with_answers(prediction: str, example: Scored) -> float:
    """Bag-of-words F1 against the closest accepted answer (Rajpurkar et al. 2016)."""
    return max(_overlap_f1(prediction, answer) for answer in answers_of(example))


def names_referent(prediction: str, example: Scored) -> float:
    """WSC as T5 scores it: whether the answer names the referent equals the row's label.

    An answer without a word, or of determiners alone, is wrong whatever the label.
    """
    guess = _without_determiners(prediction)
    return float(
        bool(guess)
        and _names(guess, _without_determiners(example.target)) == (example.label == "True")
    )


METRICS: dict[str, Metric] = {
    "accuracy": mean_of(equals_target),
    "f1": Metric(f1, needs_labels=True, of_two=True),
    "macro_f1": Metric(macro_f1, needs_labels=True),
    "matthews_correlation": Metric(matthews_correlation, needs_labels=True, of_two=True),
    "pearson": Metric(pearson, of_numbers=True),
    "spearman": Metric(spearman, of_numbers=True),
    "f1_over_answers": Metric(f1, needs_labels=True, of_two=True),
    "group_exact_match": Metric(group_exact_match, needs_groups=True),
    "exact_match": mean_of(equals_an_answer),
    "token_f1": mean_of(overlap_with_answers),
    "exact_match_of_groups": mean_over_groups(equals_an_answer),
    "token_f1_of_groups": mean_over_groups(overlap_with_answers),
    "bleu": Metric(corpus("BLEU")),
    "chrf": Metric(corpus("CHRF")),
    "rouge1": mean_of(rouge("rouge1")),
    "rouge2": mean_of(rouge("rouge2")),
    "rougeL": mean_of(rouge("rougeL")),
    "meteor": mean_of(meteor),
    "word_subset": dataclasses.replace(mean_of(names_referent), needs_truth=True),
}
"""Metrics by name; ``f1_over_answers`` is MultiRC's F1a, the F1 of ``True`` over all answers together."""


def normalize_answer(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces (SQuAD's evaluation script)."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def _overlap_f1(prediction: str, answer: str) -> float:
    guess, gold = normalize_answer(prediction).split(), normalize_answer(answer).split()
    if not guess or not gold:
        return float(guess == gold)
    common = sum((collections.Counter(guess) & collections.Counter(gold)).values())
    return 2 * common / (len(guess) + len(gold))


def _binary(
    predictions: Predictions, examples: Examples, labels: Labels
) -> tuple[list[int], list[int]]:
    index = {label: i for i, label in enumerate(labels)}
    gold = [int(index[e.target] == 1) for e in examples]
    guess = [
        int(index[p] == 1) if p in index else 1 - g for p, g in zip(predictions, gold, strict=True)
    ]
    return gold, guess


def _correlation(name: str, predictions: Predictions, examples: Examples) -> float:
    from scipy import stats

    guess = np.array([_number(p) for p in predictions])
    gold = np.array([_number(e.target) for e in examples])
    if len(guess) < 2 or np.ptp(guess) == 0 or np.ptp(gold) == 0:
        return 0.0
    return 100 * float(getattr(stats, name)(guess, gold).statistic)


def _number(text: str) -> float:
    return float(text) if is_number(text) else 0.0


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


DETERMINERS = frozenset(
    (
        "a", "an", "each", "every", "few", "her", "his", "many", "much", "my", "our", "some", "that", "the", "their",
        "these", "this", "those", "which", "whose", "your",
    )
)  # fmt: skip


def _without_determiners(text: str) -> str:
    return " ".join(word for word in text.strip().lower().split(" ") if word not in DETERMINERS)


def _names(guess: str, referent: str) -> bool:
    """Whether the words of one hold those of the other; "Bob" does not name "Bob's hat"."""
    words, wanted = set(guess.split(" ")), set(referent.split(" "))
    return ("'" in guess) == ("'" in referent) and (words <= wanted or wanted <= words)
