"""The shape of a T5, read from and written to a Hugging Face ``config.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from spot.errors import BackboneError

PROJECTIONS = {"relu": (False, "relu"), "gated-gelu": (True, "gelu_new"), "gated-relu": (True, "relu")}
"""``feed_forward_proj`` to (gated, activation)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config:
    """What the maths of a T5 depends on (Raffel et al. 2020; v1.1 after Shazeer 2020).

    ``gated`` and ``tied`` tell the two generations apart: v1.0 is ungated ReLU with the output layer tied to
    the embedding and the decoder's output scaled by ``d_model ** -0.5``; v1.1, LM-adapted, Flan-T5, mT5 and ByT5
    are gated GELU with an output layer of their own and no scaling.
    """

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_decoder_layers: int
    num_heads: int
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    gated: bool = True
    activation: str = "gelu_new"
    tied: bool = False
    pad_token_id: int = 0
    eos_token_id: int = 1
    decoder_start_token_id: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and not field.name.endswith("_id") and value < 1:
                raise BackboneError(f"config: {field.name} must be at least 1, found {value}")
        if (self.gated, self.activation) not in PROJECTIONS.values():
            raise BackboneError(
                f"config: activation {self.activation!r}{' with a gate' if self.gated else ''} is not known; "
                f"expected {', '.join(PROJECTIONS)}"
            )
        exact = self.relative_attention_num_buckets // 4
        if exact < 1 or self.relative_attention_max_distance <= 2 * exact:
            raise BackboneError(
                f"config: {self.relative_attention_num_buckets} position buckets up to a distance of "
                f"{self.relative_attention_max_distance} cannot be laid out"
            )

    @property
    def inner(self) -> int:
        """Width of all attention heads together, K * D."""
        return self.num_heads * self.d_kv

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any]) -> T5Config:
        """Read a ``config.json`` of model type ``t5`` or ``mt5``.

        Raises:
            BackboneError: another model type, a missing size, or an unknown feed-forward projection.
        """
        if not isinstance(config, Mapping):
            raise BackboneError(f"config.json: expected an object, found {type(config).__name__}")
        family = config.get("model_type")
        if family not in ("t5", "mt5"):
            raise BackboneError(
                f"config.json: model_type is {family!r}; expected 't5' or 'mt5' (T5, T5 1.1, Flan-T5, mT5, ByT5)"
            )
        config = {name: value for name, value in config.items() if value is not None}
        sizes = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads")
        missing = [name for name in sizes if name not in config]
        if missing:
            raise BackboneError(f"config.json: missing {', '.join(missing)}")
        projection = config.get("feed_forward_proj", "relu")
        if projection not in PROJECTIONS:
            raise BackboneError(
                f"config.json: feed_forward_proj is {projection!r}; expected one of {', '.join(PROJECTIONS)}"
            )
        gated, activation = PROJECTIONS[projection]
        given = {f.name: config[f.name] for f in dataclasses.fields(cls) if f.name in config}
        given |= {
            "num_decoder_layers": config.get("num_decoder_layers") or config["num_layers"],
            "gated": gated,
            "activation": activation,
            # transformers 5 calls every T5 tied, and says by this field whether it is of the tied generation
            "tied": config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True)),
        }
        for name, value in given.items():
            kind = type(getattr(cls, name, 0))
            if not isinstance(value, kind):
                raise BackboneError(f"config.json: {name} is {value!r}; expected {kind.__name__}")
        return cls(**given)

    def to_huggingface(self) -> dict[str, Any]:
        """The ``config.json`` that ``from_huggingface`` reads back to an equal config."""
        plain = dataclasses.asdict(self)
        gated, activation, tied = plain.pop("gated"), plain.pop("activation"), plain.pop("tied")
        return {
            "model_type": "t5",
            "architectures": ["T5ForConditionalGeneration"],
            **plain,
            "feed_forward_proj": ("gated-" if gated else "") + activation.removesuffix("_new"),
            "tie_word_embeddings": tied,
            "is_encoder_decoder": True,
            "dropout_rate": 0.0,
        }
