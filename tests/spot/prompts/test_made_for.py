"""A prompt is used with the backbone that it was made for, as far as its file says which."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from bank import BackboneRecord
from bank.identity import by_name
from spot.errors import PromptError
from spot.prompts.files import read_prompt
from spot.prompts.made_for import backbone_of, check_backbone
from spot.prompts.write import write_prompt
from tests.spot.prompts.samples import PROMPT, with_facts

MODEL = BackboneRecord(fingerprint="e" * 64, name="toy", width=4)


def test_a_prompt_of_another_backbone_is_refused(tmp_path: Path) -> None:
    wrong = read_prompt(
        with_facts(tmp_path / "wrong.safetensors", fingerprint="d" * 64, backbone="other")
    )
    with pytest.raises(
        PromptError,
        match=r"made for backbone 'other' \(dddddddddddd\), not for toy \(eeeeeeeeeeee\)",
    ):
        check_backbone(wrong, MODEL)
    right = read_prompt(with_facts(tmp_path / "right.safetensors", fingerprint="e" * 64))
    check_backbone(right, MODEL)
    with pytest.raises(
        PromptError,
        match="has width 4, but backbone toy has width 5; it was made for another model",
    ):
        check_backbone(right, BackboneRecord(fingerprint="e" * 64, name="toy", width=5))


def test_a_prompt_that_names_no_backbone_is_known_by_its_width(tmp_path: Path) -> None:
    write_prompt(tmp_path / "prompt.npy", PROMPT)
    check_backbone(read_prompt(tmp_path / "prompt.npy"), MODEL)
    with pytest.raises(PromptError, match="it was made for another model"):
        check_backbone(
            read_prompt(tmp_path / "prompt.npy"),
            BackboneRecord(fingerprint="e", name="toy", width=5),
        )


@pytest.mark.parametrize(
    ("named", "warned"), [("hub/other", True), ("hub/toy", False), ("/home/me/toy", False)]
)
def test_a_prompt_that_only_names_another_backbone_says_so(
    tmp_path: Path, named: str, warned: bool
) -> None:
    file = read_prompt(with_facts(tmp_path / "a.safetensors", backbone=named))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_backbone(file, MODEL)
    assert [
        "has no fingerprint to tell whether toy is the same" in str(w.message) for w in caught
    ] == [True] * warned


@pytest.mark.parametrize("fingerprint", ["", "eeee", "e" * 100_000, "E" * 64, "line\nbreak"])
def test_a_fingerprint_that_is_none_is_refused(tmp_path: Path, fingerprint: str) -> None:
    file = read_prompt(with_facts(tmp_path / "prompt.safetensors", fingerprint=fingerprint))
    with pytest.raises(PromptError, match="is no sha256") as caught:
        check_backbone(file, MODEL)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_a_caller_says_of_the_backbone_goes_before_what_the_file_does(tmp_path: Path) -> None:
    named = read_prompt(
        with_facts(tmp_path / "named.safetensors", backbone="toy", fingerprint="e" * 64)
    )
    assert backbone_of(named) == MODEL
    assert backbone_of(named, name="hub/toy").fingerprint == MODEL.fingerprint
    assert backbone_of(named, name="other", fingerprint="d" * 64).fingerprint == "d" * 64
    with pytest.raises(
        PromptError,
        match=r"made for backbone 'toy' \(eeeeeeeeeeee\), not other; leave --backbone out",
    ):
        backbone_of(named, name="other")


def test_a_name_stands_in_for_a_fingerprint_that_nobody_says(tmp_path: Path) -> None:
    write_prompt(tmp_path / "prompt.npy", PROMPT)
    silent = read_prompt(tmp_path / "prompt.npy")
    assert backbone_of(silent, name="toy").fingerprint == by_name("toy")
    with pytest.raises(
        PromptError, match="does not name the model it was trained for; give --backbone"
    ):
        backbone_of(silent)
    with pytest.raises(PromptError, match="expected 64 hexadecimal digits"):
        backbone_of(silent, name="toy", fingerprint="eeee")
