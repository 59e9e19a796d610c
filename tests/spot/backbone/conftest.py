"""Tiny random models, their folders, and ragged batches."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable
from pathlib import Path

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.batch import Inputs, Targets
from spot.backbone.config import Config, LlamaConfig, T5Config
from spot.backbone.export import save_backbone
from spot.backbone.model import AnyModel
from spot.backbone.random import random_model
from spot.backbone.soft import Soft
from spot.backbone.tokenizer import train_sentencepiece
from spot.inference.decoding import Decoding, generate
from spot.inference.sampling import Draw
from spot.inference.tokenwise import Limits

SIZES = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_heads": 3, "vocab_size": 140}
LLAMA = {
    "vocab_size": 140,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "eos_token_id": 1,
}
CONFIGS = {
    "v1.0": T5Config(
        **SIZES,
        num_layers=1,
        num_decoder_layers=1,
        gated=False,
        activation="relu",
        tied=True,
        scaled=True,
    ),
    "v1.1": T5Config(**SIZES, num_layers=1, num_decoder_layers=2),
    "llama": LlamaConfig(**LLAMA, num_hidden_layers=2, tied=True),
    "qwen2": LlamaConfig(**LLAMA, num_hidden_layers=1, input_bias=True),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model with its compiled computations and what to feed them."""

    model: AnyModel
    prompts: jax.Array
    prompt_ids: jax.Array
    inputs: Inputs
    targets: Targets
    choices: Targets

    @functools.cached_property
    def soft(self) -> Soft:
        return Soft(self.prompts)

    @functools.cached_property
    def token_losses(self) -> Callable[..., jax.Array]:
        return jax.jit(self.model.token_losses)

    @functools.cached_property
    def packed_losses(self) -> Callable[..., jax.Array]:
        return jax.jit(self.model.packed_losses)

    @functools.cached_property
    def choice_scores(self) -> Callable[..., jax.Array]:
        return jax.jit(self.model.choice_scores)

    @functools.cached_property
    def greedy(self) -> Callable[..., jax.Array]:
        return greedy_of(self.model)


def greedy_of(model: AnyModel) -> Callable[..., jax.Array]:
    """Compiled greedy decoding: ``(soft, prompt_ids, inputs, max_length) -> tokens``."""
    return decoding_of(model, Decoding())


def decoding_of(model: AnyModel, decoding: Decoding) -> Callable[..., jax.Array]:
    """Compiled: ``(soft, prompt_ids, inputs, max_length) -> tokens``; an example's place is its row."""

    def tokens(soft: Soft, prompt_ids: jax.Array, inputs: Inputs, max_length: int) -> jax.Array:
        rows = len(prompt_ids)
        limits = Limits(jnp.full(rows, max_length, jnp.int32), max_length)
        draw = Draw(jnp.uint32(decoding.seed), jnp.arange(rows))
        return generate(model, soft, prompt_ids, inputs, limits, draw, decoding)

    return jax.jit(tokens, static_argnums=3)


def ragged(rng: np.random.Generator, lengths: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Random ids, noise at padding too, and the mask."""
    shape = (*lengths.shape, lengths.max())
    ids = rng.integers(2, SIZES["vocab_size"], shape, dtype=np.int32)
    return jnp.asarray(ids), jnp.asarray(np.arange(shape[-1]) < lengths[..., None])


def make_case(config: Config) -> Case:
    rng = np.random.default_rng(1)
    model = random_model(config, seed=2)
    for _, weight in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        name = weight.get_metadata("tensor")
        if name.startswith(("decoder", "model.")) and name.endswith(
            (".o.weight", ".wo.weight", "proj.weight")
        ):
            weight[...] = 4.0 * weight[...]  # else a tied decoder repeats its input
    return Case(
        model,
        prompts=jnp.asarray(rng.normal(size=(3, 4, config.width)), jnp.float32),
        prompt_ids=jnp.array([0, 2, 0, 2]),
        inputs=Inputs(*ragged(rng, np.array([6, 1, 3, 5]))),
        targets=Targets(*ragged(rng, np.array([4, 2, 5, 1]))),
        choices=Targets(*ragged(rng, rng.integers(1, 5, (4, 3)))),
    )


@pytest.fixture(scope="session", params=list(CONFIGS))
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(CONFIGS[request.param])


@pytest.fixture(scope="session")
def config() -> T5Config:
    return CONFIGS["v1.1"]


@pytest.fixture(scope="session")
def lines() -> list[str]:
    rng = random.Random(0)
    syllables = [consonant + vowel for consonant in "bdfgkl" for vowel in "aei"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(60)]
    return [" ".join(rng.choices(words, k=8)) + "." for _ in range(300)]


@pytest.fixture(scope="session")
def tokenizer_model(lines: list[str]) -> bytes:
    return train_sentencepiece(lines, size=SIZES["vocab_size"], sample=300)


@pytest.fixture(scope="session")
def saved(
    tmp_path_factory: pytest.TempPathFactory, config: T5Config, tokenizer_model: bytes
) -> Path:
    """A folder to copy, not to change."""
    folder = tmp_path_factory.mktemp("backbone")
    save_backbone(random_model(config, seed=4), folder, tokenizer_model=tokenizer_model)
    return folder
