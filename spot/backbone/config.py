"""The shapes of models, read from and written to a Hugging Face ``config.json``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from spot.errors import BackboneError
from tasks.errors import shown
from tasks.tokenize import Around

LARGEST = 2**31 - 1
"""No size and no token reaches beyond what 32 bits count."""

PROJECTIONS = {
    "relu": (False, "relu"),
    "gated-gelu": (True, "gelu_new"),
    "gated-relu": (True, "relu"),
}
"""``feed_forward_proj`` to (gated, activation)."""


NO_TOKEN = -1
"""The padding token of the first Llamas' configs, which have none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config:
    """What the maths of a T5 depends on (Raffel et al. 2020; v1.1 after Shazeer 2020).

    v1.0 is ungated ReLU with the output layer tied to the embedding and the decoder's output scaled by
    ``d_model ** -0.5``; v1.1, LM-adapted, Flan-T5, mT5 and ByT5 are gated GELU with an output layer of their own and
    no scaling. Tying and scaling are two facts: an mT5 may be tied, and is never scaled.

    Attributes:
        tied: whether the embedding is the output layer too; a checkpoint with another output layer overrules it.
        scaled: whether the decoder's output is scaled by ``d_model ** -0.5`` before the output layer.
        more_end_token_ids: further tokens that end a generated text; targets end with ``eos_token_id``.
        target_begin_token_ids: what stands in front of every target: a sentinel, for a model that has learnt to write
            nothing else ("span corruption + sentinel", Lester et al. 2021, section 3.2). Others do not read it.
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
    scaled: bool = False
    pad_token_id: int = 0
    eos_token_id: int = 1
    decoder_start_token_id: int = 0
    more_end_token_ids: tuple[int, ...] = ()
    target_begin_token_ids: tuple[int, ...] = ()

    reads_prompts_once: ClassVar[bool] = False
    """Whether rows of one prompt share the work of reading it; not so where prompts see their texts."""

    def __post_init__(self) -> None:
        _check_numbers(self)
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
    def layers(self) -> int:
        """E, the layers that a prompt passes: the encoder's."""
        return self.num_layers

    @property
    def attentions(self) -> dict[str, int]:
        """Layers of every kind of attention, of the encoder, of the decoder, and of the decoder to the encoder."""
        decoder = self.num_decoder_layers
        return {"encoder": self.num_layers, "decoder": decoder, "cross": decoder}

    @property
    def heads(self) -> tuple[int, int]:
        """K and D, heads of keys and values, and their width."""
        return self.num_heads, self.d_kv

    @property
    def around(self) -> Around:
        """Tokens in front of every input and target, and behind them."""
        end = (self.eos_token_id,)
        return Around(inputs=((), end), targets=(self.target_begin_token_ids, end))

    @property
    def start_token_id(self) -> int:
        """What a target begins after."""
        return self.decoder_start_token_id

    @property
    def identity(self) -> dict[str, Any]:
        """What of the config tells models apart: later fields only where they say more than ``tied`` alone did."""
        implied = {"scaled": self.tied, "more_end_token_ids": (), "target_begin_token_ids": ()}
        return _identity(self, implied)

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any]) -> T5Config:
        """Read a ``config.json`` of model type ``t5`` or ``mt5``.

        Raises:
            BackboneError: a missing or impossible size, or an unknown feed-forward projection.
        """
        config = _present(
            config, ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads")
        )
        multilingual = config.get("model_type") == "mt5"
        projection = config.get("feed_forward_proj", "gated-gelu" if multilingual else "relu")
        if projection not in tuple(PROJECTIONS):
            raise BackboneError(
                f"config.json: feed_forward_proj is {shown(projection)}; expected one of {', '.join(PROJECTIONS)}"
            )
        gated, activation = PROJECTIONS[projection]
        apart = {"scaled", "more_end_token_ids", "target_begin_token_ids"}
        names = {f.name for f in dataclasses.fields(cls)} - apart
        tied = config.get("tie_word_embeddings", True)
        given = {name: config[name] for name in names if name in config} | {
            "num_decoder_layers": config.get("num_decoder_layers", config["num_layers"]),
            "gated": gated,
            "activation": activation,
            "tied": tied,
            # transformers 5 saves every T5 as tied, and says in a field of its own whether its output is scaled
            "scaled": not multilingual and config.get("scale_decoder_outputs", tied),
            "target_begin_token_ids": _tokens(config, "target_begin_token_ids"),
        }
        return cls(**_typed(given | _ends(config), cls))

    def to_huggingface(self) -> dict[str, Any]:
        """The ``config.json`` that ``from_huggingface`` reads back to an equal config."""
        plain = dataclasses.asdict(self)
        gated, activation, tied = plain.pop("gated"), plain.pop("activation"), plain.pop("tied")
        scaled, begin = plain.pop("scaled"), plain.pop("target_begin_token_ids")
        return {
            "model_type": "t5",
            "architectures": ["T5ForConditionalGeneration"],
            **_with_ends(plain),
            "feed_forward_proj": ("gated-" if gated else "") + activation.removesuffix("_new"),
            "tie_word_embeddings": tied,
            **({} if scaled == tied else {"scale_decoder_outputs": scaled}),
            **({"target_begin_token_ids": list(begin)} if begin else {}),
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
        tied: whether the embedding is the output layer too; a checkpoint with another output layer overrules it.
        more_end_token_ids: further tokens that end a generated text; targets end with ``eos_token_id``.
        separator_token_id: token between an input and its target; where a decoder-only model begins to answer.
        input_begin_token_ids: what the model has seen in front of every text, Llama's ``<s>``: behind a prompt and in
            front of an input. Others see nothing there.
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
    more_end_token_ids: tuple[int, ...] = ()
    input_begin_token_ids: tuple[int, ...] = ()

    reads_prompts_once: ClassVar[bool] = True
    """A prompt leads and sees nothing of what follows, so that rows of one prompt share the work of reading it."""

    def __post_init__(self) -> None:
        _check_numbers(self)
        if self.num_attention_heads % self.num_key_value_heads:
            raise BackboneError(
                f"config: {self.num_attention_heads} query heads cannot share {self.num_key_value_heads} key heads"
            )
        if not self.rope_theta:
            raise BackboneError("config: rope_theta must be above 0")
        if self.head_dim % 2:
            raise BackboneError(
                f"config: rotary positions need an even head_dim, found {self.head_dim}"
            )

    @property
    def width(self) -> int:
        """H, the width of a prompt token."""
        return self.hidden_size

    @property
    def layers(self) -> int:
        """E, the layers that a prompt passes: all."""
        return self.num_hidden_layers

    @property
    def attentions(self) -> dict[str, int]:
        """Layers of the one kind of attention."""
        return {"decoder": self.num_hidden_layers}

    @property
    def heads(self) -> tuple[int, int]:
        """K and D, heads of keys and values, and their width."""
        return self.num_key_value_heads, self.head_dim

    @property
    def around(self) -> Around:
        """Tokens in front of every input and target, and behind them: the separator ends an input and begins an
        answer."""
        return Around(inputs=(self.input_begin_token_ids, ()), targets=((), (self.eos_token_id,)))

    @property
    def start_token_id(self) -> int:
        """What a target begins after."""
        return self.separator_token_id

    @property
    def identity(self) -> dict[str, Any]:
        """What of the config tells models apart: later fields only where they are used."""
        return _identity(self, {"more_end_token_ids": (), "input_begin_token_ids": ()})

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any]) -> LlamaConfig:
        """Read a ``config.json`` of model type ``llama`` or ``qwen2``; the tokenizer says separator and begin.

        Raises:
            BackboneError: a missing size, or a variant that is not supported.
        """
        sizes = (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
        )
        config = _present(config, sizes)
        shape = _typed({name: config[name] for name in sizes}, cls)
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if not isinstance(rope, Mapping):
            raise BackboneError(
                f"config.json: the rotary positions are {shown(rope)}; expected an object"
            )
        given = {name: config[name] for name in LLAMA_VARIANTS if name in config}
        given["rope_type"] = rope.get("rope_type", rope.get("type", "default"))
        if bad := [name for name, value in given.items() if value != LLAMA_VARIANTS[name]]:
            raise BackboneError(
                f"config.json: this {', '.join(bad)} is not supported (plain Llama and Qwen2 are)"
            )
        biased = config.get("attention_bias", False)
        heads = shape["num_attention_heads"]
        given = shape | {
            "num_key_value_heads": config.get("num_key_value_heads", heads),
            "head_dim": config.get("head_dim", shape["hidden_size"] // max(1, heads)),
            "rope_theta": rope.get("rope_theta", config.get("rope_theta", cls.rope_theta)),
            "rms_norm_eps": config.get("rms_norm_eps", cls.rms_norm_eps),
            "input_bias": biased or config["model_type"] == "qwen2",
            "output_bias": biased and config["model_type"] == "llama",
            "tied": config.get("tie_word_embeddings", False),
            "pad_token_id": config.get("pad_token_id", cls.pad_token_id),
        }
        if given["pad_token_id"] == NO_TOKEN:
            del given["pad_token_id"]
        return cls(**_typed(given | _ends(config), cls))

    def to_huggingface(self) -> dict[str, Any]:
        """A ``config.json`` that ``from_huggingface`` reads back, but for what the tokenizer says."""
        plain = dataclasses.asdict(self)
        tied, theta = plain.pop("tied"), plain.pop("rope_theta")
        biased = plain.pop("input_bias"), plain.pop("output_bias")
        del plain["separator_token_id"], plain["input_begin_token_ids"]
        model_type = "qwen2" if biased == (True, False) else "llama"
        return {
            "model_type": model_type,
            "architectures": [f"{model_type.capitalize()}ForCausalLM"],
            **_with_ends(plain),
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

UNSUPPORTED = {
    "umt5": "each of its layers has a position bias of its own, where T5 and mT5 share one"
}
"""Why a ``model_type`` that looks like one of these is none."""

LLAMA_VARIANTS: Mapping[str, Any] = {
    "hidden_act": "silu",
    "mlp_bias": False,
    "rope_type": "default",
    "use_sliding_window": False,
}
"""What a config of the Llama family may say of itself, since only this is computed."""


def config_from_huggingface(config: Mapping[str, Any]) -> Config:
    """The config of any supported architecture.

    Raises:
        BackboneError: no object, another model type, or what the architecture's own reader raises.
    """
    if not isinstance(config, Mapping):
        raise BackboneError(f"config.json: expected an object, found {type(config).__name__}")
    model_type = config.get("model_type")
    if model_type in tuple(UNSUPPORTED):
        raise BackboneError(
            f"config.json: model_type {model_type!r} is not supported: {UNSUPPORTED[model_type]}"
        )
    if model_type not in tuple(CONFIGS):
        raise BackboneError(
            f"config.json: model_type is {shown(model_type)}; expected one of {', '.join(CONFIGS)} "
            "(T5, T5 1.1, Flan-T5, mT5, ByT5, Llama, SmolLM2, Qwen2)"
        )
    return CONFIGS[model_type].from_huggingface(config)


def _present(config: Mapping[str, Any], sizes: Sequence[str]) -> dict[str, Any]:
    """What the config says, without nulls; ``sizes`` must be there."""
    present = {name: value for name, value in config.items() if value is not None}
    if missing := [name for name in sizes if name not in present]:
        raise BackboneError(f"config.json: missing {', '.join(missing)}")
    return present


def _typed(fields: Mapping[str, Any], config: type[Any]) -> dict[str, Any]:
    """The same values, once each is known to be of its field's type; whole numbers pass for fractions."""
    values = {}
    for name, value in fields.items():
        kind = type(getattr(config, name, 0))
        whole = isinstance(value, int) and not isinstance(value, bool)
        values[name] = float(value) if kind is float and whole and abs(value) <= LARGEST else value
        if not isinstance(values[name], kind) or (kind is int and not whole):
            raise BackboneError(f"config.json: {name} is {shown(value)}; expected {kind.__name__}")
    return values


def _ends(config: Mapping[str, Any]) -> dict[str, Any]:
    """The end tokens: one, or a list whose first ends targets and each of which ends a generated text."""
    if "eos_token_id" not in config:
        return {}
    first, *more = dict.fromkeys(_tokens(config, "eos_token_id"))
    return {"eos_token_id": first, "more_end_token_ids": tuple(more)}


def _tokens(config: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Tokens that a config names: one, or a list of them; none where it says nothing."""
    given = config.get(name, [])
    tokens = given if isinstance(given, list) and (given or name not in config) else [given]
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in tokens):
        raise BackboneError(f"config.json: {name} is {shown(given)}; expected int, or a list")
    return tuple(tokens)


def _with_ends(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A config's fields with all end tokens in one, as ``config.json`` has them."""
    fields = dict(plain)
    if more := fields.pop("more_end_token_ids"):
        fields["eos_token_id"] = [fields["eos_token_id"], *more]
    return fields


def _identity(config: T5Config | LlamaConfig, implied: Mapping[str, Any]) -> dict[str, Any]:
    """All fields, but for those that hold what was ``implied`` before there was such a field."""
    fields = dataclasses.asdict(config)
    return {
        name: value
        for name, value in fields.items()
        if name not in implied or value != implied[name]
    }


def _check_numbers(config: T5Config | LlamaConfig) -> None:
    """Sizes that can be, tokens of the vocabulary, and fractions that the maths can use."""
    fields = dataclasses.asdict(config)
    tokens = [(name, value) for name, value in fields.items() if name.endswith("_token_id")]
    tokens += [("eos_token_id", value) for value in fields["more_end_token_ids"]]
    begin = fields.get("target_begin_token_ids", ())
    tokens += [("target_begin_token_ids", value) for value in begin]
    for name, value in fields.items():
        if isinstance(value, float) and not (0.0 <= value < math.inf):
            raise BackboneError(f"config: {name} must be a finite number from 0 on, found {value}")
        if isinstance(value, bool) or not isinstance(value, int) or name.endswith("_token_id"):
            continue
        if value < 1:
            raise BackboneError(f"config: {name} must be at least 1, found {shown(value)}")
        if value > LARGEST:
            raise BackboneError(f"config: {name} must be at most {LARGEST}, found {shown(value)}")
    for name, value in tokens:
        if not 0 <= value < config.vocab_size:
            raise BackboneError(
                f"config: {name} is {shown(value)}, which is no token of a vocabulary of {config.vocab_size}"
            )
