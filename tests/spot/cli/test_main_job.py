"""The main job on the embedded backbone, from the command line."""

import json
import os
import subprocess
import sys

import pytest

SHORT = [
    "--steps",
    "20",
    "--key-step",
    "10",
    "--evaluate-every",
    "10",
    "--dev-limit",
    "40",
    "--train-limit",
    "64",
]


@pytest.fixture(scope="module")
def spot(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    environment = os.environ | {"SPOT_BANK": str(folder / "bank.sqlite")}

    def run(*arguments, code=0):
        command = [sys.executable, "-c", "from spot.cli.main import main; main()", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def sources(spot):
    done = spot("train-source", "wn_pos", "wn_noun_topic", "--seeds", "2", *SHORT, "--json")
    return json.loads(done.stdout)["runs"]


@pytest.fixture(scope="module")
def transferred(spot, sources):
    done = spot("transfer", "wn_living", "--top-k", "2", *SHORT, "--json")
    return json.loads(done.stdout)["transfers"]


def test_sources_are_in_the_bank(spot, sources):
    assert [(run["task"], run["seed"]) for run in sources] == [
        ("wn_pos", 0), ("wn_pos", 1), ("wn_noun_topic", 0), ("wn_noun_topic", 1)
    ]  # fmt: skip
    listed = json.loads(spot("bank", "runs", "--role", "source", "--json").stdout)["runs"]
    assert [row["run"] for row in reversed(listed)] == [run["run"] for run in sources]
    spot("bank", "verify")


def test_progress_goes_to_stderr_and_a_second_call_trains_nothing(spot, sources):
    again = spot("train-source", "wn_pos", "wn_noun_topic", "--seeds", "2", *SHORT, "--json")
    assert json.loads(again.stdout)["runs"] == sources
    assert "step" not in again.stderr


def test_processes_train_what_a_second_call_in_one_process_holds(spot):
    processes = ["--executor", "processes", "--workers", "2"]
    done = spot(
        "train-source", "wn_isa", "wn_part", *SHORT, *processes, "--bank", "other.sqlite", "--json"
    )
    runs = json.loads(done.stdout)["runs"]
    assert [run["task"] for run in runs] == ["wn_isa", "wn_part"]
    assert "recipe: quick, which suits the embedded backbone, with steps, key step" in done.stderr
    assert "worker 1: source wn_isa seed 0: step 10/20" in done.stderr
    assert done.stderr.count("the most frequent answer scores") == 2
    again = spot("train-source", "wn_isa", "wn_part", *SHORT, "--bank", "other.sqlite", "--json")
    assert json.loads(again.stdout)["runs"] == runs
    assert "step" not in again.stderr


def test_a_transfer_has_ranking_candidates_choice_and_baseline(spot, transferred):
    (transfer,) = transferred
    assert [source["rank"] for source in transfer["ranked"]] == [1, 2]
    assert all(
        {"average", "per_token"} <= set(source["similarities"]) for source in transfer["ranked"]
    )
    scores = [run["score"] for run in transfer["attempts"]]
    assert transfer["chosen"] == scores.index(max(scores))
    assert 0 <= transfer["baseline_test"]["score"] <= 100
    (row,) = json.loads(spot("bank", "transfers", "--json").stdout)["transfers"]
    assert row["outcome"] == transfer["outcome_test"]["score"]
    assert [source["task"] for source in row["sources"]] == [
        source["task"] for source in transfer["ranked"]
    ]


def test_retrieval_ranks_like_the_transfer_did(spot, transferred):
    done = spot("retrieve", "wn_living", *SHORT, "--json")
    ranked = json.loads(done.stdout)["ranked"]
    assert [source["task"] for source in ranked] == [
        source["task"] for source in transferred[0]["ranked"]
    ]
    assert [source["similarity"] for source in ranked] == [
        s["similarity"] for s in transferred[0]["ranked"]
    ]


def test_without_options_of_a_recipe_transfer_and_retrieval_follow_the_bank(spot, transferred):
    done = spot("transfer", "wn_living", "--top-k", "2", "--train-limit", "64", "--json")
    document = json.loads(done.stdout)
    assert document["transfers"] == transferred
    assert document["recipe"]["origin"] == "that of the bank's 2 sources, with train limit as given"
    assert (document["recipe"]["steps"], document["recipe"]["key_step"]) == (20, 10)
    assert "recipe:" not in done.stderr
    done = spot("retrieve", "wn_living", "--train-limit", "64", "--json")
    assert [source["task"] for source in json.loads(done.stdout)["ranked"]] == [
        source["task"] for source in transferred[0]["ranked"]
    ]


def test_a_banked_prompt_is_evaluated_exported_and_used(spot, sources, tmp_path):
    run = sources[0]["run"]
    scores = json.loads(spot("eval", "wn_pos", "--prompt", run, "--limit", "40", "--json").stdout)
    path = tmp_path / "pos.safetensors"
    spot("bank", "export", run, str(path))
    from_file = json.loads(
        spot("eval", "wn_pos", "--prompt", str(path), "--limit", "40", "--json").stdout
    )
    assert from_file["scores"] == scores["scores"]
    answer = spot(
        "predict", "definition: run fast", "--prompt", run, "--choices", "noun,verb"
    ).stdout.strip()
    assert answer in ("noun", "verb")


def test_another_recipe_finds_nothing_to_compare_with(spot, sources):
    done = spot("transfer", "wn_living", "--prompt-length", "5", *SHORT, code=1)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and "keys with prompt length 16, not 5" in line


def test_a_task_of_ones_own_is_trained_from_its_file(spot, tmp_path):
    (tmp_path / "mine.csv").write_text(
        "text,label\n"
        + "".join(f"it was {'good' if i % 2 else 'bad'} film {i},{i % 2}\n" for i in range(80))
    )
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\n[data]\ntrain = "mine.csv"\n[format]\ntemplate = "review: {text}"\nlabel = "label"\n'
        '[labels]\n"0" = "bad"\n"1" = "good"\n'
    )
    done = spot("train-source", str(tmp_path / "mine.toml"), *SHORT, "--json")
    assert json.loads(done.stdout)["runs"][0]["task"] == "mine"
