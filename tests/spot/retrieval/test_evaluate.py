"""Figures of rankings against scikit-learn and against what chance gives when every order is counted."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import ndcg_score
from threadpoolctl import threadpool_info

from bank import Bank, CandidateRecord, Partition, RunRecord, TransferRecord
from spot.errors import PromptError, RetrievalError
from spot.retrieval.bootstrap import bootstrap
from spot.retrieval.cases import Case, cases_of_bank, cases_of_files, complete_cases, telling
from spot.retrieval.evaluate import _estimate, _figures, calibration, evaluate, speaking
from spot.retrieval.keys import KeySet
from spot.retrieval.measures import MEASURES, Measure
from spot.retrieval.query import Query
from tests.bank.conftest import run_of, transfer_of
from tests.spot.retrieval.test_evidence import DONOR, key_set, outcome, prompt_of

RNG = np.random.default_rng(0)
SCORES = {"s0": 60.0, "s1": 72.0, "s2": 65.0, "s3": 71.0}


def case(scores: dict[str, float] | None = None, target: str = "t0", **changes: object) -> Case:
    fields = {
        "target": target,
        "family": "",
        "query": prompt_of(9),
        "scores": scores or SCORES,
        "keys": key_set(4, []),
    }
    return Case(**fields | changes)  # type: ignore[arg-type]


def test_a_ranking_that_knows_the_scores_has_nothing_to_regret() -> None:
    figures = _figures(case(), SCORES, (1, 3), RNG)
    assert figures == {
        "regret@1": 0, "relative regret@1": 0, "hit@1": 1, "nDCG@1": 1,
        "regret@3": 0, "relative regret@3": 0, "hit@3": 1, "nDCG@3": 1, "rank correlation": 1,
    }  # fmt: skip


def test_relative_regret_is_a_share_of_the_points_between_best_and_worst() -> None:
    worth = {"s0": 4, "s3": 3, "s1": 2, "s2": 1}
    narrow = {source: 60 + (score - 60) / 100 for source, score in SCORES.items()}
    for scores in (SCORES, narrow):
        figures = _figures(case(scores), worth, (1, 2, 3), RNG)
        assert figures["relative regret@1"] == pytest.approx(1)
        assert figures["relative regret@2"] == pytest.approx(1 / 12)
        assert figures["relative regret@3"] == 0
    alike = _figures(case(dict.fromkeys(SCORES, 50.0)), worth, (1,), RNG)
    assert (alike["regret@1"], alike["relative regret@1"]) == (0, 0)


def test_gains_are_over_no_transfer_where_that_is_known() -> None:
    worth = {"s0": 4, "s3": 3, "s1": 2, "s2": 1}
    figures = _figures(case(baseline=62.0), worth, (1, 2), RNG)
    assert (figures["gain@1"], figures["gain@2"]) == (-2, 9)
    assert "gain@1" not in _figures(case(), worth, (1,), RNG)


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


def test_a_single_target_has_no_interval() -> None:
    found = _estimate([1.0, 3.0], ["a", "a"], draws=50, seed=0)
    assert found.mean == 2
    assert not found.sure
    assert np.isnan([found.low, found.high]).all()
    assert str(found) == "2.00"
    two = bootstrap(lambda rows: float(rows.mean()), 2, draws=50)
    assert two.sure
    assert str(two) == "0.50 [0.00, 1.00]"


def test_restarts_are_the_best_of_as_many_runs_without_transfer() -> None:
    figures = evaluate([case(baseline=61.0, restarts=[61.0, 62.0, 66.0])], [], k=[1, 2, 3])[
        "restarts"
    ]
    assert {name: estimate.mean for name, estimate in figures.items()} == pytest.approx(
        {"gain@1": 0.0, "gain@2": (62 + 66 + 66) / 3 - 63, "gain@3": 3.0}
    )
    assert "restarts" not in evaluate([case()], [], k=[1])
    two = evaluate([case(baseline=61.0, restarts=[61.0, 62.0])], [], k=[1, 2, 3])["restarts"]
    assert set(two) == {"gain@1", "gain@2"}


def test_random_sources_are_the_best_of_as_many_drawn() -> None:
    figures = evaluate([case(baseline=62.0)], [], k=[2])["random"]
    pairs = [max(pair) for pair in itertools.combinations(SCORES.values(), 2)]
    assert figures["gain@2"].mean == pytest.approx(np.mean(pairs) - 62, abs=0.6)


def test_a_head_of_all_sources_is_no_choice() -> None:
    cases = [case(), case({"s0": 1.0, "s1": 2.0, "s2": 3.0}, "t1")]
    assert telling([1, 2, 3, 9], cases) == [1, 2]
    assert telling([1], []) == []
    with pytest.raises(RetrievalError, match="k 3 is no choice among 3 sources"):
        evaluate(cases, ["average"], k=[1, 3])


def test_only_targets_whose_sources_were_all_tried_count_where_there_are_some() -> None:
    whole, part = case(), case({"s0": 1.0, "s1": 2.0}, "t1")
    assert (whole.tried, part.tried) == (1, 0.5)
    assert complete_cases([whole, part]) == [whole]
    assert complete_cases([part]) == [part]
    assert complete_cases([]) == []


def test_evidence_says_for_how_many_cases_it_has_a_history_that_speaks() -> None:
    silent, heard = case(), case(keys=key_set(6, DONOR))
    assert speaking([silent, heard]) == (1, "no history for this target; ranked by average")
    assert speaking([heard]) == (1, "")
    figures = evaluate([silent], ["average", "evidence"], k=[1])
    assert figures["average"] == figures["evidence"]


def test_cases_of_a_bank_hold_restarts_and_part_training_sizes(tmp_path: Path) -> None:
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        sources = [bank.record_run(run_of(f"s{i}")) for i in range(3)]
        for limit in (64, 256):
            for seed in range(2):
                baseline = run_of(
                    "t",
                    seed,
                    role="baseline",
                    score=50.0 + seed,
                    key=prompt_of(8, limit, seed)[:, :4],
                )
                options = {**baseline.identity.recipe.options, "train_limit": limit}
                recipe = dataclasses.replace(baseline.identity.recipe, options=options)
                identity = dataclasses.replace(baseline.identity, recipe=recipe)
                query = bank.record_run(dataclasses.replace(baseline, identity=identity))
                bank.record_transfer(
                    TransferRecord(
                        task="t",
                        method="oracle",
                        similarity="average",
                        single=True,
                        seed=seed,
                        metric="score",
                        query_run=query,
                        baseline_run=query,
                        chosen_run=query,
                        outcome_metrics={},
                        candidates=[
                            CandidateRecord(
                                source_run=source,
                                similarity=0.0,
                                weight=1.0,
                                run=query,
                                score=60.0 + limit,
                            )
                            for source in sources
                        ],
                    )
                )
        cases = cases_of_bank(bank, Partition.of(run_of().identity.recipe))
    found = sorted(
        (case.keys.context.train_limit, case.baseline, case.scores["s0"]) for case in cases
    )
    assert found == [
        (64, 50, 124), (64, 51, 124), (256, 50, 316), (256, 51, 316),
    ]  # fmt: skip
    assert all(case.restarts == [50, 51] and case.tried == 1 for case in cases)


def test_outcomes_of_another_budget_are_no_choice_among_sources(tmp_path: Path) -> None:
    def trained(steps: int, score: float, started_from: str | None = None) -> RunRecord:
        run = run_of("t", role="transfer" if started_from else "baseline", score=score)
        recipe = dataclasses.replace(run.identity.recipe, options={"steps": steps})
        identity = dataclasses.replace(run.identity, recipe=recipe, started_from=started_from)
        return dataclasses.replace(run, identity=identity, steps=steps)

    with Bank.open(tmp_path / "bank.sqlite") as bank:
        sources = [bank.record_run(run_of(f"s{i}")) for i in range(4)]
        query = bank.record_run(run_of("t", role="query"))

        def transfer(steps: int, tried: Sequence[str], score: float) -> None:
            runs = [bank.record_run(trained(steps, score, source)) for source in tried]
            candidates = [
                CandidateRecord(source_run=source, similarity=0.0, weight=1.0, run=run, score=score)
                for source, run in zip(tried, runs, strict=True)
            ]
            baseline = bank.record_run(trained(steps, score - 5))
            further = {"task": "t", "baseline_run": baseline, "candidates": candidates}
            bank.record_transfer(transfer_of(tried[0], query, runs[0], **further))

        transfer(30, sources, 60.0)
        transfer(300, sources[3:], 85.0)
        (case,) = cases_of_bank(bank, Partition.of(run_of().identity.recipe))
        assert case.scores == dict.fromkeys(["s0", "s1", "s2", "s3"], 60.0)
        assert case.baseline == 55.0
        transfer(300, sources[2:], 86.0)
        longer, shorter = sorted(
            cases_of_bank(bank, Partition.of(run_of().identity.recipe)), key=lambda c: len(c.scores)
        )
        assert (longer.scores, longer.baseline) == ({"s2": 86.0, "s3": 86.0}, 80.0)
        assert shorter.scores == case.scores


def test_the_best_on_average_is_judged_by_other_targets_alone() -> None:
    cases = [
        case({"s0": 1.0, "s1": 2.0}, "a"),
        case({"s0": 9.0, "s1": 2.0}, "b"),
        case({"s0": 8.0, "s1": 2.0}, "c"),
    ]
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


def test_linear_algebra_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def look(_query: Query, keys: KeySet) -> np.ndarray:
        threads.extend(
            pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
        )
        return np.zeros(len(keys))

    monkeypatch.setitem(MEASURES, "matching", Measure(look, "threads"))  # type: ignore[arg-type]
    evaluate([case()], ["matching"], k=[1])
    assert set(threads) == {1}


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
    scores.write_text(
        json.dumps({"rte": {"mnli": 70, "sst2": 60, "rte": 99}, "mnli": {"sst2": 1}}),
        encoding="utf-8",
    )
    return folder, scores


def test_a_folder_of_prompts_and_a_matrix_are_cases(study: tuple[Path, Path]) -> None:
    (found,), missing = cases_of_files(*study)  # a target with one source says nothing
    assert missing == []
    assert (found.target, found.scores) == ("rte", {"mnli": 70.0, "sst2": 60.0})
    assert np.array_equal(found.query, prompt_of(7, 1))
    assert found.keys.tasks == ["mnli", "sst2"]
    assert set(evaluate([found], ["average", "matching"], k=[1])) == {
        "average",
        "matching",
        "random",
        "best on average",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ('["rte"]', "expected JSON"),
        ('{"rte": {"mnli": "high"}}', "expected JSON"),
        ('{"rte": {"mnli": NaN, "sst2": 1}}', "no finite score of rte from mnli"),
    ],
)
def test_a_matrix_that_cannot_be_used_is_refused(
    study: tuple[Path, Path], content: str, message: str
) -> None:
    folder, scores = study
    scores.write_text(content, encoding="utf-8")
    with pytest.raises(RetrievalError, match=message):
        cases_of_files(folder, scores)


def test_tasks_without_a_prompt_are_left_out_and_named(study: tuple[Path, Path]) -> None:
    folder, scores = study
    rows = {"rte": {"mnli": 70, "sst2": 60, "boolq": 99}, "qnli": {"mnli": 1, "sst2": 2}}
    scores.write_text(json.dumps(rows), encoding="utf-8")
    (found,), missing = cases_of_files(folder, scores)
    assert (found.target, found.scores, missing) == (
        "rte",
        {"mnli": 70.0, "sst2": 60.0},
        ["qnli", "boolq"],
    )
    assert found.tried == 1
    with pytest.raises(PromptError, match="no such folder"):
        cases_of_files(folder / "elsewhere", scores)


def test_other_rows_of_a_matrix_are_the_history_of_a_target(tmp_path: Path) -> None:
    tasks = [f"task{i}" for i in range(8)]
    for i, task in enumerate(tasks):
        np.save(tmp_path / f"{task}.npy", prompt_of(7, i))
    matrix = {
        t: {s: 40.0 + 9 * (s == "task3") + 0.1 * i for i, s in enumerate(tasks)} for t in tasks
    }
    (tmp_path / "scores.json").write_text(json.dumps(matrix), encoding="utf-8")
    cases, _missing = cases_of_files(tmp_path, tmp_path / "scores.json")
    for one in cases:
        assert (
            "task3" not in one.keys.number
            or max(one.worth("evidence"), key=one.worth("evidence").__getitem__) == "task3"
        )
        assert one.target not in {outcome.target for outcome in one.keys.history()}


def test_prompts_that_cannot_be_compared_are_refused(study: tuple[Path, Path]) -> None:
    folder, scores = study
    np.save(folder / "sst2.npy", np.ones((2, 5), np.float32))
    with pytest.raises(RetrievalError, match="different shapes"):
        cases_of_files(folder, scores)
    (folder / "sst2.npy").write_bytes(b"no array")
    with pytest.raises(PromptError, match=r"sst2\.npy"):
        cases_of_files(folder, scores)
