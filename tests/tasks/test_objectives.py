"""Span corruption, the prefix language model, and corpora: from text to tokens to batches."""

import dataclasses
import gzip
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import TaskError
from tasks.objectives import (
    Objective,
    PrefixLM,
    SpanCorruption,
    TextBatch,
    objective_batch,
    open_corpus,
    pad,
    read_lines,
    tokenize_corpus,
)

VOCABULARY = 32_100
END = 1

lengths = st.integers(10, 520)
seeds = st.integers(0, 2**32 - 1)


def spans_of(ids: np.ndarray) -> list[tuple[int, list[int]]]:
    """(sentinel, tokens up to the next sentinel) of ids without end token; first what precedes any, under -1."""
    spans: list[tuple[int, list[int]]] = [(-1, [])]
    for token in ids.tolist():
        if token >= VOCABULARY - 200:
            spans.append((token, []))
        else:
            spans[-1][1].append(token)
    return spans


def corrupted(
    input_length: int, seed: int
) -> tuple[SpanCorruption, np.ndarray, np.ndarray, np.ndarray]:
    """An objective, a window of tokens below the sentinels, and its corrupted inputs and targets."""
    objective = SpanCorruption(vocab_size=VOCABULARY, input_length=input_length)
    rng = np.random.default_rng(seed)
    window = rng.integers(2, VOCABULARY - 200, objective.window, dtype=np.int32)
    return objective, window, *objective.example(window, rng)


# -- span corruption ----------------------------------------------------------------------------------------


@given(lengths, seeds)
def test_targets_put_in_place_of_the_sentinels_give_the_window_back(
    input_length: int, seed: int
) -> None:
    _, window, inputs, targets = corrupted(input_length, seed)
    hidden = dict(spans_of(targets[:-1]))
    restored = [
        token for sentinel, kept in spans_of(inputs[:-1]) for token in hidden[sentinel] + kept
    ]
    assert restored == window.tolist()


@given(lengths, seeds)
def test_inputs_and_targets_have_exactly_the_promised_lengths_and_end_once(
    input_length: int, seed: int
) -> None:
    objective, _, inputs, targets = corrupted(input_length, seed)
    assert (len(inputs), len(targets)) == (input_length, objective.target_length)
    for ids in (inputs, targets):
        assert ids[-1] == END
        assert END not in ids[:-1]


@given(lengths, seeds)
def test_sentinels_count_down_from_the_last_of_the_vocabulary_in_both(
    input_length: int, seed: int
) -> None:
    _, _, inputs, targets = corrupted(input_length, seed)
    sentinels = [sentinel for sentinel, _ in spans_of(targets[:-1])[1:]]
    assert sentinels == [VOCABULARY - 1 - i for i in range(len(sentinels))]
    assert sentinels == [sentinel for sentinel, _ in spans_of(inputs[:-1])[1:]]
    assert spans_of(targets[:-1])[0] == (-1, [])


@given(lengths, seeds)
def test_no_hidden_span_is_empty_and_no_two_touch(input_length: int, seed: int) -> None:
    _, _, inputs, targets = corrupted(input_length, seed)
    assert all(tokens for _, tokens in spans_of(targets[:-1])[1:])
    assert all(kept for _, kept in spans_of(inputs[:-1])[:-1])
    assert spans_of(inputs[:-1])[-1][1] == []


@given(st.integers(64, 1024))
def test_fifteen_percent_are_hidden_in_spans_of_three(input_length: int) -> None:
    objective, window, _, targets = corrupted(input_length, 0)
    spans = spans_of(targets[:-1])[1:]
    noise = sum(len(tokens) for _, tokens in spans)
    assert abs(noise - 0.15 * len(window)) <= 0.5
    assert abs(len(spans) - noise / 3) <= 0.5
    assert objective.window == len(window)


@given(st.integers(10, 520))
def test_a_window_is_the_longest_that_fits(input_length: int) -> None:
    objective = SpanCorruption(vocab_size=VOCABULARY, input_length=input_length)
    longer = np.arange(2, objective.window + 3)
    inputs, _ = objective.example(longer, np.random.default_rng(0))
    assert len(inputs) > input_length


def test_the_usual_lengths_are_those_of_the_paper() -> None:
    objective = SpanCorruption(vocab_size=VOCABULARY, input_length=512)
    assert (objective.window, objective.target_length) == (568, 114)


@pytest.mark.parametrize("input_length", [5, 7, 9])
def test_short_inputs_have_their_length_too(input_length: int) -> None:
    _, _, inputs, _ = corrupted(input_length, 0)
    assert len(inputs) == input_length


def test_spans_are_hidden_everywhere_and_have_many_lengths() -> None:
    objective = SpanCorruption(vocab_size=VOCABULARY, input_length=64)
    window = np.arange(2, objective.window + 2)
    rng = np.random.default_rng(0)
    hidden = np.zeros(objective.window)
    span_lengths = []
    draws = 3_000
    for _ in range(draws):
        _, targets = objective.example(window, rng)
        spans = [tokens for _, tokens in spans_of(targets[:-1])[1:]]
        span_lengths += [len(tokens) for tokens in spans]
        hidden[np.concatenate(spans) - 2] += 1
    share = hidden / draws
    assert share[0] == 0
    assert share[1:].min() > 0.02
    assert share[5:-5].max() < 0.3
    assert abs(share.mean() - 0.15) < 0.01
    assert abs(np.mean(span_lengths) - 3) < 0.4
    assert {1, 2, 3, 4, 5, 6} <= set(span_lengths)


# -- the prefix language model ------------------------------------------------------------------------------


@given(st.integers(9, 120), st.integers(1, 60), seeds)
def test_prefix_and_continuation_are_the_start_of_the_window(
    prefix: int, target: int, seed: int
) -> None:
    objective = PrefixLM(vocab_size=VOCABULARY, input_length=prefix, target_length=target)
    window = np.arange(100, 100 + objective.window)
    inputs, targets = objective.example(window, np.random.default_rng(seed))
    assert np.concatenate([inputs, targets]).tolist() == window[: len(inputs) + target].tolist()
    assert 8 <= len(inputs) <= prefix
    assert len(targets) == target


def test_every_length_of_prefix_occurs() -> None:
    objective = PrefixLM(vocab_size=VOCABULARY, input_length=20, target_length=4)
    rng = np.random.default_rng(0)
    found = {len(objective.example(np.arange(24), rng)[0]) for _ in range(400)}
    assert found == set(range(8, 21))


# -- batches ------------------------------------------------------------------------------------------------

SPANS = SpanCorruption(vocab_size=VOCABULARY, input_length=32)
PREFIXES = PrefixLM(vocab_size=VOCABULARY, input_length=16, target_length=8)

objectives = st.sampled_from([SPANS, PREFIXES])


def batch(
    corpus: np.ndarray, objective: Objective, index: int, seed: int = 0, batch_size: int = 4
) -> TextBatch:
    """A batch."""
    return objective_batch(corpus, objective, index=index, batch_size=batch_size, seed=seed)


def same(left: TextBatch, right: TextBatch) -> bool:
    """Whether two batches are equal in every array."""
    fields = [field.name for field in dataclasses.fields(TextBatch)]
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in fields)


def counting(size: int) -> np.ndarray:
    """A corpus of the tokens 2, 3, 4, ..., so that a token tells its place."""
    return np.arange(2, size + 2, dtype=np.uint16)


@settings(max_examples=25)
@given(objectives, seeds)
def test_a_batch_depends_on_nothing_but_corpus_objective_seed_and_index(
    objective: Objective, seed: int
) -> None:
    corpus = counting(2_000)
    in_order = [batch(corpus, objective, index, seed) for index in range(30)]
    for index in np.random.default_rng(seed).permutation(30).tolist():
        assert same(batch(corpus, objective, index, seed), in_order[index])


@settings(max_examples=25)
@given(objectives, seeds)
def test_other_seeds_and_other_indices_give_other_batches(objective: Objective, seed: int) -> None:
    corpus = counting(2_000)
    batches = [batch(corpus, objective, index, seed) for index in range(25)]
    assert not any(same(a, b) for i, a in enumerate(batches) for b in batches[:i])
    assert not any(same(batch(corpus, objective, i, seed + 1), a) for i, a in enumerate(batches))


@given(objectives, seeds)
def test_batches_have_the_promised_shapes_and_masks_of_real_tokens(
    objective: Objective, seed: int
) -> None:
    made = batch(counting(2_000), objective, 3, seed)
    for ids, mask, length in (
        (made.input_ids, made.input_mask, objective.input_length),
        (made.target_ids, made.target_mask, objective.target_length),
    ):
        assert ids.shape == mask.shape == (4, length)
        assert (ids.dtype, mask.dtype) == (np.int32, np.bool_)
        assert np.array_equal(mask, ids != 0)
        assert (np.diff(mask.astype(int), axis=1) <= 0).all()
    if isinstance(objective, SpanCorruption):
        assert made.input_mask.all()
        assert made.target_mask.all()


def test_what_is_hidden_differs_from_row_to_row_and_from_batch_to_batch() -> None:
    patterns = []
    for index in range(40):
        made = batch(counting(2_000), SPANS, index)
        for row, start in zip(made.target_ids, starts(made), strict=True):
            patterns.append(
                tuple(int(token) - start for token in row if 1 < token < VOCABULARY - 200)
            )
    assert len(set(patterns)) > 40


def starts(made: TextBatch) -> list[int]:
    """Where in a counting corpus the windows of a batch begin; no window begins with a hidden token."""
    return [int(token) - 2 for token in made.input_ids[:, 0]]


@given(objectives, seeds, st.integers(1, 7), st.integers(500, 3_000))
@settings(max_examples=50)
def test_an_epoch_visits_every_window_at_most_once_and_cuts_none(
    objective: Objective, seed: int, batch_size: int, size: int
) -> None:
    corpus, window = counting(size), objective.window
    per_epoch = (size // window - 1) // batch_size
    for epoch in range(2):
        indices = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        found = [
            start
            for index in indices
            for start in starts(batch(corpus, objective, index, seed, batch_size))
        ]
        assert len(set(found)) == len(found) == per_epoch * batch_size
        assert all(step % window == 0 for step in np.diff(found))
        assert min(found) >= 0
        assert max(found) + window <= size
        assert len(found) > size // window - 1 - batch_size


def test_a_window_may_begin_wherever_a_whole_one_fits_and_nowhere_else() -> None:
    size = 2 * PREFIXES.window + 3
    found = {
        start
        for epoch in range(400)
        for start in starts(batch(counting(size), PREFIXES, epoch, batch_size=1))
    }
    assert found == set(range(size - PREFIXES.window + 1))


def test_epochs_have_other_offsets_and_another_order() -> None:
    corpus, objective = counting(2_000), PREFIXES
    per_epoch = (2_000 // objective.window - 1) // 4
    epochs = [
        [
            start
            for i in range(per_epoch)
            for start in starts(batch(corpus, objective, epoch * per_epoch + i))
        ]
        for epoch in range(12)
    ]
    assert len({min(found) % objective.window for found in epochs}) > 6
    orders = {tuple(start // objective.window for start in found) for found in epochs}
    assert len(orders) == 12
    assert all(sorted(order) != list(order) for order in orders)


def test_every_token_of_a_corpus_is_visited_in_some_epoch() -> None:
    objective, batch_size = PREFIXES, 8
    size = objective.window * 2 * batch_size
    last = max(
        start
        for i in range(300)
        for start in starts(batch(counting(size), objective, i, 0, batch_size))
    )
    assert last + 2 * objective.window > size


@given(objectives, st.integers(1, 9))
def test_a_corpus_shorter_than_a_batch_of_windows_is_refused_with_what_it_needs(
    objective: Objective, batch_size: int
) -> None:
    needed = objective.window * (batch_size + 1)
    assert batch(counting(needed), objective, 5, 0, batch_size).input_ids.shape[0] == batch_size
    with pytest.raises(
        TaskError, match=rf"^corpus of {needed - 1} tokens is too short: a batch needs {needed}$"
    ):
        batch(counting(needed - 1), objective, 5, 0, batch_size)


@given(st.lists(st.lists(st.integers(1, 99), max_size=6), min_size=1, max_size=5))
def test_padding_is_behind_and_masked(rows: list[list[int]]) -> None:
    ids, mask = pad(rows, 7)
    assert [ids[i, : len(row)].tolist() for i, row in enumerate(rows)] == rows
    assert mask.sum(axis=1).tolist() == [len(row) for row in rows]
    assert not ids[~mask].any()
    assert (ids.dtype, mask.dtype) == (np.int32, np.bool_)


# -- corpora ------------------------------------------------------------------------------------------------


def letters(texts: Sequence[str]) -> list[list[int]]:
    """A token for each letter."""
    assert all(texts)
    return [[ord(letter) for letter in text] for text in texts]


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 4096])
def test_a_corpus_comes_back_as_it_was_written_with_an_end_after_every_document(
    tmp_path: Path, chunk: int
) -> None:
    path = tmp_path / "corpus.u16"
    tokenize_corpus(
        iter(["", "ab", "c\uffff", "", "d", "", "", "e"]), letters, path, end=END, chunk=chunk
    )
    corpus = open_corpus(path)
    assert corpus.tolist() == [97, 98, 99, 0xFFFF, END, 100, END, 101]
    assert corpus.dtype == np.dtype("<u2")
    assert path.read_bytes()[:4] == b"a\0b\0"
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=40)
@given(
    st.lists(st.text(st.characters(min_codepoint=2, max_codepoint=0xD7FF), max_size=5)),
    st.integers(1, 8),
)
def test_the_size_of_the_chunks_leaves_no_trace(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], chunk: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.u16"
    tokenize_corpus([*lines, "z"], letters, path, end=END, chunk=chunk)
    expected: list[int] = []
    for line in [*lines, "z"]:
        if line:
            expected += map(ord, line)
        elif expected and expected[-1] != END:
            expected.append(END)
    assert open_corpus(path).tolist() == expected


def test_a_corpus_on_disk_gives_the_batches_of_one_in_memory(tmp_path: Path) -> None:
    text = "".join(chr(32 + i % 90) for i in range(700))
    path = tmp_path / "corpus.u16"
    tokenize_corpus([text], letters, path, end=END)
    in_memory = np.array([ord(letter) for letter in text], np.uint16)
    assert same(batch(open_corpus(path), SPANS, 1), batch(in_memory, SPANS, 1))


def test_an_interrupted_tokenisation_leaves_no_corpus(tmp_path: Path) -> None:
    def breaks(texts: Sequence[str]) -> list[list[int]]:
        raise KeyboardInterrupt

    path = tmp_path / "corpus.u16"
    with pytest.raises(KeyboardInterrupt):
        tokenize_corpus(["a"], breaks, path, end=END)
    assert not path.exists()


def plain_file(folder: Path, content: bytes) -> Path:
    """A text file."""
    path = folder / "a.txt"
    path.write_bytes(content)
    return path


def zipped_file(folder: Path, content: bytes) -> Path:
    """A text file packed by gzip."""
    path = folder / "a.txt.gz"
    path.write_bytes(gzip.compress(content))
    return path


@pytest.mark.parametrize("write", [plain_file, zipped_file])
def test_lines_are_trimmed_and_every_file_ends_a_document(
    tmp_path: Path, write: Callable[[Path, bytes], Path]
) -> None:
    path = write(tmp_path, " one \n\ntwo é\r\nthree".encode())
    assert list(read_lines([path])) == ["one", "", "two é", "three", ""]
    assert list(read_lines([path, path])) == ["one", "", "two é", "three", ""] * 2
    assert list(read_lines([])) == []


@pytest.mark.parametrize("write", [plain_file, zipped_file])
def test_bytes_that_are_not_utf_8_are_an_error_that_names_the_file(
    tmp_path: Path, write: Callable[[Path, bytes], Path]
) -> None:
    path = write(tmp_path, b"one\ncaf\xe9\n")
    with pytest.raises(TaskError) as caught:
        list(read_lines([path]))
    assert str(caught.value).startswith(f"{path}: cannot be read as UTF-8 text (")


def test_a_missing_corpus_and_one_that_is_not_packed_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    for complaint in ("no such file", "cannot be read as UTF-8 text"):
        with pytest.raises(TaskError) as caught:
            list(read_lines([path]))
        assert str(caught.value).startswith(f"{path}: {complaint}")
        path.write_bytes(b"not packed")


def test_a_damaged_gzip_file_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    whole = gzip.compress(" ".join(map(str, range(5_000))).encode())
    for damaged in (whole[:-20], whole[: len(whole) // 2], whole[:300] + bytes(40) + whole[340:]):
        path.write_bytes(damaged)
        with pytest.raises(TaskError, match=str(path)):
            list(read_lines([path]))


def test_several_blank_lines_end_one_document(tmp_path: Path) -> None:
    path = tmp_path / "corpus.u16"
    lines = read_lines([plain_file(tmp_path, b"a\n\n\nb\n\n")])
    tokenize_corpus(lines, letters, path, end=END)
    assert open_corpus(path).tolist() == [97, END, 98, END]


def test_a_corpus_without_a_token_is_an_error_of_the_task(tmp_path: Path) -> None:
    path = tmp_path / "corpus.u16"
    tokenize_corpus([], letters, path, end=END)
    with pytest.raises(TaskError, match="too short"):
        batch(open_corpus(path), SPANS, 0)


def test_pieces_of_a_window_are_spread_evenly() -> None:
    objective = SpanCorruption(vocab_size=VOCABULARY, input_length=40)
    rng = np.random.default_rng(1)
    window = np.arange(2, objective.window + 2)
    made = [objective.example(window, rng)[1] for _ in range(2_000)]
    positions = [[int(tokens[0]) for _, tokens in spans_of(targets[:-1])[1:]] for targets in made]
    assert all(a < b for row in positions for a, b in pairwise(row))
    first = np.array([row[0] for row in positions]) - 2
    assert first.min() == 1
    assert first.max() > objective.window // 2
