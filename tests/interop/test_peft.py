"""Prompt tuning of PEFT with our prompt, and adapters that go from one to the other."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.batch import Inputs, Targets
from spot.errors import PromptError
from spot.prompts.files import read_prompt
from spot.prompts.forms import FORMS
from spot.prompts.initializers import make_initializer
from spot.prompts.write import write_prompt
from tests.closeness import assert_close

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::FutureWarning:transformers")]

TOKENS = 5


def model_of(pair):
    from transformers import T5ForConditionalGeneration

    return T5ForConditionalGeneration.from_pretrained(pair.folder)


def their_loss(tuned, batch):
    with torch.no_grad():
        answer = tuned.eval()(
            input_ids=torch.tensor(batch.input_ids).long(),
            attention_mask=torch.tensor(batch.input_mask).long(),
            labels=torch.tensor(np.where(batch.target_mask, batch.target_ids, -100)).long(),
        )
    return float(answer.loss)


def our_loss(pair, prompt, batch, form="prompt"):
    inputs = Inputs(jnp.asarray(batch.input_ids), jnp.asarray(batch.input_mask))
    targets = Targets(jnp.asarray(batch.target_ids), jnp.asarray(batch.target_mask))
    soft = FORMS[form].soft(jnp.asarray(prompt)[None], pair.backbone.config)
    losses = jax.jit(pair.ours.token_losses)(
        soft, jnp.zeros_like(batch.prompt_ids), inputs, targets
    )
    return float(losses.sum()) / int(batch.target_mask.sum())


def prompt_of(pair, tokens=TOKENS):
    return np.random.default_rng(11).normal(size=(tokens, pair.backbone.width)).astype(np.float32)


def test_the_same_prompt_gives_the_same_loss(pair, batch):
    prompt = prompt_of(pair)
    settings = peft.PromptTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=TOKENS, num_transformer_submodules=1
    )
    tuned = peft.get_peft_model(model_of(pair), settings)
    tuned.prompt_encoder["default"].embedding.weight.data = torch.tensor(prompt)
    assert_close(our_loss(pair, prompt, batch), their_loss(tuned, batch), terms=1000)


@pytest.mark.parametrize("weights", ["adapter_model.safetensors", "adapter_model.bin"])
def test_an_adapter_with_peft_s_defaults_gives_the_prompt_that_peft_uses(
    pair, batch, tmp_path: Path, weights: str
):
    tuned = peft.get_peft_model(
        model_of(pair), peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=TOKENS)
    )
    tuned.prompt_encoder["default"].embedding.weight.data = torch.tensor(
        prompt_of(pair, 2 * TOKENS)
    )
    tuned.save_pretrained(tmp_path, safe_serialization=weights.endswith(".safetensors"))
    assert (tmp_path / weights).is_file()
    read = read_prompt(tmp_path, length=TOKENS)
    assert read.metadata["backbone"] == str(pair.folder)
    assert_close(our_loss(pair, read.prompt, batch), their_loss(tuned, batch), terms=1000)


def test_an_adapter_that_we_write_is_read_by_peft(pair, batch, tmp_path: Path):
    prompt = prompt_of(pair)
    write_prompt(tmp_path / "adapter", prompt, {"task": "sst2"}, config={"num_decoder_layers": 1})
    tuned = peft.PeftModel.from_pretrained(model_of(pair), tmp_path / "adapter")
    np.testing.assert_array_equal(tuned.get_prompt(1)[0].detach().numpy(), prompt)
    assert_close(our_loss(pair, prompt, batch), their_loss(tuned, batch), terms=1000)


def test_an_adapter_for_a_decoder_that_we_write_is_read_by_peft(tmp_path: Path):
    from transformers import LlamaConfig, LlamaForCausalLM

    prompt = np.random.default_rng(0).normal(size=(TOKENS, 16)).astype(np.float32)
    write_prompt(tmp_path / "adapter", prompt, config={"num_layers": 1})
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
    tuned = peft.PeftModel.from_pretrained(model, tmp_path / "adapter")
    assert isinstance(tuned, peft.PeftModelForCausalLM)
    np.testing.assert_array_equal(tuned.get_prompt(1)[0].detach().numpy(), prompt)
    assert torch.isfinite(
        tuned(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss
    )


def prefix_config(pair, **more):
    """Of the decoder's self-attention, whose heads may be wider together than the model."""
    config = pair.backbone.config
    return peft.PrefixTuningConfig(
        task_type="SEQ_2_SEQ_LM",
        num_virtual_tokens=TOKENS,
        num_layers=config.num_decoder_layers,
        num_attention_heads=config.num_heads,
        token_dim=config.inner,
        **more,
    )


@pytest.mark.parametrize("projected", [False, True])
def test_a_prefix_of_peft_s_gives_the_same_loss(pair, batch, tmp_path: Path, projected: bool):
    torch.manual_seed(1)
    through = {"prefix_projection": True, "encoder_hidden_size": 6} if projected else {}
    tuned = peft.get_peft_model(model_of(pair), prefix_config(pair, **through))
    tuned.save_pretrained(tmp_path)
    read = read_prompt(tmp_path, length=TOKENS)
    assert read.form == "prefix_decoder"
    prompt = make_initializer(f"file:{tmp_path}", pair.backbone, TOKENS, form=read.form)(0)
    ours = our_loss(pair, prompt, batch, "prefix_decoder")
    assert_close(ours, their_loss(tuned, batch), terms=1000)
    without = our_loss(pair, prompt_of(pair, 0), batch)
    assert abs(ours - without) > 1e-4, "the prefix changes something"


def test_a_prefix_that_we_write_is_read_by_peft(pair, batch, tmp_path: Path):
    config = pair.backbone.config
    shape = FORMS["prefix_decoder"].shape(config, TOKENS)
    prompt = np.random.default_rng(11).normal(size=shape).astype(np.float32)
    folder, facts = tmp_path / "adapter", {"recipe": '{"form": "prefix_decoder"}'}
    if config.num_decoder_layers % 2 == 0:  # PEFT has one prefix for two layers
        with pytest.raises(PromptError, match=r"PEFT gives two layers each .* and these differ"):
            write_prompt(folder, prompt, facts, config=config.identity)
        return
    write_prompt(folder, prompt, facts, config=config.identity)
    tuned = peft.PeftModel.from_pretrained(model_of(pair), folder)
    ours = our_loss(pair, prompt, batch, "prefix_decoder")
    assert_close(ours, their_loss(tuned, batch), terms=1000)
    write_prompt(folder, prompt, facts, config=config.identity)  # over the same adapter
    again = read_prompt(folder).for_width(config.width).prompt
    heads, depth = config.heads
    used = config.num_decoder_layers * heads * depth
    ours, theirs = (
        np.moveaxis(x, 2, 1).reshape(2, TOKENS, -1)[..., :used] for x in (prompt, again)
    )
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("bare", [True, False], ids=["tensor", "state dict"])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str
)
def test_a_prompt_that_torch_saved_is_read(tmp_path: Path, bare: bool, dtype):
    prompt = torch.arange(12, dtype=dtype).reshape(3, 4)
    torch.save(
        torch.nn.Parameter(prompt) if bare else {"soft_prompt": prompt}, tmp_path / "prompt.pt"
    )
    np.testing.assert_array_equal(
        read_prompt(tmp_path / "prompt.pt").prompt, np.arange(12).reshape(3, 4)
    )
