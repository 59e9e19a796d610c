"""Defaults of a recipe that follow from a backbone's embedding, a prompt's length and a task's data.

**The learning rate.** Adafactor as it trains prompts here (no scaling by parameters, updates clipped to a root mean
square of 1) moves every entry by about the rate at every step, whatever the gradient. So a rate means something beside
the size of what it moves, and of how many tokens move. What is known:

=========================  =============================  ======  ======  ===========================================
backbone                   standard deviation of entries  tokens  steps   rate
=========================  =============================  ======  ======  ===========================================
T5 1.1, LM-adapted         see below                      100     30,000  0.3 constant (Lester et al. 2021)
embedded T5                2.13                           16      300     0.3 constant
SmolLM2-135M               0.136                          20      150     0.1 falling; 0.003 to 0.3 constant are worse
SmolLM2-135M               0.136                          100     100     0.01: 75 points on MR, where 0.03, 0.1 and
                                                                          0.3 stayed at 55 to 59
SmolLM2-135M, deep         0.136                          20      60      0.01 falling, of six in ``auto``, on wn_pos
SmolLM2-135M, prefix       0.136                          20      60      0.03 falling, likewise
=========================  =============================  ======  ======  ===========================================

Three prompts of T5 1.1 Base that others trained by the paper's recipe have entries of root mean square 32 to 52, and no
token below 8.5; SmolLM2's tokens have 0.14. SmolLM2's figures are those of ``docs/study/smollm2.md``.

The rule is :func:`learning_rate`. It is fitted to these four facts and no theory; it says 0.009 where 0.01 was the best
of four rates tried. It gives the paper's 0.3 to 100 tokens where the deviation is above 3.3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.pipeline import BUCKETS, TARGET_BUCKETS, bucket
from tasks.tokenize import Lengths
from tasks.tokenized import Tokenized

LARGEST_RATE = 0.3
"""Of Lester et al. (2021), for T5."""

RATE_PER_DEVIATION = 0.75
"""Rate of a short prompt beside the standard deviation of the embedding's entries: SmolLM2's 0.1 beside 0.136."""

RATE_OF_FORM = dict.fromkeys(
    ("deep", "prefix", "prefix_encoder", "prefix_decoder", "prefix_cross", "infix"), 0.3
)
"""Share of a prompt's rate that suits forms with vectors in every layer."""

SHORT_PROMPT = 20
"""Tokens up to which the rate does not depend on how many they are."""

FEW_STEPS = 3_000
"""Steps up to which the rate falls to zero; in longer runs it is constant, as in the paper's 30,000."""

INPUTS, TARGETS = 128, 64
"""The longest inputs and targets that the data may ask for: what a CPU can train on in minutes."""

HELD = 98
"""Percent of the training inputs and targets that are not cut."""

SAMPLE = 2_000
"""Training examples of a task that are looked at."""


def learning_rate(deviation: float, prompt_length: int, form: str = "prompt") -> float:
    """The rate for an embedding whose entries have a standard deviation ``s``, and P prompt tokens.

    ``min(0.3, 0.75 s min(1, 20 / P)^1.5)``, of one digit: the paper's 0.3 for T5, 0.1 for SmolLM2 and 20 tokens; of
    that 0.3 for deep prompts and prefixes.
    """
    rate = RATE_PER_DEVIATION * deviation * min(1.0, SHORT_PROMPT / prompt_length) ** 1.5
    whole = min(LARGEST_RATE, float(f"{rate:.1g}"))
    return float(f"{share_of_form(form) * whole:.1g}")


def share_of_form(form: str) -> float:
    """Of a plain prompt's rate, what suits a form."""
    return RATE_OF_FORM.get(form, 1.0)


def schedule(steps: int) -> str:
    """``linear`` for few steps, so that the last ones settle; ``constant`` for many, as in the paper."""
    return "linear" if steps <= FEW_STEPS else "constant"


def key_step(steps: int) -> int:
    """A third of the steps, as the paper's 10,000 of 30,000."""
    return max(1, steps // 3)


def evaluate_every(steps: int) -> int:
    """Five evaluations of a short run, and one every 500 steps of a long one, as the paper's."""
    return min(500, max(1, steps // 5))


SHORT: dict[str, Any] = {
    "prompt_length": 20,
    "batch_size": 8,
    "steps": 150,
    "dev_limit": 100,
}
"""What a run of SmolLM2-135M takes two to three minutes for on two cores, and learns the tasks of its study with."""


def lengths_of(samples: Sequence[Tokenized]) -> Lengths:
    """How long the data of several tasks is: what holds :data:`HELD` percent of the longest one's inputs and targets.

    Rounded up to a bucket, and bounded by :data:`INPUTS` and :data:`TARGETS`. Of label words the longest counts.

    Args:
        samples: training examples of each, none of them cut.
    """
    inputs = max(float(np.percentile(tokens.inputs.lengths, HELD)) for tokens in samples)
    targets = max(_longest_target(tokens) for tokens in samples)
    return Lengths(
        inputs=min(INPUTS, bucket(math.ceil(inputs), BUCKETS)),
        targets=min(TARGETS, bucket(math.ceil(targets), TARGET_BUCKETS)),
    )


def _longest_target(tokens: Tokenized) -> float:
    if len(tokens.choices):
        return float(max(tokens.choices.lengths.max(), tokens.targets.lengths.max()))
    return float(np.percentile(tokens.targets.lengths, HELD))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """Settings that follow from what they are given, and why, by name."""

    settings: Mapping[str, Any]
    why: Mapping[str, str]


def fitted(given: Mapping[str, Any], *, deviation: float, lengths: Lengths | None) -> Fitted:
    """Settings of a recipe for a backbone that is not the embedded one, as flat names; what is given stands.

    Args:
        given: settings that a user chose.
        deviation: standard deviation of the embedding's entries.
        lengths: of the data; without any, those of a recipe's defaults.
    """
    settings = {**SHORT, **given}
    steps, tokens = settings["steps"], settings["prompt_length"]
    few = f"{steps} steps are {'few' if steps <= FEW_STEPS else 'many'}"
    chosen: dict[str, tuple[Any, str]] = {
        "learning_rate": (
            learning_rate(deviation, tokens, settings.get("form", "prompt")),
            f"the embedding's standard deviation is {deviation:.2g}, and {tokens} tokens move",
        ),
        "schedule": (
            schedule(steps),
            f"{few}, and the last ones should settle" if steps <= FEW_STEPS else few,
        ),
        "key_step": (key_step(steps), f"a third of {steps} steps"),
        "evaluate_every": (evaluate_every(steps), "five times a run, and at least every 500 steps"),
    }
    if lengths:
        held = f"{HELD} % of the longest task's, and no more than {INPUTS} and {TARGETS}"
        chosen |= {"max_input": (lengths.inputs, held), "max_target": (lengths.targets, held)}
    chosen |= {
        name: (value, "short enough for a CPU")
        for name, value in SHORT.items()
        if name not in given
    }
    free = {name: entry for name, entry in chosen.items() if name not in given}
    return Fitted(
        settings={name: value for name, (value, _) in free.items()} | dict(given),
        why={name: why for name, (_, why) in free.items()},
    )
