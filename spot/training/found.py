"""What a search found, and the file that says so."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spot.errors import TrainingError
from spot.training.checkpoint import write_atomically
from spot.training.configurations import Configuration
from spot.training.jobs import Progress
from spot.training.rounds import WORST, best_first, last_loss


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of a configuration.

    Attributes:
        configuration: what was tried.
        losses: steps and development losses of its evaluations, by task.
        steps: that it trained for, on all tasks together.
        diverged: whether a loss was not finite on one of them.
    """

    configuration: Configuration
    losses: Mapping[str, Sequence[tuple[int, float]]]
    steps: int
    diverged: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What a search found.

    Attributes:
        tasks: that it trained on.
        seed: of its runs.
        trials: one a configuration.
        chosen: the best among those that came furthest.
        steps: of all of them.
        runs: the same in full runs.
    """

    tasks: Sequence[str]
    seed: int
    trials: Sequence[Trial]
    chosen: int
    steps: int
    runs: float

    @property
    def configuration(self) -> Configuration:
        return self.trials[self.chosen].configuration

    def write(self, path: Path) -> None:
        """Into a JSON file.

        Raises:
            TrainingError: it cannot be written.
        """
        write_atomically(path, json.dumps(dataclasses.asdict(self), indent=1).encode())

    @classmethod
    def read(cls, path: Path) -> Found:
        """From a file that :meth:`write` wrote.

        Raises:
            TrainingError: the file is damaged.
        """
        try:
            fields = json.loads(path.read_bytes())
            trials = [
                Trial(**trial | {"configuration": Configuration(**trial["configuration"])})
                for trial in fields["trials"]
            ]
            found = cls(**fields | {"trials": trials})
            assert 0 <= found.chosen < len(found.trials)
        except (OSError, ValueError, TypeError, LookupError, AssertionError) as error:
            raise TrainingError(
                f"{path}: not the outcome of a search, or damaged; remove it to search again"
            ) from error
        return found


def found_by(
    tried: Sequence[Configuration],
    ends: Sequence[Sequence[Progress]],
    *,
    tasks: Sequence[str],
    seed: int,
    steps: int,
) -> Found:
    """What a search found, from how far every configuration came on each task; full runs take ``steps``.

    Raises:
        TrainingError: all of them diverged.
    """
    trials = [
        _trial(configuration, tasks, end) for configuration, end in zip(tried, ends, strict=True)
    ]
    furthest = max((trial.steps for trial in trials if not trial.diverged), default=0)
    finalists = [
        i for i, trial in enumerate(trials) if not trial.diverged and trial.steps == furthest
    ]
    if not finalists:
        rates = [configuration.learning_rate for configuration in tried]
        raise TrainingError(
            f"no learning rate from {min(rates):g} to {max(rates):g} keeps the loss on {', '.join(tasks)} finite: "
            "give a smaller --learning-rate, --warmup-steps, or float32 instead of bfloat16"
        )
    losses = np.array([[last_loss(progress) for progress in ends[i]] for i in finalists])
    spent = sum(trial.steps for trial in trials)
    return Found(
        tasks=tasks,
        seed=seed,
        trials=trials,
        chosen=finalists[best_first(losses)[0]],
        steps=spent,
        runs=spent / steps / len(tasks),
    )


def _trial(configuration: Configuration, tasks: Sequence[str], ends: Sequence[Progress]) -> Trial:
    return Trial(
        configuration=configuration,
        losses={
            task: [(int(row["step"]), row["development loss"]) for row in progress.history]
            for task, progress in zip(tasks, ends, strict=True)
        },
        steps=sum(progress.step for progress in ends),
        diverged=any(progress.diverged or last_loss(progress) == WORST for progress in ends),
    )
