"""The prompt bank: a SQL database of backbones, tasks, runs, prompts and transfers. Imports no JAX.

Names are imported when first used, so that a list of a bank's runs needs nothing but a connection.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bank.errors import BankError as BankError
    from bank.keys import Keys as Keys
    from bank.records import BackboneRecord as BackboneRecord
    from bank.records import CandidateRecord as CandidateRecord
    from bank.records import Evaluation as Evaluation
    from bank.records import Outcome as Outcome
    from bank.records import Partition as Partition
    from bank.records import RecipeRecord as RecipeRecord
    from bank.records import RecyclerRecord as RecyclerRecord
    from bank.records import RunIdentity as RunIdentity
    from bank.records import RunRecord as RunRecord
    from bank.records import SnapshotRecord as SnapshotRecord
    from bank.records import SourceRecipe as SourceRecipe
    from bank.records import StoredRun as StoredRun
    from bank.records import TaskRecord as TaskRecord
    from bank.records import TransferRecord as TransferRecord
    from bank.selection import Selection as Selection
    from bank.store import Bank as Bank

_HOMES = {
    "BackboneRecord": "bank.records",
    "Bank": "bank.store",
    "BankError": "bank.errors",
    "CandidateRecord": "bank.records",
    "Evaluation": "bank.records",
    "Keys": "bank.keys",
    "Outcome": "bank.records",
    "Partition": "bank.records",
    "RecipeRecord": "bank.records",
    "RecyclerRecord": "bank.records",
    "RunIdentity": "bank.records",
    "RunRecord": "bank.records",
    "Selection": "bank.selection",
    "SnapshotRecord": "bank.records",
    "SourceRecipe": "bank.records",
    "StoredRun": "bank.records",
    "TaskRecord": "bank.records",
    "TransferRecord": "bank.records",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bank' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
