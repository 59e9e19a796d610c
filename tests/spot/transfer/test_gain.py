"""The paired bootstrap: what it must say of answers whose gain is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from spot.retrieval.bootstrap import Estimate
from spot.transfer.gain import Gain, _groups, paired_gain
from tasks import get_task
from tasks.task import Example

SST2 = get_task("sst2")
MRPC = get_task("mrpc")


def examples(count: int, group: str = "") -> list[Example]:
    choices = ("negative", "positive")
    groups = [f"{group}{i // 5}" if group else "" for i in range(count)]
    return [
        Example(inputs=str(i), target="positive", choices=choices, group=of)
        for i, of in enumerate(groups)
    ]


def answers(right: np.ndarray) -> list[str]:
    return ["positive" if one else "negative" for one in right]


def test_equal_answers_gain_nothing() -> None:
    same = [answers(np.arange(50) % 3 > 0)]
    gain = paired_gain(SST2, examples(50), same, same)
    assert (gain.mean, gain.low, gain.high) == (0.0, 0.0, 0.0)


def test_the_interval_of_one_seed_is_that_of_a_paired_mean() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(400) < 0.8, rng.random(400) < 0.7
    gain = paired_gain(SST2, examples(400), [answers(ours)], [answers(theirs)], draws=4000)
    differences = 100 * (ours.astype(float) - theirs)
    normal = stats.norm.interval(0.95, differences.mean(), differences.std() / 20)
    assert gain.mean == pytest.approx(differences.mean())
    assert (gain.low, gain.high) == pytest.approx(normal, abs=0.5)


def test_seeds_that_disagree_widen_the_interval() -> None:
    half = np.arange(200) % 2 == 0
    better, alike = np.ones(200, bool), half
    steady = paired_gain(SST2, examples(200), [answers(better)] * 3, [answers(half)] * 3)
    mixed = paired_gain(
        SST2, examples(200), [answers(s) for s in (better, alike, better)], [answers(half)] * 3
    )
    assert mixed.high - mixed.low > 2 * (steady.high - steady.low)


def test_a_group_is_drawn_whole() -> None:
    right = np.repeat(np.arange(20) % 2 == 0, 5)
    ours, none = [answers(right)], [answers(np.zeros(100, bool))]
    apart = paired_gain(SST2, examples(100), ours, none)
    together = paired_gain(SST2, examples(100, "g"), ours, none)
    assert together.high - together.low > 1.8 * (apart.high - apart.low)


def test_a_group_that_is_drawn_twice_counts_twice() -> None:
    """The mean over groups varies as the mean of as many single examples does: by sqrt(p (1 - p) / n)."""
    multirc = get_task("multirc")
    metric = dataclasses.replace(multirc, metrics=("group_exact_match",))
    rows = [
        Example(inputs=str(i), target="True", choices=("True", "False"), group=str(i // 2))
        for i in range(600)
    ]
    right = ["True" if i // 2 % 2 else "False" for i in range(600)]
    found = paired_gain(metric, rows, [right], [["False"] * 600])
    expected = 2 * 1.96 * 100 * np.sqrt(0.5 * 0.5 / 300)
    assert found.mean == 50
    assert 0.93 < (found.high - found.low) / expected < 1.07


def test_rows_of_wsc_are_drawn_one_by_one_whatever_their_label() -> None:
    wsc = get_task("wsc")
    rows = []
    for i in range(104):
        span = {"span1_text": "Ann", "span2_text": "she", "span2_index": 3}
        rows += wsc.formatter({"text": f"Ann left as she did {i}", "target": span, "label": i < 38})
    assert {example.label for example in rows} == {"True", "False"}
    assert [len(members) for members in _groups(rows)] == [1] * 104
    right = np.arange(104) < 38
    ours = [["Ann" if one else "" for one in right]]
    gain = paired_gain(wsc, rows, ours, [[""] * 104], draws=4000)
    deviation = 100 * float(np.std(right)) / 104**0.5
    assert gain.mean == pytest.approx(100 * 38 / 104)
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)


def test_a_score_that_is_no_mean_over_examples_is_computed_anew_for_every_draw() -> None:
    few = [
        Example(inputs=str(i), target=MRPC.labels[i % 2], choices=MRPC.labels) for i in range(20)
    ]
    right, wrong = [example.target for example in few], [MRPC.labels[1]] * 20
    gain = paired_gain(MRPC, few, [right], [wrong], draws=50)
    assert gain.mean == pytest.approx(
        MRPC.score(right, few)["score"] - MRPC.score(wrong, few)["score"]
    )
    assert gain.low < gain.mean < gain.high


@pytest.mark.parametrize(
    ("without", "with_transfer", "verdict"),
    [
        ([38.0, 40.0], [61.0, 62.0], "neither is above the most frequent answer"),
        (
            [70.0, 72.0],
            [61.0, 62.0],
            "with transfer the score is not above the most frequent answer",
        ),
        ([38.0, 40.0], [70.0, 71.0], ""),
        ([70.0, 72.0], [75.0, 76.0], ""),
    ],
)
def test_a_gain_stands_beside_the_most_frequent_answer(
    without: list[float], with_transfer: list[float], verdict: str
) -> None:
    mean = float(np.mean(with_transfer) - np.mean(without))
    gain = Gain(
        target="reviews",
        without=without,
        with_transfer=with_transfer,
        gain=Estimate(mean=mean, low=mean - 1, high=mean + 1),
        floor=62.0,
    )
    assert gain.verdict.startswith(verdict)
    assert bool(gain.verdict) == bool(verdict)
    assert "most frequent answer 62.00" in gain.line()
    assert gain.line().endswith(gain.verdict or "62.00")
