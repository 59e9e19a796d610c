"""The prompt bank: a SQL database of backbones, tasks, runs, prompts and transfers. Imports no JAX.

Names are imported when first used, so that a list of a bank's runs needs nothing but a connection.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bank.errors import BankError
    from bank.records import (
        BackboneRecord,
        CandidateRecord,
        RecipeRecord,
        RunIdentity,
        RunRecord,
        SnapshotRecord,
        TaskRecord,
        TransferRecord,
    )
    from bank.store import Bank, Evaluation, Key, Outcome, Partition, StoredRun

_HOMES = {
    "bank.errors": ["BankError"],
    "bank.records": [
        "BackboneRecord",
        "CandidateRecord",
        "RecipeRecord",
        "RunIdentity",
        "RunRecord",
        "SnapshotRecord",
        "TaskRecord",
        "TransferRecord",
    ],
    "bank.store": ["Bank", "Evaluation", "Key", "Outcome", "Partition", "StoredRun"],
}

__all__ = [
    "BackboneRecord",
    "Bank",
    "BankError",
    "CandidateRecord",
    "Evaluation",
    "Key",
    "Outcome",
    "Partition",
    "RecipeRecord",
    "RunIdentity",
    "RunRecord",
    "SnapshotRecord",
    "StoredRun",
    "TaskRecord",
    "TransferRecord",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'bank' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
