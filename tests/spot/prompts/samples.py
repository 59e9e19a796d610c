"""Prompts in files and folders that the tests of this room share."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from spot.errors import PromptError
from spot.prompts.files import read_prompt
from spot.prompts.write import write_prompt

SUFFIXES = (".npy", ".safetensors")
PROMPT = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
"""What PyTorch's files hold in these tests."""

STORED = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
"""What an adapter stores: twice its prompt's length."""

ADAPTER = {
    "peft_type": "PROMPT_TUNING",
    "task_type": "SEQ_2_SEQ_LM",
    "num_virtual_tokens": 3,
    "num_transformer_submodules": 2,
    "token_dim": 4,
    "base_model_name_or_path": "google/t5-v1_1-small",
}


def content(suffix: str, **tensors: np.ndarray) -> bytes:
    """Bytes of a well-formed file."""
    if suffix == ".safetensors":
        return safetensors.numpy.save(tensors)
    stream = io.BytesIO()
    np.save(stream, next(iter(tensors.values())))
    return stream.getvalue()


def adapter(folder: Path, stored: np.ndarray = STORED, **changes: object) -> Path:
    """The folder of an adapter as PEFT writes it."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER | changes))
    (folder / "adapter_model.safetensors").write_bytes(
        content(".safetensors", prompt_embeddings=stored)
    )
    return folder


def with_facts(path: Path, **facts: str) -> Path:
    write_prompt(path, PROMPT, facts)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(PromptError) as caught:
        read_prompt(path)
    line = str(caught.value)
    assert line.startswith((f"{path}: ", f"{path}{os.sep}"))
    assert "\n" not in line
    return line
