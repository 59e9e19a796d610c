"""Where computations run, and what follows from that: how many rows and prompts at once, and in which numbers."""

from __future__ import annotations

import dataclasses
import functools
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

SLOTS = 16
"""The most prompts trained at once unless asked for. A CPU's memory does not depend on it: its batches are cut."""

LAYERS, FLOATS = 30, 24
"""A rough count of what a position of an input keeps for the backward pass: so many floats a unit of width, in so many
layers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """The device that computes.

    Attributes:
        platform: ``cpu``, ``gpu`` or ``tpu``, as JAX names it.
        cached_positions: rows times positions that a CPU takes at once: their activations stay in its caches.
        free_bytes: of an accelerator's memory, where it tells.
    """

    platform: str
    cached_positions: int = 2048
    free_bytes: int | None = None

    @property
    def cpu(self) -> bool:
        """Whether it is a CPU, which is fastest where a part of a batch stays in its caches."""
        return self.platform == "cpu"

    def rows_at_once(self, rows: int, positions: int) -> int:
        """At most ``rows`` of so many positions: on a CPU a power of two that its caches hold, elsewhere all."""
        if not self.cpu:
            return rows
        return min(rows, 1 << max(0, (self.cached_positions // positions).bit_length() - 1))

    def slots_that_fit(self, *, batch_size: int, positions: int, width: int) -> int:
        """Prompts that memory holds at once, by a rough count of activations: at most ``SLOTS``.

        Half of the memory that is free is counted on.

        Args:
            batch_size: examples of one prompt a step.
            positions: of an example, prompt and input together.
            width: H of the model.
        """
        if self.free_bytes is None:
            return SLOTS
        scores = width // 64 * positions
        each = batch_size * positions * LAYERS * 4 * (FLOATS * width + scores)
        return int(max(1, min(SLOTS, self.free_bytes // 2 // each)))

    def fast_dtype(self) -> str:
        """``bfloat16`` on accelerators and on CPUs that multiply matrices of it (AMX, Arm), else ``float32``.

        AVX-512's dot product of bfloat16 alone is no gain: a step of SmolLM2 took 1.5 times as long as in float32.
        """
        if not self.cpu:
            return "bfloat16"
        try:
            flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        except OSError:
            return "float32"
        return "bfloat16" if re.search(r"\b(amx_bf16|bf16)\b", flags) else "float32"


def placement() -> Placement:
    """Of this process's first device, with the memory that is free now."""
    kind = _platform()
    facts = jax.local_devices()[0].memory_stats() if kind != "cpu" else None
    return Placement(
        platform=kind, free_bytes=facts and facts["bytes_limit"] - facts["bytes_in_use"]
    )


@functools.cache
def _platform() -> str:
    return jax.default_backend()


def environment() -> dict[str, Any]:
    """Versions and device of this process, for the record of a run."""
    packages = ("spot-prompt-transfer", "jax", "jaxlib", "flax", "optax", "numpy")
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "device": f"{device.platform}: {device.device_kind}",
    }
