"""What pre-training reads: a tokenizer and tokens made from the corpora, and supervised examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spot.backbone.tokenizer import Tokenizer, load_tokenizer, train_sentencepiece
from spot.errors import TrainingError
from spot.training.checkpoint import write_atomically
from tasks.json_files import read_jsonl
from tasks.objectives import open_corpus, read_lines, tokenize_corpus
from tasks.wordings import Labelled

HELD_OUT_BLOCK, HELD_OUT_EVERY = 8192, 150
"""One block of this many tokens in so many is never trained on."""


def hold_out(corpus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split tokens ``[n]`` into those to train on and those to measure on, spread over the whole corpus.

    Raises:
        TrainingError: a corpus too short to hold anything out.
    """
    blocks = np.array_split(corpus, range(HELD_OUT_BLOCK, len(corpus), HELD_OUT_BLOCK))
    held_out = blocks[HELD_OUT_EVERY // 2 :: HELD_OUT_EVERY]
    if not held_out:
        raise TrainingError(
            f"corpus of {len(corpus)} tokens is too short; expected at least {HELD_OUT_BLOCK * HELD_OUT_EVERY // 2}"
        )
    kept = [block for i, block in enumerate(blocks) if i % HELD_OUT_EVERY != HELD_OUT_EVERY // 2]
    return np.concatenate(kept), np.concatenate(held_out)


def prepare(
    corpora: Sequence[Path], folder: Path, *, vocab_size: int, sample: int = 250_000
) -> tuple[Tokenizer, np.ndarray]:
    """Train the tokenizer and tokenise the corpus to uint16 ``[n]`` in ``folder``, once; later calls read them back.

    Raises:
        TrainingError: no vocabulary of that size can be trained, or the folder has one of another size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "spiece.model"
    if not model.exists():
        lines = (line for line in read_lines(corpora) if line)
        try:
            write_atomically(model, train_sentencepiece(lines, size=vocab_size, sample=sample))
        except RuntimeError as error:
            reason = str(error).rsplit(") ", 1)[-1]
            raise TrainingError(
                f"no vocabulary of {vocab_size} can be trained on this corpus: {reason}"
            ) from error
    tokenizer = load_tokenizer(folder)
    if tokenizer.size != vocab_size:
        raise TrainingError(
            f"{model}: has {tokenizer.size} pieces with sentinels, expected {vocab_size}"
        )
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
                raise TrainingError(
                    f"{path}, row {number}: expected texts for task, input and target"
                )
            choices = row.get("choices") or ()
            if choices and row["target"] not in choices:
                raise TrainingError(
                    f"{path}, row {number}: target {row['target']!r} is not among its choices"
                )
            tasks.setdefault(row["task"], []).append(
                Labelled(row["input"], row["target"], tuple(choices))
            )
    return tasks
