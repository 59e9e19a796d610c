"""SPoT: soft prompt transfer. One frozen language model, a bank of prompts, and the way from one to another.

Names are imported when first used, so that ``import spot`` is quick and listing a bank needs no JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bank import Bank as Bank
    from bank import Partition as Partition
    from spot.backbone.load import Backbone as Backbone
    from spot.backbone.load import load_backbone as load_backbone
    from spot.backbone.process import prepare_process as prepare_process
    from spot.errors import SpotError as SpotError
    from spot.inference.predict import predict as predict
    from spot.retrieval.rank import Ranked as Ranked
    from spot.retrieval.rank import Retriever as Retriever
    from spot.retrieval.rank import rank as rank
    from spot.retrieval.similarity import similarity as similarity
    from spot.training.optimizers import Optimizer as Optimizer
    from spot.training.prompt_tuning import TrainedPrompt as TrainedPrompt
    from spot.training.prompt_tuning import train_prompt as train_prompt
    from spot.training.recipe import Recipe as Recipe
    from spot.training.task_data import TaskData as TaskData
    from spot.transfer.recipes import trainer_for as trainer_for
    from spot.transfer.runs import Trainer as Trainer
    from spot.transfer.transfer import (
        TransferOptions as TransferOptions,
    )
    from spot.transfer.transfer import (
        Transferred as Transferred,
    )
    from spot.transfer.transfer import (
        run_transfer as run_transfer,
    )

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
    "trainer_for": "spot.transfer.recipes",
    "TransferOptions": "spot.transfer.transfer",
    "Transferred": "spot.transfer.transfer",
    "run_transfer": "spot.transfer.transfer",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'spot' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
