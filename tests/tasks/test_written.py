"""Scores of written texts: published values, several references, and what is said without the packages."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest

from tasks import written
from tasks.errors import TaskError
from tasks.metrics import compute, points_of_each
from tasks.task import Example
from tasks.written import NEEDS, require
from tests.tasks.conftest import Synonyms

SYSTEM = ("The dog bit the man.", "It wasn't surprising.", "The man had just bitten him.")
REFERENCES = (
    ("The dog bit the man.", "The dog had bit the man."),
    ("It was not unexpected.", "No one was surprised."),
    ("The man bit him first.", "The man had bitten the dog."),
)
"""The example of sacrebleu's documentation."""

FOX = "The quick brown fox jumps over the lazy dog"
LOG = "The quick brown dog jumps on the log."
"""The example of rouge-score's documentation."""


ENSURES = (
    "it is a guide to action which ensures that the military always obeys the commands of the party"
)
GUIDES = (
    "it is a guide to action that ensures that the military will forever heed party commands",
    "it is the guiding principle which guarantees the military forces always being under the command of the party",
    "it is the practical guide for the army always to heed the directions of the party",
)
"""The example of NLTK's documentation."""


def examples(references: Sequence[Sequence[str]]) -> list[Example]:
    return [Example(inputs="", target=each[0], answers=tuple(each)) for each in references]


@pytest.mark.parametrize(("name", "points"), [("bleu", 48.530827), ("chrf", 59.73)])
def test_published_values_of_sacrebleu(name: str, points: float) -> None:
    found = compute(name, SYSTEM, examples(REFERENCES), ())
    assert found == pytest.approx(points, abs=0.01)


@pytest.mark.parametrize(("name", "points"), [("rouge1", 70.5882), ("rougeL", 58.8235)])
def test_published_values_of_rouge_score(name: str, points: float) -> None:
    found = compute(name, [LOG], [Example(inputs="", target=FOX)], ())
    assert found == pytest.approx(points, abs=0.001)


@pytest.mark.parametrize(
    ("references", "points"), [(GUIDES, 69.44), (GUIDES[1:], 62.5), (GUIDES[2:], 51.1418)]
)
def test_published_values_of_meteor(references: Sequence[str], points: float) -> None:
    found = compute("meteor", [ENSURES], examples([references]), ())
    assert found == pytest.approx(points, abs=0.01)


def test_meteor_follows_from_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of m matches in c chunks, precision p and recall r: ``p r / (0.9 p + 0.1 r) * (1 - (c / m)^3 / 2)``."""
    asked = examples([["the dogs bark at a cat."]])
    one = compute("meteor", ["The dog shout at that cat."], asked, ())
    precision, recall = (
        5 / 7,
        5 / 7,
    )  # the, dog (by its stem), at, cat and the stop, in three chunks
    assert one == pytest.approx(
        100 * precision * recall / (0.9 * precision + 0.1 * recall) * (1 - 0.5 * (3 / 5) ** 3)
    )
    monkeypatch.setattr(written, "synonyms", lambda: Synonyms("shout", "bark"))
    both = compute("meteor", ["The dog shout at that cat."], asked, ())
    assert both == pytest.approx(100 * 6 / 7 * (1 - 0.5 * (2 / 6) ** 3))


def test_without_wordnet_meteor_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    from nltk import corpus

    class Missing:
        def ensure_loaded(self) -> None:
            raise LookupError("Resource wordnet not found")

    written.synonyms.cache_clear()
    monkeypatch.setattr(corpus, "wordnet", Missing())
    with pytest.raises(TaskError, match=r"python -m nltk\.downloader wordnet"):
        require(["meteor"])


@pytest.mark.parametrize("name", NEEDS)
def test_texts_have_as_many_references_as_they_have(name: str) -> None:
    fewer = examples([REFERENCES[0], REFERENCES[1][:1], REFERENCES[2]])
    one = examples([each[:1] for each in REFERENCES])
    values = [compute(name, SYSTEM, asked, ()) for asked in (one, fewer, examples(REFERENCES))]
    assert values == sorted(values)
    assert values[0] < values[2]
    same = compute(name, [each[1] for each in REFERENCES], examples(REFERENCES), ())
    assert same > 99.5 if name == "meteor" else same == pytest.approx(100)  # one chunk counts


@pytest.mark.parametrize("name", NEEDS)
def test_nothing_written_scores_nothing(name: str) -> None:
    assert compute(name, ["", "", ""], examples(REFERENCES), ()) == 0


def test_stems_count_for_rouge() -> None:
    stems = [Example(inputs="", target="dogs barked")]
    assert compute("rouge1", ["dog barks"], stems, ()) == pytest.approx(100)


def test_rouge_is_a_mean_over_texts_and_bleu_is_not() -> None:
    asked = examples(REFERENCES)
    each = points_of_each(["rouge1", "rougeL"], SYSTEM, asked)
    assert each is not None
    means = [compute(name, SYSTEM, asked, ()) for name in ("rouge1", "rougeL")]
    assert each.mean() == pytest.approx(np.mean(means))
    assert points_of_each(["rouge1", "bleu"], SYSTEM, asked) is None


def test_a_missing_package_is_named_before_time_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, _ in NEEDS.values():
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TaskError, match=r"need the package sacrebleu; pip install .*generation"):
        require(["accuracy", "bleu"])
    require(["accuracy"])
