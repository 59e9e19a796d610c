"""Settings of a process that computes with a backbone; take them before the first computation."""

from __future__ import annotations

import ctypes
import sys

import jax

from spot import paths

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""Parameters of ``mallopt`` in glibc's ``malloc.h``."""


def prepare_process() -> None:
    """Have one computation leave to the next what it can use: compiled programs on disk, memory in the process."""
    keep_compiled_programs()
    keep_freed_memory()
    run_in_turn()


def keep_compiled_programs() -> None:
    """Keep compiled programs on disk, so that a second start compiles nothing (``$SPOT_CACHE/xla``).

    Warns where that cannot be written.
    """
    if not paths.prepare_cache():
        return
    jax.config.update("jax_compilation_cache_dir", str(paths.cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory instead of handing it back to the system; elsewhere, do nothing.

    On a CPU every run of a compiled program asks for hundreds of megabytes and frees them again. By default these come
    from ``mmap``, so that each step waits for the system to clear as many pages anew: a sixth of a float32 step of T5
    1.1 Small's shape, a quarter of a bfloat16 one. One arena, since only the first can grow beyond 64 MB.

    Peak memory stays what it was only where programs run in turn (:func:`run_in_turn`).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have none, or one that takes no notice of these
        for parameter, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)):
            mallopt(parameter, value)


def run_in_turn() -> None:
    """On a CPU, start a program when its predecessor has ended; accelerators are still fed ahead.

    A program that waits its turn holds its memory already: with dispatch ahead, the parts of a step of T5 1.1 Small's
    shape took 2.6 GB where 1.3 do.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)
