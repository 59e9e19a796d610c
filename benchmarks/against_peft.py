"""Ragged training, decoding and mixed tasks against Hugging Face PEFT on T5 1.1 Small's shape, alternating.

    python benchmarks/against_peft.py ragged --data-dir DATA --task mrpc
    python benchmarks/against_peft.py ragged --data-dir DATA --task mrpc --peft-sorts
    python benchmarks/against_peft.py decoding --dtype bfloat16
    python benchmarks/against_peft.py mixed
    python benchmarks/against_peft.py many --batch 8

Needs the ``interop`` group (torch, peft). Both sides have random weights of one shape and the same tokens, and are
processes of their own. ``ragged``: prompt-tuning steps over batches of real lengths, ours cut into parts of like
length, theirs padded to their longest row. ``decoding``: ten tokens, greedily. ``mixed``: a forward pass over four
examples of each of eight tasks, ours mixed, in parts that fit the caches, theirs one adapter after another. ``many``:
a training step of each of eight prompts on ragged batches of their own, ours in one program, theirs one after another.
Printed are times and their ratios by medians and minima; run it alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from many_prompts import ragged as lengthy
from many_prompts import stepper
from sides import Make, in_turn
from step_time import SMALL, adafactor, add_peers, flax_t5, prompted, torch_t5

from spot.backbone.batch import Inputs, Targets
from spot.backbone.load import load_backbone
from spot.backbone.placement import placement
from spot.backbone.process import prepare_process
from spot.backbone.soft import Soft
from spot.inference.decoding import Decoding, generate
from spot.inference.sampling import Draw
from spot.inference.tokenwise import Limits
from spot.prompts.forms import FORMS
from spot.training.optimizers import Optimizer
from spot.training.step import make_step
from tasks import Split, get_task
from tasks.objectives import pad
from tasks.pipeline import RaggedBatch

TASKS, EACH, NEW = 8, 4, 10

Work = Callable[[], Any]


def ours(options: argparse.Namespace) -> tuple[Any, Any]:
    """Graph and weights, in a process set up as ``spot`` sets it up."""
    prepare_process()
    return flax_t5(options.dtype)


def theirs(options: argparse.Namespace, adapters: int = 1) -> Any:
    """A PEFT model with so many prompts."""
    return prompted(torch_t5(options.dtype), "SEQ_2_SEQ_LM", options, adapters=adapters)


def prompts(options: argparse.Namespace, count: int) -> np.ndarray:
    shape = (count, options.prompt, SMALL.width)
    return (0.1 * np.random.default_rng(1).normal(size=shape)).astype(np.float32)


def tokens(rows: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 32_000, (rows, length)).astype(np.int32)


def whole(rows: np.ndarray) -> Inputs:
    return Inputs(rows, np.ones(rows.shape, bool))


# -- steps over batches of real lengths, in an order of their own ------------------------------------------


def real_batches(options: argparse.Namespace, *, by_length: bool = False) -> list[RaggedBatch]:
    """Random tokens of a task's lengths."""
    backbone, task = load_backbone("tiny"), get_task(options.task)
    examples = task.examples(
        Split.TRAIN, data_dir=options.data_dir, allow_partial=options.allow_partial_data
    )
    chosen = np.random.default_rng(0).permutation(len(examples))[: options.batches * options.batch]
    encode = backbone.tokenizer.encode
    lengths = np.array(
        [min(256, len(ids) + 1) for ids in encode([examples[i].inputs for i in chosen])]
    )
    answers = np.array([len(ids) + 1 for ids in encode([examples[i].target for i in chosen])])
    order = np.argsort(lengths, kind="stable") if by_length else np.arange(len(lengths))
    rng, batches = np.random.default_rng(2), []
    for start in range(0, len(order), options.batch):
        rows = order[start : start + options.batch]
        sides = [
            [rng.integers(3, 32_000, n).astype(np.int32) for n in side[rows]]
            for side in (lengths, answers)
        ]
        batches.append(RaggedBatch(*sides))
    return batches


def flax_ragged(options: argparse.Namespace) -> Work:
    (graph, weights), batches = ours(options), real_batches(options)
    run = stepper(
        make_step(graph, Optimizer(), steps=1000, form=FORMS["prompt"]),
        weights,
        1,
        options.prompt,
        SMALL.width,
    )
    return lambda: [run({0: batch}) for batch in batches]


def peft_ragged(options: argparse.Namespace) -> Work:
    tuned, batches = theirs(options), real_batches(options, by_length=options.peft_sorts)
    optimizer = adafactor(tuned)
    return lambda: [train(tuned, optimizer, batch) for batch in batches]


def train(tuned: Any, optimizer: Any, batch: RaggedBatch) -> None:
    """One step of the PEFT model's active prompt, its batch padded to the longest row."""
    import torch

    inputs = Inputs(*pad(batch.inputs, max(map(len, batch.inputs))))
    targets = Targets(*pad(batch.targets, max(map(len, batch.targets))))
    optimizer.zero_grad()
    loss = tuned(
        input_ids=torch.tensor(inputs.ids, dtype=torch.long),
        attention_mask=torch.tensor(inputs.mask, dtype=torch.long),
        labels=torch.tensor(np.where(targets.mask, targets.ids, -100), dtype=torch.long),
    ).loss
    loss.backward()
    optimizer.step()


# -- a step of every one of eight prompts, each on a ragged batch of its own --------------------------------


def eight_batches(options: argparse.Namespace) -> dict[int, RaggedBatch]:
    return {slot: lengthy(options.batch, options.inputs, slot) for slot in range(TASKS)}


def flax_many(options: argparse.Namespace) -> Work:
    (graph, weights), batches = ours(options), eight_batches(options)
    step = make_step(graph, Optimizer(), steps=1000, form=FORMS["prompt"])
    together = stepper(step, weights, TASKS, options.prompt, SMALL.width)
    return lambda: together(batches)


def peft_many(options: argparse.Namespace) -> Work:
    tuned, batches, optimizers = theirs(options, TASKS), eight_batches(options), []
    for slot in batches:
        tuned.set_adapter(str(slot))
        optimizers.append(adafactor(tuned))

    def one_after_another() -> None:
        for slot, batch in batches.items():
            tuned.set_adapter(str(slot))
            train(tuned, optimizers[slot], batch)

    return one_after_another


# -- ten tokens of every row --------------------------------------------------------------------------------


def flax_decoding(options: argparse.Namespace) -> Work:
    import flax.nnx as nnx

    graph, weights = ours(options)
    inputs, stack = whole(tokens(options.batch, options.inputs)), prompts(options, 1)

    @jax.jit
    def run(weights: Any, stack: Any, inputs: Inputs) -> Any:
        ids = jnp.zeros(len(inputs.ids), jnp.int32)
        limits = Limits(jnp.full(len(inputs.ids), NEW, jnp.int32), NEW)
        draw = Draw(jnp.uint32(0), ids)
        return generate(
            nnx.merge(graph, weights), Soft(stack), ids, inputs, limits, draw, Decoding()
        )

    return lambda: jax.block_until_ready(run(weights, stack, inputs))


def peft_decoding(options: argparse.Namespace) -> Work:
    import torch

    tuned, given = (
        theirs(options),
        torch.tensor(tokens(options.batch, options.inputs), dtype=torch.long),
    )
    settings = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "num_beams": 1}

    def generate() -> None:
        with torch.no_grad():
            tuned.generate(input_ids=given, attention_mask=torch.ones_like(given), **settings)

    return generate


# -- losses of four examples of each of eight tasks ---------------------------------------------------------


def mixture(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    return tokens(TASKS * EACH, options.inputs), tokens(TASKS * EACH, options.targets, seed=1)


def flax_mixed(options: argparse.Namespace) -> Work:
    import flax.nnx as nnx

    graph, weights = ours(options)
    inputs, targets = map(whole, mixture(options))
    which, stack = np.repeat(np.arange(TASKS, dtype=np.int32), EACH), prompts(options, TASKS)

    @jax.jit
    def run(weights: Any, stack: Any, which: Any, inputs: Inputs, targets: Targets) -> Any:
        return nnx.merge(graph, weights).token_losses(Soft(stack), which, inputs, targets)

    size = placement().rows_at_once(len(which), options.prompt + options.inputs)
    parts = [slice(start, start + size) for start in range(0, len(which), size)]
    cuts = [
        (which[rows], Inputs(*(x[rows] for x in inputs)), Targets(*(x[rows] for x in targets)))
        for rows in parts
    ]
    return lambda: jax.block_until_ready([run(weights, stack, *part) for part in cuts])


def peft_mixed(options: argparse.Namespace) -> Work:
    import torch

    tuned = theirs(options, TASKS)
    given, labels = (torch.tensor(x, dtype=torch.long) for x in mixture(options))

    def switch() -> None:
        with torch.no_grad():
            for i in range(TASKS):
                tuned.set_adapter(str(i))
                rows = slice(i * EACH, (i + 1) * EACH)
                tuned(
                    input_ids=given[rows],
                    attention_mask=torch.ones_like(given[rows]),
                    labels=labels[rows],
                )

    return switch


WORK: dict[str, dict[str, Make]] = {
    "ragged": {"spot": flax_ragged, "peft": peft_ragged},
    "decoding": {"spot": flax_decoding, "peft": peft_decoding},
    "mixed": {"spot": flax_mixed, "peft": peft_mixed},
    "many": {"spot": flax_many, "peft": peft_many},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", choices=tuple(WORK))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--prompt", type=int, default=100)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--inputs", type=int, default=128)
    parser.add_argument("--targets", type=int, default=8)
    parser.add_argument("--batches", type=int, default=4, help="batches of one round of `ragged`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", default="mrpc")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--allow-partial-data", action="store_true")
    parser.add_argument(
        "--peft-sorts", action="store_true", help="PEFT's batches of `ragged` sorted by length"
    )
    add_peers(parser)
    options = parser.parse_args()
    found = in_turn(WORK[options.work], options, rounds=options.rounds, against="peft")
    print(json.dumps(vars(options) | found, indent=1, default=str))


if __name__ == "__main__":
    main()
