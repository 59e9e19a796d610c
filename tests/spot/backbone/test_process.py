"""What a process keeps from one computation for the next."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, statistics
import jax, jax.numpy as jnp
from spot.backbone.process import keep_freed_memory, run_in_turn
if {keep}:
    keep_freed_memory()
    run_in_turn()
program = jax.jit(lambda x: (x[:, None] * x[None]).reshape(-1)[::-1].reshape(4000, 4000) @ x)
x = jnp.arange(4000.0)
fetched = []
for _ in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    program(x).block_until_ready()
    fetched.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(statistics.median(fetched))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt's parameters are glibc's")
def test_freed_memory_is_used_again() -> None:
    """Most runs of a program with some 64 MB of its own fetch hardly a page from the system; a few may still grow the
    heap, where a small block lies in what the last one freed."""
    faults = {
        keep: float(
            subprocess.check_output([sys.executable, "-c", FAULTS.format(keep=keep)], text=True)
        )
        for keep in (False, True)
    }
    pages = 64e6 / 4096
    assert faults[False] > pages / 2, "by default every run fetches its pages anew"
    assert faults[True] < pages / 10
