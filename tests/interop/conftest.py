"""Tiny random T5s in folders that both implementations load."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.config import T5Config
from spot.backbone.export import save_backbone
from spot.backbone.load import Backbone, load_backbone
from spot.backbone.random import random_model
from spot.backbone.t5 import T5
from spot.backbone.tokenizer import train_sentencepiece

SMALL = {"d_model": 24, "d_kv": 8, "d_ff": 40, "num_heads": 4}
CONFIGS = {
    "v1.0": T5Config(
        **SMALL,
        vocab_size=300,
        num_layers=2,
        num_decoder_layers=2,
        gated=False,
        activation="relu",
        tied=True,
        scaled=True,
    ),
    "v1.1": T5Config(**SMALL, vocab_size=300, num_layers=2, num_decoder_layers=3),
    "byt5": T5Config(**SMALL, vocab_size=384, num_layers=3, num_decoder_layers=1),
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """One T5 in both implementations, and the folder that both were loaded from."""

    folder: Path
    backbone: Backbone
    ours: T5
    theirs: Any


@dataclasses.dataclass(frozen=True)
class Batch:
    """Ragged inputs longer than the largest exact distance, with noise where padding hides it."""

    prompt_ids: np.ndarray
    input_ids: np.ndarray
    input_mask: np.ndarray
    target_ids: np.ndarray
    target_mask: np.ndarray
    choice_ids: np.ndarray
    choice_mask: np.ndarray


def _ragged(
    rng: np.random.Generator, lengths: np.ndarray, vocabulary: int
) -> tuple[np.ndarray, np.ndarray]:
    shape = (*lengths.shape, lengths.max())
    return rng.integers(2, vocabulary, shape, dtype=np.int32), np.arange(shape[-1]) < lengths[
        ..., None
    ]


@pytest.fixture(scope="session")
def batch() -> Batch:
    rng = np.random.default_rng(5)
    lengths = [
        np.array([170, 3, 77, 1, 160, 20]),
        np.array([9, 1, 5, 7, 2, 9]),
        rng.integers(1, 6, (6, 4)),
    ]
    (inputs, input_mask), (targets, target_mask), (choices, choice_mask) = (
        _ragged(rng, each, 300) for each in lengths
    )
    prompt_ids = np.array([0, 1, 1, 0, 1, 0], np.int32)
    return Batch(prompt_ids, inputs, input_mask, targets, target_mask, choices, choice_mask)


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """Sentences of an invented language of a few hundred words."""
    rng = random.Random(0)
    syllables = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(400)]
    starts = (" ".join(rng.choices(words, k=rng.randint(3, 20))) for _ in range(800))
    return [start.capitalize() + rng.choice([".", "!", "?", ", 1914."]) for start in starts]


@pytest.fixture(scope="session")
def tokenizer_model(sentences: list[str]) -> bytes:
    return train_sentencepiece(sentences, size=300, sample=1000)


def uneven_t5(config: T5Config) -> T5:
    """A random T5 whose norm scales differ, whose positions matter and whose end token comes up at times."""
    model = random_model(config, seed=3)
    ends = "shared.weight" if config.tied else "lm_head.weight"
    for _, weight in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        name = weight.get_metadata("tensor")
        if name.endswith("layer_norm.weight"):
            weight[...] = jax.random.uniform(
                jax.random.key(len(name)), weight.shape, minval=0.5, maxval=1.5
            )
        elif "relative_attention_bias" in name:
            weight[...] = 8.0 * weight[...]
        elif name == ends:
            weight[...] = weight[...].at[config.eos_token_id].multiply(3.0)
        elif name.startswith("decoder") and name.endswith((".o.weight", ".wo.weight")):
            weight[...] = 4.0 * weight[...]  # else a tied decoder repeats its input
    return model


def write_folder(name: str, folder: Path, tokenizer_model: bytes, dtype: Any = jnp.float32) -> Path:
    """The random T5 of that name as a folder with its tokenizer."""
    model = uneven_t5(CONFIGS[name])
    save_backbone(
        model, folder, tokenizer_model=None if name == "byt5" else tokenizer_model, dtype=dtype
    )
    if name == "byt5":
        (folder / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "ByT5Tokenizer"})
        )
    return folder


@pytest.fixture(scope="session", params=list(CONFIGS))
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tokenizer_model: bytes
) -> Pair:
    from transformers import T5ForConditionalGeneration

    folder = write_folder(request.param, tmp_path_factory.mktemp(request.param), tokenizer_model)
    backbone = load_backbone(str(folder))
    theirs = T5ForConditionalGeneration.from_pretrained(folder).eval()
    return Pair(folder, backbone, nnx.merge(backbone.graph, backbone.weights), theirs)
