"""Search for a recipe's learning rate, and for where its prompts start: successive halving in the slots of one program.

All configurations train for a little, along the schedule of a full run; the half of smaller development loss goes on,
and so forth (Jamieson and Talwalkar 2016). What is found is a recipe like any other: who trains it trains an ordinary
run from its beginning, and nothing of the search is in it but the number. The search costs at most half a run a task,
so that one run and its search cost about one and a half.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bank.identity import digest
from bank.vectors import prompt_sha256
from spot.backbone.load import Backbone
from spot.inference.predict import mean_losses
from spot.prompts.initializers import file_address
from spot.prompts.reparameterization import prompts_of, trainable
from spot.training.configurations import STARTS, Configuration
from spot.training.found import Found, found_by
from spot.training.jobs import CHECKPOINT_SECONDS, Progress, Reporter, Silent
from spot.training.loop import fit
from spot.training.optimizers import Optimizer
from spot.training.prompt_tuning import PromptJob, TaskStream, start_of, step_of
from spot.training.recipe import Recipe
from spot.training.rounds import GivesUpWorse, Rounds
from spot.training.task_data import MixtureData, TaskData
from tasks.task import Split
from tasks.tokenized import Tokenized, subset

TASKS = 3
"""The most tasks that a search trains on."""

DEV_EXAMPLES = 256
"""Development examples that losses are computed on, spread over all there are."""

Data = TaskData | MixtureData


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """Configurations of a recipe that are tried on tasks, all at once.

    Attributes:
        backbone: the frozen model.
        data: the tasks' splits; the tasks have different names.
        recipe: everything else.
        tried: from :func:`configurations`.
        seed: of starts and batches.
        initial: a prompt ``[..., P, H]`` to start from, in place of initialisers.
    """

    backbone: Backbone
    data: Sequence[Data]
    recipe: Recipe
    tried: Sequence[Configuration]
    seed: int
    initial: np.ndarray | None = None

    @functools.cached_property
    def question(self) -> str:
        """Digest of what is asked: all but the values at which the search begins.

        These may follow from a bank, where the first search has left runs of what it found.
        """
        rates, starts = (
            {one.learning_rate for one in self.tried},
            {one.init for one in self.tried},
        )
        searched = len(rates) > 1
        rate = Optimizer().learning_rate if searched else self.recipe.optimizer.learning_rate
        recipe = Configuration(learning_rate=rate, init=STARTS[0]).of(self.recipe)
        address = prompt_sha256(self.initial) if self.initial is not None else None
        length, width = recipe.prompt_length, self.backbone.width
        files = [file_address(start, length, width) for start in sorted(starts)]
        data = [[one.task.name, one.digest] for one in self.data]
        content = [recipe.record(self.backbone).digest, sorted(starts), searched, files, address]
        return digest(*content, data, self.seed)

    @functools.cached_property
    def digest(self) -> str:
        """Of everything that what it finds depends on."""
        return digest(self.question, *(dataclasses.asdict(one) for one in self.tried))

    @functools.cached_property
    def rounds(self) -> Rounds:
        """When it looks."""
        return Rounds.of(len(self.tried), self.recipe.steps)

    def path(self, folder: Path) -> Path:
        """The file of what it found."""
        return folder / f"search-{self.question[:20]}.json"

    def run(
        self,
        *,
        folder: Path | None = None,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        reporters: Callable[[str], Reporter | None] = lambda _title: None,
    ) -> Found:
        """Find the configuration of least development loss; one that diverges is given up.

        A search that was killed at any moment goes on, and one that has ended is read from its file: both find the
        same, on one machine.

        Args:
            folder: where what it found and its checkpoint lie; ``None`` saves nothing.
            checkpoint_seconds: longest time between checkpoints.
            reporters: gives every configuration and task its progress sink.

        Raises:
            Interrupted: a signal stopped it; its state is saved.
            TrainingError: all configurations diverged; a damaged file.
        """
        if folder is None:
            return self._train(None, checkpoint_seconds, reporters)
        path, checkpoint = self.path(folder), folder / f"search-{self.digest[:20]}"
        if not path.exists():
            self._train(checkpoint, checkpoint_seconds, reporters).write(path)
        shutil.rmtree(checkpoint, ignore_errors=True)
        return Found.read(path)

    def _train(
        self,
        checkpoint: Path | None,
        checkpoint_seconds: float,
        reporters: Callable[[str], Reporter | None],
    ) -> Found:
        ends: dict[str, Progress] = {}
        jobs = [
            self._job(data, configuration, ends, checkpoint_seconds, reporters)
            for configuration, data in itertools.product(self.tried, self.data)
        ]
        names = [
            [self._name(data, configuration) for data in self.data] for configuration in self.tried
        ]
        samples = {one.task.name: subset(one[Split.DEV].tokens, DEV_EXAMPLES) for one in self.data}
        fit(
            jobs,
            frozen=self.backbone.weights,
            step=step_of(self.backbone, self.recipe),
            evaluate=functools.partial(_development_losses, self.backbone, self.recipe, samples),
            slots=len(jobs),
            folder=checkpoint,
            give_up=GivesUpWorse(names, self.rounds.survivors),
        )
        return found_by(
            self.tried,
            [[ends[name] for name in some] for some in names],
            tasks=[one.task.name for one in self.data],
            seed=self.seed,
            steps=self.recipe.steps,
        )

    def _name(self, data: Data, configuration: Configuration) -> str:
        return f"{self.digest} {data.task.name}: {configuration}"

    def _job(
        self,
        data: Data,
        configuration: Configuration,
        ends: dict[str, Progress],
        checkpoint_seconds: float,
        reporters: Callable[[str], Reporter | None],
    ) -> PromptJob:
        """A configuration on a task; its progress goes into ``ends`` when it has ended, however that came."""
        identity, plan = self._name(data, configuration), self.rounds.plan
        start = self.initial
        if start is None:
            start = start_of(configuration.of(self.recipe), self.backbone, data.task, self.seed)

        def ended(progress: Progress) -> None:
            ends[identity] = progress

        return PromptJob(
            identity=identity,
            plan=dataclasses.replace(plan, checkpoint_seconds=checkpoint_seconds),
            start=lambda: trainable(
                start, self.recipe.mlp_width, self.seed, shared=self.recipe.shared
            ),
            stream=lambda: TaskStream(
                data.batches(self.recipe.batch_size, self.seed, loss=self.recipe.loss)
            ),
            seed=self.seed,
            learning_rate=configuration.learning_rate,
            may_diverge=True,
            done=lambda result: ended(result.progress),
            given_up=ended,
            reporter=reporters(f"{data.task.name}: {configuration}") or Silent(),
            data=data,
        )


def _development_losses(
    backbone: Backbone,
    recipe: Recipe,
    samples: Mapping[str, Tokenized],
    jobs: Sequence[Any],
    trained: Any,
) -> list[Mapping[str, float]]:
    """Development losses of the prompts that train, one a job, in one pass a task."""
    losses, stacked = np.zeros(len(jobs)), np.asarray(prompts_of(trained))
    for name, tokens in samples.items():
        rows = [row for row, job in enumerate(jobs) if job.data.task.name == name]
        losses[rows] = mean_losses(backbone, [*stacked[rows]], tokens, form=recipe.form)
    return [{"development loss": float(loss), "score": -float(loss)} for loss in losses]
