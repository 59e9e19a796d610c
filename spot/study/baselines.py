"""What a target's score is held against without any prompt: its most frequent answer, and a bag of words."""

from __future__ import annotations

from collections.abc import Mapping

from bank import Evaluation
from spot.training.task_data import TaskData
from tasks.task import Split

MOST_FREQUENT = "most frequent answer"
BAG_OF_WORDS = "TF-IDF and logistic regression"


def baselines(data: TaskData) -> Mapping[str, Mapping[Split, Evaluation]]:
    """Dev and test answers of the baselines that a target allows, by name.

    Args:
        data: of the target; its training examples, limited as the target's runs are, are all that is learnt from.
    """
    answers = {
        MOST_FREQUENT: {split: data.most_frequent(split) for split in (Split.DEV, Split.TEST)}
    }
    if (
        all(example.choices for example in data[Split.TRAIN].examples)
        and len(set(_targets(data))) > 1
    ):
        answers[BAG_OF_WORDS] = _bag_of_words(data)
    return {
        name: {
            split: Evaluation(metrics=data.score(split, texts), answers=texts)
            for split, texts in splits.items()
        }
        for name, splits in answers.items()
    }


def _targets(data: TaskData) -> list[str]:
    return [example.target for example in data[Split.TRAIN].examples]


def _bag_of_words(data: TaskData) -> dict[Split, list[str]]:
    """Logistic regression on TF-IDF weights of words and pairs of words, as scikit-learn sets both up."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\S+", sublinear_tf=True),
        LogisticRegression(max_iter=1000),
    )
    model.fit([example.inputs for example in data[Split.TRAIN].examples], _targets(data))
    return {
        split: [
            str(answer)
            for answer in model.predict([example.inputs for example in data[split].examples])
        ]
        for split in (Split.DEV, Split.TEST)
    }
