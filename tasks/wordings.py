"""Ways to put a labelled example to a model in multi-task training.

A model that has only met fixed label words behind fixed task names can be steered to nothing else: soft prompts on it
do not get it to say other words. So the same example is asked in several ways, everything that says what to do in
front, where a soft prompt will stand:

* ``topic: definition: a large wild cat`` is answered by ``animal``;
* ``plant, animal, food. definition: a large wild cat``: the options are listed (Flan; Chung et al. 2022);
* ``plant is river, animal is Slow. definition: a large wild cat`` is answered by ``Slow``: the options have other
  names, so that the model learns to say any word that stands in front.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

OPTIONS = 6
"""The most options listed; the others are left out, never the target."""

SHARES = (0.4, 0.3, 0.3)
"""Shares of the three ways: by the task's name, options listed, options renamed."""


class Labelled(NamedTuple):
    """A supervised example: texts, and the allowed targets where they are few."""

    input: str
    target: str
    choices: tuple[str, ...] = ()


def other_names(examples: Iterable[Labelled], *, at_least: int = 20) -> list[str]:
    """Words that occur ``at_least`` times in the inputs, as they are and capitalised, to rename options by."""
    counts = Counter(
        word for example in examples for word in re.findall(r"\b[a-z]{3,10}\b", example.input)
    )
    words = sorted(word for word, count in counts.items() if count >= at_least)
    return words + [word.capitalize() for word in words]


def reword(
    task: str, example: Labelled, names: Sequence[str], rng: np.random.Generator
) -> tuple[str, str]:
    """Input and target of one way to ask, drawn by ``rng``; an example without choices is asked by task name."""
    way = rng.choice(3, p=SHARES) if example.choices else 0
    if way == 0 or len(names) < OPTIONS:
        return f"{task}: {example.input}", example.target
    others = [choice for choice in example.choices if choice != example.target]
    kept = rng.permutation(len(others))[: OPTIONS - 1]
    options = [example.target, *(others[i] for i in kept)]
    renamed = dict(
        zip(
            options,
            (names[i] for i in rng.choice(len(names), len(options), replace=False)),
            strict=True,
        )
    )
    order = [options[i] for i in rng.permutation(len(options))]
    listed = ", ".join(
        order if way == 1 else (f"{option} is {renamed[option]}" for option in order)
    )
    lead = f"{task}: " if rng.integers(2) else ""
    return f"{lead}{listed}. {example.input}", example.target if way == 1 else renamed[
        example.target
    ]
