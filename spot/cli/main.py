"""The edge of the ``spot`` command: the one place where an error becomes a line and an exit code.

It imports next to nothing, so that a signal that comes while the commands are imported meets a handler already.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any

from spot.errors import Interrupted, SpotError

if TYPE_CHECKING:
    from types import FrameType

TRACEBACK = "SPOT_TRACEBACK"
"""Environment variable: set to anything, an error prints its traceback before its line."""

LONGEST = 1000
"""Letters of an error's line; a damaged file can put a whole file into one."""

SETTINGS = ("SPOT_BANK", "SPOT_BACKBONE", "SPOT_CACHE", "SPOT_DATA")
"""Environment variables that stand for options."""


class Stopped(SystemExit):
    """SIGINT or SIGTERM arrived outside the training loop, which has a handler of its own.

    An exit, since whoever catches all else lets that pass.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}"


def main() -> None:
    """Run the command line; every exception ends in one line on stderr and an exit code.

    That is 1 for an error, 2 for a wrong command line, and 128 and the signal's number for one that was stopped. What
    is no user's fault also says how to see the traceback.
    """
    _set_handlers(_stop)
    # what imports make stays; looking through it for garbage took a sixth of the start
    gc.set_threshold(100_000)
    sys.unraisablehook = _unraisable
    warnings.showwarning = _show_warning
    # transformers is here for its tokenizers, which need no PyTorch; else it says so in front of every answer
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    code: Any = 0
    failure: BaseException | None = None
    try:
        _prepare_streams()
        _check_texts()
        from spot.cli.app import make_app

        ended = make_app(only_bank=sys.argv[1:2] == ["bank"])(standalone_mode=False)
        code = ended if isinstance(ended, int) else 0
    except SystemExit as end:
        code, failure = end.code, end if isinstance(end, Stopped) else None
    except BaseException as error:
        failure = error
    _set_handlers(_stop_at_once)
    try:
        sys.stdout.flush()
    except OSError as error:
        failure = failure or error
    if failure:
        code = _print_error(failure)
    _set_handlers(signal.SIG_IGN)  # all is done and said; the interpreter's end takes a while
    sys.exit(code)


# -- errors ----------------------------------------------------------------------------------------------------


def _print_error(error: BaseException) -> int:
    """Print an exception's line; returns the exit code."""
    if os.environ.get(TRACEBACK):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, Stopped | Interrupted):
        return _say_error(str(error), 128 + error.number)
    if isinstance(error, KeyboardInterrupt):  # of the default handler, before ours was there
        return _say_error(str(Stopped(signal.SIGINT)), 128 + signal.SIGINT)
    if isinstance(error, BrokenPipeError):  # whoever read has what they wanted
        return 1
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return _say_error(f"{os.fsdecode(error.filename)}: {error.strerror}", 1)
    if _is_a_user_s(error):
        return _say_error(str(error), 1)
    if hasattr(
        error, "format_message"
    ):  # of the library that parses, whose exceptions have no public home
        return _wrong_command_line(error)
    about = "not enough memory" if isinstance(error, MemoryError) else type(error).__name__
    reason = f"{about}: {error}" if str(error) else about
    return _say_error(f"{_one_line(reason)} ({TRACEBACK}=1 shows where)", 1)


def _wrong_command_line(error: Any) -> int:
    """Say what is wrong with it; where a command is missing its help has been printed."""
    message = error.format_message().strip()
    if type(error).__name__ == "NoArgsIsHelpError":
        _say_on_stderr(message)
    else:
        where = f"; see `{error.ctx.command_path} --help`" if getattr(error, "ctx", None) else ""
        _say_error(f"{message.rstrip('.')}{where}", error.exit_code)
    return int(error.exit_code)


def _is_a_user_s(error: BaseException) -> bool:
    from bank.errors import BankError
    from tasks.errors import TaskError

    return isinstance(error, SpotError | BankError | TaskError)


def _say_error(line: str, code: int) -> int:
    _say_on_stderr(f"error: {_one_line(line)}")
    return code


def _one_line(text: str) -> str:
    """The text without line ends and control characters, and not longer than an error may be."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * LONGEST]).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    _say_on_stderr(f"warning: {_one_line(str(message))}")


def _say_on_stderr(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody is left to be told
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


# -- signals ---------------------------------------------------------------------------------------------------


def _set_handlers(handler: Any) -> None:
    with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise, or end at once where an exception may be swallowed: libraries catch everything while they are imported.

    Nothing is lost by ending: files are replaced whole, and a bank's transactions are whole or not there.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _end(Stopped(number))
        frame = frame.f_back
    raise Stopped(number)


def _stop_at_once(number: int, _frame: FrameType | None) -> None:
    _end(Stopped(number))


def _unraisable(raised: Any) -> None:
    """What was raised in a finalizer, where Python goes on: end for a signal, and leave the rest to Python."""
    if isinstance(raised.exc_value, Stopped):
        _end(raised.exc_value)
    if os.environ.get(TRACEBACK):
        sys.__unraisablehook__(raised)


def _end(stopped: Stopped) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"error: {stopped}\n".encode())
    os._exit(128 + stopped.number)


# -- streams and texts -----------------------------------------------------------------------------------------


class _StandardOutput(io.FileIO):
    """Standard output, which says its name in its errors, and is silent from then on."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            # the interpreter flushes once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            raise OSError(error.errno, error.strerror, "standard output") from error


def _prepare_streams() -> None:
    """Have standard streams that take any text.

    Raises:
        SpotError: standard output is closed.
    """
    for descriptor in range(
        3
    ):  # a file that is opened later must not take a standard stream's number
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        raise SpotError("standard output is closed; send it to a file, or to /dev/null")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    output = sys.stdout
    if isinstance(output, io.TextIOWrapper) and output is sys.__stdout__:
        raw = _StandardOutput(output.fileno(), "w", closefd=False)
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding=output.encoding, line_buffering=output.isatty()
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_texts() -> None:
    """Refuse what is no text: arguments become prompts, names in a bank and lines of JSON.

    Raises:
        SpotError: an argument or a setting that is not UTF-8.
    """
    for number, argument in enumerate(sys.argv[1:], 1):
        sys.argv[number] = _text(f"argument {number}", argument)
    for name in SETTINGS:
        _text(name, os.environ.get(name, ""))


def _text(name: str, value: str) -> str:
    """What the system's bytes say in UTF-8, whatever the locale made of them."""
    try:
        return os.fsencode(value).decode()
    except UnicodeError:
        raise SpotError(f"{name} is not UTF-8 text: {value!a}") from None
