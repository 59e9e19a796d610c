"""Prompts in files: ``.npy``, safetensors, PyTorch's files and PEFT's folders. Nothing is ever unpickled.

What a file claims is held against its size before anything is allocated. No JAX is imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.errors import BankError
from bank.vectors import checked_prompt, tokens
from spot.backbone.files import check_file, read_json
from spot.backbone.torch_file import TorchFile
from spot.backbone.weights import open_safetensors, stored_array
from spot.errors import BackboneError, PromptError, SpotError
from tasks.errors import shown

if TYPE_CHECKING:
    from bank.records import BackboneRecord
    from spot.backbone.load import Backbone

TENSOR = "prompt"
"""Name of the prompt in a safetensors file that we write."""

START = "start"
"""Beside it, the mean token of the prompt that the run started from, where that is known."""

RANKS = {"prompt": 2, "deep": 3}
"""Axes of a prompt ``[..., P, H]`` by its form (:mod:`spot.prompts.forms`, which is not imported: it loads JAX)."""

PEFT_TENSOR = "prompt_embeddings"
PEFT_PARAMETER = "prompt_encoder.default.embedding.weight"
"""What PEFT calls a prompt in a saved adapter, and in the state of a whole model."""

PEFT_CONFIG = "adapter_config.json"
PEFT_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""The files of a PEFT adapter; the first of the weights that is there is read, as PEFT does."""

PEFT_TASKS = ("SEQ_2_SEQ_LM", "CAUSAL_LM")
"""Task types whose adapters are a prompt and nothing else; those of classifiers have a head of their own."""

LARGEST = 2**28
"""Bytes of a file with a prompt; 1,000 tokens of the widest models take a quarter of it."""

LONGEST_HEADER = 4096
"""Bytes of a ``.npy`` header, which says one dtype and one shape."""

Tensors = Mapping[str, Callable[[], np.ndarray]]


@dataclasses.dataclass(frozen=True)
class PromptFile:
    """A prompt read from a file or folder, and what that says about it.

    Attributes:
        path: where it was read.
        prompt: float32 ``[P, H]``.
        metadata: facts by name, all text; see :func:`bank.files.exported` for the names that a bank writes.
        tensor: its name in the file, where tensors have names.
        start: mean token ``[H]`` of the prompt that its run started from, where the file says it.
    """

    path: Path
    prompt: np.ndarray
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tensor: str = ""
    start: np.ndarray | None = None

    @property
    def fingerprint(self) -> str | None:
        """Of the backbone it was made for, or ``None`` where the file does not say it.

        Raises:
            PromptError: what stands there is no sha256.
        """
        text = self.metadata.get("fingerprint")
        if text is not None and not re.fullmatch("[0-9a-f]{64}", text):
            raise PromptError(f"{self.path}: its fingerprint {shown(text)} is no sha256; export it again")
        return text

    @property
    def form(self) -> str:
        """What was trained: by its recipe, or, where the file has none, the form that has so many axes.

        Raises:
            PromptError: a form that is not known, or another than the array's axes allow.
        """
        by_rank = next(name for name, rank in RANKS.items() if rank == self.prompt.ndim)
        recipe = self.recipe
        name = recipe.get("form", "prompt") if recipe else by_rank
        if RANKS.get(name) != self.prompt.ndim:
            raise PromptError(
                f"{self.path}: its recipe says form {shown(name)}, its shape is {list(self.prompt.shape)}; "
                "export it again"
            )
        return str(name)

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
        config = path if path.is_dir() else path.parent if path.name in PEFT_WEIGHTS else None
        adapter = config is not None and (path.is_dir() or (config / PEFT_CONFIG).is_file())
        return _checked_length(_read_adapter(path) if adapter else _read_file(path), length, told=adapter)
    except (BankError, BackboneError) as error:
        raise PromptError(str(error)) from error
    except OSError as error:
        raise PromptError(f"{path}: cannot be read ({error.strerror})") from error


def check_backbone(file: PromptFile, backbone: Backbone | BackboneRecord) -> None:
    """Refuse a prompt that was made for another backbone; of one without a fingerprint, only name and width are known.

    A name may be a folder's, so that another one is a warning.

    Raises:
        PromptError: it names another fingerprint, or has another width.
    """
    made_for = file.fingerprint or backbone.fingerprint
    if made_for != backbone.fingerprint:
        raise PromptError(
            f"{file.path}: prompt was made for backbone {shown(file.metadata.get('backbone', 'unknown'))} "
            f"({made_for[:12]}), not for {backbone.name} ({backbone.fingerprint[:12]})"
        )
    check_width(file.prompt, backbone, where=str(file.path))
    named = file.metadata.get("backbone", "")
    if file.fingerprint is None and named and Path(named).name != Path(backbone.name).name:
        warnings.warn(
            f"{file.path}: made for a backbone called {shown(named)}, and has no fingerprint to tell whether "
            f"{backbone.name} is the same; with another one its scores mean nothing",
            stacklevel=2,
        )


def check_width(prompt: np.ndarray, backbone: Backbone | BackboneRecord, *, where: str) -> None:
    """Refuse a prompt ``[..., P, H]`` of another width than a backbone's.

    Raises:
        PromptError: beginning with ``where``.
    """
    if prompt.shape[-1] != backbone.width:
        raise PromptError(
            f"{where}: prompt has width {prompt.shape[-1]}, but backbone {backbone.name} has width {backbone.width}; "
            "it was made for another model"
        )


def prompts_in(folder: Path) -> dict[str, Path]:
    """The prompts of a folder by name: files that :func:`read_prompt` reads, without their ending, and adapters.

    Raises:
        PromptError: no folder, or two prompts of one name.
    """
    if not folder.is_dir():
        raise PromptError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        adapter = (path / PEFT_CONFIG).is_file()
        if not adapter and path.suffix not in READERS:
            continue
        name = path.name if adapter else path.stem
        if name in found:
            raise PromptError(f"{folder}: holds two prompts of {name}, {found[name].name} and {path.name}; keep one")
        found[name] = path
    return found


# -- reading -------------------------------------------------------------------------------------------------


def _read_file(path: Path) -> PromptFile:
    if not path.is_file():
        raise PromptError(f"{path}: no such file")
    reader = READERS.get(path.suffix)
    if reader is None:
        raise PromptError(f"{path}: unknown format {path.suffix!r}; expected {', '.join(READERS)} or a PEFT folder")
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
    if prompt.ndim not in RANKS.values():
        raise PromptError(f"{path}: expected an array [P, H], or [E, P, H], found shape {list(prompt.shape)[:9]}")
    if start is not None:
        if start.ndim != 1:
            raise PromptError(f"{path}, {START}: expected an array [W], found shape {list(start.shape)}")
        start = checked_prompt(start[None], where=f"{path}, {START}")[0]
        width = tokens(prompt).shape[1]
        if start.shape != (width,):
            raise PromptError(f"{path}: {START} has width {len(start)}, the prompt {width}")
    return PromptFile(path, prompt, metadata, tensor=name, start=start)


def _chosen(path: Path, tensors: Tensors) -> str:
    """Name of the tensor that is the prompt."""
    if TENSOR in tensors:
        return TENSOR
    if PEFT_TENSOR in tensors and len(tensors) > 1:
        others = ", ".join(shown(name) for name in list(tensors)[:4] if name != PEFT_TENSOR)
        raise PromptError(f"{path}: more than a prompt; beside {PEFT_TENSOR} it holds {others}; save the prompt alone")
    names = [name for name, read in tensors.items() if len(tensors) == 1 or read().ndim == 2]
    if len(names) != 1:
        raise PromptError(
            f"{path}: holds {len(tensors)} tensors, {len(names)} of them [P, H]; expected one, or one named {TENSOR!r}"
        )
    return names[0]


def _checked_length(file: PromptFile, length: int | None, *, told: bool) -> PromptFile:
    """The same file; ``told`` says whether an adapter's config has told which of its rows are used."""
    rows = file.prompt.shape[-2]
    of_peft = file.tensor == PEFT_TENSOR or file.tensor.endswith(PEFT_PARAMETER)
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
    raise PromptError(f"{file.path}: prompt has {rows} tokens, expected {length}; set --prompt-length to match")


def _read_adapter(path: Path) -> PromptFile:
    """The prompt that PEFT would put before inputs: the first ``num_virtual_tokens`` rows of what it stored.

    ``path`` is the adapter's folder, or the weights in it.
    """
    folder = path if path.is_dir() else path.parent
    where = folder / PEFT_CONFIG
    if not where.is_file():
        raise PromptError(f"{folder}: a folder without {PEFT_CONFIG}; expected a prompt's file or a PEFT adapter")
    config = read_json(where)
    if config.get("peft_type") != "PROMPT_TUNING":
        raise PromptError(
            f"{where}: peft_type is {shown(config.get('peft_type'))}; only PROMPT_TUNING is a prompt, which excludes "
            "LoRA, prefix tuning, P-tuning and multitask prompts"
        )
    task = config.get("task_type")
    if task is not None and task not in PEFT_TASKS:
        raise PromptError(f"{where}: task_type is {shown(task)}, expected {' or '.join(PEFT_TASKS)}; a classifier's "
                          "head is no part of a prompt")  # fmt: skip
    length, parts = config.get("num_virtual_tokens"), config.get("num_transformer_submodules")
    if parts is None:
        parts = 2 if task == "SEQ_2_SEQ_LM" else 1
    if type(length) is not int or length < 1 or parts not in ((1,) if task == "CAUSAL_LM" else (1, 2)):
        raise PromptError(
            f"{where}: num_virtual_tokens is {shown(length)} and num_transformer_submodules {shown(parts)}; expected "
            "at least 1, and 1 or, for sequence-to-sequence models, 2"
        )
    weights = path if path.is_file() else next((folder / n for n in PEFT_WEIGHTS if (folder / n).is_file()), None)
    if weights is None:
        raise PromptError(f"{folder}: holds neither {' nor '.join(PEFT_WEIGHTS)}; save the adapter again")
    stored = _read_file(weights)
    expected = [length * parts, config.get("token_dim") or stored.prompt.shape[1]]
    if list(stored.prompt.shape) != expected:
        raise PromptError(
            f"{weights}: has shape {list(stored.prompt.shape)}, but {PEFT_CONFIG} says {shown(expected)}: "
            f"{shown(length)} virtual tokens in {parts} parts"
        )
    made_for = config.get("base_model_name_or_path")
    named = {"backbone": made_for} if isinstance(made_for, str) and made_for else {}
    return PromptFile(path, stored.prompt[:length].copy(), named | dict(stored.metadata), tensor=stored.tensor)


def _read_npy(path: Path) -> tuple[Tensors, Mapping[str, str]]:
    with path.open("rb") as file:
        start = file.read(8)
        if start[:2] == b"PK":
            raise PromptError(f"{path}: an archive of several arrays; expected one array [P, H]")
        if start[:6] != np.lib.format.MAGIC_PREFIX or start[6:7] not in (b"\1", b"\2", b"\3"):
            raise PromptError(f"{path}: not a plain .npy array (pickled objects are refused)")
        size = int.from_bytes(file.read(2 if start[6] == 1 else 4), "little")
        if size > LONGEST_HEADER:
            raise PromptError(f"{path}: its header has {size} bytes, expected at most {LONGEST_HEADER}")
        dtype, fortran, shape = _npy_facts(path, file.read(size).decode("latin-1"))
        offset = file.tell()
    expected, found = math.prod(shape) * dtype.itemsize, path.stat().st_size - offset
    if found != expected:
        how = "cut short" if found < expected else "longer than one array"
        raise PromptError(f"{path}: {how}; its header says {shown(list(shape))} {dtype}, {found} bytes follow")
    stored = stored_array(path, dtype, shape[::-1] if fortran else shape, offset)
    return {"": (lambda: stored().T) if fortran else stored}, {}


def _npy_facts(path: Path, header: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Dtype, order and shape that a header says. It is a Python literal, which is searched and not evaluated."""
    descr = re.search(r"""['"]descr['"]\s*:\s*['"]([<>=|]?)([a-zA-Z?])(\d{0,4})['"]""", header)
    fortran = re.search(r"""['"]fortran_order['"]\s*:\s*(True|False)""", header)
    shape = re.search(r"""['"]shape['"]\s*:\s*\(([\d, ]*)\)""", header)
    if descr and descr[2] == "O":
        raise PromptError(f"{path}: not a plain .npy array (pickled objects are refused)")
    if not (descr and fortran and shape):
        raise PromptError(f"{path}: not a plain .npy array; its header does not say one dtype, order and shape")
    numbers = re.findall(r"\d+", shape[1])
    if len(numbers) not in RANKS.values() or any(not number.strip("0") for number in numbers):
        raise PromptError(f"{path}: expected an array [P, H], found shape [{', '.join(numbers)[:40]}]")
    if max(map(len, numbers)) > 18:
        raise PromptError(f"{path}: cut short; its header says a shape larger than any file")
    try:
        dtype = np.dtype("".join(descr.groups()))
    except TypeError as error:
        raise PromptError(f"{path}: not a plain .npy array; its dtype {descr[2]}{descr[3]} is unknown") from error
    if dtype.kind not in "fiu":
        raise PromptError(f"{path}: expected numbers, found dtype {dtype.name}")
    return dtype, fortran[1] == "True", tuple(map(int, numbers))


def _read_safetensors(path: Path) -> tuple[Tensors, Mapping[str, str]]:
    from safetensors import safe_open

    tensors = open_safetensors(path)
    with safe_open(str(path), framework="numpy") as opened:
        return tensors, opened.metadata() or {}


def _read_torch(path: Path) -> tuple[Tensors, Mapping[str, str]]:
    opened = TorchFile(path)
    return {name: lambda name=name: opened.read(name) for name in opened.names()}, {}  # type: ignore[misc]


READERS: Mapping[str, Callable[[Path], tuple[Tensors, Mapping[str, str]]]] = {
    ".npy": _read_npy,
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".bin": _read_torch,
}
"""By a file's ending: all tensors of a file by name, read when called, and what its header says."""


# -- writing -------------------------------------------------------------------------------------------------


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
    try:
        values = checked_prompt(prompt)
        files = _contents(chosen, path.name, values, dict(metadata or {}), config or {}, start)
        _place(path, files, folder=chosen == "peft")
    except BankError as error:
        raise PromptError(str(error)) from error
    except OSError as error:
        raise PromptError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def _contents(
    format: str,
    name: str,
    values: np.ndarray,
    metadata: dict[str, str],
    config: Mapping[str, Any],
    start: np.ndarray | None,
) -> dict[str, bytes]:
    """The files of a format by name."""
    from safetensors.numpy import save

    if format == "npy":
        stream = io.BytesIO()
        np.save(stream, values, allow_pickle=False)
        return {name: stream.getvalue()}
    if format == "safetensors":
        beside = {} if start is None else {START: np.ascontiguousarray(start, np.float32)}
        return {name: save({TENSOR: values} | beside, metadata=metadata)}
    if values.ndim != 2:
        raise PromptError(
            f"{name}: PEFT's prompt tuning has prompts [P, H], this one has shape {list(values.shape)}; "
            "write a file .npy or .safetensors"
        )
    adapter = {
        "peft_type": "PROMPT_TUNING",
        "task_type": None if not config else PEFT_TASKS[0] if "num_decoder_layers" in config else PEFT_TASKS[1],
        "base_model_name_or_path": metadata.get("backbone"),
        "inference_mode": True,
        "num_virtual_tokens": values.shape[0],
        "token_dim": values.shape[1],
        "num_transformer_submodules": 1,
        "num_layers": config.get("num_layers"),
        "num_attention_heads": config.get("num_heads"),
        "prompt_tuning_init": "RANDOM",
    }
    return {
        PEFT_WEIGHTS[0]: save({PEFT_TENSOR: values}, metadata=metadata | {"format": "pt"}),
        PEFT_CONFIG: (json.dumps(adapter, indent=2) + "\n").encode(),
    }


def _place(path: Path, files: Mapping[str, bytes], *, folder: bool) -> None:
    """Write files beside their place, and move them there when all are whole; a folder that is new moves as one."""
    if folder and path.exists() and (not path.is_dir() or (any(path.iterdir()) and not _is_prompt_adapter(path))):
        raise PromptError(f"{path}: exists and is no PEFT adapter of a prompt; choose another folder")
    place = Path(os.path.abspath(path))
    stage = place.with_name(f".{place.name[:100]}.{os.getpid()}.part")
    try:
        stage.mkdir()
        for name, content in files.items():
            (stage / name).write_bytes(content)
        if folder and not (path.is_dir() and any(path.iterdir())):
            os.replace(stage, path)
            return
        for name in files:
            os.replace(stage / name, path / name if folder else path)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(stage)


def _is_prompt_adapter(folder: Path) -> bool:
    try:
        return read_json(folder / PEFT_CONFIG).get("peft_type") == "PROMPT_TUNING"
    except BackboneError:
        return False
