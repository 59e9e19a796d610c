"""What the majority class and a bag of words reach on the tasks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.wordnet.synsets import SPLITS, Split
from benchmarks.wordnet.tasks import TASKS, Task

Predictor = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], list[str]]


def read_rows(folder: Path, task: Task, split: Split) -> list[dict[str, Any]]:
    """The rows of a task's file."""
    lines = (folder / f"{task.name}.{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def input_text(row: Mapping[str, Any]) -> str:
    """All fields of a row in one text, each after its name."""
    return " ".join(
        f"{name}: {value}" for name, value in row.items() if name not in ("label", "synsets")
    )


def majority_accuracy(
    train: Sequence[Mapping[str, Any]], test: Sequence[Mapping[str, Any]]
) -> float:
    """Test accuracy of always giving the most frequent training label, or the first of several such."""
    counts = Counter(row["label"] for row in train)
    majority = min(counts, key=lambda label: (-counts[label], label))
    return accuracy([majority] * len(test), test)


def accuracy(predictions: Sequence[str], test: Sequence[Mapping[str, Any]]) -> float:
    """The share of predictions that are right, to four digits."""
    right = [guess == row["label"] for guess, row in zip(predictions, test, strict=True)].count(
        True
    )
    return round(right / len(test), 4)


def predict_by_regression(
    train: Sequence[Mapping[str, Any]], test: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Logistic regression on TF-IDF weights of the words and pairs of words in all fields."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1000))
    model.fit([input_text(row) for row in train], [row["label"] for row in train])
    return [str(label) for label in model.predict([input_text(row) for row in test])]


def predict_by_spelling(
    train: Sequence[Mapping[str, Any]], test: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The choice most like the definition in its TF-IDF weights of two to four letters; learns no labels."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    model = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).fit(
        [input_text(row) for row in train]
    )
    predictions = []
    for row in test:
        choices = [row[f"choice{number}"] for number in range(1, 5)]
        scores = (model.transform(choices) @ model.transform([row["definition"]]).T).toarray()
        predictions.append(choices[int(scores.argmax())])
    return predictions


def predict_by_neighbour(
    train: Sequence[Mapping[str, Any]], test: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The label of the training row with the nearest TF-IDF weights."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    model = TfidfVectorizer(ngram_range=(1, 2))
    known = model.fit_transform([input_text(row) for row in train])
    scores = (model.transform([input_text(row) for row in test]) @ known.T).toarray()
    return [train[int(nearest)]["label"] for nearest in scores.argmax(axis=1)]


OTHER_BASELINES: dict[str, tuple[Predictor, str]] = {
    "wn_choose_word": (
        predict_by_spelling,
        "tfidf_logreg: the choice nearest to the definition by TF-IDF of its letters; chance is 0.25",
    ),
    "wn_define": (
        predict_by_neighbour,
        "tfidf_logreg: the label of the training definition nearest by TF-IDF of its words",
    ),
}
"""Tasks without a fixed set of labels, for which logistic regression does not serve."""


def baselines(folder: Path) -> dict[str, dict[str, object]]:
    """Counts and baseline scores of every task, from the files in the folder."""
    report: dict[str, dict[str, object]] = {}
    for task in TASKS:
        rows = {split: read_rows(folder, task, split) for split in SPLITS}
        predict, note = OTHER_BASELINES.get(task.name, (predict_by_regression, ""))
        report[task.name] = {
            "family": task.family,
            "labels": list(task.labels) if task.labels else None,
            **{split: len(rows[split]) for split in SPLITS},
            "majority": majority_accuracy(rows["train"], rows["test"]),
            "tfidf_logreg": accuracy(predict(rows["train"], rows["test"]), rows["test"]),
            **({"note": note} if note else {}),
        }
    return report
