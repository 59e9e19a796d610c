"""Fingerprints are those of the first release, and follow the content of the weights' files."""

import dataclasses
import json
import os
import shutil
import zlib

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from spot.backbone.architectures import ARCHITECTURES
from spot.backbone.config import LlamaConfig, T5Config
from spot.backbone.export import save_backbone
from spot.backbone.load import embedded_folder, load_backbone

T5 = {"d_model": 8, "d_kv": 2, "d_ff": 12, "num_heads": 3, "vocab_size": 4096, "num_layers": 1}
LLAMA = {
    "vocab_size": 300,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "eos_token_id": 1,
}
FIRST = T5Config(**T5, num_decoder_layers=1, gated=False, activation="relu", tied=True, scaled=True)
SECOND = T5Config(**T5, num_decoder_layers=2)

T5_FIELDS = T5 | {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
LLAMA_FIELDS = LLAMA | {
    "rope_theta": 10_000.0,
    "rms_norm_eps": 1e-6,
    "output_bias": False,
    "pad_token_id": 0,
    "separator_token_id": 0,
}
IDENTITIES = [
    (
        FIRST,
        T5_FIELDS | {"num_decoder_layers": 1, "gated": False, "activation": "relu", "tied": True},
    ),
    (
        SECOND,
        T5_FIELDS
        | {"num_decoder_layers": 2, "gated": True, "activation": "gelu_new", "tied": False},
    ),
    (
        LlamaConfig(**LLAMA, num_hidden_layers=2, tied=True),
        LLAMA_FIELDS | {"num_hidden_layers": 2, "tied": True, "input_bias": False},
    ),
    (
        LlamaConfig(**LLAMA, num_hidden_layers=1, input_bias=True),
        LLAMA_FIELDS | {"num_hidden_layers": 1, "tied": False, "input_bias": True},
    ),
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def exact(name, shape):
    """Weights that every machine computes alike."""
    numbers = (np.arange(np.prod(shape)) + zlib.crc32(name.encode())) % 31 - 15
    return jnp.asarray((numbers / 32).astype(np.float32).reshape(shape))


def write(folder, config):
    tokenizer = (embedded_folder() / "spiece.model").read_bytes()
    save_backbone(ARCHITECTURES[type(config)](config, exact), folder, tokenizer_model=tokenizer)
    return folder


def fingerprint(folder):
    return load_backbone(str(folder)).fingerprint


@pytest.mark.parametrize(
    ("config", "digest"),
    [
        (FIRST, "6094c9298241ede8c2d2f7aa0739a850ff57ebf3e4bd0514e20ffd4f38e682ea"),
        (SECOND, "d72c7748a24aa7809d2e0aab3a3d2f7013f2ec1a859838ab72ad48ed85de6a0a"),
    ],
)
def test_a_t5_has_the_fingerprint_it_had(tmp_path, config, digest):
    assert fingerprint(write(tmp_path / "model", config)) == digest


def test_the_embedded_backbone_has_the_fingerprint_it_had():
    assert fingerprint("tiny") == "1e67e1ce792856159a7584aff09a697707092ad3a79557413e274289acd11e0b"


@pytest.mark.parametrize(("config", "fields"), IDENTITIES)
def test_a_config_enters_with_the_fields_it_had(config, fields):
    assert config.identity == fields


@pytest.mark.parametrize(
    ("config", "change", "said"),
    [
        (FIRST, {"scaled": False}, {"scaled": False}),
        (FIRST, {"tied": False}, {"tied": False, "scaled": True}),
        (SECOND, {"more_end_token_ids": (7,)}, {"more_end_token_ids": (7,)}),
        (
            LlamaConfig(**LLAMA, num_hidden_layers=1),
            {"more_end_token_ids": (7, 8)},
            {"more_end_token_ids": (7, 8)},
        ),
    ],
)
def test_what_no_older_config_could_say_enters_where_it_is_said(config, change, said):
    assert dataclasses.replace(config, **change).identity == config.identity | said


# -- the cached digest ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "model", SECOND)


def spoiled(path, at, times):
    """Other content of the same size, and of the same times as far as they can be set."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0x01
    path.write_bytes(content)
    os.utime(path, ns=times)


@pytest.mark.parametrize("at", [-3, -5_000, -100_000])
def test_other_weights_of_the_same_size_and_time_are_noticed(folder, at):
    path = folder / "model.safetensors"
    before, found = fingerprint(folder), path.stat()
    spoiled(path, at, (found.st_atime_ns, found.st_mtime_ns))
    assert path.stat().st_mtime_ns == found.st_mtime_ns
    assert fingerprint(folder) != before


def test_other_weights_put_in_place_with_their_times_are_noticed(folder, tmp_path):
    path = folder / "model.safetensors"
    before, found = fingerprint(folder), path.stat()
    other = shutil.copy2(path, tmp_path / "other")
    spoiled(other, -100_000, (found.st_atime_ns, found.st_mtime_ns))
    os.replace(other, path)
    assert fingerprint(folder) != before


def test_other_weights_are_noticed_by_their_content_where_a_file_system_says_nothing(
    folder, monkeypatch
):
    path = folder / "model.safetensors"
    before, found = fingerprint(folder), path.stat()
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x01
    path.write_bytes(content)
    stat = type(path).stat
    monkeypatch.setattr(type(path), "stat", lambda p, **how: found if p == path else stat(p, **how))
    assert fingerprint(folder) != before


def test_a_digest_of_files_that_change_meanwhile_is_not_kept(folder, cache, monkeypatch):
    from spot.backbone import load

    build, path = load._build, folder / "model.safetensors"

    def build_while_somebody_writes(*arguments):
        model = build(*arguments)
        os.utime(path, ns=(0, 0))
        return model

    monkeypatch.setattr(load, "_build", build_while_somebody_writes)
    load_backbone(str(folder))
    assert not cache.exists()


# -- tying and scaling, as the checkpoint bears them out -------------------------------------------------


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_output_layer_beside_a_config_that_calls_the_model_tied_is_used(folder):
    before = load_backbone(str(folder))
    change_config(folder, tie_word_embeddings=True, scale_decoder_outputs=False)
    after = load_backbone(str(folder))
    assert (after.config, after.fingerprint) == (before.config, before.fingerprint)


@pytest.mark.parametrize("family", ["mt5", "t5"])
def test_a_tied_model_without_scaling_has_its_own_fingerprint(folder, family):
    path = folder / "model.safetensors"
    tensors = dict(safetensors.numpy.load_file(path))
    del tensors["lm_head.weight"]
    path.unlink()
    safetensors.numpy.save_file(tensors, path)
    said = {} if family == "mt5" else {"scale_decoder_outputs": False}
    change_config(folder, model_type=family, tie_word_embeddings=True, **said)
    unscaled = load_backbone(str(folder))
    assert (unscaled.config.tied, unscaled.config.scaled) == (True, False)
    change_config(folder, model_type="t5", tie_word_embeddings=True, scale_decoder_outputs=True)
    assert fingerprint(folder) != unscaled.fingerprint
