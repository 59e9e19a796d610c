"""Examples a second of N prompts trained in one program, against the same prompts one after another.

    python benchmarks/many_prompts.py --slots 1 2 4 8 16 --batch 16
    python benchmarks/many_prompts.py --model t5-small --slots 1 2 4 --batch 4 --inputs 128 --prompt 100

Every prompt has its own batch of ragged rows each step, as tasks of different lengths have. Programs are compiled
before the clock starts; rounds alternate. "apart" takes the same batches through one slot after another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from memory import peak_bytes
from step_time import SMALL, flax_t5

from spot.backbone.load import load_backbone
from spot.backbone.process import prepare_process
from spot.prompts.forms import FORMS
from spot.training.optimizers import Optimizer
from spot.training.parts import cut
from spot.training.step import Step, make_step
from tasks.pipeline import RaggedBatch


def ragged(rows: int, longest: int, seed: int) -> RaggedBatch:
    """Rows of a quarter of ``longest`` to ``longest`` tokens, alike within a batch as a task's sorted batches are."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(0.3, 0.95) * longest
    lengths = np.clip(rng.normal(middle, 0.05 * longest, rows), 4, longest).astype(int)
    inputs = [rng.integers(3, 4000, n).astype(np.int32) for n in lengths]
    targets = [rng.integers(3, 4000, 2).astype(np.int32)] * rows
    return RaggedBatch(inputs, targets)


def stepper(
    step: Step, weights: object, slots: int, prompt: int, width: int
) -> Callable[[dict[int, RaggedBatch]], None]:
    start = 0.1 * np.random.default_rng(1).normal(size=(slots, prompt, width))
    state = {"trained": jnp.asarray(start, jnp.float32)}
    state["optimizer"] = step.init(state["trained"])

    def run(batches: dict[int, RaggedBatch]) -> None:
        active = np.array([slot in batches for slot in range(slots)])
        state["trained"], state["optimizer"], losses = step.run(
            state["trained"],
            state["optimizer"],
            weights,
            cut(batches, prompt),
            jax.random.key(0),
            active,
        )
        losses.block_until_ready()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="tiny", help="tiny, smollm2, or t5-small: its shape with random weights"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--inputs", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    prepare_process()
    if options.model == "t5-small":
        graph, weights, width = *flax_t5(options.dtype), SMALL.width
    else:
        backbone = load_backbone(options.model, dtype=options.dtype)
        graph, weights, width = backbone.graph, backbone.weights, backbone.width
    step = make_step(graph, Optimizer(), steps=1000, form=FORMS["prompt"])
    for slots in options.slots:
        together = stepper(step, weights, slots, options.prompt, width)
        alone = stepper(step, weights, 1, options.prompt, width)
        rounds = [
            {slot: ragged(options.batch, options.inputs, 1000 * i + slot) for slot in range(slots)}
            for i in range(options.rounds)
        ]
        seconds: dict[str, list[float]] = {"together": [], "apart": []}
        for timed in (False, True):
            for batches in rounds:
                began = time.perf_counter()
                together(batches)
                middle = time.perf_counter()
                for batch in batches.values():
                    alone({0: batch})
                if timed:
                    seconds["together"].append(middle - began)
                    seconds["apart"].append(time.perf_counter() - middle)
        rates = {
            name: slots * options.batch / statistics.median(times)
            for name, times in seconds.items()
        }
        row = {
            "model": options.model,
            "dtype": options.dtype,
            "slots": slots,
            "batch": options.batch,
            "examples/s": {name: round(rate, 1) for name, rate in rates.items()},
            "speed": round(rates["together"] / rates["apart"], 3),
            "peak_gb": round(peak_bytes() / 1e9, 2),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
