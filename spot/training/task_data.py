"""A task's splits, tokenised for a backbone."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from spot import paths
from spot.backbone.load import Backbone
from spot.training.recipe import Recipe
from tasks.pipeline import Tokenized, tokenize
from tasks.task import Example, Split, Task


@dataclasses.dataclass(frozen=True)
class SplitData:
    """Examples of one split and their tokens."""

    examples: Sequence[Example]
    tokens: Tokenized


class TaskData:
    """The splits of a task for a backbone and recipe, read when first asked for.

    ``train_limit`` and ``dev_limit`` of the recipe take the examples of smallest hash, so that a smaller sample is
    part of a larger one and no order of a file matters.
    """

    def __init__(self, task: Task, backbone: Backbone, recipe: Recipe, *, data_dir: Path | None = None) -> None:
        self.task = task
        self._backbone, self._recipe = backbone, recipe
        self._data_dir = data_dir
        self._splits: dict[Split, SplitData] = {}

    def __getitem__(self, split: Split) -> SplitData:
        if split not in self._splits:
            limits = {Split.TRAIN: self._recipe.train_limit, Split.DEV: self._recipe.dev_limit}
            examples = self.task.examples(split, data_dir=self._data_dir)
            self._splits[split] = self._tokenize(take(examples, limits.get(split, 0)))
        return self._splits[split]

    @property
    def digest(self) -> str:
        """Digest of what a run depends on: training and development content, and the metrics that select."""
        content = [self[Split.TRAIN].tokens.digest, self[Split.DEV].tokens.digest, *self.task.metrics]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    def score(self, split: Split, predictions: Sequence[str]) -> Mapping[str, float]:
        return self.task.score(predictions, self[split].examples)

    def _tokenize(self, examples: Sequence[Example]) -> SplitData:
        tokenizer = self._backbone.tokenizer
        tokens = tokenize(
            examples,
            tokenizer.encode,
            tokenizer_fingerprint=tokenizer.fingerprint,
            ends=self._backbone.config.ends,
            lengths=self._recipe.lengths,
            cache=paths.cache_folder() / "tokens",
        )
        return SplitData(examples, tokens)


def take(examples: Sequence[Example], limit: int) -> Sequence[Example]:
    """The ``limit`` examples of smallest hash, in their order; 0 takes all."""
    if not limit or limit >= len(examples):
        return examples

    def rank(index: int) -> bytes:
        example = examples[index]
        return hashlib.sha256(f"{example.inputs}\0{example.target}".encode()).digest()

    return [examples[i] for i in sorted(sorted(range(len(examples)), key=rank)[:limit])]
