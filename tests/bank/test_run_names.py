"""Tags and versions name runs; removed ones are hidden until they are restored, asked for, or purged."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bank import Bank, BankError, Partition, RunRecord, TaskRecord
from bank.files import exported, record_ensemble
from bank.integrity import verify
from bank.listing import count, list_prompts, list_runs, list_tasks, show_run
from bank.selection import Selection
from tests.bank.conftest import damage, transfer_of

RunMaker = Callable[..., RunRecord]

NOW = dt.timedelta(0)


def purge(bank: Bank, after: dt.timedelta = NOW) -> tuple[list[str], int, list[str]]:
    done = bank.purge(dt.datetime.now(dt.UTC) - after)
    return list(done.runs), done.prompts, list(done.kept)


def three_runs(bank: Bank, make_run: RunMaker) -> list[str]:
    """Runs of one task: the second is the best, the last one the latest."""
    return [
        bank.record_run(
            make_run("sst2", seed, score=score, value=make_run(f"x{seed}").value.prompt)
        )
        for seed, score in enumerate((80.0, 90.0, 85.0))
    ]


# -- names -----------------------------------------------------------------------------------------------------


def test_the_best_and_the_latest_run_of_a_task_have_names(bank: Bank, make_run: RunMaker) -> None:
    first, best, latest = three_runs(bank, make_run)
    bank.record_run(make_run("sst2", 9, role="query", score=99.0))
    bank.record_run(make_run("mnli", score=95.0))
    assert show_run(bank.engine, "sst2@best")["run"] == best
    assert show_run(bank.engine, "sst2@latest")["run"] == latest
    assert bank.find_prompt("sst2@best").tolist() == bank.find_prompt(best).tolist()
    assert (
        bank.find_prompt("sst2@best", kind="key").tolist()
        == bank.find_prompt(best, kind="key").tolist()
    )
    assert exported(bank, "sst2@latest").metadata["run"] == latest
    damage(bank, f"UPDATE run SET created = '2020-02-02 00:00:00.000000' WHERE digest <> '{first}'")
    assert show_run(bank.engine, "sst2@latest")["run"] == first


def test_an_ensemble_is_named_by_its_tags_and_not_by_its_score(
    bank: Bank, make_run: RunMaker
) -> None:
    first = bank.record_run(make_run("sst2", score=80.0))
    ask = {
        "task": TaskRecord(name="sst2", family="sentiment"),
        "backbone": make_run().identity.recipe.backbone, "form": "prompt", "by": "vote", "members": ["a", "b"],
    }  # fmt: skip
    prompts = np.stack([make_run().value.prompt, make_run("x").value.prompt])
    best, fewer = (
        record_ensemble(bank, prompts, examples=examples, metrics={"score": 99.0}, **ask)
        for examples in ("all", "few")
    )
    assert best != fewer, "scores of other examples are of another run"
    bank.tag(best, ["together"])
    assert show_run(bank.engine, "sst2@together")["run"] == best
    for alias in ("sst2@best", "sst2@latest"):
        assert show_run(bank.engine, alias)["run"] == first
    assert bank.partitions() == [Partition.of(make_run().identity.recipe)]
    bank.remove(Selection(runs=[first]))
    assert show_run(bank.engine, "sst2@best")["run"] in (best, fewer), "there is nothing else"
    assert (bank.partitions(), bank.source_recipes()[1:]) == ([], [])


def test_what_is_removed_by_a_name_comes_back_by_it(bank: Bank, make_run: RunMaker) -> None:
    first, best, latest = three_runs(bank, make_run)
    bank.tag(first, ["v1"])
    for name, run in (("sst2@best", best), ("sst2@v1", first)):
        assert bank.remove(Selection(runs=[name])) == [run]
        assert bank.restore(Selection(runs=[name])) == [run]
    bank.remove(Selection(tasks=["sst2"]))
    with pytest.raises(BankError, match="task 'sst2' has no runs in the bank"):
        show_run(bank.engine, "sst2@latest")
    assert bank.source_recipes() == []
    assert bank.restore(Selection(runs=["sst2@latest"])) == [latest]


def test_of_equal_runs_the_best_is_that_which_a_transfer_chose(
    bank: Bank, make_run: RunMaker
) -> None:
    source, query = (
        bank.record_run(make_run("mnli")),
        bank.record_run(make_run("rte", role="query")),
    )
    runs = [bank.record_run(make_run("rte", seed, role="transfer")) for seed in range(3)]
    damage(bank, "UPDATE run SET created = '2026-02-02 00:00:00.000000'")
    for chosen in runs:
        with Bank.copied(str(bank.engine.url.database)) as copy:
            copy.record_transfer(transfer_of(source, query, chosen))
            assert show_run(copy.engine, "rte@best")["run"] == chosen
    better = bank.record_run(make_run("rte", 3, role="transfer", score=91.0))
    assert show_run(bank.engine, "rte@best")["run"] == better


def test_a_tag_names_the_best_of_the_runs_that_have_it(bank: Bank, make_run: RunMaker) -> None:
    first, _, latest = three_runs(bank, make_run)
    assert bank.tag(first[:10], ["v1", "v1", "old"]) == first
    assert bank.tag("sst2@latest", ["v1"]) == latest
    bank.tag(latest, ["v1"])
    assert show_run(bank.engine, "sst2@v1")["run"] == latest
    assert show_run(bank.engine, first)["tags"] == ["old", "v1"]
    assert [row["tags"] for row in list_runs(bank.engine)] == [["v1"], [], ["old", "v1"]]
    assert list_tasks(bank.engine)[0]["tags"] == ["old", "v1"]
    bank.untag("sst2@v1", ["v1"])
    assert show_run(bank.engine, "sst2@v1")["run"] == first
    assert verify(bank) == []


def test_a_prompt_s_address_tags_the_run_that_has_it(bank: Bank, make_run: RunMaker) -> None:
    digest = bank.record_run(make_run())
    stored = bank.run(digest)
    assert stored is not None
    assert bank.tag(stored.value[:12], ["v1"]) == digest
    twin = bank.record_run(make_run(seed=1, value=make_run().value.prompt))
    with pytest.raises(
        BankError, match=f"one of several runs .{digest[:12]}, {twin[:12]}.; name one"
    ):
        bank.tag(stored.value, ["v2"])


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("mnli@best", "task 'mnli' has no runs in the bank"),
        ("sst2@v9", "no run of task 'sst2' has the tag 'v9'; `spot bank runs --task sst2` shows"),
        ("0123456789", "'0123456789' is not in the bank"),
    ],
)
def test_a_name_of_nothing_is_one_line(
    bank: Bank, make_run: RunMaker, name: str, complaint: str
) -> None:
    three_runs(bank, make_run)
    for find in (bank.find_prompt, lambda name: bank.tag(name, ["v1"])):
        with pytest.raises(BankError, match=complaint):
            find(name)


@pytest.mark.parametrize("tag", ["best", "latest", "", "a b", "-v", "a@b", "x" * 65, "é"])
def test_what_can_be_no_tag_is_refused(bank: Bank, make_run: RunMaker, tag: str) -> None:
    digest = bank.record_run(make_run())
    with pytest.raises(BankError, match=r"can be no tag|is no tag"):
        bank.tag(digest, ["fine", tag])
    with pytest.raises(BankError, match=r"has no tag 'v1'; it has none"):
        bank.untag(digest, ["v1"])
    assert bank.count_rows()["tag"] == 0


def test_runs_for_several_backbones_are_not_compared(bank: Bank, make_run: RunMaker) -> None:
    bank.record_run(make_run())
    bank.record_run(make_run(fingerprint="0" * 64))
    with pytest.raises(BankError, match="sst2@best names runs for 2 backbones"):
        bank.find_prompt("sst2@best")


# -- removal ---------------------------------------------------------------------------------------------------


def test_a_removed_run_is_hidden_until_it_is_restored(bank: Bank, make_run: RunMaker) -> None:
    first, best, latest = three_runs(bank, make_run)
    partition = Partition.of(make_run().identity.recipe)
    bank.tag(best, ["v1"])
    selection = Selection(runs=["sst2@v1"])
    assert bank.remove(selection) == [best]
    assert sorted(bank.keys(partition).runs) == sorted([first, latest])
    assert {row["run"] for row in list_runs(bank.engine)} == {first[:12], latest[:12]}
    (hidden,) = list_runs(bank.engine, removed=True)
    assert (hidden["run"], hidden["tags"]) == (best[:12], ["v1"])
    assert hidden["removed"].startswith("20")
    assert show_run(bank.engine, best)["removed"] == hidden["removed"]
    assert show_run(bank.engine, "sst2@best")["run"] == latest
    assert list_tasks(bank.engine)[0]["source"] == 2
    assert (count(bank.engine, "runs"), count(bank.engine, "runs", removed=True)) == (2, 1)
    assert len(list_prompts(bank.engine)) == count(bank.engine, "prompts") == 4
    with pytest.raises(
        BankError, match=f"is removed; `spot bank restore {best[:12]}` brings it back"
    ):
        bank.find_prompt(best)
    with pytest.raises(BankError, match="no run of task 'sst2' has the tag 'v1'"):
        bank.find_prompt("sst2@v1")
    assert verify(bank) == []
    assert bank.restore(Selection(tags=["v1"])) == [best]
    assert len(bank.keys(partition).runs) == 3
    assert show_run(bank.engine, "sst2@best")["run"] == best


def test_a_task_without_runs_that_are_there_has_no_keys(bank: Bank, make_run: RunMaker) -> None:
    bank.record_run(make_run())
    partition = Partition.of(make_run().identity.recipe)
    bank.remove(Selection(tasks=["sst2"]))
    assert (bank.partitions(), bank.sources(partition), list_tasks(bank.engine)) == ([], [], [])
    with pytest.raises(BankError, match="no run is all of that"):
        bank.remove(Selection(tasks=["sst2"]))
    with pytest.raises(BankError, match="no removed run is all of that"):
        bank.restore(Selection(tasks=["sst2"], seeds=[4]))


def test_a_removed_run_counts_as_held_and_comes_back_when_asked_for(
    bank: Bank, make_run: RunMaker
) -> None:
    record, twin = make_run(), make_run(role="baseline").identity
    digest = bank.record_run(record)
    bank.record_twin(twin, digest)
    for ask in (
        lambda: bank.record_run(record),
        lambda: bank.record_twin(twin, digest),
        lambda: bank.restore_wanted([digest, twin.digest]),
    ):
        bank.remove(Selection(tasks=["sst2"]))
        assert bank.run(digest) is not None
        ask()
        assert list_runs(bank.engine)
    assert list_runs(bank.engine, removed=True) == []


def test_outcomes_of_removed_runs_teach_nothing(bank: Bank, make_run: RunMaker) -> None:
    source, query, outcome = (
        bank.record_run(make_run(task, role=role))
        for task, role in (("mnli", "source"), ("rte", "query"), ("rte", "transfer"))
    )
    bank.record_transfer(transfer_of(source, query, outcome))
    partition = Partition.of(make_run().identity.recipe)
    assert len(bank.outcomes(partition)) == 1
    for task in ("mnli", "rte"):
        bank.remove(Selection(tasks=[task]))
        assert bank.outcomes(partition) == []
        bank.restore(Selection(tasks=[task]))
    assert len(bank.outcomes(partition)) == 1


# -- purging ---------------------------------------------------------------------------------------------------


def test_a_purge_deletes_what_was_removed_long_ago_and_what_nothing_else_needs(
    bank: Bank, make_run: RunMaker
) -> None:
    first, best, latest = three_runs(bank, make_run)
    bank.record_run(make_run("mnli", length=5))
    kept = bank.put(make_run("average").value.prompt)
    bank.tag(first, ["v1"])
    bank.record_evaluation(first, "e" * 64, metrics={"accuracy": 1.0}, answers=["yes"])
    bank.remove(Selection(runs=[first]))
    bank.remove(Selection(tasks=["mnli"]))
    assert purge(bank, dt.timedelta(days=1)) == ([], 0, [])
    damage(bank, "UPDATE run SET removed = '2021-01-01 00:00:00.000000' WHERE removed IS NOT NULL")
    deleted, prompts, left = purge(bank, dt.timedelta(days=1))
    assert (deleted[0], len(deleted), prompts, left) == (first, 2, 4, [])
    counts = bank.count_rows()
    assert (counts["run"], counts["task"], counts["recipe"], counts["backbone"]) == (2, 1, 1, 1)
    assert (counts["tag"], counts["evaluation"], counts["prompt"], counts["key_vectors"]) == (
        0,
        0,
        5,
        5,
    )
    assert bank.prompt(kept).shape == (3, 4)
    assert set(bank.runs([first, best, latest])) == {best, latest}
    assert verify(bank) == []


def test_a_prompt_that_another_run_has_stays(bank: Bank, make_run: RunMaker) -> None:
    digest = bank.record_run(make_run())
    other = bank.record_run(make_run("mnli"))
    twin = bank.record_twin(make_run(role="baseline").identity, digest)
    bank.remove(Selection(runs=[digest]))
    assert purge(bank) == ([digest], 0, [])
    assert bank.find_prompt(twin).tolist() == make_run().value.prompt.tolist()
    assert verify(bank) == []
    bank.record_run(make_run())
    bank.remove(Selection(runs=[digest, twin, other]))
    assert purge(bank)[1:] == (4, [])
    assert set(bank.count_rows().values()) == {0}
    bank.record_run(make_run())
    assert verify(bank) == []


def test_runs_that_transfers_name_are_not_purged(bank: Bank, make_run: RunMaker) -> None:
    source, query, outcome = (
        bank.record_run(make_run(task, role=role))
        for task, role in (("mnli", "source"), ("rte", "query"), ("rte", "transfer"))
    )
    bank.record_transfer(transfer_of(source, query, outcome))
    alone = bank.record_run(make_run("cola"))
    bank.remove(Selection(tasks=["mnli", "rte", "cola"]))
    assert purge(bank) == ([alone], 2, [source, query, outcome])
    assert bank.count_rows()["transfer"] == 1
    assert verify(bank) == []


def test_a_reader_of_an_older_bank_finds_versions_too(tmp_path: Path) -> None:
    first = Path(__file__).parents[1] / "banks" / "first_release.sqlite"
    with Bank.open(first, create=False) as bank:
        assert bank.find_prompt("wn_pos@best").shape == (4, 256)
        with pytest.raises(BankError, match="has the tag 'v1'"):
            bank.find_prompt("wn_pos@v1")
        assert list_runs(bank.engine, removed=True) == []
