"""Batches of pre-training: of a corpus objective, and of worded supervised examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spot.backbone.batch import Inputs, Targets
from spot.backbone.config import T5Config
from spot.backbone.tokenizer import Tokenizer
from spot.training.parts import Batch
from tasks.objectives import Objective, TextBatch, objective_batch, pad
from tasks.pipeline import bucket
from tasks.wordings import Labelled, other_names, reword

ALIKE, INPUT_STEP = 4, 32
"""A supervised batch is a quarter of four batches sorted by length, padded to a multiple of this many tokens."""

ANSWER_BUCKETS = (8, 16, 32, 64)
"""Tokens to which the targets of a supervised batch are padded; no target is longer than the last."""


class ObjectiveStream:
    """Batches of a corpus objective; its state is the index of the next batch."""

    def __init__(
        self, corpus: np.ndarray, objective: Objective, *, batch_size: int, seed: int
    ) -> None:
        self._draw = lambda index: objective_batch(
            corpus, objective, index=index, batch_size=batch_size, seed=seed
        )
        self._index = 0

    def next(self) -> Batch:
        self._index += 1
        return as_batch(self._draw(self._index - 1))

    def state(self) -> dict[str, int]:
        return {"index": self._index}

    def restore(self, state: Mapping[str, int]) -> None:
        self._index = state["index"]


class SupervisedStream:
    """Batches drawn uniformly over tasks and ways of asking, every ``1 / lm_share``-th one from the corpus.

    A batch is a pure function of (examples, seed, index): of four batches' worth of examples it holds the shortest,
    longest or middling ones, so that it carries little padding.
    """

    def __init__(
        self,
        tasks: Mapping[str, Sequence[Labelled]],
        tokenizer: Tokenizer,
        language: ObjectiveStream,
        *,
        config: T5Config,
        input_length: int,
        target_length: int,
        batch_size: int,
        lm_share: float,
        seed: int,
    ) -> None:
        self._tasks, self._tokenizer, self._end = (
            sorted(tasks.items()),
            tokenizer,
            [config.eos_token_id],
        )
        self._names = other_names(example for _, examples in self._tasks for example in examples)
        self._lengths, self._batch_size, self._language = (
            (input_length, target_length),
            batch_size,
            language,
        )
        self._every = round(1 / lm_share) if lm_share else 0
        self._seed, self._index = seed, 0

    def next(self) -> Batch:
        index = self._index
        self._index += 1
        if self._every and index % self._every == 0:
            return self._language.next()
        rng = np.random.default_rng([self._seed, index])
        sources, targets = zip(
            *(self._draw(rng) for _ in range(ALIKE * self._batch_size)), strict=True
        )
        encoded = self._encode(sources, self._lengths[0])
        by_length = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
        start = int(rng.integers(ALIKE)) * self._batch_size
        rows = by_length[start : start + self._batch_size]
        longest = max(len(encoded[row]) for row in rows)
        length = min(self._lengths[0], -(-longest // INPUT_STEP) * INPUT_STEP)
        inputs = pad([encoded[row] for row in rows], length)
        written = self._encode([targets[row] for row in rows], self._lengths[1])
        answers = pad(written, bucket(max(map(len, written)), ANSWER_BUCKETS))
        return as_batch(
            TextBatch(
                input_ids=inputs[0],
                input_mask=inputs[1],
                target_ids=answers[0],
                target_mask=answers[1],
            )
        )

    def _draw(self, rng: np.random.Generator) -> tuple[str, str]:
        task, examples = self._tasks[int(rng.integers(len(self._tasks)))]
        return reword(task, examples[int(rng.integers(len(examples)))], self._names, rng)

    def _encode(self, texts: Sequence[str], length: int) -> list[list[int]]:
        return [ids[: length - 1] + self._end for ids in self._tokenizer.encode(texts)]

    def state(self) -> dict[str, int]:
        return {"index": self._index, **{f"lm_{k}": v for k, v in self._language.state().items()}}

    def restore(self, state: Mapping[str, int]) -> None:
        self._index = state["index"]
        self._language.restore({"index": state["lm_index"]})


def as_batch(batch: TextBatch) -> Batch:
    """A batch without prompts: every row belongs to row 0 of an empty stack."""
    rows = np.zeros(len(batch.input_ids), np.int32)
    return Batch(
        rows,
        Inputs(batch.input_ids, batch.input_mask),
        Targets(batch.target_ids, batch.target_mask),
    )
