"""Predictions of prompts on tokenised examples: rank classification where choices are known, else decoding."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spot.backbone.batch import Inputs, Targets, rows_at_once
from spot.backbone.load import Backbone
from spot.errors import SpotError
from tasks.choices import choose
from tasks.objectives import pad
from tasks.pipeline import TARGET_BUCKETS, Tokenized, bucket, evaluation_order
from tasks.task import Example

METHODS = ("auto", "rank", "generate")

MAX_NEW_TOKENS = 32
"""Longest free text that evaluation decodes."""


@functools.lru_cache(maxsize=16)
def _programs(graph: nnx.GraphDef[Any]) -> tuple[Any, Any, Any]:
    """Compiled scoring, decoding and losses for a model's graph."""

    def score(weights: Any, prompts: Array, prompt_ids: Array, inputs: Inputs, choices: Targets) -> Array:
        return nnx.merge(graph, weights).choice_scores(prompts, prompt_ids, inputs, choices)

    def decode(weights: Any, prompts: Array, prompt_ids: Array, inputs: Inputs, max_length: int) -> Array:
        return nnx.merge(graph, weights).greedy(prompts, prompt_ids, inputs, max_length)

    def loss(weights: Any, prompts: Array, prompt_ids: Array, inputs: Inputs, targets: Targets) -> Array:
        losses = nnx.merge(graph, weights).token_losses(prompts, prompt_ids, inputs, targets)
        return losses.sum(axis=-1) / jnp.maximum(targets.mask.sum(axis=-1), 1)

    return jax.jit(score), jax.jit(decode, static_argnames="max_length"), jax.jit(loss)


def predict(
    backbone: Backbone,
    prompt: np.ndarray | Array,
    examples: Sequence[Example],
    data: Tokenized,
    *,
    method: str = "auto",
    batch_size: int = 64,
    max_new_tokens: int = 0,
) -> list[str]:
    """What one prompt ``[P, H]`` answers to every example, in their order.

    Args:
        backbone: the frozen model.
        prompt: float32 ``[P, H]``.
        examples: for their choices' texts.
        data: the same examples, tokenised.
        method: ``rank`` takes the choice of highest log-likelihood, ``generate`` decodes greedily, ``auto`` ranks
            where every example has choices.
        batch_size: most examples at once; a CPU computes on no more than its caches hold.
        max_new_tokens: longest decoded text; 0 takes the length of the longest target, at most 32.

    Raises:
        SpotError: unknown method, or ``rank`` without choices.
    """
    choose(method, METHODS, "evaluation method", error=SpotError)
    with_choices = all(example.choices for example in examples)
    if method == "rank" and not with_choices:
        raise SpotError("rank classification needs label words; evaluate this task with `generate`")
    ranks = method == "rank" or (method == "auto" and with_choices)
    score, decode, _ = _programs(backbone.graph)
    stack = np.asarray(prompt)[None]
    longest = max_new_tokens or min(MAX_NEW_TOKENS, bucket(int(data.targets.lengths.max()), TARGET_BUCKETS))
    answers: list[str] = [""] * len(examples)
    together = not ranks and not backbone.config.reads_prompts_once
    for rows, padded in _batches(backbone, len(prompt), data, batch_size, together=together):
        prompt_ids = np.zeros(len(padded), np.int32)
        inputs = _inputs(data, padded)
        if ranks:
            scores = np.asarray(score(backbone.weights, stack, prompt_ids, inputs, _choices(data, padded)))
            for row, values in zip(rows, scores, strict=False):
                answers[row] = examples[row].choices[int(values.argmax())]
        else:
            tokens = np.asarray(decode(backbone.weights, stack, prompt_ids, inputs, max_length=longest))
            for row, ids in zip(rows, tokens, strict=False):
                answers[row] = backbone.tokenizer.decode(ids.tolist())
    return answers


def mean_losses(
    backbone: Backbone, prompts: Sequence[np.ndarray], data: Tokenized, *, batch_size: int = 64
) -> np.ndarray:
    """Mean loss a target token of every prompt ``[P, H]`` on all examples, ``[N]`` float64; forward passes only.

    Every example counts alike, however long its target.
    """
    _, _, loss = _programs(backbone.graph)
    totals = np.zeros(len(prompts))
    for rows, padded in _batches(backbone, max(map(len, prompts), default=0), data, batch_size):
        inputs, length = _inputs(data, padded), bucket(int(data.targets.lengths[rows].max()), TARGET_BUCKETS)
        targets = Targets(*pad([data.targets[row] for row in padded], length))
        for i, prompt in enumerate(prompts):
            losses = loss(backbone.weights, prompt[None], np.zeros(len(padded), np.int32), inputs, targets)
            totals[i] += float(np.asarray(losses, np.float64)[: len(rows)].sum())
    return totals / len(data.targets)


def _batches(
    backbone: Backbone, prompt_length: int, data: Tokenized, batch_size: int, *, together: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of every forward pass; and the same with the last repeated up to a power of two, so that few shapes are
    compiled. Rows stay ``together`` for decoding, which reads them in parts itself where it can hold them all."""
    own = 0 if backbone.config.reads_prompts_once else prompt_length
    most = (lambda _: batch_size) if together else (lambda length: rows_at_once(batch_size, own + length))
    for rows in evaluation_order(data, most):
        size = min(batch_size, 1 << (len(rows) - 1).bit_length())
        yield rows, np.concatenate([rows, np.repeat(rows[-1:], size - len(rows))])


def _inputs(data: Tokenized, rows: np.ndarray) -> Inputs:
    ids = [data.inputs[row] for row in rows]
    return Inputs(*pad(ids, bucket(max(map(len, ids)))))


def _choices(data: Tokenized, rows: np.ndarray) -> Targets:
    """Choices of every row, ``[B, C, L]``; rows with fewer choices have empty ones behind."""
    of_row = [data.choice_rows[row] for row in rows]
    used = np.unique(np.concatenate(of_row))
    length = bucket(int(data.choices.lengths[used].max()), TARGET_BUCKETS)
    count = max(map(len, of_row))
    ids = np.zeros((len(rows), count, length), np.int32)
    mask = np.zeros((len(rows), count, length), bool)
    for i, choices in enumerate(of_row):
        padded, real = pad([data.choices[c] for c in choices], length)
        ids[i, : len(choices)], mask[i, : len(choices)] = padded, real
    return Targets(ids, mask)
