"""Embedded sequences are what a decoder-only model reads, and torch's files of them what torch writes."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.batch import Inputs
from spot.backbone.soft import Soft
from spot.backbone.torch_file import TorchFile
from spot.backbone.torch_tensor import torch_tensor
from spot.errors import SpotError
from spot.inference.embedding import prompt_embeds
from tests.closeness import assert_close
from tests.spot.backbone.conftest import CONFIGS, Case, make_case


def stand_in(case: Case) -> Any:
    """What of a backbone is looked at, with texts that are numbers of tokens."""
    tokenizer = types.SimpleNamespace(encode=lambda texts: [[*map(int, t.split())] for t in texts])
    return types.SimpleNamespace(
        name="small",
        config=case.model.config,
        embedding=case.model.embedding[...],
        tokenizer=tokenizer,
    )


def first_logits(case: Case, soft: Soft, inputs: Inputs) -> np.ndarray:
    """Of the first token of an answer ``[V]``."""
    memory = case.model.read(soft, jnp.zeros(1, jnp.int32), inputs)
    start = jnp.full((1, 1, 1), case.model.config.start_token_id)
    return np.asarray(case.model.logits(case.model.decode(memory, start))[0, 0, 0])


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_what_is_embedded_is_read_as_prompt_and_text_are(name: str) -> None:
    case = make_case(CONFIGS[name])
    prompt = np.asarray(case.prompts[1])
    (embedded,) = prompt_embeds(stand_in(case), prompt, ["5 9 7"])
    assert embedded.shape == (len(prompt) + 4, prompt.shape[1])
    assert embedded.dtype == np.float32
    np.testing.assert_array_equal(embedded[: len(prompt)], prompt)
    text = Inputs(jnp.array([[5, 9, 7]]), jnp.ones((1, 3), bool))
    expected = first_logits(case, Soft(prompt[None]), text)
    nothing = Inputs(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), bool))
    assert_close(first_logits(case, Soft(embedded[None, :-1]), nothing), expected, terms=300)
    start = case.model.embedding[...][case.model.config.start_token_id]
    np.testing.assert_array_equal(embedded[-1], start)


def test_a_suffix_is_embedded_behind_its_text() -> None:
    case = make_case(CONFIGS["llama"])
    prompt = np.asarray(case.prompts[1])
    (embedded,) = prompt_embeds(stand_in(case), prompt, ["5 9 7"], form="suffix")
    np.testing.assert_array_equal(embedded[3:-1], prompt)
    soft = Soft(np.zeros((1, 0, 16), np.float32), suffix=prompt[None])
    ids = soft.follow(np.array([5, 9, 7], np.int32), 0)
    text = Inputs(jnp.asarray(ids)[None], jnp.ones((1, len(ids)), bool))
    expected = first_logits(case, soft, text)
    nothing = Inputs(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), bool))
    assert_close(first_logits(case, Soft(embedded[None, :-1]), nothing), expected, terms=300)


def test_encoder_decoders_and_deep_prompts_are_refused() -> None:
    with pytest.raises(SpotError, match="small is an encoder-decoder"):
        prompt_embeds(stand_in(make_case(CONFIGS["v1.1"])), np.zeros((2, 16)), ["5"])
    llama = stand_in(make_case(CONFIGS["llama"]))
    with pytest.raises(SpotError, match="what is put before every layer"):
        prompt_embeds(llama, np.zeros((2, 4, 16)), ["5"], form="deep")


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (0, 4)])
def test_a_tensor_is_read_back_from_torchs_format(tmp_path: Path, shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    path = tmp_path / "tensor.pt"
    path.write_bytes(torch_tensor(values))
    file = TorchFile(path)
    (name,) = file.names()
    np.testing.assert_array_equal(file.read(name), values)
