"""The names of a checkpoint's tensors, without what training tools put in front of them."""

from __future__ import annotations

import re
from pathlib import Path

from spot.backbone.model import AnyModel
from spot.backbone.weights import Tensors
from spot.errors import BackboneError
from tasks.errors import shown

WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""Modules that torch.compile, FSDP and activation checkpointing put anywhere into a name."""

ADAPTERS = re.compile(r"\.(?:lora_[AB]|lora_embedding_[AB]|base_layer|modules_to_save)\.")
"""Modules of PEFT, whose weights are not those of the model."""


def plain_names(path: Path, tensors: Tensors, architecture: type[AnyModel]) -> Tensors:
    """The tensors under the names that the model asks for.

    What all names have in front (``model.`` of Lightning, ``module.`` of DDP, ``base_model.model.`` of PEFT, ...) is
    told by the embedding, and a base model saved without its output layer by what its names lack.

    Raises:
        BackboneError: weights of adapters, or two tensors that would have one name.
    """
    if adapter := next(filter(ADAPTERS.search, tensors), None):
        raise BackboneError(
            f"{path}: holds weights of adapters ({shown(adapter)}); merge them into the model "
            "(PEFT's merge_and_unload) and save it again"
        )
    embeddings = (
        architecture.embedding_name,
        *architecture.other_names.get(architecture.embedding_name, ()),
    )
    bare = [(WRAPPERS.sub("", name), tensor) for name, tensor in tensors.items()]
    if not any(name in embeddings for name, _ in bare):
        endings = tuple(f".{name}" for name in embeddings)
        fronts = {
            name.removesuffix(end[1:]) for name, _ in bare for end in endings if name.endswith(end)
        }
        if fronts:
            front = min(fronts, key=len)
            bare = [(name.removeprefix(front), tensor) for name, tensor in bare]
        elif any(architecture.base_prefix + name in embeddings for name, _ in bare):
            head, prefix = architecture.head_name, architecture.base_prefix
            bare = [(name if name == head else prefix + name, tensor) for name, tensor in bare]
    named = dict(bare)
    if len(named) < len(bare):
        twice = next(name for name in named if sum(name == other for other, _ in bare) > 1)
        raise BackboneError(
            f"{path}: two tensors are called {shown(twice)} but for what stands in front"
        )
    return named
