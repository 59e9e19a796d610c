"""Pre-training of a tiny T5 over generated text: phases, resumption, and what is held out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spot.backbone.load import load_backbone
from spot.backbone.tokenizer import load_tokenizer
from spot.errors import TrainingError
from spot.training.loop import Interrupted
from spot.training.pretrain import pretrain
from spot.training.pretrain_data import hold_out, prepare, read_supervised
from spot.training.pretrain_plan import Pretraining
from spot.training.pretrain_streams import ANSWER_BUCKETS, ObjectiveStream, SupervisedStream
from tasks.errors import TaskError
from tasks.objectives import PrefixLM
from tasks.wordings import Labelled
from tests.spot.training.conftest import CONFIG, VOCABULARY
from tests.spot.training.toy import Recorder

PLAN = Pretraining(
    config=CONFIG,
    span_steps=40,
    adaptation_steps=20,
    supervised_steps=20,
    batch_size=8,
    input_length=32,
    bfloat16=False,
    evaluate_every=10,
)
PAIRS = {
    "rilu": [Labelled("kamo tepo", "good"), Labelled("rilu", "bad")],
    "nusa": [Labelled(" ".join(["nusa"] * n), "good") for n in range(1, 9)],
}


pytestmark = pytest.mark.usefixtures("small_blocks")


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("pretrained")
    assert pretrain(PLAN, [corpus], folder, supervised=PAIRS) == folder / "model"
    return folder


def test_the_model_is_a_backbone_with_its_tokenizer(trained: Path) -> None:
    backbone = load_backbone(str(trained / "model"))
    assert backbone.config == CONFIG
    assert backbone.tokenizer.size == VOCABULARY
    assert backbone.tokenizer.fingerprint == load_tokenizer(trained).fingerprint
    text = "kamo rilu"
    assert backbone.tokenizer.decode(backbone.tokenizer.encode([text])[0]) == text


def test_the_held_out_loss_falls_in_the_phases_on_text(trained: Path) -> None:
    curves = json.loads((trained / "curves.json").read_text(encoding="utf-8"))
    assert list(curves) == ["span_corruption", "prefix_lm", "supervised"]
    assert [len(rows) for rows in curves.values()] == [4, 2, 2]
    for phase in ("span_corruption", "prefix_lm"):
        losses = [row["held_out_loss"] for row in curves[phase]]
        assert losses[-1] < losses[0]
    assert curves["supervised"][-1]["loss"] < curves["prefix_lm"][-1]["loss"]


@pytest.mark.parametrize(("phase", "at"), [("prefix_lm", 10)])
def test_a_run_that_was_interrupted_ends_with_the_same_model(
    phase: str, at: int, corpus: Path, trained: Path, tmp_path: Path
) -> None:
    for name in ("spiece.model", "corpus.uint16"):
        shutil.copy(trained / name, tmp_path / name)
    heard: dict[str, Recorder] = {}

    def interrupt(step: int) -> None:
        if step == at:
            signal.raise_signal(signal.SIGTERM)

    def first(name: str) -> Recorder:
        return Recorder(on_advance=interrupt) if name == phase else Recorder()

    def second(name: str) -> Recorder:
        return heard.setdefault(name, Recorder())

    with pytest.raises(Interrupted):
        pretrain(PLAN, [corpus], tmp_path, supervised=PAIRS, reporter=first)
    assert not (tmp_path / "model").exists()
    pretrain(PLAN, [corpus], tmp_path, supervised=PAIRS, reporter=second)
    assert heard["span_corruption"].named("start") == [(40, 40)]
    assert heard[phase].named("start") == [(at, 20)]
    for name in ("model/model.safetensors", "curves.json"):
        assert digest(tmp_path / name) == digest(trained / name)


def test_a_folder_does_not_pass_for_a_model_of_other_examples(
    corpus: Path, trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    others = {task: list(reversed(examples)) for task, examples in PAIRS.items()}
    with pytest.raises(TrainingError, match="belongs to a run with other arguments"):
        pretrain(PLAN, [corpus], folder, supervised=others)


def test_long_answers_are_learnt_whole(trained: Path) -> None:
    tokenizer, long = load_tokenizer(trained), "good bad " * 4
    corpus = ObjectiveStream(
        np.full(5000, 50, np.uint16),
        PrefixLM(vocab_size=VOCABULARY, input_length=24, target_length=12),
        batch_size=2,
        seed=0,
    )
    stream = SupervisedStream(
        {"task": [Labelled("a film", long)]},
        tokenizer,
        corpus,
        config=CONFIG,
        input_length=32,
        target_length=ANSWER_BUCKETS[-1],
        batch_size=2,
        lm_share=0.0,
        seed=3,
    )
    assert long.strip() in tokenizer.decode(stream.next().targets.ids[0].tolist())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_supervised_phase_without_examples_is_an_error_before_anything_trains(
    corpus: Path, tmp_path: Path
) -> None:
    heard = Recorder()
    with pytest.raises(TrainingError, match="give --supervised, or --supervised-steps 0"):
        pretrain(PLAN, [corpus], tmp_path, reporter=lambda _phase: heard)
    assert heard.calls == []


def test_a_corpus_too_small_for_the_vocabulary_is_an_error_of_training(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("kamo rilu\n" * 50, encoding="utf-8")
    with pytest.raises(TrainingError, match=r"vocabulary|corpus"):
        prepare([path], tmp_path / "folder", vocab_size=VOCABULARY)


def test_a_vocabulary_of_another_size_in_the_folder_is_refused(
    corpus: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copy(trained / "spiece.model", tmp_path / "spiece.model")
    with pytest.raises(TrainingError, match="has 200 pieces with sentinels, expected 300"):
        prepare([corpus], tmp_path, vocab_size=300)


def test_a_corpus_is_prepared_once(corpus: Path, trained: Path) -> None:
    before = {
        name: (trained / name).stat().st_mtime_ns for name in ("spiece.model", "corpus.uint16")
    }
    tokenizer, tokens = prepare([corpus], trained, vocab_size=VOCABULARY)
    assert {name: (trained / name).stat().st_mtime_ns for name in before} == before
    text = tokenizer.decode(i for i in tokens[:2000].tolist() if i != 1)
    assert text.startswith(corpus.read_text(encoding="utf-8")[:100].split("\n")[0])


@pytest.mark.parametrize(
    ("steps", "names"), [((1, 0, 2), ["span_corruption", "supervised"]), ((0, 3, 0), ["prefix_lm"])]
)
def test_a_phase_without_steps_is_left_out(steps: tuple[int, int, int], names: list[str]) -> None:
    plan = dataclasses.replace(
        PLAN, span_steps=steps[0], adaptation_steps=steps[1], supervised_steps=steps[2]
    )
    assert [phase.name for phase in plan.phases()] == names


def test_held_out_blocks_are_never_trained_on() -> None:
    corpus = np.arange(512 * 30 + 100)
    train, held = hold_out(corpus)
    assert len(held) == 4 * 512
    assert not set(train) & set(held)
    assert set(train) | set(held) == set(corpus)
    assert (np.diff(train) > 0).all()
    assert held.min() < len(corpus) / 4 < 3 * len(corpus) / 4 < held.max()


def test_a_corpus_too_short_to_hold_anything_out_is_refused() -> None:
    with pytest.raises(
        TrainingError, match="corpus of 1000 tokens is too short; expected at least"
    ):
        hold_out(np.arange(1000))


def test_supervised_batches_put_the_tasks_name_in_front_and_mix_in_text(trained: Path) -> None:
    tokenizer = load_tokenizer(trained)
    corpus = np.full(5000, 50, np.uint16)

    def stream() -> SupervisedStream:
        language = ObjectiveStream(
            corpus,
            PrefixLM(vocab_size=VOCABULARY, input_length=24, target_length=12),
            batch_size=8,
            seed=0,
        )
        return SupervisedStream(
            PAIRS,
            tokenizer,
            language,
            config=CONFIG,
            input_length=32,
            target_length=8,
            batch_size=8,
            lm_share=0.25,
            seed=3,
        )

    first = stream()
    batches = [first.next() for _ in range(12)]
    from_text = [set(batch.inputs.ids[batch.inputs.mask].tolist()) == {50} for batch in batches]
    assert from_text == [index % 4 == 0 for index in range(12)]
    texts = {tokenizer.decode(row.tolist()) for batch in batches[1:4] for row in batch.inputs.ids}
    assert {text.split()[0] for text in texts} == set(PAIRS)
    answers = {
        tokenizer.decode(row.tolist()) for batch in batches[1:4] for row in batch.targets.ids
    }
    assert answers == {"good", "bad"}
    again = stream()
    for _ in range(6):
        again.next()
    other = stream()
    other.restore(again.state())
    for expected in batches[6:]:
        found = other.next()
        np.testing.assert_array_equal(found.inputs.ids, expected.inputs.ids)
        np.testing.assert_array_equal(found.targets.ids, expected.targets.ids)


def test_supervised_examples_are_read_by_task(tmp_path: Path) -> None:
    rows = [{"task": name, **example._asdict()} for name in PAIRS for example in PAIRS[name]]
    for i, part in enumerate((rows[:3], rows[3:])):
        (tmp_path / f"{i}.jsonl").write_text("\n".join(map(json.dumps, part)), encoding="utf-8")
    assert read_supervised([tmp_path / "0.jsonl", tmp_path / "1.jsonl"]) == PAIRS


@pytest.mark.parametrize(
    "row", [{"task": "a", "input": "b"}, {"task": "a", "input": 3, "target": "c"}, {}]
)
def test_a_supervised_row_without_its_texts_is_refused(row: dict[str, Any], tmp_path: Path) -> None:
    good = {"task": "a", "input": "b", "target": "c"}
    (tmp_path / "rows.jsonl").write_text(
        f"{json.dumps(good)}\n{json.dumps(row)}\n", encoding="utf-8"
    )
    with pytest.raises(
        TrainingError, match=r"rows.jsonl, row 2: expected texts for task, input and target"
    ):
        read_supervised([tmp_path / "rows.jsonl"])


def test_a_supervised_target_outside_its_choices_is_refused(tmp_path: Path) -> None:
    row = {"task": "a", "input": "b", "target": "c", "choices": ["d", "e"]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(
        TrainingError, match=r"rows.jsonl, row 1: target 'c' is not among its choices"
    ):
        read_supervised([tmp_path / "rows.jsonl"])


def test_a_supervised_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"none\.jsonl"):
        read_supervised([tmp_path / "none.jsonl"])
