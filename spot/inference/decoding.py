"""How answers are found: a policy that generates text and a ranking of choices, part of what makes two evaluations the
same."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jax import Array

from spot.backbone.batch import Inputs, Tokens
from spot.backbone.model import AnyModel
from spot.backbone.soft import Soft
from spot.errors import SpotError
from spot.inference.beams import beam_search
from spot.inference.ranking import LIKELIHOOD, RANKINGS
from spot.inference.sampling import Draw, sampled
from spot.inference.tokenwise import Limits, most_likely, token_by_token
from tasks.choices import choose

MAX_NEW_TOKENS = 32
"""Longest text that is generated where no target says how long texts are."""

MAX_BEAMS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoding:
    """A way to find answers.

    Attributes:
        policy: name in :data:`POLICIES`.
        max_new_tokens: longest text; 0 takes the length of the longest target, up to the next of a few lengths that are
            compiled.
        beams: sequences that beam search keeps.
        length_penalty: beam search divides the log-likelihood of a sequence of n tokens by ``n ** length_penalty``.
        temperature: of sampling; logits are divided by it.
        top_k: sampling is among so many most likely tokens; 0 does not cut (Fan et al. 2018).
        top_p: sampling is among the fewest most likely tokens that have this much probability together; 1 does not cut
            (Holtzman et al. 2020).
        seed: of sampling, 0 to 2**32 - 1. What an example is given depends on its place among its prompt's examples and
            on nothing beside it.
        stop: a generated text ends in front of the first of these.
        ranking: name in :data:`spot.inference.ranking.RANKINGS`, of choices.

    Raises:
        SpotError: an unknown name, a number out of its bounds, or one that the policy takes no notice of.
    """

    policy: str = "greedy"
    max_new_tokens: int = 0
    beams: int = 4
    length_penalty: float = 1.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    ranking: str = LIKELIHOOD

    def __post_init__(self) -> None:
        choose(self.policy, POLICIES, "decoding policy", error=SpotError)
        choose(self.ranking, RANKINGS, "ranking", error=SpotError)
        for name, (fits, bounds) in BOUNDS.items():
            if not fits(value := getattr(self, name)):
                raise SpotError(f"{_words(name)} must be {bounds}, found {value}")
        for policy, (_, takes) in POLICIES.items():
            for name in () if policy == self.policy else takes:
                if name in self._changed:
                    raise SpotError(
                        f"{_words(name)} belongs to the decoding policy {policy!r}, not to {self.policy!r}"
                    )

    @property
    def options(self) -> dict[str, Any]:
        """For an evaluation's key and record: what differs from the defaults, and all that a policy takes which is not
        the default one; empty for greedy decoding and likelihoods."""
        named = {*self._changed, *POLICIES[self.policy].takes}
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name in named
        }

    @property
    def program(self) -> Decoding:
        """What of it is compiled: ways of equal programs share one."""
        return Decoding(
            **{"policy": self.policy}
            | {name: getattr(self, name) for name in POLICIES[self.policy].takes if name != "seed"}
        )

    @property
    def sequences(self) -> int:
        """How many of one example are computed side by side."""
        return self.beams if self.policy == "beam" else 1

    def stopped(self, text: str) -> str:
        """The text in front of the first stop."""
        return text[: min([text.find(stop) for stop in self.stop if stop in text], default=None)]

    @property
    def _changed(self) -> set[str]:
        return {
            field.name
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


def generate(
    model: AnyModel,
    soft: Soft,
    prompt_ids: Tokens,
    inputs: Inputs,
    limits: Limits,
    draw: Draw,
    decoding: Decoding,
) -> Array:
    """Generated tokens ``[B, L]`` int32, padded behind any end token and each row's limit."""
    memory = model.read_in_parts(soft, prompt_ids, inputs)
    return POLICIES[decoding.policy].generate(model, memory, limits, draw, decoding)


class Policy(NamedTuple):
    """A way to generate.

    Attributes:
        generate: ``generate(model, memory, limits, draw, decoding) -> tokens[B, L]`` int32.
        takes: the attributes of :class:`Decoding` that it takes notice of and others do not.
    """

    generate: Callable[[AnyModel, Any, Limits, Draw, Decoding], Array]
    takes: tuple[str, ...] = ()


def _greedy(model: AnyModel, memory: Any, limits: Limits, draw: Draw, decoding: Decoding) -> Array:
    return token_by_token(model, memory, limits, most_likely)


def _beam(model: AnyModel, memory: Any, limits: Limits, draw: Draw, decoding: Decoding) -> Array:
    return beam_search(model, memory, limits, decoding.beams, decoding.length_penalty)


def _sample(model: AnyModel, memory: Any, limits: Limits, draw: Draw, decoding: Decoding) -> Array:
    pick = sampled(draw, decoding.temperature, decoding.top_k, decoding.top_p)
    return token_by_token(model, memory, limits, pick)


POLICIES: Mapping[str, Policy] = {
    "greedy": Policy(_greedy),
    "beam": Policy(_beam, ("beams", "length_penalty")),
    "sample": Policy(_sample, ("temperature", "top_k", "top_p", "seed")),
}
"""Ways to generate, by name."""

BOUNDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "max_new_tokens": (lambda value: value >= 0, "0 or more"),
    "beams": (lambda value: 1 <= value <= MAX_BEAMS, f"1 to {MAX_BEAMS}"),
    "length_penalty": (math.isfinite, "a number"),
    "temperature": (lambda value: 0 < value < math.inf, "above 0"),
    "top_k": (lambda value: value >= 0, "0 or more"),
    "top_p": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
    "seed": (lambda value: 0 <= value < 2**32, "0 to 4294967295"),
    "stop": (all, "texts that are not empty"),
}
"""What attributes of :class:`Decoding` must be, in words."""


def _words(name: str) -> str:
    return name.replace("_", " ")
