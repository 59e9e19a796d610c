"""What is left of a text when it is compared: letters and digits, without case, spaces and punctuation."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable

LONG = 25
"""Letters from which two equal texts are no accident."""

SENTENCE_ENDS = "[.!?\n\u3002\uff01\uff1f]+"


def letters(text: str) -> str:
    """Letters and digits of a text, without case."""
    return re.sub(r"[\W_]+", "", text.casefold())


def texts_of(inputs: str) -> list[str]:
    """The values of an input in the form ``key: text key: text``."""
    return [text for text in re.split(r"(?:^|\s)\w+:(?:\s|$)", inputs) if text]


def long_sentences(inputs: Iterable[str]) -> set[str]:
    """Letters of all sentences of :data:`LONG` letters or more, whatever the keys before them.

    What every one of several inputs says is the form they are written in, and left out.
    """
    whole = set(inputs)
    texts = collections.Counter(text for example in whole for text in set(texts_of(example)))
    counts: collections.Counter[str] = collections.Counter()
    for text, count in texts.items():
        for sentence in {letters(sentence) for sentence in re.split(SENTENCE_ENDS, text)}:
            if len(sentence) >= LONG:
                counts[sentence] += count
    return {sentence for sentence, count in counts.items() if count < len(whole) or len(whole) == 1}
