"""What a user can do wrong, as exceptions: one line each, saying what was found and what to do."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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


class Interrupted(Exception):
    """A signal asked the run to stop; its state is saved.

    Args of the constructor:
        number: of the signal.
        step: the last one that was finished.
        path: the checkpoint, if one is kept.
    """

    def __init__(self, number: int, step: int, path: Path | None) -> None:
        where = (
            f"saved in {path}; run the same command again to go on" if path else "nothing was saved"
        )
        super().__init__(f"stopped by {signal.Signals(number).name} at step {step}: {where}")
        self.number, self.step = number, step
