"""The folder of a PEFT adapter: what its config says of a prompt, and what is written for PEFT to read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spot.backbone.files import read_json
from spot.errors import BackboneError, PromptError
from spot.prompts.prefix_rows import unfolded
from tasks.errors import shown

TENSOR = "prompt_embeddings"
PARAMETER = "prompt_encoder.default.embedding.weight"
"""What PEFT calls a prompt in a saved adapter, and in the state of a whole model."""

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""The files of an adapter; the first of the weights that is there is read, as PEFT does."""

KINDS = ("PROMPT_TUNING", "PREFIX_TUNING")
"""Types of adapters that are prompts."""

TASKS = ("SEQ_2_SEQ_LM", "CAUSAL_LM")
"""Task types whose adapters are a prompt and nothing else; those of classifiers have a head of their own."""


LAYERS = 10_000
"""More than any model has."""


class Adapter(NamedTuple):
    """What an adapter's config says.

    Attributes:
        length: P.
        parts: of ``parts * length`` stored rows PEFT puts the first ``length`` before inputs; 1 of a prefix, which is
            stored once.
        width: numbers of a row, ``None`` where that is not said.
        backbone: the model's name, empty where that is not said.
        form: of its prompt.
        layers: of a prefix, the place of every layer's key and value among those of a row; empty else.
    """

    length: int
    parts: int
    width: Any
    backbone: str
    form: str = "prompt"
    layers: Sequence[int] = ()


def is_adapter(path: Path) -> bool:
    """Whether this is a folder with an adapter's config, or the weights beside one."""
    folder = path if path.is_dir() else path.parent
    return (path.is_dir() or path.name in WEIGHTS) and (folder / CONFIG).is_file()


def is_prompt(folder: Path) -> bool:
    """Whether a folder is an adapter that is a prompt."""
    try:
        return read_json(folder / CONFIG).get("peft_type") in KINDS
    except BackboneError:
        return False


def read_config(folder: Path) -> Adapter:
    """What an adapter's config says.

    Raises:
        PromptError: no config, an adapter of another kind, or sizes that no prompt has.
        BackboneError: a config that is no JSON object.
    """
    where = folder / CONFIG
    if not where.is_file():
        raise PromptError(
            f"{folder}: a folder without {CONFIG}; expected a prompt's file or a PEFT adapter"
        )
    config = read_json(where)
    kind = config.get("peft_type")
    if kind not in KINDS:
        raise PromptError(
            f"{where}: peft_type is {shown(kind)}; only {' and '.join(KINDS)} are prompts, which excludes LoRA, "
            "P-tuning and multitask prompts"
        )
    task = config.get("task_type")
    if task is not None and task not in TASKS:
        raise PromptError(f"{where}: task_type is {shown(task)}, expected {' or '.join(TASKS)}; a classifier's "
                          "head is no part of a prompt")  # fmt: skip
    length, parts = config.get("num_virtual_tokens"), config.get("num_transformer_submodules")
    if parts is None:
        parts = 2 if task == "SEQ_2_SEQ_LM" else 1
    if (
        type(length) is not int
        or length < 1
        or parts not in ((1,) if task == "CAUSAL_LM" else (1, 2))
    ):
        raise PromptError(
            f"{where}: num_virtual_tokens is {shown(length)} and num_transformer_submodules {shown(parts)}; expected "
            "at least 1, and 1 or, for sequence-to-sequence models, 2"
        )
    named = config.get("base_model_name_or_path")
    made_for, width = named if isinstance(named, str) else "", config.get("token_dim")
    if kind == KINDS[0]:
        return Adapter(length, parts, width, made_for)
    count = config.get("num_layers")
    if type(count) is not int or not 1 <= count <= LAYERS or type(width) is not int or width < 1:
        raise PromptError(
            f"{where}: num_layers is {shown(count)} and token_dim {shown(width)}; a prefix needs both, at least 1, and "
            f"at most {LAYERS} layers"
        )
    # PEFT gives the cross-attention of encoder-decoders none, and the encoder neither
    form = "prefix_decoder" if task == TASKS[0] else "prefix"
    return Adapter(length, 1, 2 * count * width, made_for, form, layers_stored(count, parts == 2))


def weights_of(folder: Path) -> Path:
    """The file of weights that PEFT reads.

    Raises:
        PromptError: none is there.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise PromptError(f"{folder}: holds neither {' nor '.join(WEIGHTS)}; save the adapter again")


def adapter_files(
    prompt: np.ndarray,
    form: str,
    metadata: Mapping[str, str],
    config: Mapping[str, Any],
    *,
    where: Path,
) -> dict[str, bytes]:
    """An adapter's files by name.

    Args:
        prompt: ``[..., P, H]``.
        form: of it.
        metadata: facts about it, for the weights' header; its ``backbone`` is the model's name.
        config: of the backbone; empty where it is not known.
        where: the folder, for errors.

    Raises:
        PromptError: a form that PEFT does not know, or a prefix of a model whose config is not known.
    """
    from safetensors.numpy import save

    stored, more = _as_stored(prompt, form, config, where)
    adapter = {
        "task_type": None
        if not config
        else TASKS[0]
        if "num_decoder_layers" in config
        else TASKS[1],
        "base_model_name_or_path": metadata.get("backbone"),
        "inference_mode": True,
        "num_virtual_tokens": prompt.shape[-2],
        "num_transformer_submodules": 1,
    } | more
    return {
        WEIGHTS[0]: save({TENSOR: stored}, metadata={**metadata, "format": "pt"}),
        CONFIG: (json.dumps(adapter, indent=2) + "\n").encode(),
    }


def _as_stored(
    prompt: np.ndarray, form: str, config: Mapping[str, Any], where: Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """The rows that PEFT stores, and what its config says of them alone."""
    if form == "prompt":
        return prompt, {
            "peft_type": KINDS[0],
            "token_dim": prompt.shape[1],
            "num_layers": config.get("num_layers"),
            "num_attention_heads": config.get("num_heads"),
            "prompt_tuning_init": "RANDOM",
        }
    encoder_decoder = "num_decoder_layers" in config
    if form not in (("prefix_decoder",) if encoder_decoder else ("prefix", "prefix_decoder")):
        raise PromptError(
            f"{where.name}: PEFT's prompts are [P, H], and its prefixes those of a decoder's own attention (--form "
            f"prefix_decoder); this one has form {form} and shape {list(prompt.shape)}: write a file .npy or "
            ".safetensors"
        )
    names = ("num_decoder_layers", "num_heads", "d_kv") if encoder_decoder else (
        "num_hidden_layers", "num_key_value_heads", "head_dim"
    )  # fmt: skip
    try:
        count, heads, depth = (int(config[name]) for name in names)
    except KeyError as error:
        raise PromptError(
            f"{where.name}: a prefix needs its model's config to become an adapter; write a file .npy or .safetensors"
        ) from error
    both, places = unfolded(prompt, count, heads * depth), layers_stored(count, encoder_decoder)
    stored = np.zeros_like(both)
    stored[:, places] = both
    if not np.array_equal(stored[:, places], both):
        raise PromptError(
            f"{where.name}: PEFT gives two layers each of an encoder-decoder of {count} one prefix, and these differ; "
            "write a file .npy or .safetensors"
        )
    rows = stored.transpose(2, 1, 0, 3).reshape(prompt.shape[-2], -1)
    return np.ascontiguousarray(rows), {
        "peft_type": KINDS[1],
        "token_dim": heads * depth,
        "num_layers": count,
        "num_attention_heads": heads,
        "num_transformer_submodules": 2 if encoder_decoder else 1,
        "prefix_projection": False,
        "encoder_hidden_size": None,
    }


def prefix_of(stored: np.ndarray, adapter: Adapter) -> np.ndarray:
    """Keys and values ``[2, A, P, F]`` of a prefix that is stored as ``[P, A * 2 * F]``."""
    each = stored.reshape(adapter.length, len(adapter.layers), 2, -1)
    return each[:, list(adapter.layers)].transpose(2, 1, 0, 3)


def layers_stored(count: int, encoder_decoder: bool) -> list[int]:
    """At which place of a row PEFT looks for each of ``count`` layers.

    For encoder-decoders it writes the row twice behind itself, for the decoder's own attention and for that to the
    encoder, takes two layers at a time for one, and drops the second (0.21, ``PeftModel.get_prompt``): layer l is at
    ``2 l mod count``, and where the count is even two layers share a place.
    """
    return [(2 * layer if encoder_decoder else layer) % count for layer in range(count)]
