"""Text to tokens: SentencePiece itself where its model file lies, else the ``transformers`` tokenizer."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from spot.errors import BackboneError

SENTENCEPIECE_FILES = ("spiece.model", "sentencepiece.model")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json")
SENTINELS = 100
"""Sentinel tokens ``<extra_id_0>`` ... at the top of a T5 vocabulary, counted downwards."""


class Tokenizer(Protocol):
    """What the rest of the program needs of a tokenizer; ids of specials never appear in ``encode``'s output."""

    size: int
    """Pieces, sentinels included (a backbone's embedding may be padded beyond it)."""
    fingerprint: str
    """sha256 of what decides the mapping."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without an end token."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids up to the first end token; padding and sentinels are left out."""

    def piece(self, index: int) -> str:
        """The written form of one piece."""

    def ordinary_ids(self) -> np.ndarray:
        """int32 ids of the pieces that stand for text (no specials, no sentinels), most frequent first."""


class SentencePieceTokenizer:
    """The SentencePiece model of T5, with the sentinels that T5 puts behind its pieces."""

    def __init__(self, model: bytes, *, sentinels: int = SENTINELS) -> None:
        import sentencepiece

        self._model = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._pieces = self._model.vocab_size()
        if not self._pieces:
            raise BackboneError("the SentencePiece model is empty")
        self.size = self._pieces + sentinels
        self.fingerprint = hashlib.sha256(model + str(sentinels).encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        if any("<extra_id_" in text for text in texts):
            return [list(self._encode_with_sentinels(text)) for text in texts]
        encoded: list[list[int]] = self._model.encode(list(texts))
        return encoded

    def _encode_with_sentinels(self, text: str) -> Iterator[int]:
        for part in re.split(r"(<extra_id_\d+>)", text):
            found = re.fullmatch(r"<extra_id_(\d+)>", part)
            if found and int(found[1]) < self.size - self._pieces:
                yield self.size - 1 - int(found[1])
            elif part.strip():
                yield from self._model.encode(part)

    def decode(self, ids: Iterable[int]) -> str:
        kept: list[int] = []
        for index in ids:
            if index == self._model.eos_id():
                break
            if index < self._pieces and not self._model.is_control(int(index)):
                kept.append(int(index))
        text: str = self._model.decode(kept)
        return text

    def piece(self, index: int) -> str:
        if index >= self.size:
            return f"<unused_{index}>"
        if index >= self._pieces:
            return f"<extra_id_{self.size - 1 - index}>"
        piece: str = self._model.id_to_piece(int(index))
        return piece

    def ordinary_ids(self) -> np.ndarray:
        special = (self._model.is_control, self._model.is_unknown, self._model.is_unused, self._model.is_byte)
        return np.array([i for i in range(self._pieces) if not any(test(i) for test in special)], dtype=np.int32)


class TransformersTokenizer:
    """Any tokenizer of ``transformers`` (ByT5, ``tokenizer.json``)."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.size = len(tokenizer)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        rule = (
            backend.to_str()
            if backend is not None
            else json.dumps([type(self._tokenizer).__name__, self.size, self._tokenizer.all_special_tokens])
        )
        self.fingerprint = hashlib.sha256(rule.encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        # a text that spells a special token means its letters
        asked = self._tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)
        encoded: list[list[int]] = asked["input_ids"]
        return encoded

    def decode(self, ids: Iterable[int]) -> str:
        kept: list[int] = []
        for index in ids:
            if index == self._tokenizer.eos_token_id:
                break
            kept.append(int(index))
        text: str = self._tokenizer.decode(kept, skip_special_tokens=True)
        return text

    def piece(self, index: int) -> str:
        return str(self._tokenizer.convert_ids_to_tokens(int(index)))

    def ordinary_ids(self) -> np.ndarray:
        added = self._tokenizer.added_tokens_decoder
        special = {*self._tokenizer.all_special_ids, *(index for index, token in added.items() if token.special)}
        return np.array([i for i in range(self.size) if i not in special], dtype=np.int32)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a backbone's folder.

    Raises:
        BackboneError: no tokenizer files, or files that cannot be read.
    """
    for name in SENTENCEPIECE_FILES:
        path = folder / name
        if path.exists():
            try:
                return SentencePieceTokenizer(path.read_bytes(), sentinels=_sentinels(folder))
            except (RuntimeError, BackboneError) as error:
                raise BackboneError(f"{path}: not a SentencePiece model") from error
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise BackboneError(
            f"{folder}: no tokenizer; expected one of {', '.join(SENTENCEPIECE_FILES + TOKENIZER_FILES)}"
        )
    from transformers import AutoTokenizer

    try:
        return TransformersTokenizer(AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackboneError(f"{folder}: no tokenizer can be built from its files ({reason})") from error


CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
ENDINGS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTE_LEVEL_STYLES: dict[str, str] = {
    "default": "",
    "gpt-2": "",
    "smollm": r"\p{N}",
    "qwen2": CONTRACTIONS + r"|\p{N}" + ENDINGS,
    "llama-bpe": CONTRACTIONS + r"|\p{N}{1,3}" + ENDINGS,
}
"""How text is cut before byte-level BPE, by llama.cpp's name: a pattern of pieces, or "" for GPT-2's own."""


def byte_level_tokenizer(
    tokens: Sequence[str], merges: Sequence[str], *, style: str, special: Sequence[str], end: str
) -> Tokenizer:
    """A byte-level BPE tokenizer from its tables.

    Args:
        tokens: written forms by id.
        merges: pairs joined by a space, in their order of rank.
        style: name in ``BYTE_LEVEL_STYLES``.
        special: tokens that no text is split into.
        end: the end token.

    Raises:
        BackboneError: unknown style.
    """
    from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    if style not in BYTE_LEVEL_STYLES:
        raise BackboneError(
            f"tokenizer: pre-tokenizer {style!r} is not known; expected one of {', '.join(BYTE_LEVEL_STYLES)}"
        )
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    backend = Backend(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=pairs))
    pattern = BYTE_LEVEL_STYLES[style]
    whole = style in ("qwen2", "llama-bpe")
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not whole)]
    )
    if style == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return TransformersTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end))


def _sentinels(folder: Path) -> int:
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return SENTINELS
    try:
        count = json.loads(path.read_text(encoding="utf-8")).get("extra_ids", SENTINELS)
    except (ValueError, AttributeError) as error:
        raise BackboneError(f"{path}: not a JSON object") from error
    if not isinstance(count, int) or count < 0:
        raise BackboneError(f"{path}: extra_ids is {count!r}; expected a number of sentinels")
    return count


def train_sentencepiece(lines: Iterable[str], *, size: int, sentinels: int = SENTINELS, sample: int) -> bytes:
    """Train a unigram SentencePiece model in T5's layout: pad 0, end 1, unknown 2.

    Args:
        lines: text, one paragraph an item.
        size: vocabulary size of the backbone; ``size - sentinels`` pieces are trained.
        sentinels: sentinel tokens added behind the pieces.
        sample: lines that SentencePiece draws for training.
    """
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=size - sentinels,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        input_sentence_size=sample,
        shuffle_input_sentence=True,
        max_sentence_length=4096,
        minloglevel=2,
    )
    return model.getvalue()
