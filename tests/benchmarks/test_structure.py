"""What the report on a checkout's structure counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.structure import report

SOURCE = '''"""A module."""
import numpy as np
def plain(a, *, b):
    """Nothing of arrays."""
    total = [x + y for x in a for y in b]
    total.sort()
    return total
def mean(rows: np.ndarray) -> np.ndarray:
    """Mean ``[H]`` of rows ``[N, H]``."""
    return rows.mean(0)
class Table:
    def rows(self) -> np.ndarray:
        """All of them."""
        return self.kept
    def _hidden(self) -> np.ndarray:
        total = [x + y for x in a for y in b]
        total.sort()
        return total
'''


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "spot").mkdir()
    (tmp_path / "spot" / "one.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "spot" / "two.py").write_text(f"# {'x' * 120}\n", encoding="utf-8")
    return tmp_path


def test_files_functions_shapes_and_duplicates_are_counted(checkout: Path) -> None:
    figures = {what: figure for what, figure, _ in report(checkout)}
    assert (figures["files"], figures["lines"], figures["functions"]) == (2, 19, 4)
    assert figures["most parameters"] == "2 (spot/one.py:3 plain)"
    assert figures["public array functions without shapes"] == "1 of 2 (50%)"
    assert (figures["lines over 100 columns"], figures["nested comprehensions"]) == (1, 2)
    assert figures["duplicate function bodies"] == 1


def test_what_is_counted_is_named(checkout: Path) -> None:
    named = {what: [str(thing) for thing in things] for what, _, things in report(checkout)}
    assert named["public array functions without shapes"] == ["spot/one.py:12 Table.rows"]
    assert named["duplicate function bodies"] == [
        "spot/one.py:3 plain = spot/one.py:15 Table._hidden"
    ]
