"""Two implementations of the same work, each in a process of its own, timed in turn.

A process of its own keeps either side's settings, threads and memory out of the other's, as for a user of one of them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from memory import peak_bytes

Make = Callable[[argparse.Namespace], Callable[[], Any]]
"""Builds one side's work from the command's options; of a module, so that another process can import it."""


def _serve(make: Make, options: argparse.Namespace, connection: Connection) -> None:
    """In the process of one side: do the work as often as asked, answer with its seconds; at the end, peak memory."""
    work = make(options)
    while connection.recv():
        began = time.perf_counter()
        work()
        connection.send(time.perf_counter() - began)
    connection.send(peak_bytes())


def in_turn(
    sides: Mapping[str, Make], options: argparse.Namespace, *, rounds: int, against: str
) -> dict[str, Any]:
    """Medians and minima in ms after two rounds to warm up, the speed of all sides against one, and peak memory."""
    spawn = multiprocessing.get_context("spawn")
    connections: dict[str, Connection] = {}
    for name, make in sides.items():
        connections[name], theirs = spawn.Pipe()
        spawn.Process(target=_serve, args=(make, options, theirs), daemon=True).start()
        theirs.close()  # so that a side that dies ends the wait for it

    def run(name: str) -> float:
        connections[name].send(True)
        return float(connections[name].recv())

    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds + 2):
        for name in sides:
            taken = run(name)
            if round_ >= 2:
                seconds[name].append(taken)
    found: dict[str, Any] = {}
    for title, of in (("medians", statistics.median), ("minima", min)):
        values = {name: of(times) for name, times in seconds.items()}
        found[f"{title}_ms"] = {name: round(1000 * value) for name, value in values.items()}
        found[f"speed_against_{against}_by_{title}"] = {
            name: round(values[against] / value, 3)
            for name, value in values.items()
            if name != against
        }
    peaks = {}
    for name, connection in connections.items():
        connection.send(False)
        peaks[name] = round(connection.recv() / 1e9, 2)
    return found | {"peak_gb": peaks}
