"""SPoT: soft prompt transfer. One frozen language model, a bank of prompts, and the way from one to another.

Names are imported when first used, so that ``import spot`` is quick and listing a bank needs no JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bank import Bank, Partition
    from spot.backbone.load import Backbone, load_backbone
    from spot.backbone.process import prepare_process
    from spot.errors import SpotError
    from spot.inference.predict import predict
    from spot.retrieval.rank import Ranked, Retriever, rank
    from spot.retrieval.similarity import similarity
    from spot.training.optimizers import Optimizer
    from spot.training.prompt_tuning import TrainedPrompt, train_prompt
    from spot.training.recipe import Recipe
    from spot.training.task_data import TaskData
    from spot.transfer.runs import Trainer
    from spot.transfer.transfer import TransferOptions, Transferred, run_transfer

__version__ = "0.1.0"

_HOMES = {
    "Bank": "bank",
    "Partition": "bank",
    "Backbone": "spot.backbone.load",
    "load_backbone": "spot.backbone.load",
    "prepare_process": "spot.backbone.process",
    "SpotError": "spot.errors",
    "predict": "spot.inference.predict",
    "Ranked": "spot.retrieval.rank",
    "Retriever": "spot.retrieval.rank",
    "rank": "spot.retrieval.rank",
    "similarity": "spot.retrieval.similarity",
    "Optimizer": "spot.training.optimizers",
    "TrainedPrompt": "spot.training.prompt_tuning",
    "train_prompt": "spot.training.prompt_tuning",
    "Recipe": "spot.training.recipe",
    "TaskData": "spot.training.task_data",
    "Trainer": "spot.transfer.runs",
    "TransferOptions": "spot.transfer.transfer",
    "Transferred": "spot.transfer.transfer",
    "run_transfer": "spot.transfer.transfer",
}

__all__ = [
    "Backbone",
    "Bank",
    "Optimizer",
    "Partition",
    "Ranked",
    "Recipe",
    "Retriever",
    "SpotError",
    "TaskData",
    "TrainedPrompt",
    "Trainer",
    "TransferOptions",
    "Transferred",
    "__version__",
    "load_backbone",
    "predict",
    "prepare_process",
    "rank",
    "run_transfer",
    "similarity",
    "train_prompt",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'spot' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
