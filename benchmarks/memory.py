"""Peak memory of this process."""

from __future__ import annotations

from pathlib import Path


def peak_bytes() -> int:
    """Peak resident memory since this program started (Linux).

    ``getrusage`` will not do: its peak is carried over from the process that started this one.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")
