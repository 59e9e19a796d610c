"""Which recipe runs are trained by where a user does not say: that of the bank's sources, or one that fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bank import Bank, Partition, SourceRecipe
from spot.backbone.load import Backbone
from spot.errors import TrainingError
from spot.training.defaults import SAMPLE, fitted, lengths_of
from spot.training.recipe import Recipe
from spot.training.settings import FORM_NAMES, LENGTH
from spot.transfer.datasets import Datasets
from spot.transfer.runs import Trainer
from tasks import Mixture, Split, Task
from tasks.mixture import members_of
from tasks.tokenize import Lengths


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """A recipe, and where it comes from.

    Attributes:
        recipe: of the runs.
        origin: what its settings are those of.
        sources: recipe of the bank's sources, by which a target's queries are trained, where it is another one.
        others: partitions of this backbone's sources that were not chosen.
        why: what a setting follows from, by its flat name; those that ``origin`` explains are missing.
    """

    recipe: Recipe
    origin: str
    sources: Recipe | None = None
    others: Sequence[SourceRecipe] = ()
    why: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def lines(self) -> list[str]:
        """What a user should know before training begins."""
        flat, by_reason = self.recipe.flat(), dict[str, list[str]]()
        for name, why in self.why.items():
            by_reason.setdefault(why, []).append(f"{_words(name)} {flat[name]}")
        return [
            f"recipe: {self.origin}",
            f"  {summary(self.recipe)}",
            *(
                [f"queries: by the sources' recipe, {summary(self.sources)}"]
                if self.sources
                else []
            ),
            *(f"  {', '.join(settings)}: {why}" for why, settings in by_reason.items()),
        ]

    def notes(self) -> list[str]:
        """That a bank holds sources which cannot be compared with the chosen ones."""
        held = "; ".join(
            f"{other.sources} ({summary(Recipe.from_options(other.options))})"
            for other in self.others
        )
        return [f"sources that cannot be compared with these: {held}"] if held else []

    def document(self) -> dict[str, Any]:
        """All of it for programs."""
        document = self.recipe.flat() | {"origin": self.origin, "why": dict(self.why)}
        return document | ({"queries": self.sources.flat()} if self.sources else {})


def _words(name: str) -> str:
    return name.replace("_", " ")


def summary(recipe: Recipe) -> str:
    """What matters most of a recipe, in a line."""
    optimizer = recipe.optimizer
    limited = f", {recipe.train_limit} training examples" if recipe.train_limit else ""
    form = "" if recipe.form == FORM_NAMES[0] else f" of form {recipe.form}"
    network = f" through {recipe.mlp_width} units" if recipe.mlp_width else ""
    network += f" in two parts ({recipe.shared})" if recipe.shared else ""
    return (
        f"{recipe.prompt_length} tokens{form}{network}, {recipe.steps} steps of {recipe.batch_size}, "
        f"key at {recipe.key_step}, "
        f"{optimizer.name} at {optimizer.learning_rate:g} {optimizer.schedule}, inputs to {recipe.max_input}{limited}"
    )


class Base(NamedTuple):
    """A recipe that others are changes of, and what it is called."""

    origin: str
    recipe: Recipe


class Chooser:
    """Finds the recipe for what a user gives of it.

    Args of the constructor:
        given: settings by flat name.
        bank: whose sources count.
        datasets: of their backbone, and of the tasks on whose lengths a recipe may depend.
        preset: the recipe that ``given`` changes, where the user named it.
        embedded: the recipe of the embedded backbone, if that is the backbone.
        resizes: whether a target's prompts may have another length than the sources'.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        *,
        bank: Bank,
        datasets: Datasets,
        preset: Base | None = None,
        embedded: Base | None = None,
        resizes: bool = False,
    ) -> None:
        self.resizes = resizes
        self.given, self.bank, self.datasets = given, bank, datasets
        self.preset, self.embedded = preset, embedded
        self.backbone = datasets.backbone
        self.known = readable(bank.source_recipes(), self.backbone)

    def choose(self, what: str, tasks: Sequence[Task | Mixture]) -> Chosen:
        """For ``sources``, a ``target`` or a ``query``, on these tasks."""
        choices = {"sources": self.for_sources, "target": self.for_target, "query": self.for_query}
        return choices[what](tasks)

    def for_sources(self, tasks: Sequence[Task | Mixture]) -> Chosen:
        """Of source runs on these tasks: that of the bank's, so that keys compare; in an empty bank one that fits."""
        source = None if self.preset else self._nearest()
        if source is None:
            chosen = self._without_bank(tasks)
            return dataclasses.replace(chosen, others=self._others(chosen.recipe))
        recipe = Recipe.from_options(source.options).changed(self.given)
        return Chosen(recipe=recipe, origin=self._origin(source), others=self._others(recipe))

    def for_target(self, tasks: Sequence[Task | Mixture]) -> Chosen:
        """Of a target's runs, beside that of the sources it is compared with."""
        source = self._nearest()
        if source is None:
            return self._without_bank(tasks)
        of_sources = Recipe.from_options(source.options)
        origin, recipe = self._origin(source), of_sources
        if self.preset:
            origin, recipe = self.preset
        else:  # how many examples the sources had says nothing of the target
            recipe = dataclasses.replace(recipe, train_limit=0)
        recipe = recipe.changed(self.given)
        apart = Partition.of(recipe.record(self.backbone)) != source.partition
        return Chosen(
            recipe=recipe,
            origin=f"{origin}{self._changes()}" if self.preset else origin,
            sources=of_sources if apart else None,
            others=self._others(of_sources),
        )

    def for_query(self, tasks: Sequence[Task | Mixture]) -> Chosen:
        """Of queries alone: what is given must be the sources' then."""
        return dataclasses.replace(self.for_target(tasks), sources=None)

    def _origin(self, source: SourceRecipe) -> str:
        count = "only source" if source.sources == 1 else f"{source.sources} sources"
        return f"that of the bank's {count}{self._changes()}"

    def _changes(self) -> str:
        names = ", ".join(_words(name) for name in self.given)
        return f", with {names} as given" if names else ""

    def _others(self, recipe: Recipe) -> list[SourceRecipe]:
        partition = Partition.of(recipe.record(self.backbone))
        return [other for other in self.known if other.partition != partition]

    def _nearest(self) -> SourceRecipe | None:
        """The sources that agree with all that is given; else the most whose prompts are such as its may start from."""
        agreeing = {id(source): self._agreement(source) for source in self.known}
        nearest = max(self.known, key=lambda source: agreeing[id(source)], default=None)
        return nearest if nearest and any(agreeing[id(nearest)]) else None

    def _agreement(self, source: SourceRecipe) -> tuple[bool, bool]:
        """Whether what is given leaves the partition as it is, and whether prompts are of one form and fitting
        length."""
        of_sources = Recipe.from_options(source.options)
        try:
            recipe = (self.preset.recipe if self.preset else of_sources).changed(self.given)
        except TrainingError:
            return False, False
        length = self.resizes or recipe.prompt_length == of_sources.prompt_length
        starts = length and recipe.form == of_sources.form
        return Partition.of(recipe.record(self.backbone)) == source.partition, starts

    def _without_bank(self, tasks: Sequence[Task | Mixture]) -> Chosen:
        if named := self.preset or self.embedded:
            name, recipe = named
            return Chosen(recipe=recipe.changed(self.given), origin=f"{name}{self._changes()}")
        settings = fitted(
            self.given,
            deviation=deviation(self.backbone),
            lengths=lengths(tasks, self.datasets) if tasks else None,
        )
        return Chosen(
            recipe=Recipe(steps=settings.settings["steps"], key_step=1).changed(settings.settings),
            origin=f"a short one that fits {self.backbone.name}{self._changes()}; --preset paper is the papers'",
            why=settings.why,
        )


def trainer_for(
    bank: Bank,
    backbone: Backbone,
    target: Task,
    *,
    data_dir: Path | None = None,
    resize: str = "",
    **given: Any,
) -> Trainer:
    """What trains a target as ``spot transfer`` does: by the recipe of the bank's sources, or one that fits.

    Args:
        bank: of the sources.
        backbone: the frozen model.
        target: the task.
        data_dir: folder of official data sets.
        resize: how a source's prompt gets a ``prompt_length`` of the target's own, see :mod:`spot.prompts.lengths`.
        given: settings of the target's recipe that shall be otherwise, by the names of the command's options, such as
            ``steps=60`` or ``learning_rate=0.1``; queries stay the sources'.

    Raises:
        TrainingError: settings that no recipe takes.
        TaskError: data that cannot be read.
    """
    datasets = Datasets(backbone, data_dir=data_dir)
    chooser = Chooser(given, bank=bank, datasets=datasets, resizes=bool(resize))
    chosen = chooser.for_target([target])
    return Trainer(
        bank, backbone, chosen.recipe, sources=chosen.sources, resize=resize, datasets=datasets
    )


def readable(known: Sequence[SourceRecipe], backbone: Backbone) -> list[SourceRecipe]:
    """Those of a backbone in its precision whose recipes are whole: an imported prompt's may not be."""

    def whole(source: SourceRecipe) -> bool:
        try:
            Recipe.from_options(source.options)
        except TrainingError:
            return False
        return True

    return [
        source
        for source in known
        if source.partition.fingerprint == backbone.fingerprint
        and source.options.get("dtype") == backbone.dtype
        and whole(source)
    ]


def deviation(backbone: Backbone) -> float:
    """Standard deviation of the entries of a backbone's embedding."""
    return float(np.std(np.asarray(backbone.embedding, np.float32)))


def lengths(tasks: Sequence[Task | Mixture], datasets: Datasets) -> Lengths:
    """How long the training data of tasks is for a backbone's tokenizer.

    Raises:
        TaskError: data that cannot be read.
    """
    whole = Recipe(max_input=LENGTH, max_target=LENGTH, train_limit=SAMPLE)
    members = [member for task in tasks for member in members_of(task)]
    return lengths_of([datasets.read(task, whole)[Split.TRAIN].tokens for task in members])
