"""GGUF files of Llama-family models: config, weights and tokenizer in one file, dequantised by the ``gguf`` package.

Tensors come out under their Hugging Face names and in that orientation. The header is read here, with every count and
length held against the file's size; the package's own reader loops as often as a file says.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from spot.backbone.byte_level import LLAMA_3, byte_level_tokenizer
from spot.backbone.config import Config, config_from_huggingface
from spot.backbone.files import check_file
from spot.backbone.tokenizer import Tokenizer
from spot.backbone.weights import StoredTensor, Tensors
from spot.errors import BackboneError
from tasks.errors import shown

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


SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
"""Type of a metadata value to its form; 8 is text, 9 an array."""

TEXT, ARRAY = 8, 9
VERSIONS = (2, 3)
MOST_AXES = 4


class _Stored(NamedTuple):
    """A tensor as the header describes it: axes from the fastest on, the quantisation's number, where it lies."""

    axes: tuple[int, ...]
    kind: int
    offset: int


class GGUFFile:
    """An opened file; tensors are read and dequantised one by one.

    Raises (the constructor):
        BackboneError: no GGUF file, damaged, or of another architecture; or the ``gguf`` package is missing.
    """

    def __init__(self, path: Path) -> None:
        try:
            import gguf  # noqa: F401
        except ModuleNotFoundError as error:
            raise BackboneError(
                f"{path}: reading GGUF needs the gguf package; pip install 'gguf>=0.10'"
            ) from error
        check_file(path)
        try:
            with path.open("rb") as file:
                self._facts, self._stored = _Header(file, path.stat().st_size).read()
        except (OSError, ValueError, LookupError, TypeError, OverflowError, struct.error) as error:
            raise BackboneError(f"{path}: not a GGUF file, or damaged ({error})") from error
        self.path = path
        self.architecture = self._facts.get("general.architecture")
        if self.architecture not in ARCHITECTURES:
            raise BackboneError(
                f"{path}: architecture is {shown(self.architecture)}; expected one of {', '.join(ARCHITECTURES)}"
            )

    def config(self) -> Config:
        """The model's shape, from the metadata."""
        facts = {
            field: self._facts[f"{self.architecture}.{name}"]
            for field, name in SIZES.items()
            if f"{self.architecture}.{name}" in self._facts
        }
        scaling = self._facts.get(f"{self.architecture}.rope.scaling.type", "none")
        tokens = self._facts.get("tokenizer.ggml.tokens")
        return config_from_huggingface(
            facts
            | {
                "model_type": self.architecture,
                "vocab_size": len(tokens) if isinstance(tokens, list) and tokens else None,
                "tie_word_embeddings": "output.weight" not in self._stored,
                "attention_bias": "blk.0.attn_q.bias" in self._stored,
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
            raise BackboneError(
                f"{self.path}: tokenizer {shown(kind)} is not supported; byte-level BPE ('gpt2') is"
            )
        tokens, merges = self._table("tokens", str), self._table("merges", str)
        kinds = self._table("token_type", int) or [1] * len(tokens)
        style = str(self._facts.get("tokenizer.ggml.pre", "default"))
        begins = self._facts.get("tokenizer.ggml.add_bos_token", style == LLAMA_3)
        first = self._facts.get("tokenizer.ggml.bos_token_id") if begins else None
        try:
            return byte_level_tokenizer(
                tokens,
                merges,
                style=style,
                special=[token for token, kind in zip(tokens, kinds, strict=True) if kind != 1],
                end=tokens[self._facts["tokenizer.ggml.eos_token_id"]],
                begin="" if first is None else tokens[first],
            )
        except BackboneError as error:
            raise BackboneError(f"{self.path}: {error}") from error
        except (LookupError, ValueError, TypeError) as error:
            raise BackboneError(
                f"{self.path}: its tokenizer cannot be rebuilt ({error})"
            ) from error

    def _table(self, name: str, kind: type[Any]) -> list[Any]:
        table = self._facts.get(f"tokenizer.ggml.{name}", [])
        if not isinstance(table, list) or not all(isinstance(entry, kind) for entry in table):
            raise BackboneError(
                f"{self.path}: its tokenizer cannot be rebuilt ({name} is no table)"
            )
        return table

    def tensors(self) -> Tensors:
        """Every tensor by Hugging Face name, as a function that reads it as float32."""
        return {
            self._name(name): StoredTensor(at.axes[::-1], self._reader(name, at))
            for name, at in self._stored.items()
        }

    def _name(self, name: str) -> str:
        match = re.fullmatch(r"(?:blk\.(\d+)\.)?(.+)\.(weight|bias)", name)
        if match is None:
            return name
        block, part, kind = match.groups()
        known = NAMES.get(part, part)
        return f"model.layers.{block}.{known}.{kind}" if block else f"{known}.{kind}"

    def _reader(self, name: str, at: _Stored) -> Callable[[], np.ndarray]:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

        def read() -> np.ndarray:
            kind = GGMLQuantizationType(at.kind)
            block, size = GGML_QUANT_SIZES[kind]
            row = at.axes[0] // block * size
            content = np.fromfile(
                self.path, np.uint8, row * math.prod(at.axes[1:]), offset=at.offset
            )
            try:
                values: np.ndarray = dequantize(content.reshape(*at.axes[:0:-1], row), kind).astype(
                    np.float32, copy=False
                )
            except NotImplementedError as error:
                raise BackboneError(
                    f"{self.path}: {name} is quantised as {kind.name}, which the gguf package cannot read"
                ) from error
            heads = {"attn_q": "attention.head_count", "attn_k": "attention.head_count_kv"}
            part = name.split(".")[-2]
            if self.architecture == "llama" and part in heads:
                return _halves(values, self._heads(heads[part]))
            return values

        return read

    def _heads(self, name: str) -> int:
        """Heads of queries, or of keys, which are as many where the file does not say."""
        return int(self._facts.get(f"llama.{name}", self._facts["llama.attention.head_count"]))


class _Header:
    """What stands before the tensors: metadata, and names, shapes and places of tensors.

    Raises:
        ValueError, struct.error: not as the format has it, or more than the file can hold.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def read(self) -> tuple[dict[str, Any], dict[str, _Stored]]:
        """Metadata by name, and tensors by name with their offset in the file."""
        if self._bytes(4) != b"GGUF":
            raise ValueError("its first bytes are not GGUF")
        version = self._number("I")
        if version not in VERSIONS:
            raise ValueError(f"version {version}; expected one of {', '.join(map(str, VERSIONS))}")
        tensors, fields = self._count(24), self._count(13)
        facts: dict[str, Any] = {}
        for _ in range(fields):
            name = self._text()
            facts.setdefault(name, self._value(self._number("I")))
        stored = [(self._text(), self._stored()) for _ in range(tensors)]
        if len(dict(stored)) != tensors:
            raise ValueError("two tensors of one name")
        alignment = facts.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 2**20:
            raise ValueError(f"alignment {shown(alignment)}")
        start = -(-self._file.tell() // alignment) * alignment
        return facts, {name: self._placed(name, at, start) for name, at in stored}

    def _placed(self, name: str, at: _Stored, start: int) -> _Stored:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(at.kind)]
        if at.axes[0] % block:
            raise ValueError(f"rows of {shown(name)} are no whole blocks")
        if start + at.offset + math.prod(at.axes) // block * size > self._size:
            raise ValueError(f"tensor {shown(name)} reaches beyond the file")
        return at._replace(offset=start + at.offset)

    def _stored(self) -> _Stored:
        count = self._number("I")
        if not 1 <= count <= MOST_AXES:
            raise ValueError(f"a tensor of {count} axes")
        return _Stored(
            tuple(self._number("Q") for _ in range(count)), self._number("I"), self._number("Q")
        )

    def _value(self, kind: int) -> Any:
        if kind in SCALARS:
            return self._number(SCALARS[kind])
        if kind == TEXT:
            return self._text()
        if kind != ARRAY:
            raise ValueError(f"metadata of type {kind}")
        inner = self._number("I")
        if inner == TEXT:
            return [self._text() for _ in range(self._count(8))]
        if inner not in SCALARS:
            raise ValueError(f"an array of metadata of type {inner}")
        form = SCALARS[inner]
        count = self._count(struct.calcsize(form))
        return list(struct.unpack(f"<{count}{form}", self._bytes(count * struct.calcsize(form))))

    def _count(self, least: int) -> int:
        """A number of things that take so many bytes at the least."""
        count: int = self._number("Q")
        if count * least > self._size - self._file.tell():
            raise ValueError(f"it counts {count} things that it has no room for")
        return count

    def _number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self._bytes(struct.calcsize(form)))[0]

    def _text(self) -> str:
        return self._bytes(self._number("Q")).decode()

    def _bytes(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise ValueError("it is cut short")
        return self._file.read(count)


def _halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's order of rotary pairs in Llama's queries and keys: neighbours there, half a head apart here."""
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)
