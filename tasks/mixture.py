"""Mixtures: several tasks trained as one, drawn in proportion to their sizes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.errors import TaskError
from tasks.task import Task

CAP = 2**19
"""Examples at which a task's size stops counting (SPoT, Vu et al. 2022, appendix B)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
    """Tasks that one prompt is trained on together (Raffel et al. 2020, section 3.5.2).

    Attributes:
        name: what commands call it.
        members: the tasks, each once.
        cap: K, the size at which a task's examples stop counting.
        temperature: T; shares are sizes to the power of 1 / T, so that 1 is proportional and large T uniform.
        file: the file that describes it; empty for one by name.
        whole: members that take part with all their training examples, whatever limit a recipe sets.

    Raises:
        TaskError: fewer than two members, one twice, or a cap or temperature that is not positive.
    """

    name: str
    members: tuple[Task, ...]
    cap: int = CAP
    temperature: float = 1.0
    whole: tuple[str, ...] = ()
    file: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        names = [task.name for task in self.members]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise TaskError(f"mixture {self.name}: {', '.join(twice)} given more than once")
        if len(names) < 2:
            raise TaskError(f"mixture {self.name}: needs at least two tasks, found {len(names)}")
        if self.cap < 1 or not self.temperature > 0:
            raise TaskError(f"mixture {self.name}: cap and temperature must be positive")

    @property
    def family(self) -> str:
        """Every mixture's family."""
        return "mixture"

    @property
    def labels(self) -> tuple[str, ...]:
        """Label words of all members, each once."""
        return tuple(dict.fromkeys(label for task in self.members for label in task.labels))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of all members, each once."""
        return tuple(dict.fromkeys(metric for task in self.members for metric in task.metrics))

    @property
    def content(self) -> str:
        """Digest of what the mixture is made of: members with their contents, cap and temperature."""
        members = [[task.name, task.content] for task in self.members]
        return hashlib.sha256(
            json.dumps([members, self.cap, self.temperature]).encode()
        ).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Plain facts for listings and for the bank."""
        return {
            "family": self.family,
            "tasks": [task.name for task in self.members],
            "cap": self.cap,
            "temperature": self.temperature,
        }

    def check_data(self, data_dir: Path | None, *, allow_partial: bool = False) -> None:
        """Before anything is read, see that every member has its data; see :meth:`Task.examples`.

        Raises:
            TaskError: naming all members without it, and what to do.
        """
        missing = [task for task in self.members if _lacks_data(task, data_dir, allow_partial)]
        if not missing:
            return
        files = ", ".join(f"{task.name} ({_missing_file(task, data_dir)})" for task in missing)
        rest = "+".join(task.name for task in self.members if task not in missing)
        remedies = ["put their official files there" if data_dir else "name their folder"]
        if data_dir and all(task.source.hub for task in missing):
            remedies.append("leave --data-dir out to read them from the hub")
        if all(task.source.present(data_dir) for task in missing):
            remedies.append("cut what is there by --allow-partial-data")
        remedies += [f"take what is left as a mixture of its own ({rest})"] if "+" in rest else []
        where = f"in {data_dir}" if data_dir else "without a folder of official files"
        raise TaskError(
            f"mixture {self.name}: {where} there is not all data of {files}; {', or '.join(remedies)}"
        )

    def draws(self, sizes: Sequence[int]) -> list[int]:
        """Examples of every member in one epoch, for members of these sizes.

        An epoch is as long as the capped sizes together; at temperature 1 it holds every example of an uncapped task
        once. Every member is drawn at least once.
        """
        capped = [min(size, self.cap) for size in sizes]
        weights = [size ** (1 / self.temperature) for size in capped]
        return [max(1, round(sum(capped) * weight / sum(weights))) for weight in weights]


def members_of(task: Task | Mixture) -> tuple[Task, ...]:
    """The members of a mixture; of a task, itself."""
    return task.members if isinstance(task, Mixture) else (task,)


def _lacks_data(task: Task, data_dir: Path | None, allow_partial: bool) -> bool:
    cut = allow_partial and task.source.present(data_dir)
    return task.is_partial(data_dir) and not cut


def _missing_file(task: Task, data_dir: Path | None) -> str:
    """The first file that is not there of those that the splits are made of."""
    present = task.source.present(data_dir)
    part = next(part.name for part in task.splits.values() if part.name not in present)
    return str(task.source.files.get(part, part))


MIXTURES: dict[str, tuple[str, ...]] = {
    "glue": ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "glue_rte", "wnli"),
    "super_glue": ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc"),
    "mrqa": (
        "mrqa_squad",
        "mrqa_newsqa",
        "mrqa_triviaqa",
        "mrqa_searchqa",
        "mrqa_hotpotqa",
        "mrqa_natural_questions",
    ),
    "nli": ("mnli", "snli", "anli", "cb", "rte", "qnli", "scitail", "docnli"),
    "sentiment": (
        "sst2",
        "mr",
        "sst5",
        "imdb",
        "blitzer_books",
        "blitzer_dvd",
        "blitzer_electronics",
    ),
    "inference": ("rte", "cb", "snli", "scitail", "qnli"),
    "wordnet": (
        "wn_noun_topic",
        "wn_verb_topic",
        "wn_pos",
        "wn_isa",
        "wn_part",
        "wn_synonym",
        "wn_wic",
        "wn_gloss_word",
    ),
}
"""Mixtures by name."""
