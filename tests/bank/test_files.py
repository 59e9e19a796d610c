"""Prompts that others trained come into a bank, and leave it with what makes them comparable."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bank import BackboneRecord, Bank, BankError, Partition, RunRecord, TaskRecord
from bank.files import exported, import_prompt
from bank.identity import by_name
from bank.integrity import verify
from bank.listing import show_run
from bank.vectors import prompt_sha256

RunMaker = Callable[..., RunRecord]

PROMPT = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
SHARED = Path(__file__).resolve().parents[3] / "shared" / "prompts" / "t5_1_1_lm100k_base"

MODEL = BackboneRecord(fingerprint="e" * 64, name="toy", width=4)
TASK = TaskRecord(name="mrpc", family="paraphrase")


# -- into a bank ---------------------------------------------------------------------------------------------


def test_an_imported_prompt_is_a_source_with_itself_as_key(bank: Bank) -> None:
    digest = import_prompt(bank, PROMPT, task=TASK, backbone=MODEL, origin="mrpc.npy")
    assert import_prompt(bank, PROMPT, task=TASK, backbone=MODEL) == digest
    stored = bank.run(digest)
    assert stored is not None and stored.key == stored.value
    np.testing.assert_array_equal(bank.find_prompt(digest), PROMPT)
    assert show_run(bank.engine, digest)["environment"] == {"imported from": "mrpc.npy"}
    assert verify(bank) == []


def test_an_imported_run_is_known_again_by_later_versions(bank: Bank) -> None:
    prompt = np.arange(12, dtype=np.float32).reshape(3, 4)
    digest = import_prompt(bank, prompt, task=TASK, backbone=MODEL, seed=1)
    assert digest == "ed2bb64e4a6e5e39e8b0b130b06a4560f7b8a9ce8d84a1b8f0a2651fd36fab09"


def test_an_imported_prompt_may_bring_its_key(bank: Bank) -> None:
    digest = import_prompt(bank, PROMPT, task=TASK, backbone=MODEL, key=-PROMPT, seed=7, score=81.5)
    np.testing.assert_array_equal(bank.find_prompt(digest, kind="key"), -PROMPT)
    stored = bank.run(digest)
    assert stored is not None and (stored.seed, stored.score) == (7, 81.5)


def test_an_imported_prompt_may_have_axes_before_its_tokens(bank: Bank) -> None:
    deep = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    plain, layered = (
        import_prompt(bank, prompt, task=TASK, backbone=MODEL) for prompt in (PROMPT, deep)
    )
    np.testing.assert_array_equal(exported(bank, layered).prompt, deep)
    assert (
        exported(bank, plain).metadata["recipe_family"]
        != exported(bank, layered).metadata["recipe_family"]
    )
    assert len(bank.partitions()) == 2
    assert verify(bank) == []


@pytest.mark.parametrize("wrong", ["value", "key"])
@pytest.mark.parametrize("shape", [(3, 5), (2, 4)])
def test_a_prompt_of_another_shape_is_not_imported(
    bank: Bank, wrong: str, shape: tuple[int, int]
) -> None:
    prompts = {"value": PROMPT, "key": PROMPT} | {wrong: np.ones(shape, np.float32)}
    with pytest.raises(BankError, match=r"(key|value) of mrpc: expected shape \[\d, \d\], found"):
        import_prompt(bank, prompts["value"], task=TASK, backbone=MODEL, key=prompts["key"])
    assert set(bank.count_rows().values()) == {0}


def test_a_prompt_of_another_width_than_its_backbone_has_in_the_bank_is_not_imported(
    bank: Bank,
) -> None:
    import_prompt(bank, PROMPT, task=TASK, backbone=MODEL)
    before = bank.count_rows()
    wide = np.ones((3, MODEL.width + 1), np.float32)
    with pytest.raises(
        BankError,
        match=f"is {MODEL.width} wide in this bank, and the prompt {MODEL.width + 1}; it was",
    ):
        import_prompt(
            bank, wide, task=TASK, backbone=dataclasses.replace(MODEL, width=MODEL.width + 1)
        )
    assert bank.count_rows() == before


def test_imported_prompts_stay_in_a_partition_of_their_own(bank: Bank, make_run: RunMaker) -> None:
    trained = make_run(fingerprint=MODEL.fingerprint, key_step=0)
    bank.record_run(trained)
    import_prompt(bank, PROMPT, task=TASK, backbone=MODEL)
    ours = Partition.of(trained.identity.recipe)
    (theirs,) = set(bank.partitions()) - {ours}
    assert bank.keys(ours).tasks == ["sst2"]
    assert bank.keys(theirs).tasks == ["mrpc"]
    assert bank.recipe_options(ours) == {"steps": 30}
    assert bank.recipe_options(theirs) == {"imported": True}


@pytest.fixture(params=["made", *(["published"] if SHARED.is_dir() else [])])
def prompts_of_others(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of prompts ``[100, 768]`` as others saved them, for three tasks."""
    if request.param == "published":
        return SHARED
    for i, task in enumerate(("mrpc", "rte", "sst2")):
        np.save(
            tmp_path / f"{task}.npy",
            np.random.default_rng(i).normal(size=(100, 768)).astype(np.float32),
        )
    return tmp_path


def test_prompts_of_the_t5_1_1_base_that_others_trained_are_imported(
    bank: Bank, prompts_of_others: Path
) -> None:
    model = BackboneRecord(fingerprint="e" * 64, name="google/t5-base-lm-adapt", width=768)
    for path in sorted(prompts_of_others.glob("*.npy")):
        task = TaskRecord(name=path.stem, family="imported")
        digest = import_prompt(bank, np.load(path), task=task, backbone=model)
        np.testing.assert_array_equal(bank.find_prompt(digest), np.load(path))
    (partition,) = bank.partitions()
    assert (partition.fingerprint, partition.prompt_length) == ("e" * 64, 100)
    assert bank.keys(partition).tasks == ["mrpc", "rte", "sst2"]
    assert verify(bank) == []


# -- out of a bank -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "step"), [("value", "30"), ("key", "10")])
def test_a_prompt_carries_what_makes_it_comparable(
    bank: Bank, make_run: RunMaker, kind: str, step: str
) -> None:
    record = make_run(seed=2)
    digest = bank.record_run(record)
    found = exported(bank, digest, kind=kind)
    expected = record.key if kind == "key" else record.value
    assert expected is not None
    np.testing.assert_array_equal(found.prompt, expected.prompt)
    assert {name: found.metadata[name] for name in found.metadata if name != "recipe"} == {
        "sha256": prompt_sha256(expected.prompt),
        "kind": kind,
        "step": step,
        "run": digest,
        "role": "source",
        "task": "sst2",
        "seed": "2",
        "score": "90.0",
        "backbone": "toy",
        "fingerprint": "f" * 64,
        "key_step": "10",
        "recipe_family": "a" * 64,
    }
    assert json.loads(found.metadata["recipe"]) == {"steps": 30}
    assert found.config == {"d_model": 4}


def test_a_run_that_started_from_a_prompt_says_which(bank: Bank, make_run: RunMaker) -> None:
    record = make_run()
    identity = dataclasses.replace(record.identity, started_from=prompt_sha256(PROMPT))
    digest = bank.record_run(dataclasses.replace(record, identity=identity))
    assert exported(bank, digest).metadata["started_from"] == prompt_sha256(PROMPT)


def test_where_a_run_started_leaves_with_its_prompt(bank: Bank, make_run: RunMaker) -> None:
    start = np.arange(4, dtype=np.float32)
    digest = bank.record_run(make_run(start=start))
    found = exported(bank, digest, kind="key").start
    assert found is not None
    np.testing.assert_array_equal(found, start)


def test_a_prompt_of_several_runs_is_described_as_the_one_that_was_asked_for(
    bank: Bank, make_run: RunMaker
) -> None:
    runs = [bank.record_run(make_run(seed=seed, key=PROMPT, value=PROMPT)) for seed in (0, 1)]
    for run in runs:
        for kind in ("key", "value"):
            metadata = exported(bank, run, kind=kind).metadata
            assert (metadata["run"], metadata["kind"]) == (run, kind)
    assert exported(bank, runs[1]).metadata["kind"] == "value"
    assert exported(bank, prompt_sha256(PROMPT)).metadata["run"] == runs[0]


def test_the_kind_of_a_prompt_that_is_named_by_its_address_is_not_asked_for(
    bank: Bank, make_run: RunMaker
) -> None:
    record = make_run()
    bank.record_run(record)
    with pytest.raises(
        BankError, match="is named by its address, which is of one kind; leave out --kind key"
    ):
        exported(bank, prompt_sha256(record.value.prompt), kind="key")


def test_a_prompt_that_no_run_made_has_its_address_only(bank: Bank) -> None:
    address = bank.put(PROMPT)
    assert exported(bank, address).metadata == {"sha256": address}


def test_a_backbone_known_by_name_alone_has_no_fingerprint_to_export(bank: Bank) -> None:
    model = BackboneRecord(fingerprint=by_name("toy"), name="toy", width=4)
    metadata = exported(bank, import_prompt(bank, PROMPT, task=TASK, backbone=model)).metadata
    assert metadata["backbone"] == "toy"
    assert "fingerprint" not in metadata


def test_a_prompt_that_two_backbones_share_names_neither(bank: Bank, make_run: RunMaker) -> None:
    runs = [bank.record_run(make_run(fingerprint=name * 64, value=PROMPT)) for name in ("e", "f")]
    assert "fingerprint" not in exported(bank, prompt_sha256(PROMPT)).metadata
    assert [exported(bank, run).metadata["fingerprint"] for run in runs] == ["e" * 64, "f" * 64]
