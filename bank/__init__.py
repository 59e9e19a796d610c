"""The prompt bank: a SQL database of backbones, tasks, runs, prompts and transfers. Imports no JAX."""

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
