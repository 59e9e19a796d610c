"""Byte-level BPE tokenizers from tables of tokens and merges, as GGUF files hold them."""

from __future__ import annotations

from collections.abc import Sequence

from spot.backbone.tokenizer import Tokenizer, TransformersTokenizer
from spot.errors import BackboneError

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
ENDINGS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_3 = "llama-bpe"
BYTE_LEVEL_STYLES: dict[str, str] = {
    "default": "",
    "gpt-2": "",
    "smollm": r"\p{N}",
    "qwen2": CONTRACTIONS + r"|\p{N}" + ENDINGS,
    LLAMA_3: CONTRACTIONS + r"|\p{N}{1,3}" + ENDINGS,
}
"""How text is cut before byte-level BPE, by llama.cpp's name: a pattern of pieces, or "" for GPT-2's own."""


def byte_level_tokenizer(
    tokens: Sequence[str],
    merges: Sequence[str],
    *,
    style: str,
    special: Sequence[str],
    end: str,
    begin: str = "",
) -> Tokenizer:
    """A byte-level BPE tokenizer from its tables.

    Args:
        tokens: written forms by id.
        merges: pairs joined by a space, in their order of rank.
        style: name in ``BYTE_LEVEL_STYLES``.
        special: tokens that no text is split into.
        end: the end token.
        begin: what stands in front of every text, if anything does.

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
    vocabulary = {token: i for i, token in enumerate(tokens)}
    # Llama 3 takes a word that is a token as it is, whatever its merges
    merged = models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=style == LLAMA_3)
    backend = Backend(merged)
    pattern = BYTE_LEVEL_STYLES[style]
    whole = style in ("qwen2", LLAMA_3)
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not whole)]
    )
    if style == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special]
    )
    return TransformersTokenizer(
        PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end),
        begin=(tokens.index(begin),) if begin else (),
    )
