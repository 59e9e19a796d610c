"""Groups trained in other processes of this machine, each with its share of the CPU's cores."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import jax

from bank import Bank
from spot.errors import DivergenceError, Interrupted, TrainingError
from spot.training.jobs import Progress
from spot.training.loop import caught_signals
from spot.transfer.executors import Group
from spot.transfer.worker import Order, write_order

LOOK_SECONDS = 0.2
"""Time between looks at signals while workers are waited for."""

Reply = dict[str, Any]
"""What a worker says of an order, see :func:`spot.transfer.worker.carry_out`; empty where it ended without a word."""


class ProcessExecutor:
    """Trains groups in processes of their own, which write to the bank themselves and keep their own checkpoints.

    A signal goes to all workers, which save their states. What a worker says beside its replies is passed on. Workers
    live as long as this object and its process; where all are killed, the same groups go on from their checkpoints.

    Args of the constructor:
        bank: where finished runs go; one that other processes can open.
        workers: processes at once.
        say: takes their lines of progress.
        log_dir: folder of event files, if any.

    Raises:
        TrainingError: a bank in this process's memory.
    """

    def __init__(
        self,
        bank: Bank,
        *,
        workers: int,
        say: Callable[[str], None] = lambda _line: None,
        log_dir: Path | None = None,
    ) -> None:
        if bank.location is None:
            raise TrainingError(
                f"bank {bank}: lies in this process's memory, where no other can write; name a file, or train with "
                "the executor local"
            )
        self.workers = workers
        self._location, self._say, self._log_dir = bank.location, say, log_dir
        self._replies: queue.SimpleQueue[tuple[Worker, Reply]] = queue.SimpleQueue()
        self._living: list[Worker] = []

    def train(self, groups: Sequence[Group]) -> Mapping[str, Progress]:
        if jax.default_backend() != "cpu":
            raise TrainingError(
                f"processes share a CPU's cores, not a {jax.default_backend()}; use the executor local"
            )
        with caught_signals() as caught:
            ended = list(self._carry_out(groups, caught))
        if caught:
            step = max((reply.get("step", 0) for _worker, _group, reply in ended), default=0)
            raise Interrupted(caught[0], step, groups[0].folder)
        failures = [
            failure for worker, group, reply in ended if (failure := worker.failure(reply, group))
        ]
        for failure in failures[1:]:
            self._say(str(failure))
        if failures:
            raise failures[0]
        given_up: dict[str, Progress] = {}
        for _worker, _group, reply in ended:
            given_up |= {
                digest: Progress(**progress) for digest, progress in reply["given up"].items()
            }
        return given_up

    def _carry_out(
        self, groups: Sequence[Group], caught: Sequence[int]
    ) -> Iterator[tuple[Worker, Group, Reply]]:
        """Replies to all groups, or to those under way when a signal is caught."""
        waiting, busy = deque(groups), dict[Worker, Group]()
        told = False
        while busy or (waiting and not caught):
            while waiting and not caught and len(busy) < self.workers:
                group = waiting.popleft()
                busy[self._start(group, busy)] = group
            if caught and not told:
                told = True
                for worker in busy:
                    worker.process.terminate()
            for worker, reply in self._new_replies():
                if worker in busy:
                    yield worker, busy.pop(worker), reply

    def _new_replies(self) -> Iterator[tuple[Worker, Reply]]:
        """The next reply, if there is one within ``LOOK_SECONDS``."""
        with contextlib.suppress(queue.Empty):
            worker, reply = self._replies.get(timeout=LOOK_SECONDS)
            if not {"given up", "error"} & set(reply):  # it is about to end, or has
                self._living = [other for other in self._living if other is not worker]
            yield worker, reply

    def _start(self, group: Group, busy: Mapping[Worker, Group]) -> Worker:
        """Have a worker train a group: an idle one, or another in a free place."""
        self._living = [worker for worker in self._living if worker.process.poll() is None]
        idle = [worker for worker in self._living if worker not in busy]
        if not idle:
            taken = {worker.place for worker in self._living}
            place = next(place for place in range(self.workers) if place not in taken)
            idle = [Worker(place, _cores(place, self.workers), self._replies, self._say)]
            self._living.append(idle[0])
        with contextlib.suppress(OSError):  # it has died, which its replies say
            write_order(idle[0].process.stdin, Order(self._location, group, self._log_dir))
        return idle[0]


class Worker:
    """A process of :mod:`spot.transfer.worker`, heard by two threads.

    Args of the constructor:
        place: its number among the workers, from 0.
        cores: that it may use; empty for all.
        replies: where its replies go, and an empty one where it ends.
        say: takes its lines of progress.
    """

    def __init__(
        self,
        place: int,
        cores: set[int],
        replies: queue.SimpleQueue[tuple[Worker, Reply]],
        say: Callable[[str], None],
    ) -> None:
        self.place = place
        with _on_cores(cores):
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from spot.transfer.worker import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
                start_new_session=True,  # a terminal's signals come through its parent alone
            )
        weakref.finalize(self, _dismiss, self.process)
        threading.Thread(
            target=_hear, args=(weakref.ref(self), self.process.stdout, replies), daemon=True
        ).start()
        prefix = f"worker {place + 1}: "
        threading.Thread(
            target=_pass_on, args=(self.process.stderr, prefix, say), daemon=True
        ).start()

    def failure(self, reply: Reply, group: Group) -> TrainingError | None:
        """What went wrong with a group, if something did."""
        who = f"worker {self.place + 1}"
        if "error" in reply:
            kind = DivergenceError if reply["diverged"] else TrainingError
            return kind(f"{who}: {reply['error']}")
        if "given up" in reply:
            return None
        code = -reply["stopped"] if reply else self.process.wait()
        how = (
            f"was stopped by {signal.Signals(-code).name}"
            if code < 0
            else f"ended with exit code {code}"
        )
        saved = f"what it had saved is in {group.folder}; " if group.folder else ""
        again = (
            "run the same command again to go on; with fewer workers, where memory is short, what has not ended "
            "begins anew"
        )
        return TrainingError(f"{who} {how}: {saved}{again}")


def _hear(
    worker: weakref.ref[Worker], stdout: IO[bytes], replies: queue.SimpleQueue[tuple[Worker, Reply]]
) -> None:
    """Hand on a worker's replies, as long as anybody wants them."""
    with stdout:
        for line in itertools.chain(stdout, [b"{}"]):
            if alive := worker():
                replies.put((alive, json.loads(line)))
            del alive


def _pass_on(stderr: IO[bytes], prefix: str, say: Callable[[str], None]) -> None:
    with stderr:
        for line in stderr:
            say(prefix + line.decode("utf-8", "replace").rstrip())


def _dismiss(process: subprocess.Popen[bytes]) -> None:
    """A worker whose stdin ends saves what is under way and goes."""
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()
    process.wait()


def _cores(place: int, workers: int) -> set[int]:
    """The share of a worker in the cores that this process may use; empty where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return set()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < workers:
        return {cores[place % len(cores)]}
    return set(cores[place * len(cores) // workers : (place + 1) * len(cores) // workers])


@contextlib.contextmanager
def _on_cores(cores: set[int]) -> Iterator[None]:
    """Processes that are started here use these cores alone, or any, where the system does not tell of cores."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
