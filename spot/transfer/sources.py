"""What a bank offers to a target: the sources that may be ranked for it, and what ranks them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from bank import Partition, StoredRun
from bank.vectors import average
from spot.errors import TrainingError
from spot.inference.activations import activated, demonstrations
from spot.inference.predict import mean_losses
from spot.prompts.initializers import drawn_by_seed
from spot.retrieval.keys import Context
from spot.retrieval.query import Query
from spot.retrieval.rank import Ranked, Retriever
from spot.training.prompt_tuning import start_of
from spot.training.task_data import MixtureData, TaskData
from spot.transfer.runs import Trainer
from tasks import Split, Task
from tasks.errors import TaskError
from tasks.overlaps import OVERLAP, containment, overlapping, task_sentences
from tasks.signatures import task_signature

TRIAL_EXAMPLES = 64
"""Most training examples of a target on which the measure ``trial`` tries the sources."""

DEMONSTRATIONS = 16
"""Most that the measure ``demonstrations`` shows in place of a prompt."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranking:
    """Sources of a bank for one query.

    Attributes:
        similarity: the measure that ranked, where ``auto`` was asked for the one it stood for.
        ranked: every source of the bank, best first.
        cautions: what makes the ranking doubtful, a line each.
        left_out: sources of the bank that share texts with the target.
    """

    similarity: str
    ranked: Sequence[Ranked] = dataclasses.field(default_factory=list)
    cautions: Sequence[str] = dataclasses.field(default_factory=list)
    left_out: Sequence[str] = dataclasses.field(default_factory=list)


def rank_for(
    trainer: Trainer,
    target: Task,
    retriever: Retriever,
    run: StoredRun | None,
    *,
    similarity: str,
    aggregate: str,
) -> Ranking:
    """Rank a retriever's sources by the key of a target's run; of no run, by a measure that needs no query.

    Raises:
        RetrievalError: no run, and a measure that compares its key.
    """
    query = query_of(trainer, target, run) if run else None
    measure = retriever.measure(similarity, query)
    return Ranking(
        similarity=measure,
        ranked=retriever.rank(query, measure=measure, aggregate=aggregate),
        cautions=retriever.cautions(query, measure=measure, aggregate=aggregate),
        left_out=left_out(trainer, target, retriever),
    )


def left_out(trainer: Trainer, target: Task, retriever: Retriever) -> list[str]:
    """Other sources of the bank that a retriever does not rank, since they share texts with the target."""
    present = set(trainer.bank.sources(trainer.partition))
    return sorted(present - {target.name} - set(retriever.keys.tasks))


def retriever_for(trainer: Trainer, target: Task, *, allow_overlap: bool = False) -> Retriever:
    """Ranks the bank's sources for a target, without those that share texts with it unless allowed.

    Raises:
        RetrievalError: no comparable source in the bank.
    """
    exclude = [target.name, *(() if allow_overlap else sharing_texts(trainer, target))]
    record = trainer.recipe.record(trainer.backbone)
    return Retriever(
        trainer.bank,
        Partition.of(record),
        exclude=exclude,
        context=context_of(trainer, target),
        options=record.options,
    )


def sharing_texts(trainer: Trainer, target: Task) -> list[str]:
    """Sources of the bank whose training texts may hold the target's development or test texts.

    Built-in tasks are known by name; of all others, and of mixtures, the bank keeps hashes of training sentences.
    """
    named, sketches = (
        set(overlapping(target.name)),
        trainer.bank.texts(trainer.bank.sources(trainer.partition)),
    )
    sketches.pop(target.name, None)
    sentences = _sentences(trainer, target) if sketches else np.zeros(0, np.uint64)
    shared = {
        name
        for name, texts in sketches.items()
        if containment(sentences, np.frombuffer(texts, "<u8")) >= OVERLAP
    }
    return sorted((named | shared) - {target.name})


def _sentences(trainer: Trainer, target: Task) -> np.ndarray:
    """Hashes ``[n]`` uint64 of the sentences of dev and test; of dev alone, which users are told, without a test
    split."""
    datasets = trainer.datasets
    sentences = functools.partial(
        task_sentences, target, datasets.data_dir, allow_partial=datasets.allow_partial
    )
    try:
        return sentences()
    except TaskError as error:
        datasets.tell(
            f"{target.name}: sources that hold its test texts are not known, for these are not ({error})"
        )
        return sentences(splits=[Split.DEV])


def context_of(trainer: Trainer, target: Task) -> Context:
    """What retrieval measures look at beside prompts, for this target: its examples are training ones."""
    backbone, recipe = trainer.backbone, trainer.recipe
    tried, shown = (_few(trainer, target, most) for most in (TRIAL_EXAMPLES, DEMONSTRATIONS))

    def losses(prompts: Sequence[np.ndarray]) -> np.ndarray:
        return mean_losses(backbone, prompts, tried[Split.TRAIN].tokens, form=recipe.form)

    def demonstrated() -> np.ndarray:
        return activated(backbone, demonstrations(backbone, shown[Split.TRAIN].tokens))

    return Context(
        embedding=lambda: np.asarray(backbone.embedding, np.float32),
        losses=losses,
        start=functools.cache(lambda seed: _start(trainer, target, seed))
        if drawn_by_seed(recipe.init)
        else None,
        train_limit=recipe.train_limit,
        signature=lambda: task_signature(
            target,
            trainer.datasets.data_dir,
            recipe.train_limit,
            sample=recipe.sample,
            allow_partial=trainer.datasets.allow_partial,
        ),
        activated=lambda prompts: activated(backbone, prompts, form=recipe.form),
        demonstrated=demonstrated,
    )


def _few(trainer: Trainer, target: Task, most: int) -> TaskData | MixtureData:
    """The target's data, read when first asked for, with so many training examples or as few as the recipe takes."""
    limit = min(most, trainer.recipe.train_limit or most)
    limited = dataclasses.replace(trainer.recipe, train_limit=limit)
    return trainer.datasets.read(target, limited)


def query_of(trainer: Trainer, target: Task, run: StoredRun) -> Query:
    """The query that a run of a target gives: its key, and where it started.

    Raises:
        TrainingError: a run without a key.
    """
    if run.key is None:
        raise TrainingError(
            f"run {run.digest[:12]} of {target.name} has no key to rank by; see `spot bank verify`"
        )
    return Query(trainer.bank.prompt(run.key), _start(trainer, target, run.seed))


def _start(trainer: Trainer, target: Task, seed: int) -> np.ndarray:
    """Mean token ``[W]`` of the prompt that the recipe's initialiser gives a run."""
    return average(start_of(trainer.recipe, trainer.backbone, target, seed))
