"""Loading a folder: the fingerprint, and one clear error for everything that can be wrong."""

import dataclasses
import json
import os
import shutil
import struct

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from spot.backbone.export import named_tensors, save_backbone, save_changed
from spot.backbone.load import find_model, load_backbone
from spot.backbone.random import random_model
from spot.backbone.tokenizer import train_sentencepiece
from spot.errors import BackboneError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "backbone")


def fingerprint(folder):
    return load_backbone(str(folder)).fingerprint


def change_weights(folder, change):
    path = folder / "model.safetensors"
    tensors = dict(safetensors.numpy.load_file(path))
    change(tensors)
    path.unlink()
    safetensors.numpy.save_file(tensors, path)


def change_json(path, **changes):
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | changes))


def refused(folder):
    with pytest.raises(BackboneError) as caught:
        load_backbone(str(folder))
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


def test_a_saved_model_comes_back_with_its_weights_and_tokenizer(folder, config, lines):
    loaded = load_backbone(str(folder))
    expected = named_tensors(random_model(config, seed=4))
    assert loaded.config == config
    assert loaded.width == config.d_model
    assert np.array_equal(loaded.embedding, expected["shared.weight"])
    assert loaded.tokenizer.decode(loaded.tokenizer.encode(lines[:1])[0]) == lines[0]


def test_bfloat16_weights_are_those_of_the_file_rounded(folder):
    exact, rounded = load_backbone(str(folder)), load_backbone(str(folder), dtype="bfloat16")
    assert np.array_equal(rounded.embedding, exact.embedding.astype(jnp.bfloat16))
    assert rounded.fingerprint == exact.fingerprint


# -- fingerprint -----------------------------------------------------------------------------------------


def test_a_copy_has_the_same_fingerprint(folder, tmp_path):
    assert fingerprint(folder) == fingerprint(shutil.copytree(folder, tmp_path / "copy"))


def test_the_dtype_of_the_file_does_not_count_where_the_values_are_equal(
    config, tmp_path, tokenizer_model
):
    for name in ("first", "second"):
        save_backbone(
            random_model(config, seed=4),
            tmp_path / name,
            tokenizer_model=tokenizer_model,
            dtype=jnp.bfloat16,
        )
    change_weights(
        tmp_path / "second", lambda t: t.update({k: v.astype("<f4") for k, v in t.items()})
    )
    assert fingerprint(tmp_path / "first") == fingerprint(tmp_path / "second")


def test_one_changed_weight_changes_the_fingerprint(folder):
    def nudge(tensors):
        tensors["decoder.block.1.layer.2.DenseReluDense.wo.weight"][3, 4] += 1e-3

    before = fingerprint(folder)
    change_weights(folder, nudge)
    assert fingerprint(folder) != before


@pytest.mark.parametrize(
    "change",
    [{"layer_norm_epsilon": 1e-5}, {"relative_attention_max_distance": 64}, {"eos_token_id": 2}],
)
def test_a_changed_config_field_changes_the_fingerprint(folder, change):
    before = fingerprint(folder)
    change_json(folder / "config.json", **change)
    assert fingerprint(folder) != before


def test_a_config_field_without_effect_leaves_the_fingerprint(folder):
    before = fingerprint(folder)
    change_json(folder / "config.json", dropout_rate=0.3, _name_or_path="elsewhere")
    assert fingerprint(folder) == before


def test_another_tokenizer_changes_the_fingerprint(folder, lines):
    before = fingerprint(folder)
    (folder / "spiece.model").write_bytes(train_sentencepiece(lines[:150], size=140, sample=150))
    assert fingerprint(folder) != before


def test_another_number_of_sentinels_changes_the_fingerprint(folder):
    before = fingerprint(folder)
    change_json(folder / "tokenizer_config.json", extra_ids=90)
    assert fingerprint(folder) != before


def test_the_fingerprint_is_computed_once_and_kept(folder, cache):
    first = fingerprint(folder)
    (kept,) = cache.iterdir()
    assert len(kept.read_text()) == 64
    written = kept.stat().st_mtime_ns
    assert fingerprint(folder) == first
    assert kept.stat().st_mtime_ns == written


def test_a_damaged_cache_entry_is_computed_again(folder, cache):
    first = fingerprint(folder)
    (kept,) = cache.iterdir()
    kept.write_text("short")
    assert fingerprint(folder) == first


def test_touched_weights_are_read_again(folder, cache):
    first = fingerprint(folder)
    os.utime(folder / "model.safetensors", ns=(0, 0))
    assert fingerprint(folder) == first
    assert len(list(cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_no_obstacle(folder, cache):
    cache.parent.mkdir()
    cache.write_text("a file where a folder should be")
    assert len(fingerprint(folder)) == 64


# -- errors ----------------------------------------------------------------------------------------------


def test_missing_extra_and_misshapen_tensors_are_named_together(folder):
    def spoil(tensors):
        del tensors["encoder.final_layer_norm.weight"]
        tensors["encoder.block.9.layer.0.layer_norm.weight"] = np.ones(16, np.float32)
        tensors["lm_head.weight"] = np.ones((139, 16), np.float32)

    change_weights(folder, spoil)
    message = refused(folder)
    assert "missing encoder.final_layer_norm.weight" in message
    assert "unexpected encoder.block.9.layer.0.layer_norm.weight" in message
    assert "lm_head.weight has shape [139, 16], expected [140, 16]" in message


def test_only_the_first_few_of_many_problems_are_listed(folder):
    change_json(folder / "config.json", d_model=17)
    message = refused(folder)
    assert message.count("expected [") == 8
    assert "more" in message


def test_a_tokenizer_larger_than_the_embedding_is_refused(folder):
    change_json(folder / "tokenizer_config.json", extra_ids=101)
    assert "141 pieces, but the embedding only 140 rows" in refused(folder)


@pytest.mark.parametrize("alias", ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"])
def test_the_embedding_may_go_by_an_alias(folder, alias):
    before = fingerprint(folder)
    change_weights(folder, lambda tensors: tensors.update({alias: tensors.pop("shared.weight")}))
    assert fingerprint(folder) == before


def test_a_folder_without_config_is_refused(folder):
    (folder / "config.json").unlink()
    assert "no config.json" in refused(folder)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_a_config_that_is_not_json_is_refused(folder, content):
    (folder / "config.json").write_bytes(content)
    assert "not JSON" in refused(folder)


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_a_config_that_is_no_object_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    refused(folder)


def test_a_folder_without_weights_is_refused_with_the_names_looked_for(folder):
    (folder / "model.safetensors").unlink()
    assert "model.safetensors, flax_model.msgpack, pytorch_model.bin" in refused(folder)


def write_index(folder, content):
    (folder / "model.safetensors").unlink(missing_ok=True)
    (folder / "model.safetensors.index.json").write_text(content)


def test_a_missing_shard_is_named(folder):
    shard = "model-00001-of-00001.safetensors"
    write_index(folder, json.dumps({"weight_map": {"shared.weight": shard}}))
    assert shard in refused(folder)


@pytest.mark.parametrize(
    "content", ["{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}']
)
def test_a_damaged_shard_index_is_refused(folder, content):
    write_index(folder, content)
    assert "not a shard index" in refused(folder)


@pytest.mark.parametrize(
    "content",
    ["[]", "null", '{"weight_map": {"a": 1, "b": "c"}}', '{"weight_map": {"a": "config.json"}}'],
)
def test_an_index_of_something_else_is_refused(folder, content):
    write_index(folder, content)
    refused(folder)


def test_a_folder_without_tokenizer_is_refused(folder):
    (folder / "spiece.model").unlink()
    (folder / "tokenizer_config.json").unlink()
    assert "tokenizer" in refused(folder)


@pytest.mark.parametrize("content", [b"no model", b"\x0a\xff\xff\xff\x7f"])
def test_a_damaged_sentencepiece_model_is_refused(folder, content):
    (folder / "spiece.model").write_bytes(content)
    assert "not a SentencePiece model" in refused(folder)


def test_an_empty_sentencepiece_model_is_refused_without_a_word_of_the_library(folder, capfd):
    (folder / "spiece.model").write_bytes(b"")
    assert refused(folder).endswith("not a SentencePiece model (empty)")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"extra_ids": null}', '{"extra_ids": "many"}', '{"extra_ids": -1}']
)
def test_damaged_tokenizer_settings_are_refused_by_their_own_name(folder, content):
    (folder / "tokenizer_config.json").write_text(content)
    assert "tokenizer_config.json: " in refused(folder)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "nowhere", "a/b/c"])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(BackboneError, match="no such model"):
        find_model(name)


def test_an_unknown_dtype_is_refused_with_the_choices(folder):
    with pytest.raises(BackboneError, match="choose from auto, float32, bfloat16"):
        load_backbone(str(folder), dtype="float16")


def test_an_untied_config_for_a_tied_file_asks_for_the_output_layer(folder):
    change_weights(folder, lambda tensors: tensors.pop("lm_head.weight"))
    assert "missing lm_head.weight" in refused(folder)


def test_a_tied_model_may_carry_its_embedding_twice(folder, config):
    change_json(folder / "config.json", tie_word_embeddings=True)
    change_weights(
        folder, lambda tensors: tensors.update({"lm_head.weight": tensors["shared.weight"].copy()})
    )
    assert load_backbone(str(folder)).config == dataclasses.replace(config, tied=True, scaled=True)


def test_safetensors_whose_header_promises_too_much_is_refused(folder):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(struct.pack("<Q", 1 << 60) + content[8:])
    assert "not a safetensors file, or damaged" in refused(folder)


def test_an_id_that_would_make_room_for_a_thousand_million_is_refused(folder):
    (folder / "spiece.model").unlink()
    model = {"type": "BPE", "vocab": {"a": 10**9}, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model}))
    with pytest.raises(
        BackboneError,
        match=r"tokenizer\.json: a token has id 1000000000; no vocabulary is so large",
    ):
        load_backbone(str(folder))


class Hub:
    """Stands for the hub's client: a repository of these files, of which only ``held`` can be had."""

    def __init__(self, files, held):
        self.files, self.held, self.asked = files, held, []

    def list_repo_files(self, repository):
        return self.files

    def snapshot_download(self, repository, *, local_files_only=False, allow_patterns=()):
        if local_files_only:
            return str(self.held)
        self.asked = list(allow_patterns)
        raise OSError("No space left on device")


@pytest.fixture
def hub(folder, monkeypatch):
    files = ["config.json", "spiece.model", "pytorch_model.bin", "checkpoint-5/model.safetensors"]
    hub = Hub(files, folder)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub.snapshot_download)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    return hub


def test_a_copy_of_the_hub_s_serves_where_it_is_whole_and_else_the_reason_is_told(hub, folder):
    assert find_model("owner/name") == folder
    assert hub.asked[-1] == "pytorch_model*.bin", "weights in a folder of the repository are none"
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"cannot be had from the hub \(No space left"):
        find_model("owner/name")


def test_a_tuned_model_keeps_every_file_of_its_tokenizer(folder, tmp_path):
    (folder / "tokenizer.model").write_bytes(b"pieces")
    backbone = load_backbone(str(folder))
    out = save_changed(backbone, backbone.weights, tmp_path / "out")
    assert (out / "tokenizer.model").read_bytes() == b"pieces"
