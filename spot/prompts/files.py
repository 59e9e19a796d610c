"""Prompts read from files and PEFT's folders, and what those say of them. Nothing is ever unpickled.

No JAX is imported.
"""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bank.errors import BankError
from bank.identity import ENSEMBLE
from bank.vectors import checked_prompt, tokens
from spot.backbone.files import check_file
from spot.errors import BackboneError, PromptError, SpotError
from spot.prompts import peft
from spot.prompts.formats import RANKS, READERS, START, TENSOR, Tensors
from spot.prompts.prefix_rows import folded
from tasks.errors import shown

LARGEST = 2**28
"""Bytes of a file with a prompt; 1,000 tokens of the widest models take a quarter of it."""


@dataclasses.dataclass(frozen=True)
class PromptFile:
    """A prompt read from a file or folder, and what that says about it.

    Attributes:
        path: where it was read.
        prompt: float32 ``[..., P, H]``, or N of them ``[N, ..., P, H]`` that answer together (:attr:`ensemble`).
        metadata: facts by name, all text; see :func:`bank.files.exported` for the names that a bank writes.
        tensor: its name in the file, where tensors have names.
        start: mean token ``[H]`` of the prompt that its run started from, where the file says it.
        adapter_form: what kind of prompt a PEFT adapter is; empty of others. Of a prefix the prompt is
            ``[2, A, P, F]``: the adapter does not say how wide its model is, see :meth:`for_width`.
    """

    path: Path
    prompt: np.ndarray
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tensor: str = ""
    start: np.ndarray | None = None
    adapter_form: str = ""

    @property
    def width_unknown(self) -> bool:
        """Whether it is a prefix of PEFT's, of whose model nothing says how wide it is."""
        return bool(self.adapter_form) and self.prompt.ndim == RANKS["prefix"]

    def for_width(self, width: int) -> PromptFile:
        """The same for a model of width H: a prefix of PEFT's as ``[2, R, P, H]``."""
        if not self.width_unknown:
            return self
        metadata = {"recipe": json.dumps({"form": self.form})} | dict(self.metadata)
        prompt = folded(self.prompt, width)
        return dataclasses.replace(self, prompt=prompt, metadata=metadata, adapter_form="")

    @property
    def fingerprint(self) -> str | None:
        """Of the backbone it was made for, or ``None`` where the file does not say it.

        Raises:
            PromptError: what stands there is no sha256.
        """
        text = self.metadata.get("fingerprint")
        if text is not None and not re.fullmatch("[0-9a-f]{64}", text):
            raise PromptError(
                f"{self.path}: its fingerprint {shown(text)} is no sha256; export it again"
            )
        return text

    @property
    def form(self) -> str:
        """What was trained: by its recipe, or, where the file has none, the form that has so many axes.

        Raises:
            PromptError: a form that is not known, or another than the array's axes allow.
        """
        recipe, axes = self.recipe, self.prompt.ndim - (self.ensemble is not None)
        by_rank = next((name for name, rank in RANKS.items() if rank == axes), "")
        name = recipe.get("form", self.adapter_form or by_rank)
        if not isinstance(name, str) or RANKS.get(name) != axes:
            raise PromptError(
                f"{self.path}: its recipe says form {shown(name)}, its shape is {list(self.prompt.shape)}; "
                "export it again"
            )
        return name

    @property
    def ensemble(self) -> tuple[str, Sequence[float]] | None:
        """By what way N prompts answer together, and their weights or none; ``None`` of one prompt.

        Raises:
            PromptError: what stands there is no such thing.
        """
        told = self.recipe.get(ENSEMBLE)
        if told is None:
            return None
        by, weights = (told.get("by"), told.get("weights")) if isinstance(told, dict) else (0, 0)
        if not (
            isinstance(by, str)
            and isinstance(weights, list)
            and all(isinstance(weight, float) and 0 <= weight < np.inf for weight in weights)
            and len(weights) in (0, len(self.prompt))
        ):
            raise PromptError(
                f"{self.path}: says {shown(told)} of how its prompts answer together; export it again"
            )
        return by, weights

    def alone(self) -> PromptFile:
        """The same, of which something needs one prompt.

        Raises:
            PromptError: several that answer together.
        """
        if self.ensemble is not None:
            raise PromptError(
                f"{self.path}: holds {len(self.prompt)} prompts that answer together, and one is wanted; name one of "
                "those that it was made of"
            )
        return self

    def apart(self) -> list[PromptFile]:
        """Every prompt of an ensemble by itself; of one prompt, that one."""
        if self.ensemble is None:
            return [self]
        options = {name: option for name, option in self.recipe.items() if name != ENSEMBLE}
        told = {**self.metadata, "recipe": json.dumps({"form": self.form} | options)}
        return [dataclasses.replace(self, prompt=prompt, metadata=told) for prompt in self.prompt]

    def number(self, name: str) -> int | None:
        """A fact that is a whole number, or ``None`` where the file does not say it."""
        text = self.metadata.get(name, "")
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Options of the recipe it was trained with; empty where the file does not say them.

        Raises:
            PromptError: what stands there is no JSON object.
        """
        try:
            options = json.loads(self.metadata.get("recipe", "{}"))
        except (ValueError, RecursionError) as error:
            raise PromptError(f"{self.path}: its recipe is not JSON; export it again") from error
        if not isinstance(options, dict):
            raise PromptError(f"{self.path}: its recipe is no JSON object; export it again")
        return options


def read_prompt(path: Path, *, length: int | None = None) -> PromptFile:
    """Read a prompt from a file or from the folder of a PEFT adapter.

    Of a file with several tensors, ``prompt`` is read, or the only one that is ``[P, H]``. A PEFT adapter of a
    sequence-to-sequence model stores ``[2P, H]`` and uses the first half; its folder says so, its weights alone do not.

    Args:
        path: ``.npy``, ``.safetensors``, ``.pt``, ``.pth`` or ``.bin``, or a folder with ``adapter_config.json``.
        length: P, where it is known what is expected.

    Raises:
        PromptError: nothing there, another format, pickled objects, several tensors, a wrong shape or length, NaN, or
            an adapter that is more than a prompt.
    """
    try:
        adapter = path.is_dir() or peft.is_adapter(path)
        return _checked_length(
            _read_adapter(path) if adapter else _read_file(path), length, told=adapter
        )
    except (BankError, BackboneError) as error:
        raise PromptError(str(error)) from error
    except OSError as error:
        raise PromptError(f"{path}: cannot be read ({error.strerror})") from error


def prompts_in(folder: Path) -> dict[str, Path]:
    """The prompts of a folder by name: files that :func:`read_prompt` reads, without their ending, and adapters.

    Raises:
        PromptError: no folder, or two prompts of one name.
    """
    if not folder.is_dir():
        raise PromptError(f"{folder}: no such folder")
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        adapter = path.is_dir() and peft.is_adapter(path)
        if not adapter and path.suffix not in READERS:
            continue
        name = path.name if adapter else path.stem
        if name in paths:
            raise PromptError(
                f"{folder}: holds two prompts of {name}, {paths[name].name} and {path.name}; keep one"
            )
        paths[name] = path
    return paths


def _read_file(path: Path) -> PromptFile:
    if not path.is_file():
        raise PromptError(f"{path}: no such file")
    reader = READERS.get(path.suffix)
    if reader is None:
        raise PromptError(
            f"{path}: unknown format {path.suffix!r}; expected {', '.join(READERS)} or a PEFT folder"
        )
    size = check_file(path).stat().st_size
    if size > LARGEST:
        raise PromptError(f"{path}: has {size} bytes; a prompt has at most {LARGEST}")
    tensors, metadata = reader(path)
    name = _chosen(path, tensors)
    try:
        values = tensors[name]()
        start = tensors[START]() if name == TENSOR and START in tensors else None
    except SpotError:
        raise
    except (ValueError, MemoryError) as error:
        raise PromptError(f"{path}: damaged ({error})") from error
    prompt = checked_prompt(values, where=str(path))
    if start is not None:
        start = _checked_start(path, start, prompt)
    file = PromptFile(path, prompt, metadata, tensor=name, start=start)
    if prompt.ndim not in RANKS.values() and file.ensemble is None:
        raise PromptError(
            f"{path}: expected an array [P, H], or [E, P, H], found shape {list(prompt.shape)[:9]}"
        )
    return file


def _checked_start(path: Path, start: np.ndarray, prompt: np.ndarray) -> np.ndarray:
    """The same as float32 ``[W]``, as wide as the prompt's tokens."""
    if start.ndim != 1:
        raise PromptError(
            f"{path}, {START}: expected an array [W], found shape {list(start.shape)}"
        )
    start = checked_prompt(start[None], where=f"{path}, {START}")[0]
    width = tokens(prompt).shape[1]
    if start.shape != (width,):
        raise PromptError(f"{path}: {START} has width {len(start)}, the prompt {width}")
    return start


def _chosen(path: Path, tensors: Tensors) -> str:
    """Name of the tensor that is the prompt."""
    if TENSOR in tensors:
        return TENSOR
    if peft.TENSOR in tensors and len(tensors) > 1:
        others = ", ".join(shown(name) for name in list(tensors)[:4] if name != peft.TENSOR)
        raise PromptError(
            f"{path}: more than a prompt; beside {peft.TENSOR} it holds {others}; save the prompt alone"
        )
    names = [name for name, read in tensors.items() if len(tensors) == 1 or read().ndim == 2]
    if len(names) != 1:
        raise PromptError(
            f"{path}: holds {len(tensors)} tensors, {len(names)} of them [P, H]; expected one, or one named {TENSOR!r}"
        )
    return names[0]


def _checked_length(file: PromptFile, length: int | None, *, told: bool) -> PromptFile:
    """The same file; ``told`` says whether an adapter's config has told which of its rows are used."""
    rows = file.prompt.shape[-2]
    of_peft = file.tensor == peft.TENSOR or file.tensor.endswith(peft.PARAMETER)
    if length is None and not told and of_peft and rows % 2 == 0:
        warnings.warn(
            f"{file.path}: all {rows} tokens are taken; PEFT stores twice its length for sequence-to-sequence models "
            "and uses the first half: if this is such an adapter, give its folder",
            stacklevel=3,
        )
    if length in (None, rows):
        return file
    if rows == 2 * length and not told:
        raise PromptError(
            f"{file.path}: prompt has {rows} tokens, expected {length}: PEFT stores twice its length for "
            f"sequence-to-sequence models and uses the first half; give the adapter's folder, or set --prompt-length"
        )
    raise PromptError(
        f"{file.path}: prompt has {rows} tokens, expected {length}; set --prompt-length to match"
    )


def _read_adapter(path: Path) -> PromptFile:
    """The prompt that PEFT would put before inputs; ``path`` is the adapter's folder, or the weights in it."""
    folder = path if path.is_dir() else path.parent
    adapter = peft.read_config(folder)
    weights = path if path.is_file() else peft.weights_of(folder)
    stored = _read_file(weights)
    expected = [adapter.length * adapter.parts, adapter.width or stored.prompt.shape[1]]
    if list(stored.prompt.shape) != expected:
        raise PromptError(
            f"{weights}: has shape {list(stored.prompt.shape)}, but {peft.CONFIG} says {shown(expected)}: "
            f"{shown(adapter.length)} virtual tokens in {adapter.parts} parts"
        )
    named = {"backbone": adapter.backbone} if adapter.backbone else {}
    kept = stored.prompt[: adapter.length]
    return PromptFile(
        path,
        peft.prefix_of(kept, adapter) if adapter.layers else kept.copy(),
        named | dict(stored.metadata),
        tensor=stored.tensor,
        adapter_form=adapter.form,
    )
