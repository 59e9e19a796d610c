"""Write a backbone as a folder in Hugging Face's format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import flax.nnx as nnx
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from spot.backbone.config import Config
from spot.backbone.load import Backbone, find_model
from spot.backbone.model import AnyModel
from spot.backbone.tokenizer import SENTINELS, TransformersTokenizer

TOKENIZER_FILES = (
    "spiece.model",
    "sentencepiece.model",
    "tokenizer.model",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""What of a folder in Hugging Face's format belongs to its tokenizer."""


def named_tensors(model: AnyModel) -> dict[str, np.ndarray]:
    """Weights ``[...]`` by Hugging Face name, in their stored orientation and dtype."""
    _, parameters = nnx.split(model, nnx.Param)[:2]
    return {
        variable.get_metadata("tensor"): np.asarray(variable[...])
        for _, variable in nnx.to_flat_state(parameters)
    }


def save_backbone(
    model: AnyModel,
    folder: Path,
    *,
    tokenizer_model: bytes | None = None,
    sentinels: int = SENTINELS,
    dtype: DTypeLike = jnp.float32,
) -> None:
    """Write ``config.json``, ``model.safetensors`` and, where given, ``spiece.model`` with its settings."""
    import safetensors.numpy

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: np.ascontiguousarray(t.astype(dtype)) for name, t in named_tensors(model).items()
    }
    config = model.config.to_huggingface() | {"torch_dtype": jnp.dtype(dtype).name}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(
        safetensors.numpy.save(tensors, metadata={"format": "pt"})
    )
    if tokenizer_model is None:
        return
    (folder / "spiece.model").write_bytes(tokenizer_model)
    settings = {
        "tokenizer_class": "T5Tokenizer",
        "extra_ids": sentinels,
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings, indent=2) + "\n", encoding="utf-8"
    )


def save_changed(
    backbone: Backbone, weights: Any, folder: Path, *, config: Config | None = None
) -> Path:
    """Write a backbone with other weights, or another config, and the tokenizer as it was; returns the folder.

    The tokenizer of a model that was read from one file is written as ``transformers`` writes its own.
    """
    model: Any = nnx.merge(backbone.graph, weights)
    model.config = config or backbone.config
    save_backbone(model, folder)
    source = find_model(backbone.name)
    if isinstance(backbone.tokenizer, TransformersTokenizer) and source.is_file():
        backbone.tokenizer.save(folder)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copy(source / name, folder / name)
    return folder
