"""The folder of a PEFT adapter: what its config says of a prompt, and what is written for PEFT to read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spot.backbone.files import read_json
from spot.errors import BackboneError, PromptError
from tasks.errors import shown

TENSOR = "prompt_embeddings"
PARAMETER = "prompt_encoder.default.embedding.weight"
"""What PEFT calls a prompt in a saved adapter, and in the state of a whole model."""

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""The files of an adapter; the first of the weights that is there is read, as PEFT does."""

TASKS = ("SEQ_2_SEQ_LM", "CAUSAL_LM")
"""Task types whose adapters are a prompt and nothing else; those of classifiers have a head of their own."""


class Adapter(NamedTuple):
    """What an adapter's config says: of ``parts * length`` stored rows, PEFT puts the first ``length`` before inputs.

    ``width`` and ``backbone``, the model's name, are ``None`` and empty where they are not said.
    """

    length: int
    parts: int
    width: Any
    backbone: str


def is_adapter(path: Path) -> bool:
    """Whether this is a folder with an adapter's config, or the weights beside one."""
    folder = path if path.is_dir() else path.parent
    return (path.is_dir() or path.name in WEIGHTS) and (folder / CONFIG).is_file()


def is_prompt(folder: Path) -> bool:
    """Whether a folder is an adapter that is a prompt."""
    try:
        return read_json(folder / CONFIG).get("peft_type") == "PROMPT_TUNING"
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
    if config.get("peft_type") != "PROMPT_TUNING":
        raise PromptError(
            f"{where}: peft_type is {shown(config.get('peft_type'))}; only PROMPT_TUNING is a prompt, which excludes "
            "LoRA, prefix tuning, P-tuning and multitask prompts"
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
    made_for = config.get("base_model_name_or_path")
    return Adapter(
        length, parts, config.get("token_dim"), made_for if isinstance(made_for, str) else ""
    )


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
    prompt: np.ndarray, metadata: Mapping[str, str], config: Mapping[str, Any], *, where: Path
) -> dict[str, bytes]:
    """An adapter's files by name.

    Args:
        prompt: ``[P, H]``.
        metadata: facts about it, for the weights' header; its ``backbone`` is the model's name.
        config: of the backbone; empty where it is not known.
        where: the folder, for errors.

    Raises:
        PromptError: a prompt of more axes, which PEFT does not know.
    """
    from safetensors.numpy import save

    if prompt.ndim != 2:
        raise PromptError(
            f"{where.name}: PEFT's prompt tuning has prompts [P, H], this one has shape {list(prompt.shape)}; "
            "write a file .npy or .safetensors"
        )
    adapter = {
        "peft_type": "PROMPT_TUNING",
        "task_type": None
        if not config
        else TASKS[0]
        if "num_decoder_layers" in config
        else TASKS[1],
        "base_model_name_or_path": metadata.get("backbone"),
        "inference_mode": True,
        "num_virtual_tokens": prompt.shape[0],
        "token_dim": prompt.shape[1],
        "num_transformer_submodules": 1,
        "num_layers": config.get("num_layers"),
        "num_attention_heads": config.get("num_heads"),
        "prompt_tuning_init": "RANDOM",
    }
    return {
        WEIGHTS[0]: save({TENSOR: prompt}, metadata={**metadata, "format": "pt"}),
        CONFIG: (json.dumps(adapter, indent=2) + "\n").encode(),
    }
