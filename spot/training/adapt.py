"""LM adaptation: a T5 that was trained on span corruption learns to go on with text (Lester et al. 2021, section 3.2).

A T5 that has never written a text without sentinels answers prompts badly; after some steps as a prefix language model
it does not. Lester et al. adapt for up to 100,000 steps, and find 10,000 to bring most of it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import flax.nnx as nnx
import jax

from spot.backbone.config import T5Config
from spot.backbone.export import save_changed
from spot.backbone.load import Backbone
from spot.backbone.t5 import T5
from spot.errors import TrainingError
from spot.training.checkpoint import MADE, claim, write_atomically
from spot.training.jobs import Plan, Reporter
from spot.training.model_tuning import OPTIMIZER
from spot.training.optimizers import Optimizer
from spot.training.pretrain import (
    CHECKPOINT_SECONDS,
    Held,
    digest_of,
    held_out_loss,
    run_phase,
)
from spot.training.pretrain_data import TOKENS, claim_text, hold_out, tokens_of
from spot.training.pretrain_streams import ObjectiveStream
from tasks.choices import choose
from tasks.objectives import (
    Objective,
    PrefixLM,
    SpanCorruption,
)

LARGEST_VOCABULARY = 2**16
"""Tokens of a corpus are kept in 16 bits each."""

FIRST_SENTINEL = "<extra_id_0>"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adaptation:
    """How a model is adapted; equal ones on equal corpora and models give equal weights on one machine.

    Attributes:
        objective: ``prefix_lm`` or ``span_corruption``.
        steps: of Adafactor.
        batch_size: examples a step.
        input_length: tokens of an example's input; a continuation has half as many (T5: 512).
        learning_rate: constant, relative to the weights' scale; 0.001 is what T5 is fine-tuned with.
        seed: of masks, cuts and order.
        evaluate_every: steps between looks at the held-out loss.
        sentinel: whether the model's targets shall begin with T5's first sentinel ("span corruption + sentinel"), which
            its config then says.

    Raises:
        TrainingError: an unknown objective.
    """

    objective: str = "prefix_lm"
    steps: int = 10_000
    batch_size: int = 16
    input_length: int = 128
    learning_rate: float = 0.001
    seed: int = 0
    evaluate_every: int = 500
    sentinel: bool = False

    def __post_init__(self) -> None:
        choose(self.objective, OBJECTIVES, "objective", error=TrainingError)

    def optimizer(self) -> Optimizer:
        """T5's fine-tuning at this rate."""
        return dataclasses.replace(OPTIMIZER, learning_rate=self.learning_rate)


OBJECTIVES = ("prefix_lm", "span_corruption")


class Adapted(NamedTuple):
    """The folder of the adapted model, and its held-out loss a token before and after, where it trained."""

    folder: Path
    before: float | None
    after: float | None


def adapt(
    backbone: Backbone,
    adaptation: Adaptation,
    corpora: Sequence[Path],
    folder: Path,
    *,
    reporter: Reporter | None = None,
) -> Adapted:
    """Adapt a T5 on text, and write it to ``folder/model``; resumes where it was stopped.

    Args:
        backbone: the model to begin with.
        adaptation: how.
        corpora: text files (``.gz`` too), a paragraph a line and an empty line between documents; none of no steps.
        folder: of tokens, checkpoint and model.
        reporter: progress sink.

    Raises:
        TrainingError: a decoder-only model, one whose vocabulary is too large or lacks sentinels that are needed, steps
            without a corpus, a folder of another adaptation, a short corpus, or what :func:`spot.training.loop.fit`
            raises.
    """
    config = backbone.config
    if not isinstance(config, T5Config):
        raise TrainingError(
            f"{backbone.name} is decoder-only: it has learnt to go on with text already; only T5s are adapted"
        )
    if adaptation.steps and not corpora:
        raise TrainingError("there is no text to train on; name text files, or give --steps 0")
    objective = _objective(backbone, adaptation)
    if adaptation.sentinel:
        config = dataclasses.replace(config, target_begin_token_ids=(_sentinel(backbone),))
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "backbone": backbone.identity,
        "corpora": [str(path) for path in corpora],
        **dataclasses.asdict(adaptation),
    }
    if not adaptation.sentinel:  # which came later
        del told["sentinel"]
    if adaptation.steps:
        _check_vocabulary(backbone)
        claim_text(
            corpora,
            folder,
            made=MADE,
            follows=(TOKENS,),
            vocabulary=backbone.tokenizer.fingerprint,
        )
    claim(folder / "adaptation.json", told)
    if not adaptation.steps:
        saved = save_changed(backbone, backbone.weights, folder / "model", config=config)
        return Adapted(saved, None, None)
    train, held_out = hold_out(
        tokens_of(corpora, backbone.tokenizer, folder, end=config.eos_token_id)
    )
    held = Held(held_out, objective, adaptation.batch_size)
    model: T5 = nnx.merge(backbone.graph, backbone.weights)
    before = held_out_loss(backbone.graph, held)(backbone.weights)
    result = run_phase(
        model,
        adaptation.optimizer(),
        ObjectiveStream(train, objective, batch_size=adaptation.batch_size, seed=adaptation.seed),
        held,
        plan=Plan(
            steps=adaptation.steps,
            evaluate_every=min(adaptation.evaluate_every, adaptation.steps),
            checkpoint_seconds=CHECKPOINT_SECONDS,
        ),
        identity=digest_of(told | {"corpora": len(train)}),
        seed=adaptation.seed,
        folder=folder / "training",
        reporter=reporter,
    )
    weights = jax.device_put(result.final)
    saved = save_changed(backbone, weights, folder / "model", config=config)
    history = result.progress.history
    write_atomically(folder / "curve.json", json.dumps(history, indent=1).encode())
    return Adapted(saved, before, float(history[-1]["held_out_loss"]))


def _objective(backbone: Backbone, adaptation: Adaptation) -> Objective:
    """What is learnt.

    Raises:
        TrainingError: a vocabulary without sentinels for span corruption.
    """
    length, end = adaptation.input_length, backbone.config.eos_token_id
    vocabulary = backbone.tokenizer.size
    if adaptation.objective == OBJECTIVES[0]:
        return PrefixLM(
            vocab_size=vocabulary, input_length=length, target_length=max(1, length // 2), end=end
        )
    _sentinel(backbone)
    return SpanCorruption(vocab_size=vocabulary, input_length=length, end=end)


def _sentinel(backbone: Backbone) -> int:
    """T5's first sentinel, the last of its vocabulary.

    Raises:
        TrainingError: a vocabulary without sentinels.
    """
    last = backbone.tokenizer.size - 1
    if backbone.tokenizer.piece(last) != FIRST_SENTINEL:
        raise TrainingError(
            f"the vocabulary of {backbone.name} does not end in {FIRST_SENTINEL}; span corruption and --sentinel need "
            "T5's sentinels"
        )
    return last


def _check_vocabulary(backbone: Backbone) -> None:
    """Refuse a vocabulary whose tokens do not fit into the file of tokens.

    Raises:
        TrainingError: it has too many pieces.
    """
    if backbone.tokenizer.size > LARGEST_VOCABULARY:
        raise TrainingError(
            f"the vocabulary of {backbone.name} has {backbone.tokenizer.size} pieces; at most {LARGEST_VOCABULARY} "
            "can be adapted"
        )
