"""What follows from the device that computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from spot.backbone.placement import Placement


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ("avx512f avx512_bf16 amx_bf16", "bfloat16"),
        ("fp asimd bf16 i8mm", "bfloat16"),
        ("avx512f avx512_bf16", "float32"),
        ("avx2", "float32"),
    ],
)
def test_a_cpu_that_multiplies_no_bfloat16_matrices_computes_in_float32(
    flags: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _path, **_options: f"flags : {flags}\n")
    assert Placement(platform="cpu").fast_dtype() == dtype
    assert Placement(platform="gpu").fast_dtype() == "bfloat16"
