"""Peak memory while a backbone loads, as a multiple of its weights, for the three weight formats.

    python benchmarks/load_memory.py

Needs the ``interop`` group (torch writes the .bin file). Weights are random, float32, of T5 1.1 Base's shape
(990 MB). Each format is loaded by a process of its own, whose peak resident memory is read twice: before loading,
after JAX has started, and at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import flax.serialization
import numpy as np
from memory import peak_bytes

from spot.backbone.config import T5Config

BASE = T5Config(
    vocab_size=32_128,
    d_model=768,
    d_kv=64,
    d_ff=2048,
    num_layers=12,
    num_decoder_layers=12,
    num_heads=12,
)


def write_folders(root: Path) -> int:
    """The same weights in three formats; returns their size in bytes."""
    import torch

    from spot.backbone.export import named_tensors, save_backbone
    from spot.backbone.random import random_model
    from spot.backbone.tokenizer import train_sentencepiece

    words = (f"w{i % 977} x{i % 613} y{i % 89}" for i in range(4000))
    vocabulary = train_sentencepiece(words, size=200, sample=4000)
    model = random_model(BASE, seed=0)
    save_backbone(model, root / "safetensors", tokenizer_model=vocabulary)
    tensors = named_tensors(model)
    for name in ("msgpack", "bin"):
        shutil.copytree(
            root / "safetensors", root / name, ignore=shutil.ignore_patterns("*.safetensors")
        )
    torch.save({k: torch.tensor(v) for k, v in tensors.items()}, root / "bin" / "pytorch_model.bin")
    tree: dict[str, object] = {}
    for name, tensor in tensors.items():
        *path, _ = name.split(".")
        node: dict = tree
        for part in path:
            node = node.setdefault(part, {})
        if "shared" in name or "relative" in name:
            node["embedding"] = tensor
        elif "norm" in name:
            node["weight"] = tensor
        else:
            node["kernel"] = np.ascontiguousarray(tensor.T)
    (root / "msgpack" / "flax_model.msgpack").write_bytes(
        flax.serialization.msgpack_serialize(tree)
    )
    return sum(tensor.nbytes for tensor in tensors.values())


def load(folder: str) -> None:
    """Load one folder and print the growth of the peak in bytes."""
    import jax

    from spot.backbone.load import load_backbone
    from spot.backbone.process import prepare_process

    prepare_process()
    jax.block_until_ready(jax.numpy.ones(8) + 1)
    before = peak_bytes()
    load_backbone(folder)
    print(peak_bytes() - before)


def main() -> None:
    if len(sys.argv) > 1:
        load(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        size = write_folders(root)
        environment = os.environ | {"SPOT_CACHE": str(root / "cache")}
        result = {"weights_mb": round(size / 1e6)}
        for name in ("safetensors", "msgpack", "bin"):
            command = [sys.executable, __file__, str(root / name)]
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=environment
            )
            result[name] = round(int(done.stdout.split()[-1]) / size, 3)
        print(json.dumps(result))


if __name__ == "__main__":
    main()
