"""Figures of rankings against scikit-learn and against what chance gives when every order is counted."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from spot.errors import PromptError, RetrievalError
from spot.retrieval.evaluate import Case, _estimate, _figures, calibration, cases_of_files, evaluate
from tests.spot.retrieval.test_evidence import key_set, outcome, prompt_of

RNG = np.random.default_rng(0)
SCORES = {"s0": 60.0, "s1": 72.0, "s2": 65.0, "s3": 71.0}


def case(scores: dict[str, float] | None = None, target: str = "t0", **changes: object) -> Case:
    fields = {"target": target, "family": "", "query": prompt_of(9), "scores": scores or SCORES, "keys": key_set(4, [])}
    return Case(**fields | changes)  # type: ignore[arg-type]


def test_a_ranking_that_knows_the_scores_has_nothing_to_regret() -> None:
    figures = _figures(case(), SCORES, (1, 3), RNG)
    assert figures == {
        "regret@1": 0, "hit@1": 1, "nDCG@1": 1, "regret@3": 0, "hit@3": 1, "nDCG@3": 1, "rank correlation": 1,
    }  # fmt: skip


def test_regret_and_hits_are_counted_in_points_and_shares() -> None:
    figures = _figures(case(), {"s0": 4, "s3": 3, "s1": 2, "s2": 1}, (1, 2, 9), RNG)
    assert (figures["regret@1"], figures["regret@2"], figures["regret@9"]) == (12, 1, 0)
    assert (figures["hit@1"], figures["hit@2"], figures["hit@9"]) == (0, 0, 1)
    assert figures["rank correlation"] < 0


@pytest.mark.parametrize("k", [1, 2, 4])
def test_discounted_gain_is_that_of_scikit_learn(k: int) -> None:
    worth = {source: float(RNG.normal()) for source in SCORES}
    gains = np.array(list(SCORES.values())) - min(SCORES.values())
    expected = ndcg_score([gains], [list(worth.values())], k=k)
    assert _figures(case(), worth, (k,), RNG)[f"nDCG@{k}"] == pytest.approx(expected)


def test_where_all_are_held_equal_the_figures_are_those_of_chance() -> None:
    figures = _figures(case(), dict.fromkeys(SCORES, 0.0), (2,), np.random.default_rng(0))
    pairs = [max(pair) for pair in itertools.combinations(SCORES.values(), 2)]
    assert figures["regret@2"] == pytest.approx(72 - np.mean(pairs), abs=0.6)
    assert figures["hit@2"] == pytest.approx(0.5, abs=0.1)
    assert figures["rank correlation"] == 0


def test_seeds_of_a_target_count_as_one_and_targets_are_drawn() -> None:
    found = _estimate([0.0, 0.0, 0.0, 9.0], ["a", "a", "a", "b"], draws=2000, seed=0)
    assert (found.mean, found.low, found.high) == (4.5, 0.0, 9.0)


def test_the_best_on_average_is_judged_by_other_targets_alone() -> None:
    cases = [case({"s0": 1.0, "s1": 2.0}, "a"), case({"s0": 9.0, "s1": 2.0}, "b"), case({"s0": 8.0, "s1": 2.0}, "c")]
    figures = evaluate(cases, ["average"], k=[1])["best on average"]
    assert figures["regret@1"].mean == pytest.approx(1 / 3)
    alone = evaluate(cases[:1], [], k=[1])["best on average"]
    assert alone["regret@1"].mean == pytest.approx(0.5, abs=0.15)


def test_the_same_family_is_a_baseline_only_where_families_are_known() -> None:
    assert "same family" not in evaluate([case()], ["average"])
    assert "same family" in evaluate([case(family="toy")], ["average"])


def test_intervals_are_judged_against_gains_over_the_baseline() -> None:
    keys = key_set(4, [outcome(t, s, 0.0) for t in range(1, 6) for s in range(4)])
    level = case(keys=keys, baseline=66.0)
    assert calibration([level]).pairs == 4
    surprised = case(dict.fromkeys(SCORES, 166.0), keys=keys, baseline=66.0)
    assert calibration([surprised]).covered == 0
    with pytest.raises(RetrievalError, match="without transfer"):
        calibration([case()])


def test_nothing_to_judge_by_is_an_error() -> None:
    with pytest.raises(RetrievalError, match="--method oracle"):
        evaluate([], ["average"])
    with pytest.raises(RetrievalError, match="'euclidean' is not known"):
        evaluate([case()], ["euclidean"])


# -- other people's studies ----------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Path]:
    folder, scores = tmp_path / "prompts", tmp_path / "scores.json"
    folder.mkdir()
    for i, task in enumerate(("mnli", "rte", "sst2")):
        np.save(folder / f"{task}.npy", prompt_of(7, i))
    scores.write_text(json.dumps({"rte": {"mnli": 70, "sst2": 60, "rte": 99}, "mnli": {"sst2": 1}}), encoding="utf-8")
    return folder, scores


def test_a_folder_of_prompts_and_a_matrix_are_cases(study: tuple[Path, Path]) -> None:
    (found,) = cases_of_files(*study)  # a target with one source says nothing
    assert (found.target, found.scores) == ("rte", {"mnli": 70.0, "sst2": 60.0})
    assert np.array_equal(found.query, prompt_of(7, 1))
    assert [key.task for key in found.keys.keys] == ["mnli", "sst2"]
    assert set(evaluate([found], ["average", "matching"])) == {"average", "matching", "random", "best on average"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ('["rte"]', "expected JSON"),
        ('{"rte": {"mnli": "high"}}', "expected JSON"),
        ('{"rte": {"mnli": NaN, "sst2": 1}}', "no finite score of rte from mnli"),
        ('{"rte": {"boolq": 1, "sst2": 1}}', "no prompt of boolq"),
    ],
)
def test_a_matrix_that_cannot_be_used_is_refused(study: tuple[Path, Path], content: str, message: str) -> None:
    folder, scores = study
    scores.write_text(content, encoding="utf-8")
    with pytest.raises(RetrievalError, match=message):
        cases_of_files(folder, scores)


def test_prompts_that_cannot_be_compared_are_refused(study: tuple[Path, Path]) -> None:
    folder, scores = study
    np.save(folder / "sst2.npy", np.ones((2, 5), np.float32))
    with pytest.raises(RetrievalError, match="different shapes"):
        cases_of_files(folder, scores)
    (folder / "sst2.npy").write_bytes(b"no array")
    with pytest.raises(PromptError, match=r"sst2\.npy"):
        cases_of_files(folder, scores)
