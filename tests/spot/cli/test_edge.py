"""Errors end as one line and an exit code: 1 for what a user did, 2 for a wrong command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from spot.cli.app import make_app
from spot.cli.recipes import RecipeOptions
from spot.errors import TrainingError

Spot = Callable[..., Any]


COMMAND = "import sys; from spot.cli.main import main; sys.argv[0] = 'spot'; main()"


def process(*arguments: object, before: str = "", **options: Any) -> subprocess.Popen[bytes]:
    """The command, behind Python that makes trouble."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(
        [sys.executable, "-c", f"{before}\n{COMMAND}", *map(str, arguments)], **streams
    )


# -- 1: what a user did --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("tasks", "sst"), "task 'sst' is not known; did you mean 'sst"),
        (("tasks", "zzzzzzzz"), "task 'zzzzzzzz' is not known; `spot tasks` lists them"),
        (("tasks", "missing.toml"), "missing.toml: no such file; `spot init-task` writes one"),
        (("train-source", "wn_poss"), "task 'wn_poss' is not known; did you mean 'wn_pos'"),
        (("transfer", "wn_poss"), "task 'wn_poss' is not known; did you mean 'wn_pos'"),
        (
            ("eval", "sst2", "--split", "exam"),
            "split 'exam' is not known; choose from train, dev, test",
        ),
        (("init-task", "reviews.csv"), "reviews.csv: a task file's name ends in .toml"),
        (("init-task", "missing/reviews.toml"), "missing/reviews.toml: No such file or directory"),
        (
            ("train-source", "wn_pos", "--executor", "ray"),
            "executor 'ray' is not known; choose from local, processes",
        ),
        (("retrieve",), "give either a TARGET task or --query FILE"),
        (("retrieve", "wn_pos", "--query", "q.npy"), "give either a TARGET task or --query FILE"),
        (("transfer", "wn_pos"), "bank bank.sqlite: no such file; train a source into it"),
        (("transfer", "wn_pos", "--method", "worst"), "method 'worst'"),
        (
            ("transfer", "wn_pos", "--similarity", "euclidean"),
            "similarity 'euclidean' is not known",
        ),
        (("transfer", "wn_pos", "--aggregate", "median"), "aggregate 'median'"),
        (("retrieve", "wn_pos"), "bank bank.sqlite: no such file"),
        (("bank", "runs"), "bank bank.sqlite: no such file; train a source into it"),
        (("bank", "runs", "--bank", "."), "bank .: a folder, not a file; name the file in it"),
        (("bank", "runs", "--bank", "nosuch://me:secret@host/db"), "no driver for it is installed"),
        (("bank", "runs", "--bank", "sqlite://bank.sqlite"), "not a database URL or path"),
        (
            ("bank", "runs", "--bank", "postgresql://me:secret@host:port/db"),
            "not a database URL or path",
        ),
        (
            ("bank", "import", "missing.npy", "--task", "t", "--backbone", "b"),
            "missing.npy: no such file",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_user_s_error_is_one_line(
    spot: Spot, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    line = spot(*arguments).error
    assert complaint in line
    assert "secret" not in line
    assert list(tmp_path.iterdir()) == []


STUDY = ("bank", "evaluate-retrieval", "--prompts", ".", "--scores", "scores.json")


@pytest.mark.parametrize(
    ("arguments", "unused", "because"),
    [
        (
            ("transfer", "wn_pos", "--method", "none"),
            ("--top-k", "3"),
            "method none asks the bank for no source",
        ),
        (
            ("transfer", "wn_pos", "--method", "none"),
            ("--similarity", "average"),
            "method none asks",
        ),
        (("transfer", "wn_pos", "--method", "none"), ("--aggregate", "mean"), "method none asks"),
        (("transfer", "wn_pos", "--method", "none"), ("--allow-overlap",), "method none asks"),
        (
            ("transfer", "wn_pos", "--method", "generic", "--source", "wn_isa"),
            ("--top-k", "1"),
            "from --source alone",
        ),
        (
            ("transfer", "wn_pos", "--method", "oracle"),
            ("--top-k", "3"),
            "method oracle starts from every source",
        ),
        *(
            (
                ("transfer", "wn_pos", "--method", *method),
                ("--source-file", "mine.toml"),
                "a source's data",
            )
            for method in (
                ("best",),
                ("average",),
                ("oracle",),
                ("none",),
                ("generic", "--source", "wn_isa"),
            )
        ),
        (
            ("train-source", "wn_pos", "--start", "feedfeed"),
            ("--init", "vocabulary"),
            "--start says where",
        ),
        *(
            (command, ("--workers", "2"), "--executor local trains in this process")
            for command in (
                ("train-source", "wn_pos"),
                ("transfer", "wn_pos"),
                ("study", "study.toml"),
            )
        ),
        (STUDY, ("--bank", "bank.sqlite"), "--prompts and --scores stand in place of a bank"),
        (("tasks", "wn_pos"), ("--family", "pos"), "one task is shown by its name"),
        (("tasks",), ("--data-dir", "."), "data is read where a task is named"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_that_would_not_be_used_is_refused_before_anything_is_made(
    spot: Spot, tmp_path: Path, arguments: tuple[str, ...], unused: tuple[str, ...], because: str
) -> None:
    line = spot(*arguments, *unused).error
    assert line.startswith(f"{unused[0]} would not be used: ")
    assert because in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("show", "feedfeed"), "run 'feedfeed' is not in the bank; `spot bank runs` lists them"),
        (("export", "feedfeed", "out.npy"), "prompt 'feedfeed' is not in the bank"),
    ],
)
def test_an_unknown_name_in_a_bank_is_one_line(
    spot: Spot, bank_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    assert complaint in spot("bank", *arguments).error
    assert not (bank_path.parent / "out.npy").exists()


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        TrainingError, match="preset 'nope' is not known; choose from auto, paper, prefix, quick"
    ):
        RecipeOptions(preset="nope").recipe("tiny")


def test_an_unknown_preset_is_refused_before_anything_is_made(spot: Spot, tmp_path: Path) -> None:
    line = spot("train-source", "wn_pos", "--preset", "nope").error
    assert line == "preset 'nope' is not known; choose from auto, paper, prefix, quick"
    assert list(tmp_path.iterdir()) == []


def test_a_bank_that_is_something_else_is_one_line(spot: Spot, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("a letter to a friend\n" * 100)
    assert (
        "file is not a database (the file is something else)"
        in spot("bank", "runs", "--bank", "letter.txt").error
    )


# -- 2: a wrong command line ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("bank", "nosuch"),
        ("bank", "runs", "--nosuch"),
        ("bank", "show"),
        ("bank", "import", "prompt.npy"),
        ("transfer", "wn_pos", "--top-k", "0"),
        ("transfer", "wn_pos", "--top-k", "many"),
        ("transfer", "wn_pos", "--first-seed", f"1{'0' * 30}"),
        ("transfer", "wn_pos", "--learning-rate", "nan"),
        ("train-source", "wn_pos", "--seeds", "0"),
        ("train-source",),
        ("retrieve", "wn_pos", "--top-k", "-1"),
        ("pretrain", "text.txt"),
        ("adapt", "text.txt"),
        ("tune", "wn_pos"),
        ("ensemble",),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_two(
    spot: Spot, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    answer = spot(*arguments)
    assert (answer.code, answer.out) == (2, "")
    (line,) = answer.err.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(" --help`")
    assert list(tmp_path.iterdir()) == []


# -- the world outside ---------------------------------------------------------------------------------------


def test_the_command_itself_ends_with_one_line_and_no_traceback(tmp_path: Path) -> None:
    with process("bank", "runs", "--bank", "missing.sqlite", cwd=tmp_path) as ended:
        out, err = ended.communicate()
    assert (ended.returncode, out) == (1, b"")
    (line,) = err.decode().splitlines()
    assert line.startswith("error: bank missing.sqlite: no such file")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX pipes")
def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    with process("tasks", "--json", cwd=tmp_path) as ended:
        assert ended.stdout is not None and ended.stderr is not None
        ended.stdout.close()
        err = ended.stderr.read()
    assert err == b""
    assert ended.returncode in (1, 128 + signal.SIGPIPE)


def ended(*arguments: object, before: str = "", **options: Any) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a process; ``before`` is Python that runs ahead of the command."""
    with process(*arguments, before=before, **options) as command:
        out, err = command.communicate(timeout=120)
    return command.returncode, (out or b"").decode(), (err or b"").decode()


def one_line(answer: tuple[int, str, str], code: int = 1) -> str:
    """The line of a process that ended with nothing else."""
    assert answer[:2] == (code, ""), answer
    (line,) = answer[2].splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def broken(error: str) -> str:
    """Python that has the command ``spot bank runs`` raise."""
    return f"""
import bank.listing
def broken(*_, **__): {error}
bank.listing.list_runs = broken
"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            "raise ValueError('a bug\\n over\\x1b[31m lines')",
            "ValueError: a bug over [31m lines (SPOT_TRACEBACK=1 shows where)",
        ),
        ("raise AssertionError", "AssertionError (SPOT_TRACEBACK=1 shows where)"),
        (
            "broken()",
            "RecursionError: maximum recursion depth exceeded (SPOT_TRACEBACK=1 shows where)",
        ),
        ("raise MemoryError", "not enough memory (SPOT_TRACEBACK=1 shows where)"),
        (
            "raise UnicodeEncodeError('ascii', 'é', 0, 1, 'no')",
            "UnicodeEncodeError: 'ascii' codec can't encode",
        ),
        ("open('/nowhere/at/all')", "/nowhere/at/all: No such file or directory"),
        ("raise KeyError('x' * 100_000)", "KeyError: 'xxx"),
    ],
    ids=["text", "silent", "recursion", "memory", "encoding", "file", "long"],
)
def test_a_program_s_own_fault_is_one_line_that_says_how_to_see_more(
    bank_path: Path, error: str, line: str
) -> None:
    found = one_line(ended("bank", "runs", before=broken(error), cwd=bank_path.parent))
    assert found.startswith(line)
    assert len(found) < 1200


def test_the_traceback_is_shown_where_it_is_asked_for(bank_path: Path) -> None:
    code, out, err = ended(
        "bank",
        "runs",
        before=broken("1 / 0"),
        cwd=bank_path.parent,
        env={**os.environ, "SPOT_TRACEBACK": "1"},
    )
    assert (code, out) == (1, "")
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("error: ZeroDivisionError: division by zero")


def test_a_warning_is_one_line_without_a_path(bank_path: Path) -> None:
    warn = "import warnings; warnings.warn('a library\\nwarns')"
    code, _, err = ended("bank", "runs", before=broken(f"{warn}; return []"), cwd=bank_path.parent)
    assert (code, err) == (0, "warning: a library warns\n")


# -- signals -------------------------------------------------------------------------------------------------

AT_IMPORT = """
import importlib.abc, os, signal, sys
class Interrupts(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            {how}
sys.meta_path.insert(0, Interrupts())
"""
KILL = "os.kill(os.getpid(), signal.{})"


@pytest.mark.parametrize(
    "module", ["spot.cli.app", "typer", "sqlalchemy", "numpy", "jax", "flax", "spot.backbone.t5"]
)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_importing_ends_the_command(tmp_path: Path, module: str, name: str) -> None:
    sent = AT_IMPORT.format(module=module, how=KILL.format(name))
    code = 128 + signal.Signals[name]
    assert one_line(ended("doctor", before=sent, cwd=tmp_path), code) == f"stopped by {name}"


@pytest.mark.parametrize(
    "how",
    [
        "try: os.kill(os.getpid(), signal.SIGINT)\n            except: pass",
        "type('Dies', (), {'__del__': lambda self: os.kill(os.getpid(), signal.SIGINT)})()",
    ],
    ids=["bare except", "finalizer"],
)
def test_a_library_cannot_swallow_an_interrupt(tmp_path: Path, how: str) -> None:
    sent = AT_IMPORT.format(module="sqlalchemy", how=how)
    assert one_line(ended("bank", "runs", before=sent, cwd=tmp_path), 130) == "stopped by SIGINT"


def test_an_interrupt_at_work_cleans_up_behind_it(bank_path: Path) -> None:
    work = "import os, signal, sys\n    try: os.kill(os.getpid(), signal.SIGINT)\n"
    work += "    finally: sys.stderr.write('closed. ')"
    code, _, err = ended("bank", "runs", before=broken(f"\n    {work}"), cwd=bank_path.parent)
    assert (code, err) == (130, "closed. error: stopped by SIGINT\n")


# -- streams and texts ---------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments", [("tasks",), ("tasks", "--json"), ("--help",), ("--version",)], ids=" ".join
)
def test_a_full_disk_behind_standard_output_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with open("/dev/full", "wb") as full:
        answer = ended(*arguments, cwd=tmp_path, stdout=full)
    assert one_line(answer) == "standard output: No space left on device"


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX descriptors")
@pytest.mark.parametrize("closed", [1, 2, 0])
def test_closed_standard_streams(tmp_path: Path, closed: int) -> None:
    """Also, no file that is opened later takes a closed stream's number."""
    before = f"import os; os.close({closed}); import sys; sys.{('stdin', 'stdout', 'stderr')[closed]} = None"
    code, out, err = ended("tasks", before=before, cwd=tmp_path)
    if closed == 1:
        assert (
            one_line((code, out, err))
            == "standard output is closed; send it to a file, or to /dev/null"
        )
    else:
        assert (code, err) == (0, "")
        assert "wn_pos" in out


def test_standard_input_that_is_not_utf_8_is_one_line_with_its_number(tmp_path: Path) -> None:
    with process("predict", cwd=tmp_path, stdin=subprocess.PIPE) as command:
        out, err = command.communicate(b"definition: a cat\ndefinition: caf\xe9\n", timeout=120)
    answer = (command.returncode, out.decode(), err.decode())
    assert one_line(answer) == "standard input, line 2: not UTF-8 text"


def test_a_command_that_reads_a_tokenizer_does_not_advise_pytorch() -> None:
    before = "import atexit; atexit.register(lambda: __import__('transformers'))"
    with process("--version", before=before) as command:
        out, err = command.communicate(timeout=120)
    assert (command.returncode, out.startswith(b"spot "), err) == (0, True, b"")


@pytest.mark.skipif(os.name != "posix", reason="arguments are bytes")
@pytest.mark.parametrize(
    "settings",
    [{}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_an_argument_that_is_not_utf_8_is_one_line(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    arguments = [sys.executable, "-c", COMMAND, "predict", b"definition: caf\xe9"]
    with subprocess.Popen(
        arguments,
        cwd=tmp_path,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as command:
        out, err = command.communicate(timeout=120)
    answer = (command.returncode, out.decode(), err.decode())
    assert one_line(answer) == "argument 2 is not UTF-8 text: 'definition: caf\\udce9'"


def test_texts_are_utf_8_in_any_locale(bank_path: Path) -> None:
    settings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    row = broken(r"return [{'task': 'caf\xe9 \U0001f600'}]")
    plain = ended("bank", "runs", before=row, cwd=bank_path.parent, env=os.environ | settings)
    assert plain == (0, "task\ncaf\\xe9 \\U0001f600\n", "")
    code, out, _ = ended(
        "bank", "runs", "--json", before=row, cwd=bank_path.parent, env=os.environ | settings
    )
    assert (code, json.loads(out)["runs"]) == (0, [{"task": "café 😀"}])


# -- options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("retrieve", "wn_pos", "--seed", 10**30),
        ("retrieve", "wn_pos", "--seed", -1),
        ("train-source", "wn_pos", "--first-seed", 2**31),
        ("train-source", "wn_pos", "--seeds", 10**9),
        ("train-source", "wn_pos", "--steps", 10**30),
        ("train-source", "wn_pos", "--prompt-length", 10**9),
        ("train-source", "wn_pos", "--learning-rate", "nan"),
        ("train-source", "wn_pos", "--weight-decay", "inf"),
        ("train-source", "wn_pos", "--checkpoint-seconds", "nan"),
        ("pretrain", "text.txt", "--folder", "x", "--learning-rate", "nan"),
        ("adapt", "text.txt", "--folder", "x", "--learning-rate", "nan"),
        ("tune", "wn_pos", "--folder", "x", "--tuning-rate", "0"),
        ("tune", "wn_pos", "--folder", "x", "--tuning-rate", "nan"),
        ("ensemble", "wn_pos", "--limit", -1),
        ("pretrain", "text.txt", "--folder", "x", "--width", 10**30),
        ("eval", "wn_pos", "--limit", 10**30),
        ("bank", "evaluate-retrieval", "--k", 10**30),
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_a_number_out_of_its_bounds_is_refused(
    spot: Spot, tmp_path: Path, arguments: tuple[object, ...]
) -> None:
    answer = spot(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err
    assert list(tmp_path.iterdir()) == []


def test_every_number_among_the_options_has_bounds() -> None:
    unbounded = []
    groups = [typer.main.get_command(make_app())]
    while groups:
        group: Any = groups.pop()
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                groups.append(command)
                continue
            numbers = [p for p in command.params if p.type.name.startswith(("integer", "float"))]
            unbounded += [(name, p.name) for p in numbers if getattr(p.type, "max", None) is None]
    assert unbounded == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("train-source", "wn_pos", "--runs", "~nouser/runs"),
        ("tasks", "sst2", "--data-dir", "~nouser/data"),
        ("init-task", "~nouser/x.toml"),
        ("bank", "export", "f", "~nouser/x.npy"),
        ("study", "~nouser/study.toml"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_home_that_is_not_known_is_one_line(
    spot: Spot, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert "no home folder is known for ~nouser; write the whole path" in spot(*arguments).error
    assert list(tmp_path.iterdir()) == []


def test_paths_begin_at_home(spot: Spot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert spot("init-task", "~/mine.toml").code == 0
    assert [path.name for path in home.iterdir()] == ["mine.toml"]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


# -- folders -------------------------------------------------------------------------------------------------


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A folder that nobody can make, the superuser included."""
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "folder"


@pytest.mark.parametrize(
    "arguments",
    [
        ("train-source", "wn_pos", "--runs"),
        ("train-source", "wn_pos", "--log-dir"),
        ("pretrain", "file", "--folder"),
        ("adapt", "file", "--folder"),
        ("tune", "wn_pos", "--folder"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_folder_that_cannot_be_written_is_known_before_anything_is_loaded(
    spot: Spot, blocked: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("spot.backbone.load.load_backbone", lambda *_, **__: pytest.fail("loaded"))
    assert (
        spot(*arguments, blocked).error
        == f"{blocked}: cannot be written (Not a directory); choose another folder"
    )


@pytest.mark.filterwarnings("always")
def test_a_cache_that_cannot_be_written_is_told_and_done_without(
    spot: Spot, blocked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOT_CACHE", str(blocked))
    told = (
        f"warning: cache {blocked}: cannot be written (Not a directory); choose another folder with SPOT_CACHE; "
        "nothing is kept for the next start\n"
    )
    answer, doctor = spot("predict", "definition: a cat", "--choices", "noun,verb"), spot("doctor")
    assert (answer.code, answer.out, answer.err) == (0, "verb\n", told)
    assert doctor.err == told
    assert doctor.code == 1
    assert f"problem: cache: {blocked}: cannot be written" in doctor.out
    assert str(blocked / "runs") in spot("train-source", "wn_pos").error


def test_without_a_home_the_line_says_what_to_set(
    spot: Spot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for name in ("SPOT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    expected = "no home folder is known; set SPOT_CACHE to a folder for the caches"
    assert spot("predict", "definition: a cat").error == expected
    assert spot("train-source", "wn_pos").error == expected
    assert spot("bank", "runs", "--bank", "missing.sqlite").error.startswith(
        "bank missing.sqlite: no such file"
    )
    assert f"problem: cache: {expected}" in spot("doctor").out


# -- retrieve needs no backbone for a query from a file ------------------------------------------------------


@pytest.mark.filterwarnings("always::UserWarning")
def test_retrieve_refuses_a_query_that_cannot_be_compared(
    spot: Spot, bank_path: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "long.npy", np.ones((5, 4), np.float32))
    np.save(tmp_path / "wide.npy", np.ones((3, 5), np.float32))
    np.save(tmp_path / "right.npy", np.ones((3, 4), np.float32))
    assert "it differs in length 5 (keys: 3)" in spot("retrieve", "--query", "long.npy").error
    warning, error = spot("retrieve", "--query", "wide.npy").err.splitlines()
    assert warning.startswith("warning: wide.npy: says nothing of the recipe it was trained with")
    assert error.startswith("error: query has shape [3, 5], keys have [3, 4]")
    assert (
        "similarity 'euclidean' is not known"
        in spot("retrieve", "--query", "right.npy", "--similarity", "euclidean").error
    )
    assert (
        "aggregate 'median' is not known"
        in spot("retrieve", "--query", "right.npy", "--aggregate", "median").error
    )
