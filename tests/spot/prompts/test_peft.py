"""PEFT's adapters are read as PEFT reads them, written as it writes them, and refused where they are no prompt."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from spot.errors import PromptError
from spot.prompts.files import read_prompt
from spot.prompts.write import write_prompt
from tests.spot.backbone.test_torch_file import dictionary, tensor, write_zip
from tests.spot.prompts.samples import PROMPT, STORED, VALUES, adapter, content, refusal


@pytest.mark.parametrize("given", ["", "adapter_model.safetensors"])
@pytest.mark.parametrize("parts", [2, None])
def test_an_adapter_of_an_encoder_decoder_gives_the_half_that_is_used(
    tmp_path: Path, given: str, parts: int | None
) -> None:
    read = read_prompt(adapter(tmp_path / "adapter", num_transformer_submodules=parts) / given)
    np.testing.assert_array_equal(read.prompt, STORED[:3])
    assert read.metadata["backbone"] == "google/t5-v1_1-small"


@pytest.mark.parametrize(
    "changes",
    [
        {"num_virtual_tokens": 6, "num_transformer_submodules": 1},
        {"num_virtual_tokens": 6, "num_transformer_submodules": 1, "task_type": "CAUSAL_LM"},
        {"num_virtual_tokens": 6, "num_transformer_submodules": None, "task_type": "CAUSAL_LM"},
        {
            "num_virtual_tokens": 6,
            "num_transformer_submodules": None,
            "task_type": None,
            "token_dim": None,
        },
    ],
    ids=range(4),
)
def test_an_adapter_of_one_part_gives_all_of_it(tmp_path: Path, changes: dict[str, object]) -> None:
    np.testing.assert_array_equal(
        read_prompt(adapter(tmp_path / "adapter", **changes)).prompt, STORED
    )


def test_an_adapter_s_weights_may_be_a_pytorch_file(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", num_virtual_tokens=3, num_transformer_submodules=1)
    (folder / "adapter_model.safetensors").unlink()
    write_zip(folder / "adapter_model.bin", dictionary(prompt_embeddings=tensor((3, 4), (4, 1))))
    for path in (folder, folder / "adapter_model.bin"):
        np.testing.assert_array_equal(read_prompt(path).prompt, VALUES)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"peft_type": "LORA"}, "peft_type is 'LORA'; only PROMPT_TUNING and PREFIX_TUNING are"),
        ({"peft_type": "PREFIX_TUNING"}, "num_layers is None and token_dim 4; a prefix needs both"),
        ({"peft_type": "PREFIX_TUNING", "num_layers": 10**12}, "and at most 10000 layers"),
        (
            {"peft_type": "PREFIX_TUNING", "num_layers": 2},
            "has shape [6, 4], but adapter_config.json says [3, 16]",
        ),
        ({"peft_type": "MULTITASK_PROMPT_TUNING"}, "only PROMPT_TUNING and PREFIX_TUNING are"),
        ({"peft_type": ["x"] * 10_000}, "only PROMPT_TUNING and PREFIX_TUNING are prompts"),
        ({"task_type": "SEQ_CLS"}, "a classifier's head is no part of a prompt"),
        (
            {"num_virtual_tokens": 4},
            "has shape [6, 4], but adapter_config.json says [8, 4]: 4 virtual tokens in 2",
        ),
        ({"num_virtual_tokens": 10**30}, "has shape [6, 4], but adapter_config.json says"),
        ({"token_dim": 5}, "has shape [6, 4], but adapter_config.json says [6, 5]"),
        ({"num_virtual_tokens": 0}, "num_virtual_tokens is 0"),
        ({"num_virtual_tokens": "3"}, "num_virtual_tokens is '3'"),
        ({"num_virtual_tokens": None}, "num_virtual_tokens is None"),
        ({"num_transformer_submodules": 3}, "num_transformer_submodules 3"),
        (
            {"task_type": "CAUSAL_LM"},
            "num_transformer_submodules 2; expected at least 1, and 1 or, for sequence",
        ),
    ],
    ids=range(15),
)
def test_an_adapter_that_is_no_prompt_is_refused(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    line = refusal(adapter(tmp_path / "adapter", **changes))
    assert complaint in line
    assert len(line) < 500


def test_an_adapter_that_trained_more_than_a_prompt_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter")
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(content(".safetensors", prompt_embeddings=STORED, prefix_task_cols=PROMPT))
    for path in (folder, weights):
        assert (
            "more than a prompt; beside prompt_embeddings it holds 'prefix_task_cols'"
            in refusal(path)
        )


def test_a_damaged_adapter_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter")
    (folder / "adapter_model.safetensors").unlink()
    assert "holds neither adapter_model.safetensors nor adapter_model.bin" in refusal(folder)
    for config in ("", "[]", "{", "[" * 100_000, '{"peft_type": ' + "9" * 5000 + "}"):
        (folder / "adapter_config.json").write_text(config)
        refusal(folder)


@pytest.mark.parametrize(
    "name", ["prompt_embeddings", "base_model.prompt_encoder.default.embedding.weight"]
)
def test_weights_without_their_config_say_what_cannot_be_known(tmp_path: Path, name: str) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content(".safetensors", **{name: STORED}))
    with pytest.warns(
        UserWarning,
        match="all 6 tokens are taken; PEFT stores twice its length for sequence-to-seq",
    ):
        np.testing.assert_array_equal(read_prompt(path).prompt, STORED)
    np.testing.assert_array_equal(read_prompt(path, length=6).prompt, STORED)
    path.write_bytes(content(".safetensors", prompt_embeddings=STORED[:5]))
    assert len(read_prompt(path).prompt) == 5


@pytest.mark.parametrize("name", ["prompt", "prompt_embeddings"])
def test_a_prompt_of_twice_the_expected_length_is_refused_with_the_likely_cause(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content(".safetensors", **{name: STORED}))
    with pytest.raises(
        PromptError,
        match=r"has 6 tokens, expected 3: PEFT stores twice its length .* the adapter's fol",
    ):
        read_prompt(path, length=3)
    with pytest.raises(PromptError, match="has 6 tokens, expected 4; set --prompt-length to match"):
        read_prompt(path, length=4)
    assert len(read_prompt(adapter(tmp_path / "adapter"), length=3).prompt) == 3


def test_an_adapter_goes_through_a_folder_bit_by_bit(tmp_path: Path) -> None:
    facts = {"task": "sst2", "backbone": "toy"}
    for config, task in (
        ({"num_decoder_layers": 2}, "SEQ_2_SEQ_LM"),
        ({"num_layers": 2}, "CAUSAL_LM"),
        (None, None),
    ):
        write_prompt(tmp_path / "adapter", PROMPT, facts, config=config)
        read = read_prompt(tmp_path / "adapter", length=3)
        assert read.prompt.tobytes() == PROMPT.tobytes()
        assert {name: read.metadata[name] for name in facts} == facts
        written = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
        assert (written["task_type"], written["num_transformer_submodules"]) == (task, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_an_adapter_may_replace_one_and_nothing_else(tmp_path: Path) -> None:
    for name, occupant in (("lora", json.dumps({"peft_type": "LORA"})), ("notes", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / ("adapter_config.json" if occupant else "notes.txt")).write_text(
            occupant
        )
    (tmp_path / "file").touch()
    for name in ("lora", "notes", "file"):
        with pytest.raises(
            PromptError, match="exists and is no PEFT adapter of a prompt; choose another folder"
        ):
            write_prompt(tmp_path / name, PROMPT)
    (tmp_path / "empty").mkdir()
    for name, written in (("empty", ""), ("empty", ""), ("v1.0", "peft"), ("v1.0", "")):
        write_prompt(tmp_path / name, PROMPT, format=written)
        np.testing.assert_array_equal(read_prompt(tmp_path / name).prompt, PROMPT)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "empty",
        "file",
        "lora",
        "notes",
        "v1.0",
    ]


def test_a_full_disk_leaves_no_part_of_an_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "adapter_config.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(PromptError, match=r"cannot be written \(No space left on device\)"):
        write_prompt(tmp_path / "adapter", PROMPT)
    assert list(tmp_path.iterdir()) == []
