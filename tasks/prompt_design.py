"""Prompt design: instructions and worked examples as text in front of an input (Brown et al. 2020, section 2).

The baseline that prompt tuning is held against (Lester et al. 2021, figure 1): nothing trains, and all there is to say
is said in words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tasks.errors import TaskError
from tasks.task import Example

BETWEEN = "\n\n"
"""Between worked examples, and between them and the input; Brown et al. (2020) set them apart likewise."""


def worked(examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    """``count`` different examples of a training split, drawn by ``seed``, in the order in which they were drawn.

    Raises:
        TaskError: there are fewer.
    """
    if count > len(examples):
        raise TaskError(
            f"{count} worked examples are asked for; the training split has {len(examples)}"
        )
    drawn = np.random.default_rng([seed, 0x5407]).choice(len(examples), count, replace=False)
    return [examples[i] for i in drawn]


def named(examples: Sequence[Example], name: str) -> list[Example]:
    """The same examples, whose inputs begin with the name of their task, by which one model tells its tasks apart
    (Raffel et al. 2020, section 2.4)."""
    before = f"{name}: "
    return [
        dataclasses.replace(
            example,
            inputs=before + example.inputs,
            cut=_moved(example.cut, len(before)),
            context=len(before) + example.context,
        )
        for example in examples
    ]


def _moved(cut: tuple[int, int], by: int) -> tuple[int, int]:
    """A span of a text that stands further behind; none stays none."""
    return (cut[0] + by, cut[1] + by) if any(cut) else cut


def designed(
    examples: Sequence[Example], instruction: str, shots: Sequence[Example]
) -> list[Example]:
    """The same examples, whose inputs stand behind an instruction and worked examples.

    Where that is too long to be read, what stands in front is cut.
    """
    shown = [f"{shot.inputs}\n{shot.target}" for shot in shots]
    before = BETWEEN.join([*([instruction] if instruction else []), *shown])
    if not before:
        return list(examples)
    return [
        dataclasses.replace(
            example,
            inputs=f"{before}{BETWEEN}{example.inputs}",
            cut=(0, len(before)),
            context=len(before) + len(BETWEEN) + example.context,
        )
        for example in examples
    ]
