"""Full-weight training of a small T5: span corruption, LM adaptation, then supervised tasks.

Three phases through the same loop as prompts, with the weights as what trains and nothing in front of inputs:

1. span corruption (Raffel et al. 2020),
2. prefix-LM adaptation (Lester et al. 2021, section 3.2), since a model that has only seen sentinels answers
   prompts badly,
3. a mixture of supervised tasks, worded in several ways (Raffel et al. 2020; Flan, Chung et al. 2022), so that soft
   prompts find skills to call on. A share of phase 2 stays in the mixture.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np

from spot.backbone.export import save_backbone
from spot.backbone.random import random_model
from spot.backbone.soft import Soft
from spot.backbone.t5 import T5
from spot.errors import TrainingError
from spot.prompts.forms import WEIGHTS
from spot.training.checkpoint import write_atomically
from spot.training.jobs import Job, Plan, Reporter, Result, Silent
from spot.training.loop import fit
from spot.training.optimizers import Optimizer
from spot.training.parts import Batch
from spot.training.pretrain_data import hold_out, prepare
from spot.training.pretrain_plan import Pretraining
from spot.training.pretrain_streams import (
    ANSWER_BUCKETS,
    ObjectiveStream,
    SupervisedStream,
    as_batch,
)
from spot.training.step import make_step
from tasks.objectives import Objective, objective_batch
from tasks.wordings import Labelled

CHECKPOINT_SECONDS = 120.0
"""Longest time between checkpoints, which hold all weights and their optimiser's state."""


def pretrain(
    plan: Pretraining,
    corpora: Sequence[Path],
    folder: Path,
    *,
    supervised: Mapping[str, Sequence[Labelled]] | None = None,
    reporter: Callable[[str], Reporter | None] = lambda _phase: None,
) -> Path:
    """Run the phases in ``folder`` and write the model to ``folder/model``; resumes where it was stopped.

    Raises:
        TrainingError: a vocabulary of another size in ``folder``, no supervised tasks for phase 3, or what
            :func:`spot.training.loop.fit` raises.
    """
    if plan.supervised_steps and not supervised:
        raise TrainingError(
            "the supervised phase needs examples; give --supervised, or --supervised-steps 0"
        )
    made = [*(phase.name for phase in plan.phases()), "model"]
    tokenizer, corpus = prepare(corpora, folder, vocab_size=plan.config.vocab_size, made=made)
    train, held_out = hold_out(corpus)
    dtype = jnp.bfloat16 if plan.bfloat16 else jnp.float32
    model = random_model(plan.config, seed=plan.seed, dtype=dtype)
    curves: dict[str, Any] = {}
    shaped: list[Any] = []  # by what the weights so far came about
    for phase in plan.phases():
        stream: Any = ObjectiveStream(
            train, plan.objective(phase.name), batch_size=phase.batch_size, seed=phase.seed
        )
        if phase.name == "supervised":
            stream = SupervisedStream(
                supervised or {},
                tokenizer,
                stream,
                config=plan.config,
                input_length=plan.input_length,
                target_length=ANSWER_BUCKETS[-1],
                batch_size=phase.batch_size,
                lm_share=plan.supervised_lm_share,
                seed=phase.seed,
            )
        shaped += [
            plan.config.identity,
            dataclasses.asdict(phase),
            plan.input_length,
            plan.bfloat16,
        ]
        if phase.name == "supervised":
            shaped += [plan.supervised_lm_share, digest_of(supervised)]
        result = run_phase(
            model,
            phase.optimizer(),
            stream,
            Held(held_out, plan.objective(phase.name), phase.batch_size),
            plan=Plan(
                steps=phase.steps,
                evaluate_every=min(plan.evaluate_every, phase.steps),
                checkpoint_seconds=CHECKPOINT_SECONDS,
            ),
            identity=digest_of(shaped),
            seed=phase.seed,
            folder=folder / phase.name,
            reporter=reporter(phase.name),
        )
        graph, _ = nnx.split(model)
        model = nnx.merge(graph, jax.device_put(result.final))
        curves[phase.name] = result.progress.history
    write_atomically(folder / "curves.json", json.dumps(curves, indent=1).encode())
    save_backbone(model, folder / "model", tokenizer_model=(folder / "spiece.model").read_bytes())
    return folder / "model"


@dataclasses.dataclass(frozen=True)
class Held:
    """Tokens ``[n]`` that nothing trains on, and the objective by which a model is measured on them."""

    tokens: np.ndarray
    objective: Objective
    batch_size: int

    def batches(self) -> list[Batch]:
        """A few, always the same."""
        return [
            as_batch(
                objective_batch(
                    self.tokens, self.objective, index=i, batch_size=self.batch_size, seed=0
                )
            )
            for i in range(8)
        ]


def held_out_loss(graph: nnx.GraphDef[Any], held: Held) -> Callable[[Any], float]:
    """``loss(weights)``: mean loss a target token of a model's weights on what is held out."""
    checks = held.batches()

    @jax.jit
    def loss(weights: Any, batch: Batch) -> jax.Array:
        model: T5 = nnx.merge(graph, weights)
        bare = Soft.none(model.config.width)
        losses = model.token_losses(bare, batch.prompt_ids, batch.inputs, batch.targets)
        return losses.sum() / batch.targets.mask.sum().astype(losses.dtype)

    return lambda weights: float(np.mean([float(loss(weights, batch)) for batch in checks]))


def digest_of(shaping: Any) -> str:
    """What names a run in its checkpoint, of plain data."""
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


def run_phase(
    model: T5,
    optimizer: Optimizer,
    stream: Any,
    held: Held,
    *,
    plan: Plan,
    identity: str,
    seed: int,
    folder: Path,
    reporter: Reporter | None,
) -> Result:
    """Train all weights of a model on a stream of batches, to the end or from where a killed run was.

    Args:
        model: where it begins.
        optimizer: of the weights.
        stream: batches.
        held: what evaluations measure.
        plan: when things happen.
        identity: of the run, in its checkpoint.
        seed: of the run.
        folder: of the checkpoint.
        reporter: progress sink.

    Raises:
        TrainingError: as :func:`spot.training.loop.fit`.
    """
    graph, weights = nnx.split(model)
    step = make_step(graph, optimizer, steps=plan.steps, form=WEIGHTS)
    measure = held_out_loss(graph, held)

    def evaluate(_jobs: Sequence[Job], trained: Any) -> list[dict[str, float]]:
        loss = measure(trained)
        return [{"held_out_loss": loss, "score": -loss}]

    results: list[Result] = []
    job = Job(
        identity=identity,
        plan=plan,
        start=lambda: weights,
        stream=lambda: stream,
        seed=seed,
        done=results.append,
        reporter=reporter or Silent(),
    )
    fit([job], frozen=None, step=step, evaluate=evaluate, folder=folder)
    return results[-1]
