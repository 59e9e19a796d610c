"""A frozen backbone from a folder, the Hugging Face hub, or the package itself."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from spot import paths
from spot.backbone.config import T5Config
from spot.backbone.t5 import T5
from spot.backbone.tokenizer import Tokenizer, load_tokenizer
from spot.backbone.weights import Tensors, open_tensors, weight_files
from spot.errors import BackboneError

EMBEDDED = "tiny"
"""The backbone that comes with the package."""

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

ALIASES = (
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
)
"""Tensors that checkpoints carry twice, or that no code has ever read."""


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
    config: T5Config
    graph: nnx.GraphDef[Any]
    weights: Any
    tokenizer: Tokenizer
    dtype: str

    @property
    def width(self) -> int:
        """H, the width of a prompt token."""
        return self.config.d_model

    @property
    def embedding(self) -> Array:
        """Input embedding ``[V, H]``."""
        table: Array = nnx.merge(self.graph, self.weights).embedding[...]
        return table


def embedded_folder() -> Path:
    """Folder of the embedded backbone."""
    return Path(__file__).parent.parent / "assets" / EMBEDDED


def load_backbone(name_or_folder: str = EMBEDDED, *, dtype: str = "float32") -> Backbone:
    """Load a T5 by folder, by hub name (``google/t5-small-lm-adapt``), or ``"tiny"``, the embedded one.

    Args:
        name_or_folder: a folder in Hugging Face's format, a hub repository, or ``"tiny"``.
        dtype: ``"float32"``, or ``"bfloat16"`` operands with float32 sums, norms, softmax and loss.

    Raises:
        BackboneError: nothing there, or files that are damaged, missing, extra or of the wrong shape.
    """
    if dtype not in DTYPES:
        raise BackboneError(f"dtype {dtype!r} is not known; choose from {', '.join(DTYPES)}")
    folder = find_folder(name_or_folder)
    config = read_config(folder)
    tokenizer = load_tokenizer(folder)
    if tokenizer.size > config.vocab_size:
        raise BackboneError(
            f"{folder}: the tokenizer has {tokenizer.size} pieces, "
            f"but the embedding only {config.vocab_size} rows; they belong to different models"
        )
    digest_file = _digest_file(folder)
    known = _cached_digest(digest_file)
    digests: dict[str, str] | None = None if known else {}
    model = _build(folder, config, DTYPES[dtype], digests)
    if digests:
        known = hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()
        _store_digest(digest_file, known)
    content = [dataclasses.asdict(config), tokenizer.fingerprint, known]
    fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    graph, weights = nnx.split(model)
    return Backbone(name_or_folder, fingerprint, config, graph, weights, tokenizer, dtype)


def find_folder(name_or_folder: str) -> Path:
    """The folder of a backbone; downloads from the hub what is not in its cache.

    Raises:
        BackboneError: neither a folder nor a hub repository that can be reached.
    """
    if name_or_folder == EMBEDDED:
        return embedded_folder()
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return folder
    looks_local = name_or_folder.startswith((".", "/", "~")) or name_or_folder.count("/") != 1
    if looks_local or folder.exists():
        raise BackboneError(
            f"backbone {name_or_folder!r}: no such folder; give a folder in Hugging Face's format, "
            f"a hub name such as google/t5-small-lm-adapt, or {EMBEDDED!r}"
        )
    return _download(name_or_folder)


def _download(repository: str) -> Path:
    from huggingface_hub import snapshot_download

    small = ["*.json", "*.model", "*.txt"]
    weights = ["model*.safetensors", "flax_model*.msgpack", "pytorch_model*.bin"]
    try:
        from huggingface_hub import HfApi

        present = HfApi().list_repo_files(repository)
        chosen = next((w for w in weights if any(Path(f).match(w) for f in present)), weights[-1])
        return Path(snapshot_download(repository, allow_patterns=[*small, chosen]))
    except Exception as error:  # the hub's client raises errors of several libraries
        try:
            return Path(snapshot_download(repository, local_files_only=True))
        except Exception:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BackboneError(
                f"backbone {repository!r}: cannot be had from the hub ({reason}); give a local folder instead"
            ) from error


def read_config(folder: Path) -> T5Config:
    """The config of a backbone's folder.

    Raises:
        BackboneError: missing, not JSON, or of a model that is no T5.
    """
    path = folder / "config.json"
    try:
        return T5Config.from_huggingface(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise BackboneError(f"{folder}: no config.json; is this a model folder?") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BackboneError(f"{path}: not JSON ({error})") from error
    except BackboneError as error:
        raise BackboneError(f"{folder}: {error}") from error


def _build(folder: Path, config: T5Config, dtype: DTypeLike, digests: dict[str, str] | None) -> T5:
    """Place every tensor the model asks for; collects all that is wrong before it complains."""
    tensors = open_tensors(folder)
    asked: set[str] = set()
    problems: list[str] = []

    def weights(name: str, shape: tuple[int, ...]) -> Array:
        asked.add(name)
        source = _name_in(tensors, name)
        if source is None:
            problems.append(f"missing {name}")
            return jnp.zeros(shape, dtype)
        asked.add(source)
        tensor = tensors[source]()
        if tensor.shape != shape:
            problems.append(f"{name} has shape {list(tensor.shape)}, expected {list(shape)}")
            return jnp.zeros(shape, dtype)
        if digests is not None:  # by value, so that the same model in another file format is the same backbone
            digests[name] = hashlib.sha256(np.ascontiguousarray(tensor, dtype="<f4").data).hexdigest()
        return jnp.asarray(tensor, dtype=dtype).block_until_ready()  # lets go of the tensor before the next

    model = T5(config, weights, dtype=dtype)
    head = {"lm_head.weight"} if config.tied and "lm_head.weight" in tensors else set()
    if head and not np.array_equal(tensors["lm_head.weight"](), np.asarray(model.embedding[...])):
        problems.append("lm_head.weight differs from the embedding, but config.json calls the model tied")
    problems += [f"unexpected {name}" for name in sorted(set(tensors) - asked - set(ALIASES) - head)]
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise BackboneError(f"{folder}: weights do not fit config.json: {shown}")
    return model


def _name_in(tensors: Tensors, name: str) -> str | None:
    """The name a tensor goes by: its own, or an alias of the shared embedding."""
    if name in tensors:
        return name
    if name == "shared.weight":
        return next((alias for alias in ALIASES[:2] if alias in tensors), None)
    return None


# -- the digest of the weights, cached beside their path, size and time ------------------------------------


def _digest_file(folder: Path) -> Path:
    files = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in weight_files(folder)]
    name = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:32]
    return paths.cache_folder() / "weights" / name


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


def keep_compiled_programs() -> None:
    """Keep compiled programs on disk, so that a second start compiles nothing (``$SPOT_CACHE/xla``)."""
    jax.config.update("jax_compilation_cache_dir", str(paths.cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
