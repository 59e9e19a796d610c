"""Prompt tuning of PEFT with our prompt."""

import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.batch import Inputs, Targets
from tests.closeness import assert_close

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::FutureWarning:transformers")]


def test_the_same_prompt_gives_the_same_loss(pair, batch):
    from transformers import T5ForConditionalGeneration

    tokens, width = 5, pair.backbone.width
    prompt = np.random.default_rng(11).normal(size=(tokens, width)).astype(np.float32)

    settings = peft.PromptTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=tokens, num_transformer_submodules=1
    )
    tuned = peft.get_peft_model(T5ForConditionalGeneration.from_pretrained(pair.folder), settings).eval()
    tuned.prompt_encoder["default"].embedding.weight.data = torch.tensor(prompt)
    with torch.no_grad():
        theirs = tuned(
            input_ids=torch.tensor(batch.input_ids).long(),
            attention_mask=torch.tensor(batch.input_mask).long(),
            labels=torch.tensor(np.where(batch.target_mask, batch.target_ids, -100)).long(),
        ).loss

    inputs = Inputs(jnp.asarray(batch.input_ids), jnp.asarray(batch.input_mask))
    targets = Targets(jnp.asarray(batch.target_ids), jnp.asarray(batch.target_mask))
    losses = pair.ours.token_losses(jnp.asarray(prompt)[None], jnp.zeros_like(batch.prompt_ids), inputs, targets)
    assert_close(losses.sum() / batch.target_mask.sum(), float(theirs), terms=1000)
