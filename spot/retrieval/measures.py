"""What can rank sources for a query: the similarities of SPoT, others that compare whole prompts, and evidence.

A measure is a function of the query, a prompt ``[..., P, H]``, and the keys, which gives scores ``[K]`` float64; the
higher its score, the better the source is held to be. Only ``average`` and ``per_token`` come from Vu et al. (2022);
the others are judged beside them by :mod:`spot.retrieval.evaluate`. All look at a prompt's tokens ``[P, W]``.

Runs of one seed start from one prompt, and keys, being early, may lie nearer to their start than to what their task
made of them. Likeness is then likeness of starts: it can be compared only over the seeds that all sources have, or be
measured from each prompt's own start, as ``displacement`` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from spot.errors import RetrievalError
from spot.retrieval.history import expected_gains
from spot.retrieval.keys import KeySet
from spot.retrieval.query import Query, as_query
from spot.retrieval.similarity import Directions, parts, products, quick_products, unit_rows
from tasks.choices import choose
from tasks.signatures import EXAMPLES

DIRECTIONS = 8
"""Most directions of a prompt that ``subspace`` compares."""


def average_token(query: Query, keys: KeySet) -> np.ndarray:
    """Cosines ``[K]`` float64 of the mean tokens (Vu et al. 2022, section 4.1)."""
    return keys.mean_tokens.cosines(query.average)


def per_token(query: Query, keys: KeySet) -> np.ndarray:
    """Mean cosines ``[K]`` float64 over all pairs of tokens (Vu et al. 2022, section 4.1)."""
    return products(keys.average_normalized, query.average_normalized)


def displacement(query: Query, keys: KeySet) -> np.ndarray:
    """Cosines ``[K]`` float64 of how the mean tokens moved from their starts: what their tasks did to them, no more."""
    assert query.start is not None
    return keys.displacements.cosines(query.average - query.start)


def centred(query: Query, keys: KeySet) -> np.ndarray:
    """Cosines ``[K]`` float64 of the mean tokens from the bank's mean key: what all prompts share does not count."""
    return keys.once(_from_centre).cosines(query.average - keys.centre)


def _from_centre(keys: KeySet) -> Directions:
    return Directions(keys.average, lambda _rows: keys.centre)


def seed_centred(query: Query, keys: KeySet) -> np.ndarray:
    """Cosines ``[K]`` float64 of the mean tokens, each from the mean key of its seed, the query from the nearest.

    Runs of one seed start from one prompt, and keys, being early, lie near their start: without this a query is nearest
    to the keys of its own seed, whatever their task.
    """
    centres, directions = keys.once(_from_centres)
    nearest = centres[np.argmax(Directions(centres).cosines(query.average))]
    return directions.cosines(query.average - nearest)


def _from_centres(keys: KeySet) -> tuple[np.ndarray, Directions]:
    """Mean keys float32 ``[seeds, W]`` of every seed, and all keys from theirs."""
    seeds, row = np.unique(keys.keys.seeds, return_inverse=True)
    centres = np.zeros((len(seeds), keys.keys.width))
    for rows in parts(len(keys)):
        np.add.at(centres, row[rows], keys.average[rows])
    centres = (centres / np.bincount(row)[:, None]).astype(np.float32)
    return centres, Directions(keys.average, lambda rows: centres[row[rows]])


def fused(query: Query, keys: KeySet) -> np.ndarray:
    """Means ``[K]`` float64 of the standardised ``average`` and ``centred``: by how many standard deviations a key lies
    above the mean of all keys, 0 where all are alike.

    A scale of the ranking's own: scores sum to zero over its keys, and say nothing beside another ranking's.
    """
    average = standardised(average_token(query, keys))
    return np.asarray((average + standardised(centred(query, keys))) / 2)


def standardised(values: np.ndarray) -> np.ndarray:
    """Values ``[n]`` float64 less their mean, over their standard deviation; zeros where they are all equal."""
    if not len(values) or np.ptp(values) == 0:
        return np.zeros(len(values))
    return np.asarray((values - values.mean()) / values.std())


def matching(query: Query, keys: KeySet) -> np.ndarray:
    """Mean cosines ``[K]`` float64 of the best one-to-one matching of tokens, whose order means little."""
    from scipy.optimize import linear_sum_assignment

    query_tokens = unit_rows(query.tokens)

    def best(key_tokens: np.ndarray) -> float:
        cosines = query_tokens @ unit_rows(key_tokens).T
        return float(cosines[linear_sum_assignment(cosines, maximize=True)].mean())

    return np.array([best(key_tokens) for key_tokens in keys.tokens()])


def subspace(query: Query, keys: KeySet) -> np.ndarray:
    """Mean squared cosines ``[K]`` float64, 0 to 1, of the principal angles between leading directions of tokens."""
    directions = _directions(query.tokens)

    def overlap(key_tokens: np.ndarray) -> float:
        return float(np.square(directions @ _directions(key_tokens).T).sum() / len(directions))

    return np.array([overlap(key_tokens) for key_tokens in keys.tokens()])


def _directions(tokens: np.ndarray) -> np.ndarray:
    """Orthonormal rows: the leading right singular vectors of the unit tokens ``[P, W]``."""
    _, _, rows = np.linalg.svd(unit_rows(tokens), full_matrices=False)
    return np.asarray(rows[:DIRECTIONS])


def vocabulary(query: Query, keys: KeySet) -> np.ndarray:
    """Correlations ``[K]`` float64 over the vocabulary of how near a prompt's tokens lie to each word, on average.

    Raises:
        RetrievalError: tokens are no words' width, since they are of several layers.
    """
    covariance, norms = keys.once(_profiles)
    profile = query.average_normalized.astype(np.float64) @ covariance
    lengths = norms * np.sqrt(max(0.0, float(profile @ query.average_normalized)))
    return np.asarray(
        products(keys.average_normalized, profile) / np.where(lengths > 0, lengths, 1.0)
    )


def _profiles(keys: KeySet) -> tuple[np.ndarray, np.ndarray]:
    """Covariance float64 ``[H, H]`` of words, by which profiles over all V of them are compared without being written
    down; and the norms ``[K]`` of the keys' profiles."""
    assert keys.context.embedding is not None
    words = unit_rows(keys.context.embedding())
    if words.shape[1] != keys.keys.width:
        raise RetrievalError(
            f"measure vocabulary compares tokens with words, which are {words.shape[1]} wide, and this form's tokens "
            f"have {keys.keys.width} numbers; rank by another measure"
        )
    words = words - words.mean(axis=0)
    covariance = words.T @ words
    norms = np.empty(len(keys))
    for rows in parts(len(keys)):
        vectors = keys.average_normalized[rows].astype(np.float64)
        norms[rows] = np.sqrt(np.maximum(np.vecdot(vectors @ covariance, vectors), 0))
    return covariance, norms


def trial(_query: object, keys: KeySet) -> np.ndarray:
    """Minus the losses ``[K]`` float64 of the sources' *values* on a few examples of the target: no training."""
    return -keys.once(_losses)


def _losses(keys: KeySet) -> np.ndarray:
    assert keys.context.losses is not None
    return keys.context.losses([keys.prompt(address) for address in keys.keys.values])


def text(_query: object, keys: KeySet) -> np.ndarray:
    """Cosines ``[K]`` float64 of the TF-IDF of words in training inputs and targets, of the target and of each key's
    task; no prompt is looked at.

    A word's frequency is the share of a task's examples that hold it (:mod:`tasks.signatures`). Its rarity is counted
    over the n examples of the ranked sources, each of which stands for as many: ``1 + ln((1 + n) / (1 + n p))`` for a
    share p, as scikit-learn smooths it.
    """
    return np.asarray(keys.once(_text_cosines)[keys.numbers])


def _text_cosines(keys: KeySet) -> np.ndarray:
    """``[S]`` float64 of the sources' tasks."""
    assert keys.context.signature is not None
    shares = np.stack([keys.signatures[task] for task in keys.tasks]).astype(np.float64)
    count = EXAMPLES * len(shares)
    rarity = 1 + np.log((1 + count) / (1 + count * shares.mean(axis=0)))
    of_sources = Directions((shares * rarity).astype(np.float32))
    return of_sources.cosines(keys.context.signature().astype(np.float64) * rarity)


def neurons(query: Query, keys: KeySet) -> np.ndarray:
    """Overlaps ``[K]`` float64, 0 to 1, of the feed-forward units that fire under the query and under each key: Su et
    al. (2022), ON, the cosine of activation states, of the last layers, which they found to tell most."""
    assert keys.context.activated is not None
    (of_query,) = keys.context.activated([query.prompt])
    return overlaps(keys.once(_fired_by_keys), of_query)


def _fired_by_keys(keys: KeySet) -> np.ndarray:
    assert keys.context.activated is not None
    return keys.context.activated([keys.prompt(address) for address in keys.keys.prompts])


def demonstrations(_query: object, keys: KeySet) -> np.ndarray:
    """Mean overlaps ``[K]`` float64, 0 to 1, of the units that fire under each source's *value* and under a few of the
    target's training examples, inputs with their targets, in place of a prompt: ``neurons`` without a query."""
    return np.asarray(keys.once(_fired_as_demonstrated))


def _fired_as_demonstrated(keys: KeySet) -> np.ndarray:
    context = keys.context
    assert context.activated is not None and context.demonstrated is not None
    fired = context.activated([keys.prompt(address) for address in keys.keys.values])
    of_each = [overlaps(fired, shown) for shown in context.demonstrated()]
    return np.asarray(np.mean(of_each, axis=0))


def overlaps(fired: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosines ``[n]`` float64 of units that fire, bool ``[n, U]``, with others ``[U]``; zero where none fires."""
    both, sizes = (fired & other).sum(axis=1), fired.sum(axis=1) * other.sum()
    return np.asarray(both / np.sqrt(np.where(sizes > 0, sizes, 1)))


def evidence(query: Query, keys: KeySet) -> np.ndarray:
    """Expected gains ``[K]`` float64 in points, by similarity and outcomes; see :mod:`spot.retrieval.evidence`."""
    return np.asarray(expected_gains(query, keys).mean[keys.numbers])


def _lacks_start(query: Query, keys: KeySet) -> str:
    if query.start is None:
        return "displacement needs to know where the query started; rank for a TARGET task, or by average"
    return keys.unknown_starts


def _lacks_embedding(_query: Query, keys: KeySet) -> str:
    known = keys.context.embedding is not None
    return (
        ""
        if known
        else "measure vocabulary looks at the backbone's embedding; rank for a TARGET task with it"
    )


def _lacks_target(_query: Query, keys: KeySet) -> str:
    known = keys.context.losses is not None
    return (
        ""
        if known
        else "measure trial tries the sources on the target's examples; rank for a TARGET task"
    )


def _lacks_texts(_query: Query, keys: KeySet) -> str:
    if keys.context.signature is None:
        return "measure text compares words with those of the target's examples; rank for a TARGET task"
    return keys.unknown_signatures


def _lacks_units(_query: Query, keys: KeySet) -> str:
    known = keys.context.activated is not None
    return (
        "" if known else "this measure asks the backbone what fires; rank for a TARGET task with it"
    )


NEEDS: Mapping[str, Callable[[Query, KeySet], str]] = {
    "starts": _lacks_start,
    "embedding": _lacks_embedding,
    "target": _lacks_target,
    "texts": _lacks_texts,
    "units": _lacks_units,
    "history": lambda _query, _keys: "",
}
"""What a measure may look at beside prompts: says what is missing of it, nothing where all is there. Without a history
``evidence`` is similarity."""


def quick_average(query: Query, keys: KeySet) -> np.ndarray:
    """:func:`average_token` ``[K]`` in float32."""
    return keys.mean_tokens.quick_cosines(query.average)


def quick_per_token(query: Query, keys: KeySet) -> np.ndarray:
    """:func:`per_token` ``[K]`` in float32."""
    return quick_products(keys.average_normalized, query.average_normalized)


def quick_displacement(query: Query, keys: KeySet) -> np.ndarray:
    """:func:`displacement` ``[K]`` in float32."""
    assert query.start is not None
    return keys.displacements.quick_cosines(query.average - query.start)


@dataclasses.dataclass(frozen=True)
class Measure:
    """A way to rank sources.

    Attributes:
        scores: ``[K]`` float64 of the keys for a query; higher is held to be better.
        about: what it compares, in a few words.
        needs: what it looks at beside prompts, of ``NEEDS``; empty where nothing.
        shares_starts: whether prompts of one seed are alike to it for their common start alone.
        compares_query: whether it looks at the query at all: a measure that does not ranks without one.
        weighs: whether a score is a similarity, by whose shares sources can be averaged; minus a loss is none, nor
            what is standardised.
        quick: ``[K]`` to within :func:`spot.retrieval.similarity.rounding` of the scores, in a fraction of their time,
            to find a head among many keys; only for measures that look at each key by itself.
    """

    scores: Callable[[Query, KeySet], np.ndarray]
    about: str
    needs: str = ""
    shares_starts: bool = True
    compares_query: bool = True
    weighs: bool = True
    quick: Callable[[Query, KeySet], np.ndarray] | None = None

    def __call__(self, query: Query | np.ndarray | None, keys: KeySet) -> np.ndarray:
        """Scores ``[K]`` float64 of the keys.

        Raises:
            RetrievalError: what it needs is not there.
        """
        compared: Any = None if query is None else as_query(query)
        if lacking := self.lacking(compared, keys):
            raise RetrievalError(lacking)
        return np.asarray(self.scores(compared, keys), np.float64)

    def lacking(self, query: Query | None, keys: KeySet) -> str:
        """What it needs and does not have, in a line; empty where it has all."""
        compared: Any = query
        if query is None and self.compares_query:
            return f"this measure ({self.about}) compares a query; rank for a TARGET task or give --query"
        return NEEDS[self.needs](compared, keys) if self.needs else ""

    def by_task(self, query: Query | np.ndarray | None, keys: KeySet) -> dict[str, float]:
        """Mean of the scores ``[K]`` of every source task: over the seeds that all of them share, or over every seed
        where starts do not count.

        Raises:
            RetrievalError: what it needs is not there.
        """
        means = keys.by_task(self(query, keys), every_seed=not self.shares_starts)
        return {task: float(mean) for task, mean in means.items()}


MEASURES: Mapping[str, Measure] = {
    "displacement": Measure(
        displacement,
        "way of mean tokens from their starts",
        "starts",
        shares_starts=False,
        quick=quick_displacement,
    ),
    "average": Measure(average_token, "cosine of mean tokens", quick=quick_average),
    "per_token": Measure(per_token, "mean cosine of all pairs of tokens", quick=quick_per_token),
    "centred": Measure(centred, "mean tokens from the bank's mean"),
    "fused": Measure(fused, "mean of average and centred, standardised", weighs=False),
    "seed_centred": Measure(seed_centred, "mean tokens from the mean of a seed's keys"),
    "matching": Measure(matching, "best pairs of tokens"),
    "subspace": Measure(subspace, "leading directions of tokens"),
    "vocabulary": Measure(vocabulary, "nearness to words", "embedding"),
    "trial": Measure(
        trial,
        "loss of sources on 64 examples",
        "target",
        shares_starts=False,
        compares_query=False,
        weighs=False,
    ),
    "text": Measure(
        text, "words of the tasks' examples", "texts", shares_starts=False, compares_query=False
    ),
    "neurons": Measure(neurons, "units that fire under both prompts", "units"),
    "demonstrations": Measure(
        demonstrations,
        "units that fire under the value and the target's examples",
        "units",
        shares_starts=False,
        compares_query=False,
    ),
    "evidence": Measure(evidence, "expected gain by what the bank saw", "history"),
}
"""Measures by name."""

AUTO = "auto"
"""The name of ``displacement`` where all starts are known, and of ``average`` elsewhere."""


def checked_measure(name: str) -> str:
    """The name of a known measure, or ``auto``.

    Raises:
        RetrievalError: any other name.
    """
    return choose(name, (AUTO, *MEASURES), "similarity", error=RetrievalError)


def compares_query(name: str) -> bool:
    """Whether a known measure, or ``auto``, looks at the query: others rank without one."""
    return name == AUTO or MEASURES[name].compares_query


def resolved_measure(name: str, query: Query | None, keys: KeySet) -> str:
    """The measure that a name stands for: ``auto`` is ``displacement`` where query and keys have starts.

    Mean tokens of early keys say more of the seed than of the task where keys lie near their start: on the embedded
    backbone rankings of sources trained with different seeds agree by a rank correlation of 0.74 by ``displacement``
    and 0.33 by ``average`` (benchmarks/README.md).
    """
    if name != AUTO:
        return name
    return "average" if MEASURES["displacement"].lacking(query, keys) else "displacement"
