"""Scores of written texts: published values, several references, and what is said without the packages."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest

from tasks.errors import TaskError
from tasks.metrics import compute, points_of_each
from tasks.task import Example
from tasks.written import NEEDS, require

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


@pytest.mark.parametrize("name", NEEDS)
def test_texts_have_as_many_references_as_they_have(name: str) -> None:
    fewer = examples([REFERENCES[0], REFERENCES[1][:1], REFERENCES[2]])
    one = examples([each[:1] for each in REFERENCES])
    values = [compute(name, SYSTEM, asked, ()) for asked in (one, fewer, examples(REFERENCES))]
    assert values == sorted(values)
    assert values[0] < values[2]
    assert compute(name, [each[1] for each in REFERENCES], examples(REFERENCES), ()) == (
        pytest.approx(100)
    )


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
