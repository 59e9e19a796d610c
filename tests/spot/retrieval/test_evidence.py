"""Evidence: similarity without history, donors with one, never worse than similarity, intervals that hold."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from bank import Bank, CandidateRecord, Outcome, Partition, TransferRecord
from bank.keys import keys_of_prompts
from bank.vectors import average
from spot.retrieval import evidence, fitting
from spot.retrieval.bootstrap import Estimate
from spot.retrieval.evidence import COVERAGE, PRIOR, Model, Pairs, Parts
from spot.retrieval.fitting import beats_similarity, fit, likeliest
from spot.retrieval.history import expected_gains, learn
from spot.retrieval.keys import Context, KeySet
from spot.retrieval.measures import MEASURES
from spot.retrieval.rank import Retriever
from spot.retrieval.similarity import unit_rows
from tests.bank.conftest import run_of
from tests.closeness import assert_close

LENGTH, WIDTH = 3, 8


def prompt_of(*seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(LENGTH, WIDTH)).astype(np.float32)


def key_set(
    sources: int,
    outcomes: list[Outcome],
    context: Context | None = None,
    seeds: tuple[int, ...] = (0,),
) -> KeySet:
    prompts = {f"s{i}": prompt_of(1, i) for i in range(sources)} | {
        f"t{i}": prompt_of(2, i) for i in range(40)
    }
    prompts |= {
        f"s{i}/{seed}": prompt_of(1, i, seed) for i in range(sources) for seed in seeds if seed
    }
    addresses = [f"s{i}/{seed}" if seed else f"s{i}" for i in range(sources) for seed in seeds]
    keys = keys_of_prompts(
        [f"s{i}" for i in range(sources) for _seed in seeds],
        [prompts[address] for address in addresses],
        addresses=addresses,
        seeds=seeds * sources,
    )
    return KeySet(keys, prompts.__getitem__, lambda: outcomes, context)


def outcome(target: int, source: int, gain: float, seed: int = 0, **changes: object) -> Outcome:
    fields: dict[str, object] = {
        "target": f"t{target}",
        "target_family": "toy",
        "seed": seed,
        "query": f"t{target}",
        "source": f"s{source}",
        "source_family": "toy",
        "source_run": f"s{source}",
        "score": 50 + gain,
        "baseline": 50.0,
    }
    return Outcome(**fields | changes)  # type: ignore[arg-type]


def estimates(keys: KeySet) -> list[Estimate]:
    gains = expected_gains(QUERY, keys)
    return [gains.estimate(source) for source in range(len(keys.tasks))]


def means(query: np.ndarray, keys: KeySet) -> np.ndarray:
    return expected_gains(query, keys).mean


def similarity(query: np.ndarray, keys: KeySet) -> np.ndarray:
    cosines: np.ndarray = unit_rows(keys.average) @ unit_rows(average(query)[None])[0]
    return cosines


QUERY = prompt_of(3)
DONOR = [
    outcome(t, s, 8.0 * (s == 2) + 0.1 * ((3 * t + s) % 5)) for t in range(12) for s in range(6)
]
"""A history in which one source helps every target."""


def pairs_of(
    rng: np.random.Generator, targets: int = 6, sources: int = 5, tried: float = 0.8
) -> Pairs:
    target, source = np.nonzero(rng.random((targets, sources)) < tried)
    count = len(target)
    return Pairs(
        targets=unit_rows(rng.normal(size=(targets, 4))),
        sources=unit_rows(rng.normal(size=(sources, 4))),
        target=target,
        source=source,
        similarity=rng.normal(size=count),
        gains=rng.normal(size=count),
        counts=rng.integers(1, 4, size=count).astype(float),
    )


# -- what ranks ----------------------------------------------------------------------------------------------


def test_without_history_the_ranking_is_that_of_similarity() -> None:
    keys = key_set(6, [])
    assert np.argsort(-means(QUERY, keys)).tolist() == np.argsort(-similarity(QUERY, keys)).tolist()
    assert keys.once(learn).silence
    assert keys.once(learn).silence == "no history for this target; ranked by average"


def test_a_donor_that_helps_every_target_is_preferred_once_enough_have_said_so() -> None:
    expected = means(QUERY, key_set(6, DONOR))
    assert expected[2] > 4 + np.delete(expected, 2).max()
    assert not key_set(6, DONOR).once(learn).silence
    one = key_set(6, [o for o in DONOR if o.target == "t0"])
    assert np.argsort(-means(QUERY, one)).tolist() == np.argsort(-similarity(QUERY, one)).tolist()


def test_a_source_that_helped_targets_like_this_one_is_preferred() -> None:
    near = {f"t{i}": QUERY + 0.1 * prompt_of(4, i) for i in range(5)}
    far = {f"t{i}": -QUERY + 0.1 * prompt_of(4, i) for i in range(5, 10)}
    history = [
        outcome(t, s, 6.0 if (s == 0) == (t < 5) else -6.0)
        for t in range(10)
        for s in range(4)
        if s < 2
    ]
    keys = key_set(4, history)
    known = keys.prompt
    keys.prompt = lambda address: (near | far)[address] if address in near | far else known(address)
    helped, harmed, *_ = means(QUERY, keys)
    assert helped > harmed + 5


def test_outcomes_without_a_baseline_or_of_unknown_sources_are_left_out() -> None:
    odd = [
        outcome(0, 1, 9.0, baseline=None),
        outcome(1, 1, 9.0, source_run="x"),
        outcome(2, 1, math.nan),
    ]
    assert estimates(key_set(4, odd)) == estimates(key_set(4, []))


def test_a_target_is_no_donor_to_itself() -> None:
    own = [dataclasses.replace(outcome(0, 1, 9.0), target="s1")]
    assert key_set(4, own).once(learn).silence == "no history for this target; ranked by average"


def test_levels_and_spreads_of_targets_make_no_donor() -> None:
    """A source tried where everything helps is not better for it, and one target of tens of points does not rule."""
    level = [outcome(t, s, 30.0 * (t % 2)) for t in range(12) for s in range(6) if s < 3 or t % 2]
    expected = means(QUERY, key_set(6, level))
    assert np.argsort(-expected).tolist() == np.argsort(-means(QUERY, key_set(6, []))).tolist()
    loud = [outcome(20, s, 60.0 * (s == 4)) for s in range(6)]
    assert means(QUERY, key_set(6, DONOR + loud)).argmax() == 2


def test_gains_in_other_units_rank_alike() -> None:
    tenfold = [dataclasses.replace(o, score=50 + 10 * (o.score - 50)) for o in DONOR]
    for history in (DONOR, tenfold):
        assert means(QUERY, key_set(6, history)).argmax() == 2


# -- bounded by similarity -----------------------------------------------------------------------------------


def regrets(
    worlds: int, *, donor: float, slope: float, targets: int = 9, sources: int = 8
) -> np.ndarray:
    """``[worlds, 2]`` relative regret@1 of evidence and of similarity for a target that the history does not hold."""
    found = []
    for world in range(worlds):
        rng = np.random.default_rng([7, world])
        blank = key_set(sources, [])
        queries = [prompt_of(2, t) for t in range(targets)]
        like = np.stack([similarity(query, blank) for query in queries])
        like = (like - like.mean(axis=1, keepdims=True)) / like.std(axis=1, keepdims=True)
        order = rng.permutation(sources)
        truth = (
            slope * like
            + donor * np.linspace(-1.5, 1.5, sources)[order]
            + 2 * rng.normal(size=(targets, 1))
        )
        seen = truth + rng.normal(size=truth.shape)
        history = [outcome(t, s, seen[t, s]) for t in range(1, targets) for s in range(sources)]
        ranked = means(queries[0], key_set(sources, history))
        best, span = truth[0].max(), np.ptp(truth[0])
        found.append([(best - truth[0][values.argmax()]) / span for values in (ranked, like[0])])
    return np.array(found)


def test_where_sources_differ_as_donors_evidence_regrets_less_than_similarity() -> None:
    evidence_, similarity_ = regrets(12, donor=2.0, slope=0.0).mean(axis=0)
    assert evidence_ < 0.15 < 0.35 < similarity_


def test_where_only_similarity_counts_evidence_is_no_worse_than_it() -> None:
    evidence_, similarity_ = regrets(25, donor=0.0, slope=1.0).mean(axis=0)
    assert similarity_ == 0
    assert evidence_ < 0.02


def test_a_history_that_says_nothing_leaves_the_order_of_similarity() -> None:
    rng = np.random.default_rng(3)
    noise = [outcome(t, s, float(rng.normal())) for t in range(10) for s in range(6)]
    keys = key_set(6, noise)
    assert np.argsort(-means(QUERY, keys)).tolist() == np.argsort(-similarity(QUERY, keys)).tolist()
    assert (
        "(60 pairs, 10 targets) does not order sources better than similarity does"
        in keys.once(learn).silence
    )


def test_a_history_against_similarity_that_is_too_short_does_not_turn_it_round() -> None:
    blank = key_set(6, [])
    history = [
        outcome(t, s, -9.0 * float(similarity(prompt_of(2, t), blank)[s]))
        for t in range(3)
        for s in range(6)
    ]
    keys = key_set(6, history)
    assert np.argsort(-means(QUERY, keys)).tolist() == np.argsort(-similarity(QUERY, keys)).tolist()


def test_few_targets_and_chance_do_not_beat_similarity() -> None:
    rng = np.random.default_rng(0)
    pairs = pairs_of(rng, targets=12, sources=6, tried=1.0)
    assert beats_similarity(pairs.gains, pairs)
    few = pairs.only(np.arange(3))
    assert not beats_similarity(few.gains, few)
    assert not beats_similarity(pairs.similarity, pairs)
    held = [beats_similarity(rng.normal(size=72), pairs_of(rng, 12, 6, 1.0)) for _ in range(200)]
    assert np.mean(held) < 0.11


# -- what counts as history ----------------------------------------------------------------------------------


def test_only_outcomes_of_the_targets_own_number_of_training_examples_count() -> None:
    small = [dataclasses.replace(o, train_limit=64) for o in DONOR]
    large = [
        outcome(int(o.target[1:]), int(o.source[1:]), 50 - o.score, train_limit=0) for o in DONOR
    ]
    for limit, alone in ((64, small), (0, large)):
        context = Context(train_limit=limit)
        assert estimates(key_set(6, small + large, context)) == estimates(key_set(6, alone))
    other = key_set(6, small, Context(train_limit=256))
    assert other.once(learn).silence == "no history for this target; ranked by average"
    unknown = key_set(6, small + large)
    assert "several numbers of training examples (all, 64)" in unknown.once(learn).silence
    assert not key_set(6, small).once(learn).silence


def test_whom_a_race_left_over_teaches_nothing(tmp_path: Path) -> None:
    """Survivors of halving were chosen by their scores: sources that do nothing would seem to help by over a point."""
    rng = np.random.default_rng(0)
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        sources = [bank.record_run(run_of(f"s{i}")) for i in range(8)]
        left_over = []
        for t in range(12):
            scores = 50 + rng.normal(size=9)
            query = bank.record_run(run_of(f"t{t}", role="baseline", score=50.0))
            for budget, method in (("halving", "best"), ("full", "oracle")):
                ends = [budget == "full" or score == scores[:8].max() for score in scores[:8]]
                candidates = [
                    CandidateRecord(
                        source_run=source,
                        similarity=0.1,
                        weight=1.0,
                        score=score,
                        run=query if end else None,
                    )
                    for source, score, end in zip(sources, scores, ends, strict=False)
                ]
                if budget == "halving":
                    left_over += [c.score - 50.0 for c in candidates if c.run and c.score]
                elif t >= 6:
                    continue
                bank.record_transfer(
                    TransferRecord(
                        task=f"t{t}",
                        method=method,
                        similarity="average",
                        single=method != "average",
                        seed=0,
                        metric="score",
                        query_run=query,
                        baseline_run=query,
                        chosen_run=query,
                        outcome_metrics={},
                        budget=budget,
                        candidates=candidates,
                    )
                )
        partition = Partition.of(run_of("s0").identity.recipe)
        outcomes = bank.outcomes(partition)
        gains = [o.score - (o.baseline or 0.0) for o in outcomes]
        assert np.mean(left_over) > 1.0
        assert {o.target for o in outcomes} == {f"t{t}" for t in range(6)}
        assert abs(np.mean(gains)) < 0.4
        keys = KeySet.from_bank(bank, partition)
        assert abs(expected_gains(run_of("new").key.prompt, keys).mean.mean()) < 0.4  # type: ignore[union-attr]


# -- one source, one number ----------------------------------------------------------------------------------


def test_keys_of_a_source_share_the_number_that_ranks_it() -> None:
    keys = key_set(6, DONOR, seeds=(0, 1, 2))
    expected, scores = expected_gains(QUERY, keys), MEASURES["evidence"](QUERY, keys)
    assert len(expected.mean) == 6
    for task, score in zip(keys.keys.tasks, scores, strict=True):
        assert score == expected.estimate(keys.number[task]).mean


@pytest.mark.parametrize("aggregate", ["mean", "max", "none"])
def test_what_is_shown_for_a_source_is_what_ranks_it(tmp_path: Path, aggregate: str) -> None:
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        for i in range(4):
            for seed in range(2):
                bank.record_run(run_of(f"s{i}", seed))
        retriever = Retriever(bank, Partition.of(run_of().identity.recipe))
        query = run_of("new").value.prompt
        for source in retriever.rank(query, measure="evidence", aggregate=aggregate):
            assert source.expected is not None
            assert source.similarity == source.expected.mean
        assert "evidence: no history for this target; ranked by average" in retriever.cautions(
            query, measure="evidence"
        )


# -- the mathematics -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop", [(), ("donor", "pair")])
def test_the_gradient_is_that_of_finite_differences(drop: tuple[str, ...]) -> None:
    parts = Parts(pairs_of(np.random.default_rng(1)))
    scales = {name: 0.0 if name in drop else 1.3 * middle for name, middle in PRIOR.items()}
    _, slope = parts.log_posterior(scales)
    for name in set(scales) - set(drop):
        step = 1e-5
        higher, lower = (
            parts.log_posterior(scales | {name: scales[name] * math.exp(sign * step)})[0]
            for sign in (1, -1)
        )
        assert_close(
            2 * step * slope[name], higher - lower, terms=1000, dtype=np.float64, scale=abs(higher)
        )


def conditional(
    pairs: Pairs, own: np.ndarray, scales: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of some pairs' relative gains given the others, from the joint Gaussian."""
    joint, parts = Parts(pairs).covariance(scales), Parts(pairs)
    solve = joint[np.ix_(own, ~own)] @ np.linalg.inv(joint[np.ix_(~own, ~own)])
    prior = evidence.PRIOR_SLOPE * pairs.similarity
    mean = prior[own] + solve @ parts.rest[~own]
    return mean, np.sqrt(np.diag(joint[np.ix_(own, own)] - solve @ joint[np.ix_(~own, own)]))


def test_leaving_a_target_out_is_conditioning_on_the_others() -> None:
    pairs = pairs_of(np.random.default_rng(2))
    mean, deviation = Model(pairs).left_out()
    for target in range(len(pairs.targets)):
        own = pairs.target == target
        expected, spread = conditional(pairs, own, PRIOR)
        assert_close(mean[own], pairs.spread * expected)
        assert_close(deviation[own], pairs.spread * spread)


def test_a_prediction_is_the_conditional_of_the_joint_gaussian() -> None:
    rng = np.random.default_rng(3)
    seen = pairs_of(rng)
    count = len(seen.sources)
    target, like = unit_rows(rng.normal(size=(1, 4))), rng.normal(size=count)
    both = Pairs(
        targets=np.concatenate([seen.targets, target]),
        sources=seen.sources,
        target=np.append(seen.target, np.full(count, len(seen.targets))),
        source=np.append(seen.source, np.arange(count)),
        similarity=np.append(seen.similarity, like),
        gains=np.append(seen.gains, np.zeros(count)),
        counts=np.append(seen.counts, np.ones(count)),
    )
    own = both.target == len(seen.targets)
    both.__dict__["spreads"] = np.append(seen.spreads, np.ones(count))
    expected, spread = conditional(both, own, PRIOR)
    mean, deviation = Model(seen, speaks=True).predict(target[0], like)
    assert_close(mean, seen.spread * expected)
    assert_close(deviation, seen.spread * spread)


def test_scales_of_many_pairs_are_chosen_on_whole_targets_of_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = pairs_of(np.random.default_rng(4), targets=9, sources=5, tried=1.0)
    monkeypatch.setattr(fitting, "FIT_PAIRS", 16)
    chosen = fitting._some(pairs)
    assert len(pairs.only(chosen).gains) == 15
    assert {0, 8} <= set(chosen)
    assert all(scale > 0 for scale in likeliest(pairs, tuple(PRIOR)).values())


def test_intervals_hold_about_what_they_say_for_targets_never_seen() -> None:
    rng = np.random.default_rng(1)
    inside, total = 0, 0
    for _ in range(6):
        donor, level = rng.normal(size=8), 3 * rng.normal(size=10)
        gains = donor[None, :] * 3 + level[:, None] + 2 * rng.normal(size=(10, 8))
        history = [outcome(t, s, gains[t, s]) for t in range(9) for s in range(8)]
        expected = expected_gains(prompt_of(2, 9), key_set(8, history))
        inside += int(((expected.low <= gains[9]) & (gains[9] <= expected.high)).sum())
        total += 8
    assert inside / total > COVERAGE - 0.2


def test_two_seeds_of_a_pair_count_for_more_than_one() -> None:
    once = key_set(6, DONOR)
    thrice = key_set(6, [dataclasses.replace(o, seed=seed) for o in DONOR for seed in range(3)])
    model = once.once(learn).model
    again = dataclasses.replace(model, history=thrice.once(learn).model.history)
    assert set(again.history.counts) == {3.0}
    target, like = unit_rows(np.ones((1, WIDTH)))[0], np.zeros(6)
    assert (again.predict(target, like)[1] < model.predict(target, like)[1]).all()


# -- kept ----------------------------------------------------------------------------------------------------


def test_a_history_is_fitted_once_whoever_asks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fitting, "_FITTED", {})
    times = []
    original = fitting._fit
    monkeypatch.setattr(fitting, "_fit", lambda pairs: times.append(1) or original(pairs))
    first = estimates(key_set(6, DONOR))
    assert estimates(key_set(6, DONOR)) == first
    fitting._FITTED.clear()  # another process
    assert estimates(key_set(6, DONOR)) == first
    assert len(times) == 1
    estimates(key_set(6, DONOR[1:]))
    assert len(times) == 2


@pytest.mark.parametrize(
    "content",
    ["", "[" * 100_000, "[]", "{}", '{"scales": 3}', '{"scales": {}, "widen": 1, "speaks": true}', b"\xff", "NaN",
     json.dumps({"scales": dict(PRIOR), "widen": -1.0, "speaks": True}),
     json.dumps({"scales": dict(PRIOR) | {"noise": float("nan")}, "widen": 1.0, "speaks": True}),
     json.dumps({"scales": dict(PRIOR), "widen": 1.0, "speaks": "yes"})],
)  # fmt: skip
def test_a_damaged_cache_is_computed_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | bytes
) -> None:
    monkeypatch.setenv("SPOT_CACHE", str(tmp_path))
    monkeypatch.setattr(fitting, "_FITTED", {})
    pairs = pairs_of(np.random.default_rng(5), targets=3)
    wanted = fit(pairs)
    (file,) = (tmp_path / "evidence").iterdir()
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    fitting._FITTED.clear()
    assert fit(pairs).scales == wanted.scales


def test_a_cache_that_cannot_be_written_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPOT_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(fitting, "_FITTED", {})
    assert fit(pairs_of(np.random.default_rng(6), targets=3)).widen >= 1
