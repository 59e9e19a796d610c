"""Names of tensors that training tools have put something in front of, and files that stand in for weights."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import safetensors.numpy

from spot.backbone.export import save_backbone
from spot.backbone.load import load_backbone
from spot.backbone.names import plain_names
from spot.backbone.random import random_model
from spot.backbone.weights import StoredTensor
from spot.errors import BackboneError

from spot.backbone.llama import Llama  # isort: skip
from spot.backbone.t5 import T5  # isort: skip


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "backbone")


def rename(folder, change):
    path = folder / "model.safetensors"
    tensors = {change(name): tensor for name, tensor in safetensors.numpy.load_file(path).items()}
    path.unlink()
    safetensors.numpy.save_file(tensors, path)


def refused(folder):
    with pytest.raises(BackboneError) as caught:
        load_backbone(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


CHANGES = {
    "Lightning": lambda name: f"model.{name}",
    "DDP": lambda name: f"module.{name}",
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "PEFT": lambda name: f"base_model.model.{name}",
    "a compiled model in Lightning": lambda name: f"model._orig_mod.{name}",
    "compiled blocks": lambda name: re.sub(r"(block\.\d+)", r"\1._orig_mod", name),
    "FSDP": lambda name: (
        f"_fsdp_wrapped_module.{name.replace('.layer.', '._fsdp_wrapped_module.layer.')}"
    ),
    "a network of one's own": lambda name: f"network.t5.{name}",
}


@pytest.mark.parametrize("tool", CHANGES)
def test_what_stands_in_front_of_every_name_is_passed_over(folder, tool):
    before = load_backbone(str(folder)).fingerprint
    rename(folder, CHANGES[tool])
    assert load_backbone(str(folder)).fingerprint == before


def stored(*names):
    return {name: StoredTensor((1,), lambda: np.zeros(1)) for name in names}


LLAMA_NAMES = ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight"]


@pytest.mark.parametrize("front", ["", "model.", "module.", "base_model.model."])
def test_a_llama_keeps_the_front_that_belongs_to_it(tmp_path, front):
    assert (
        list(plain_names(tmp_path, stored(*(front + name for name in LLAMA_NAMES)), Llama))
        == LLAMA_NAMES
    )


def test_a_llama_saved_without_its_output_layer_lacks_the_front(tmp_path):
    bare = stored("embed_tokens.weight", "layers.0.mlp.up_proj.weight", "lm_head.weight")
    assert list(plain_names(tmp_path, bare, Llama)) == LLAMA_NAMES


def test_tensors_beside_the_model_keep_their_names_and_are_named(folder):
    path = folder / "model.safetensors"
    tensors = {
        f"model.{name}": tensor for name, tensor in safetensors.numpy.load_file(path).items()
    }
    path.unlink()
    safetensors.numpy.save_file(tensors | {"loss.weight": np.ones(3, np.float32)}, path)
    assert refused(folder).endswith("unexpected loss.weight")


def test_two_tensors_of_one_name_are_refused(tmp_path):
    with pytest.raises(BackboneError, match=r"two tensors are called 'shared\.weight'"):
        plain_names(tmp_path, stored("_orig_mod.shared.weight", "shared.weight"), T5)


@pytest.mark.parametrize("part", ["q.lora_A.default", "q.base_layer", "q.modules_to_save.default"])
def test_adapters_are_refused_with_what_to_do(folder, part):
    rename(folder, lambda name: name.replace("SelfAttention.q.", f"SelfAttention.{part}."))
    assert "holds weights of adapters" in refused(folder)
    assert "merge_and_unload" in refused(folder)


def test_weights_of_another_model_are_told_in_one_message(folder):
    rename(
        folder,
        lambda name: "bert." + name.replace("shared", "embeddings").replace("encoder", "layers"),
    )
    rename(folder, lambda name: name.replace("decoder", "blocks"))
    message = refused(folder)
    assert "none of its" in message
    assert "expected shared.weight and others" in message
    assert "missing" not in message


# -- files that stand in for others ------------------------------------------------------------------------

POINTER = (
    "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 990345061\n"
)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "spiece.model", "config.json", "tokenizer_config.json"]
)
def test_a_git_lfs_pointer_is_told_from_a_damaged_file(folder, name):
    (folder / name).write_text(POINTER)
    message = refused(folder)
    assert str(folder / name) in message
    assert "a git-LFS pointer, not the file; run `git lfs pull`" in message


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "flax_model.msgpack", "model.safetensors.index.json"]
)
def test_every_format_knows_a_git_lfs_pointer(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_text(POINTER)
    assert "a git-LFS pointer, not the file" in refused(folder)


def test_a_gguf_file_or_a_tokenizer_may_be_a_git_lfs_pointer(folder, tmp_path):
    pytest.importorskip("gguf")
    (tmp_path / "model.gguf").write_text(POINTER)
    assert "a git-LFS pointer, not the file" in refused(tmp_path / "model.gguf")
    (folder / "spiece.model").unlink()
    (folder / "tokenizer.json").write_text(POINTER)
    assert "a git-LFS pointer, not the file" in refused(folder)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "spiece.model", "generation_config.json"]
)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert "no regular file" in refused(folder)


def shards(folder, shard):
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"shared.weight": shard}})
    )


@pytest.mark.parametrize(
    "way",
    ["../elsewhere.safetensors", "{0}/elsewhere.safetensors", "a/../../elsewhere.safetensors"],
)
def test_a_shard_outside_the_folder_is_refused(folder, way):
    shards(folder, way.format(folder.parent))
    assert "not inside the folder" in refused(folder)


def test_a_shard_may_be_a_link(folder):
    before = load_backbone(str(folder)).fingerprint
    shards(folder, "model-1.safetensors")
    (folder / "model-1.safetensors").symlink_to(folder.parent / "elsewhere.safetensors")
    assert load_backbone(str(folder)).fingerprint == before


# -- end tokens of generation_config.json ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "generation", "ends"),
    [
        (1, [1, 5, 6], (1, 5, 6)),
        (1, 5, (1, 5)),
        ([38, 1], 1, (38, 1)),
        (None, [7, 8], (7, 8)),
        (1, None, (1,)),
    ],
)
def test_a_text_ends_at_the_end_tokens_of_both_configs(folder, said, generation, ends):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": said}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": generation}))
    loaded = load_backbone(str(folder))
    assert (loaded.config.eos_token_id, *loaded.config.more_end_token_ids) == ends
    ordinary = loaded.tokenizer.encode(["ba"])[0]
    assert loaded.tokenizer.decode([*ordinary, ends[-1], *ordinary]) == "ba"


def test_a_model_keeps_all_its_end_tokens_when_it_is_saved(folder, config, tokenizer_model):
    import dataclasses

    several = dataclasses.replace(config, more_end_token_ids=(5, 6))
    save_backbone(random_model(several, seed=4), folder, tokenizer_model=tokenizer_model)
    assert load_backbone(str(folder)).config == several
