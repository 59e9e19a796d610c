"""Prompts written to ``.npy``, safetensors and PEFT's folders, whole or not at all. No JAX is imported."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bank.errors import BankError
from bank.folders import is_empty, move_in, stage_for
from bank.vectors import checked_prompt
from spot.errors import PromptError
from spot.prompts import peft
from spot.prompts.files import PromptFile
from spot.prompts.formats import START, TENSOR


def write_prompt(
    path: Path,
    prompt: np.ndarray,
    metadata: Mapping[str, str] | None = None,
    *,
    format: str = "",
    config: Mapping[str, Any] | None = None,
    start: np.ndarray | None = None,
) -> None:
    """Write a prompt ``[..., P, H]``, whole or not at all.

    Args:
        path: a file that ends in ``.npy`` (the array alone) or ``.safetensors`` (with metadata), or, without an ending,
            the folder of a PEFT adapter, as ``PeftModel.from_pretrained`` reads it.
        prompt: what to write.
        metadata: facts about it.
        format: ``npy``, ``safetensors`` or ``peft``, where the name is not to say it.
        config: of the backbone, which tells PEFT what kind of model it is.
        start: mean token ``[W]`` of the prompt that its run started from; only safetensors takes it.

    Raises:
        PromptError: no prompt, another format, a form that PEFT does not know, a folder of something else, or a folder
            or disk that cannot take it.
    """
    known = {".npy": "npy", ".safetensors": "safetensors", "": "peft"}
    chosen = format or known.get(path.suffix) or ("peft" if path.is_dir() else path.suffix)
    if chosen != "peft" and (chosen not in known.values() or known.get(path.suffix) != chosen):
        raise PromptError(
            f"{path}: cannot be written as {chosen!r}; expected a file .npy or .safetensors, or a folder for PEFT"
        )
    with _writing(path):
        values, facts = checked_prompt(prompt), dict(metadata or {})
        if chosen == "peft":
            form = PromptFile(path, values, facts).alone().form
            files = peft.adapter_files(values, form, facts, config or {}, where=path)
            _place(path, files, folder=True)
        else:
            content = _npy(values) if chosen == "npy" else _safetensors(values, start, facts)
            _place(path, {path.name: content}, folder=False)


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write a ``.safetensors`` file of float32 tensors, whole or not at all.

    Raises:
        PromptError: another ending, or a folder or disk that cannot take it.
    """
    from safetensors.numpy import save

    if path.suffix != ".safetensors":
        raise PromptError(f"{path}: tensors go into a file .safetensors")
    with _writing(path):
        _place(path, {path.name: save(dict(tensors), metadata=dict(metadata))}, folder=False)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What goes wrong is a PromptError in one line."""
    try:
        yield
    except BankError as error:
        raise PromptError(str(error)) from error
    except OSError as error:
        raise PromptError(
            f"{path}: cannot be written ({error.strerror}); choose another place"
        ) from error


def _npy(prompt: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, prompt, allow_pickle=False)
    return stream.getvalue()


def _safetensors(prompt: np.ndarray, start: np.ndarray | None, metadata: dict[str, str]) -> bytes:
    from safetensors.numpy import save

    beside = {} if start is None else {START: np.ascontiguousarray(start, np.float32)}
    content: bytes = save({TENSOR: prompt} | beside, metadata=metadata)
    return content


def _place(path: Path, files: Mapping[str, bytes], *, folder: bool) -> None:
    """Write files beside their place, and move them there when all are whole; a folder that is new moves as one."""
    if (
        folder
        and path.exists()
        and (not path.is_dir() or (not is_empty(path) and not peft.is_prompt(path)))
    ):
        raise PromptError(
            f"{path}: exists and is no PEFT adapter of a prompt; choose another folder"
        )
    with stage_for(path) as stage:
        for name, content in files.items():
            (stage / name).write_bytes(content)
        if folder:
            move_in(stage, path, list(files))
        else:
            os.replace(stage / path.name, path)
