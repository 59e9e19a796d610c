"""Prompts are written whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spot.errors import PromptError
from spot.prompts.files import read_prompt
from spot.prompts.write import write_prompt
from tests.spot.prompts.samples import PROMPT, SUFFIXES


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_layout_is_written_the_same(tmp_path: Path, suffix: str) -> None:
    wide = np.random.default_rng(0).normal(size=(4, 6))
    for i, view in enumerate(
        (wide[:, ::2], np.asfortranarray(wide[:, ::2]), wide[:, ::2].astype(">f8"))
    ):
        write_prompt(tmp_path / f"{i}{suffix}", view)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    np.testing.assert_array_equal(
        read_prompt(tmp_path / f"0{suffix}").prompt, wide[:, ::2].astype(np.float32)
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"prompt{suffix}"
    write_prompt(path, PROMPT)

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(PromptError, match=r"cannot be written \(No space left on device\)"):
            write_prompt(path, PROMPT + 1)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(read_prompt(path).prompt, PROMPT)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX resource limits")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_may_not_grow_says_why_and_leaves_the_old_one(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"prompt{suffix}"
    write_prompt(path, PROMPT)
    script = f"""
import resource, sys
from pathlib import Path
import numpy as np
from spot.errors import PromptError
from spot.prompts.write import write_prompt
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_prompt(Path("prompt{suffix}"), np.ones((64, 64)))
except PromptError as error:
    print(error)
"""
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    (line,) = answer.stdout.splitlines()
    assert "cannot be written (" in line
    assert "None" not in line
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(read_prompt(path).prompt, PROMPT)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_place_that_takes_no_file_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / f"folder{suffix}").mkdir()
    for path in (
        tmp_path / "missing" / f"prompt{suffix}",
        tmp_path / "file" / f"prompt{suffix}",
        tmp_path / f"folder{suffix}",
        tmp_path / f"{'long' * 80}{suffix}",
    ):
        with pytest.raises(PromptError, match="cannot be written"):
            write_prompt(path, PROMPT)
    assert {file.name for file in tmp_path.iterdir()} == {"file", f"folder{suffix}"}


def test_a_prompt_that_cannot_be_is_not_written(tmp_path: Path) -> None:
    for prompt in (np.full((3, 4), np.nan), np.zeros(12)):
        with pytest.raises(PromptError):
            write_prompt(tmp_path / "prompt.npy", prompt)
    assert list(tmp_path.iterdir()) == []
