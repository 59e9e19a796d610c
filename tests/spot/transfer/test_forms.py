"""Every form is trained into a bank, ranked, transferred and verified like any other, and apart from the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bank import Bank
from bank.integrity import verify
from bank.vectors import average, tokens
from spot.backbone.load import Backbone
from spot.errors import RetrievalError
from spot.prompts.forms import FORMS
from spot.training.recipe import Recipe
from spot.transfer.planner import missing
from spot.transfer.runs import Trainer
from spot.transfer.sources import retriever_for
from spot.transfer.transfer import TransferOptions, run_transfer
from tasks.task import Task


@pytest.mark.parametrize("form", ["prompt", "deep", "prefix", "suffix", "decoder"])
def test_a_form_is_banked_ranked_and_transferred(
    form: str, tmp_path: Path, backbone: Backbone, recipe: Recipe, tasks: dict[str, Task]
) -> None:
    short = dataclasses.replace(recipe, form=form, steps=20, key_step=10)
    shape = FORMS[form].shape(backbone.config, short.prompt_length)
    with Bank.open(tmp_path / "bank.sqlite") as bank:
        trainer = Trainer(bank, backbone, short)
        runs = [trainer.run(tasks[name], seed=0, role="source") for name in ("first", "second")]
        for run in runs:
            assert bank.prompt(run.value).shape == shape
        keys = bank.keys(trainer.partition)
        np.testing.assert_array_equal(
            keys.vectors("average")[0], average(bank.prompt(keys.prompts[0]))
        )
        assert keys.width == tokens(bank.prompt(runs[0].value)).shape[1]
        for method in ("best", "average", "weights"):
            options = TransferOptions(method=method, top_k=2)
            result = run_transfer(trainer, tasks["target"], seed=0, options=options)
            assert {source.task for source in result.ranked} == {"first", "second"}
            assert result.similarity == "displacement"
            assert bank.prompt(result.chosen_run.value).shape == shape
        assert verify(bank) == []
        specs = [trainer.spec(tasks[name], 0, "source") for name in ("first", "second")]
        assert missing(bank, trainer.plan(specs)).train == []
        other = next(name for name in FORMS if name != form)
        stranger = Trainer(bank, backbone, dataclasses.replace(short, form=other))
        with pytest.raises(RetrievalError, match=f"keys with form .*{form}|no key can be compared"):
            retriever_for(stranger, tasks["target"])
