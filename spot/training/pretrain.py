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
from spot.training.parts import Batch
from spot.training.pretrain_data import hold_out, prepare
from spot.training.pretrain_plan import Phase, Pretraining
from spot.training.pretrain_streams import ObjectiveStream, SupervisedStream, as_batch
from spot.training.step import make_step
from tasks.objectives import objective_batch
from tasks.wordings import Labelled


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
    tokenizer, corpus = prepare(corpora, folder, vocab_size=plan.config.vocab_size)
    train, held_out = hold_out(corpus)
    dtype = jnp.bfloat16 if plan.bfloat16 else jnp.float32
    model = random_model(plan.config, seed=plan.seed, dtype=dtype)
    curves: dict[str, Any] = {}
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
                target_length=8,
                batch_size=phase.batch_size,
                lm_share=plan.supervised_lm_share,
                seed=phase.seed,
            )
        result = _run_phase(
            plan, phase, model, stream, held_out, folder / phase.name, reporter(phase.name)
        )
        graph, _ = nnx.split(model)
        model = nnx.merge(graph, jax.device_put(result.final))
        curves[phase.name] = result.progress.history
    write_atomically(folder / "curves.json", json.dumps(curves, indent=1).encode())
    save_backbone(model, folder / "model", tokenizer_model=(folder / "spiece.model").read_bytes())
    return folder / "model"


def _run_phase(
    plan: Pretraining,
    phase: Phase,
    model: T5,
    stream: Any,
    held_out: np.ndarray,
    folder: Path,
    reporter: Reporter | None,
) -> Result:
    graph, weights = nnx.split(model)
    step = make_step(graph, phase.optimizer(), steps=phase.steps, form=WEIGHTS)
    bare = Soft.none(plan.config.d_model)
    objective = plan.objective(phase.name)
    checks = [
        as_batch(objective_batch(held_out, objective, index=i, batch_size=phase.batch_size, seed=0))
        for i in range(8)
    ]

    @jax.jit
    def loss(trained: Any, batch: Batch) -> jax.Array:
        losses = nnx.merge(graph, trained).token_losses(
            bare, batch.prompt_ids, batch.inputs, batch.targets
        )
        return losses.sum() / batch.targets.mask.sum().astype(losses.dtype)

    def evaluate(_jobs: Sequence[Job], trained: Any) -> list[dict[str, float]]:
        held_out_loss = float(np.mean([float(loss(trained, batch)) for batch in checks]))
        return [{"held_out_loss": held_out_loss, "score": -held_out_loss}]

    shaping = [plan.config.identity, dataclasses.asdict(phase), plan.input_length, plan.bfloat16]
    identity = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
    results: list[Result] = []
    job = Job(
        identity=identity,
        plan=Plan(
            steps=phase.steps,
            evaluate_every=min(plan.evaluate_every, phase.steps),
            checkpoint_seconds=120,
        ),
        start=lambda: weights,
        stream=lambda: stream,
        seed=phase.seed,
        done=results.append,
        reporter=reporter or Silent(),
    )
    fit([job], frozen=None, step=step, evaluate=evaluate, folder=folder)
    return results[-1]
