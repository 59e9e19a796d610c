"""A process that trains groups for another: orders come on stdin, replies go to stdout, progress to stderr.

Started by :class:`spot.transfer.processes.ProcessExecutor`. An order is a pickle that the parent made in memory, behind
its length; a reply is a line of JSON. Where stdin ends the parent is gone: what is under way is saved, and the
process ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pickle
import queue
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rich.console import Console

from bank import Bank
from bank.errors import BankError
from spot.backbone.load import load_backbone
from spot.backbone.process import prepare_process
from spot.errors import DivergenceError, Interrupted, SpotError
from spot.training.progress import Display
from spot.transfer.datasets import Datasets
from spot.transfer.executors import Group, LocalExecutor
from tasks.errors import TaskError

LENGTH = 8
"""Bytes of the length that an order begins with."""

OPENED = contextlib.ExitStack()
"""Banks of this process, to be closed at its end."""


class Order(NamedTuple):
    """What a worker is told to train.

    Attributes:
        bank: where the bank is opened.
        group: what is wanted.
        log_dir: folder of event files, if any.
    """

    bank: str
    group: Group
    log_dir: Path | None = None


class Where(NamedTuple):
    """What of a group an executor is made for; see :class:`Group`."""

    backbone: str
    dtype: str
    data_dir: Path | None
    allow_partial: bool


def write_order(out: Any, order: Order) -> None:
    """Send an order to a worker's stdin."""
    content = pickle.dumps(order)
    out.write(len(content).to_bytes(LENGTH, "big") + content)
    out.flush()


def main() -> None:
    """Carry out orders until there are no more, or a signal stops one of them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    warnings.showwarning = _show_warning
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no reply
    orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, orders, busy), daemon=True).start()
    with OPENED:
        while order := orders.get():
            busy.set()
            reply = carry_out(order)
            with contextlib.suppress(BrokenPipeError):  # nobody is left to be told
                replies.write(json.dumps(reply) + "\n")
                replies.flush()
            busy.clear()
            if "stopped" in reply:
                break
    os._exit(0)  # the thread that listens may hold stdin


def carry_out(pickled: bytes) -> dict[str, Any]:
    """Train the group of an order; how that ended, as plain data."""
    try:
        order: Order = pickle.loads(pickled)
        group = order.group
        where = Where(group.backbone, group.dtype, group.data_dir, group.allow_partial)
        executor = _executor(order.bank, where, order.log_dir)
        given_up = executor.train([group])
    except Interrupted as stop:
        return {"stopped": stop.number, "step": stop.step}
    except Exception as error:
        known = isinstance(error, SpotError | BankError | TaskError)
        line = str(error) if known else f"{type(error).__name__}: {error}"
        return {"error": line, "diverged": isinstance(error, DivergenceError)}
    return {
        "given up": {digest: dataclasses.asdict(progress) for digest, progress in given_up.items()}
    }


@functools.cache
def _executor(bank: str, where: Where, log_dir: Path | None) -> LocalExecutor:
    """The executor of this process, loaded once; users have been told of the tasks by the parent."""
    prepare_process()
    backbone = load_backbone(where.backbone, dtype=where.dtype)
    datasets = Datasets(backbone, data_dir=where.data_dir, allow_partial=where.allow_partial)
    display = Display(Console(stderr=True), log_dir=log_dir)
    opened = OPENED.enter_context(Bank.open(bank, create=False, write=True))
    return LocalExecutor(opened, datasets, reporters=display.reporter)


def _receive(stdin: BinaryIO, orders: queue.SimpleQueue[bytes], busy: threading.Event) -> None:
    """Hand on orders until stdin ends, then an empty one; a group under way is stopped, unless it is stopping."""
    while len(length := stdin.read(LENGTH)) == LENGTH:
        orders.put(stdin.read(int.from_bytes(length, "big")))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # nobody is left to be told of progress
    orders.put(b"")
    if busy.is_set() and signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        os.kill(os.getpid(), signal.SIGTERM)


def _stop(number: int, _frame: object) -> None:
    """Outside the training loop, which has a handler of its own, there is nothing to save."""
    os._exit(128 + number)


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)
