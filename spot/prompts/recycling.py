"""Prompts of one model for another: maps between embeddings, learnt from the pieces that both vocabularies have.

Lester et al. (2022, "Reducing Retraining by Recycling Parameter-Efficient Prompts") fit a map from one model's
embedding to another's on shared words and apply it to prompts; Su et al. (2022) project prompts across models likewise.
A map knows words alone, and prompts lie outside of them, so that what it gives is mostly a start for further training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from spot.backbone.load import Backbone
from spot.backbone.tokenizer import Tokenizer
from spot.errors import PromptError
from tasks.choices import choose

Numbers: TypeAlias = Mapping[str, np.ndarray]
"""What a map is made of: float32 arrays by name."""

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of the linear map: shares of the mean variance that are added to each direction's. The best on pieces that it is not
fitted on is taken."""

NEAREST = 32
"""Pieces of which a token is put together again."""

FEWEST = 100
"""Shared pieces without which no map is fitted."""

HELD_OUT = 10
"""Every so many-th shared piece is not fitted on, and says how well the map does."""

HIDDEN, MLP_STEPS, MLP_ROWS, MLP_RATE = 2, 300, 256, 1e-3
"""Of the network: hidden units a unit of the wider model, steps of Adam, pieces a step, and its learning rate. Between
SmolLM2 and the embedded T5, 1,000 steps left more of unseen pieces unexplained than the linear map alone."""


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Pieces that two models share.

    Attributes:
        source: ``[n, H]`` float32, their rows in the embedding of the model that prompts come from.
        target: ``[n, H']`` float32, their rows in that of the model that prompts are for.
    """

    source: np.ndarray
    target: np.ndarray

    def take(self, rows: np.ndarray) -> Pieces:
        return Pieces(self.source[rows], self.target[rows])

    def apart(self) -> tuple[Pieces, Pieces]:
        """Those to fit a map on, and those to try it on."""
        held = np.arange(len(self.source)) % HELD_OUT == HELD_OUT - 1
        return self.take(~held), self.take(held)

    def left_over(self, mapped: np.ndarray) -> float:
        """Squared error of mapped rows ``[n, H']``, beside the variance of the true ones."""
        spread = np.square(self.target - self.target.mean(axis=0)).sum()
        return float(np.square(mapped - self.target).sum() / max(float(spread), 1e-12))


class Method(NamedTuple):
    """A way to map vectors of one model to another's.

    Attributes:
        fit: to pieces that they share.
        apply: what was fitted, to vectors ``[n, H]``; gives ``[n, H']`` float32.
        kept: whether what was fitted is smaller than what it was fitted to, and a bank keeps it.
    """

    fit: Callable[[Pieces], Numbers]
    apply: Callable[[Numbers, np.ndarray], np.ndarray]
    kept: bool = True


def fit_linear(pieces: Pieces) -> Numbers:
    """The affine map of the least squared error, with a ridge: ``v2v-lin`` of Lester et al. (2022)."""
    some, unseen = pieces.apart()
    fitted = [apply_linear(_ridge(some, ridge), unseen.source) for ridge in RIDGES]
    return _ridge(pieces, RIDGES[int(np.argmin([unseen.left_over(rows) for rows in fitted]))])


def _ridge(pieces: Pieces, share: float) -> Numbers:
    source, target = (rows.astype(np.float64) for rows in (pieces.source, pieces.target))
    mean, mean_target = source.mean(axis=0), target.mean(axis=0)
    centred = source - mean
    covariance = centred.T @ centred
    ridge = share * np.trace(covariance) / len(covariance)
    weights = np.linalg.solve(
        covariance + ridge * np.eye(len(covariance)), centred.T @ (target - mean_target)
    )
    return {
        "weights": weights.astype(np.float32),
        "offset": (mean_target - mean @ weights).astype(np.float32),
    }


def apply_linear(numbers: Numbers, rows: np.ndarray) -> np.ndarray:
    """``rows @ weights + offset``."""
    mapped = rows.astype(np.float64) @ numbers["weights"] + numbers["offset"]
    return np.asarray(mapped, np.float32)


def fit_combination(pieces: Pieces) -> Numbers:
    """The pieces themselves: each vector is the best sum of its nearest ones in one model, and the same sum of them in
    the other. ``lin-comb`` of Lester et al. (2022), of few pieces in place of all."""
    return {"source": pieces.source, "target": pieces.target}


def apply_combination(numbers: Numbers, rows: np.ndarray) -> np.ndarray:
    """The sums of pieces of the other model."""
    source, target = numbers["source"].astype(np.float64), numbers["target"]
    norms = np.maximum(np.linalg.norm(source, axis=1), 1e-12)
    out = np.zeros((len(rows), target.shape[1]), np.float32)
    for i, row in enumerate(rows.astype(np.float64)):
        near = np.argsort(-np.abs(source @ row) / norms, kind="stable")[:NEAREST]
        shares = np.linalg.lstsq(source[near].T, row, rcond=1e-6)[0]
        out[i] = shares @ target[near]
    return out


def fit_network(pieces: Pieces) -> Numbers:
    """One hidden layer beside the linear map, trained on what that leaves over: ``v2v-nn`` of Lester et al. (2022)."""
    straight = fit_linear(pieces)
    left = pieces.target - apply_linear(straight, pieces.source)
    scale = float(np.sqrt(np.mean(np.square(pieces.source)))) or 1.0
    rng = np.random.default_rng(0)
    inputs, outputs = pieces.source.shape[1], pieces.target.shape[1]
    hidden = HIDDEN * max(inputs, outputs)
    parameters = {
        "into": jnp.asarray(rng.normal(size=(inputs, hidden)) / np.sqrt(inputs), jnp.float32),
        "bias": jnp.zeros(hidden),
        "out": jnp.zeros((hidden, outputs)),
    }
    optimizer = optax.adam(optax.linear_schedule(MLP_RATE, 0.0, MLP_STEPS))

    def loss(parameters: Mapping[str, jax.Array], rows: jax.Array, targets: jax.Array) -> jax.Array:
        made = _hidden_layer(parameters, rows / scale)
        return jnp.square(made - targets).sum(axis=-1).mean()

    def step(carry: tuple[dict[str, jax.Array], optax.OptState], rows: jax.Array) -> tuple:  # type: ignore[type-arg]
        parameters, state = carry
        gradient = jax.grad(loss)(parameters, source[rows], targets[rows])
        updates, state = optimizer.update(gradient, state, parameters)
        return (optax.apply_updates(parameters, updates), state), None

    source, targets = jnp.asarray(pieces.source), jnp.asarray(left)
    order = rng.integers(len(source), size=(MLP_STEPS, min(MLP_ROWS, len(source))))
    with jax.numpy_dtype_promotion("standard"):  # optax counts its steps in int32
        (trained, _), _ = jax.lax.scan(
            step, (parameters, optimizer.init(parameters)), jnp.asarray(order)
        )
    layer = {name: np.asarray(array) for name, array in trained.items()}
    return {**straight, **layer, "into": layer["into"] / np.float32(scale)}


def _hidden_layer(numbers: Mapping[str, jax.Array], rows: jax.Array) -> jax.Array:
    return jnp.tanh(rows @ numbers["into"] + numbers["bias"][None]) @ numbers["out"]


def apply_network(numbers: Numbers, rows: np.ndarray) -> np.ndarray:
    """The linear map's rows, and what the layer adds to them."""
    layer = {name: jnp.asarray(numbers[name]) for name in ("into", "bias", "out")}
    beside = np.asarray(_hidden_layer(layer, jnp.asarray(rows, jnp.float32)))
    return np.asarray(apply_linear(numbers, rows) + beside)


MAPS: Mapping[str, Method] = {
    "linear": Method(fit_linear, apply_linear),
    "combination": Method(fit_combination, apply_combination, kept=False),
    "network": Method(fit_network, apply_network),
}
"""Ways to map vectors of one model to another's, by name."""


@dataclasses.dataclass(frozen=True)
class Recycler:
    """A map between two models.

    Attributes:
        method: its name in :data:`MAPS`.
        numbers: fitted on all shared pieces.
        shared: how many there are.
        cosine: of mapped and true rows, on average over pieces that a second map was not fitted on.
        error: squared error of these beside their variance.
    """

    method: str
    numbers: Numbers
    shared: int
    cosine: float
    error: float

    def recycle(self, prompt: np.ndarray) -> np.ndarray:
        """A prompt ``[P, H]`` as one ``[P, H']`` of the other model.

        Raises:
            PromptError: another form, whose vectors are no words' places.
        """
        if prompt.ndim != 2:
            raise PromptError(
                f"a prompt of shape {list(prompt.shape)} holds no places of words; only the form 'prompt' is mapped"
            )
        return MAPS[self.method].apply(self.numbers, prompt)


def fit_recycler(source: Backbone, target: Backbone, name: str = "linear") -> Recycler:
    """Fit a map from one model's embedding to another's.

    Args:
        source: whose prompts are mapped.
        target: whose they shall be.
        name: in :data:`MAPS`.

    Raises:
        PromptError: an unknown name, or vocabularies that share too little.
    """
    choose(name, MAPS, "map", error=PromptError)
    pieces = shared_pieces(source, target)
    count = len(pieces.source)
    if count < FEWEST:
        raise PromptError(
            f"{source.name} and {target.name} share {count} pieces of their vocabularies; a map needs {FEWEST}"
        )
    some, unseen = pieces.apart()
    method = MAPS[name]
    mapped = method.apply(method.fit(some), unseen.source)
    products = (mapped * unseen.target).sum(axis=1)
    norms = np.linalg.norm(mapped, axis=1) * np.linalg.norm(unseen.target, axis=1)
    return Recycler(
        method=name,
        numbers=method.fit(pieces),
        shared=count,
        cosine=float((products / np.maximum(norms, 1e-12)).mean()),
        error=unseen.left_over(mapped),
    )


def shared_pieces(source: Backbone, target: Backbone) -> Pieces:
    """The pieces that stand for the same text in both vocabularies, the source's most frequent first."""
    theirs = _spelt(target.tokenizer)
    pairs = [
        (ours, theirs[text]) for text, ours in _spelt(source.tokenizer).items() if text in theirs
    ]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return Pieces(
        np.asarray(source.embedding, np.float32)[rows[:, 0]],
        np.asarray(target.embedding, np.float32)[rows[:, 1]],
    )


def _spelt(tokenizer: Tokenizer) -> dict[str, int]:
    """Ids by what pieces stand for: SentencePiece writes a space in its way, and byte-level vocabularies every byte
    that is no printable character; pieces of these that are no whole characters stand for nothing."""
    from tokenizers.decoders import ByteLevel

    pieces = {int(index): tokenizer.piece(int(index)) for index in tokenizer.ordinary_ids()}
    by_bytes = any(piece.startswith("Ġ") for piece in pieces.values())
    decode = ByteLevel().decode
    spelt: dict[str, int] = {}
    for index, piece in pieces.items():
        text = decode([piece]) if by_bytes else piece.replace("\N{LOWER ONE EIGHTH BLOCK}", " ")
        if not by_bytes or "\N{REPLACEMENT CHARACTER}" not in text:
            spelt.setdefault(text, index)
    return spelt
