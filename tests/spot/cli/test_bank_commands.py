"""``spot bank`` shows, checks, exports and imports what a bank holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bank import Bank
from spot.prompts.files import read_prompt
from spot.prompts.write import write_prompt
from tests.closeness import assert_close

Spot = Callable[..., Any]


def execute(path: Path, statement: str) -> None:
    """Change a bank behind its back."""
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("command", ["tasks", "runs", "prompts", "transfers", "verify"])
def test_json_is_one_document(spot: Spot, bank_path: Path, command: str) -> None:
    answer = spot("bank", command, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.document


@pytest.mark.parametrize("command", ["tasks", "runs", "prompts", "transfers", "recyclers"])
def test_an_empty_bank_is_an_empty_list(spot: Spot, tmp_path: Path, command: str) -> None:
    Bank.open(tmp_path / "bank.sqlite").close()
    document = spot("bank", command, "--json").document
    whole = command in ("tasks", "recyclers")
    assert document == ([] if whole else {"total": 0, command: []})
    plain = spot("bank", command)
    assert plain.code == 0
    assert plain.out.strip()


def test_tables_show_what_json_holds(spot: Spot, bank_path: Path) -> None:
    for command in ("tasks", "runs", "prompts"):
        document = spot("bank", command, "--json").document
        rows = document if command == "tasks" else document[command]
        table = spot("bank", command).out
        assert len(table.splitlines()) == len(rows) + 1
        for row in rows:
            assert all(value in table for value in row.values() if isinstance(value, str))


def test_runs_are_filtered(spot: Spot, bank_path: Path) -> None:
    assert len(spot("bank", "runs", "--json").document["runs"]) == 5
    rows = spot("bank", "runs", "--task", "mnli", "--role", "source", "--json").document["runs"]
    assert [(row["task"], row["seed"]) for row in rows] == [("mnli", 1), ("mnli", 0)]
    assert spot("bank", "runs", "--task", "unheard", "--json").document["runs"] == []


def test_a_listing_says_how_many_there_are(spot: Spot, bank_path: Path) -> None:
    everything = spot("bank", "runs", "--limit", "0").out.splitlines()
    *page, told = spot("bank", "runs", "--limit", "2").out.splitlines()
    assert [line.split() for line in page] == [line.split() for line in everything[:3]]
    assert told == "2 of 5 runs, newest first; --limit 0 lists all"
    document = spot("bank", "prompts", "--limit", "3", "--json").document
    assert (document["total"], len(document["prompts"])) == (10, 3)
    assert spot("bank", "transfers", "--limit", "1").out == spot("bank", "transfers").out
    assert spot("bank", "runs", "--limit", "-1").code == 2


def test_one_run_is_shown_by_the_start_of_its_digest(spot: Spot, bank_path: Path) -> None:
    (first, *_) = spot("bank", "runs", "--json").document["runs"]
    shown = spot("bank", "show", first["run"]).document
    assert shown["run"].startswith(first["run"])
    assert [snapshot["kind"] for snapshot in shown["snapshots"]] == ["key", "value"]


def test_transfers_show_their_sources(spot: Spot, bank_path: Path) -> None:
    (row,) = spot("bank", "transfers", "--json").document["transfers"]
    assert [source["task"] for source in row["sources"]] == ["mnli", "mnli", "boolq"]
    table = spot("bank", "transfers").out
    assert "rte" in table and "boolq" in table
    assert spot("bank", "transfers", "--task", "mnli", "--json").document["transfers"] == []


def test_the_bank_may_be_named_by_the_environment(
    spot: Spot, bank_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = bank_path.rename(tmp_path / "other.sqlite")
    for address in (moved, f"sqlite:///{moved}"):
        monkeypatch.setenv("SPOT_BANK", str(address))
        assert len(spot("bank", "runs", "--json").document["runs"]) == 5


def test_brackets_in_names_are_shown_as_they_are(spot: Spot, bank_path: Path) -> None:
    execute(bank_path, "UPDATE task SET name = '[bold]odd[/nonsense]' WHERE name = 'boolq'")
    assert "[bold]odd[/nonsense]" in spot("bank", "tasks").out


# -- verify --------------------------------------------------------------------------------------------------


def test_a_sound_bank_is_verified(spot: Spot, bank_path: Path) -> None:
    answer = spot("bank", "verify")
    assert (answer.code, answer.out) == (0, "10 prompts, 5 runs, 1 transfers: no problems\n")


def test_a_broken_bank_ends_with_one_and_names_the_problem(spot: Spot, bank_path: Path) -> None:
    execute(bank_path, "DELETE FROM key_vectors WHERE prompt_id = 1")
    answer = spot("bank", "verify", "--json")
    assert answer.code == 1
    (problem,) = answer.document["problems"]
    assert "has no key vectors" in problem
    plain = spot("bank", "verify")
    assert (plain.code, plain.err) == (1, "")
    assert f"problem: {problem}\n" in plain.out


def test_doctor_reports_a_broken_bank(spot: Spot, bank_path: Path) -> None:
    execute(bank_path, "DELETE FROM key_vectors WHERE prompt_id = 1")
    answer = spot("doctor", "--json")
    assert (answer.code, answer.err) == (1, "")
    assert any("has no key vectors" in problem for problem in answer.document["problems"])
    assert "5 runs, 10 prompts" in answer.document["facts"]["bank"]


def test_doctor_reports_a_bank_that_is_something_else_and_a_missing_backbone(
    spot: Spot, tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("a letter to a friend\n" * 100)
    answer = spot("doctor", "--json", "--bank", "letter.txt", "--backbone", "./missing")
    assert answer.code == 1
    backbone, bank = answer.document["problems"]
    assert "missing" in backbone
    assert "file is not a database" in bank


# -- export and import ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["value", "key"])
@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_an_exported_prompt_is_the_stored_one(
    spot: Spot, bank_path: Path, kind: str, suffix: str
) -> None:
    (run, *_) = spot("bank", "runs", "--json").document["runs"]
    answer = spot("bank", "export", run["run"], f"out{suffix}", "--kind", kind)
    assert (answer.code, answer.out) == (0, f"wrote out{suffix} [3, 4]\n")
    read = read_prompt(bank_path.parent / f"out{suffix}")
    with Bank.open(bank_path) as bank:
        np.testing.assert_array_equal(read.prompt, bank.find_prompt(run["run"], kind=kind))
    if suffix == ".safetensors":
        assert (read.metadata["task"], read.metadata["kind"]) == (run["task"], kind)


def test_export_refuses_other_formats_and_kinds(spot: Spot, bank_path: Path) -> None:
    (run, *_) = spot("bank", "runs", "--json").document["runs"]
    assert "cannot be written as '.pt'" in spot("bank", "export", run["run"], "out.pt").error
    assert (
        "has no middle; it has key, value"
        in spot("bank", "export", run["run"], "out.npy", "--kind", "middle").error
    )
    assert (
        "cannot be written (No such" in spot("bank", "export", run["run"], "missing/out.npy").error
    )
    assert (
        "cannot be written as 'npy'"
        in spot("bank", "export", run["run"], "out", "--format", "npy").error
    )
    (prompt, *_) = spot("bank", "prompts", "--json").document["prompts"]
    line = spot("bank", "export", prompt["prompt"], "out.npy", "--kind", "key").error
    assert "is named by its address, which is of one kind; leave out --kind key" in line
    assert [path.name for path in bank_path.parent.iterdir()] == ["bank.sqlite"]


@pytest.mark.parametrize("arguments", [["adapter"], ["v1.0", "--format", "peft"]], ids=str)
def test_a_prompt_leaves_as_an_adapter_and_comes_back(
    spot: Spot, bank_path: Path, tmp_path: Path, arguments: list[str]
) -> None:
    (run, *_) = spot("bank", "runs", "--json").document["runs"]
    assert spot("bank", "export", run["run"], *arguments).out == f"wrote {arguments[0]} [3, 4]\n"
    assert spot("bank", "import", arguments[0], "--task", "again").code == 0
    (back,) = spot("bank", "runs", "--task", "again", "--json").document["runs"]
    shown = spot("bank", "show", back["run"]).document
    assert (shown["backbone"]["name"], shown["backbone"]["fingerprint"]) == ("toy", "f" * 64)
    with Bank.open(bank_path) as bank:
        np.testing.assert_array_equal(bank.find_prompt(back["run"]), bank.find_prompt(run["run"]))


def test_an_import_keeps_to_what_the_file_says(spot: Spot, bank_path: Path, tmp_path: Path) -> None:
    prompt = np.ones((3, 4), np.float32)
    write_prompt(
        tmp_path / "said.safetensors",
        prompt,
        {"backbone": "toy", "fingerprint": "e" * 64, "seed": "7"},
    )
    write_prompt(tmp_path / "other.safetensors", prompt, {"fingerprint": "d" * 64})
    write_prompt(tmp_path / "silent.npy", prompt)
    ask = ["bank", "import", "said.safetensors", "--task", "t"]
    assert (
        "made for backbone 'toy' (eeeeeeeeeeee), not for toy (dddddd"
        in spot(*ask, "--fingerprint", "d" * 64).error
    )
    assert (
        "other.safetensors: prompt was made for backbone"
        in spot(*ask, "--key", "other.safetensors").error
    )
    assert "expected 64 hexadecimal digits" in spot(*ask, "--fingerprint", "eeeeeeeeeeee").error
    assert (
        "does not name the model it was trained for; give --backbone"
        in spot("bank", "import", "silent.npy", "--task", "t").error
    )
    assert (
        "made for backbone 'toy' (eeeeeeeeeeee), not other; leave"
        in spot(*ask, "--backbone", "other").error
    )
    assert spot(*ask, "--key", "silent.npy", "--backbone", "hub/toy").code == 0
    (row,) = spot("bank", "runs", "--task", "t", "--json").document["runs"]
    assert (row["seed"], row["backbone"]) == (7, "hub/toy")
    assert spot("bank", "show", row["run"]).document["backbone"]["fingerprint"] == "e" * 64


def test_an_imported_prompt_is_listed_and_comes_back(spot: Spot, tmp_path: Path) -> None:
    np.save(tmp_path / "mrpc.npy", np.arange(12, dtype=np.float32).reshape(3, 4))
    answer = spot(
        "bank", "import", "mrpc.npy", "--task", "mrpc", "--backbone", "google/t5-base-lm-adapt"
    )
    assert answer.code == 0
    assert answer.out.startswith("stored as run ")
    (row,) = spot("bank", "runs", "--json").document["runs"]
    assert (row["task"], row["backbone"], row["length"]) == ("mrpc", "google/t5-base-lm-adapt", 3)
    spot("bank", "export", row["run"], "back.npy")
    assert (tmp_path / "back.npy").read_bytes() == (tmp_path / "mrpc.npy").read_bytes()


def test_a_key_of_another_length_is_refused(spot: Spot, tmp_path: Path) -> None:
    np.save(tmp_path / "value.npy", np.ones((3, 4), np.float32))
    np.save(tmp_path / "key.npy", np.ones((2, 4), np.float32))
    answer = spot(
        "bank", "import", "value.npy", "--task", "t", "--backbone", "b", "--key", "key.npy"
    )
    assert "key of t: expected shape [3, 4], found [2, 4]" in answer.error


# -- retrieve from a file ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("always::UserWarning")
def test_a_query_from_a_file_is_ranked(spot: Spot, bank_path: Path) -> None:
    (run, *_) = spot("bank", "runs", "--task", "boolq", "--json").document["runs"]
    spot("bank", "export", run["run"], "query.npy", "--kind", "key")
    document = spot("retrieve", "--query", "query.npy", "--json").document
    assert [entry["task"] for entry in document["ranked"]] == ["boolq", "mnli"]
    assert_close(document["ranked"][0]["similarity"], 1.0)
    single = spot(
        "retrieve", "--query", "query.npy", "--aggregate", "none", "--top-k", "2", "--json"
    ).document
    assert len(single["ranked"]) == 2
    assert "boolq" in spot("retrieve", "--query", "query.npy").out


@pytest.mark.filterwarnings("always::UserWarning")
def test_a_query_with_its_facts_is_ranked_without_a_word(spot: Spot, bank_path: Path) -> None:
    (run, *_) = spot("bank", "runs", "--task", "boolq", "--json").document["runs"]
    spot("bank", "export", run["run"], "query.safetensors", "--kind", "key")
    answer = spot("retrieve", "--query", "query.safetensors", "--json")
    assert (answer.document["ranked"][0]["task"], answer.err) == ("boolq", "")
    spot("bank", "export", run["run"], "value.safetensors")
    value = spot("retrieve", "--query", "value.safetensors")
    assert value.code == 0
    assert value.err.startswith("warning: value.safetensors: is the value of its run")


@pytest.mark.parametrize(
    "unused",
    [
        ["--backbone", "tiny"],
        ["--dtype", "bfloat16"],
        ["--prompt-length", "3"],
        ["--preset", "quick"],
        ["--data-dir", "."],
        ["--runs", "runs"],
        ["--seed", "0"],
        ["--allow-overlap"],
    ],
    ids=str,
)
def test_an_option_that_a_query_from_a_file_does_not_use_is_refused(
    spot: Spot, bank_path: Path, unused: list[str]
) -> None:
    np.save("query.npy", np.ones((3, 4), np.float32))
    line = spot("retrieve", "--query", "query.npy", *unused).error
    assert line.startswith(f"{unused[0]} would not be used: --query ranks a prompt as it is")


@pytest.mark.filterwarnings("always::UserWarning")
def test_an_option_of_the_environment_is_not_refused(
    spot: Spot, bank_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOT_BACKBONE", "elsewhere")
    monkeypatch.setenv("SPOT_DATA", "elsewhere")
    np.save("query.npy", np.ones((3, 4), np.float32))
    answer = spot("retrieve", "--query", "query.npy")
    assert answer.code == 0
    assert answer.err.startswith("warning: query.npy: says nothing of the recipe")


def test_json_has_no_number_that_is_none(spot: Spot, bank_path: Path) -> None:
    execute(bank_path, "UPDATE run SET metrics = '{\"accuracy\": NaN}'")
    (run, *_) = spot("bank", "runs", "--json").document["runs"]
    assert spot("bank", "show", run["run"]).document["metrics"] == {"accuracy": None}
    assert json.loads(json.dumps(run)) == run


def test_another_study_is_judged_without_a_bank(spot: Spot, tmp_path: Path) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for task in ("mnli", "rte", "sst2", "boolq"):
        np.save(folder / f"{task}.npy", rng.normal(size=(3, 4)))
    scores = tmp_path / "scores.json"
    scores.write_text(
        json.dumps({"rte": {"mnli": 70, "sst2": 60}, "boolq": {"mnli": 71, "sst2": 65, "rte": 66}})
    )
    ask = ["bank", "evaluate-retrieval", "--prompts", str(folder), "--scores", str(scores)]
    (document,) = spot(*ask, "--json").document
    assert (document["targets"], document["cases"], document["k"]) == (2, 2, [1])
    assert (
        document["figures"]["average"]["regret@1"]["low"]
        <= document["figures"]["average"]["regret@1"]["mean"]
    )
    assert "evidence" not in document["figures"]
    table = spot(*ask, "--measure", "matching")
    lines = [line.split()[0] for line in table.out.splitlines()]
    assert lines[1:] == ["measure", "matching", "random", "best", "k"]
    assert "k 3 left out: a target has no more than 2 sources" in table.out
    missing = spot("bank", "evaluate-retrieval", "--prompts", str(folder))
    assert (missing.code, missing.err.count("\n")) == (1, 1)


def test_a_source_without_a_prompt_is_left_out_and_a_single_target_has_no_interval(
    spot: Spot, tmp_path: Path
) -> None:
    for i, task in enumerate(("mnli", "rte", "sst2", "qnli")):
        np.save(tmp_path / f"{task}.npy", np.random.default_rng(i).normal(size=(3, 4)))
    (tmp_path / "scores.json").write_text(
        json.dumps({"rte": {"mnli": 70, "sst2": 60, "qnli": 61, "boolq": 80}})
    )
    ask = ["bank", "evaluate-retrieval", "--prompts", ".", "--scores", "scores.json", "--k", "1"]
    (document,) = spot(*ask, "--json").document
    estimate = document["figures"]["average"]["relative regret@1"]
    assert (estimate["low"], estimate["high"]) == (None, None)
    assert document["notes"][:2] == [
        "left out, for there is no prompt of theirs: boolq",
        "one target: no intervals",
    ]
    table = spot(*ask).out
    assert "[" not in table.splitlines()[2]
    assert "evidence, for 1 of 1 cases: no history for this target; ranked by average" in table


def test_targets_of_which_only_some_sources_were_tried_are_told_apart(
    spot: Spot, tmp_path: Path
) -> None:
    for i, task in enumerate(("a", "b", "c", "t", "u")):
        np.save(tmp_path / f"{task}.npy", np.random.default_rng(i).normal(size=(3, 4)))
    ask = [
        "bank",
        "evaluate-retrieval",
        "--prompts",
        ".",
        "--scores",
        "scores.json",
        "--measure",
        "average",
    ]
    (tmp_path / "scores.json").write_text(
        json.dumps({"t": {"a": 1, "b": 2, "c": 3}, "u": {"a": 1, "b": 2}})
    )
    (whole,), (part,) = spot(*ask, "--json").document, spot(*ask, "--partial", "--json").document
    assert (whole["cases"], part["cases"]) == (1, 2)
    assert (
        "1 cases left out of which only some sources were tried; --partial takes them in"
        in whole["notes"]
    )
    assert "down to 67% of a target's sources were tried: figures are among those" in part["notes"]
    (tmp_path / "scores.json").write_text(
        json.dumps({"t": {"a": 1, "b": 2}, "u": {"b": 1, "c": 2}})
    )
    (none,) = spot(*ask, "--json").document
    assert none["cases"] == 2
    assert "down to 67% of a target's sources were tried: figures are among those" in none["notes"]


def test_outcomes_of_others_are_imported_and_judged(spot: Spot, bank_path: Path) -> None:
    (bank_path.parent / "scores.csv").write_text(
        "target,source,seed,dev,without\nrte,mnli,0,71,66\nrte,boolq,0,64,66\n"
    )
    ask = ["bank", "import-outcomes", "scores.csv", "--score", "dev", "--baseline", "without"]
    assert spot(*ask).out.startswith("2 outcomes added, 0 changed, 0 there already, in ")
    assert spot(*ask).out.startswith("0 outcomes added, 0 changed, 2 there already, in ")
    (document,) = spot("bank", "evaluate-retrieval", "--json").document
    assert (document["targets"], document["k"]) == (1, [1])
    figures = document["figures"]
    assert figures["random"]["gain@1"]["mean"] == pytest.approx((5 - 2) / 2, abs=0.6)
    assert figures["restarts"]["gain@1"]["mean"] == 0
    assert spot("bank", "verify").code == 0
    transfers = spot("bank", "transfers", "--json").document["transfers"]
    assert [row["method"] for row in transfers] == ["imported", "best"]
    assert (
        "no baseline or query of target 'qqp'"
        in spot("bank", "import-outcomes", _table(bank_path, "qqp")).error
    )
    assert "no score" in spot("bank", "import-outcomes", "scores.csv").error


def _table(bank_path: Path, target: str) -> Path:
    path = bank_path.parent / "other.csv"
    path.write_text(f"target,source,seed,score\n{target},mnli,0,71\n")
    return path


def test_a_bank_without_transfers_has_nothing_to_judge_by(spot: Spot, tmp_path: Path) -> None:
    Bank.open(tmp_path / "bank.sqlite").close()
    answer = spot("bank", "evaluate-retrieval")
    assert answer.code == 1
    assert "spot transfer --method oracle" in answer.err


def test_what_writes_says_in_json_what_it_wrote(spot: Spot, bank_path: Path) -> None:
    def told(*arguments: object) -> Any:
        document = spot("bank", *arguments, "--json").document
        assert document.pop("bank", "sqlite:///bank.sqlite") == "sqlite:///bank.sqlite"
        return document

    run = told("runs", "--task", "mnli", "--role", "source")["runs"][0]["run"]
    digest = spot("bank", "show", run).document["run"]
    assert told("tag", digest, "good", "new") == {"run": digest, "tagged": ["good", "new"]}
    assert told("untag", digest, "new") == {"run": digest, "untagged": ["new"]}
    assert told("export", "mnli@good", "mnli.npy") == {"path": "mnli.npy", "shape": [3, 4]}
    pushed = told("push", "published", "--tag", "good")
    assert pushed == {"where": "published", "runs": [digest], "tasks": ["mnli"]}
    assert told("remove", "mnli@good") == {"removed": [digest]}
    assert told("restore", digest) == {"restored": [digest]}
    imported = told("import", "mnli.npy", "--task", "others", "--backbone", "another")["run"]
    assert spot("bank", "show", imported).document["task"] == "others"
    spot("bank", "remove", imported)
    assert told("purge", "--older-than", "0") == {"deleted": [imported], "prompts": 0, "kept": []}
    row = "target,source,seed,score\nrte,mnli,0,71\n"
    (bank_path.parent / "scores.csv").write_text(row)
    added = {"added": 1, "changed": 0, "held": 0}
    assert told("import-outcomes", "scores.csv") == added
