"""Evidence: similarity without history, donors with one, and intervals that hold what they say."""

from __future__ import annotations

import dataclasses

import numpy as np

from bank import Key, Outcome
from bank.vectors import average, average_normalized
from spot.retrieval.evidence import LEVEL, PRIOR, Expected, Facts, Model, covariance, expected_gains
from spot.retrieval.measures import KeySet
from spot.retrieval.similarity import unit_rows
from tests.closeness import assert_close

LENGTH, WIDTH = 3, 8


def prompt_of(*seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(LENGTH, WIDTH)).astype(np.float32)


def key_set(sources: int, outcomes: list[Outcome]) -> KeySet:
    prompts = {f"s{i}": prompt_of(1, i) for i in range(sources)} | {f"t{i}": prompt_of(2, i) for i in range(20)}
    keys = [
        Key(
            task=name,
            task_family="toy",
            seed=0,
            run=name,
            prompt=name,
            value=name,
            average=average(prompts[name]),
            average_normalized=average_normalized(prompts[name]),
        )
        for name in list(prompts)[:sources]
    ]
    return KeySet(keys, prompts.__getitem__, lambda: outcomes)


def outcome(target: int, source: int, gain: float, seed: int = 0) -> Outcome:
    return Outcome(
        target=f"t{target}",
        target_family="toy",
        seed=seed,
        query=f"t{target}",
        source=f"s{source}",
        source_family="toy",
        source_run=f"s{source}",
        score=50 + gain,
        baseline=50.0,
    )


def means(expected: list[Expected]) -> np.ndarray:
    return np.array([one.mean for one in expected])


QUERY = prompt_of(3)


def test_without_history_the_ranking_is_that_of_similarity() -> None:
    keys = key_set(6, [])
    similarity = unit_rows(keys.average) @ unit_rows(average(QUERY)[None])[0]
    assert np.argsort(-means(expected_gains(QUERY, keys))).tolist() == np.argsort(-similarity).tolist()


def test_a_little_history_moves_little_and_much_history_much() -> None:
    def gain_of_donor(targets: int) -> float:
        history = [outcome(t, s, 8.0 * (s == 2)) for t in range(targets) for s in range(6)]
        expected = means(expected_gains(QUERY, key_set(6, history)))
        return float(expected[2] - np.delete(expected, 2).mean())

    none, few, many = gain_of_donor(0), gain_of_donor(1), gain_of_donor(12)
    assert none < few < many
    assert many > 4


def test_a_source_that_helped_targets_like_this_one_is_preferred() -> None:
    near = {f"t{i}": QUERY + 0.1 * prompt_of(4, i) for i in range(5)}
    far = {f"t{i}": -QUERY + 0.1 * prompt_of(4, i) for i in range(5, 10)}
    history = [outcome(t, s, 6.0 if (s == 0) == (t < 5) else -6.0) for t in range(10) for s in (0, 1)]
    keys = key_set(2, history)
    known = keys.prompt
    keys.prompt = lambda address: (near | far)[address] if address in near | far else known(address)
    helped, harmed = means(expected_gains(QUERY, keys))
    assert helped > harmed + 5


def test_outcomes_without_a_baseline_or_of_unknown_sources_are_left_out() -> None:
    odd = [
        dataclasses.replace(outcome(0, 1, 9.0), baseline=None),
        dataclasses.replace(outcome(1, 1, 9.0), source_run="x"),
    ]
    assert expected_gains(QUERY, key_set(4, odd)) == expected_gains(QUERY, key_set(4, []))


def test_prediction_is_the_conditional_of_the_joint_gaussian() -> None:
    rng = np.random.default_rng(0)

    def facts(count: int, identity: np.ndarray) -> Facts:
        return Facts(unit_rows(rng.normal(size=(count, 4))), unit_rows(rng.normal(size=(count, 4))),
                     rng.normal(size=count), identity)  # fmt: skip

    seen, new = facts(7, np.arange(7) // 2), facts(3, np.full(3, -1))
    gains, counts = rng.normal(size=7), np.array([1.0, 2, 3, 1, 1, 2, 1])
    both = Facts(*(np.concatenate([s, n]) for s, n in zip(seen, new, strict=True)))
    joint = covariance(both, both, PRIOR) + np.diag(PRIOR["noise"] ** 2 / np.concatenate([counts, np.ones(3)]))
    mean = gains.mean() + both.similarity
    solve = joint[7:, :7] @ np.linalg.inv(joint[:7, :7])
    found, deviation = Model(seen, gains, counts, dict(PRIOR)).predict(new)
    assert_close(found, mean[7:] + solve @ (gains - mean[:7]))
    assert_close(deviation, np.sqrt(np.diag(joint[7:, 7:] - solve @ joint[:7, 7:])))


def test_intervals_hold_about_what_they_say_for_targets_never_seen() -> None:
    rng = np.random.default_rng(1)
    inside, total = 0, 0
    for _ in range(4):
        donor, level = rng.normal(size=8), 3 * rng.normal(size=10)
        gains = donor[None, :] * 3 + level[:, None] + 2 * rng.normal(size=(10, 8))
        history = [outcome(t, s, gains[t, s]) for t in range(9) for s in range(8)]
        expected = expected_gains(prompt_of(2, 9), key_set(8, history))
        inside += sum(one.low <= gain <= one.high for one, gain in zip(expected, gains[9], strict=True))
        total += 8
    assert inside / total > LEVEL - 0.2


def test_two_seeds_of_a_pair_count_for_more_than_one() -> None:
    once = [outcome(t, s, 8.0 * (s == 0)) for t in range(3) for s in range(4)]
    thrice = [outcome(t, s, 8.0 * (s == 0), seed) for t in range(3) for s in range(4) for seed in range(3)]
    (first, *_), (again, *_) = expected_gains(QUERY, key_set(4, once)), expected_gains(QUERY, key_set(4, thrice))
    assert again.high - again.low < first.high - first.low
