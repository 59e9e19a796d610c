"""The shapes of models, read from and written to a Hugging Face ``config.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

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

    reads_prompts_once: ClassVar[bool] = False
    """Whether rows of one prompt share the work of reading it; not so where prompts see their texts."""

    def __post_init__(self) -> None:
        _check_sizes(self)
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

    @property
    def width(self) -> int:
        """H, the width of a prompt token."""
        return self.d_model

    @property
    def ends(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Tokens behind every input, and behind every target."""
        return (self.eos_token_id,), (self.eos_token_id,)

    @property
    def start_token_id(self) -> int:
        """What a target begins after."""
        return self.decoder_start_token_id

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any]) -> T5Config:
        """Read a ``config.json`` of model type ``t5`` or ``mt5``.

        Raises:
            BackboneError: a missing size, or an unknown feed-forward projection.
        """
        config = _present(config, ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads"))
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
        return cls(**_typed(given, cls))

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """What the maths of a Llama-family decoder depends on (Touvron et al. 2023; SmolLM2, Qwen2).

    Attributes:
        num_key_value_heads: heads of keys and values, each shared by a group of query heads (Ainslie et al. 2023).
        rope_theta: base of the rotary positions (Su et al. 2021).
        input_bias: whether queries, keys and values have biases (Qwen2).
        output_bias: whether attention's output has one.
        separator_token_id: token between an input and its target; where a decoder-only model begins to answer.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    input_bias: bool = False
    output_bias: bool = False
    tied: bool = False
    pad_token_id: int = 0
    eos_token_id: int = 2
    separator_token_id: int = 0

    reads_prompts_once: ClassVar[bool] = True
    """A prompt leads and sees nothing of what follows, so that rows of one prompt share the work of reading it."""

    def __post_init__(self) -> None:
        _check_sizes(self)
        if self.num_attention_heads % self.num_key_value_heads:
            raise BackboneError(
                f"config: {self.num_attention_heads} query heads cannot share {self.num_key_value_heads} key heads"
            )
        if self.head_dim % 2:
            raise BackboneError(f"config: rotary positions need an even head_dim, found {self.head_dim}")

    @property
    def width(self) -> int:
        """H, the width of a prompt token."""
        return self.hidden_size

    @property
    def ends(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Tokens behind every input (none: the separator begins the answer), and behind every target."""
        return (), (self.eos_token_id,)

    @property
    def start_token_id(self) -> int:
        """What a target begins after."""
        return self.separator_token_id

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any]) -> LlamaConfig:
        """Read a ``config.json`` of model type ``llama`` or ``qwen2``; the separator is left for the tokenizer to say.

        Raises:
            BackboneError: a missing size, or a variant that is not supported.
        """
        sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        config = _present(config, sizes)
        shape = _typed({name: config[name] for name in sizes}, cls)
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        supported = {
            "hidden_act": config.get("hidden_act", "silu") == "silu",
            "mlp_bias": not config.get("mlp_bias", False),
            "rope_type": rope.get("rope_type", rope.get("type", "default")) == "default",
            "use_sliding_window": not config.get("use_sliding_window", False),
        }
        if bad := [name for name, good in supported.items() if not good]:
            raise BackboneError(f"config.json: this {', '.join(bad)} is not supported (plain Llama and Qwen2 are)")
        biased = bool(config.get("attention_bias", False))
        heads, end = shape["num_attention_heads"], config.get("eos_token_id", cls.eos_token_id)
        given = shape | {
            "num_key_value_heads": config.get("num_key_value_heads", heads),
            "head_dim": config.get("head_dim", shape["hidden_size"] // max(1, heads)),
            "rope_theta": rope.get("rope_theta", config.get("rope_theta", cls.rope_theta)),
            "rms_norm_eps": config.get("rms_norm_eps", cls.rms_norm_eps),
            "input_bias": biased or config["model_type"] == "qwen2",
            "output_bias": biased and config["model_type"] == "llama",
            "tied": config.get("tie_word_embeddings", False),
            "pad_token_id": config.get("pad_token_id", cls.pad_token_id),
            "eos_token_id": end[0] if isinstance(end, list) and end else end,
        }
        return cls(**_typed(given, cls))

    def to_huggingface(self) -> dict[str, Any]:
        """A ``config.json`` that ``from_huggingface`` reads back, but for the separator."""
        plain = dataclasses.asdict(self)
        tied, theta = plain.pop("tied"), plain.pop("rope_theta")
        biased = plain.pop("input_bias"), plain.pop("output_bias")
        del plain["separator_token_id"]
        family = "qwen2" if biased == (True, False) else "llama"
        return {
            "model_type": family,
            "architectures": [f"{family.capitalize()}ForCausalLM"],
            **plain,
            "rope_parameters": {"rope_type": "default", "rope_theta": theta},
            "attention_bias": all(biased),
            "tie_word_embeddings": tied,
            "hidden_act": "silu",
        }


Config = T5Config | LlamaConfig

CONFIGS: Mapping[str, type[T5Config] | type[LlamaConfig]] = {
    "t5": T5Config,
    "mt5": T5Config,
    "llama": LlamaConfig,
    "qwen2": LlamaConfig,
}
"""Config class by ``model_type``."""


def config_from_huggingface(config: Mapping[str, Any]) -> Config:
    """The config of any supported family.

    Raises:
        BackboneError: no object, another model type, or what the family's own reader raises.
    """
    if not isinstance(config, Mapping):
        raise BackboneError(f"config.json: expected an object, found {type(config).__name__}")
    family = str(config.get("model_type"))
    if family not in CONFIGS:
        raise BackboneError(
            f"config.json: model_type is {family!r}; expected one of {', '.join(CONFIGS)} "
            "(T5, T5 1.1, Flan-T5, mT5, ByT5, Llama, SmolLM2, Qwen2)"
        )
    return CONFIGS[family].from_huggingface(config)


def _present(config: Mapping[str, Any], sizes: Sequence[str]) -> dict[str, Any]:
    """What the config says, without nulls; ``sizes`` must be there."""
    present = {name: value for name, value in config.items() if value is not None}
    if missing := [name for name in sizes if name not in present]:
        raise BackboneError(f"config.json: missing {', '.join(missing)}")
    return present


def _typed(given: Mapping[str, Any], config: type[Any]) -> dict[str, Any]:
    """The same values, once each is known to be of its field's type; whole numbers pass for fractions."""
    values = {}
    for name, value in given.items():
        kind = type(getattr(config, name, 0))
        values[name] = float(value) if kind is float and isinstance(value, int) else value
        if not isinstance(values[name], kind):
            raise BackboneError(f"config.json: {name} is {value!r}; expected {kind.__name__}")
    return values


def _check_sizes(config: T5Config | LlamaConfig) -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.type == "int" and not field.name.endswith("_id") and value < 1:
            raise BackboneError(f"config: {field.name} must be at least 1, found {value}")
