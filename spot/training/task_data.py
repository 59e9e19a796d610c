"""A task's splits, tokenised for a backbone."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spot import paths
from spot.backbone.load import Backbone
from spot.errors import TrainingError
from spot.training.recipe import Recipe
from spot.training.settings import CROSS_ENTROPY
from tasks.mixture import Mixture
from tasks.pipeline import Batches
from tasks.prompt_design import named as named_examples
from tasks.task import Example, Split, Task, most_frequent_target, take
from tasks.tokenize import tokenize
from tasks.tokenized import Tokenized, concatenate
from tasks.written import require


@dataclasses.dataclass(frozen=True)
class SplitData:
    """Examples of one split and their tokens."""

    examples: Sequence[Example]
    tokens: Tokenized


class TaskData:
    """The splits of a task for a backbone and recipe, read when first asked for.

    ``train_limit`` and ``dev_limit`` of the recipe take the examples of smallest hash, so that a smaller sample is
    part of a larger one and no order of a file matters; its ``sample`` says by which hash. ``data_dir`` and
    ``allow_partial`` are those of :meth:`tasks.task.Task.examples`. Where they are ``named``, inputs begin with the
    name of their task.
    """

    def __init__(
        self,
        task: Task,
        backbone: Backbone,
        recipe: Recipe,
        *,
        data_dir: Path | None = None,
        allow_partial: bool = False,
        named: bool = False,
    ) -> None:
        self.task, self._named = task, named
        self._backbone, self._recipe = backbone, recipe
        self._data_dir, self._allow_partial = data_dir, allow_partial
        self._limits = {Split.TRAIN: recipe.train_limit, Split.DEV: recipe.dev_limit}
        self._splits: dict[Split, SplitData] = {}
        self._curves: dict[int, TaskData] = {}

    def __getitem__(self, split: Split) -> SplitData:
        if split not in self._splits:
            examples = self.task.examples(
                split, data_dir=self._data_dir, allow_partial=self._allow_partial
            )
            sample = 0 if split == Split.TEST else self._recipe.sample
            few = take(examples, self._limits.get(split, 0), sample)
            self._splits[split] = self._tokenize(
                named_examples(few, self.task.name) if self._named else few
            )
        return self._splits[split]

    def curve(self, limit: int) -> TaskData | None:
        """The same with so many test examples, those of smallest hash, for scores along the way; ``None`` for 0.

        What a run depends on is the same: training and development data and their digest.
        """
        if not limit:
            return None
        if limit not in self._curves:
            few = self._curves[limit] = copy.copy(self)
            few._limits = self._limits | {Split.TEST: limit}
            few._splits = {split: self[split] for split in (Split.TRAIN, Split.DEV)}
        return self._curves[limit]

    @property
    def partial(self) -> bool:
        """Whether the splits were cut because published parts are missing."""
        return self._allow_partial and self.task.is_partial(self._data_dir)

    @property
    def digest(self) -> str:
        """Digest of what a run depends on: training and development content, and the metrics that select."""
        content = [
            self[Split.TRAIN].tokens.digest,
            self[Split.DEV].tokens.digest,
            *self.task.metrics,
        ]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    def score(self, split: Split, predictions: Sequence[str]) -> Mapping[str, float]:
        """Metrics of predictions for a whole split, and ``score``, their mean."""
        return self.task.score(predictions, self[split].examples)

    def most_frequent(self, split: Split) -> list[str]:
        """The most frequent training answer, for every example of a split."""
        return [most_frequent_target(self[Split.TRAIN].examples)] * len(self[split].examples)

    def floor(self, split: Split) -> float:
        """Score of the most frequent training answer: what is below it has not learnt the task."""
        return self.score(split, self.most_frequent(split))["score"]

    def batches(self, batch_size: int, seed: int, *, loss: str = CROSS_ENTROPY) -> Batches:
        """Training batches for a loss.

        Raises:
            TrainingError: it compares label words, and the task has none.
        """
        data = self[Split.TRAIN]
        return Batches(
            data=data.tokens, batch_size=batch_size, seed=seed, choices=_compares(loss, data)
        )

    def _tokenize(self, examples: Sequence[Example]) -> SplitData:
        tokenizer = self._backbone.tokenizer
        tokens = tokenize(
            examples,
            tokenizer.encode,
            tokenizer_fingerprint=tokenizer.fingerprint,
            around=self._backbone.config.around,
            lengths=self._recipe.lengths,
            cache=paths.cache_folder() / "tokens",
            name=self.task.name,
        )
        return SplitData(examples, tokens)


class MixtureData:
    """The splits of a mixture: its members' examples behind each other, each member scored by its own metrics.

    The recipe's ``dev_limit`` is shared among the members.
    """

    def __init__(
        self,
        mixture: Mixture,
        backbone: Backbone,
        recipe: Recipe,
        *,
        data_dir: Path | None = None,
        allow_partial: bool = False,
        named: bool = False,
    ) -> None:
        self.task = mixture
        self._data_dir, self._allow_partial = data_dir, allow_partial
        each = dataclasses.replace(recipe, dev_limit=-(-recipe.dev_limit // len(mixture.members)))
        whole = dataclasses.replace(each, train_limit=0)
        self._members = [
            TaskData(
                task,
                backbone,
                whole if task.name in mixture.whole else each,
                data_dir=data_dir,
                allow_partial=allow_partial,
                named=named,
            )
            for task in mixture.members
        ]
        self._splits: dict[Split, SplitData] = {}

    def __getitem__(self, split: Split) -> SplitData:
        if split not in self._splits:
            self.task.check_data(self._data_dir, allow_partial=self._allow_partial)
            parts = [member[split] for member in self._members]
            examples = [example for part in parts for example in part.examples]
            self._splits[split] = SplitData(examples, concatenate([part.tokens for part in parts]))
        return self._splits[split]

    def curve(self, limit: int) -> None:
        """A mixture has no score along the way: its members' tests are read for themselves."""

    @property
    def partial(self) -> bool:
        """Whether the splits of any member were cut because published parts are missing."""
        return any(member.partial for member in self._members)

    @property
    def digest(self) -> str:
        """Digest of what a run depends on: the members' data, and how they are drawn."""
        content = [*(member.digest for member in self._members), repr(self._draws())]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    def score(self, split: Split, predictions: Sequence[str]) -> Mapping[str, float]:
        """Every member's score under its name, and ``score``, their mean."""
        scores, start = {}, 0
        for member in self._members:
            stop = start + len(member[split].examples)
            scores[member.task.name] = member.score(split, predictions[start:stop])["score"]
            start = stop
        return scores | {"score": sum(scores.values()) / len(scores)}

    def floor(self, split: Split) -> float:
        """Mean score of the members' most frequent training answers."""
        answers = [answer for member in self._members for answer in member.most_frequent(split)]
        return self.score(split, answers)["score"]

    def batches(self, batch_size: int, seed: int, *, loss: str = CROSS_ENTROPY) -> Batches:
        """Training batches in the mixture's proportions; raises as :meth:`TaskData.batches`."""
        return Batches(
            data=self[Split.TRAIN].tokens,
            batch_size=batch_size,
            seed=seed,
            draws=tuple(self._draws()),
            choices=_compares(loss, self[Split.TRAIN]),
        )

    def _draws(self) -> list[tuple[int, int]]:
        sizes = [len(member[Split.TRAIN].examples) for member in self._members]
        return list(zip(sizes, self.task.draws(sizes), strict=True))


def _compares(loss: str, data: SplitData) -> bool:
    """Whether a loss compares the choices of examples.

    Raises:
        TrainingError: it does, and some have none.
    """
    if loss == CROSS_ENTROPY:
        return False
    if not all(example.choices for example in data.examples):
        raise TrainingError(
            f"the loss {loss!r} compares label words, which not all examples have; train by {CROSS_ENTROPY}"
        )
    return True


def data_of(
    task: Task | Mixture,
    backbone: Backbone,
    recipe: Recipe,
    *,
    data_dir: Path | None = None,
    allow_partial: bool = False,
    named: bool = False,
) -> TaskData | MixtureData:
    """The splits of a task or mixture; ``named`` as of :class:`TaskData`.

    Raises:
        TaskError: a package that its metrics need is not installed.
    """
    require(task.metrics)
    kind: Any = MixtureData if isinstance(task, Mixture) else TaskData
    data: TaskData | MixtureData = kind(
        task, backbone, recipe, data_dir=data_dir, allow_partial=allow_partial, named=named
    )
    return data
