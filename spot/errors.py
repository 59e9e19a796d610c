"""What a user can do wrong, as exceptions: one line each, saying what was found and what to do."""

from __future__ import annotations


class SpotError(ValueError):
    """Base of every error that is the input's fault, not the program's."""


class BackboneError(SpotError):
    """A backbone that cannot be found, read or understood."""


class PromptError(SpotError):
    """A prompt of the wrong shape, dtype or content, or one made for another backbone."""


class TrainingError(SpotError):
    """A training run that cannot start, continue or finish."""


class DivergenceError(TrainingError):
    """The loss became NaN or infinite."""


class RetrievalError(SpotError):
    """Keys and query that cannot be compared, or a bank without any."""
