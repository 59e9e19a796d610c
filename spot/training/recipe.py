"""A recipe: everything that shapes a prompt's training except task and seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bank.identity import FIRST, recipe_family
from bank.records import BackboneRecord, RecipeRecord
from spot.backbone.load import Backbone
from spot.errors import TrainingError
from spot.training.checks import check_settings
from spot.training.jobs import Plan
from spot.training.optimizers import Optimizer
from spot.training.settings import (
    CROSS_ENTROPY,
    FALLING,
    FORM_NAMES,
    RecipeSettings,
    Setting,
    settings_of,
)
from tasks.tokenize import Lengths


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(RecipeSettings):
    """Settings of prompt tuning, and what follows from them.

    Raises:
        TrainingError: an unknown name, a number out of its bounds, a key step behind the last one, z-loss beside a loss
            over label words, parts that are shared beside a network, or a text to stay near to for a form without
            words' places.
    """

    optimizer: Optimizer = dataclasses.field(
        default_factory=Optimizer,
        metadata={"setting": Setting(help="Optimiser and schedule.", shapes_key=True)},
    )

    def __post_init__(self) -> None:
        check_settings(self)
        self.plan()
        warm, schedule = self.optimizer.warmup_steps, self.optimizer.schedule
        if warm >= self.steps and schedule in FALLING:
            raise TrainingError(
                f"{warm} steps of warm-up leave none of {self.steps} for the schedule {schedule} to fall in; give "
                "fewer --warmup-steps"
            )
        if self.z_loss and self.loss != CROSS_ENTROPY:
            raise TrainingError(
                f"z-loss belongs to {CROSS_ENTROPY}; the loss {self.loss!r} compares label words"
            )
        if self.shared and self.mlp_width:
            raise TrainingError(
                "a prompt trains in two parts (--shared) or through a network (--mlp-width); use one of them"
            )
        if self.toward_weight != RecipeSettings.toward_weight and not self.toward:
            raise TrainingError(
                "a weight is given, and no text to stay near to; give --toward, too"
            )
        if self.toward and self.form != FORM_NAMES[0]:
            raise TrainingError(
                f"a prompt of form {self.form!r} has no words' places to stay near to a text; leave out --toward"
            )

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Recipe:
        """The recipe whose record holds these options; see :meth:`record`.

        Raises:
            TrainingError: options that are not those of a recipe, such as an imported prompt's.
        """
        named = {name: value for name, value in options.items() if name != "dtype"}
        if not set(FIRST) <= options.keys():
            raise TrainingError("some settings of the recipe are not known")
        try:
            return cls(**named | {"optimizer": Optimizer(**named["optimizer"])})
        except TypeError as error:
            raise TrainingError(
                "the recipe has settings that this program does not know"
            ) from error

    def flat(self) -> dict[str, Any]:
        """All settings by the names that :meth:`changed` takes."""
        settings = dataclasses.asdict(self)
        optimizer = settings.pop("optimizer")
        names = settings_of(Optimizer)
        return settings | {names[name].option or name: value for name, value in optimizer.items()}

    def changed(self, settings: Mapping[str, Any]) -> Recipe:
        """With other settings by flat names: the optimiser's stand beside the others, its name as ``optimizer``.

        Where only the steps are given and end before the key step, that moves to the end.
        """
        names = {setting.option or name: name for name, setting in settings_of(Optimizer).items()}
        optimizer = {names[name]: value for name, value in settings.items() if name in names}
        others = {name: value for name, value in settings.items() if name not in names}
        if "steps" in others:
            others.setdefault("key_step", min(self.key_step, others["steps"]))
        return dataclasses.replace(
            self, optimizer=dataclasses.replace(self.optimizer, **optimizer), **others
        )

    @property
    def lengths(self) -> Lengths:
        return Lengths(inputs=self.max_input, targets=self.max_target)

    def plan(self, *, stop_at_key: bool = False) -> Plan:
        """When a run of this recipe evaluates, snapshots and ends; a query ends at its key step."""
        steps = self.key_step if stop_at_key else self.steps
        return Plan(
            steps=steps,
            evaluate_every=min(self.evaluate_every, steps),
            spacing=self.evaluate_spacing,
            key_step=self.key_step,
            patience=self.patience,
        )

    def family(self, backbone: Backbone) -> str:
        """Digest of what shapes a prompt up to its key step: keys of one family can be compared."""
        return recipe_family(self._options(backbone))

    def _options(self, backbone: Backbone) -> dict[str, Any]:
        return recorded(self) | {"dtype": backbone.dtype}

    def record(self, backbone: Backbone) -> RecipeRecord:
        """The recipe as the bank stores it."""
        return RecipeRecord(
            backbone=backbone_record(backbone),
            prompt_length=self.prompt_length,
            key_step=self.key_step,
            family=self.family(backbone),
            options=self._options(backbone),
        )


def recorded(settings: Any) -> dict[str, Any]:
    """Settings by name as a record holds them: all but those that came later and stand at their defaults."""
    kept = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if not field.metadata["setting"].later or value != field.default:
            kept[field.name] = recorded(value) if dataclasses.is_dataclass(value) else value
    return kept


def backbone_record(backbone: Backbone) -> BackboneRecord:
    """The backbone as the bank stores it."""
    return BackboneRecord(
        fingerprint=backbone.fingerprint,
        name=backbone.name,
        width=backbone.width,
        config=backbone.config.identity,
    )
