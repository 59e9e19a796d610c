"""Transfer: which sources are tried, which one is chosen, what is recorded, and what selection may see."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bank import Bank, BankError, StoredRun
from bank.integrity import verify
from bank.listing import list_runs, list_transfers, show_run
from spot.backbone.load import Backbone
from spot.errors import RetrievalError, SpotError, TrainingError
from spot.inference.predict import mean_losses
from spot.retrieval.rank import Ranked, Retriever, weights
from spot.training.jobs import Progress
from spot.training.prompt_tuning import start_of
from spot.training.recipe import Recipe
from spot.training.task_data import TaskData
from spot.transfer.datasets import Datasets
from spot.transfer.executors import Group, LocalExecutor
from spot.transfer.runs import Trainer
from spot.transfer.sources import context_of, query_of, rank_for, retriever_for, sharing_texts
from spot.transfer.transfer import (
    TransferOptions,
    Transferred,
    gain_of,
    gain_over_restarts,
    run_transfer,
    run_transfers,
)
from tasks import Mixture, get_task
from tasks.signatures import task_signature
from tasks.task import Split, Task
from tests.closeness import assert_close
from tests.spot.training.conftest import sentences, write_task
from tests.spot.transfer.conftest import SOURCES, World
from tests.spot.transfer.doubles import RefusingExecutor, ScriptedExecutor, refusing


def transfer(world: World, **options: Any) -> Transferred:
    return run_transfer(world.trainer, world.target, seed=0, options=TransferOptions(**options))


def runs_of(outcome: Transferred) -> list[StoredRun]:
    """The runs of the candidates, all of which went to their end."""
    runs = [candidate.run for candidate in outcome.candidates]
    return [run for run in runs if run is not None]


def started_from(world: World, run: StoredRun) -> str | None:
    address: str | None = show_run(world.bank.engine, run.digest)["started from"]
    return address


def test_candidates_start_from_the_values_of_the_best_ranked_sources(world: World) -> None:
    outcome = transfer(world, top_k=3)
    query = query_of(world.trainer, world.target, outcome.query)
    context = context_of(world.trainer, world.target)
    retriever = Retriever(world.bank, world.trainer.partition, exclude=["target"], context=context)
    assert list(outcome.ranked) == retriever.rank(query)
    expected = outcome.ranked
    assert [started_from(world, run) for run in runs_of(outcome)] == [
        source.value for source in expected[:3]
    ]
    assert {source.task for source in outcome.ranked} == set(SOURCES)


def test_the_target_is_never_its_own_source_though_the_bank_holds_it(world: World) -> None:
    assert "target" in {row["task"] for row in list_runs(world.bank.engine, role="source")}
    outcome = transfer(world, top_k=10)
    assert len(outcome.candidates) == len(SOURCES)
    assert "target" not in {source.task for source in outcome.ranked}


def test_ranking_every_prompt_by_itself_can_try_two_seeds_of_a_source(world: World) -> None:
    outcome = transfer(world, top_k=10, aggregate="none")
    assert sorted((source.task, source.seed) for source in outcome.ranked) == sorted(
        [*((name, 0) for name in SOURCES), ("first", 1)]
    )


def test_the_chosen_candidate_is_the_best_on_dev(world: World) -> None:
    outcome = transfer(world, top_k=4)
    scores = [run.score for run in runs_of(outcome)]
    assert outcome.chosen == scores.index(max(scores))


@pytest.mark.parametrize(
    ("scores", "chosen"), [([50, 70, 60], 1), ([70, 70, 60], 0), ([60, 70, 70], 1)]
)
def test_among_equal_candidates_the_more_similar_source_is_chosen(
    scores: list[float], chosen: int, world: World
) -> None:
    world.trainer.run(world.target, seed=0, role="baseline")
    scripted = ScriptedExecutor(world.bank, scores)
    trainer = Trainer(world.bank, world.trainer.backbone, world.trainer.recipe, executor=scripted)
    assert run_transfer(trainer, world.target, seed=0, options=TransferOptions()).chosen == chosen


def test_the_baseline_starts_like_a_source_and_its_key_is_the_query(world: World) -> None:
    outcome = transfer(world)
    assert outcome.baseline == outcome.query
    assert started_from(world, outcome.query) is None
    assert show_run(world.bank.engine, outcome.query.digest)["role"] == "baseline"
    assert outcome.baseline_test is not None


def test_without_a_baseline_a_query_run_ends_at_the_key_step(world: World, recipe: Recipe) -> None:
    outcome = transfer(world, baseline=False)
    assert (outcome.baseline, outcome.baseline_test) == (None, None)
    assert outcome.query.steps == recipe.key_step
    assert [row["role"] for row in list_runs(world.bank.engine, task="target")][:-1] == [
        *3 * ["transfer"],
        "query",
    ]
    with_baseline = transfer(world)
    assert with_baseline.query.key == outcome.query.key
    assert with_baseline.ranked == outcome.ranked
    assert with_baseline.candidates == outcome.candidates
    assert len(list_transfers(world.bank.engine)) == 2


def test_the_best_of_as_many_restarts_is_a_control_of_equal_cost(world: World) -> None:
    options = TransferOptions(top_k=2, restarts=2)
    outcomes = run_transfers(world.trainer, world.target, seeds=[0, 1], options=options)
    seeds = [
        [show_run(world.bank.engine, run.digest)["seed"] for run in o.restarts] for o in outcomes
    ]
    assert seeds == [[0, 2], [1, 3]]
    for outcome in outcomes:
        assert outcome.restarts[0] == outcome.baseline
        best = max(outcome.restarts, key=lambda run: run.score)
        assert outcome.restarts_best == best
        assert sum(run.steps for run in outcome.restarts) == outcome.steps
        (answered,) = world.trainer.test_all(world.target, [best])
        assert outcome.restarts_test == answered
    gain = gain_over_restarts(outcomes)
    assert gain is not None
    assert gain.control == "best of 2 restarts"
    assert gain.without == [o.restarts_test.metrics["score"] for o in outcomes if o.restarts_test]
    again = run_transfers(refusing(world.trainer), world.target, seeds=[0, 1], options=options)
    assert again == outcomes
    alone = run_transfers(
        world.trainer, world.target, seeds=[0, 1], options=TransferOptions(top_k=2)
    )
    assert (alone[0].restarts, alone[0].restarts_test) == ((), None)
    assert gain_over_restarts(alone) is None


def test_restarts_need_a_baseline() -> None:
    with pytest.raises(SpotError, match="cannot do without a baseline"):
        TransferOptions(restarts=2, baseline=False)


def test_a_measure_without_a_query_trains_none_where_the_targets_recipe_differs(
    world: World, recipe: Recipe
) -> None:
    other = dataclasses.replace(recipe, batch_size=recipe.batch_size + 1)
    trainer = Trainer(world.bank, world.trainer.backbone, other, sources=recipe)
    outcome = run_transfer(
        trainer, world.target, seed=0, options=TransferOptions(similarity="trial", top_k=1)
    )
    assert outcome.query == outcome.baseline
    compared = run_transfer(trainer, world.target, seed=0, options=TransferOptions(top_k=1))
    assert compared.query != compared.baseline


def test_a_transfer_is_recorded_with_its_candidates(world: World) -> None:
    outcome = transfer(world, similarity="per_token", top_k=2)
    (row,) = list_transfers(world.bank.engine, task="target")
    assert row["transfer"] == outcome.digest[:12]
    assert (row["target"], row["method"], row["similarity"], row["seed"]) == (
        "target",
        "best",
        "per_token",
        0,
    )
    assert outcome.baseline_test is not None
    assert (row["outcome"], row["baseline"]) == (
        outcome.outcome_test.metrics["score"],
        outcome.baseline_test.metrics["score"],
    )
    used = outcome.ranked[:2]
    assert row["sources"] == [
        {
            "rank": source.rank,
            "task": source.task,
            "seed": source.seed,
            "similarity": pytest.approx(source.similarity),
            "weight": pytest.approx(weight),
            "dev score": run.score,
            "steps": run.steps,
        }
        for source, weight, run in zip(used, weights(used), runs_of(outcome), strict=True)
    ]
    shown = show_run(world.bank.engine, used[0].run)
    assert shown["source of transfers"] == [
        {"transfer": outcome.digest[:12], "target": "target", "rank": 1}
    ]
    assert verify(world.bank) == []


def test_a_second_transfer_trains_nothing_and_is_the_same(world: World) -> None:
    first = transfer(world)
    again = run_transfer(refusing(world.trainer), world.target, seed=0, options=TransferOptions())
    assert again == first
    assert len(list_transfers(world.bank.engine)) == 1


def test_seeds_are_transfers_of_their_own(world: World) -> None:
    first = transfer(world)
    second = run_transfer(world.trainer, world.target, seed=1, options=TransferOptions())
    assert first.digest != second.digest
    assert first.query.key != second.query.key


def test_selection_never_sees_the_test_split(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    read, datasets = TaskData.__getitem__, world.trainer.datasets

    def watched_read(self: TaskData, split: Split) -> Any:
        events.append(f"{self.task.name} {split.value}")
        return read(self, split)

    class WatchedExecutor(LocalExecutor):
        def train(self, groups: Sequence[Group]) -> Mapping[str, Progress]:
            given_up = super().train(groups)
            events.extend("trained" for group in groups for _run in group.runs)
            return given_up

    monkeypatch.setattr(TaskData, "__getitem__", watched_read)
    executor = WatchedExecutor(world.bank, datasets)
    trainer = Trainer(
        world.bank, datasets.backbone, world.trainer.recipe, datasets=datasets, executor=executor
    )
    run_transfer(trainer, world.target, seed=0, options=TransferOptions())
    assert events.count("trained") == 3  # the baseline is the twin of a source
    first_test = events.index("target test")
    assert first_test > max(i for i, event in enumerate(events) if event == "trained")
    assert {event for event in events if event.endswith(" test")} == {"target test"}


def test_an_empty_bank_is_an_error_before_anything_trains(
    tmp_path: Path, backbone: Backbone, recipe: Recipe, tasks: dict[str, Task]
) -> None:
    with Bank.open(tmp_path / "empty.sqlite") as bank:
        trainer = Trainer(bank, backbone, recipe, executor=RefusingExecutor())
        with pytest.raises(
            RetrievalError, match="holds no source yet; train some with `spot train-source`"
        ):
            run_transfer(trainer, tasks["target"], seed=0, options=TransferOptions())


def test_a_bank_with_nothing_but_the_target_is_an_error_before_anything_trains(
    tmp_path: Path, backbone: Backbone, recipe: Recipe, tasks: dict[str, Task]
) -> None:
    with Bank.open(tmp_path / "own.sqlite") as bank:
        trainer = Trainer(bank, backbone, recipe)
        trainer.run(tasks["target"], seed=0, role="source")
        with pytest.raises(
            RetrievalError,
            match=r"its only sources \(target\) are the target's own or may hold its test texts",
        ):
            run_transfer(refusing(trainer), tasks["target"], seed=0, options=TransferOptions())


@pytest.mark.parametrize("change", ["fingerprint", "batch_size", "key_step"])
def test_a_bank_of_another_backbone_or_recipe_is_refused_before_anything_trains(
    change: str, world: World, backbone: Backbone, recipe: Recipe
) -> None:
    other, changed = backbone, recipe
    if change == "fingerprint":
        other = dataclasses.replace(backbone, fingerprint="f" * 64)
    else:
        changed = dataclasses.replace(recipe, **{change: 10})
    trainer = Trainer(world.bank, other, changed, executor=RefusingExecutor())
    with pytest.raises(
        RetrievalError,
        match=r"no key can be compared with this query \(backbone .*The bank holds: ",
    ):
        run_transfer(trainer, world.target, seed=0, options=TransferOptions())


def test_more_steps_under_a_constant_rate_still_use_the_banks_keys(
    world: World, backbone: Backbone
) -> None:
    longer = dataclasses.replace(world.trainer.recipe, steps=50)
    trainer = Trainer(world.bank, backbone, longer)
    outcome = run_transfer(trainer, world.target, seed=0, options=TransferOptions(top_k=1))
    assert outcome.query.key == transfer(world, top_k=1).query.key


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "worst"},
            "transfer method 'worst' is not known; choose from best, average, weights, attention",
        ),
        ({"method": "generic"}, "method generic needs a source"),
        ({"source": "first"}, "no other takes one"),
        ({"top_k": 0}, "top-k must be at least 1, found 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpotError, match=message):
        TransferOptions(**options)


@pytest.mark.parametrize("options", [{"similarity": "euclid"}, {"aggregate": "median"}])
def test_an_unknown_measure_is_an_error_before_anything_trains(
    options: dict[str, str], world: World
) -> None:
    with pytest.raises(SpotError, match="is not known"):
        run_transfer(
            refusing(world.trainer), world.target, seed=0, options=TransferOptions(**options)
        )


# -- methods -----------------------------------------------------------------------------------------------


def test_an_average_starts_from_the_values_weighted_by_similarity(world: World) -> None:
    outcome = transfer(world, method="average", top_k=3)
    used = outcome.ranked[:3]
    expected = sum(w * world.bank.prompt(s.value) for s, w in zip(used, weights(used), strict=True))
    start = started_from(world, outcome.candidates[0].run)
    assert_close(world.bank.prompt(start), expected)
    assert len({candidate.run.digest for candidate in outcome.candidates}) == 1
    assert [candidate.weight for candidate in outcome.candidates] == pytest.approx(weights(used))
    (row,) = list_transfers(world.bank.engine, task="target")
    assert row["method"] == "average"


def test_a_transfer_says_what_the_most_frequent_answer_scores(world: World) -> None:
    outcome = transfer(world, top_k=1)
    data = world.trainer.data(world.target)
    targets = [example.target for example in data[Split.TRAIN].examples]
    answer = max(set(targets), key=targets.count)
    for split in (Split.DEV, Split.TEST):
        share = np.mean([example.target == answer for example in data[split].examples])
        assert outcome.floor[split.value] == pytest.approx(100 * share)
    gain = outcome.gain
    assert gain is not None
    assert gain == gain_of([outcome])
    assert gain.floor == outcome.floor["test"]


def test_training_without_transfer_reports_no_gain(world: World) -> None:
    assert transfer(world, method="none").gain is None
    assert transfer(world, top_k=1, baseline=False).gain is None


def test_auto_is_recorded_as_the_measure_it_stood_for(world: World) -> None:
    outcome = transfer(world, top_k=1)
    (row,) = list_transfers(world.bank.engine, task="target")
    assert outcome.similarity == row["similarity"] == "displacement"


def test_a_mixture_takes_whole_sources_and_the_targets_limit(
    world: World, tasks: dict[str, Task]
) -> None:
    few = world.trainer.with_recipe(dataclasses.replace(world.trainer.recipe, train_limit=8))
    outcome = run_transfer(
        few,
        world.target,
        seed=0,
        options=TransferOptions(method="mixture", top_k=1),
        find_task=tasks.__getitem__,
    )
    source = outcome.candidates[0].source.task
    mixture = Mixture(
        name=f"{source}+target", members=(tasks[source], world.target), whole=(source,)
    )
    assert [rows for rows, _drawn in few.data(mixture).batches(8, 0).draws] == [32, 8]


def test_an_oracle_trains_from_every_source(world: World) -> None:
    outcome = transfer(world, method="oracle", top_k=1)
    assert [candidate.source.task for candidate in outcome.candidates] == [
        source.task for source in outcome.ranked
    ]
    assert outcome.chosen_run.score == max(candidate.score for candidate in outcome.candidates)


def test_a_generic_transfer_starts_from_the_source_it_names(world: World) -> None:
    outcome = transfer(world, method="generic", source="third")
    (candidate,) = outcome.candidates
    assert candidate.source.task == "third"
    assert started_from(world, candidate.run) == candidate.source.value


def test_a_source_that_the_bank_lacks_is_refused_before_anything_trains(world: World) -> None:
    options = TransferOptions(method="generic", source="ninth")
    with pytest.raises(
        RetrievalError, match="no comparable source 'ninth' in the bank, which has first, fourth"
    ):
        run_transfer(refusing(world.trainer), world.target, seed=0, options=options)


def test_a_mixture_holds_the_sources_and_the_target_and_is_no_source_itself(
    world: World, tasks: dict[str, Task]
) -> None:
    options = TransferOptions(method="mixture", top_k=2)
    outcome = run_transfer(
        world.trainer, world.target, seed=0, options=options, find_task=tasks.__getitem__
    )
    name = "+".join([*(source.task for source in outcome.ranked[:2]), "target"])
    (mixed,) = list_runs(world.bank.engine, task=name)
    assert mixed["role"] == "transfer"
    assert outcome.steps == 2 * world.trainer.recipe.steps
    run = outcome.candidates[0].run
    assert show_run(world.bank.engine, mixed["run"])["snapshots"][-1]["prompt"] == started_from(
        world, run
    )
    assert name not in world.bank.keys(world.trainer.partition).tasks


def test_the_tasks_of_a_mixture_among_the_sources_join_the_mixture(
    world: World, tasks: dict[str, Task]
) -> None:
    both = Mixture(name="both", members=(tasks["first"], tasks["second"]))
    world.trainer.run(both, seed=0, role="source")
    known: dict[str, Task | Mixture] = {**tasks, "both": both}
    options = TransferOptions(method="mixture", top_k=9)
    outcome = run_transfer(
        world.trainer, world.target, seed=0, options=options, find_task=known.__getitem__
    )
    assert "both" in {source.task for source in outcome.ranked}
    (mixed,) = (row for row in list_runs(world.bank.engine, role="transfer") if "+" in row["task"])
    names = mixed["task"].split("+")
    assert sorted(names) == sorted(
        {*(source.task for source in outcome.ranked), "target"} - {"both"}
    )
    assert names[-1] == "target"


def test_mixtures_that_hold_the_target_are_no_sources_for_it(
    world: World, tasks: dict[str, Task]
) -> None:
    for others in ("first", "target"):
        members = (tasks["second"], tasks[others])
        world.trainer.run(Mixture(name=f"with {others}", members=members), seed=0, role="source")
    ranked = transfer(world, top_k=1).ranked
    assert "with first" in {source.task for source in ranked}
    assert "with target" not in {source.task for source in ranked}


def test_evidence_never_sees_the_targets_own_outcomes(world: World) -> None:
    bank, partition = world.bank, world.trainer.partition
    query = bank.keys(partition).prompts[0]

    def ranked() -> list[Ranked]:
        return Retriever(bank, partition, exclude=["target"]).rank(
            bank.prompt(query), measure="evidence"
        )

    before = ranked()
    transfer(world, method="oracle")
    assert {outcome.target for outcome in bank.outcomes(partition)} == {"target"}
    assert ranked() == before
    others = Retriever(bank, partition, exclude=["fourth"]).key_set
    assert {outcome.source for outcome in others.history()} == {
        "first",
        "second",
        "third",
        "fourth",
    }


def test_evidence_ranks_by_expected_gain_with_an_interval(world: World) -> None:
    outcome = transfer(world, similarity="evidence", top_k=2)
    assert all(source.expected is not None for source in outcome.ranked)
    assert all(
        s.expected.low < s.expected.mean < s.expected.high for s in outcome.ranked if s.expected
    )
    assert {*outcome.ranked[0].similarities} == {"average", "per_token", "evidence"}


def test_trial_ranks_by_the_loss_of_the_values_on_the_target(world: World) -> None:
    outcome = transfer(world, similarity="trial", top_k=2, aggregate="none")
    losses = [-source.similarity for source in outcome.ranked]
    assert losses == sorted(losses)
    context = context_of(world.trainer, world.target)
    assert context.losses is not None
    values = [world.bank.prompt(source.value) for source in outcome.ranked]
    assert_close(losses, context.losses(values))


@pytest.mark.parametrize(("limit", "examples"), [(0, 32), (8, 8)])
def test_trial_never_looks_at_more_training_examples_than_the_recipe_allows(
    limit: int, examples: int, world: World, backbone: Backbone
) -> None:
    trainer = world.trainer.with_recipe(
        dataclasses.replace(world.trainer.recipe, train_limit=limit)
    )
    context = context_of(trainer, world.target)
    assert context.losses is not None
    prompts = [np.ones((4, backbone.width), np.float32)]
    seen = trainer.data(world.target)[Split.TRAIN].tokens
    assert len(seen) == examples
    assert_close(context.losses(prompts), mean_losses(backbone, prompts, seen))


def test_sources_that_share_texts_with_the_target_are_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.overlaps.SHARED_TEXTS", (frozenset({"target", "second"}),))
    outcome = transfer(world, top_k=10)
    assert outcome.left_out == ["second"]
    generic = TransferOptions(method="generic", source="second")
    with pytest.raises(
        RetrievalError, match=r"source 'second' is left out: .* give --allow-overlap"
    ):
        run_transfer(world.trainer, world.target, seed=0, options=generic)
    assert {source.task for source in outcome.ranked} == {"first", "third", "fourth"}
    allowed = transfer(world, top_k=10, allow_overlap=True)
    assert allowed.left_out == []
    assert {source.task for source in allowed.ranked} == set(SOURCES)


def long_task(
    folder: Path, name: str, *, train: int, test: int, sizes: tuple[int, int, int] = (16, 8, 8)
) -> Path:
    """A task file whose texts, long enough to be compared, follow from numbers that count on from those given."""
    path = write_task(folder, name, sizes=sizes)
    for split, first, size in (
        ("train", train, sizes[0]),
        ("dev", 900 + test, sizes[1]),
        ("test", test, sizes[2]),
    ):
        rows = [
            f"{('kamo', 'tepo')[i % 2]} {' '.join(sentences(2, seed=first + i))},{('good', 'bad')[i % 2]}"
            for i in range(size)
        ]
        text = "\n".join(["text,label", *rows]) + "\n"
        (folder / f"{name}_{split}.csv").write_text(text.replace(". ", " "), encoding="utf-8")
    return path


def test_a_task_of_ones_own_that_holds_the_targets_test_texts_is_left_out_by_its_texts(
    world: World, tmp_path: Path
) -> None:
    target = get_task(str(long_task(tmp_path, "mine", train=100, test=200)))
    copied = get_task(str(long_task(tmp_path, "copied", train=200, test=300)))
    apart = get_task(str(long_task(tmp_path, "apart", train=400, test=500)))
    both = Mixture(name="both", members=(apart, copied))
    world.trainer.run_all([world.trainer.spec(task, 0, "source") for task in (copied, apart, both)])
    assert sharing_texts(world.trainer, target) == ["both", "copied"]
    outcome = run_transfer(world.trainer, target, seed=0, options=TransferOptions(top_k=1))
    assert outcome.left_out == ["both", "copied"]
    assert "apart" in {source.task for source in outcome.ranked}


def test_a_target_without_its_test_split_is_ranked_for_and_that_is_said(
    world: World, tmp_path: Path
) -> None:
    said: list[str] = []
    datasets = Datasets(world.trainer.backbone, tell=said.append)
    trainer = Trainer(world.bank, world.trainer.backbone, world.trainer.recipe, datasets=datasets)
    copied = get_task(str(long_task(tmp_path, "copied", train=200, test=300)))
    trainer.run(copied, seed=0, role="source")
    target = get_task(str(long_task(tmp_path, "mine", train=100, test=200)))
    (tmp_path / "mine_test.csv").unlink()
    assert sharing_texts(trainer, target) == []
    assert any(
        line.startswith("mine: sources that hold its test texts are not known") for line in said
    )


def test_a_task_of_a_banks_name_with_other_content_is_refused_before_training(
    world: World, tmp_path: Path
) -> None:
    first = get_task(str(long_task(tmp_path, "mine", train=100, test=200)))
    world.trainer.run(first, seed=0, role="source")
    other = get_task(str(long_task(tmp_path, "mine", train=500, test=600)))
    with pytest.raises(
        BankError, match=r"task 'mine' in bank .* is another one: its file or data differ"
    ):
        refusing(world.trainer).run(other, seed=0, role="source")


# -- measures without a query --------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["text", "demonstrations", "trial"])
def test_a_measure_that_compares_no_query_ranks_alike_with_one_and_without(
    world: World, measure: str
) -> None:
    trainer = refusing(world.trainer)
    retriever = retriever_for(trainer, world.target)
    options: dict[str, Any] = {"similarity": measure, "aggregate": "mean"}
    bare = rank_for(trainer, world.target, retriever, None, **options)
    assert bare.cautions == []
    assert [source.similarities for source in bare.ranked] == [
        {measure: source.similarity} for source in bare.ranked
    ]
    ranked = transfer(world, similarity=measure, top_k=1).ranked
    assert [(s.task, s.similarity) for s in ranked] == [(s.task, s.similarity) for s in bare.ranked]
    assert set(ranked[0].similarities) == {"average", "per_token", measure}


def test_a_measure_that_compares_a_query_does_not_rank_without_one(world: World) -> None:
    retriever = retriever_for(world.trainer, world.target)
    for measure in ("auto", "average", "evidence", "neurons"):
        with pytest.raises(RetrievalError, match="compares a query"):
            retriever.rank(None, measure=measure)


def test_every_task_that_is_trained_on_has_a_signature_in_the_bank(
    world: World, tasks: dict[str, Task]
) -> None:
    assert world.bank.lacking_texts() == []
    known = world.bank.signatures([*tasks])
    assert {name: known[name] for name in tasks} == {
        name: task_signature(task).astype("<f2").tobytes() for name, task in tasks.items()
    }


def test_the_query_of_a_target_of_few_examples_is_of_their_words(world: World) -> None:
    few = world.trainer.with_recipe(dataclasses.replace(world.trainer.recipe, train_limit=4))
    context = context_of(few, world.target)
    assert context.signature is not None
    assert np.array_equal(context.signature(), task_signature(world.target, limit=4))
    assert not np.array_equal(context.signature(), task_signature(world.target))


def test_every_input_may_mix_the_values_of_the_sources_for_itself(world: World) -> None:
    """ATTEMPT: the run is of another form than its sources, and is banked, answered and recorded as any."""
    options = TransferOptions(method="attention", top_k=2)
    result = run_transfer(world.trainer, world.target, seed=0, options=options)
    bank = world.bank
    values = [bank.prompt(candidate.source.value) for candidate in result.candidates]
    (start,) = {candidate.start for candidate in result.candidates}
    own, down, up, *sources = bank.prompt(start)
    begun = start_of(world.trainer.recipe, world.trainer.backbone, world.target, 0)
    np.testing.assert_array_equal(own, begun)
    np.testing.assert_array_equal(sources, values)
    learnt = bank.prompt(result.chosen_run.value)
    for index, part in enumerate((own, down, up)):
        assert np.abs(learnt[index] - part).max() > 1e-3
    assert_close(learnt[3:], np.stack(values), relative=1e-3)  # but for weight decay
    assert result.gain is not None
    assert verify(bank) == []
    again = run_transfer(world.trainer, world.target, seed=0, options=options)
    assert again.digest == result.digest


def test_prompts_of_another_form_are_not_mixed_by_attention(world: World) -> None:
    deep = dataclasses.replace(world.trainer.recipe, form="deep")
    options = TransferOptions(method="attention")
    with pytest.raises(TrainingError, match=r"prompts before the input; .* of form deep"):
        run_transfer(world.trainer.alone(deep), world.target, seed=0, options=options)
