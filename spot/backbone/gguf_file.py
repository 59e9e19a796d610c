"""GGUF files of Llama-family models: config, weights and tokenizer in one file, by the ``gguf`` package.

Tensors come out dequantised, under their Hugging Face names and in that orientation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spot.backbone.config import Config, config_from_huggingface
from spot.backbone.tokenizer import Tokenizer, byte_level_tokenizer
from spot.errors import BackboneError

ARCHITECTURES = ("llama", "qwen2")

SIZES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rope_theta": "rope.freq_base",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
"""Config field to the name of its metadata behind the architecture."""

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class GGUFFile:
    """An opened file; tensors are read and dequantised one by one.

    Raises (the constructor):
        BackboneError: no GGUF file, damaged, or of another architecture; or the ``gguf`` package is missing.
    """

    def __init__(self, path: Path) -> None:
        try:
            from gguf import GGUFReader
        except ModuleNotFoundError as error:
            raise BackboneError(f"{path}: reading GGUF needs the gguf package; pip install 'gguf>=0.10'") from error
        try:
            self._reader = GGUFReader(path)
            self._facts: dict[str, Any] = {name: field.contents() for name, field in self._reader.fields.items()}
        except (OSError, ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise BackboneError(f"{path}: not a GGUF file, or damaged ({error})") from error
        self.path = path
        self.architecture = str(self._facts.get("general.architecture"))
        if self.architecture not in ARCHITECTURES:
            raise BackboneError(
                f"{path}: architecture is {self.architecture!r}; expected one of {', '.join(ARCHITECTURES)}"
            )

    def config(self) -> Config:
        """The model's shape, from the metadata."""
        facts = {
            field: self._facts[f"{self.architecture}.{name}"]
            for field, name in SIZES.items()
            if f"{self.architecture}.{name}" in self._facts
        }
        scaling = self._facts.get(f"{self.architecture}.rope.scaling.type", "none")
        names = {tensor.name for tensor in self._reader.tensors}
        return config_from_huggingface(
            facts
            | {
                "model_type": self.architecture,
                "vocab_size": len(self._facts.get("tokenizer.ggml.tokens", ())) or None,
                "tie_word_embeddings": "output.weight" not in names,
                "attention_bias": "blk.0.attn_q.bias" in names,
                "rope_parameters": {"rope_type": "default" if scaling == "none" else scaling},
                "rope_theta": facts.get("rope_theta"),
                "eos_token_id": self._facts.get("tokenizer.ggml.eos_token_id"),
                "pad_token_id": self._facts.get("tokenizer.ggml.padding_token_id"),
            }
        )

    def tokenizer(self) -> Tokenizer:
        """The byte-level BPE tokenizer that the metadata describes."""
        kind = self._facts.get("tokenizer.ggml.model")
        if kind != "gpt2":
            raise BackboneError(f"{self.path}: tokenizer {kind!r} is not supported; byte-level BPE ('gpt2') is")
        tokens = self._facts["tokenizer.ggml.tokens"]
        kinds = self._facts.get("tokenizer.ggml.token_type", [1] * len(tokens))
        try:
            return byte_level_tokenizer(
                tokens,
                self._facts["tokenizer.ggml.merges"],
                style=str(self._facts.get("tokenizer.ggml.pre", "default")),
                special=[token for token, kind in zip(tokens, kinds, strict=True) if kind != 1],
                end=tokens[self._facts["tokenizer.ggml.eos_token_id"]],
            )
        except (KeyError, IndexError, ValueError) as error:
            raise BackboneError(f"{self.path}: its tokenizer cannot be rebuilt ({error})") from error

    def tensors(self) -> Mapping[str, Callable[[], np.ndarray]]:
        """Every tensor by Hugging Face name, as a function that reads it as float32."""
        return {self._name(tensor.name): self._read(tensor) for tensor in self._reader.tensors}

    def _name(self, name: str) -> str:
        block, part, kind = re.fullmatch(r"(?:blk\.(\d+)\.)?(.+)\.(weight|bias)", name).groups()  # type: ignore[union-attr]
        known = NAMES.get(part, part)
        return f"model.layers.{block}.{known}.{kind}" if block else f"{known}.{kind}"

    def _read(self, tensor: Any) -> Callable[[], np.ndarray]:
        from gguf import dequantize

        def read() -> np.ndarray:
            try:
                values: np.ndarray = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
            except NotImplementedError as error:
                raise BackboneError(
                    f"{self.path}: {tensor.name} is quantised as {tensor.tensor_type.name}, "
                    "which the gguf package cannot read"
                ) from error
            heads = {"attn_q": "attention.head_count", "attn_k": "attention.head_count_kv"}
            part = tensor.name.split(".")[-2]
            if self.architecture == "llama" and part in heads:
                return _halves(values, int(self._facts[f"llama.{heads[part]}"]))
            return values

        return read


def _halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's order of rotary pairs in Llama's queries and keys: neighbours there, half a head apart here."""
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)
