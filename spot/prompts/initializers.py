"""Where a prompt starts: initialisers as closures ``(seed) -> [..., P, H]`` float32 (Lester et al. 2021, section 2.1).

A run's seed alone decides what is drawn, so that runs of one seed on different tasks start alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bank.vectors import prompt_sha256
from spot.backbone.load import Backbone
from spot.errors import PromptError
from spot.prompts.files import read_prompt
from spot.prompts.forms import FORMS
from spot.prompts.made_for import check_backbone, check_width

Initializer = Callable[[int], np.ndarray]

FREQUENT_PIECES = 5000
"""Sampled-vocabulary prompts draw from this many most frequent pieces."""

TASK_WORDS = {
    "record": ("commonsense", "reasoning", "reading", "comprehension"),
    "wsc": ("commonsense", "pronoun", "resolution"),
}
"""Words that stand in for class labels where a task has none (Lester et al. 2021, appendix A)."""

INITIALIZERS = ("vocabulary", "labels", "uniform", "text:...", "file:...")


def make_initializer(
    name: str,
    backbone: Backbone,
    length: int,
    *,
    form: str = "prompt",
    labels: Sequence[str] = (),
    task: str = "",
) -> Initializer:
    """An initialiser by name, of prompts ``[..., P, H]`` of a form.

    Args:
        name: ``vocabulary``, ``labels``, ``uniform``, ``text:SENTENCE`` or ``file:PATH``; all but a file give tokens
            ``[P, H]``, from which forms with more axes start each in its way.
        backbone: whose embedding or width is used.
        length: P.
        form: name of what is trained.
        labels: label words of the task, for ``labels``.
        task: name of the task, for ``labels`` where it has none.

    Raises:
        PromptError: unknown name, no labels, or a file that does not fit.
    """
    kind, _, argument = name.partition(":")
    if kind == "file" and argument:
        file = read_prompt(Path(argument), length=length).alone().for_width(backbone.width)
        check_backbone(file, backbone)
        prompt = check_fits(file.prompt, backbone, length, form=form, where=argument)
        return lambda seed: prompt
    words = tuple(labels) or TASK_WORDS.get(task, ())
    tokens = _token_initializer(name, backbone, length, words=words, task=task)
    return lambda seed: FORMS[form].start(tokens(seed), backbone)


def _token_initializer(
    name: str, backbone: Backbone, length: int, *, words: Sequence[str], task: str
) -> Initializer:
    """Of tokens ``[P, H]``."""
    kind, _, argument = name.partition(":")
    if kind == "uniform":
        return uniform(length, backbone.width)
    if kind == "vocabulary":
        return sampled_vocabulary(backbone, length)
    if kind == "labels":
        if not words:
            raise PromptError(
                f"task {task!r} has no label words to start from; use --init vocabulary"
            )
        return class_labels(backbone, length, words)
    if kind == "text" and argument:
        return from_text(backbone, length, argument)
    raise PromptError(f"initialiser {name!r} is not known; choose from {', '.join(INITIALIZERS)}")


def drawn_by_seed(name: str) -> bool:
    """Whether an initialiser gives every task the same prompt for a seed: all but ``labels`` do."""
    return name.partition(":")[0] != "labels"


def file_address(name: str, length: int, width: int) -> str | None:
    """sha256 of the prompt ``[..., length, width]`` that an initialiser ``file:PATH`` starts from, or ``None`` for the
    others."""
    kind, _, argument = name.partition(":")
    if kind != "file" or not argument:
        return None
    return prompt_sha256(read_prompt(Path(argument), length=length).for_width(width).prompt)


def uniform(length: int, width: int, *, scale: float = 0.5) -> Initializer:
    """Uniform in ``[-scale, scale]``, as in the paper (the released code draws from ``[0, scale)``)."""

    def initialize(seed: int) -> np.ndarray:
        rng = np.random.default_rng([seed, 0x5EED])
        return rng.uniform(-scale, scale, (length, width)).astype(np.float32)

    return initialize


def sampled_vocabulary(
    backbone: Backbone, length: int, *, frequent: int = FREQUENT_PIECES
) -> Initializer:
    """Embeddings of random pieces among the most frequent ones (pieces are ordered by frequency)."""
    candidates = backbone.tokenizer.ordinary_ids()[:frequent]

    def initialize(seed: int) -> np.ndarray:
        rng = np.random.default_rng([seed, 0x5EED])
        chosen = rng.choice(candidates, size=length, replace=len(candidates) < length)
        return _embed(backbone, chosen)

    return initialize


def class_labels(backbone: Backbone, length: int, labels: Sequence[str]) -> Initializer:
    """Label i at position i as the mean of its pieces' embeddings; the rest is sampled vocabulary."""
    if len(labels) > length:
        warnings.warn(
            f"{len(labels)} labels do not fit {length} prompt tokens; the last {len(labels) - length} are left out",
            stacklevel=2,
        )
    pieces = backbone.tokenizer.encode(list(labels[:length]))
    for label, ids in zip(labels, pieces, strict=False):
        if not ids:
            raise PromptError(f"label {label!r} has no piece to start from; use --init vocabulary")
    means = np.stack([_embed(backbone, np.array(ids)).mean(axis=0) for ids in pieces])
    rest = sampled_vocabulary(backbone, length)

    def initialize(seed: int) -> np.ndarray:
        prompt = rest(seed)
        prompt[: len(means)] = means
        return prompt

    return initialize


def from_text(backbone: Backbone, length: int, text: str) -> Initializer:
    """The pieces of a sentence, cut or filled up with sampled vocabulary."""
    ids = np.array(backbone.tokenizer.encode([text])[0][:length], dtype=np.int32)
    if not len(ids):
        raise PromptError("the text to start from has no tokens; give another after text:")
    rest = sampled_vocabulary(backbone, length)

    def initialize(seed: int) -> np.ndarray:
        prompt = rest(seed)
        prompt[: len(ids)] = _embed(backbone, ids)
        return prompt

    return initialize


def check_fits(
    prompt: np.ndarray, backbone: Backbone, length: int, *, form: str = "prompt", where: str
) -> np.ndarray:
    """A prompt ``[..., length, H]`` of a form, or an error that says what does not fit.

    Raises:
        PromptError: another width (made for another backbone), length or form.
    """
    check_width(prompt, backbone, where=where)
    if prompt.shape[-2] != length:
        raise PromptError(
            f"{where}: prompt has {prompt.shape[-2]} tokens, expected {length}; set --prompt-length to match"
        )
    expected = FORMS[form].shape(backbone.config, length)
    if not FORMS[form].fits(prompt.shape, backbone.config):
        reason = (
            "it was made for another model"
            if prompt.ndim == len(expected)
            else "set --form to match"
        )
        raise PromptError(
            f"{where}: has shape {list(prompt.shape)}, a prompt of form {form} has {list(expected)}; {reason}"
        )
    return prompt


def _embed(backbone: Backbone, ids: np.ndarray) -> np.ndarray:
    return np.array(backbone.embedding[ids], dtype=np.float32)
