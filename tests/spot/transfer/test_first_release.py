"""A bank that the first release wrote: read, sound, ranked, and its runs held."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bank import Bank
from bank.integrity import verify
from bank.listing import list_runs, list_transfers, show_run
from spot.backbone.load import load_backbone
from spot.training.recipe import Recipe
from spot.transfer.runs import Trainer
from spot.transfer.sources import query_of, retriever_for
from spot.transfer.transfer import TransferOptions, run_transfer
from tasks import get_task
from tests.spot.transfer.doubles import RefusingExecutor

WRITTEN = Path(__file__).parents[2] / "banks" / "first_release.sqlite"
RECIPE = Recipe(
    prompt_length=4,
    batch_size=4,
    steps=4,
    key_step=2,
    evaluate_every=2,
    max_input=48,
    max_target=16,
    dev_limit=20,
)


@pytest.fixture
def trainer(tmp_path: Path, session_cache: Path) -> Iterator[Trainer]:
    """Of the recipe that the bank was filled with; it may not train."""
    with Bank.open(shutil.copy(WRITTEN, tmp_path / "bank.sqlite"), write=True) as bank:
        yield Trainer(bank, load_backbone("tiny"), RECIPE, executor=RefusingExecutor())


def test_it_is_listed_and_sound_without_being_written() -> None:
    before = WRITTEN.read_bytes()
    with Bank.open(WRITTEN, create=False) as bank:
        assert verify(bank) == []
        assert [row["role"] for row in list_runs(bank.engine)].count("source") == 4
        (transfer,) = list_transfers(bank.engine)
        assert (transfer["target"], transfer["similarity"]) == ("wn_living", "average")
    assert WRITTEN.read_bytes() == before
    assert [path.name for path in WRITTEN.parent.glob("first_release*")] == [WRITTEN.name]


def test_its_runs_count_as_held(trainer: Trainer) -> None:
    wanted = [
        trainer.spec(get_task(name), seed, "source")
        for name in ("wn_pos", "wn_isa")
        for seed in (0, 1)
    ]
    held = {row["run"] for row in list_runs(trainer.bank.engine, role="source")}
    assert {run.digest[:12] for run in trainer.run_all(wanted)} == held
    few = trainer.with_recipe(dataclasses.replace(RECIPE, train_limit=64))
    target = get_task("wn_living")
    assert few.run(target, seed=0, role="baseline")
    for row in list_runs(trainer.bank.engine, role="transfer"):
        run = trainer.bank.run(show_run(trainer.bank.engine, row["run"])["run"])
        start = show_run(trainer.bank.engine, row["run"])["started from"]
        assert few.run(target, seed=0, role="transfer", start=start) == run


def test_its_sources_are_ranked_from_starts_that_it_did_not_store(trainer: Trainer) -> None:
    few = trainer.with_recipe(dataclasses.replace(RECIPE, train_limit=64))
    target = get_task("wn_living")
    query = query_of(few, target, few.run(target, seed=0, role="baseline"))
    retriever = retriever_for(few, target)
    assert not retriever.keys.has_start.any()
    assert retriever.measure("auto", query) == "displacement"
    assert {source.task for source in retriever.rank(query)} == {"wn_pos", "wn_isa"}


def test_a_transfer_goes_on_from_it(trainer: Trainer) -> None:
    few = trainer.with_recipe(dataclasses.replace(RECIPE, train_limit=64))
    outcome = run_transfer(
        few, get_task("wn_living"), seed=0, options=TransferOptions(method="none")
    )
    assert outcome.baseline == outcome.chosen_run
    assert len(list_transfers(trainer.bank.engine)) == 2
    assert verify(trainer.bank) == []
