"""Maps between backbones: kept once, found again with their numbers, and never used damaged."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bank import BackboneRecord, Bank, BankError, RecyclerRecord, RunRecord, Selection
from bank.integrity import verify
from tests.bank.conftest import damage
from tests.bank.test_migrations import downgrade

SMALL, LARGE = (
    BackboneRecord(fingerprint=name * 64, name=name, width=width, config={"d_model": width})
    for name, width in (("a", 4), ("b", 6))
)
RECORD = RecyclerRecord(
    source=SMALL,
    target=LARGE,
    method="linear",
    shared=120,
    cosine=0.5,
    error=0.75,
    numbers={
        "weights": np.arange(24, dtype=np.float32).reshape(4, 6),
        "offset": np.ones(6, np.float32),
    },
)


def test_a_map_is_kept_once_and_comes_back(bank: Bank) -> None:
    digest = bank.record_recycler(RECORD)
    other = dataclasses.replace(RECORD, numbers={"weights": np.zeros((4, 6), np.float32)})
    assert bank.record_recycler(other) == digest
    found, record = bank.recycler("a" * 64, "b" * 64, "linear") or pytest.fail("none is found")
    assert found == digest
    for name, array in RECORD.numbers.items():
        np.testing.assert_array_equal(record.numbers[name], array)
    assert dataclasses.replace(record, numbers=RECORD.numbers) == RECORD
    assert bank.recycler("b" * 64, "a" * 64, "linear") is None
    assert bank.recycler("a" * 64, "b" * 64, "network") is None
    assert bank.record_recycler(dataclasses.replace(other, method="network")) != digest
    assert bank.count_rows()["recycler"] == 2
    assert verify(bank) == []


def test_numbers_that_are_none_are_refused(bank: Bank) -> None:
    broken = dataclasses.replace(RECORD, numbers={"weights": np.full((4, 6), np.nan, np.float32)})
    with pytest.raises(BankError, match="map: expected finite numbers"):
        bank.record_recycler(broken)
    wider = dataclasses.replace(RECORD, source=dataclasses.replace(SMALL, width=5))
    bank.record_recycler(RECORD)
    with pytest.raises(BankError, match="backbone a is 4 wide in this bank"):
        bank.record_recycler(wider)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("numbers = zeroblob(80)", "expected arrays as a file .safetensors"),
        ("method = 'network'", "its digest does not follow from its content"),
        ("source_id = target_id", "its digest does not follow from its content"),
        ("source_id = 9", "refers to a missing backbone (source_id)"),
        ("error = -1", "error is -1"),
    ],
)
def test_damage_is_found(bank: Bank, change: str, complaint: str) -> None:
    bank.record_recycler(RECORD)
    damage(bank, f"UPDATE recycler SET {change}")
    assert any(complaint in problem for problem in verify(bank))


def test_damaged_numbers_map_nothing(bank: Bank) -> None:
    bank.record_recycler(RECORD)
    damage(bank, "UPDATE recycler SET numbers = zeroblob(80)")
    with pytest.raises(BankError, match=r"damaged \(checksum differs\)"):
        bank.recycler("a" * 64, "b" * 64, "linear")


def test_a_purge_leaves_maps_and_their_backbones(
    bank: Bank, make_run: Callable[..., RunRecord]
) -> None:
    bank.record_recycler(RECORD)
    bank.record_run(make_run("sst2"))
    bank.remove(Selection(tasks=("sst2",)))
    bank.purge(dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    rows = bank.count_rows()
    assert (rows["run"], rows["backbone"], rows["recycler"]) == (0, 2, 1)
    assert verify(bank) == []


def test_a_reader_of_an_older_bank_finds_none(tmp_path: Path) -> None:
    path = tmp_path / "bank.sqlite"
    with Bank.open(path) as bank:
        downgrade(bank, "0006")
    with Bank.open(path, create=False) as bank:
        assert bank.recycler("a" * 64, "b" * 64, "linear") is None
        assert verify(bank) == []
