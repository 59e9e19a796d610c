"""Several prompts of one task as one answerer: a table of ways to put their answers together (Lester et al. 2021,
section 6).

Prompts of an ensemble answer in one pass over one frozen model, so that N of them cost one batch of N times the rows in
place of N models. What a bank keeps of one is the stack of its prompts and an :class:`Ensemble`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import scipy.optimize
from scipy.special import log_softmax, logsumexp

from spot.errors import SpotError
from spot.inference.predict import Answers
from tasks.task import Example

AVERAGE, VOTE, WEIGHTED = "average", "vote", "weighted"
"""The mean of the prompts, ``[..., P, H]``: one prompt, which answers by itself; the way that needs no more than texts;
and the one that learns weights."""


@dataclasses.dataclass(frozen=True)
class Voters:
    """What N prompts answer to the same examples.

    Attributes:
        answers: of each prompt.
        examples: what they were asked.
    """

    answers: Sequence[Answers]
    examples: Sequence[Example]

    def log_probabilities(self) -> list[np.ndarray]:
        """``[N, C]`` float64 of every example: the logarithm of what each prompt gives each choice, adding up to 1.

        Raises:
            SpotError: their answers were generated, so that there is no probability of choices.
        """
        scores = [answers.scores for answers in self.answers if answers.scores is not None]
        if len(scores) < len(self.answers):
            raise SpotError(
                "generated answers have no probability to share among choices; put them together by --ensemble vote "
                f"or {AVERAGE}"
            )
        return [
            log_softmax(np.stack(each).astype(np.float64), axis=1)
            for each in zip(*scores, strict=True)
        ]


Weights: TypeAlias = Sequence[float] | np.ndarray


def vote(voters: Voters, weights: Weights) -> list[str]:
    """The answer that most prompts give; of equally many, the one whose first prompt stands first.

    The ensemble of Lester et al. (2021, section 6).
    """
    given = zip(*(answers.texts for answers in voters.answers), strict=True)
    return [Counter(texts).most_common(1)[0][0] for texts in given]


def likelihood(voters: Voters, weights: Weights) -> list[str]:
    """The choice of the highest log-probability on average, a product of experts."""
    return _highest(voters, [values.mean(axis=0) for values in voters.log_probabilities()])


def probability(voters: Voters, weights: Weights) -> list[str]:
    """The choice of the highest probability on average, a mixture of experts."""
    return _highest(voters, [logsumexp(values, axis=0) for values in voters.log_probabilities()])


def weighted(voters: Voters, weights: Weights) -> list[str]:
    """The choice of the highest weighted sum of log-probabilities; see :func:`weights_of`."""
    each = np.asarray(weights, np.float64)
    return _highest(voters, [each @ values for values in voters.log_probabilities()])


def weights_of(development: Voters) -> np.ndarray:
    """Weights ``[N]`` float64, none below zero, of the smallest loss on examples with known answers.

    The loss is the negative log-likelihood of targets under ``softmax(sum_n w_n log p_n)``, which is convex in the
    weights, and the search begins where all weigh alike. Examples whose target is no choice are left out.

    Raises:
        SpotError: generated answers, or no example with a known answer.
    """
    log_probabilities = development.log_probabilities()
    known = [
        (values, example.choices.index(example.target))
        for values, example in zip(log_probabilities, development.examples, strict=True)
        if example.target in example.choices
    ]
    if not known:
        raise SpotError(
            "weights are learnt on development examples with known answers; there are none"
        )
    count = len(development.answers)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total, gradient = 0.0, np.zeros(count)
        for values, target in known:
            logs = log_softmax(weights @ values)
            total -= logs[target]
            gradient -= values[:, target] - values @ np.exp(logs)
        return total / len(known), gradient / len(known)

    begin = np.full(count, 1.0 / count)
    bounds = [(0.0, None)] * count
    found = scipy.optimize.minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x)


def _highest(voters: Voters, scores: Sequence[np.ndarray]) -> list[str]:
    """Of every example the choice of the highest score ``[C]``."""
    return [
        example.choices[int(values.argmax())]
        for example, values in zip(voters.examples, scores, strict=True)
    ]


ENSEMBLES: Mapping[str, Callable[[Voters, Weights], list[str]]] = {
    VOTE: vote,
    "likelihood": likelihood,
    "probability": probability,
    WEIGHTED: weighted,
}
"""Ways to put answers of several prompts together, by name; :data:`AVERAGE` puts the prompts themselves together."""


class Ensemble(NamedTuple):
    """How several prompts answer as one.

    Attributes:
        by: name of a way (:data:`ENSEMBLES`).
        weights: ``[N]`` of its prompts, where the way weighs them; else none.
    """

    by: str
    weights: Sequence[float] = ()

    def answers(self, voters: Voters) -> Answers:
        """What the prompts answer together, with the mean of their losses; such answers have no scores.

        Raises:
            SpotError: generated answers, and a way that needs probabilities of choices.
        """
        losses = [each.losses for each in voters.answers if each.losses is not None]
        return Answers(
            ENSEMBLES[self.by](voters, self.weights),
            all(each.ranked for each in voters.answers),
            np.mean(losses, axis=0) if len(losses) == len(voters.answers) else None,
        )
