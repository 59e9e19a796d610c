"""Scores of written texts against references, by the packages that papers use: BLEU and chrF by sacrebleu, ROUGE by
rouge-score, METEOR by NLTK. All come with the extra ``generation``."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from tasks.errors import TaskError
from tasks.scored import Examples, Labels, Predictions, Scored, answers_of

SACREBLEU = ("sacrebleu.metrics", "sacrebleu")
ROUGE_SCORE = ("rouge_score.rouge_scorer", "rouge-score")
NLTK = ("nltk.translate.meteor_score", "nltk")
"""A module, and the package that it is in."""


def corpus(name: str) -> Callable[[Predictions, Examples, Labels], float]:
    """A score of sacrebleu over all texts together, ``BLEU`` (Papineni et al. 2002) or ``CHRF`` (Popović 2015), with
    its defaults (case counts, BLEU's words are those of mteval-v13a) and all references of each text."""

    def score(predictions: Predictions, examples: Examples, labels: Labels) -> float:
        scorer = getattr(package(*SACREBLEU), name)()
        answers = [answers_of(example) for _, example in zip(predictions, examples, strict=True)]
        most = max(map(len, answers), default=0)
        streams = [
            [each[place] if place < len(each) else None for each in answers]
            for place in range(most)
        ]
        return float(scorer.corpus_score(list(predictions), streams).score)

    return score


def rouge(name: str) -> Callable[[str, Scored], float]:
    """F1 of ROUGE-1, -2 or -L (Lin 2004) of stems, against the reference for which it is highest."""

    def share(prediction: str, example: Scored) -> float:
        found = _scorer(name).score_multi(list(answers_of(example)), prediction)
        return float(found[name].fmeasure)

    return share


def meteor(prediction: str, example: Scored) -> float:
    """METEOR (Banerjee and Lavie 2005) as NLTK computes it, of lower-cased words and punctuation, with the constants of
    Lavie and Agarwal (2007), against the reference for which it is highest. NLTK looks synonyms up behind its stemmer,
    so that it knows those alone that are their own stems.

    Raises:
        TaskError: as :func:`synonyms`.
    """
    words = package("nltk.tokenize", "nltk").wordpunct_tokenize
    references = [words(answer) for answer in answers_of(example)]
    found = package(*NLTK).meteor_score(references, words(prediction), wordnet=synonyms())
    return float(found)


@functools.cache
def synonyms() -> Any:
    """WordNet as NLTK reads it, by which METEOR knows synonyms. It is never downloaded here.

    Raises:
        TaskError: NLTK finds none.
    """
    wordnet = package("nltk.corpus", "nltk").wordnet
    try:
        wordnet.ensure_loaded()
    except (LookupError, OSError) as error:
        raise TaskError(
            "METEOR needs WordNet's synonyms, and NLTK finds none; `python -m nltk.downloader wordnet` fetches them"
        ) from error
    return wordnet


@functools.cache
def _scorer(name: str) -> Any:
    return package(*ROUGE_SCORE).RougeScorer([name], use_stemmer=True)


def package(module: str, name: str) -> Any:
    """A module of a package of the extra ``generation``.

    Raises:
        TaskError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise TaskError(
            f"scores of written texts need the package {name}; "
            "pip install 'spot-prompt-transfer[generation]'"
        ) from error


def require(names: Sequence[str]) -> None:
    """Import what the metrics of these names need, before time is spent on what they shall score.

    Raises:
        TaskError: a package is not installed, or there is no WordNet for METEOR.
    """
    for name in names:
        if name in NEEDS:
            package(*NEEDS[name])
        if name == "meteor":
            synonyms()


NEEDS = {
    **dict.fromkeys(("bleu", "chrf"), SACREBLEU),
    **dict.fromkeys(("rouge1", "rouge2", "rougeL"), ROUGE_SCORE),
    "meteor": NLTK,
}
"""Module and package of metrics that need one."""
