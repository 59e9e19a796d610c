"""A published bank comes back with the same bits; what is damaged is refused in one line, and nothing is written."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bank import Bank, BankError, Partition, RunRecord, SnapshotRecord
from bank import manifest as manifests
from bank.card import card_of
from bank.integrity import verify
from bank.manifest import KINDS, Published
from bank.publish import LICENCE, check_sound, published, store
from bank.repository import CARD, MANIFEST, PROMPTS, read_repository, write_repository
from bank.schema import Base
from bank.selection import Selection
from tests.bank.conftest import damage, run_of
from tests.bank.test_integrity import RECIPE, fill, trained

ALL = Selection(roles=("source", "query", "baseline", "transfer"))

LATER: dict[str, set[str]] = {"run": {"removed"}}
"""Columns that are a bank's own and not published."""


def deep_run(task: str = "fish") -> RunRecord:
    """A source whose prompts have an axis more."""
    record = trained(task, 0, "source", (50.0, 60.0, 70.0))
    early, late = np.random.default_rng(5).normal(size=(2, 2, 3, 4)).astype(np.float32)
    recipe = dataclasses.replace(RECIPE, options={"form": "deep"}, family="b" * 64)
    return dataclasses.replace(
        record,
        identity=dataclasses.replace(record.identity, recipe=recipe),
        key=SnapshotRecord(prompt=early, step=10),
        value=dataclasses.replace(record.value, prompt=late),
        start=np.ones(8),
        metrics={},
        history=[],
    )


def mixture_run() -> RunRecord:
    record = trained("cats+dogs", 0, "source", (50.0, 60.0, 70.0))
    task = dataclasses.replace(
        record.identity.task,
        description={"family": "toys", "tasks": ["cats", "dogs"]},
        signature=np.linspace(0, 1, 1 << 14).astype("<f2").tobytes(),
    )
    return dataclasses.replace(record, identity=dataclasses.replace(record.identity, task=task))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank with sources, transfers, answers, a mixture, tags, and prompts with more axes."""
    path = tmp_path_factory.mktemp("whole") / "bank.sqlite"
    with Bank.open(path) as bank:
        fill(bank, seeds=2)
        bank.record_run(mixture_run())
        bank.tag(
            bank.record_run(dataclasses.replace(deep_run(), environment={"host": "há|b"})), ["v1"]
        )
        assert verify(bank) == []
    return path


@pytest.fixture(scope="module")
def repository(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pushed(whole, tmp_path_factory.mktemp("pushed") / "bank")


def content_of(path: Path, selection: Selection = ALL, **options: Any) -> Published:
    with Bank.open(path, create=False) as bank:
        return published(
            bank, selection, program="0", **{"evidence": True, "answers": True} | options
        )


def pushed(bank: Path, folder: Path, selection: Selection = ALL, **options: Any) -> Path:
    content = content_of(bank, selection, **options)
    write_repository(folder, content, card_of(content, "a bank", "here"))
    return folder


def tables(path: Path) -> dict[str, list[Any]]:
    """All rows of a bank without their ids."""
    with Bank.open(path, create=False) as bank, bank.engine.connect() as connection:
        return {
            table.name: sorted(
                repr([getattr(cell, "tolist", lambda cell=cell: cell)() for cell in row])
                for row in connection.execute(
                    table.select().with_only_columns(
                        *(c for c in table.columns if not c.primary_key and not c.foreign_keys)
                    )
                )
            )
            for table in Base.metadata.sorted_tables
        }


# -- round trip ------------------------------------------------------------------------------------------------


def test_a_pulled_bank_has_the_same_rows_keys_and_digests(
    whole: Path, repository: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.sqlite"
    with Bank.open(copy) as bank:
        stored = store(bank, read_repository(repository))
        assert (len(stored.added), stored.held, stored.transfers) == (12, [], 2)
        assert verify(bank) == []
        with Bank.open(whole, create=False) as original:
            assert sorted(map(str, bank.partitions())) == sorted(map(str, original.partitions()))
            for partition in original.partitions():
                ours, theirs = bank.keys(partition), original.keys(partition)
                assert list(ours.runs) == list(theirs.runs)
                assert list(ours.values) == list(theirs.values)
                for kind in ("average", "average_normalized", "start"):
                    assert ours.vectors(kind).tobytes() == theirs.vectors(kind).tobytes()
                assert bank.outcomes(partition) == original.outcomes(partition)
    assert tables(copy) == tables(whole)


def test_what_is_pulled_is_published_as_the_same_bytes(repository: Path, tmp_path: Path) -> None:
    with Bank.open(tmp_path / "copy.sqlite") as bank:
        store(bank, read_repository(repository))
    again = pushed(tmp_path / "copy.sqlite", tmp_path / "again")
    for name in (PROMPTS, MANIFEST, CARD):
        assert (again / name).read_bytes() == (repository / name).read_bytes()


def test_a_bank_of_the_first_release_goes_through(tmp_path: Path) -> None:
    first = Path(__file__).parents[1] / "banks" / "first_release.sqlite"
    folder = pushed(first, tmp_path / "out")
    with Bank.open(tmp_path / "copy.sqlite") as bank:
        store(bank, read_repository(folder))
        assert verify(bank) == []
        assert bank.count_rows()["transfer"] == 1


def test_a_bank_in_memory_pulls_twice_and_keeps_one(repository: Path) -> None:
    content = read_repository(repository)
    with Bank.open("sqlite:///:memory:") as bank:
        store(bank, content)
        before = bank.count_rows()
        again = store(bank, content)
        assert (again.added, len(again.held), again.transfers) == ([], 12, 0)
        assert bank.count_rows() == before


def test_the_manifest_has_every_column_that_is_not_of_a_bank_alone() -> None:
    def columns(kind: manifests.Kind) -> None:
        table = Base.metadata.tables[kind.table]
        own = {c.name for c in table.columns if not c.primary_key and not c.foreign_keys}
        assert own - LATER.get(kind.table, set()) - {*kind.arrays} == {*kind.columns}
        for other in kind.lists.values():
            columns(other)

    for kind in KINDS.values():
        columns(kind)


# -- selections ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "runs"),
    [
        (Selection(), 6),
        (Selection(tasks=("cats",)), 2),
        (Selection(tasks=("cats", "dogs"), seeds=(1,)), 2),
        (Selection(roles=("baseline",)), 2),
        (Selection(tags=("v1",)), 1),
        (Selection(runs=("fish@v1", "birds@best")), 2),
    ],
)
def test_what_is_selected_is_published(whole: Path, selection: Selection, runs: int) -> None:
    content = content_of(whole, selection, evidence=False)
    assert (len(content.rows["runs"]), content.rows["transfers"]) == (runs, [])
    assert len(content.by_name("tasks")) == len({run["task"] for run in content.rows["runs"]})


def test_evidence_needs_all_sources_of_a_transfer(whole: Path) -> None:
    sources = content_of(whole, Selection())
    assert {run["role"] for run in sources.rows["runs"]} == {"source", "baseline", "transfer"}
    assert len(sources.rows["transfers"]) == 2
    assert content_of(whole, Selection(tasks=("cats",))).rows["transfers"] == []


def test_scores_without_answers_stand_in_the_card_and_in_no_bank(
    whole: Path, tmp_path: Path
) -> None:
    folder = pushed(whole, tmp_path / "out", answers=False)
    assert "| score 51.0 |" in (folder / CARD).read_text(encoding="utf-8")
    with Bank.open(tmp_path / "copy.sqlite") as bank:
        store(bank, read_repository(folder))
        assert bank.count_rows()["evaluation"] == 0
        assert verify(bank) == []


@pytest.mark.parametrize(
    ("selection", "complaint"),
    [
        (Selection(tasks=("cows",)), "no task 'cows' is in the bank; it has birds, cats,"),
        (Selection(tags=("v9",)), "no tag 'v9' is in the bank; it has v1"),
        (Selection(runs=("0000",)), "run '0000' is not in the bank"),
        (Selection(tasks=("cats",), seeds=(7,)), "no run is all of that"),
    ],
)
def test_what_is_not_there_cannot_be_selected(
    whole: Path, selection: Selection, complaint: str
) -> None:
    with pytest.raises(BankError, match=complaint.replace("(", r"\(")):
        content_of(whole, selection)
    with pytest.raises(BankError, match="role 'sauce' is not known"):
        Selection(roles=("sauce",))


def test_a_part_of_what_is_published_is_whole(repository: Path, tmp_path: Path) -> None:
    content = read_repository(repository)
    some = content.of_tasks(skip=["cats", "birds"])
    assert {run["task"] for run in some.rows["runs"]} == {"dogs", "cats+dogs", "fish"}
    assert some.rows["transfers"] == []
    with Bank.open(tmp_path / "copy.sqlite") as bank:
        store(bank, some)
        assert verify(bank) == []
    assert content.of_tasks(only=["fish"]).arrays.keys() < content.arrays.keys()
    with pytest.raises(BankError, match="task 'cows' is not published here; cats, dogs"):
        content.of_tasks(only=["cows"])
    with pytest.raises(BankError, match="no run is left"):
        content.of_tasks(only=["fish"], skip=["fish"])


def test_a_bank_that_is_not_sound_is_not_published(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(whole, tmp_path / "bank.sqlite"))
    with Bank.open(path) as bank:
        damage(bank, "UPDATE run SET score = 71 WHERE id = 1")
    with pytest.raises(
        BankError, match=r"not sound: run \w+: its score is 71, .* nothing was written"
    ):
        content_of(path)


# -- conflicts -------------------------------------------------------------------------------------------------


def test_tasks_of_the_same_name_and_other_content_are_refused_all_at_once(
    repository: Path, tmp_path: Path
) -> None:
    content = read_repository(repository)
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        for name in ("cats", "fish"):
            record = trained(name, 9, "source", (50.0, 60.0, 70.0))
            task = dataclasses.replace(record.identity.task, content="9" * 64)
            bank.record_run(
                dataclasses.replace(
                    record, identity=dataclasses.replace(record.identity, task=task)
                )
            )
        before = bank.count_rows()
        with pytest.raises(
            BankError, match=r"there: cats, fish: .*--skip cats --skip fish, or use"
        ):
            store(bank, content, where="there")
        assert bank.count_rows() == before
        store(bank, content.of_tasks(skip=["cats", "fish"]))
        assert verify(bank) == []


def test_a_run_that_was_trained_elsewhere_too_stays_as_it_is(
    repository: Path, tmp_path: Path
) -> None:
    content = read_repository(repository)
    record = trained("cats", 0, "source", (50.0, 60.0, 70.0))
    other = dataclasses.replace(
        record, value=dataclasses.replace(record.value, prompt=np.ones((3, 4)))
    )
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        digest = bank.record_run(other)
        stored = store(bank, content)
        assert (stored.differing, stored.transfers, stored.left_out) == ([digest], 1, 1)
        assert bank.find_prompt(digest).tolist() == np.ones((3, 4)).tolist()
        assert verify(bank) == []


def test_a_removed_run_that_is_pulled_is_restored(repository: Path, tmp_path: Path) -> None:
    content = read_repository(repository)
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        store(bank, content)
        (removed,) = bank.remove(Selection(tasks=("fish",)))
        assert store(bank, content).restored == [removed]
        assert bank.find_prompt(removed).shape == (2, 3, 4)


def test_runs_that_were_purged_are_pulled_again(repository: Path, tmp_path: Path) -> None:
    content = read_repository(repository)
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        store(bank, content)
        bank.remove(Selection(tasks=("fish", "cats+dogs")))
        done = bank.purge(dt.datetime.now(dt.UTC))
        assert (len(done.runs), done.prompts, done.kept) == (2, 4, [])
        assert verify(bank) == []
        assert len(store(bank, content).added) == 2
        assert verify(bank) == []


# -- damage ----------------------------------------------------------------------------------------------------


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Damage of the manifest."""

    def damaged(folder: Path) -> None:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        change(document)
        (folder / MANIFEST).write_text(json.dumps(document), encoding="utf-8")

    return damaged


def set_in(value: Any, *place: Any) -> Callable[[Path], None]:
    """Damage of one cell of the manifest."""

    def change(document: Any) -> None:
        for step in place[:-1]:
            document = document[step]
        document[place[-1]] = value

    return edited(change)


def arrays_changed(change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Path], None]:
    """Damage of the prompts."""

    def damaged(folder: Path) -> None:
        arrays = {name: array.copy() for name, array in load_file(folder / PROMPTS).items()}
        change(arrays)
        save_file(arrays, folder / PROMPTS)

    return damaged


def prompt_name(arrays: dict[str, np.ndarray]) -> str:
    return next(name for name in sorted(arrays) if "." not in name)


def poke(value: float) -> Callable[[Path], None]:
    return arrays_changed(
        lambda arrays: arrays[prompt_name(arrays)].reshape(-1).__setitem__(0, value)
    )


def bytes_changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes())) and None


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (shutil.rmtree, "no such folder"),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "bank.json: not there; a published bank has"),
    "no prompts": (lambda folder: (folder / PROMPTS).unlink(), "prompts.safetensors: not there"),
    "manifest cut": (bytes_changed(MANIFEST, lambda content: content[:999]), "bank.json: not JSON, or cut short"),
    "manifest of bytes": (bytes_changed(MANIFEST, lambda _: b"\xff\xfe\x00"), "bank.json: not JSON, or cut short"),
    "manifest nested": (bytes_changed(MANIFEST, lambda _: b"[" * 200_000), "nested too deep"),
    "a pointer": (
        bytes_changed(PROMPTS, lambda _: b"version https://git-lfs.github.com/spec/v1\n"), "a git-LFS pointer"),
    "prompts cut": (bytes_changed(PROMPTS, lambda content: content[:-4]), "not a safetensors file, or damaged"),
    "a pickle": (bytes_changed(PROMPTS, lambda _: b"\x80\x04cos\nsystem\n."), "not a safetensors file, or damaged"),
    "another format": (set_in("other", "format"), "no manifest of a bank"),
    "a later version": (set_in(2, "version"), "has version 2 of the format, this program knows 1"),
    "an unknown list": (set_in([], "notes"), "has an unknown field 'notes'"),
    "a missing list": (edited(lambda document: document.pop("transfers")), "lacks field 'transfers'"),
    "no list": (set_in({}, "runs"), "runs: is {}, expected a list"),
    "a missing field": (edited(lambda document: document["runs"][0].pop("seed")), "runs[0]: lacks field 'seed'"),
    "an unknown field": (set_in(1, "runs", 0, "sead"), "runs[0]: has an unknown field 'sead'"),
    "a cell of another kind": (set_in("0", "runs", 0, "seed"), "runs[0]: seed is '0', expected a whole number"),
    "a number too large": (set_in(2**63, "runs", 0, "seed"), "seed is 9223372036854775808, expected at most"),
    "text for an object": (set_in("{}", "runs", 0, "metrics"), "metrics is '{}', expected a JSON object"),
    "a number that is none": (set_in(float("nan"), "runs", 0, "score"), "NaN is no number of JSON"),
    "a time that is none": (set_in("yesterday", "runs", 0, "created"), "expected a time"),
    "a tag that is none": (set_in([{"name": "a b"}], "runs", 0, "tags"), "tags[0]: name is 'a b', expected a tag"),
    "twice the same": (
        edited(lambda document: document["runs"].append(document["runs"][0])), "stands there twice"),
    "a dangling name": (set_in("cows", "runs", 0, "task"), "runs[0]: task 'cows' is none of its tasks"),
    "a dangling run": (
        set_in("0" * 64, "transfers", 0, "candidates", 0, "source_run"), "candidates[0]: source_run '000"),
    "an address of nothing": (
        set_in("0" * 64, "runs", 0, "snapshots", 0, "prompt"), "lacks 000000000000000000, which run"),
    "another seed": (set_in(5, "runs", 0, "seed"), "its digest does not follow from its content"),
    "another option": (
        set_in(31, "recipes", 0, "options", "steps"), "recipe {}: its digest does not follow"),
    "another score": (set_in(99.0, "runs", 0, "score"), "not sound: run"),
    "no address": (
        arrays_changed(lambda arrays: arrays.__setitem__("prompt", np.ones((3, 4), np.float32))), "is no address"),
    "a wrong address": (
        arrays_changed(lambda arrays: arrays.__setitem__(
            "ee5c4ac7ca1bd1b3ffb8a7ab5ad0c0e9f4c9e0c6e5e4b6b4f8d1c1a0b0a09080", np.ones((3, 4), np.float32))),
        "its numbers differ from its address"),
    "other numbers": (poke(7.0), "its numbers differ from its address"),
    "not finite": (poke(float("inf")), "entries are NaN or infinite"),
    "another dtype": (
        arrays_changed(lambda arrays: arrays.update(
            {prompt_name(arrays): arrays[prompt_name(arrays)].astype(np.float64)})),
        "is float64 [3, 4], expected float32"),
    "a prompt lost": (arrays_changed(lambda arrays: arrays.pop(prompt_name(arrays))), "do not belong together"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_one_line_and_nothing_is_written(
    repository: Path, tmp_path: Path, name: str
) -> None:
    change, complaint = DAMAGES[name]
    folder = tmp_path / "bank"
    shutil.copytree(repository, folder)
    change(folder)
    with pytest.raises(BankError) as caught:
        check_sound(read_repository(folder), "there")
    line = str(caught.value)
    for part in complaint.split("{}", 1) if "recipe {}" in complaint else [complaint]:
        assert part in line
    assert "\n" not in line
    assert len(line) < 600


def test_prompts_that_the_manifest_does_not_name_are_refused(
    repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bank"
    shutil.copytree(repository, folder)
    edited(lambda document: [task.update(texts=None) for task in document["tasks"]])(folder)
    with pytest.raises(BankError, match=r"holds texts\..*, which bank.json does not name"):
        read_repository(folder)


# -- writing ---------------------------------------------------------------------------------------------------


def test_a_place_of_something_else_is_left_alone(whole: Path, tmp_path: Path) -> None:
    content = content_of(whole)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a").write_text("dear", encoding="utf-8")
    (tmp_path / "file").touch()
    for name in ("letters", "file"):
        with pytest.raises(BankError, match="exists and is no published bank"):
            write_repository(tmp_path / name, content, "")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["a"]


def test_a_published_bank_is_replaced_and_other_files_beside_it_stay(
    whole: Path, tmp_path: Path
) -> None:
    folder = pushed(whole, tmp_path / "deep" / "bank")
    (folder / ".gitattributes").write_text("*", encoding="utf-8")
    pushed(whole, folder, Selection(tasks=("cats",)))
    assert {path.name for path in folder.iterdir()} == {PROMPTS, MANIFEST, CARD, ".gitattributes"}
    assert [task["name"] for task in read_repository(folder).rows["tasks"]] == ["cats"]
    assert [path.name for path in folder.parent.iterdir()] == ["bank"]


def test_a_folder_that_is_there_may_be_the_working_one_or_a_link(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)
    monkeypatch.chdir(here)
    for place in (Path(), tmp_path / "link"):
        pushed(whole, place)
        assert {path.name for path in here.iterdir()} == {PROMPTS, MANIFEST, CARD}
        assert read_repository(here).rows["tasks"]
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / ".left.1.part").mkdir()
    assert read_repository(pushed(whole, tmp_path / "left")).rows["tasks"]


KILLED = """
import os, signal, sys
from pathlib import Path
import bank.folders
from bank import Bank, publish
from bank.repository import read_repository, write_repository

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

content = read_repository(Path(sys.argv[1]))
if sys.argv[2] == "write":
    bank.folders.os.replace = die
    write_repository(Path(sys.argv[3]), content, "card")
publish._put_transfers = die
publish.store(Bank.open(sys.argv[3]), content)
"""


def killed(*arguments: object) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_who_is_killed_while_writing_leaves_what_was_there(
    repository: Path, whole: Path, tmp_path: Path
) -> None:
    killed(repository, "write", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    old = pushed(whole, tmp_path / "old", Selection(tasks=("cats",)))
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    killed(repository, "write", old)
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
    path = tmp_path / "bank.sqlite"
    with Bank.open(path) as bank:
        bank.record_run(run_of())
        counts = bank.count_rows()
    killed(repository, "store", path)
    with Bank.open(path) as bank:
        assert bank.count_rows() == counts
        assert len(store(bank, read_repository(repository)).added) == 12
        assert verify(bank) == []


PULLER = """
import sys
from pathlib import Path
from bank import Bank
from bank.publish import store
from bank.repository import read_repository
content = read_repository(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
with Bank.open(sys.argv[2]) as bank:
    print(len(store(bank, content).added))
"""


def test_two_processes_that_pull_at_once_add_every_run_once(
    repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bank.sqlite"
    pullers = [
        subprocess.Popen(
            [sys.executable, "-c", PULLER, str(repository), str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for puller in pullers:
        assert puller.stdout is not None
        assert puller.stdout.readline() == "ready\n"
    added = []
    for puller in pullers:
        assert puller.stdin is not None
        puller.stdin.write("go\n")
        puller.stdin.flush()
    for puller in pullers:
        said, _ = puller.communicate(timeout=60)
        added.append(int(said))
    assert sorted(added) == [0, 12]
    with Bank.open(path) as bank:
        assert bank.count_rows()["run"] == 12
        assert verify(bank) == []


# -- the card --------------------------------------------------------------------------------------------------


def test_the_card_says_what_there_is(whole: Path) -> None:
    content = content_of(whole, licences={"cats": "CC BY 4.0, by the cats", "fish": "a | <b>"})
    assert content.by_name("tasks")["cats"]["description"][LICENCE] == "CC BY 4.0, by the cats"
    card = card_of(content, "toys", "hub:me/toys")
    start, matter, rest = card.split("---\n", 2)
    assert start == ""
    assert 'base_model: "toy"' in matter
    assert "library_name: spot-prompt-transfer" in matter
    assert '"soft-prompt"' in matter
    for line in (
        "# toys",
        "$ spot bank pull hub:me/toys",
        f"| toy | `{'f' * 64}` | 4 |",
        "| cats | CC BY 4.0, by the cats |",
        r"| fish | a \| \<b\> |",
        "| dogs | not stated |",
    ):
        assert line in rest.splitlines()
    assert "| cats | toys | source | 0, 1 | score | 70.0 | 70.0 |" in rest
    assert "2 transfers to birds" in rest
    assert rest.count("| cats, seed 0 |") == 1


def test_a_licence_is_kept_by_who_pulls(whole: Path, tmp_path: Path) -> None:
    folder = pushed(whole, tmp_path / "out", licences={"cats": "CC0"})
    with Bank.open(tmp_path / "copy.sqlite") as bank:
        store(bank, read_repository(folder))
        assert verify(bank) == []
    assert "| cats | CC0 |" in (
        pushed(tmp_path / "copy.sqlite", tmp_path / "again") / CARD
    ).read_text(encoding="utf-8")
    with pytest.raises(BankError, match="licence of task 'cows': it is not among"):
        content_of(whole, licences={"cows": "CC0"})


def test_no_name_breaks_the_card(tmp_path: Path) -> None:
    path = tmp_path / "bank.sqlite"
    with Bank.open(path) as bank:
        bank.record_run(run_of("it's | [a](http://x) `--- <b>", fingerprint="0" * 64))
    card = card_of(content_of(path), "a\nb", "it's here")
    assert "\n# a b\n" in card
    assert "$ spot bank pull 'it'\\''s here'" in card
    assert r"it's \| \[a\](http://x)" in card


def test_keys_of_one_partition_are_there_after_pulling(repository: Path) -> None:
    with Bank.open("sqlite:///:memory:") as bank:
        store(bank, read_repository(repository))
        keys = bank.keys(Partition.of(RECIPE))
        assert list(keys.tasks) == ["cats", "cats", "cats+dogs", "dogs", "dogs"]
