"""What each cell of a bank's tables may hold."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from bank.identity import DIGEST
from bank.names import ALIASES
from bank.records import ROLES, SIGNATURE

if TYPE_CHECKING:
    import numpy as np

TOLERANCE = 1e-6
"""How far numbers that say the same may lie apart."""

TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a tag looks like: letters, digits, and ``.``, ``_`` or ``-`` behind the first."""

CORRELATIONS = {"matthews_correlation", "pearson", "spearman"}
"""Metrics that may lie below 0."""


def _digest(cell: Any) -> str:
    if isinstance(cell, str) and len(cell) == DIGEST and set(cell) <= set("0123456789abcdef"):
        return cell
    raise ValueError("64 hexadecimal digits")


def _words(cell: Any) -> str:
    if isinstance(cell, str) and cell.strip() and cell.isprintable():
        return cell
    raise ValueError("a text")


def _text(cell: Any) -> str:
    return "" if cell == "" else _words(cell)


def _tag(cell: Any) -> str:
    if isinstance(cell, str) and TAG.fullmatch(cell) and cell not in ALIASES:
        return cell
    raise ValueError("a tag")


def _role(cell: Any) -> str:
    if cell in ROLES:
        return str(cell)
    raise ValueError(f"one of {', '.join(ROLES)}")


def _kind(cell: Any) -> str:
    if cell in ("key", "value", "own"):
        return str(cell)
    raise ValueError("key, value or own")


def _budget(cell: Any) -> str:
    if cell in ("full", "halving"):
        return str(cell)
    raise ValueError("full or halving")


def _count(cell: Any) -> int:
    if isinstance(cell, int) and not isinstance(cell, bool) and cell >= 0:
        return cell
    raise ValueError("a whole number of at least 0")


def _positive(cell: Any) -> int:
    if isinstance(cell, int) and not isinstance(cell, bool) and cell > 0:
        return cell
    raise ValueError("a whole number of at least 1")


def _number(cell: Any) -> float:
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        with contextlib.suppress(OverflowError):  # whole numbers of hundreds of digits
            if math.isfinite(number := float(cell)):
                return number
    raise ValueError("a finite number")


def _not_negative(cell: Any) -> float:
    if _number(cell) >= 0:
        return float(cell)
    raise ValueError("a number of at least 0")


def as_bytes(cell: Any) -> bytes:
    """The bytes of a cell, whatever a driver makes of them.

    Raises:
        ValueError: something else.
    """
    if isinstance(cell, bytes | memoryview):
        return bytes(cell)
    raise ValueError("bytes")


class Vector(NamedTuple):
    """What is to be known of the bytes of a vector of float32."""

    size: float
    finite: bool


def _vector(cell: Any) -> Vector:
    import numpy as np

    content = as_bytes(cell)
    numbers = np.frombuffer(content, "<f4", len(content) // 4)
    return Vector(len(content) / 4, bool(np.isfinite(numbers).all()))


def numbers_of(content: bytes) -> dict[str, np.ndarray]:
    """Arrays of a file ``.safetensors``, by name.

    Raises:
        ValueError: no such file, or numbers that are not finite.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: dict[str, np.ndarray] = load(content)
    except (SafetensorError, TypeError, KeyError) as error:
        raise ValueError("arrays as a file .safetensors") from error
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError("finite numbers")
    return arrays


def _numbers(cell: Any) -> bytes:
    content = as_bytes(cell)
    numbers_of(content)
    return content


def _shares(cell: Any) -> bytes:
    import numpy as np

    content = as_bytes(cell)
    if len(content) == 2 * SIGNATURE:
        numbers = np.frombuffer(content, "<f2")
        if np.all((numbers >= 0) & (numbers <= 1)):
            return content
    raise ValueError(f"{SIGNATURE} float16 numbers from 0 to 1")


def _json(cell: Any) -> Any:
    return json.loads(cell) if isinstance(cell, str | bytes) else cell


def _description(cell: Any) -> dict[str, Any]:
    content = _mapping(cell)
    members = content.get("tasks", [])
    if isinstance(members, list) and all(isinstance(member, str) for member in members):
        return content
    raise ValueError("a list of names under its tasks")


def _mapping(cell: Any) -> dict[str, Any]:
    content = _parsed(cell, "a JSON object")
    if isinstance(content, dict):
        return content
    raise ValueError("a JSON object")


def _shape(cell: Any) -> list[int]:
    axes = _parsed(cell, "a JSON list of axes")
    if isinstance(axes, list) and len(axes) > 2:
        return [_positive(axis) for axis in axes]
    raise ValueError("a JSON list of three axes or more")


def _flag(cell: Any) -> bool:
    if isinstance(cell, int) and cell in (0, 1):
        return bool(cell)
    raise ValueError("true or false")


def _metrics(cell: Any) -> dict[str, float]:
    metrics = _parsed(cell, "a JSON object of numbers")
    if isinstance(metrics, dict):
        low = -100 if CORRELATIONS & metrics.keys() else 0
        if all(low - TOLERANCE <= _number(value) <= 100 + TOLERANCE for value in metrics.values()):
            return metrics
        raise ValueError(f"a JSON object of numbers from {low} to 100")
    raise ValueError("a JSON object of numbers")


def _answers(cell: Any) -> list[str]:
    answers = _parsed(cell, "a JSON list of texts")
    if isinstance(answers, list) and all(isinstance(answer, str) for answer in answers):
        return answers
    raise ValueError("a JSON list of texts")


def _history(cell: Any) -> list[dict[str, float]]:
    rows = _parsed(cell, "a JSON list of evaluations")
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and "step" in row for row in rows
    ):
        raise ValueError("a JSON list of evaluations with their steps")
    for row in rows:
        for name, value in row.items():
            if (
                name != "loss"
                or value is None
                or not (isinstance(value, float) and math.isnan(value))
            ):
                _number(value)  # the first evaluation may have no training loss
    return rows


def _parsed(cell: Any, expected: str) -> Any:
    try:
        return _json(cell)
    except (ValueError, RecursionError):
        raise ValueError(expected) from None


def _time(cell: Any) -> dt.datetime:
    try:
        time = cell if isinstance(cell, dt.datetime) else dt.datetime.fromisoformat(cell)
    except (ValueError, TypeError):
        raise ValueError("a time") from None
    time = time.replace(tzinfo=dt.UTC)
    if (
        not dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        <= time
        <= dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    ):
        raise ValueError("a time since 2020 that has been")
    return time


COLUMNS: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "backbone": {"fingerprint": _digest, "name": _words, "width": _positive, "config": _mapping},
    "recycler": {
        "digest": _digest, "source_id": _count, "target_id": _count, "method": _words, "shared": _positive,
        "cosine": _number, "error": _not_negative, "numbers": _numbers, "created": _time,
    },
    "task": {"name": _words, "family": _words, "description": _description, "content": _digest, "texts": as_bytes,
             "signature": _shares},
    "recipe": {
        "digest": _digest, "backbone_id": _count, "family": _digest, "prompt_length": _positive, "key_step": _count,
        "options": _mapping,
    },
    "member": {"task_id": _count, "name": _words},
    "prompt": {"sha256": _digest, "length": _positive, "width": _positive, "shape": _shape},
    "key_vectors": {"prompt_id": _count},
    "run": {
        "digest": _digest, "recipe_id": _count, "task_id": _count, "role": _role, "seed": _count, "steps": _count,
        "metric": _words, "score": _number, "metrics": _metrics, "history": _history, "environment": _mapping,
        "started_from": _digest, "seconds": _not_negative, "created": _time, "data": _words, "start": _vector,
        "removed": _time,
    },
    "tag": {"run_id": _count, "name": _tag},
    "snapshot": {"run_id": _count, "prompt_id": _count, "kind": _kind, "step": _count, "score": _number},
    "evaluation": {"run_id": _count, "data": _digest, "metrics": _metrics, "answers": _answers, "decoding": _mapping},
    "transfer": {
        "digest": _digest, "task_id": _count, "method": _words, "similarity": _text, "top_k": _count,
        "budget": _budget, "steps": _count, "seed": _count, "metric": _words, "query_run_id": _count,
        "baseline_run_id": _count, "chosen_run_id": _count, "baseline_metrics": _metrics, "outcome_metrics": _metrics,
        "created": _time, "options": _mapping, "single": _flag,
    },
    "candidate": {
        "transfer_id": _count, "rank": _positive, "source_run_id": _count, "run_id": _count, "similarity": _number,
        "weight": _number, "score": _number, "steps": _count,
    },
}  # fmt: skip
"""What each column may hold; a cell that does not is described by what was expected."""


def same(one: Any, other: Any) -> bool:
    """Whether two numbers say the same, as far as both are known."""
    return one is None or other is None or abs(one - other) <= TOLERANCE


def cut(cell: Any) -> str:
    """A cell as a line shows it."""
    shown = repr(cell)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."
