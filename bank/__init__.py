"""The prompt bank: a SQL database of backbones, tasks, runs, prompts and transfers. Imports no JAX."""

from bank.errors import BankError
from bank.records import (
    BackboneRecord,
    CandidateRecord,
    RecipeRecord,
    RunRecord,
    SnapshotRecord,
    TaskRecord,
    TransferRecord,
)
from bank.store import Bank, Key, Partition

__all__ = [
    "BackboneRecord",
    "Bank",
    "BankError",
    "CandidateRecord",
    "Key",
    "Partition",
    "RecipeRecord",
    "RunRecord",
    "SnapshotRecord",
    "TaskRecord",
    "TransferRecord",
]
