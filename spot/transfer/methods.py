"""Methods of transfer: which sources each takes of a ranking, and from what prompts the target starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bank import Bank, StoredRun
from spot.errors import TrainingError
from spot.prompts.forms import attending
from spot.retrieval.rank import Ranked, weights
from spot.training.prompt_tuning import start_of
from spot.training.settings import FORM_NAMES
from spot.transfer.learnt_weights import STEPS, learn_weights
from spot.transfer.planner import RunSpec
from spot.transfer.runs import Ended, Trainer
from spot.transfer.sources import Ranking
from tasks import Mixture, Task
from tasks.mixture import members_of

FindTask = Callable[[str], Task | Mixture]
"""Gives a source's task or mixture by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A source, the prompt that the target starts from for its sake, and what came of the target's run from there.

    Attributes:
        source: as it was ranked.
        weight: its share in the start.
        start: address of the prompt.
        start_steps: optimiser steps that made the prompt for this target, once for all candidates that share it.
        ended: the target's run; ``None`` while it has not been trained.
    """

    source: Ranked
    weight: float
    start: str
    start_steps: int = 0
    ended: Ended | None = None

    @property
    def run(self) -> StoredRun | None:
        """The target's run, if it went to its end."""
        return self.ended.run if self.ended else None

    @property
    def score(self) -> float:
        """Best development score of that run, however far it came."""
        assert self.ended is not None
        return self.ended.score

    @property
    def steps(self) -> int:
        """Optimiser steps of that run."""
        assert self.ended is not None
        return self.ended.steps


NOTHING = Ranking(similarity="")
"""What is ranked before a bank is asked."""


class Selection(NamedTuple):
    """One seed of a target: the run whose key is the query, that without transfer, the ranking, and the sources that a
    method takes of it."""

    seed: int
    query: StoredRun
    baseline: StoredRun | None = None
    ranking: Ranking = NOTHING
    sources: Sequence[Ranked] = ()


Starts = Callable[[Trainer, Task, Sequence[Selection], FindTask], list[list[Candidate]]]
"""Gives the candidates of every seed of a target."""


def start_steps(candidates: Sequence[Candidate]) -> int:
    """Steps that went into the starts of one seed, each prompt counted once."""
    return sum({candidate.start: candidate.start_steps for candidate in candidates}.values())


def from_each(
    trainer: Trainer, target: Task, selections: Sequence[Selection], find_task: FindTask
) -> list[list[Candidate]]:
    """Start once from the value of every source (Vu et al. 2022, "best of top-k")."""

    def start(source: Ranked) -> str:
        value = trainer.bank.prompt(source.value)
        begun = trainer.start_from(value)
        return source.value if begun is value else trainer.bank.put(begun)

    return [
        [
            Candidate(source=source, weight=weight, start=start(source))
            for source, weight in zip(selection.sources, weights(selection.sources), strict=True)
        ]
        for selection in selections
    ]


def from_average(
    trainer: Trainer, target: Task, selections: Sequence[Selection], find_task: FindTask
) -> list[list[Candidate]]:
    """Start from ``sum_r a_r V_r`` with ``a_r = sim_r / sum_l sim_l`` (Vu et al. 2022, "top-k weighted average").

    Negative similarities count as zero; where none is positive, all sources weigh the same.
    """

    def averaged(sources: Sequence[Ranked]) -> list[Candidate]:
        start = trainer.bank.put(trainer.start_from(average_of(trainer.bank, sources)))
        return [
            Candidate(source=source, weight=share, start=start)
            for source, share in zip(sources, weights(sources), strict=True)
        ]

    return [averaged(selection.sources) for selection in selections]


def average_of(bank: Bank, sources: Sequence[Ranked]) -> np.ndarray:
    """The weighted mean ``[..., P, H]`` of the values of sources."""
    shares = zip(sources, weights(sources), strict=True)
    return np.asarray(
        np.sum([share * bank.prompt(source.value) for source, share in shares], axis=0)
    )


def from_weights(
    trainer: Trainer, target: Task, selections: Sequence[Selection], find_task: FindTask
) -> list[list[Candidate]]:
    """Start from ``sum_k w_k V_k`` of weights that the target's own examples have learnt.

    See :mod:`spot.transfer.learnt_weights`.
    """

    def mixed(selection: Selection) -> list[Candidate]:
        values = [
            trainer.start_from(trainer.bank.prompt(source.value)) for source in selection.sources
        ]
        shares = learn_weights(
            trainer.backbone, trainer.recipe, trainer.data(target), values, seed=selection.seed
        )
        prompt = np.tensordot(shares, np.stack(values).astype(np.float64), axes=1)
        start = trainer.bank.put(prompt.astype(np.float32))
        return [
            Candidate(source=source, weight=float(share), start=start, start_steps=STEPS)
            for source, share in zip(selection.sources, shares, strict=True)
        ]

    return [mixed(selection) for selection in selections]


def from_attention(
    trainer: Trainer, target: Task, selections: Sequence[Selection], find_task: FindTask
) -> list[list[Candidate]]:
    """Start from the recipe's initialiser and the values of all sources, which every input mixes for itself
    (:func:`spot.prompts.forms.attention`).
    """

    def attended(selection: Selection) -> list[Candidate]:
        start = trainer.bank.put(attending_start(trainer, target, selection))
        share = 1 / len(selection.sources)
        return [Candidate(source=source, weight=share, start=start) for source in selection.sources]

    return [attended(selection) for selection in selections]


def attending_start(trainer: Trainer, target: Task, selection: Selection) -> np.ndarray:
    """The prompt ``[3 + K, P, H]`` from which a target attends to K sources."""
    values = [trainer.start_from(trainer.bank.prompt(source.value)) for source in selection.sources]
    own = start_of(trainer.recipe, trainer.backbone, target, selection.seed)
    return attending(own, values, selection.seed)


def from_mixture(
    trainer: Trainer, target: Task, selections: Sequence[Selection], find_task: FindTask
) -> list[list[Candidate]]:
    """Train one prompt on the sources' tasks, those of mixtures among them, and the target together.

    The target starts from its value. Vu et al. 2022, "top-k multi-task mixture". A recipe's ``train_limit`` is the
    target's: sources take part with all their examples. That prompt is no source: it has seen the target.
    """
    mixed = trainer.run_all(
        [mixture_spec(trainer, target, selection, find_task) for selection in selections]
    )
    return [
        [
            Candidate(
                source=source,
                weight=1 / len(selection.sources),
                start=run.value,
                start_steps=run.steps,
            )
            for source in selection.sources
        ]
        for selection, run in zip(selections, mixed, strict=True)
    ]


def mixture_spec(
    trainer: Trainer, target: Task, selection: Selection, find_task: FindTask
) -> RunSpec:
    """The run of one prompt on the tasks of a seed's sources and the target together."""
    mixture = mixture_of(target, [find_task(source.task) for source in selection.sources])
    return trainer.spec(mixture, selection.seed, "transfer")


def mixture_of(target: Task, sources: Sequence[Task | Mixture]) -> Mixture:
    """The tasks of all sources, each once, and the target, which alone is limited, behind them."""
    tasks = [task for source in sources for task in members_of(source)]
    members = tuple({task.name: task for task in [*tasks, target]}.values())
    return Mixture(
        name="+".join(task.name for task in members),
        members=members,
        whole=tuple(task.name for task in members if task.name != target.name),
    )


class Method(NamedTuple):
    """A transfer method: which sources it takes of a ranking, and where the target starts for each."""

    sources: Callable[[Sequence[Ranked], int, str], Sequence[Ranked]]
    """Given all that were ranked, how many are wanted, and a source's name."""
    starts: Starts
    retrieves: bool = True
    """Whether the bank is asked at all."""
    chooses: bool = False
    """Whether the target is trained once from each of several sources, and the best run chosen."""
    single: bool = False
    """Whether every run of the target starts from one source alone."""
    names_source: bool = False
    """Whether it starts from a source given by name."""
    reads_sources: bool = False
    """Whether it trains on the sources' data."""
    form: str = ""
    """Form of the target's prompts, where it is another than the sources'."""
    unused: tuple[str, ...] = ()
    """Options of a transfer that it does not look at."""
    why: str = ""
    """What makes them of no use."""

    def training(self, trainer: Trainer) -> Trainer:
        """What trains the target from its starts.

        Raises:
            TrainingError: a method with a form of its own, for sources of another form than plain prompts.
        """
        if not self.form:
            return trainer
        if trainer.recipe.form != FORM_NAMES[0]:
            raise TrainingError(
                f"method {self.form} is made of prompts before the input; the sources are of form {trainer.recipe.form}"
            )
        return trainer.alone(dataclasses.replace(trainer.recipe, form=self.form))


def _top(ranked: Sequence[Ranked], top_k: int, name: str) -> Sequence[Ranked]:
    return ranked[:top_k]


def _all(ranked: Sequence[Ranked], top_k: int, name: str) -> Sequence[Ranked]:
    return ranked


def _named(ranked: Sequence[Ranked], top_k: int, name: str) -> Sequence[Ranked]:
    return [source for source in ranked if source.task == name][:1]


METHODS: dict[str, Method] = {
    "best": Method(_top, from_each, chooses=True, single=True),
    "average": Method(_top, from_average),
    "weights": Method(_top, from_weights),
    "attention": Method(_top, from_attention, form="attention"),
    "mixture": Method(_top, from_mixture, reads_sources=True),
    "generic": Method(
        _named,
        from_each,
        single=True,
        names_source=True,
        unused=("top_k",),
        why="starts from --source alone",
    ),
    "oracle": Method(
        _all,
        from_each,
        chooses=True,
        single=True,
        unused=("top_k",),
        why="starts from every source",
    ),
    "none": Method(
        _top,
        from_each,
        retrieves=False,
        unused=("top_k", "similarity", "aggregate", "allow_overlap"),
        why="asks the bank for no source",
    ),
}
"""Methods by name."""
