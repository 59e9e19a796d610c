"""Which pieces of the vocabulary a prompt's tokens lie nearest to (Lester et al. 2021, section 7).

Lester et al. find that a token's nearest pieces form tight clusters of meaning where the prompt was trained, and none
where it is a random vector, and that label words from which a prompt started are still nearest to their tokens.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from spot.backbone.load import Backbone
from spot.errors import PromptError
from spot.retrieval.similarity import unit_rows

CONTROL_SEED = 0x7A6D


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The nearest pieces of P tokens.

    Attributes:
        pieces: K pieces of every token, the nearest first.
        cosines: ``[P, K]`` float64, of the same.
        norms: ``[P]`` float64, of the tokens, in mean norms of the embedding's rows.
        control: ``[P]`` float64, cosines of the nearest piece of random vectors, as many as there are tokens.
    """

    pieces: Sequence[Sequence[str]]
    cosines: np.ndarray
    norms: np.ndarray
    control: np.ndarray

    @property
    def shared(self) -> int:
        """Tokens whose nearest piece is that of another token too."""
        counts = Counter(nearest[0] for nearest in self.pieces)
        return sum(count for count in counts.values() if count > 1)

    def persisting(self, words: Sequence[Sequence[str]]) -> list[int]:
        """Of every word, as its pieces, how many tokens have one of these among their nearest."""
        near = [set(nearest) for nearest in self.pieces]
        return [sum(bool(each & set(word)) for each in near) for word in words]


def neighbours(backbone: Backbone, prompt: np.ndarray, count: int = 5) -> Neighbours:
    """The nearest pieces of a prompt's tokens by cosine, among those that stand for text.

    Args:
        backbone: whose embedding is searched.
        prompt: ``[P, H]`` float32.
        count: K, pieces of every token.

    Raises:
        PromptError: a prompt of another form, whose vectors are no words' places.
    """
    tokens = _words(prompt)
    ids = np.asarray(backbone.tokenizer.ordinary_ids())
    table = unit_rows(np.asarray(backbone.embedding, np.float32)[ids])
    cosines = unit_rows(tokens) @ table.T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    drawn = np.random.default_rng(CONTROL_SEED).normal(size=tokens.shape)
    return Neighbours(
        pieces=[pieces_of(backbone, ids[row]) for row in nearest],
        cosines=np.take_along_axis(cosines, nearest, axis=1).astype(np.float64),
        norms=np.linalg.norm(tokens.astype(np.float64), axis=1) / backbone.embedding_norm,
        control=(unit_rows(drawn) @ table.T).max(axis=1).astype(np.float64),
    )


def discretised(backbone: Backbone, prompt: np.ndarray) -> np.ndarray:
    """Every token ``[P, H]`` replaced by the embedding of its nearest piece.

    Raises:
        PromptError: as :func:`neighbours`.
    """
    tokens = _words(prompt)
    table = np.asarray(backbone.embedding, np.float32)[backbone.tokenizer.ordinary_ids()]
    nearest = (unit_rows(tokens) @ unit_rows(table).T).argmax(axis=1)
    return np.asarray(table[nearest])


def pieces_of(backbone: Backbone, ids: Sequence[int] | np.ndarray) -> list[str]:
    """Each of these pieces as text."""
    return [backbone.tokenizer.decode([int(i)]) for i in ids]


def _words(prompt: np.ndarray) -> np.ndarray:
    if prompt.ndim != 2:
        raise PromptError(
            f"a prompt of shape {list(prompt.shape)} holds no places of words; only the form 'prompt' has nearest "
            "pieces"
        )
    return prompt
