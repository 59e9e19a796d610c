"""LM adaptation of a tiny T5: what it learns, resumption, and whom it refuses."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path

import pytest

from spot.backbone.load import Backbone, load_backbone
from spot.errors import Interrupted, TrainingError
from spot.training.adapt import Adaptation, Adapted, adapt
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
    assert adapted.after < adapted.before - 0.1
    model = load_backbone(str(adapted.folder))
    assert model.config == backbone.config
    assert model.tokenizer.fingerprint == backbone.tokenizer.fingerprint
    assert model.fingerprint != backbone.fingerprint
    curve = json.loads((adapted.folder.parent / "curve.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in curve] == [10, 20]
    assert curve[-1]["held_out_loss"] == adapted.after


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
    with pytest.raises(
        TrainingError, match=r"holds another adaptation .*; choose another --folder"
    ):
        adapt(backbone, other, [corpus], tmp_path)


def test_spans_can_be_learnt_too(backbone: Backbone, corpus: Path, tmp_path: Path) -> None:
    spans = dataclasses.replace(ADAPTATION, objective="span_corruption", steps=10)
    given = adapt(backbone, spans, [corpus], tmp_path)
    assert given.after < given.before


def test_what_cannot_be_adapted_is_refused(
    backbone: Backbone, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="did you mean 'prefix_lm'"):
        Adaptation(objective="prefixlm")
    decoder_only = dataclasses.replace(backbone, config=CONFIGS["llama"])
    with pytest.raises(TrainingError, match=r"is decoder-only.*; only T5s are adapted"):
        adapt(decoder_only, ADAPTATION, [corpus], tmp_path)
    assert not list(tmp_path.iterdir())
