"""A target whose prompts have another length than the sources'."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bank import Bank
from bank.integrity import verify
from spot.backbone.load import Backbone
from spot.errors import TrainingError
from spot.prompts.lengths import RESIZES
from spot.training.recipe import Recipe
from spot.transfer.forecast import Foresight, foresee_transfers
from spot.transfer.recipes import Chooser
from spot.transfer.runs import Trainer
from spot.transfer.transfer import TransferOptions, run_transfer
from tasks.task import Task


@pytest.mark.parametrize("resize", RESIZES)
def test_a_target_starts_from_values_of_its_own_length(
    tmp_path: Path, backbone: Backbone, recipe: Recipe, tasks: dict[str, Task], resize: str
) -> None:
    short = dataclasses.replace(recipe, steps=6, key_step=3, evaluate_every=3)
    longer = dataclasses.replace(short, prompt_length=7)
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        runs = [
            Trainer(bank, backbone, short).run(tasks[name], seed=0, role="source")
            for name in ("first", "second")
        ]
        with pytest.raises(TrainingError, match=r"prompt length 7 .* not the sources' 4.*--resize"):
            Trainer(bank, backbone, longer, sources=short)
        with pytest.raises(TrainingError, match="way to another length 'stretch' is not known"):
            Trainer(bank, backbone, longer, sources=short, resize="stretch")
        trainer = Trainer(bank, backbone, longer, sources=short, resize=resize)
        for method in ("best", "average", "weights"):
            options = TransferOptions(method=method, top_k=2)
            result = run_transfer(trainer, tasks["target"], seed=0, options=options)
            assert bank.prompt(result.chosen_run.value).shape == (7, backbone.width)
            if method == "best":
                starts = {candidate.start for candidate in result.candidates}
                values = [RESIZES[resize](bank.prompt(run.value), 7) for run in runs]
                assert {bank.prompt(start).tobytes() for start in starts} == {
                    value.tobytes() for value in values
                }
        foresight, best = Foresight(bank), TransferOptions(method="best", top_k=2)
        foresee_transfers(foresight, trainer, tasks["target"], seeds=[0], options=best)
        assert all(row.train == 0 for row in foresight.wanted())
        assert verify(bank) == []
        np.testing.assert_array_equal(
            trainer.start_from(bank.prompt(result.chosen_run.value)),
            bank.prompt(result.chosen_run.value),
        )


def test_sources_of_another_length_are_chosen_where_prompts_may_change_theirs(
    tmp_path: Path, backbone: Backbone, recipe: Recipe, tasks: dict[str, Task]
) -> None:
    short = dataclasses.replace(recipe, steps=6, key_step=3, evaluate_every=3)
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        trainer = Trainer(bank, backbone, short)
        trainer.run(tasks["first"], seed=0, role="source")

        def chosen(*, resizes: bool) -> Recipe | None:
            chooser = Chooser(
                {"prompt_length": 7}, bank=bank, datasets=trainer.datasets, resizes=resizes
            )
            return chooser.for_target([tasks["target"]]).sources

        assert chosen(resizes=True) == short
        assert chosen(resizes=False) is None
