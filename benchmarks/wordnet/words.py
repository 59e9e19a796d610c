"""Words and texts compared, and draws that texts decide."""

from __future__ import annotations

import difflib
import hashlib
import re


def digest(*parts: str) -> int:
    """A number that depends on the parts alone; it stands in for a random draw."""
    return int(hashlib.sha256("|".join(parts).encode()).hexdigest()[:16], 16)


def coin(*parts: str) -> bool:
    """A fair coin toss that the parts decide."""
    return digest("coin", *parts) % 2 == 0


def tokens(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"[a-z']+", text.lower())


def is_single(word: str) -> bool:
    """Whether the word is one word of at least two lower-case letters."""
    return word.isalpha() and word.islower() and len(word) >= 2


def shares_word(left: str, right: str) -> bool:
    """Whether a word is in both texts, as in "oak tree" and "tree", which would give an answer away."""
    return bool(set(tokens(left)) & set(tokens(right)))


def looks_alike(left: str, right: str) -> bool:
    """Whether two words are nearly spelled alike, such as "grey" and "gray"."""
    return difflib.SequenceMatcher(None, left, right, autojunk=False).ratio() > 0.7


def leaks(word: str, definition: str) -> bool:
    """Whether the definition holds the word or a word with the same stem, and so gives it away."""
    stems = {part[: max(4, len(part) - 3)] for part in tokens(word) if len(part) >= 3}
    return any(token.startswith(tuple(stems)) for token in tokens(definition)) if stems else True


def inflected_forms(word: str, part_of_speech: str, irregular: frozenset[str]) -> set[str]:
    """The word with the forms it may take in a sentence; a few that do not exist do no harm."""
    stem = re.sub(r"(?<=[^aeiou])y$", "i", word)
    short = stem.removesuffix("e")
    forms = {word, *irregular}
    if part_of_speech in "nv":
        forms |= {word + "s", stem + "es"}
    if part_of_speech == "v":
        forms |= {start + "ed" for start in (short, word + word[-1])}
        forms |= {start + "ing" for start in (short, word, word + word[-1])}
    if part_of_speech in "ar":
        forms |= {start + ending for start in (short, word + word[-1]) for ending in ("er", "est")}
    return forms
