"""Full-weight training of a small T5: span corruption, LM adaptation, then supervised tasks.

Three phases through the same loop as prompts, with ``weights`` as the trainable part and an empty prompt:

1. span corruption (Raffel et al. 2020),
2. prefix-LM adaptation (Lester et al. 2021, section 3.2), since a model that has only seen sentinels answers
   prompts badly,
3. a mixture of supervised tasks, worded in several ways (Raffel et al. 2020; Flan, Chung et al. 2022), so that soft
   prompts find skills to call on. A share of phase 2 stays in the mixture.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np

from spot.backbone.batch import Inputs, Targets
from spot.backbone.config import T5Config
from spot.backbone.export import save_backbone
from spot.backbone.random import random_model
from spot.backbone.t5 import T5
from spot.backbone.tokenizer import Tokenizer, load_tokenizer, train_sentencepiece
from spot.errors import TrainingError
from spot.training.checkpoint import write_atomically
from spot.training.jobs import Job, Plan, Reporter, Result, Silent
from spot.training.loop import fit
from spot.training.optimizers import Optimizer
from spot.training.step import Batch, Variables, make_step
from tasks.objectives import (
    Objective,
    PrefixLM,
    SpanCorruption,
    TextBatch,
    objective_batch,
    open_corpus,
    pad,
    read_lines,
    tokenize_corpus,
)
from tasks.readers import read_jsonl
from tasks.wordings import Labelled, other_names, reword

HELD_OUT_BLOCK, HELD_OUT_EVERY = 8192, 150
"""One block of this many tokens in so many is never trained on."""

ALIKE, INPUT_STEP = 4, 32
"""A supervised batch is a quarter of four batches sorted by length, padded to a multiple of this many tokens."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase: its objective, its length and its learning rate."""

    name: str
    steps: int
    batch_size: int
    learning_rate: float
    seed: int

    def optimizer(self) -> Optimizer:
        """Adafactor with parameter scaling and a cosine to zero after 3 % warm-up."""
        return Optimizer(
            learning_rate=self.learning_rate,
            schedule="cosine",
            warmup_steps=max(1, self.steps * 3 // 100),
            weight_decay=0.0,
            scale_by_parameter=True,
            factored=True,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretraining:
    """All of a pre-training run; equal plans on equal corpora give equal weights."""

    config: T5Config
    span_steps: int
    adaptation_steps: int
    supervised_steps: int
    batch_size: int = 32
    input_length: int = 128
    learning_rate: float = 0.02
    seed: int = 0
    bfloat16: bool = True
    evaluate_every: int = 500
    supervised_lm_share: float = 0.25

    def phases(self) -> tuple[Phase, ...]:
        names = ("span_corruption", "prefix_lm", "supervised")
        steps = (self.span_steps, self.adaptation_steps, self.supervised_steps)
        rates = (self.learning_rate, self.learning_rate / 2, self.learning_rate / 2)
        return tuple(
            Phase(name=name, steps=n, batch_size=self.batch_size, learning_rate=rate, seed=self.seed + i)
            for i, (name, n, rate) in enumerate(zip(names, steps, rates, strict=True))
            if n
        )

    def objective(self, phase: str) -> Objective:
        vocab, length = self.config.vocab_size, self.input_length
        if phase == "span_corruption":
            return SpanCorruption(vocab_size=vocab, input_length=length)
        return PrefixLM(vocab_size=vocab, input_length=length * 3 // 4, target_length=length * 3 // 8)


class ObjectiveStream:
    """Batches of a corpus objective; its state is the index of the next batch."""

    def __init__(self, corpus: np.ndarray, objective: Objective, *, batch_size: int, seed: int) -> None:
        self._draw = lambda index: objective_batch(corpus, objective, index=index, batch_size=batch_size, seed=seed)
        self._index = 0

    def next(self) -> Batch:
        self._index += 1
        return as_batch(self._draw(self._index - 1))

    def state(self) -> dict[str, int]:
        return {"index": self._index}

    def restore(self, state: Mapping[str, int]) -> None:
        self._index = state["index"]


class SupervisedStream:
    """Batches drawn uniformly over tasks and ways of asking, every ``1 / lm_share``-th one from the corpus.

    A batch is a pure function of (examples, seed, index): of four batches' worth of examples it holds the shortest,
    longest or middling ones, so that it carries little padding.
    """

    def __init__(
        self,
        tasks: Mapping[str, Sequence[Labelled]],
        tokenizer: Tokenizer,
        language: ObjectiveStream,
        *,
        config: T5Config,
        input_length: int,
        target_length: int,
        batch_size: int,
        lm_share: float,
        seed: int,
    ) -> None:
        self._tasks, self._tokenizer, self._end = sorted(tasks.items()), tokenizer, [config.eos_token_id]
        self._names = other_names(example for _, examples in self._tasks for example in examples)
        self._lengths, self._batch_size, self._language = (input_length, target_length), batch_size, language
        self._every = round(1 / lm_share) if lm_share else 0
        self._seed, self._index = seed, 0

    def next(self) -> Batch:
        index = self._index
        self._index += 1
        if self._every and index % self._every == 0:
            return self._language.next()
        rng = np.random.default_rng([self._seed, index])
        sources, targets = zip(*(self._draw(rng) for _ in range(ALIKE * self._batch_size)), strict=True)
        encoded = self._encode(sources, self._lengths[0])
        by_length = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
        start = int(rng.integers(ALIKE)) * self._batch_size
        rows = by_length[start : start + self._batch_size]
        longest = max(len(encoded[row]) for row in rows)
        length = min(self._lengths[0], -(-longest // INPUT_STEP) * INPUT_STEP)
        inputs = pad([encoded[row] for row in rows], length)
        answers = pad(self._encode([targets[row] for row in rows], self._lengths[1]), self._lengths[1])
        return as_batch(
            TextBatch(input_ids=inputs[0], input_mask=inputs[1], target_ids=answers[0], target_mask=answers[1])
        )

    def _draw(self, rng: np.random.Generator) -> tuple[str, str]:
        task, examples = self._tasks[int(rng.integers(len(self._tasks)))]
        return reword(task, examples[int(rng.integers(len(examples)))], self._names, rng)

    def _encode(self, texts: Sequence[str], length: int) -> list[list[int]]:
        return [ids[: length - 1] + self._end for ids in self._tokenizer.encode(texts)]

    def state(self) -> dict[str, int]:
        return {"index": self._index, **{f"lm_{k}": v for k, v in self._language.state().items()}}

    def restore(self, state: Mapping[str, int]) -> None:
        self._index = state["index"]
        self._language.restore({"index": state["lm_index"]})


def as_batch(batch: TextBatch) -> Batch:
    """A batch without prompts: every row belongs to row 0 of an empty stack."""
    rows = np.zeros(len(batch.input_ids), np.int32)
    return Batch(rows, Inputs(batch.input_ids, batch.input_mask), Targets(batch.target_ids, batch.target_mask))


def hold_out(corpus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split tokens into those to train on and those to measure on, spread over the whole corpus.

    Raises:
        TrainingError: a corpus too short to hold anything out.
    """
    blocks = np.array_split(corpus, range(HELD_OUT_BLOCK, len(corpus), HELD_OUT_BLOCK))
    held = blocks[HELD_OUT_EVERY // 2 :: HELD_OUT_EVERY]
    if not held:
        raise TrainingError(
            f"corpus of {len(corpus)} tokens is too short; expected at least {HELD_OUT_BLOCK * HELD_OUT_EVERY // 2}"
        )
    kept = [block for i, block in enumerate(blocks) if i % HELD_OUT_EVERY != HELD_OUT_EVERY // 2]
    return np.concatenate(kept), np.concatenate(held)


def prepare(
    corpora: Sequence[Path], folder: Path, *, vocab_size: int, sample: int = 250_000
) -> tuple[Tokenizer, np.ndarray]:
    """Train the tokenizer and tokenise the corpus into ``folder``, once; later calls read them back."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "spiece.model"
    if not model.exists():
        lines = (line for line in read_lines(corpora) if line)
        try:
            write_atomically(model, train_sentencepiece(lines, size=vocab_size, sample=sample))
        except RuntimeError as error:
            reason = str(error).rsplit(") ", 1)[-1]
            raise TrainingError(f"no vocabulary of {vocab_size} can be trained on this corpus: {reason}") from error
    tokenizer = load_tokenizer(folder)
    if tokenizer.size != vocab_size:
        raise TrainingError(f"{model}: has {tokenizer.size} pieces with sentinels, expected {vocab_size}")
    tokens = folder / "corpus.uint16"
    if not tokens.exists():
        tokenize_corpus(read_lines(corpora), tokenizer.encode, tokens, end=1)
    return tokenizer, open_corpus(tokens)


def read_supervised(paths: Sequence[Path]) -> dict[str, list[Labelled]]:
    """Supervised examples by task from JSON lines of ``task``, ``input``, ``target`` and, if few, ``choices``.

    Raises:
        TrainingError: a row without one of the texts, or whose target is not among its choices.
        TaskError: a file that cannot be read.
    """
    tasks: dict[str, list[Labelled]] = {}
    for path in paths:
        for number, row in read_jsonl(path):
            if not all(isinstance(row.get(key), str) for key in ("task", "input", "target")):
                raise TrainingError(f"{path}, row {number}: expected texts for task, input and target")
            choices = row.get("choices") or ()
            if choices and row["target"] not in choices:
                raise TrainingError(f"{path}, row {number}: target {row['target']!r} is not among its choices")
            tasks.setdefault(row["task"], []).append(Labelled(row["input"], row["target"], tuple(choices)))
    return tasks


def pretrain(
    plan: Pretraining,
    corpora: Sequence[Path],
    folder: Path,
    *,
    supervised: Mapping[str, Sequence[Labelled]] | None = None,
    reporter: Callable[[str], Reporter | None] = lambda _phase: None,
) -> Path:
    """Run the phases in ``folder`` and write the model to ``folder/model``; resumes where it was stopped.

    Raises:
        TrainingError: a vocabulary of another size in ``folder``, no supervised tasks for phase 3, or what
            :func:`spot.training.loop.fit` raises.
    """
    if plan.supervised_steps and not supervised:
        raise TrainingError("the supervised phase needs examples; give --supervised, or --supervised-steps 0")
    tokenizer, corpus = prepare(corpora, folder, vocab_size=plan.config.vocab_size)
    train, held_out = hold_out(corpus)
    dtype = jnp.bfloat16 if plan.bfloat16 else jnp.float32
    model = random_model(plan.config, seed=plan.seed, dtype=dtype)
    curves: dict[str, Any] = {}
    for phase in plan.phases():
        stream: Any = ObjectiveStream(train, plan.objective(phase.name), batch_size=phase.batch_size, seed=phase.seed)
        if phase.name == "supervised":
            stream = SupervisedStream(
                supervised or {},
                tokenizer,
                stream,
                config=plan.config,
                input_length=plan.input_length,
                target_length=8,
                batch_size=phase.batch_size,
                lm_share=plan.supervised_lm_share,
                seed=phase.seed,
            )
        result = _run_phase(plan, phase, model, stream, held_out, folder / phase.name, reporter(phase.name))
        graph, _ = nnx.split(model)
        model = nnx.merge(graph, jax.device_put(result.final))
        curves[phase.name] = result.progress.history
    write_atomically(folder / "curves.json", json.dumps(curves, indent=1).encode())
    save_backbone(model, folder / "model", tokenizer_model=(folder / "spiece.model").read_bytes())
    return folder / "model"


def _run_phase(
    plan: Pretraining,
    phase: Phase,
    model: T5,
    stream: Any,
    held_out: np.ndarray,
    folder: Path,
    reporter: Reporter | None,
) -> Result:
    graph, weights = nnx.split(model)
    frozen: Variables = {"prompts": jnp.zeros((1, 0, plan.config.d_model), jnp.float32)}
    step = make_step(graph, phase.optimizer(), steps=phase.steps, trainable="weights")
    objective = plan.objective(phase.name)
    checks = [
        as_batch(objective_batch(held_out, objective, index=i, batch_size=phase.batch_size, seed=0)) for i in range(8)
    ]

    @jax.jit
    def loss(variables: Variables, batch: Batch) -> jax.Array:
        bound = nnx.merge(graph, variables["weights"])
        losses = bound.token_losses(variables["prompts"], batch.prompt_ids, batch.inputs, batch.targets)
        return losses.sum() / batch.targets.mask.sum()

    def evaluate(variables: Variables) -> dict[str, float]:
        held = float(np.mean([float(loss(variables, batch)) for batch in checks]))
        return {"held_out_loss": held, "score": -held}

    shaping = [plan.config.identity, dataclasses.asdict(phase), plan.input_length, plan.bfloat16]
    identity = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
    results: list[Result] = []
    job = Job(
        identity=identity,
        plan=Plan(
            steps=phase.steps,
            evaluate_every=min(plan.evaluate_every, phase.steps),
            checkpoint_seconds=120,
        ),
        start=lambda: weights,
        stream=lambda: stream,
        evaluate=evaluate,
        seed=phase.seed,
        done=results.append,
        reporter=reporter or Silent(),
    )
    fit([job], frozen=frozen, trainable="weights", step=step, folder=folder)
    return results[-1]
