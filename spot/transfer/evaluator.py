"""What trained prompts answer to test splits, which selection never sees."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from bank import Bank, Evaluation, StoredRun
from spot.inference.decoding import MAX_NEW_TOKENS, Decoding
from spot.inference.predict import GREEDY, Questions, longest_text, predict_many, ranks
from spot.prompts.forms import FORMS
from spot.training.recipe import Recipe
from spot.training.task_data import MixtureData, TaskData
from spot.transfer.datasets import Datasets
from tasks import Mixture, Split, Task


class Evaluator:
    """Answers of runs' values to test splits, computed once and kept in the bank.

    Args of the constructor:
        bank: where runs and answers lie.
        datasets: tasks and splits for the backbone.
        decoding: how texts are generated; answers of each way are kept apart.
    """

    def __init__(self, bank: Bank, datasets: Datasets, *, decoding: Decoding = GREEDY) -> None:
        self._bank, self._datasets, self._decoding = bank, datasets, decoding

    def test_all(
        self, task: Task | Mixture, runs: Sequence[StoredRun], recipe: Recipe
    ) -> list[Evaluation]:
        """Metrics and answers of every run's value on a task's test split."""
        data = self._datasets.splits(task, recipe)
        digest = _evaluation_digest(data, recipe.evaluate_by, self._decoding)
        by_digest = {run.digest: run for run in runs}
        evaluations = {name: self._bank.evaluation(name, digest) for name in by_digest}
        new = [run for name, run in by_digest.items() if evaluations[name] is None]
        for run, answers in zip(new, self.answers(data, new, recipe), strict=True):
            metrics = data.score(Split.TEST, answers)
            how = self._decoding.options or None
            self._bank.record_evaluation(
                run.digest, digest, metrics=metrics, answers=answers, decoding=how
            )
            evaluations[run.digest] = Evaluation(metrics=metrics, answers=answers, decoding=how)
        return [evaluation for run in runs if (evaluation := evaluations[run.digest])]

    def answers(
        self,
        data: TaskData | MixtureData,
        runs: Sequence[StoredRun],
        recipe: Recipe,
        split: Split = Split.TEST,
    ) -> list[list[str]]:
        """What every run's value answers to every example of a split, in one pass."""
        if not runs:
            return []
        backbone, asked = self._datasets.backbone, data[split]
        values = [self._bank.prompt(run.value) for run in runs]
        questions = [Questions(row, asked.examples, asked.tokens) for row in range(len(runs))]
        soft = FORMS[recipe.form].stack(values, backbone.config)
        return predict_many(
            backbone, soft, questions, method=recipe.evaluate_by, decoding=self._decoding
        )


def _evaluation_digest(data: TaskData | MixtureData, method: str, decoding: Decoding) -> str:
    """What answers to a test split depend on beside the prompt, by which the bank keeps them: the split's tokens, its
    metrics, what of the decoding differs from greedy, and that texts may be longer than :data:`MAX_NEW_TOKENS`, at
    which older versions ended them."""
    test = data[Split.TEST]
    content = [test.tokens.digest, *data.task.metrics]
    longest = longest_text(test.tokens, decoding)
    if (
        longest > MAX_NEW_TOKENS
        and not decoding.max_new_tokens
        and not ranks(method, test.examples)
    ):
        content.append(f"texts of {longest} tokens")
    if decoding.options:
        content.append(json.dumps(decoding.options, sort_keys=True))
    return hashlib.sha256("\n".join(content).encode()).hexdigest()
