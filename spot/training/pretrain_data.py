"""What pre-training reads: a tokenizer and tokens made from the corpora, and supervised examples."""

from __future__ import annotations

import hashlib
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

VOCABULARY, TOKENS = "spiece.model", "corpus.uint16"
"""Files of a folder that follow from its corpora."""


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


def claim_text(
    corpora: Sequence[Path],
    folder: Path,
    *,
    made: Sequence[str],
    follows: Sequence[str],
    vocabulary: str = "",
) -> None:
    """Write down which text a folder is for; what was made of an earlier text goes, unless something has learnt it.

    Args:
        corpora: text files.
        folder: of tokens and training.
        made: names in the folder of what has learnt the text.
        follows: names of files that follow from the text, and are made anew.
        vocabulary: fingerprint of the tokenizer that reads it, where it is not made of the text.

    Raises:
        TaskError: a file that cannot be read.
        TrainingError: the folder's training is on another text.
    """
    told = hashlib.sha256(vocabulary.encode())
    for line in read_lines(corpora):
        told.update(f"{line}\n".encode())
    path, text = folder / "corpus.sha256", told.hexdigest()
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        if any((folder / name).exists() for name in made):
            raise TrainingError(
                f"{folder}: holds a training on another text, or this one has changed; choose another --folder"
            )
        for name in follows:
            (folder / name).unlink(missing_ok=True)
    write_atomically(path, text.encode())


def prepare(
    corpora: Sequence[Path],
    folder: Path,
    *,
    vocab_size: int,
    sample: int = 250_000,
    made: Sequence[str] = (),
) -> tuple[Tokenizer, np.ndarray]:
    """Train the tokenizer and tokenise the corpus to uint16 ``[n]`` in ``folder``, once; later calls read them back.

    Raises:
        TrainingError: no vocabulary of that size can be trained, the folder has one of another size, or what is
            ``made`` there has learnt another text.
    """
    claim_text(corpora, folder, made=made, follows=(VOCABULARY, TOKENS))
    model = folder / VOCABULARY
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
    return tokenizer, tokens_of(corpora, tokenizer, folder, end=1)


def tokens_of(
    corpora: Sequence[Path], tokenizer: Tokenizer, folder: Path, *, end: int
) -> np.ndarray:
    """All tokens ``[n]`` uint16 of a folder's corpora, with ``end`` behind documents; made once."""
    path = folder / TOKENS
    if not path.exists():
        tokenize_corpus(read_lines(corpora), tokenizer.encode, path, end=end)
    return open_corpus(path)


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
