"""The architectures: the model that belongs to a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spot.backbone.config import LlamaConfig, T5Config
from spot.backbone.llama import Llama
from spot.backbone.t5 import T5

ARCHITECTURES: Mapping[type[Any], type[T5] | type[Llama]] = {T5Config: T5, LlamaConfig: Llama}
