"""Tying and scaling of T5 and mT5 against transformers, on folders that it saves and on those of older versions."""

import json

import flax.nnx as nnx
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.batch import Inputs, Targets
from spot.backbone.load import load_backbone
from spot.backbone.soft import Soft
from spot.errors import BackboneError
from tests.closeness import assert_close
from tests.spot.backbone.conftest import greedy_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.interop

SIZES = {
    "vocab_size": 300,
    "d_model": 24,
    "d_kv": 8,
    "d_ff": 40,
    "num_heads": 4,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
MODELS = {"t5": "T5ForConditionalGeneration", "mt5": "MT5ForConditionalGeneration"}
HEAD = "lm_head.weight"


def save(folder, tokenizer_model, family, *, head, **said):
    """A random model as ``save_pretrained`` writes it, with ``said`` in its ``config.json``; returns the class."""
    torch.manual_seed(3)
    kind = getattr(transformers, MODELS[family])
    projection = said.pop("feed_forward_proj", "gated-gelu")
    model = kind(kind.config_class(**SIZES, feed_forward_proj=projection))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 1.0))
    if head == "own":
        model.lm_head.weight = torch.nn.Parameter(
            torch.randn(SIZES["vocab_size"], SIZES["d_model"])
        )
    model.save_pretrained(folder)
    if head == "copy":
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        save_file(
            tensors | {HEAD: tensors["shared.weight"].clone()},
            folder / "model.safetensors",
            {"format": "pt"},
        )
    path = folder / "config.json"
    config = json.loads(path.read_text()) | said
    path.write_text(
        json.dumps({name: value for name, value in config.items() if value != "absent"})
    )
    (folder / "spiece.model").write_bytes(tokenizer_model)
    return kind


SAVED = {}
OLDER_TIED = {"tie_word_embeddings": True, "scale_decoder_outputs": "absent"}
OLDER_UNTIED = {"tie_word_embeddings": False, "scale_decoder_outputs": "absent"}
UNSCALED = {"tie_word_embeddings": True, "scale_decoder_outputs": False}
SILENT = {"tie_word_embeddings": "absent", "scale_decoder_outputs": "absent"}
CASES = [
    *(
        (family, head, said)
        for family in MODELS
        for head in ("none", "own", "copy")
        for said in (SAVED, OLDER_TIED)
    ),
    *(("t5", head, UNSCALED) for head in ("none", "own", "copy")),
    *((family, "own", OLDER_UNTIED) for family in MODELS),
    *((family, "none", SILENT) for family in MODELS),
    ("t5", "none", OLDER_TIED | {"feed_forward_proj": "relu"}),
    ("t5", "own", OLDER_TIED | {"feed_forward_proj": "relu"}),
    ("t5", "own", OLDER_UNTIED | {"feed_forward_proj": "relu"}),
]


@pytest.mark.parametrize(("family", "head", "said"), CASES)
def test_losses_are_those_of_transformers(tmp_path, tokenizer_model, family, head, said):
    kind = save(tmp_path, tokenizer_model, family, head=head, **said)
    backbone, theirs = load_backbone(str(tmp_path)), kind.from_pretrained(tmp_path).eval()
    rng = np.random.default_rng(1)
    inputs, targets = (rng.integers(2, 300, (3, length), dtype=np.int32) for length in (9, 5))
    mask = [jnp.ones(ids.shape, bool) for ids in (inputs, targets)]
    ours = nnx.merge(backbone.graph, backbone.weights).token_losses(
        Soft.none(24), jnp.zeros(3, jnp.int32), Inputs(inputs, mask[0]), Targets(targets, mask[1])
    )
    with torch.no_grad():
        loss = theirs(
            input_ids=torch.tensor(inputs).long(), labels=torch.tensor(targets).long()
        ).loss
    assert_close(ours.mean(), float(loss), terms=1000)
    assert backbone.config.tied == (theirs.lm_head.weight is theirs.shared.weight)


def test_a_llama_that_calls_itself_tied_uses_an_output_layer_that_differs(tmp_path):
    from spot.backbone.config import LlamaConfig
    from spot.backbone.llama import Llama
    from spot.backbone.load import _as_stored
    from spot.backbone.weights import open_tensors

    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=2, tie_word_embeddings=False)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": True}))
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    ours = LlamaConfig.from_huggingface(json.loads(path.read_text()))
    assert ours.tied
    stored = _as_stored(ours, open_tensors(tmp_path), Llama)
    assert stored.tied == (theirs.lm_head.weight is theirs.model.embed_tokens.weight) is False


def test_umt5_is_refused_since_its_layers_have_position_biases_of_their_own(
    tmp_path, tokenizer_model
):
    model = transformers.UMT5ForConditionalGeneration(transformers.UMT5Config(**SIZES))
    biases = [name for name in model.state_dict() if "relative_attention_bias" in name]
    assert len(biases) == 4
    model.save_pretrained(tmp_path)
    (tmp_path / "spiece.model").write_bytes(tokenizer_model)
    with pytest.raises(
        BackboneError, match="'umt5' is not supported: each of its layers has a position bias"
    ):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize("place", ["config.json", "generation_config.json"])
def test_greedy_texts_stop_where_those_of_transformers_do(tmp_path, tokenizer_model, place):
    kind = save(tmp_path, tokenizer_model, "mt5", head="own")
    inputs = np.random.default_rng(2).integers(2, 300, (4, 9), dtype=np.int32)

    def ours(ends):
        path = tmp_path / place
        content = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(content | {"eos_token_id": ends}))
        if place == "config.json":
            (tmp_path / "generation_config.json").unlink(missing_ok=True)
        backbone = load_backbone(str(tmp_path))
        model = nnx.merge(backbone.graph, backbone.weights)
        ids = jnp.zeros(4, jnp.int32)
        return np.asarray(greedy_of(model)(Soft.none(24), ids, Inputs(inputs, inputs > 0), 8))

    free = ours([1])
    ends = [1, int(free[0, 3]), int(free[1, 2])]
    stopped = ours(ends)
    theirs = (
        kind.from_pretrained(tmp_path)
        .eval()
        .generate(
            input_ids=torch.tensor(inputs).long(),
            num_beams=1,
            do_sample=False,
            max_new_tokens=8,
            use_cache=False,
        )[:, 1:]
    )
    padded = np.zeros(stopped.shape, np.int32)
    padded[:, : theirs.shape[1]] = theirs
    assert np.array_equal(stopped, padded)
    assert not np.array_equal(stopped, free)
