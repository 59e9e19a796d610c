"""Settings held to what they say of themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

from spot.errors import TrainingError
from spot.training.settings import settings_of
from tasks.choices import choose


def check_settings(settings: Any) -> None:
    """Refuse values out of their bounds and names that are not known; whole numbers become what their setting is, since
    1 and 1.0 are one recipe.

    Args:
        settings: a dataclass whose fields carry a :class:`spot.training.settings.Setting`.

    Raises:
        TrainingError: naming the first such setting.
    """
    for field in dataclasses.fields(settings):
        if isinstance(field.default, float) and type(value := getattr(settings, field.name)) is int:
            object.__setattr__(settings, field.name, float(value))
    for name, setting in settings_of(settings).items():
        value, words = getattr(settings, name), (setting.option or name).replace("_", " ")
        if setting.choices:
            choose(value, setting.choices, words, error=TrainingError)
        if problem := setting.problem(value):
            raise TrainingError(f"{words} {problem}, found {value}")
