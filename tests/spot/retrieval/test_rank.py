"""A ranking is what brute force over the stored keys gives, and only comparable keys are ranked."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bank import (
    BackboneRecord,
    Bank,
    Partition,
    RecipeRecord,
    RunIdentity,
    RunRecord,
    SnapshotRecord,
    TaskRecord,
)
from bank.identity import recipe_family
from bank.keys import keys_of_prompts
from bank.vectors import average
from spot.errors import RetrievalError
from spot.retrieval.keys import Context, KeySet
from spot.retrieval.query import Query
from spot.retrieval.rank import AGGREGATES, Ranked, Retriever, rank, weights
from spot.retrieval.similarity import SPOT_MEASURES, compare, similarity
from tests.closeness import assert_close

LENGTH, WIDTH = 4, 6
RECIPE = RecipeRecord(
    backbone=BackboneRecord(fingerprint="f" * 64, name="toy", width=WIDTH),
    prompt_length=LENGTH,
    key_step=10,
    family="a" * 64,
    options={},
)
PARTITION = Partition.of(RECIPE)
TASKS = ("boolq", "mnli", "mrpc", "sst2")
SEEDS = (0, 1, 2)


def source(
    task: str, seed: int, key: np.ndarray, recipe: RecipeRecord = RECIPE, score: float = 50.0
) -> RunRecord:
    return RunRecord(
        identity=RunIdentity(
            recipe=recipe, task=TaskRecord(name=task, family="toy"), seed=seed, role="source"
        ),
        steps=30,
        metric="accuracy",
        score=score,
        key=SnapshotRecord(prompt=key, step=10),
        value=SnapshotRecord(prompt=key + 1, step=30),
    )


@pytest.fixture(scope="module")
def keys() -> dict[tuple[str, int], np.ndarray]:
    """Keys by task and seed."""
    rng = np.random.default_rng(3)
    return {(task, seed): rng.normal(size=(LENGTH, WIDTH)) for task in TASKS for seed in SEEDS}


@pytest.fixture(scope="module")
def bank(
    tmp_path_factory: pytest.TempPathFactory, keys: dict[tuple[str, int], np.ndarray]
) -> Iterator[Bank]:
    with Bank.open(tmp_path_factory.mktemp("bank") / "bank.sqlite") as opened:
        for (task, seed), key in keys.items():
            opened.record_run(source(task, seed, key))
        yield opened


@pytest.fixture
def empty_bank() -> Iterator[Bank]:
    with Bank.open("sqlite:///:memory:") as opened:
        yield opened


def query_of(seed: int) -> np.ndarray:
    return np.random.default_rng([9, seed]).normal(size=(LENGTH, WIDTH)).astype(np.float32)


def names(ranked: list[Ranked]) -> list[tuple[str, int]]:
    return [(entry.task, entry.seed) for entry in ranked]


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("measure", SPOT_MEASURES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_ranking_equals_brute_force(
    bank: Bank, keys: dict[tuple[str, int], np.ndarray], measure: str, aggregate: str, seed: int
) -> None:
    query = query_of(seed)
    scores = {name: similarity(query, key, measure) for name, key in keys.items()}
    groups = defaultdict(list)
    for name in keys:
        groups[name if aggregate == "none" else name[0]].append(name)
    combine = max if aggregate == "max" else lambda values: float(np.mean(values))
    expected = sorted(
        ((combine([scores[name] for name in group]), min(group)) for group in groups.values()),
        reverse=True,
    )
    ranked = rank(bank, query, PARTITION, measure=measure, aggregate=aggregate)
    assert names(ranked) == [name for _, name in expected]
    assert [entry.rank for entry in ranked] == list(range(1, len(expected) + 1))
    assert_close(
        [entry.similarity for entry in ranked], [value for value, _ in expected], scale=1.0
    )


@pytest.mark.parametrize("measure", SPOT_MEASURES)
def test_the_best_few_are_the_start_of_the_whole_ranking(bank: Bank, measure: str) -> None:
    retriever = Retriever(bank, PARTITION)
    whole = retriever.rank(query_of(0), measure=measure)
    for top_k in (1, 3, len(TASKS), 99):
        assert retriever.rank(query_of(0), measure=measure, top_k=top_k) == whole[:top_k]


def test_a_rank_names_its_run_and_carries_every_measure(bank: Bank) -> None:
    for measure in SPOT_MEASURES:
        for entry in rank(bank, query_of(1), PARTITION, measure=measure, aggregate="none"):
            stored = bank.run(entry.run)
            assert stored is not None and stored.key is not None
            assert (stored.task, stored.seed, stored.value) == (entry.task, entry.seed, entry.value)
            key = bank.prompt(stored.key)
            for each, found in entry.similarities.items():
                assert_close(found, similarity(query_of(1), key, each), scale=1.0)
            assert entry.similarity == entry.similarities[measure]


def test_a_key_is_most_similar_to_itself(
    bank: Bank, keys: dict[tuple[str, int], np.ndarray]
) -> None:
    for name, key in keys.items():
        (first,) = rank(bank, key, PARTITION, aggregate="none", top_k=1)
        assert (first.task, first.seed) == name
        assert_close(first.similarity, 1.0)


def test_excluded_tasks_are_left_out(bank: Bank) -> None:
    whole = rank(bank, query_of(2), PARTITION)
    rest = rank(bank, query_of(2), PARTITION, exclude=["mnli", "unheard of"])
    assert [entry.task for entry in rest] == [entry.task for entry in whole if entry.task != "mnli"]


def test_ties_are_broken_by_task_and_seed(empty_bank: Bank) -> None:
    key = np.ones((LENGTH, WIDTH))
    for task, seed in (("sst2", 1), ("mnli", 2), ("sst2", 0), ("mnli", 0), ("boolq", 3)):
        empty_bank.record_run(source(task, seed, key))
    for query in (query_of(0), np.zeros((LENGTH, WIDTH))):
        single = rank(empty_bank, query, PARTITION, aggregate="none")
        assert names(single) == [("boolq", 3), ("mnli", 0), ("mnli", 2), ("sst2", 0), ("sst2", 1)]
        for aggregate in ("mean", "max"):
            assert names(rank(empty_bank, query, PARTITION, aggregate=aggregate)) == [
                ("boolq", 3),
                ("mnli", 0),
                ("sst2", 0),
            ]


def test_a_retriever_reads_the_bank_once(empty_bank: Bank) -> None:
    empty_bank.record_run(source("mnli", 0, np.ones((LENGTH, WIDTH))))
    retriever = Retriever(empty_bank, PARTITION)
    empty_bank.record_run(source("sst2", 0, np.ones((LENGTH, WIDTH))))
    assert [entry.task for entry in retriever.rank(query_of(0))] == ["mnli"]
    assert [entry.task for entry in rank(empty_bank, query_of(0), PARTITION)] == ["mnli", "sst2"]


# -- seeds and starts ------------------------------------------------------------------------------------------


def world_of_starts(
    *, seeds: dict[str, tuple[int, ...]], travel: float = 0.5
) -> tuple[Retriever, list[Query]]:
    """Sources and the target ``kin``'s queries, each a little way from its seed's start in its task's direction; the
    target goes where ``right`` goes."""
    rng = np.random.default_rng(11)
    starts = {seed: rng.normal(size=(LENGTH, WIDTH)) for seed in range(4)}
    ways = {task: rng.normal(size=(LENGTH, WIDTH)) for task in seeds}

    def early(task: str, seed: int) -> np.ndarray:
        return starts[seed] + travel * (ways[task] + 0.1 * rng.normal(size=(LENGTH, WIDTH)))

    runs = [(task, seed) for task, own in seeds.items() for seed in own]
    keys = keys_of_prompts(
        [task for task, _ in runs],
        [early(task, seed) for task, seed in runs],
        addresses=[f"{task} {seed}" for task, seed in runs],
        seeds=[seed for _, seed in runs],
        scores=[50.0 + seed for _, seed in runs],
    )
    context = Context(start=lambda seed: average(starts[seed]))
    retriever = Retriever.__new__(Retriever)
    retriever.partition, retriever.key_set = (
        PARTITION,
        KeySet(keys, lambda _: starts[0], context=context),
    )
    retriever.keys = retriever.key_set.keys
    return retriever, [Query(early("right", seed), average(starts[seed])) for seed in range(3)]


def test_the_right_source_of_another_seed_comes_first_by_displacement_and_not_by_average() -> None:
    retriever, queries = world_of_starts(
        seeds={"right": (1,), "left": (0,), "up": (0,), "down": (0,)}
    )
    by_average = retriever.rank(queries[0], measure="average")
    assert by_average[-1].task == "right", "the others started where the query did"
    for query in queries:
        assert retriever.rank(query, measure="displacement")[0].task == "right"
        assert retriever.measure("auto", query) == "displacement"
        assert retriever.rank(query) == retriever.rank(query, measure="displacement")


def test_only_seeds_that_all_sources_share_are_compared() -> None:
    uneven, queries = world_of_starts(seeds={"right": (0, 1, 2), "left": (1,), "up": (1, 3)})
    for query in queries:
        of_seed_one = {
            task: float(compare(query.average, vector[None], "average")[0])
            for task, seed, vector in zip(
                uneven.keys.tasks, uneven.keys.seeds, uneven.key_set.average, strict=True
            )
            if seed == 1
        }
        ranked = {entry.task: entry.similarity for entry in uneven.rank(query, measure="average")}
        assert ranked.keys() == of_seed_one.keys()
        assert_close([ranked[task] for task in of_seed_one], list(of_seed_one.values()), scale=1.0)
        assert not uneven.cautions(query, measure="average")


def test_sources_without_a_common_seed_are_ranked_with_a_caution() -> None:
    retriever, (query, *_) = world_of_starts(seeds={"right": (1,), "left": (0,), "up": (0, 2)})
    (caution,) = retriever.cautions(query, measure="average")
    assert caution.startswith("sources of different seeds are compared by average")
    assert not retriever.cautions(query, measure="displacement")
    assert retriever.cautions(Query(query.prompt)), "without a start auto is average"


def test_ranking_every_prompt_compares_seeds_and_says_so() -> None:
    retriever, (query, *_) = world_of_starts(seeds={"right": (0, 1), "left": (0, 1)})
    assert retriever.cautions(query, measure="average", aggregate="none")
    assert not retriever.cautions(query, measure="displacement", aggregate="none")


def test_the_value_that_stands_for_a_source_is_its_best_on_dev() -> None:
    retriever, (query, *_) = world_of_starts(seeds={"right": (0, 1, 3), "left": (0,)})
    first = retriever.rank(query, measure="displacement")[0]
    assert (first.task, first.seed, first.value) == ("right", 3, "right 3")


def test_noise_is_told_from_a_query() -> None:
    retriever, (query, *_) = world_of_starts(seeds={"right": (0,), "left": (0,)})
    assert not retriever.cautions(query)
    basis = np.linalg.svd(retriever.key_set.average)[2]
    strange = Query(np.tile(basis[-1], (LENGTH, 1)))
    (caution,) = retriever.cautions(strange)
    assert "as unlike every key as noise is" in caution


def test_displacement_needs_starts_and_says_whose() -> None:
    retriever, (query, *_) = world_of_starts(seeds={"right": (0,), "left": (0,)})
    with pytest.raises(RetrievalError, match="where the query started"):
        retriever.rank(query.prompt, measure="displacement")
    retriever.key_set.context = Context()
    with pytest.raises(
        RetrievalError, match="does not say of right, left; rank for a TARGET task, or by average"
    ):
        retriever.rank(query, measure="displacement")
    assert retriever.rank(query)[0].task == "right"


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "e" * 64}, {"prompt_length": 5}, {"key_step": 11}, {"family": "b" * 64}],
)
def test_another_partition_is_refused_with_what_the_bank_holds(
    bank: Bank, change: dict[str, str | int]
) -> None:
    other = dataclasses.replace(PARTITION, **change)  # type: ignore[arg-type]
    with pytest.raises(RetrievalError) as caught:
        Retriever(bank, other)
    line = str(caught.value)
    assert f"no key can be compared with this query ({other})" in line
    assert f"The bank holds: {PARTITION}." in line
    assert "\n" not in line


def test_a_recipe_that_differs_is_told_by_its_fields(empty_bank: Bank) -> None:
    options = {
        "init": "vocabulary", "batch_size": 16, "max_input": 64, "max_target": 16, "dtype": "float32", "steps": 30,
        "optimizer": {"name": "adafactor", "learning_rate": 0.3, "schedule": "constant"},
    }  # fmt: skip
    held = dataclasses.replace(RECIPE, options=options, family=recipe_family(options))
    empty_bank.record_run(source("mnli", 0, np.ones((LENGTH, WIDTH)), held))
    asked = options | {
        "max_input": 128,
        "optimizer": {**options["optimizer"], "learning_rate": 0.1},
    }
    with pytest.raises(RetrievalError) as caught:
        Retriever(
            empty_bank,
            dataclasses.replace(Partition.of(held), family=recipe_family(asked)),
            options=asked,
        )
    assert "keys with max input 64, not 128, learning rate 0.3, not 0.1." in str(caught.value)


def test_a_bank_without_sources_or_with_excluded_ones_only_says_so(
    bank: Bank, empty_bank: Bank
) -> None:
    with pytest.raises(
        RetrievalError, match="holds no source yet; train some with `spot train-source`"
    ):
        Retriever(empty_bank, PARTITION)
    with pytest.raises(
        RetrievalError,
        match=r"its only sources \(boolq, mnli, mrpc, sst2\) are the target's own or",
    ):
        Retriever(bank, PARTITION, exclude=TASKS)


@pytest.mark.parametrize(
    "shape", [(LENGTH, WIDTH + 1), (LENGTH + 1, WIDTH), (WIDTH,), (1, LENGTH, WIDTH), (0, WIDTH)]
)
def test_a_query_of_another_shape_is_refused(bank: Bank, shape: tuple[int, ...]) -> None:
    with pytest.raises(RetrievalError) as caught:
        rank(bank, np.ones(shape), PARTITION)
    assert str(caught.value).startswith(
        f"query has shape {list(shape)}, keys have [{LENGTH}, {WIDTH}]; "
    )


def test_a_start_of_another_shape_is_refused(bank: Bank) -> None:
    with pytest.raises(
        RetrievalError, match=r"the query's start has shape \[5\], keys' starts have \[6\]; give"
    ):
        rank(bank, Query(query_of(0), np.ones(WIDTH - 1)), PARTITION)


def test_unknown_words_and_an_empty_ranking_are_refused(bank: Bank) -> None:
    query = query_of(0)
    with pytest.raises(RetrievalError, match="similarity 'euclidean' is not known"):
        rank(bank, query, PARTITION, measure="euclidean")
    with pytest.raises(
        RetrievalError, match="aggregate 'median' is not known; did you mean 'mean'"
    ):
        rank(bank, query, PARTITION, aggregate="median")
    for top_k in (0, -1):
        with pytest.raises(RetrievalError, match=f"top-k must be at least 1, found {top_k}"):
            rank(bank, query, PARTITION, top_k=top_k)


# -- weights -------------------------------------------------------------------------------------------------


def ranked_by(values: list[float]) -> list[Ranked]:
    return [
        Ranked(rank=i, task=f"t{i}", seed=0, run="", value="", similarity=value, similarities={})
        for i, value in enumerate(values, start=1)
    ]


@given(values=st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1, max_size=8))
def test_weights_sum_to_one_and_are_never_negative(values: list[float]) -> None:
    found = weights(ranked_by(values))
    assert sum(found) == pytest.approx(1.0)
    assert all(weight >= 0 for weight in found)
    if max(values) > 0:
        assert all(weight == 0 for weight, value in zip(found, values, strict=True) if value <= 0)


@given(values=st.lists(st.floats(1e-3, 1), min_size=1, max_size=8))
def test_weights_of_positive_similarities_are_their_shares(values: list[float]) -> None:
    assert weights(ranked_by(values)) == pytest.approx([value / sum(values) for value in values])


def test_without_a_positive_similarity_all_weigh_the_same() -> None:
    assert weights(ranked_by([-0.5, 0.0, -0.25, -1.0])) == [0.25] * 4
    assert weights(ranked_by([0.75, 0.25, -0.5])) == [0.75, 0.25, 0.0]
    assert weights([]) == []


@pytest.mark.parametrize("measure", ["trial", "fused"])
def test_what_ranks_and_is_no_similarity_weighs_nothing(measure: str) -> None:
    scored = zip(ranked_by([-0.2, -0.9]), (0.6, 0.2), strict=True)
    ranked = [
        dataclasses.replace(
            source, similarities={"average": average, "per_token": 0.1, measure: source.similarity}
        )
        for source, average in scored
    ]
    assert weights(ranked) == pytest.approx([0.75, 0.25])
