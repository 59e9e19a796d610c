"""Initialisers: shape, dtype, where their rows come from, and what they refuse."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from bank.vectors import prompt_sha256
from spot.backbone.load import Backbone
from spot.errors import PromptError
from spot.prompts.files import read_prompt
from spot.prompts.initializers import (
    check_fits,
    file_address,
    make_initializer,
    sampled_vocabulary,
    uniform,
)
from spot.prompts.write import write_prompt
from tests.closeness import assert_close

LENGTH, WIDTH = 6, 16
LABELS = ("bad", "good", "kamo rilu")


@pytest.fixture(scope="module")
def prompt_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompt") / "start.safetensors"
    write_prompt(path, np.random.default_rng(0).normal(size=(LENGTH, WIDTH)).astype(np.float32))
    return path


@pytest.fixture(params=["vocabulary", "labels", "uniform", "text", "file"])
def name(request: pytest.FixtureRequest, prompt_file: Path) -> str:
    kind: str = request.param
    return {"text": "text:kamo", "file": f"file:{prompt_file}"}.get(kind, kind)


def rows_in(backbone: Backbone, prompt: np.ndarray) -> np.ndarray:
    """For every row, the piece whose embedding it is."""
    table = np.asarray(backbone.embedding)
    found = (prompt[:, None] == table[None]).all(axis=-1)
    assert found.any(axis=1).all()
    return found.argmax(axis=1)


def mean_of_pieces(backbone: Backbone, text: str) -> np.ndarray:
    (ids,) = backbone.tokenizer.encode([text])
    mean: np.ndarray = np.asarray(backbone.embedding)[ids].mean(axis=0)
    return mean


def test_every_kind_gives_a_float32_prompt_that_only_the_seed_decides(
    name: str, backbone: Backbone
) -> None:
    prompts = [make_initializer(name, backbone, LENGTH, labels=LABELS)(seed) for seed in (1, 1, 2)]
    assert all(prompt.shape == (LENGTH, WIDTH) and prompt.dtype == np.float32 for prompt in prompts)
    assert all(np.isfinite(prompt).all() for prompt in prompts)
    np.testing.assert_array_equal(prompts[0], prompts[1])
    assert name.startswith("file:") == np.array_equal(prompts[0], prompts[2])


def test_one_initialiser_draws_the_same_again(name: str, backbone: Backbone) -> None:
    initialize = make_initializer(name, backbone, LENGTH, labels=LABELS)
    first = initialize(5).copy()
    initialize(6)
    np.testing.assert_array_equal(initialize(5), first)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), length=st.integers(1, 120))
def test_sampled_vocabulary_is_rows_of_ordinary_pieces(
    seed: int, length: int, backbone: Backbone
) -> None:
    pieces = rows_in(backbone, sampled_vocabulary(backbone, length)(seed))
    ordinary = backbone.tokenizer.ordinary_ids()
    assert set(pieces) <= set(ordinary.tolist())
    assert pieces.min() > 2
    assert pieces.max() < 100
    if length <= len(ordinary):
        assert len(set(pieces)) == length


def test_sampled_vocabulary_keeps_to_the_most_frequent_pieces(backbone: Backbone) -> None:
    pieces = rows_in(
        backbone,
        np.concatenate([sampled_vocabulary(backbone, 8, frequent=10)(s) for s in range(20)]),
    )
    assert set(pieces) == set(backbone.tokenizer.ordinary_ids()[:10].tolist())


def test_labels_stand_first_as_means_of_their_pieces_and_vocabulary_fills_up(
    backbone: Backbone,
) -> None:
    prompt = make_initializer("labels", backbone, LENGTH, labels=LABELS)(3)
    for row, label in zip(prompt, LABELS, strict=False):
        assert_close(row, mean_of_pieces(backbone, label))
    np.testing.assert_array_equal(
        prompt[3:], make_initializer("vocabulary", backbone, LENGTH)(3)[3:]
    )


def test_labels_that_do_not_fit_are_left_out_with_a_warning(backbone: Backbone) -> None:
    with pytest.warns(
        UserWarning, match="3 labels do not fit 2 prompt tokens; the last 1 are left out"
    ):
        prompt = make_initializer("labels", backbone, 2, labels=LABELS)(0)
    assert_close(prompt[1], mean_of_pieces(backbone, "good"))


def test_as_many_labels_as_tokens_fit_without_a_warning(backbone: Backbone) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_initializer("labels", backbone, 3, labels=LABELS)(0)


@pytest.mark.parametrize(("task", "words"), [("record", "commonsense"), ("wsc", "commonsense")])
def test_tasks_without_labels_start_from_words_of_their_own(
    task: str, words: str, backbone: Backbone
) -> None:
    prompt = make_initializer("labels", backbone, LENGTH, task=task)(0)
    assert_close(prompt[0], mean_of_pieces(backbone, words))


def test_a_label_without_a_piece_gives_no_hole_in_the_prompt(backbone: Backbone) -> None:
    with pytest.raises(PromptError, match="label"):
        make_initializer("labels", backbone, LENGTH, labels=("good", ""))(0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_uniform_stays_in_its_bounds_and_fills_them(seed: int) -> None:
    prompt = uniform(100, 50)(seed)
    assert prompt.min() >= -0.5
    assert prompt.max() <= 0.5
    assert prompt.min() < -0.49 < 0.49 < prompt.max()
    assert abs(prompt.mean()) < 0.03


def test_text_gives_its_pieces_in_order_and_vocabulary_fills_up(backbone: Backbone) -> None:
    text = "kamo"
    (ids,) = backbone.tokenizer.encode([text])
    prompt = make_initializer(f"text:{text}", backbone, LENGTH)(4)
    assert 0 < len(ids) < LENGTH
    assert rows_in(backbone, prompt[: len(ids)]).tolist() == ids
    rest = make_initializer("vocabulary", backbone, LENGTH)(4)
    np.testing.assert_array_equal(prompt[len(ids) :], rest[len(ids) :])


def test_a_long_text_is_cut_and_colons_in_it_are_text(backbone: Backbone) -> None:
    text = "kamo: tepo rilu nusa: good bad"
    (ids,) = backbone.tokenizer.encode([text])
    assert rows_in(backbone, make_initializer(f"text:{text}", backbone, 3)(0)).tolist() == ids[:3]


def test_a_file_gives_its_prompt(prompt_file: Path, backbone: Backbone) -> None:
    expected = np.random.default_rng(0).normal(size=(LENGTH, WIDTH)).astype(np.float32)
    np.testing.assert_array_equal(
        make_initializer(f"file:{prompt_file}", backbone, LENGTH)(0), expected
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (LENGTH, WIDTH + 1),
            "prompt has width 17, but backbone .* has width 16; it was made for another model",
        ),
        ((LENGTH - 1, WIDTH), "prompt has 5 tokens, expected 6; set --prompt-length to match"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    shape: tuple[int, int], message: str, backbone: Backbone, tmp_path: Path
) -> None:
    write_prompt(tmp_path / "start.npy", np.zeros(shape, np.float32))
    with pytest.raises(PromptError, match=f"start.npy: {message}"):
        make_initializer(f"file:{tmp_path / 'start.npy'}", backbone, LENGTH)


def test_a_file_of_another_backbone_or_twice_the_length_is_refused(
    backbone: Backbone, tmp_path: Path
) -> None:
    prompt = np.zeros((LENGTH, WIDTH), np.float32)
    write_prompt(
        tmp_path / "other.safetensors", prompt, {"fingerprint": "0" * 64, "backbone": "other"}
    )
    with pytest.raises(
        PromptError,
        match=r"other.safetensors: prompt was made for backbone 'other' \(000000000000\)",
    ):
        make_initializer(f"file:{tmp_path / 'other.safetensors'}", backbone, LENGTH)
    write_prompt(tmp_path / "ours.safetensors", prompt, {"fingerprint": backbone.fingerprint})
    make_initializer(f"file:{tmp_path / 'ours.safetensors'}", backbone, LENGTH)
    write_prompt(tmp_path / "double.npy", np.zeros((2 * LENGTH, WIDTH), np.float32))
    for read in (
        lambda name: make_initializer(name, backbone, LENGTH),
        lambda name: file_address(name, LENGTH, WIDTH),
    ):
        with pytest.raises(
            PromptError, match=r"has 12 tokens, expected 6: PEFT stores twice its length"
        ):
            read(f"file:{tmp_path / 'double.npy'}")


def test_an_adapter_s_folder_is_a_start(backbone: Backbone, tmp_path: Path) -> None:
    prompt = np.random.default_rng(0).normal(size=(LENGTH, WIDTH)).astype(np.float32)
    write_prompt(tmp_path / "adapter", prompt)
    np.testing.assert_array_equal(
        make_initializer(f"file:{tmp_path / 'adapter'}", backbone, LENGTH)(0), prompt
    )


def test_a_prompt_that_fits_is_passed_on(backbone: Backbone) -> None:
    prompt = np.zeros((LENGTH, WIDTH), np.float32)
    assert check_fits(prompt, backbone, LENGTH, where="here") is prompt


def test_a_file_that_is_not_there_is_an_error_with_its_name(
    backbone: Backbone, tmp_path: Path
) -> None:
    with pytest.raises(PromptError, match="no such file"):
        make_initializer(f"file:{tmp_path / 'none.npy'}", backbone, LENGTH)


@pytest.mark.parametrize("name", ["", "zeros", "text:", "file:", "text"])
def test_an_unknown_initialiser_is_refused(name: str, backbone: Backbone) -> None:
    with pytest.raises(
        PromptError, match=f"initialiser '{name}' is not known; choose from vocabulary, labels"
    ):
        make_initializer(name, backbone, LENGTH)


def test_labels_are_refused_where_there_are_none(backbone: Backbone) -> None:
    with pytest.raises(
        PromptError, match="task 'squad' has no label words to start from; use --init vocabulary"
    ):
        make_initializer("labels", backbone, LENGTH, task="squad")


def test_text_without_a_token_is_refused(backbone: Backbone) -> None:
    with pytest.raises(PromptError, match="the text to start from has no tokens"):
        make_initializer("text:  ", backbone, LENGTH)


def test_a_prefix_has_one_address_however_it_is_kept(tmp_path: Path) -> None:
    """Of a model whose keys are half as wide as it is: two layers' make a row."""
    layers, wide = 4, WIDTH // 2
    stored = np.random.default_rng(0).normal(size=(LENGTH, layers * 2 * wide)).astype(np.float32)
    (folder := tmp_path / "prefix").mkdir()
    config = {
        "peft_type": "PREFIX_TUNING",
        "task_type": "CAUSAL_LM",
        "num_virtual_tokens": LENGTH,
        "num_transformer_submodules": 1,
        "num_layers": layers,
        "token_dim": wide,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    safetensors.numpy.save_file({"prompt_embeddings": stored}, folder / "adapter_model.safetensors")
    read = read_prompt(folder).for_width(WIDTH)
    write_prompt(tmp_path / "prefix.safetensors", read.prompt, read.metadata)
    assert read.prompt.shape == (2, layers // 2, LENGTH, WIDTH)
    addresses = {
        file_address(f"file:{tmp_path / name}", LENGTH, WIDTH)
        for name in ("prefix", "prefix.safetensors")
    }
    assert addresses == {prompt_sha256(read.prompt)}
