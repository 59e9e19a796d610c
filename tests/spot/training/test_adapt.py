"""LM adaptation of a tiny T5: what it learns, resumption, and whom it refuses."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path

import numpy as np
import pytest

from spot.backbone.load import Backbone, load_backbone
from spot.errors import Interrupted, TrainingError
from spot.inference.predict import mean_losses
from spot.training.adapt import Adaptation, Adapted, adapt
from spot.training.recipe import Recipe
from spot.training.task_data import TaskData
from tasks.errors import TaskError
from tasks.task import Split, Task
from tests.spot.backbone.conftest import CONFIGS
from tests.spot.training.toy import Recorder

ADAPTATION = Adaptation(steps=20, batch_size=4, input_length=32, evaluate_every=10)


pytestmark = pytest.mark.usefixtures("small_blocks")


@pytest.fixture(scope="module")
def adapted(backbone: Backbone, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    return adapt(backbone, ADAPTATION, [corpus], tmp_path_factory.mktemp("adapted"))


def test_the_loss_on_text_falls_and_the_model_is_a_backbone(
    backbone: Backbone, adapted: Adapted
) -> None:
    assert fallen(adapted) > 0.1
    model = load_backbone(str(adapted.folder))
    assert model.config == backbone.config
    assert model.tokenizer.fingerprint == backbone.tokenizer.fingerprint
    assert model.fingerprint != backbone.fingerprint
    curve = json.loads((adapted.folder.parent / "curve.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in curve] == [10, 20]
    assert curve[-1]["held_out_loss"] == adapted.after


def fallen(adapted: Adapted) -> float:
    assert adapted.before is not None
    assert adapted.after is not None
    return adapted.before - adapted.after


def test_targets_of_a_model_may_begin_with_a_sentinel(
    backbone: Backbone, task: Task, recipe: Recipe, tmp_path: Path
) -> None:
    """Span corruption + sentinel: every target and choice, in training and in answers, and no text of either."""
    begun = adapt(backbone, Adaptation(steps=0, sentinel=True), [], tmp_path)
    assert (begun.before, begun.after) == (None, None)
    model = load_backbone(str(begun.folder))
    first = backbone.tokenizer.size - 1
    assert model.config == dataclasses.replace(backbone.config, target_begin_token_ids=(first,))
    assert model.fingerprint != backbone.fingerprint
    plain, with_sentinel = (TaskData(task, each, recipe)[Split.DEV] for each in (backbone, model))
    assert with_sentinel.examples == plain.examples
    assert with_sentinel.tokens.digest != plain.tokens.digest
    for name in ("targets", "choices"):
        for ours, theirs in zip(
            getattr(with_sentinel.tokens, name), getattr(plain.tokens, name), strict=True
        ):
            np.testing.assert_array_equal(ours, [first, *theirs])
    np.testing.assert_array_equal(with_sentinel.tokens.inputs.ids, plain.tokens.inputs.ids)
    (ids,) = model.tokenizer.encode(["kamo rilu"])
    assert model.tokenizer.decode([first, *ids, model.config.eos_token_id]) == "kamo rilu"
    prompt = np.random.default_rng(0).normal(size=(4, model.width)).astype(np.float32)
    (loss,) = mean_losses(model, [prompt], with_sentinel.tokens)
    (same,) = mean_losses(backbone, [prompt], with_sentinel.tokens)
    assert loss == same
    with pytest.raises(TrainingError, match=r"name text files, or give --steps 0"):
        adapt(backbone, ADAPTATION, [], tmp_path / "none")


def test_a_run_that_was_interrupted_ends_with_the_same_model(
    backbone: Backbone, corpus: Path, adapted: Adapted, tmp_path: Path
) -> None:
    def interrupt(step: int) -> None:
        if step == 10:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        adapt(backbone, ADAPTATION, [corpus], tmp_path, reporter=Recorder(on_advance=interrupt))
    heard = Recorder()
    again = adapt(backbone, ADAPTATION, [corpus], tmp_path, reporter=heard)
    assert heard.named("start") == [(10, 20)]
    for name in ("model.safetensors", "config.json", "spiece.model"):
        assert (again.folder / name).read_bytes() == (adapted.folder / name).read_bytes()
    other = dataclasses.replace(ADAPTATION, steps=30)
    with pytest.raises(TrainingError, match=r"holds another training .*; choose another --folder"):
        adapt(backbone, other, [corpus], tmp_path)
    with pytest.raises(TrainingError, match="holds another training"):
        adapt(dataclasses.replace(backbone, dtype="bfloat16"), ADAPTATION, [corpus], tmp_path)


def test_a_folder_is_of_its_text_once_something_has_learnt_it(
    backbone: Backbone, corpus: Path, tmp_path: Path
) -> None:
    text, folder = tmp_path / "text.txt", tmp_path / "folder"
    with pytest.raises(TaskError, match=r"text\.txt: no such file"):
        adapt(backbone, ADAPTATION, [text], folder)
    text.write_text("kamo rilu\n")
    with pytest.raises(TrainingError, match="is too short"):
        adapt(backbone, ADAPTATION, [text], folder)
    text.write_bytes(corpus.read_bytes())
    two = dataclasses.replace(ADAPTATION, steps=2)
    adapt(backbone, two, [text], folder)
    text.write_bytes(corpus.read_bytes() + b"kamo rilu\n")
    with pytest.raises(TrainingError, match="holds a training on another text, or this one has"):
        adapt(backbone, two, [text], folder)


def test_spans_can_be_learnt_too(backbone: Backbone, corpus: Path, tmp_path: Path) -> None:
    spans = dataclasses.replace(ADAPTATION, objective="span_corruption", steps=10)
    given = adapt(backbone, spans, [corpus], tmp_path)
    assert fallen(given) > 0


def test_what_cannot_be_adapted_is_refused(
    backbone: Backbone, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="did you mean 'prefix_lm'"):
        Adaptation(objective="prefixlm")
    decoder_only = dataclasses.replace(backbone, config=CONFIGS["llama"])
    with pytest.raises(TrainingError, match=r"is decoder-only.*; only T5s are adapted"):
        adapt(decoder_only, ADAPTATION, [corpus], tmp_path)
    assert not list(tmp_path.iterdir())
