"""Commands run in this process through the edge, and a small bank to run them on."""

from __future__ import annotations

import dataclasses
import gc
import json
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spot.cli.main import main
from tests.small_bank import write_small_bank


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON on stdout."""
        return json.loads(self.out, parse_constant=pytest.fail)

    @property
    def error(self) -> str:
        """The one line of a user's error."""
        assert (self.code, self.out) == (1, "")
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line.removeprefix("error: ")


Spot = Callable[..., Answer]


@pytest.fixture
def spot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Spot:
    """Runs ``spot`` with arguments, in an empty folder."""
    for name in ("SPOT_BANK", "SPOT_BACKBONE", "SPOT_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["spot", *map(str, arguments)])
        capfd.readouterr()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        hook, threshold, show = sys.unraisablehook, gc.get_threshold(), warnings.showwarning
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:  # the command owns its process; here it is a guest
            for number, handler in handlers.items():
                signal.signal(number, handler)
            sys.unraisablehook, warnings.showwarning = hook, show
            gc.set_threshold(*threshold)
        captured = capfd.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def bank_path(tmp_path: Path) -> Path:
    """``bank.sqlite``, where commands look without ``--bank``: three sources and a transfer."""
    path = tmp_path / "bank.sqlite"
    write_small_bank(path)
    return path
