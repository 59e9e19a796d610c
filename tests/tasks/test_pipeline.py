"""Tokens to batches: every row in its turn, ragged, and the share of padding that buckets leave."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks import TaskError
from tasks.pipeline import BUCKETS, TARGET_BUCKETS, Batches, RaggedBatch, bucket, summary
from tasks.tokenized import Ragged, Tokenized

# -- training batches ---------------------------------------------------------------------------------------


def ragged_data(lengths: Sequence[int], targets: Sequence[int] | None = None) -> Tokenized:
    """Row i consists of ``i + 2`` alone, so that a batch tells which rows it holds."""
    return Tokenized(
        inputs=Ragged.from_rows([[i + 2] * length for i, length in enumerate(lengths)]),
        targets=Ragged.from_rows(
            [[i + 2] * length for i, length in enumerate(targets or [2] * len(lengths))]
        ),
        choices=Ragged.from_rows([]),
        choice_rows=Ragged.from_rows([[]] * len(lengths)),
        cut=0,
        cut_targets=0,
        digest="",
    )


def rows_of(batch: RaggedBatch) -> list[int]:
    """Which rows a batch holds."""
    return [int(ids[0]) - 2 for ids in batch.inputs]


def same(left: RaggedBatch, right: RaggedBatch) -> bool:
    """Whether two batches hold equal ids."""
    pairs = zip(left.inputs + left.targets, right.inputs + right.targets, strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


row_lengths = st.lists(st.integers(1, 70), min_size=1, max_size=60)
batch_sizes = st.integers(1, 9)
windows = st.integers(1, 4)
seeds = st.integers(0, 2**32 - 1)


@given(row_lengths, batch_sizes, windows, seeds)
def test_every_epoch_visits_every_row_and_fills_its_last_batch(
    lengths: list[int], batch_size: int, window: int, seed: int
) -> None:
    batches = Batches(data=ragged_data(lengths), batch_size=batch_size, seed=seed, window=window)
    total = batches.per_epoch * batch_size
    assert total - batch_size < len(lengths) <= total
    for epoch in range(3):
        indices = range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)
        found = [rows_of(batches[index]) for index in indices]
        assert {len(batch) for batch in found} == {batch_size}
        visits = Counter(row for batch in found for row in batch)
        assert sorted(visits) == list(range(len(lengths)))
        assert max(visits.values()) - min(visits.values()) <= 1


@given(row_lengths, batch_sizes, windows, seeds, st.randoms(use_true_random=False))
def test_a_batch_depends_on_nothing_but_data_seed_and_index(
    lengths: list[int], batch_size: int, window: int, seed: int, random: Any
) -> None:
    data = ragged_data(lengths)
    batches = Batches(data=data, batch_size=batch_size, seed=seed, window=window)
    in_order = [batches[index] for index in range(2 * batches.per_epoch + 1)]
    order = list(range(len(in_order)))
    random.shuffle(order)
    again = Batches(data=data, batch_size=batch_size, seed=seed, window=window)
    assert all(same(again[index], in_order[index]) for index in order)
    far = 1_000 * batches.per_epoch
    assert same(batches[far], again[far])


@given(row_lengths, batch_sizes, seeds)
def test_a_batch_holds_its_rows_whole_and_nothing_else(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    data = ragged_data(lengths, targets=[1 + length % 5 for length in lengths])
    batches = Batches(data=data, batch_size=batch_size, seed=seed, window=2)
    for index in range(batches.per_epoch):
        batch = batches[index]
        for row, inputs, targets in zip(rows_of(batch), batch.inputs, batch.targets, strict=True):
            assert inputs.tolist() == data.inputs[row].tolist()
            assert targets.tolist() == data.targets[row].tolist()


def epoch_of(batches: Batches, epoch: int) -> list[list[int]]:
    """The rows of every batch of an epoch."""
    return [rows_of(batches[epoch * batches.per_epoch + i]) for i in range(batches.per_epoch)]


def test_other_epochs_and_other_seeds_make_other_batches() -> None:
    data = ragged_data([5 + i % 20 for i in range(64)])
    one, two = (Batches(data=data, batch_size=4, seed=seed, window=4) for seed in (1, 2))
    made = [epoch_of(batches, epoch) for batches in (one, two) for epoch in range(4)]
    for i, left in enumerate(made):
        for right in made[:i]:
            together = {frozenset(rows) for rows in left} & {frozenset(rows) for rows in right}
            assert len(together) < len(left) / 2


def test_the_batches_of_an_epoch_are_not_sorted_by_length() -> None:
    data = ragged_data(list(range(1, 201)))
    batches = Batches(data=data, batch_size=4, seed=0, window=50)
    means = [np.mean(rows) for rows in epoch_of(batches, 0)]
    ranks = np.argsort(np.argsort(means))
    assert abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) < 0.4


def test_rows_that_fill_up_the_last_batch_change_from_epoch_to_epoch() -> None:
    batches = Batches(data=ragged_data([3] * 9), batch_size=8, seed=0)
    visits = [
        Counter(row for rows in epoch_of(batches, epoch) for row in rows) for epoch in range(12)
    ]
    twice = {frozenset(row for row, count in counts.items() if count == 2) for counts in visits}
    assert len(twice) > 6


@pytest.mark.parametrize("seed", range(3))
def test_ragged_rows_need_far_less_padding_than_rows_drawn_at_random(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(3.5, 0.9, 2_000), 2, 512).astype(int)
    data = ragged_data(lengths.tolist())
    drawn = rng.permutation(lengths)[: len(lengths) // 16 * 16].reshape(-1, 16)
    at_random = 1 - drawn.sum() / sum(bucket(int(row.max())) * 16 for row in drawn)
    share = Batches(data=data, batch_size=16, seed=seed).padding_share()
    assert share < 0.35
    assert share < at_random / 2


@given(row_lengths, batch_sizes, seeds)
@settings(max_examples=30)
def test_the_share_of_padding_is_that_of_batches_padded_to_their_buckets(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    batches = Batches(data=ragged_data(lengths), batch_size=batch_size, seed=seed, window=2)
    for epochs in (1, 2):
        drawn = [
            list(map(len, batches[index].inputs)) for index in range(epochs * batches.per_epoch)
        ]
        expected = 1 - sum(map(sum, drawn)) / sum(bucket(max(row)) * len(row) for row in drawn)
        assert batches.padding_share(epochs) == pytest.approx(expected)


def test_a_task_smaller_than_a_batch_repeats_its_rows() -> None:
    batches = Batches(data=ragged_data([3, 4, 5]), batch_size=8, seed=0)
    assert batches.per_epoch == 1
    assert sorted(Counter(rows_of(batches[7])).values()) == [2, 3, 3]


def test_no_examples_make_no_batches() -> None:
    with pytest.raises(TaskError, match="no examples to draw batches from"):
        Batches(data=ragged_data([]), batch_size=4, seed=0)


# -- buckets, summary -----------------------------------------------------------------------------------------


@given(st.integers(1, 1024))
def test_a_bucket_is_the_smallest_that_holds(length: int) -> None:
    size = bucket(length)
    assert size in BUCKETS
    assert length <= size
    assert all(other < length for other in BUCKETS if other < size)


@given(st.integers(1025, 100_000))
def test_beyond_the_buckets_lengths_are_whole_multiples_of_the_largest(length: int) -> None:
    size = bucket(length)
    assert size % BUCKETS[-1] == 0
    assert length <= size < length + BUCKETS[-1]


def test_buckets_grow_and_leave_less_than_half_of_a_row_to_padding() -> None:
    for buckets, factor in ((BUCKETS, 2), (TARGET_BUCKETS, 2)):
        assert list(buckets) == sorted(set(buckets))
        assert all(b <= factor * a for a, b in pairwise(buckets))


@given(row_lengths, seeds)
def test_a_summary_states_what_is_in_the_split(lengths: list[int], seed: int) -> None:
    assume(max(lengths) <= 70)
    data = dataclasses.replace(ragged_data(lengths), cut=3)
    batches = Batches(data=data, batch_size=4, seed=seed)
    facts = summary(data, batches)
    assert facts["examples"] == len(lengths)
    assert facts["longest input"] == max(lengths)
    assert facts["mean input"] == pytest.approx(np.mean(lengths), abs=0.051)
    assert facts["cut inputs"] == 3
    assert facts["padding share"] == pytest.approx(batches.padding_share(), abs=0.0006)
