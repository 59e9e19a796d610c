"""Every format of weights that Hugging Face's libraries write gives the same backbone."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.load import load_backbone

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.interop


@pytest.fixture
def folder(pair, tmp_path):
    """Config and tokenizer of the pair, still without weights."""
    shutil.copytree(
        pair.folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("model.*")
    )
    return tmp_path


def fingerprint(folder):
    return load_backbone(str(folder)).fingerprint


def flax_tree(state):
    """Nested dictionaries as Flax's T5 has them: kernels transposed, embeddings and norms as they are."""
    tree = {}
    for name, tensor in state.items():
        *path, module, leaf = name.split(".")
        array = tensor.detach().numpy()
        if module in ("shared", "embed_tokens", "relative_attention_bias"):
            leaf = "embedding"
        elif not module.endswith("layer_norm"):
            leaf, array = "kernel", np.ascontiguousarray(array.T)
        node = tree
        for part in (*path, module):
            node = node.setdefault(part, {})
        node[leaf] = array
    return tree


def without_copies(state):
    """safetensors refuses tensors that share memory."""
    seen = {}
    return {n: t for n, t in state.items() if seen.setdefault(t.data_ptr(), n) == n}


def write_shards(folder, state, save, stem, suffix):
    """Two shards and their index, as ``save_pretrained`` names them."""
    names = sorted(state)
    shards = {f"{stem}-0000{i + 1}-of-00002.{suffix}": names[i::2] for i in range(2)}
    for shard, held in shards.items():
        save({name: state[name] for name in held}, folder / shard)
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


def save_safetensors(state, path):
    from safetensors.torch import save_file

    save_file(state, path, metadata={"format": "pt"})


def test_safetensors_of_transformers(pair, folder):
    save_safetensors(without_copies(pair.theirs.state_dict()), folder / "model.safetensors")
    assert fingerprint(folder) == pair.backbone.fingerprint


def test_flax_msgpack(pair, folder):
    from flax.serialization import msgpack_serialize

    tree = flax_tree(without_copies(pair.theirs.state_dict()))
    (folder / "flax_model.msgpack").write_bytes(msgpack_serialize(tree))
    assert fingerprint(folder) == pair.backbone.fingerprint


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_torch_file(pair, folder, as_zip):
    torch.save(
        pair.theirs.state_dict(),
        folder / "pytorch_model.bin",
        _use_new_zipfile_serialization=as_zip,
    )
    assert fingerprint(folder) == pair.backbone.fingerprint


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_torch_file_of_views_and_parameters(pair, folder, as_zip):
    state = {
        name: torch.nn.Parameter(tensor.t().contiguous().t() if tensor.ndim == 2 else tensor)
        for name, tensor in pair.theirs.state_dict().items()
    }
    padded = torch.cat([torch.zeros(3, pair.backbone.width), state["shared.weight"].detach()])
    state["shared.weight"] = padded[3:]
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=as_zip)
    assert fingerprint(folder) == pair.backbone.fingerprint


def test_sharded_safetensors(pair, folder):
    state = without_copies(pair.theirs.state_dict())
    write_shards(folder, state, save_safetensors, "model", "safetensors")
    assert fingerprint(folder) == pair.backbone.fingerprint


def test_sharded_torch_files(pair, folder):
    write_shards(folder, pair.theirs.state_dict(), torch.save, "pytorch_model", "bin")
    assert fingerprint(folder) == pair.backbone.fingerprint


def test_bfloat16_files_agree_with_each_other(pair, folder):
    state = {name: t.bfloat16() for name, t in without_copies(pair.theirs.state_dict()).items()}
    save_safetensors(state, folder / "model.safetensors")
    loaded = load_backbone(str(folder))
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert fingerprint(folder) == loaded.fingerprint != pair.backbone.fingerprint
    assert np.array_equal(loaded.embedding, state["shared.weight"].float())


def test_half_precision_torch_file_keeps_its_values(pair, folder):
    state = {name: t.half() for name, t in pair.theirs.state_dict().items()}
    torch.save(state, folder / "pytorch_model.bin")
    assert np.array_equal(load_backbone(str(folder)).embedding, state["shared.weight"].float())


def test_bfloat16_compute_keeps_the_fingerprint(pair):
    loaded = load_backbone(str(pair.folder), dtype="bfloat16")
    assert loaded.fingerprint == pair.backbone.fingerprint
    assert loaded.embedding.dtype == jnp.bfloat16


def test_a_folder_that_transformers_saved_again_is_the_same_backbone(pair, folder):
    pair.theirs.save_pretrained(folder)
    assert fingerprint(folder) == pair.backbone.fingerprint
