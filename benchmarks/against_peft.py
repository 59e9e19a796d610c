"""Ragged training, decoding and mixed tasks against Hugging Face PEFT on T5 1.1 Small's shape, alternating.

    python benchmarks/against_peft.py ragged --data-dir DATA --task mrpc
    python benchmarks/against_peft.py decoding --dtype bfloat16
    python benchmarks/against_peft.py mixed
    python benchmarks/against_peft.py many --batch 8

Needs the ``interop`` group (torch, peft). Both sides have random weights of one shape and the same tokens.
``ragged``: prompt-tuning steps over batches of real lengths, ours cut into parts of like length, theirs padded to
their longest row. ``decoding``: ten tokens, greedily. ``mixed``: a forward pass over four examples of each of eight
tasks, ours mixed, in parts that fit the caches, theirs one adapter after another. ``many``: a training step of each
of eight prompts on ragged batches of their own, ours in one program, theirs one after another. Printed are times and
their ratios by medians and minima; run it alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from many_prompts import ragged as lengthy
from many_prompts import stepper
from step_time import SMALL, adafactor, alternating, flax_t5, prompted, torch_t5

from spot.backbone.batch import Inputs, Targets, rows_at_once
from spot.backbone.load import load_backbone
from spot.training.optimizers import Optimizer
from spot.training.step import Batch, cut, make_step
from tasks import Split, get_task
from tasks.objectives import pad

TASKS, EACH, NEW = 8, 4, 10

Sides = dict[str, Callable[[], Any]]


def theirs(options: argparse.Namespace, adapters: int = 1) -> Any:
    """A PEFT model with so many prompts."""
    return prompted(torch_t5(options.dtype), "SEQ_2_SEQ_LM", options.prompt, adapters=adapters)


def prompts(options: argparse.Namespace, count: int) -> np.ndarray:
    shape = (count, options.prompt, SMALL.width)
    return (0.1 * np.random.default_rng(1).normal(size=shape)).astype(np.float32)


def tokens(rows: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 32_000, (rows, length)).astype(np.int32)


def ragged(options: argparse.Namespace) -> Sides:
    """Steps over batches of real lengths, in an order of their own."""
    backbone, task = load_backbone("tiny"), get_task(options.task)
    examples = task.examples(Split.TRAIN, data_dir=options.data_dir)
    chosen = np.random.default_rng(0).permutation(len(examples))[: options.batches * options.batch]
    encode = backbone.tokenizer.encode
    lengths = [min(256, len(ids) + 1) for ids in encode([examples[i].inputs for i in chosen])]
    answers = [len(ids) + 1 for ids in encode([examples[i].target for i in chosen])]
    rng = np.random.default_rng(2)
    sources = [rng.integers(3, 32_000, n).astype(np.int32) for n in lengths]
    targets = [rng.integers(3, 32_000, n).astype(np.int32) for n in answers]
    batches = [slice(start, start + options.batch) for start in range(0, len(sources), options.batch)]

    graph, weights = flax_t5(options.dtype)
    step = make_step(graph, Optimizer(), steps=1000, trainable="prompts")
    state: dict[str, Any] = {"trained": jnp.asarray(prompts(options, 1))}
    state["optimizer"] = step.init(state["trained"])

    def flax_epoch() -> None:
        for rows in batches:
            whole = Batch(
                np.zeros(len(sources[rows]), np.int32),
                Inputs(*pad(sources[rows], max(map(len, sources[rows])))),
                Targets(*pad(targets[rows], max(map(len, targets[rows])))),
            )
            parts = cut({0: whole}, options.prompt)
            state["trained"], state["optimizer"], losses = step.run(
                state["trained"], state["optimizer"], {"weights": weights}, parts, jax.random.key(0), np.ones(1, bool)
            )
        float(losses[0])

    tuned = theirs(options)
    optimizer = adafactor(tuned)

    def peft_epoch() -> None:
        for rows in batches:
            inputs = Inputs(*pad(sources[rows], max(map(len, sources[rows]))))
            train(tuned, optimizer, inputs, Targets(*pad(targets[rows], max(map(len, targets[rows])))))

    return {"spot": flax_epoch, "peft": peft_epoch}


def train(tuned: Any, optimizer: Any, inputs: Inputs, targets: Targets) -> None:
    """One step of the PEFT model's active prompt."""
    optimizer.zero_grad()
    loss = tuned(
        input_ids=torch.tensor(inputs.ids, dtype=torch.long),
        attention_mask=torch.tensor(inputs.mask, dtype=torch.long),
        labels=torch.tensor(np.where(targets.mask, targets.ids, -100), dtype=torch.long),
    ).loss
    loss.backward()
    optimizer.step()


def many(options: argparse.Namespace) -> Sides:
    """A step of every one of eight prompts, each on a ragged batch of its own."""
    graph, weights = flax_t5(options.dtype)
    batches = {slot: lengthy(options.batch, options.inputs, slot) for slot in range(TASKS)}
    step = make_step(graph, Optimizer(), steps=1000, trainable="prompts")
    together = stepper(step, weights, TASKS, options.prompt, SMALL.width)
    tuned = theirs(options, TASKS)
    optimizers = []
    for slot in batches:
        tuned.set_adapter(str(slot))
        optimizers.append(adafactor(tuned))

    def in_turn() -> None:
        for slot, batch in batches.items():
            tuned.set_adapter(str(slot))
            longest = int(batch.inputs.mask.sum(axis=1).max())
            inputs = Inputs(batch.inputs.ids[:, :longest], batch.inputs.mask[:, :longest])
            train(tuned, optimizers[slot], inputs, batch.targets)

    return {"spot": lambda: together(batches), "peft": in_turn}


def decoding(options: argparse.Namespace) -> Sides:
    """Ten tokens of every row."""
    graph, weights = flax_t5(options.dtype)
    ids = tokens(options.batch, options.inputs)
    inputs = Inputs(ids, np.ones(ids.shape, bool))

    @jax.jit
    def run(weights: Any, stack: Any, inputs: Inputs) -> Any:
        return nnx.merge(graph, weights).greedy(stack, jnp.zeros(options.batch, jnp.int32), inputs, NEW)

    tuned, given = theirs(options), torch.tensor(ids, dtype=torch.long)

    def generate() -> None:
        with torch.no_grad():
            tuned.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=NEW,
                min_new_tokens=NEW,
                do_sample=False,
                num_beams=1,
            )

    stack = prompts(options, 1)
    return {"spot": lambda: jax.block_until_ready(run(weights, stack, inputs)), "peft": generate}


def mixed(options: argparse.Namespace) -> Sides:
    """Losses of four examples of each of eight tasks."""
    graph, weights = flax_t5(options.dtype)
    ids, answers = tokens(TASKS * EACH, options.inputs), tokens(TASKS * EACH, options.targets, seed=1)
    inputs = Inputs(ids, np.ones(ids.shape, bool))
    targets = Targets(answers, np.ones(answers.shape, bool))
    which = np.repeat(np.arange(TASKS, dtype=np.int32), EACH)

    @jax.jit
    def run(weights: Any, stack: Any, which: Any, inputs: Inputs, targets: Targets) -> Any:
        return nnx.merge(graph, weights).token_losses(stack, which, inputs, targets)

    stack, tuned = prompts(options, TASKS), theirs(options, TASKS)
    size = rows_at_once(len(ids), options.prompt + options.inputs)

    def together() -> None:
        parts = [slice(start, start + size) for start in range(0, len(ids), size)]
        found = [
            run(weights, stack, which[part], *(type(side)(*(x[part] for x in side)) for side in (inputs, targets)))
            for part in parts
        ]
        jax.block_until_ready(found)

    def switch() -> None:
        with torch.no_grad():
            for i in range(TASKS):
                tuned.set_adapter(str(i))
                rows = slice(i * EACH, (i + 1) * EACH)
                given = torch.tensor(ids[rows], dtype=torch.long)
                labels = torch.tensor(answers[rows], dtype=torch.long)
                tuned(input_ids=given, attention_mask=torch.ones_like(given), labels=labels)

    return {"spot": together, "peft": switch}


WORK = {"ragged": ragged, "decoding": decoding, "mixed": mixed, "many": many}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    options = parser.parse_args()
    sides = WORK[options.work](options)
    facts = {"work": options.work, "dtype": options.dtype} | alternating(sides, options.rounds)
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
