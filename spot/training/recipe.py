"""A recipe: everything that shapes a prompt's training except task and seed."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from bank.identity import FIRST, recipe_family
from bank.records import BackboneRecord, RecipeRecord
from spot.backbone.load import Backbone
from spot.errors import TrainingError
from spot.training.jobs import Plan
from spot.training.optimizers import Optimizer
from tasks.pipeline import Lengths


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Prompt tuning's settings.

    Defaults are those of Lester et al. (2021) and of SPoT (Vu et al. 2022): P = 100, Adafactor at a constant 0.3,
    batch 32, 30,000 steps, sampled-vocabulary start, key at step 10,000, evaluation every 500 steps.

    Attributes:
        prompt_length: P, virtual tokens.
        init: initialiser, see :mod:`spot.prompts.initializers`.
        optimizer: optimiser and schedule.
        batch_size: examples a step.
        steps: optimiser steps.
        key_step: step of the key snapshot.
        evaluate_every: steps between development evaluations.
        patience: evaluations without gain before the run stops; 0 never stops early.
        max_input: longest input in tokens, prompt not counted.
        max_target: longest target in tokens.
        train_limit: training examples used, drawn by a hash of each; 0 uses all.
        dev_limit: development examples used to select, likewise; 0 uses all.
        evaluate_by: ``auto``, ``rank`` or ``generate``.
        dropout: share of features dropped in training, 0.1 in the released recipe of Lester et al. (2021).
        z_loss: weight of the square of the softmax's logarithm in the training loss, T5X's 1e-4 where wanted.
    """

    prompt_length: int = 100
    init: str = "vocabulary"
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    batch_size: int = 32
    steps: int = 30_000
    key_step: int = 10_000
    evaluate_every: int = 500
    patience: int = 0
    max_input: int = 512
    max_target: int = 64
    train_limit: int = 0
    dev_limit: int = 0
    evaluate_by: str = "auto"
    dropout: float = 0.0
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        for name in ("prompt_length", "batch_size", "max_input", "max_target"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name.replace('_', ' ')} must be at least 1, found {getattr(self, name)}")
        for name in ("train_limit", "dev_limit", "patience"):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name.replace('_', ' ')} must not be negative")
        if not 0 <= self.dropout < 1:
            raise TrainingError(f"dropout must be at least 0 and below 1, found {self.dropout}")
        if not 0 <= self.z_loss < math.inf:
            raise TrainingError(f"z-loss must be a number of at least 0, found {self.z_loss}")
        if self.key_step < 1:
            raise TrainingError(f"key step must be at least 1, found {self.key_step}")
        self.plan()

    @property
    def lengths(self) -> Lengths:
        return Lengths(inputs=self.max_input, targets=self.max_target)

    def plan(self, *, stop_at_key: bool = False) -> Plan:
        """When a run of this recipe evaluates, snapshots and ends; a query ends at its key step."""
        steps = self.key_step if stop_at_key else self.steps
        return Plan(
            steps=steps,
            evaluate_every=min(self.evaluate_every, steps),
            key_step=self.key_step,
            patience=self.patience,
        )

    def family(self, backbone: Backbone) -> str:
        """Digest of what shapes a prompt up to its key step: keys of one family can be compared."""
        return recipe_family(self._options(backbone))

    def _options(self, backbone: Backbone) -> dict[str, Any]:
        """All fields but those that the first release had not and that stand at their defaults; and the dtype."""
        fields = {field.name: field for field in dataclasses.fields(self)}
        kept = {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name in FIRST or value != fields[name].default
        }
        return kept | {"dtype": backbone.dtype}

    def record(self, backbone: Backbone) -> RecipeRecord:
        """The recipe as the bank stores it."""
        return RecipeRecord(
            backbone=backbone_record(backbone),
            prompt_length=self.prompt_length,
            key_step=self.key_step,
            family=self.family(backbone),
            options=self._options(backbone),
        )


def backbone_record(backbone: Backbone) -> BackboneRecord:
    """The backbone as the bank stores it."""
    return BackboneRecord(
        fingerprint=backbone.fingerprint,
        name=backbone.name,
        width=backbone.width,
        config=backbone.config.identity,
    )
