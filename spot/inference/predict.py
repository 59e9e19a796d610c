"""Predictions of a stack of prompts on tokenised examples: rank classification where choices are known, else decoding.

Rows of any prompt share a pass, so that evaluating N prompts is one walk over their examples.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spot.backbone import packing
from spot.backbone.batch import Inputs, Packed, Targets
from spot.backbone.load import Backbone
from spot.backbone.placement import placement
from spot.backbone.soft import Soft
from spot.errors import SpotError
from spot.inference.decoding import Decoding, generate
from spot.inference.ranking import CONTENT_FREE, RANKINGS, Ranked
from spot.inference.sampling import Draw
from spot.inference.tokenwise import Limits
from spot.prompts.forms import FORMS
from tasks.choices import choose
from tasks.objectives import pad
from tasks.pipeline import TARGET_BUCKETS, bucket
from tasks.task import Example
from tasks.tokenized import Ragged, Tokenized, concatenate

METHODS = ("auto", "rank", "generate")

GREEDY = Decoding()

PROMPTS_AT_ONCE = 64
"""Most prompts of a bank that are tried in one stack: what a decoder-only model computes of each is large."""


@dataclasses.dataclass(frozen=True)
class Questions:
    """Examples that one prompt of a stack answers.

    Attributes:
        prompt: its row.
        examples: for their choices' texts.
        tokens: the same examples, tokenised.
    """

    prompt: int
    examples: Sequence[Example]
    tokens: Tokenized


class Answers(NamedTuple):
    """What one prompt answers to its examples.

    Attributes:
        texts: one an example.
        ranked: whether they are the choices that rank highest; else they were generated.
        losses: ``[n]`` float64, loss a target token of every example, which the likelihoods of choices tell; ``None``
            where answers were generated.
        scores: ``[C]`` float of every example's choices, the highest of which is the answer; ``None`` likewise.
    """

    texts: list[str]
    ranked: bool
    losses: np.ndarray | None
    scores: Sequence[np.ndarray] | None = None


class Pass(NamedTuple):
    """Rows of one forward pass: ``rows[n]`` int of the examples, and ``padded[B]``, filled up to what is computed."""

    rows: np.ndarray
    padded: np.ndarray


def predict(
    backbone: Backbone,
    prompt: np.ndarray | Array,
    examples: Sequence[Example],
    data: Tokenized,
    *,
    form: str = "prompt",
    method: str = "auto",
    decoding: Decoding = GREEDY,
    batch_size: int = 64,
) -> list[str]:
    """What one prompt ``[..., P, H]`` answers to every example, in their order; see :func:`predict_many`."""
    return answer(
        backbone,
        prompt,
        examples,
        data,
        form=form,
        method=method,
        decoding=decoding,
        batch_size=batch_size,
    ).texts


def answer(
    backbone: Backbone,
    prompt: np.ndarray | Array,
    examples: Sequence[Example],
    data: Tokenized,
    *,
    form: str = "prompt",
    method: str = "auto",
    decoding: Decoding = GREEDY,
    batch_size: int = 64,
) -> Answers:
    """The same with how the answers were found."""
    soft = FORMS[form].stack([prompt], backbone.config)
    questions = [Questions(0, examples, data)]
    return answer_many(
        backbone, soft, questions, method=method, decoding=decoding, batch_size=batch_size
    )[0]


def predict_many(
    backbone: Backbone,
    soft: Soft,
    questions: Sequence[Questions],
    *,
    method: str = "auto",
    decoding: Decoding = GREEDY,
    batch_size: int = 64,
) -> list[list[str]]:
    """What prompts answer to their examples; see :func:`answer_many`."""
    answers = answer_many(
        backbone, soft, questions, method=method, decoding=decoding, batch_size=batch_size
    )
    return [each.texts for each in answers]


def answer_many(
    backbone: Backbone,
    soft: Soft,
    questions: Sequence[Questions],
    *,
    method: str = "auto",
    decoding: Decoding = GREEDY,
    batch_size: int = 64,
) -> list[Answers]:
    """What prompts answer to their examples, in the order of the questions, with rows of all prompts mixed.

    Args:
        backbone: the frozen model.
        soft: a stack of N prompts.
        questions: which prompt answers which examples.
        method: see :func:`ranks`.
        decoding: how texts are generated and choices ranked.
        batch_size: most examples at once; a CPU computes on no more than its caches hold.

    Raises:
        SpotError: unknown method, or ``rank`` without choices.
    """
    choose(method, METHODS, "evaluation method", error=SpotError)
    ranked = [ranks(method, question.examples) for question in questions]
    answers: dict[int, Answers] = {}
    for by_rank in (True, False):
        places = [place for place, flag in enumerate(ranked) if flag == by_rank]
        if not places:
            continue
        asked = [questions[place] for place in places]
        find = _ranked if by_rank else _generated
        found = find(backbone, soft, asked, decoding, batch_size)
        answers |= zip(places, _apart(asked, found), strict=True)
    return [answers[place] for place in range(len(questions))]


def _ranked(
    backbone: Backbone,
    soft: Soft,
    asked: Sequence[Questions],
    decoding: Decoding,
    batch_size: int,
) -> Answers:
    """Answers to all questions behind each other: choices that rank highest."""
    data, prompt_ids = _together([question.tokens for question in asked]), _prompt_ids(asked)
    examples = [example for question in asked for example in question.examples]
    likelihoods = scores(backbone, soft, prompt_ids, data, batch_size)
    ranked = Ranked(
        likelihoods=likelihoods,
        lengths=[data.choices.lengths[data.choice_rows[row]] for row in range(len(data))],
        without_content=lambda: _without_content(
            backbone, soft, prompt_ids, examples, data, batch_size
        ),
    )
    values = list(RANKINGS[decoding.ranking](ranked))
    texts = [
        example.choices[int(each.argmax())] for example, each in zip(examples, values, strict=True)
    ]
    losses = _target_losses(examples, likelihoods, data.targets.lengths)
    return Answers(texts, True, losses, values)


def _without_content(
    backbone: Backbone,
    soft: Soft,
    prompt_ids: np.ndarray,
    examples: Sequence[Example],
    data: Tokenized,
    batch_size: int,
) -> list[np.ndarray]:
    """Log-likelihoods of the choices of every example ``[F, C]`` where its own text is each of F content-free ones,
    behind the same context, of which the end is read where the longest input is shorter.

    Examples of one prompt, context and equal choices are asked once.
    """
    asked = [
        (int(prompt), example.inputs[: example.context], data.choice_rows[row].tobytes())
        for row, (prompt, example) in enumerate(zip(prompt_ids, examples, strict=True))
    ]
    kinds = {kind: row for row, kind in enumerate(asked)}
    before, behind = backbone.config.around.inputs
    contexts = [context for _, context, _ in kinds for _ in CONTENT_FREE]
    texts = [
        context + text for context, text in zip(contexts, CONTENT_FREE * len(kinds), strict=True)
    ]
    room = max(1, int(data.inputs.lengths.max()) - len(before) - len(behind))
    inputs = [
        [*before, *(ids[-room:] if context else ids), *behind]
        for context, ids in zip(contexts, backbone.tokenizer.encode(texts), strict=True)
    ]
    each = np.repeat(np.array(list(kinds.values())), len(CONTENT_FREE))
    bare = dataclasses.replace(data.take(each), inputs=Ragged.from_rows(inputs))
    found = scores(backbone, soft, prompt_ids[each], bare, batch_size)
    of_kind = {
        kind: np.stack(found[place * len(CONTENT_FREE) : (place + 1) * len(CONTENT_FREE)])
        for place, kind in enumerate(kinds)
    }
    return [of_kind[kind] for kind in asked]


def _generated(
    backbone: Backbone,
    soft: Soft,
    asked: Sequence[Questions],
    decoding: Decoding,
    batch_size: int,
) -> Answers:
    """Answers to all questions behind each other: texts."""
    data = _together([question.tokens for question in asked])
    counts = [len(question.examples) for question in asked]
    longest = np.repeat([longest_text(question.tokens, decoding) for question in asked], counts)
    places = np.concatenate([np.arange(count) for count in counts])
    texts = decode(backbone, soft, _prompt_ids(asked), data, longest, places, decoding, batch_size)
    return Answers(texts, False, None)


def _prompt_ids(asked: Sequence[Questions]) -> np.ndarray:
    """The prompt's row of every example, ``[n]`` int32."""
    counts = [len(question.examples) for question in asked]
    return np.repeat([question.prompt for question in asked], counts).astype(np.int32)


def _apart(asked: Sequence[Questions], found: Answers) -> Iterator[Answers]:
    """Answers of every question, of those to all of them."""
    begin = 0
    for question in asked:
        rows = slice(begin, begin + len(question.examples))
        losses = None if found.losses is None else found.losses[rows]
        scores = None if found.scores is None else found.scores[rows]
        yield Answers(found.texts[rows], found.ranked, losses, scores)
        begin = rows.stop


def _target_losses(
    examples: Sequence[Example], choices: Sequence[np.ndarray], lengths: np.ndarray
) -> np.ndarray:
    """Loss a token ``[n]`` float64 of every example's target among its scored choices; NaN where it is none of them.

    A target has ``lengths[n]`` tokens, and the log-likelihood of a choice is the sum over its own.
    """
    likelihoods = [
        values[example.choices.index(example.target)]
        if example.target in example.choices
        else np.nan
        for example, values in zip(examples, choices, strict=True)
    ]
    return -np.array(likelihoods, np.float64) / np.maximum(lengths, 1)


def scores(
    backbone: Backbone, soft: Soft, prompt_ids: np.ndarray, data: Tokenized, batch_size: int = 64
) -> list[np.ndarray]:
    """Log-likelihood of every choice of every example, float32 ``[C]`` each, C as many as the example has.

    Args:
        backbone: the frozen model.
        soft: a stack of N prompts.
        prompt_ids: ``[n]`` int32, the row of the stack that each of n examples is read with.
        data: the examples.
        batch_size: most examples at once.
    """
    if _packs(backbone, soft):
        allowed = [[data.choices[c] for c in data.choice_rows[row]] for row in range(len(data))]
        return [-losses for losses in _packed_losses(backbone, soft, prompt_ids, data, allowed)]
    programs, given = _programs(backbone.graph), soft
    soft = programs.prepare(backbone.weights, soft)
    values: list[np.ndarray] = [np.zeros(0, np.float32)] * len(prompt_ids)
    counts = data.choice_rows.lengths
    for rows, padded in _passes(backbone, soft, data, prompt_ids, batch_size, apart=counts):
        choices = _choices(data, padded)
        scored = programs.score(
            backbone.weights,
            soft,
            prompt_ids[padded],
            _inputs(given, prompt_ids, data, padded),
            choices,
        )
        for row, log_likelihoods in zip(rows, np.asarray(scored), strict=False):
            values[row] = log_likelihoods[: len(data.choice_rows[row])]
    return values


def decode(
    backbone: Backbone,
    soft: Soft,
    prompt_ids: np.ndarray,
    data: Tokenized,
    longest: np.ndarray,
    places: np.ndarray,
    decoding: Decoding = GREEDY,
    batch_size: int = 64,
) -> list[str]:
    """Generated text for every example, of at most ``longest[n]`` tokens each; other arguments as :func:`scores`.

    Every row ends at its own limit and draws by its own place, ``places[n]`` int: what it is beside changes nothing of
    it. Beam search takes as many rows fewer at once as it has beams.
    """
    programs, program = _programs(backbone.graph), decoding.program
    seed, given = np.uint32(decoding.seed), soft
    soft = programs.prepare(backbone.weights, soft)
    texts = [""] * len(prompt_ids)
    # an encoder reads in parts itself what it can hold
    whole = not backbone.config.reads_prompts_once
    for rows, padded in _passes(
        backbone,
        soft,
        data,
        prompt_ids,
        max(1, batch_size // decoding.sequences),
        apart=longest,
        whole=whole,
    ):
        tokens = programs.generate(
            backbone.weights,
            soft,
            prompt_ids[padded],
            _inputs(given, prompt_ids, data, padded),
            longest[padded].astype(np.int32),
            Draw(seed, places[padded].astype(np.int32)),
            program,
            int(longest[rows].max()),
        )
        for row, ids in zip(rows, np.asarray(tokens), strict=False):
            texts[row] = decoding.stopped(backbone.tokenizer.decode(ids[: longest[row]].tolist()))
    return texts


def mean_losses(
    backbone: Backbone,
    prompts: Sequence[np.ndarray],
    data: Tokenized,
    *,
    form: str = "prompt",
    batch_size: int = 64,
) -> np.ndarray:
    """Mean loss a target token of every prompt ``[..., P, H]`` on all examples, ``[N]`` float64; forward passes only.

    Every example counts alike, however long its target.
    """
    stacks = [
        prompts[first : first + PROMPTS_AT_ONCE]
        for first in range(0, len(prompts), PROMPTS_AT_ONCE)
    ]
    softs = (FORMS[form].stack(stack, backbone.config) for stack in stacks)
    return np.concatenate(
        [np.zeros(0), *(_mean_losses(backbone, soft, data, batch_size) for soft in softs)]
    )


def _mean_losses(backbone: Backbone, soft: Soft, data: Tokenized, batch_size: int) -> np.ndarray:
    """Of every prompt of a stack."""
    programs, count = _programs(backbone.graph), len(data)
    every = _together([data] * soft.rows)
    prompt_ids = np.repeat(np.arange(soft.rows, dtype=np.int32), count)
    losses = np.zeros(len(prompt_ids))
    if _packs(backbone, soft):
        alone = [[every.targets[row]] for row in range(len(every))]
        summed = _packed_losses(backbone, soft, prompt_ids, every, alone)
        losses[:] = np.concatenate(summed) / np.maximum(every.targets.lengths, 1)
        return losses.reshape(soft.rows, count).mean(axis=1)
    given, soft = soft, programs.prepare(backbone.weights, soft)
    for rows, padded in _passes(backbone, soft, every, prompt_ids, batch_size):
        length = bucket(int(every.targets.lengths[rows].max()), TARGET_BUCKETS)
        targets = Targets(*pad([every.targets[row] for row in padded], length))
        inputs = _inputs(given, prompt_ids, every, padded)
        values = programs.loss(backbone.weights, soft, prompt_ids[padded], inputs, targets)
        losses[rows] = np.asarray(values, np.float64)[: len(rows)]
    return losses.reshape(soft.rows, count).mean(axis=1)


def _packs(backbone: Backbone, soft: Soft) -> bool:
    """Whether losses are computed in packed sequences: on a CPU, of models that read a prompt once for all rows."""
    return backbone.config.reads_prompts_once and placement().cpu and soft.attended is None


def _packed_losses(
    backbone: Backbone,
    soft: Soft,
    prompt_ids: np.ndarray,
    data: Tokenized,
    targets: Sequence[Sequence[np.ndarray]],
) -> list[np.ndarray]:
    """Losses of every target of every example, summed over its tokens, float32 ``[C]`` each.

    Those of one prompt stand together, the longest first.
    """
    rows = [
        packing.Row(int(prompt), soft.follow(data.inputs[row], int(prompt)), targets[row])
        for row, prompt in enumerate(prompt_ids)
    ]
    order = np.lexsort((np.array([-row.tokens for row in rows]), prompt_ids))
    program = _programs(backbone.graph).packed
    summed: list[np.ndarray] = [np.zeros(0, np.float32)] * len(rows)
    places = iter(order)
    for portion in packing.portions([rows[place] for place in order], soft.leading):
        packed = portion.packed
        losses = np.asarray(program(backbone.weights, soft.take(portion.stack), packed))
        counts = [len(row.targets) for row in portion.rows]
        of_targets = np.zeros(sum(counts), np.float32)
        np.add.at(of_targets, packed.owners[packed.mask], losses[packed.mask])
        for each in np.split(of_targets, np.cumsum(counts)[:-1]):
            summed[next(places)] = each
    return summed


class Programs(NamedTuple):
    """Compiled computations of a model's graph, each of its weights, a stack and what the name says."""

    prepare: Callable[..., Soft]
    """The stack, with what does not depend on inputs computed."""
    score: Callable[..., Array]
    """Of choices ``[B, C]`` float32."""
    generate: Callable[..., Array]
    """Tokens ``[B, max_length]`` int32."""
    loss: Callable[..., Array]
    """A target token on average, ``[B]`` float32."""
    packed: Callable[..., Array]
    """Losses of the scored tokens of a packed sequence, ``[Q]`` float32."""


@functools.lru_cache(maxsize=16)
def _programs(graph: nnx.GraphDef[Any]) -> Programs:
    def prepare(weights: Any, soft: Soft) -> Soft:
        return nnx.merge(graph, weights).prepare(soft)

    def score(
        weights: Any, soft: Soft, prompt_ids: Array, inputs: Inputs, choices: Targets
    ) -> Array:
        return nnx.merge(graph, weights).choice_scores(soft, prompt_ids, inputs, choices)

    def generated(
        weights: Any,
        soft: Soft,
        prompt_ids: Array,
        inputs: Inputs,
        longest: Array,
        draw: Draw,
        decoding: Decoding,
        length: int,
    ) -> Array:
        model, limits = nnx.merge(graph, weights), Limits(longest, length)
        return generate(model, soft, prompt_ids, inputs, limits, draw, decoding)

    def loss(
        weights: Any, soft: Soft, prompt_ids: Array, inputs: Inputs, targets: Targets
    ) -> Array:
        losses = nnx.merge(graph, weights).token_losses(soft, prompt_ids, inputs, targets)
        return losses.sum(axis=-1) / jnp.maximum(targets.mask.sum(axis=-1), 1).astype(losses.dtype)

    def packed(weights: Any, soft: Soft, sequence: Packed) -> Array:
        return nnx.merge(graph, weights).packed_losses(soft, sequence)

    return Programs(
        jax.jit(prepare),
        jax.jit(score),
        jax.jit(generated, static_argnums=(6, 7)),
        jax.jit(loss),
        jax.jit(packed),
    )


def ranks(method: str, examples: Sequence[Example]) -> bool:
    """Whether examples are answered by rank classification.

    Args:
        method: ``rank`` takes the choice of highest log-likelihood, ``generate`` decodes, ``auto`` ranks where every
            example has choices.
        examples: of one question.

    Raises:
        SpotError: ``rank`` without choices.
    """
    choices = all(example.choices for example in examples)
    if method == "rank" and not choices:
        raise SpotError("rank classification needs label words; evaluate this task with `generate`")
    return method == "rank" or (method == "auto" and choices)


def longest_text(tokens: Tokenized, decoding: Decoding) -> int:
    """Most tokens of a text that is generated for one of these examples."""
    targets = int(tokens.targets.lengths.max(initial=0))
    return decoding.max_new_tokens or bucket(targets, TARGET_BUCKETS)


def _together(parts: Sequence[Tokenized]) -> Tokenized:
    return parts[0] if len(parts) == 1 else concatenate(parts)


def _passes(
    backbone: Backbone,
    soft: Soft,
    data: Tokenized,
    prompt_ids: np.ndarray,
    batch_size: int,
    *,
    apart: np.ndarray | int = 0,
    whole: bool = False,
) -> Iterator[Pass]:
    """Passes that take every example once, by falling length, for one value of ``apart[n]`` after the other.

    The last rows of a pass are repeated up to a power of two, so that few shapes are compiled. ``whole`` passes are of
    ``batch_size`` rows, whatever a CPU's caches hold.
    """
    here = placement()
    prompt = 0 if backbone.config.reads_prompts_once else soft.length
    order = np.lexsort((prompt_ids, -data.inputs.lengths, np.broadcast_to(apart, len(prompt_ids))))
    while len(order):
        positions = prompt + bucket(int(data.inputs.lengths[order[0]]))
        size = batch_size if whole else here.rows_at_once(batch_size, positions)
        rows, order = order[:size], order[size:]
        filled = min(batch_size, 1 << (len(rows) - 1).bit_length())
        yield Pass(rows, np.concatenate([rows, np.repeat(rows[-1:], filled - len(rows))]))


def _inputs(soft: Soft, prompt_ids: np.ndarray, data: Tokenized, rows: np.ndarray) -> Inputs:
    ids = [soft.follow(data.inputs[row], int(prompt_ids[row])) for row in rows]
    return Inputs(*pad(ids, bucket(max(map(len, ids)))))


def _choices(data: Tokenized, rows: np.ndarray) -> Targets:
    """Choices of every row, ``[B, C, L]``; rows with fewer choices have empty ones behind."""
    of_row = [data.choice_rows[row] for row in rows]
    used = np.unique(np.concatenate(of_row))
    length = bucket(int(data.choices.lengths[used].max()), TARGET_BUCKETS)
    count = max(map(len, of_row))
    ids = np.zeros((len(rows), count, length), np.int32)
    mask = np.zeros((len(rows), count, length), bool)
    for i, choices in enumerate(of_row):
        padded, real = pad([data.choices[c] for c in choices], length)
        ids[i, : len(choices)], mask[i, : len(choices)] = padded, real
    return Targets(ids, mask)
