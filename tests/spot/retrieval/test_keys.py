"""A ranking over matrices is the one that every key compared by itself gives, and reads no more than it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from bank import Bank, Partition
from bank.keys import Keys, keys_of_prompts
from bank.vectors import average, average_normalized, tokens
from spot.errors import RetrievalError
from spot.retrieval import similarity
from spot.retrieval.evidence import COVERAGE
from spot.retrieval.history import expected_gains, learn
from spot.retrieval.keys import Context, KeySet, Segments
from spot.retrieval.measures import MEASURES, NEEDS
from spot.retrieval.query import Query
from spot.retrieval.rank import AGGREGATES, Ranked, Retriever, largest
from spot.retrieval.similarity import Directions, products
from tasks.signatures import BUCKETS
from tests.bank.conftest import run_of, statements
from tests.closeness import assert_close
from tests.spot.retrieval.test_evidence import outcome

LENGTH, WIDTH = 3, 8
RNG = np.random.default_rng(2)
STARTS = RNG.normal(size=(4, WIDTH)).astype(np.float32)
EMBEDDING = RNG.normal(size=(30, WIDTH)).astype(np.float32)
RUNS = [(task, seed) for task, seeds in (("s0", (0, 1, 2)), ("s1", (1,)), ("s2", (1, 3)), ("s3", (0, 1)))
        for seed in seeds]  # fmt: skip
PROMPTS = {
    f"{task}/{seed}": RNG.normal(size=(LENGTH, WIDTH)).astype(np.float32) for task, seed in RUNS
}
TARGETS = {f"t{target}": RNG.normal(size=(LENGTH, WIDTH)).astype(np.float32) for target in range(3)}
PROMPTS["s2/3"] = PROMPTS["s2/1"]
SCORES = [50.0, 70.0, 70.0, 10.0, 30.0, 20.0, 40.0, 40.0]
SIGNATURES = {
    f"s{task}": np.random.default_rng(task).random(BUCKETS).astype(np.float16) for task in range(4)
}
QUERY = Query(RNG.normal(size=(LENGTH, WIDTH)).astype(np.float32), STARTS[1])
CONTEXT = Context(
    embedding=lambda: EMBEDDING,
    losses=lambda values: np.array([np.abs(value).sum() for value in values]),
    start=lambda seed: STARTS[seed],
    signature=lambda: SIGNATURES["s0"],
    activated=lambda prompts: np.array([units(prompt) for prompt in prompts]),
    demonstrated=lambda: EMBEDDING[:2] @ EMBEDDING.T > 0,
)


def key_set(runs: Sequence[tuple[str, int]] = RUNS, context: Context | None = CONTEXT) -> KeySet:
    addresses = [f"{task}/{seed}" for task, seed in runs]
    keys = keys_of_prompts(
        [task for task, _ in runs],
        [PROMPTS[address] for address in addresses],
        addresses=addresses,
        seeds=[seed for _, seed in runs],
        scores=[SCORES[RUNS.index(run)] for run in runs],
    )
    history = [
        outcome(t, s, float(s == 2), source_run=f"s{s}/1") for t in range(3) for s in range(4)
    ]
    return KeySet(keys, (PROMPTS | TARGETS).__getitem__, lambda: history, context, known_signatures)


def known_signatures(tasks: Sequence[str]) -> dict[str, bytes]:
    return {task: SIGNATURES[task].tobytes() for task in tasks}


def units(prompt: np.ndarray) -> np.ndarray:
    return np.asarray(EMBEDDING @ average(prompt) > 0)


# -- one key at a time ---------------------------------------------------------------------------------------


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    norms = np.linalg.norm(left) * np.linalg.norm(right)
    return float(left @ right / norms) if norms else 0.0


def by_seed() -> dict[int, np.ndarray]:
    seeds = sorted({seed for _, seed in RUNS})
    return {
        s: np.mean([average(PROMPTS[f"{task}/{seed}"]) for task, seed in RUNS if seed == s], 0)
        for s in seeds
    }


def centre() -> np.ndarray:
    """Seed 1 is the only one that all tasks have."""
    return np.asarray(
        np.mean([average(PROMPTS[f"{task}/1"]) for task in ("s0", "s1", "s2", "s3")], axis=0)
    )


def nearest_centre() -> np.ndarray:
    return max(by_seed().values(), key=lambda one: cosine(QUERY.average, one))


def words() -> np.ndarray:
    unit = EMBEDDING / np.linalg.norm(EMBEDDING, axis=1, keepdims=True)
    return np.asarray(unit - unit.mean(axis=0))


def deviations(measure: str, key: np.ndarray) -> float:
    """Of all keys."""
    every = [ALONE[measure](task, seed, PROMPTS[f"{task}/{seed}"]) for task, seed in RUNS]
    return float((ALONE[measure]("", 0, key) - np.mean(every)) / np.std(every))


def weighted(shares: np.ndarray) -> np.ndarray:
    common = np.mean(list(SIGNATURES.values()), axis=0, dtype=np.float64)
    return np.asarray(shares * (1 + np.log(4001 / (1 + 4000 * common))))


ALONE: dict[str, Callable[[str, int, np.ndarray], float]] = {
    "average": lambda _task, _seed, key: similarity.similarity(QUERY.prompt, key, "average"),
    "per_token": lambda _task, _seed, key: similarity.similarity(QUERY.prompt, key, "per_token"),
    "displacement": lambda _task, seed, key: cosine(
        QUERY.average - STARTS[1], average(key) - STARTS[seed]
    ),
    "centred": lambda _task, _seed, key: cosine(QUERY.average - centre(), average(key) - centre()),
    "seed_centred": lambda _task, seed, key: cosine(
        QUERY.average - nearest_centre(), average(key) - by_seed()[seed]
    ),
    "vocabulary": lambda _task, _seed, key: cosine(
        words() @ QUERY.average_normalized, words() @ average_normalized(key)
    ),
    "trial": lambda _task, _seed, key: -float(np.abs(key).sum()),
    "fused": lambda _task, _seed, key: (
        (deviations("average", key) + deviations("centred", key)) / 2
    ),
    "text": lambda task, _seed, _key: cosine(
        weighted(SIGNATURES["s0"]), weighted(SIGNATURES[task])
    ),
    "neurons": lambda _task, _seed, key: cosine(units(QUERY.prompt), units(key)),
    "demonstrations": lambda _task, _seed, key: float(
        np.mean([cosine(shown, units(key)) for shown in EMBEDDING[:2] @ EMBEDDING.T > 0])
    ),
    "matching": lambda _task, _seed, key: float(MEASURES["matching"](QUERY, only(key))[0]),
    "subspace": lambda _task, _seed, key: float(MEASURES["subspace"](QUERY, only(key))[0]),
    "evidence": lambda task, _seed, _key: float(
        expected_gains(QUERY, key_set()).mean[int(task[1:])]
    ),
}
"""Every measure of one key, with nothing beside it."""


def only(key: np.ndarray) -> KeySet:
    return KeySet(keys_of_prompts(["one"], [key]), lambda _address: key)


def straight(measure: str, aggregate: str) -> list[tuple[str, int, float]]:
    """Task, seed of the value that stands for it and similarity of every source, best first, by plain loops."""
    alone = {run: ALONE[measure](*run, PROMPTS[f"{run[0]}/{run[1]}"]) for run in RUNS}
    if aggregate == "none":
        rows = [(task, seed, alone[task, seed]) for task, seed in RUNS]
    else:
        combine = max if aggregate == "max" else np.mean
        rows = []
        for name in dict.fromkeys(task for task, _ in RUNS):
            own = [run for run in RUNS if run[0] == name]
            counted = (
                [run for run in own if run[1] == 1] if MEASURES[measure].shares_starts else own
            )
            best = max(own, key=lambda run: SCORES[RUNS.index(run)])
            rows.append((name, best[1], float(combine([alone[run] for run in counted]))))
    return sorted(rows, key=lambda row: (-round(row[2], 5), row[0], row[1]))


def retriever_of(keys: KeySet) -> Retriever:
    retriever = Retriever.__new__(Retriever)
    retriever.key_set, retriever.keys = keys, keys.keys
    return retriever


def rows_of(ranked: Sequence[Ranked]) -> list[tuple[str, int]]:
    return [(entry.task, entry.seed) for entry in ranked]


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("measure", MEASURES)
def test_a_ranking_is_that_of_keys_compared_one_by_one(measure: str, aggregate: str) -> None:
    expected = straight(measure, aggregate)
    whole = retriever_of(key_set()).rank(QUERY, measure=measure, aggregate=aggregate)
    assert rows_of(whole) == [row[:2] for row in expected]
    assert_close(
        [entry.similarity for entry in whole], [row[2] for row in expected], terms=1000, scale=1.0
    )
    assert all(entry.similarities[measure] == entry.similarity for entry in whole)
    for top_k in (1, 3, len(expected), 99):
        few = retriever_of(key_set()).rank(QUERY, measure=measure, aggregate=aggregate, top_k=top_k)
        assert few == whole[:top_k]


def test_few_rows_at_a_time_give_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {name: measure(QUERY, key_set()) for name, measure in MEASURES.items()}
    monkeypatch.setattr(similarity, "ROWS_AT_ONCE", 3)
    for name, measure in MEASURES.items():
        assert_close(measure(QUERY, key_set()), whole[name], terms=1000, scale=1.0)


def test_scores_are_float64_and_one_a_key() -> None:
    for measure in MEASURES.values():
        scores = measure(QUERY, key_set())
        assert (scores.dtype, scores.shape) == (np.float64, (len(RUNS),))


@pytest.mark.parametrize("factor", [1e-30, 1e-20, 1e15, 1e30])
def test_no_size_of_a_prompt_makes_its_similarity_none(factor: float) -> None:
    scaled = (np.array(list(PROMPTS.values())) * factor).astype(np.float32)
    keys = keys_of_prompts([f"t{i}" for i in range(len(scaled))], scaled)
    query = Query((QUERY.prompt * factor).astype(np.float32))
    expected = [ALONE["average"]("", 0, prompt) for prompt in PROMPTS.values()]
    assert_close(MEASURES["average"](query, KeySet(keys, PROMPTS.__getitem__)), expected, scale=1.0)


@pytest.mark.parametrize("width", [3, 8, 65, 768])
def test_equal_rows_have_equal_products_wherever_they_stand(width: int) -> None:
    row, vector = RNG.normal(size=(2, width)).astype(np.float32)
    for count in (2, 7, 33, 1030):
        rows = np.tile(row, (count, 1))
        assert len(set(products(rows, vector))) == 1
        assert len(set(Directions(rows, lambda _rows: STARTS[0, :1]).cosines(vector))) == 1


# -- groups --------------------------------------------------------------------------------------------------


def test_groups_are_the_keys_of_a_task_whatever_their_order() -> None:
    keys = key_set([("s2", 1), ("s0", 2), ("s1", 1), ("s0", 1), ("s2", 3), ("s3", 1)])
    assert keys.tasks == ["s0", "s1", "s2", "s3"]
    assert keys.numbers.tolist() == [2, 0, 1, 0, 2, 3]
    assert keys.shared_seeds.tolist() == [1]
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    assert keys.every_seed.mean(values).tolist() == [5.0, 4.0, 8.5, 32.0]
    assert keys.every_seed.maximum(values).tolist() == [8.0, 4.0, 16.0, 32.0]
    assert keys.shared.mean(values).tolist() == [8.0, 4.0, 1.0, 32.0]
    assert keys.by_task(np.stack([values, -values], axis=1))["s2"].tolist() == [1.0, -1.0]
    some = keys.every_seed.take(np.array([2, 0]))
    assert (some.mean(values).tolist(), some.sizes.tolist()) == ([8.5, 5.0], [2, 2])


def test_the_best_value_of_equals_is_that_of_the_first_seed() -> None:
    keys = key_set()
    assert [RUNS[row] for row in keys.best_rows] == [("s0", 1), ("s1", 1), ("s2", 1), ("s3", 0)]


def test_a_seed_trained_twice_is_not_shared_for_that() -> None:
    keys = key_set([("s0", 0), ("s0", 0), ("s1", 1)])
    assert keys.shared_seeds.tolist() == []
    assert keys.shared is keys.every_seed


@pytest.mark.parametrize("count", [None, 1, 2, 4, 5, 9])
def test_the_largest_are_those_of_a_stable_sort(count: int | None) -> None:
    for values in ([1.0, 3.0, 2.0, 3.0, 3.0, 0.0, 2.0], [0.0, -0.0, 0.0], [5.0]):
        expected = sorted(range(len(values)), key=lambda place: -values[place])[:count]
        assert largest(np.array(values), count).tolist() == expected


# -- what is read --------------------------------------------------------------------------------------------


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    """Six sources of two seeds; starts are known."""
    with Bank.open(tmp_path / "bank.sqlite") as opened:
        for task in range(6):
            for seed in range(2):
                opened.record_run(
                    run_of(f"s{task}", seed, start=np.full(4, seed + 0.5, np.float32))
                )
        yield opened


@pytest.mark.parametrize(
    ("measure", "whole", "few"),
    [
        ("average", ["average"], ["average_normalized"]),
        ("per_token", ["average_normalized"], ["average"]),
        ("displacement", ["average", "start"], ["average_normalized"]),
        ("centred", ["average"], ["average_normalized"]),
        ("evidence", ["average"], ["average_normalized"]),
    ],
)
def test_only_vectors_that_a_measure_needs_are_read_and_once(
    bank: Bank, measure: str, whole: list[str], few: list[str]
) -> None:
    query = Query(run_of("new").value.prompt, np.zeros(4, np.float32))
    retriever = Retriever(bank, Partition.of(run_of().identity.recipe))
    reads: list[tuple[str, int]] = []
    read = retriever.keys.read

    def see(kind: str, rows: np.ndarray) -> np.ndarray:
        reads.append((kind, len(rows)))
        return read(kind, rows)

    object.__setattr__(retriever.keys, "read", see)
    first = retriever.rank(query, measure=measure, top_k=2)
    assert sorted(reads) == sorted([(kind, 12) for kind in whole] + [(kind, 4) for kind in few])
    reads.clear()
    assert retriever.rank(query, measure=measure, top_k=2) == first
    assert reads == [(kind, 4) for kind in few]
    reads.clear()
    assert retriever.rank(query, measure=measure)[:2] == first
    assert reads == [(kind, 12) for kind in few]
    with statements(bank) as sent:
        assert retriever.rank(query, measure=measure)[:2] == first
        retriever.cautions(query, measure=measure)
    assert not [text for text in sent if "key_vectors" in text] or measure == "per_token"


def test_a_ranking_of_all_needs_no_query_a_source(bank: Bank) -> None:
    with statements(bank) as sent:
        retriever = Retriever(bank, Partition.of(run_of().identity.recipe))
        retriever.rank(run_of("new").value.prompt, measure="average")
    assert len([text for text in sent if text.startswith("SELECT")]) < 8


def test_a_history_is_learned_once_and_a_gain_computed_once_a_ranking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys, asked = key_set(), []
    monkeypatch.setattr(keys, "history", lambda: asked.append("history") or [])
    predict = type(keys.once(learn).model).predict
    monkeypatch.setattr(
        type(keys.once(learn).model),
        "predict",
        lambda *given: asked.append("prediction") or predict(*given),
    )
    retriever = retriever_of(keys)
    (entry,) = retriever.rank(QUERY, measure="evidence", top_k=1)
    assert retriever.cautions(QUERY, measure="evidence") == [
        "evidence: no history for this target; ranked by average"
    ]
    assert asked == ["history", "prediction"]
    assert entry.expected is not None
    assert entry.expected.low < entry.similarity == entry.expected.mean < entry.expected.high
    assert 0 < COVERAGE < 1


# -- what a measure needs ------------------------------------------------------------------------------------


def test_every_need_is_checked_and_said() -> None:
    assert {measure.needs for measure in MEASURES.values()} <= {"", *NEEDS}
    bare = key_set(context=None)
    for name, measure in MEASURES.items():
        assert measure.about
        lacking = measure.lacking(Query(QUERY.prompt), bare)
        assert bool(lacking) == (
            name in ("displacement", "vocabulary", "trial", "text", "neurons", "demonstrations")
        )
        assert not measure.lacking(QUERY, key_set())
        if lacking:
            with pytest.raises(RetrievalError) as caught:
                measure(QUERY.prompt, bare)
            assert str(caught.value) == lacking


def test_of_many_tasks_without_a_start_a_few_are_named() -> None:
    keys = KeySet(
        keys_of_prompts([f"t{i}" for i in range(9)], [QUERY.prompt] * 9), PROMPTS.__getitem__
    )
    assert "does not say of t0, t1, t2, t3, t4 and 4 more; rank" in MEASURES[
        "displacement"
    ].lacking(QUERY, keys)


# -- prompts of several layers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "measure",
    [name for name, one in MEASURES.items() if one.needs in ("", "starts", "history")],
)
def test_layers_stand_beside_the_width(measure: str) -> None:
    deep = RNG.normal(size=(5, 2, LENGTH, WIDTH)).astype(np.float32)
    starts = RNG.normal(size=2 * WIDTH).astype(np.float32)
    names = [f"t{i}" for i in range(5)]
    flat = np.stack([tokens(prompt) for prompt in deep])
    context = Context(start=lambda _seed: starts)
    scores = [
        MEASURES[measure](
            Query(prompts[4], starts),
            KeySet(keys_of_prompts(names[:4], prompts[:4]), dict(zip(names, prompts, strict=True)).__getitem__,
                   context=context),
        )
        for prompts in (deep, flat)
    ]  # fmt: skip
    assert flat.shape == (5, LENGTH, 2 * WIDTH)
    np.testing.assert_array_equal(*scores)
    assert flat[0, 1].tolist() == [*deep[0, 0, 1], *deep[0, 1, 1]]


def test_words_are_of_no_layer() -> None:
    deep = RNG.normal(size=(2, 2, LENGTH, WIDTH)).astype(np.float32)
    keys = KeySet(keys_of_prompts(["a", "b"], deep), lambda _address: deep[0], context=CONTEXT)
    with pytest.raises(
        RetrievalError,
        match="8 wide, and this form's tokens have 16 numbers; rank by another measure",
    ):
        MEASURES["vocabulary"](deep[0], keys)


def test_a_deep_query_is_no_match_for_plain_keys() -> None:
    keys: Keys = keys_of_prompts(["a"], [np.ones((LENGTH, 2 * WIDTH), np.float32)])
    retriever = retriever_of(KeySet(keys, lambda _address: np.ones((LENGTH, 2 * WIDTH))))
    with pytest.raises(RetrievalError, match=r"query has shape \[2, 3, 8\], keys have \[3, 16\]"):
        retriever.rank(np.ones((2, LENGTH, WIDTH)), measure="average")


def test_a_group_of_one_is_itself() -> None:
    rows = np.array([3, 1, 2])
    assert Segments(rows, np.arange(3)).mean(np.array([0.0, 1.0, 2.0, 3.0])).tolist() == [
        3.0,
        1.0,
        2.0,
    ]
