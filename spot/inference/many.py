"""Many prompts, of whatever forms, on many sets of examples, in as few passes as can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spot.backbone.load import Backbone
from spot.inference.decoding import Decoding
from spot.inference.ensembles import Ensemble, Voters
from spot.inference.predict import (
    GREEDY,
    PROMPTS_AT_ONCE,
    Answers,
    Questions,
    answer_many,
)
from spot.prompts.forms import FORMS
from tasks.task import Example
from tasks.tokenized import Tokenized


class Given(NamedTuple):
    """A prompt ``[..., P, H]``, its form, and what does not see what while it is read (:attr:`Soft.blind`).

    Or N of them ``[N, ..., P, H]``, and the ensemble by which they answer as one.
    """

    prompt: np.ndarray
    form: str = "prompt"
    blind: int = 0
    ensemble: Ensemble | None = None

    @property
    def prompts(self) -> list[Given]:
        """Every prompt by itself."""
        if self.ensemble is None:
            return [self]
        return [self._replace(prompt=prompt, ensemble=None) for prompt in self.prompt]


class Asked(NamedTuple):
    """Examples, and the same tokenised."""

    examples: Sequence[Example]
    tokens: Tokenized


def answer_all(
    backbone: Backbone,
    prompts: Sequence[Given],
    sets: Sequence[Asked],
    *,
    method: str = "auto",
    decoding: Decoding = GREEDY,
) -> list[list[Answers]]:
    """What every prompt answers to every set: as many rows as prompts, of as many as sets.

    Rows of all prompts of a form and of all sets share their batches, those of an ensemble's prompts too.

    Raises:
        SpotError: as :func:`spot.inference.predict.answer_many`, or :meth:`Ensemble.answers`.
    """
    alone = [one for given in prompts for one in given.prompts]
    rows = iter(_answered(backbone, alone, sets, method, decoding))
    return [_as_one(given, [next(rows) for _ in given.prompts], sets) for given in prompts]


def _as_one(given: Given, rows: Sequence[list[Answers]], sets: Sequence[Asked]) -> list[Answers]:
    """Answers to every set, of those that each of its prompts gives."""
    if given.ensemble is None:
        return rows[0]
    return [
        given.ensemble.answers(Voters(each, asked.examples))
        for asked, each in zip(sets, zip(*rows, strict=True), strict=True)
    ]


def _answered(
    backbone: Backbone,
    prompts: Sequence[Given],
    sets: Sequence[Asked],
    method: str,
    decoding: Decoding,
) -> list[list[Answers]]:
    """The same of prompts of which each answers by itself."""
    found: list[list[Answers]] = [[] for _ in prompts]
    kinds = [(given.form, given.prompt.shape[:-2]) for given in prompts]
    for kind in dict.fromkeys(kinds):
        form, places = kind[0], [place for place, each in enumerate(kinds) if each == kind]
        for first in range(0, len(places), PROMPTS_AT_ONCE):
            few = places[first : first + PROMPTS_AT_ONCE]
            soft = FORMS[form].stack([prompts[place].prompt for place in few], backbone.config)
            if any(prompts[place].blind for place in few):
                soft = soft._replace(
                    blind=np.array([prompts[place].blind for place in few], np.int32)
                )
            questions = [
                Questions(row, asked.examples, asked.tokens)
                for row in range(len(few))
                for asked in sets
            ]
            answers = iter(answer_many(backbone, soft, questions, method=method, decoding=decoding))
            for place in few:
                found[place] = [next(answers) for _ in sets]
    return found
