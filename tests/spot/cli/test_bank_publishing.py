"""``spot bank`` publishes to folders and hubs, pulls from there, and names, hides and deletes runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest

from bank import Bank
from bank.integrity import verify
from bank.repository import CARD, FILES, MANIFEST
from spot.cli import bank_publishing
from spot.retrieval.query import Query
from spot.retrieval.rank import Retriever
from spot.transfer.runs import Trainer
from tests.spot.transfer.doubles import RefusingExecutor

Spot = Callable[..., Any]

FIRST = Path(__file__).parents[2] / "banks" / "first_release.sqlite"
"""A bank of the embedded backbone."""


@pytest.fixture
def shipped(spot: Spot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bank of the embedded backbone that comes with the package as ``tiny``."""
    banks = tmp_path / "assets" / "banks"
    assert (
        spot("bank", "push", banks / "tiny", "--evidence", "--answers", "--bank", FIRST).code == 0
    )
    monkeypatch.setattr(bank_publishing, "banks_folder", lambda: banks)
    return banks / "tiny"


class Hub:
    """Stands for the hub: a folder for each repository and branch, and the calls that came."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, list[tuple[str, dict[str, Any]]]()

    def place(self, repository: str, revision: str | None) -> Path:
        return self.folder / repository / (revision or "main")

    def snapshot_download(self, repository: str, *, revision: str | None, **rest: Any) -> str:
        self.calls.append(("download", rest))
        place = self.place(repository, revision)
        if not place.is_dir():
            raise OSError(f"404 Client Error: {repository} not found")
        return str(place)

    def upload_folder(
        self, *, repo_id: str, folder_path: str, revision: str | None, **rest: Any
    ) -> Any:
        self.calls.append(("upload", rest))
        shutil.copytree(folder_path, self.place(repo_id, revision), dirs_exist_ok=True)
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    def api(self, *, token: str) -> Any:
        def told(name: str) -> Callable[..., None]:
            return lambda *arguments, **options: self.calls.append((name, options))

        return SimpleNamespace(create_repo=told("create"), create_branch=told("branch"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "upload_folder", hub.upload_folder)
    monkeypatch.setattr(huggingface_hub, "HfApi", hub.api)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return hub


# -- folders and what is shipped -----------------------------------------------------------------------------------


def test_a_bank_that_comes_with_the_package_ranks_as_the_one_it_was_made_from(
    spot: Spot, shipped: Path
) -> None:
    answer = spot("bank", "pull", "tiny", "--bank", "mine.sqlite")
    assert (answer.code, answer.err) == (0, "")
    assert (
        answer.out
        == "7 runs and 1 transfers added, 0 runs there already, in sqlite:///mine.sqlite\n"
    )
    assert spot("bank", "pull", "tiny", "--bank", "mine.sqlite").out.startswith("0 runs and 0 ")
    assert spot("bank", "verify", "--bank", "mine.sqlite").code == 0
    with Bank.open("mine.sqlite", create=False) as mine, Bank.open(FIRST, create=False) as first:
        (partition,) = {p for p in first.partitions() if p.prompt_length == 4}
        query = Query(np.random.default_rng(0).normal(size=(4, 256)).astype(np.float32), None)
        for measure in ("average", "per_token", "centred"):
            rows = [
                [
                    (r.task, r.similarity, r.value)
                    for r in Retriever(bank, partition).rank(query, measure=measure)
                ]
                for bank in (mine, first)
            ]
            assert rows[0] == rows[1]


def test_runs_that_were_pulled_or_removed_are_held(
    spot: Spot, shipped: Path, session_cache: Path
) -> None:
    from spot.backbone.load import load_backbone
    from tasks import get_task
    from tests.spot.transfer.test_first_release import RECIPE

    spot("bank", "pull", "tiny")
    spot("bank", "remove", "--task", "wn_pos", "--seed", "1")
    with Bank.open("bank.sqlite") as bank:
        trainer = Trainer(bank, load_backbone("tiny"), RECIPE, executor=RefusingExecutor())
        runs = trainer.run_all(
            [trainer.spec(get_task("wn_pos"), seed, "source") for seed in (0, 1)]
        )
        assert [run.seed for run in runs] == [0, 1]
    assert spot("bank", "runs", "--removed", "--json").document["total"] == 0


def test_push_pull_and_card_go_through_a_folder(
    spot: Spot, bank_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "words.toml").write_text("mnli = 'OANC'\n", encoding="utf-8")
    answer = spot("bank", "push", "out/toys", "--task", "mnli", "--licences", "words.toml")
    assert (answer.code, answer.out) == (0, "published 2 runs of 1 tasks in out/toys\n")
    assert {path.name for path in (tmp_path / "out" / "toys").iterdir()} == set(FILES)
    card = (tmp_path / "out" / "toys" / CARD).read_text(encoding="utf-8")
    assert "# toys" in card
    assert "| mnli | OANC |" in card
    printed = spot(
        "bank", "card", "--task", "mnli", "--title", "toys", "--licences", "words.toml"
    ).out
    assert printed.replace("hub:OWNER/toys", "out/toys") == card
    url = f"sqlite:///{bank_path}?timeout=77&check_same_thread=false"
    of_url = spot("bank", "card", "--bank", url).out
    assert f"# {bank_path.stem}\n" in of_url
    assert "timeout" not in of_url, "what else a URL holds may be a password"
    document = spot("bank", "pull", "out/toys", "--bank", "other.sqlite", "--json").document
    assert (len(document["added"]), document["transfers"]) == (2, 0)
    with Bank.open("other.sqlite", create=False) as bank:
        assert verify(bank) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("nowhere", "no such folder, and no bank that comes with this package (tiny)"),
        ("hub:nothing", "no repository of the hub; expected hub:OWNER/NAME"),
        ("hub:a/b@", "no repository of the hub"),
    ],
)
def test_a_source_of_nothing_is_one_line_and_makes_no_bank(
    spot: Spot, shipped: Path, tmp_path: Path, source: str, complaint: str
) -> None:
    assert complaint in spot("bank", "pull", source).error
    assert not (tmp_path / "bank.sqlite").exists()


def test_a_damaged_source_makes_no_bank(spot: Spot, shipped: Path, tmp_path: Path) -> None:
    content = (shipped / MANIFEST).read_text(encoding="utf-8")
    (shipped / MANIFEST).write_text(
        content.replace('"score": 70.0', '"score": 71.0', 1), encoding="utf-8"
    )
    assert "not sound" in spot("bank", "pull", "tiny").error
    assert not (tmp_path / "bank.sqlite").exists()


def test_only_and_skip_leave_tasks_out(spot: Spot, shipped: Path) -> None:
    spot("bank", "pull", "tiny", "--only", "wn_pos", "--only", "wn_isa", "--skip", "wn_isa")
    assert [row["task"] for row in spot("bank", "tasks", "--json").document] == ["wn_pos"]
    assert (
        "task 'cows' is not published here" in spot("bank", "pull", "tiny", "--only", "cows").error
    )


def test_the_licence_of_a_built_in_task_needs_no_file(spot: Spot) -> None:
    card = spot("bank", "card", "--task", "wn_pos", "--bank", FIRST).out
    assert "| wn_pos | WordNet 3.0's |" in card


def test_licences_are_words(spot: Spot, bank_path: Path, tmp_path: Path) -> None:
    for content, complaint in (
        ("mnli = 5", "mnli is 5; expected"),
        ("mnli", "not TOML"),
        ("a = 'b'", "task 'a'"),
    ):
        (tmp_path / "words.toml").write_text(content, encoding="utf-8")
        assert complaint in spot("bank", "card", "--licences", "words.toml").error
    assert "cannot be read" in spot("bank", "card", "--licences", "missing.toml").error


# -- the hub -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["hub:me/toys", "hub:me/toys@v2"])
def test_push_and_pull_go_through_the_hub(
    spot: Spot, bank_path: Path, hub: Hub, place: str
) -> None:
    answer = spot("bank", "push", place, "--private", "--message", "toys")
    assert answer.out == "published 3 runs of 2 tasks in https://hub/me/toys/commit/1\n"
    calls = dict(hub.calls)
    assert calls["create"] == {"private": True, "exist_ok": True}
    assert ("branch" in calls) == ("@" in place)
    assert calls["upload"]["commit_message"] == "toys"
    assert calls["upload"]["token"] == "hf_secret"
    assert f"spot bank pull {place}" in next(hub.folder.rglob(CARD)).read_text(encoding="utf-8")
    assert spot("bank", "pull", place, "--bank", "other.sqlite").code == 0
    assert dict(hub.calls)["download"]["allow_patterns"] == list(FILES)
    with Bank.open("other.sqlite", create=False) as bank:
        assert bank.count_rows()["run"] == 3


def test_a_hub_that_says_no_is_one_line_without_the_token(
    spot: Spot, bank_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = spot("bank", "pull", "hub:me/none").error
    assert error.startswith("hub:me/none: the hub did not let us read it (404 Client Error")
    assert "secret" not in error
    monkeypatch.delenv("HF_TOKEN")
    assert "set HF_TOKEN" in spot("bank", "push", "hub:me/toys").error
    assert [name for name, _ in hub.calls] == ["download"]
    spot("bank", "pull", "hub:me/none")
    assert hub.calls[-1][1]["token"] is False


# -- names and removal ---------------------------------------------------------------------------------------------


def test_a_tagged_run_is_named_wherever_a_prompt_is(spot: Spot, bank_path: Path) -> None:
    (first, *_) = spot("bank", "runs", "--role", "source", "--task", "mnli", "--json").document[
        "runs"
    ]
    assert f"run {first['run']}" in spot("bank", "tag", first["run"], "v1", "good").out
    assert spot("bank", "show", "mnli@v1").document["tags"] == ["good", "v1"]
    assert "good v1" in spot("bank", "runs").out
    assert "good v1" in spot("bank", "tasks").out
    assert spot("bank", "export", "mnli@good", "one.npy").code == 0
    assert spot("bank", "export", first["run"], "two.npy").code == 0
    assert Path("one.npy").read_bytes() == Path("two.npy").read_bytes()
    assert spot("bank", "untag", "mnli@v1", "v1", "good").code == 0
    assert "has the tag 'v1'" in spot("bank", "export", "mnli@v1", "three.npy").error


def test_predict_and_train_take_versions(spot: Spot, bank_path: Path) -> None:
    error = spot("predict", "wn_living", "x", "--prompt", "mnli@best").error
    assert "made for backbone" in error or "was made for" in error
    error = spot("train-source", "wn_pos", "--start", "mnli@v9").error
    assert "no run of task 'mnli' has the tag 'v9'" in error
    assert (
        "missing@best.npy: no such file"
        in spot("predict", "wn_living", "x", "--prompt", "missing@best.npy").error
    )


def test_removal_is_undone_and_purging_is_not(spot: Spot, bank_path: Path) -> None:
    assert "no run is named" in spot("bank", "remove").error
    assert "no run is named" in spot("bank", "restore").error
    assert spot("bank", "remove", "--task", "mnli").out.startswith("2 runs removed in ")
    assert spot("bank", "runs", "--json").document["total"] == 3
    assert spot("bank", "runs", "--removed", "--json").document["total"] == 2
    assert spot("bank", "restore", "--task", "mnli", "--seed", "1").out.startswith(
        "1 runs restored"
    )
    out = spot("bank", "purge", "--older-than", "0").out
    assert out.splitlines()[0].startswith("0 runs and 0 prompts deleted")
    assert "1 removed runs are kept, for transfers name them" in out
    assert spot("bank", "purge", "--older-than", "-1").code == 2
    assert spot("bank", "verify").code == 0
