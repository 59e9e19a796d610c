"""What a study does, read from a TOML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spot.errors import SpotError
from spot.retrieval.measures import MEASURES, checked_measure
from spot.training.settings import SEEDS, WHOLE
from tasks.choices import choose
from tasks.errors import TaskError
from tasks.tomlfile import read_toml

TRAINED_METHODS = ("average", "weights", "attention", "mixture")
"""Methods that train anew for every k; ``best`` and ``halving`` are read off the oracle's runs."""

LISTS = (
    "sources", "targets", "k", "methods", "methods_k", "measures", "sizes", "size_targets", "oracle_targets",
)  # fmt: skip
"""What names several, each of which is tried once."""

NO_CURVES = (
    "study: restarts, random_sources, untrained and oracle_targets compare test scores along the way; give curve_limit "
    "in target_recipe, such as 200"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """Which sources are trained, to which targets they are transferred, and how that is judged.

    Attributes:
        sources: tasks whose prompts fill the bank.
        targets: tasks that want help; a target's own prompts are never its sources.
        source_seeds: seeds of every source.
        target_seeds: seeds of every target.
        methods: further methods that train, beside no transfer, best of top-k and the oracle, of ``TRAINED_METHODS``.
        k: lengths of the ranking's head.
        methods_k: those at which ``methods`` train; all of ``k`` if empty.
        measures: what ranks; the first ranks for ``methods`` and chooses which seed stands for a source.
        generic: a task or mixture among the sources that all targets start from, for method ``generic``; or empty.
        train_limit: training examples of a target; 0 uses all.
        sizes: further numbers of training examples at which the best of top-1 is compared with no transfer; at budgets
            the best of every ``k`` and of restarts too.
        size_targets: targets of which ``sizes`` are tried; all if empty.
        restarts: runs without transfer of which the best is a row of its own; 0 for no such row. With this or one of
            the next three a study compares *at budgets*, see :mod:`spot.study.budgets`.
        random_sources: sources drawn at random of which the best is a row; 0 for none.
        untrained: whether the first source's prompt, untrained, is a row.
        oracle_targets: targets that start from every source; all if empty. The others start from those alone that rows
            need.
        oracle: whether there are any such targets; without them a study at budgets takes a fraction of its time, and
            says nothing of how well measures rank.
        recipe: options of the sources' recipe, as the command line takes them.
        target_recipe: what in it is otherwise for targets: their steps, schedule, rate, batch, lengths, evaluation.
    """

    sources: Sequence[str]
    targets: Sequence[str]
    source_seeds: int = 3
    target_seeds: int = 3
    methods: Sequence[str] = ()
    k: Sequence[int] = (1, 3)
    methods_k: Sequence[int] = ()
    measures: Sequence[str] = ("average", "per_token")
    generic: str = ""
    train_limit: int = 0
    sizes: Sequence[int] = ()
    size_targets: Sequence[str] = ()
    restarts: int = 0
    random_sources: int = 0
    untrained: bool = False
    oracle_targets: Sequence[str] = ()
    oracle: bool = True
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    target_recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("sources", "targets", "k", "measures"):
            if not getattr(self, name):
                raise SpotError(f"study: {name} is empty")
        for name in LISTS:
            given = list(getattr(self, name))
            if twice := [each for each in given if given.count(each) > 1]:
                raise SpotError(
                    f"study: {name} has {twice[0]!r} twice; name each once, more seeds are target_seeds"
                )
        for measure in self.measures:
            checked_measure(measure)
        for method in self.methods:
            choose(method, TRAINED_METHODS, "study: method", error=SpotError)
        numbers = (*self.k, *self.methods_k, *self.sizes)
        if min(self.source_seeds, self.target_seeds, *numbers) < 1 or self.train_limit < 0:
            raise SpotError("study: seeds, k and sizes must be at least 1, train_limit at least 0")
        if not all(0 <= each <= SEEDS for each in (self.restarts, self.random_sources)):
            raise SpotError(f"study: restarts and random_sources must be 0 to {SEEDS}")
        for name in ("oracle_targets", "size_targets"):
            if unknown := [each for each in getattr(self, name) if each not in self.targets]:
                raise SpotError(f"study: {name}: {unknown[0]!r} is not among the targets")
        if (
            max(self.source_seeds, self.target_seeds) > SEEDS
            or max(self.train_limit, *numbers) > WHOLE
        ):
            raise SpotError(
                f"study: seeds must be at most {SEEDS}, k, sizes and train_limit at most {WHOLE}"
            )
        if self.train_limit and self.train_limit in self.sizes:
            raise SpotError(
                f"study: sizes has {self.train_limit}, which is train_limit and tried anyway; leave it out"
            )
        if "train_limit" in self.target_recipe:
            raise SpotError(
                "study: target_recipe has train_limit; give it at the top of the file, beside sizes"
            )
        if not self.oracle and (self.oracle_targets or not self.at_budgets):
            why = (
                "oracle_targets name some"
                if self.oracle_targets
                else "all methods but those at budgets are read off its runs"
            )
            raise SpotError(f"study: oracle = false, but {why}")
        if self.at_budgets and not self.target_recipe.get("curve_limit"):
            raise SpotError(NO_CURVES)
        if self.generic and self.generic not in self.sources:
            raise SpotError(f"study: generic source {self.generic!r} is not among the sources")

    def named(self, sources: Sequence[str], targets: Sequence[str]) -> StudyPlan:
        """The plan with the names of its tasks, in their order, where it calls them by the paths of their files.

        Raises:
            SpotError: one task under two paths.
        """
        name = dict(zip(self.sources, sources, strict=True)) | dict(
            zip(self.targets, targets, strict=True)
        )
        return dataclasses.replace(
            self,
            sources=sources,
            targets=targets,
            generic=name.get(self.generic, ""),
            oracle_targets=[name[each] for each in self.oracle_targets],
            size_targets=[name[each] for each in self.size_targets],
        )

    @property
    def at_budgets(self) -> bool:
        """Whether rows are compared at every budget of steps."""
        return bool(self.restarts or self.random_sources or self.untrained or self.oracle_targets)


def read_plan(path: Path) -> StudyPlan:
    """A plan from a TOML file whose keys are those of :class:`StudyPlan`.

    Raises:
        SpotError: no such file, no TOML, an unknown key, or a value of the wrong kind or size.
    """
    if not path.is_file():
        raise SpotError(f"{path}: no such file; `spot study --example` prints one")
    try:
        content = read_toml(path)
    except TaskError as error:
        raise SpotError(str(error)) from error
    kinds: dict[str, Any] = dict.fromkeys(LISTS, list) | {
        "restarts": int, "random_sources": int, "untrained": bool, "oracle": bool,
        "source_seeds": int, "target_seeds": int, "train_limit": int, "generic": str, "recipe": dict,
        "target_recipe": dict,
    }  # fmt: skip
    for name, value in content.items():
        choose(name, kinds, f"{path}: key", error=SpotError)
        if type(value) is not kinds[name]:
            raise SpotError(f"{path}: {name} must be a {kinds[name].__name__}")
        inner = int if name in ("k", "methods_k", "sizes") else str
        if isinstance(value, list) and not all(type(item) is inner for item in value):
            raise SpotError(
                f"{path}: {name} must hold {'whole numbers' if inner is int else 'texts'}"
            )
    missing = [name for name in ("sources", "targets") if name not in content]
    if missing:
        raise SpotError(f"{path}: no {' and no '.join(missing)}")
    try:
        return StudyPlan(**content)
    except SpotError as error:
        raise SpotError(f"{path}: {error}") from error


EXAMPLE = f"""\
# A study: `spot study study.toml --out study`. Stopped at any moment, the same command goes on.
sources = ["wn_noun_topic", "wn_pos", "wn_verb_topic", "wn_isa"]
targets = ["wn_living", "wn_opposite"]
source_seeds = 3
target_seeds = 3
k = [1, 3]
measures = ["average", "per_token", "evidence"]   # of: {", ".join(MEASURES)}
methods = ["average"]                             # further ones that train: {", ".join(TRAINED_METHODS)}
train_limit = 128                                 # training examples of a target
sizes = [32, 512]                                 # gain against target size

[recipe]
steps = 60
key_step = 30
evaluate_every = 20

# [target_recipe]   what is otherwise for targets, such as steps = 120; queries follow the sources' recipe
#
# At every budget of steps, from test scores along the way: with restarts = 4, random_sources = 3, untrained = true or
# oracle_targets = ["wn_living"] above, and curve_limit = 200, evaluate_spacing = "doubling" for targets. There
# oracle = false tries no target from every source.
"""
"""What ``spot study --example`` prints."""
