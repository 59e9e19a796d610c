"""Settings held to what they say of themselves."""

from __future__ import annotations

from typing import Any

from spot.errors import TrainingError
from spot.training.settings import settings_of
from tasks.choices import choose


def check_settings(settings: Any) -> None:
    """Refuse values out of their bounds and names that are not known.

    Args:
        settings: a dataclass whose fields carry a :class:`spot.training.settings.Setting`.

    Raises:
        TrainingError: naming the first such setting.
    """
    for name, setting in settings_of(settings).items():
        value, words = getattr(settings, name), (setting.option or name).replace("_", " ")
        if setting.choices:
            choose(value, setting.choices, words, error=TrainingError)
        if problem := setting.problem(value):
            raise TrainingError(f"{words} {problem}, found {value}")
