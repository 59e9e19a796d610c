"""Text to tokens: SentencePiece itself where its model file lies, else the ``transformers`` tokenizer."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from spot.backbone.files import check_file, read_json
from spot.errors import BackboneError
from tasks.errors import shown

SENTENCEPIECE_FILES = ("spiece.model", "sentencepiece.model")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json")
LARGE_ID = re.compile(rb'(?<!max_length)"\s*:\s*([0-9]{8,})')
"""An id for which a tokenizer would make room for all ids before it."""

SENTINELS = 100
"""Sentinel tokens ``<extra_id_0>`` ... at the top of a T5 vocabulary, counted downwards."""
SENTINEL = re.compile(r"▁?<extra_id_\d+>")
CONTROLS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
"""Special tokens that stand for no text of a user's, wherever they are spelled."""
MOST_SENTINELS = 2**20
UNREACHABLE = "\U0010ffff\U0010ffff "
"""What no text begins a word with: pieces renamed by it are not found in any."""


class Tokenizer(Protocol):
    """What the rest of the program needs of a tokenizer.

    Control tokens (end, padding, unknown, ...) and tokens without a row in the embedding never come from a text that
    spells them: it means its letters. Sentinels, and tokens that a user added to a vocabulary with sentinels, are
    taken as ``transformers`` takes them; the special tokens of other vocabularies are control tokens all.
    """

    size: int
    """Pieces, sentinels and added tokens included (a backbone's embedding may be padded beyond it)."""
    fingerprint: str
    """sha256 of what decides the mapping."""
    begin: tuple[int, ...]
    """Token ids that it puts in front of a text, as a model has always seen them."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without an end token."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids up to the first end token; padding and sentinels are left out."""

    def piece(self, index: int) -> str:
        """The written form of one piece."""

    def ordinary_ids(self) -> np.ndarray:
        """Ids ``[n]`` int32 of the n pieces that stand for text (no specials, no sentinels), most frequent first."""


class SentencePieceTokenizer:
    """The SentencePiece model of T5, with the sentinels that T5 puts behind its pieces. Nothing begins a text.

    Args:
        model: content of the model's file.
        sentinels: how many stand behind the pieces; none where the pieces hold sentinels, as mT5's do.
        added: further tokens by their written form, which a text is cut at before anything else.
        ends: end tokens beside the model's own.

    Raises:
        BackboneError, RuntimeError: no SentencePiece model.
    """

    def __init__(
        self,
        model: bytes,
        *,
        sentinels: int = SENTINELS,
        added: Mapping[str, int] | None = None,
        ends: Sequence[int] = (),
    ) -> None:
        import sentencepiece

        self.begin: tuple[int, ...] = ()
        self._model = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._pieces = self._model.vocab_size()
        if not self._pieces:
            raise BackboneError("the SentencePiece model is empty")
        pieces = self._model.id_to_piece(list(range(self._pieces)))
        self._held_sentinels = {i for i, piece in enumerate(pieces) if SENTINEL.fullmatch(piece)}
        sentinels = 0 if self._held_sentinels else sentinels
        top = self._pieces + sentinels
        self._ends = {self._model.eos_id(), *ends}
        self._sentinels = {f"<extra_id_{i}>": top - 1 - i for i in range(sentinels)}
        self._added = {
            token: index
            for token, index in (added or {}).items()
            if not SENTINEL.fullmatch(token)
            and not (index < self._pieces and self._is_control(index))
        }
        self._cut = {**self._sentinels, **self._added}
        longest_first = sorted(self._added, key=len, reverse=True)
        self._cuts = re.compile("|".join(["(?:<extra_id_[0-9]+>)", *map(re.escape, longest_first)]))
        self._names = {index: token for token, index in self._cut.items()}
        self.size = max(top, *(index + 1 for index in self._names), 0)
        content = model + str(sentinels).encode()
        if self._added:
            content += json.dumps(sorted(self._added.items())).encode()
        self.fingerprint = hashlib.sha256(content).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        if self._cut and any(self._cuts.search(text) for text in texts):
            return [list(self._encode_with_cuts(text)) for text in texts]
        encoded: list[list[int]] = self._model.encode(list(texts))
        return encoded

    def _encode_with_cuts(self, text: str) -> Iterator[int]:
        start = 0
        for match in self._cuts.finditer(text):
            if match[0] in self._cut:
                yield from self._encode_part(text[start : match.start()])
                yield self._cut[match[0]]
                start = match.end()
        yield from self._encode_part(text[start:])

    def _encode_part(self, text: str) -> list[int]:
        encoded: list[int] = self._model.encode(text) if text.strip() else []
        return encoded

    def decode(self, ids: Iterable[int]) -> str:
        parts: list[str] = []
        kept: list[int] = []
        for index in map(int, ids):
            if index in self._ends:
                break
            if index in self._names and self._names[index] in self._added:
                parts += [self._model.decode(kept), self._names[index]]
                kept = []
            elif index < self._pieces and not self._model.is_control(index):
                kept.append(index)
        return " ".join(part for part in [*parts, self._model.decode(kept)] if part)

    def piece(self, index: int) -> str:
        if index in self._names:
            return self._names[index]
        if index >= self._pieces:
            return f"<unused_{index}>"
        piece: str = self._model.id_to_piece(int(index))
        return piece

    def ordinary_ids(self) -> np.ndarray:
        """``[n]`` int32; pieces that are unused or bytes are left out too."""
        tests = (
            self._is_control,
            self._model.is_unused,
            self._model.is_byte,
            self._held_sentinels.__contains__,
        )
        return np.array(
            [i for i in range(self._pieces) if not any(test(i) for test in tests)], dtype=np.int32
        )

    def _is_control(self, index: int) -> bool:
        return bool(self._model.is_control(index) or self._model.is_unknown(index))


class TransformersTokenizer:
    """Any tokenizer of ``transformers`` (ByT5, ``tokenizer.json``).

    Args:
        tokenizer: the tokenizer.
        rows: rows of the embedding, which no text may reach beyond; without, all tokens have one.
        ends: end tokens beside the tokenizer's own.
        begin: ids in front of a text; what the tokenizer itself puts there, where not given.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        rows: int | None = None,
        ends: Sequence[int] = (),
        begin: tuple[int, ...] | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self.begin = _begin(tokenizer) if begin is None else begin
        self._ends = {tokenizer.eos_token_id, *ends}
        added = {str(token): index for index, token in tokenizer.added_tokens_decoder.items()}
        special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        special |= set(tokenizer.all_special_tokens)
        self._sentinels = {token for token in added if SENTINEL.fullmatch(token)}
        controls = {
            str(getattr(tokenizer, name)) for name in CONTROLS if getattr(tokenizer, name, None)
        }
        controls |= special if not self._sentinels else set()
        vocabulary = tokenizer.get_vocab()
        self._special_ids = {
            i for token, i in vocabulary.items() if token in special or SENTINEL.fullmatch(token)
        }
        top = max(vocabulary.values(), default=-1) + 1
        rows = top if rows is None else rows
        surplus = {token for token, index in vocabulary.items() if index >= rows}
        if surplus <= {*added, *special, *filter(SENTINEL.fullmatch, surplus)}:
            self.size = min(max(len(tokenizer), top), rows)
        else:
            self.size = max(len(tokenizer), top)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        rule = (
            backend.to_str()
            if backend is not None
            else json.dumps(
                [type(self._tokenizer).__name__, len(tokenizer), self._tokenizer.all_special_tokens]
            )
        )
        self.fingerprint = hashlib.sha256(rule.encode()).hexdigest()
        self._encoder = (
            None if backend is None else _literal(rule, controls - self._sentinels | surplus)
        )

    def save(self, folder: Path) -> None:
        """Write it as files that ``transformers`` reads."""
        self._tokenizer.save_pretrained(str(folder))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        if self._encoder is None:
            return [list(self._encode_slowly(text)) for text in texts]
        return [
            encoding.ids
            for encoding in self._encoder.encode_batch(list(texts), add_special_tokens=False)
        ]

    def _encode_slowly(self, text: str) -> Iterator[int]:
        """By a tokenizer in Python, which takes every special token for its letters: sentinels are cut out before."""
        for part in re.split(r"(<extra_id_[0-9]+>)", text):
            if part in self._sentinels:
                yield self._tokenizer.convert_tokens_to_ids(part)
            elif part:
                yield from self._tokenizer(
                    part, add_special_tokens=False, split_special_tokens=True
                )["input_ids"]

    def decode(self, ids: Iterable[int]) -> str:
        kept: list[int] = []
        for index in map(int, ids):
            if index in self._ends:
                break
            kept.append(index)
        text: str = self._tokenizer.decode(kept, skip_special_tokens=True)
        return text

    def piece(self, index: int) -> str:
        return str(self._tokenizer.convert_ids_to_tokens(int(index)))

    def ordinary_ids(self) -> np.ndarray:
        """``[n]`` int32, in the order of the vocabulary."""
        return np.array([i for i in range(self.size) if i not in self._special_ids], dtype=np.int32)


def _begin(tokenizer: Any) -> tuple[int, ...]:
    """Ids that a tokenizer of ``transformers`` puts in front of every text."""
    whole, text = (tokenizer("a", add_special_tokens=added)["input_ids"] for added in (True, False))
    places = range(len(whole) - len(text) + 1)
    return next((tuple(whole[:i]) for i in places if text and whole[i : i + len(text)] == text), ())


def _literal(rule: str, letters: set[str]) -> Any:
    """A tokenizer to encode with: ``letters`` are not found in a text that spells them; all others are.

    Special tokens are passed over as a whole, so what is to be found is called ordinary. A unigram model finds tokens
    among its own pieces too, where they go by another name.
    """
    from tokenizers import Tokenizer as Backend

    content = json.loads(rule)
    unigram = content["model"]["type"] == "Unigram"

    def name(token: str) -> str:
        return UNREACHABLE + token if unigram and token in letters else token

    for token in content["added_tokens"]:
        token["special"] = token["content"] in letters
        token["content"] = name(token["content"])
    if unigram:
        content["model"]["vocab"] = [
            [name(piece), score] for piece, score in content["model"]["vocab"]
        ]
    content["post_processor"] = content["truncation"] = content["padding"] = None
    encoder = Backend.from_str(json.dumps(content))
    encoder.encode_special_tokens = True
    return encoder


def load_tokenizer(folder: Path, *, rows: int | None = None, ends: Sequence[int] = ()) -> Tokenizer:
    """The tokenizer of a backbone's folder.

    Args:
        folder: a folder in Hugging Face's format.
        rows: rows of the embedding; added tokens beyond them are letters in a text.
        ends: the config's end tokens.

    Raises:
        BackboneError: no tokenizer files, or files that cannot be read.
    """
    for name in SENTENCEPIECE_FILES:
        path = folder / name
        if path.exists():
            model, settings = check_file(path).read_bytes(), _settings(folder)
            if not model:  # of which the library logs several lines
                raise BackboneError(f"{path}: not a SentencePiece model (empty)")
            added = {
                token: i
                for token, i in _added(folder, settings).items()
                if rows is None or i < rows
            }
            count = _sentinels(folder, settings)
            try:
                tokenizer = SentencePieceTokenizer(model, sentinels=count, added=added, ends=ends)
                if rows is not None and tokenizer.size > rows and "extra_ids" not in settings:
                    # no room for any
                    return SentencePieceTokenizer(model, sentinels=0, added=added, ends=ends)
                return tokenizer
            except (RuntimeError, BackboneError) as error:
                raise BackboneError(f"{path}: not a SentencePiece model") from error
    present = [name for name in TOKENIZER_FILES if (folder / name).exists()]
    if not present:
        raise BackboneError(
            f"{folder}: no tokenizer; expected one of {', '.join(SENTENCEPIECE_FILES + TOKENIZER_FILES)}"
        )
    for name in present:
        content = check_file(folder / name).read_bytes()
        if name != "tokenizer_config.json" and (large_id := LARGE_ID.search(content)):
            raise BackboneError(
                f"{folder / name}: a token has id {shown(int(large_id[1][:20]))}; no vocabulary is so large"
            )
    with _as_one_error(folder):
        from transformers import AutoTokenizer

        read = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        other = TransformersTokenizer(read, rows=rows, ends=ends)
    if len(other.ordinary_ids()) < 2:
        raise BackboneError(
            f"{folder}: its tokenizer knows no words, as where the file with its vocabulary is missing "
            f"({', '.join(SENTENCEPIECE_FILES)}, tokenizer.json, ...); get the folder again"
        )
    return other


@contextlib.contextmanager
def _as_one_error(folder: Path) -> Iterator[None]:
    """What libraries raise for files that they cannot read: errors of any class, and panics of compiled ones."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | BackboneError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise BackboneError(
            f"{folder}: no tokenizer can be built from its files ({reason})"
        ) from error


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.exists() else {}


def _sentinels(folder: Path, settings: Mapping[str, Any]) -> int:
    count = settings.get("extra_ids", SENTINELS)
    if not isinstance(count, int) or not 0 <= count <= MOST_SENTINELS:
        raise BackboneError(
            f"{folder / 'tokenizer_config.json'}: extra_ids is {shown(count)}; expected a number of sentinels"
        )
    return count


def _added(folder: Path, settings: Mapping[str, Any]) -> dict[str, int]:
    """Tokens beside the pieces, by their written form: of ``added_tokens.json``, and as the settings list them."""
    path, listed = folder / "added_tokens.json", settings.get("added_tokens_decoder", {})
    added: dict[str, Any] = dict(read_json(path)) if path.exists() else {}
    try:
        added |= {token["content"]: int(index) for index, token in listed.items()}
    except (AttributeError, TypeError, LookupError, ValueError) as error:
        raise BackboneError(
            f"{folder / 'tokenizer_config.json'}: added_tokens_decoder lists no tokens"
        ) from error
    if not all(
        isinstance(token, str) and token and type(i) is int and i >= 0 for token, i in added.items()
    ):
        raise BackboneError(
            f"{path if path.exists() else folder}: added tokens must have a text and a number from 0 on"
        )
    controls = {str(_content(settings.get(name))) for name in CONTROLS} | {"</s>", "<pad>", "<unk>"}
    return {token: index for token, index in added.items() if token not in controls}


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, Mapping) else token


def train_sentencepiece(
    lines: Iterable[str], *, size: int, sentinels: int = SENTINELS, sample: int
) -> bytes:
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
