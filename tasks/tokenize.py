"""Examples to tokens, once: what is too long is shortened, and answers that become one are refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.errors import TaskError
from tasks.task import Example
from tasks.tokenized import Ragged, Tokenized, read_cache, write_cache

Encode = Callable[[Sequence[str]], list[list[int]]]

Ids = tuple[int, ...]


class Around(NamedTuple):
    """Token ids in front of every input and behind it, and in front of every target and choice and behind these."""

    inputs: tuple[Ids, Ids]
    targets: tuple[Ids, Ids]

    @property
    def identity(self) -> tuple[Ids, ...]:
        """For digests: what later came to stand in front, only where it does."""
        (before, behind), (begin, end) = self
        return (behind, end, *((begin,) if begin or before else ()), *((before,) if before else ()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lengths:
    """Longest input and target in tokens, the end token included; what is longer is cut."""

    inputs: int = 512
    targets: int = 64


def tokenize(
    examples: Sequence[Example],
    encode: Encode,
    *,
    tokenizer_fingerprint: str,
    around: Around,
    lengths: Lengths,
    cache: Path | None = None,
    name: str = "",
) -> Tokenized:
    """Tokenise examples, or read them back from ``cache``, where they lie under a digest of what shapes their tokens.

    An input that is too long loses the tail of its field ``Example.cut``, or its own, not what stands behind it.

    Args:
        examples: inputs, targets and choices.
        encode: text to ids, without anything around them.
        tokenizer_fingerprint: part of the digest.
        around: ids put around every input, and around every target and choice.
        lengths: the longest allowed, those ids included.
        cache: folder.
        name: of the task, for messages.

    Raises:
        TaskError: answers that become the same tokens, or none; see :func:`check_choices`.
    """
    digest = _digest(examples, tokenizer_fingerprint, lengths, around.identity)
    key = _cache_key(digest, examples)
    path = cache / f"{key}.npz" if cache else None
    cached = path and read_cache(path)
    tokenized = cached or _tokenize(examples, encode, lengths, around, digest)
    check_choices(examples, tokenized, around=sum(map(len, around.targets)), name=name)
    if path and not cached:
        write_cache(path, tokenized)
    return tokenized


def _tokenize(
    examples: Sequence[Example],
    encode: Encode,
    lengths: Lengths,
    around: Around,
    digest: str,
) -> Tokenized:
    words = _words(examples)
    row_of = {word: i for i, word in enumerate(words)}
    encoded = encode([example.inputs for example in examples])
    room = lengths.inputs - sum(map(len, around.inputs))
    shortened = _shortened(examples, encoded, encode, room)
    inputs = _framed(
        [shortened.get(i, ids) for i, ids in enumerate(encoded)], lengths.inputs, around.inputs
    )
    if any(ids != encoded[i][:room] for i, ids in shortened.items()):
        digest = hashlib.sha256(
            f"{digest} shortened".encode() + inputs.ids.astype("<i4").tobytes()
        ).hexdigest()

    answers = encode([example.target for example in examples])
    answer_room = lengths.targets - sum(map(len, around.targets))
    return Tokenized(
        inputs=inputs,
        targets=_framed(answers, lengths.targets, around.targets),
        choices=_framed(encode(words), lengths.targets, around.targets),
        choice_rows=Ragged.from_rows(
            [[row_of[choice] for choice in example.choices] for example in examples]
        ),
        cut=sum(len(ids) > room for ids in encoded),
        cut_targets=sum(len(ids) > answer_room for ids in answers),
        digest=digest,
    )


def _shortened(
    examples: Sequence[Example], encoded: Sequence[list[int]], encode: Encode, room: int
) -> Mapping[int, list[int]]:
    """Ids of the inputs that are too long and have a field to shorten, where what stands around it leaves it room."""
    long = [
        i
        for i, ids in enumerate(encoded)
        if len(ids) > room and 0 < examples[i].cut[1] < len(examples[i].inputs)
    ]
    around: list[str] = []
    for i in long:
        text, (start, stop) = examples[i].inputs, examples[i].cut
        start = len(text[:start].rstrip())  # a space belongs to the word behind it
        around += (text[:start], text[start:stop], text[stop:])
    ids = encode(around) if around else []
    shortened = {}
    for i, before, field, behind in zip(long, ids[::3], ids[1::3], ids[2::3], strict=True):
        kept = room - len(before) - len(behind)
        if kept >= 0:
            shortened[i] = [*before, *field[:kept], *behind]
    return shortened


def check_choices(
    examples: Sequence[Example], tokenized: Tokenized, *, around: int, name: str = ""
) -> None:
    """Refuse answers that become the same tokens, and answers that become none.

    Args:
        examples: as they were tokenised; an empty target is one that is not known.
        tokenized: their tokens.
        around: ids in front of every target and behind it, together.
        name: of the task, for messages.

    Raises:
        TaskError: two different choices of one example with equal tokens, or an answer without any.
    """
    prefix = f"task {name}: " if name else ""
    words = _words(examples)
    rows = {word: tokenized.choices[i].tobytes() for i, word in enumerate(words)}
    answers = [words[i] for i in np.flatnonzero(tokenized.choices.lengths <= around).tolist()]
    answers += [
        examples[i].target for i in np.flatnonzero(tokenized.targets.lengths <= around).tolist()
    ]
    for answer in filter(None, answers):
        raise TaskError(
            f"{prefix}the answer {answer!r} becomes no token; choose one that the tokenizer can write"
        )
    if len(set(rows.values())) == len(rows):
        return
    for choices in dict.fromkeys(example.choices for example in examples):
        by_tokens: dict[bytes, str] = {}
        for word in choices:
            other = by_tokens.setdefault(rows[word], word)
            if other != word:
                raise TaskError(
                    f"{prefix}the answers {other!r} and {word!r} become the same tokens, so that neither can be told "
                    "from the other; choose words that the tokenizer knows and that differ at their start"
                )


def _words(examples: Sequence[Example]) -> list[str]:
    """Every choice once, as the table of choices holds them."""
    return list(dict.fromkeys(choice for example in examples for choice in example.choices))


def _framed(rows: Sequence[Sequence[int]], longest: int, around: tuple[Ids, Ids]) -> Ragged:
    before, behind = around
    room = longest - len(before) - len(behind)
    return Ragged.from_rows([[*before, *row[:room], *behind] for row in rows])


def _digest(
    examples: Sequence[Example], tokenizer_fingerprint: str, lengths: Lengths, around: Any
) -> str:
    sha = hashlib.sha256(
        json.dumps([tokenizer_fingerprint, dataclasses.asdict(lengths), around]).encode()
    )
    for example in examples:
        sha.update(json.dumps([example.inputs, example.target, example.choices]).encode())
    return sha.hexdigest()


def _cache_key(digest: str, examples: Sequence[Example]) -> str:
    """Name in the cache: the digest, and what is shortened of which example."""
    cuts = [(i, example.cut) for i, example in enumerate(examples) if any(example.cut)]
    return hashlib.sha256(f"{digest} {cuts}".encode()).hexdigest() if cuts else digest
