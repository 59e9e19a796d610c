"""Our T5 against Hugging Face's in PyTorch, on the same folders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.batch import Inputs, Targets
from spot.backbone.products import relative_position_buckets
from spot.backbone.soft import Soft
from tests.closeness import assert_close
from tests.interop.decodings import GREEDY, WAYS, repr_of, their_way
from tests.spot.backbone.conftest import decoding_of

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.interop

NEW_TOKENS = 12
TERMS = 1000
"""Additions on the longest way through the layers, over up to 175 positions, and the softmax over the vocabulary."""


@pytest.fixture(scope="module", params=[5, 0], ids=["prompted", "bare"])
def prompts(request, pair):
    """A stack of two prompts, ``[2, P, H]``."""
    rng = np.random.default_rng(7)
    return rng.normal(size=(2, request.param, pair.backbone.width)).astype(np.float32)


def our_batch(batch):
    return (
        jnp.asarray(batch.prompt_ids),
        Inputs(jnp.asarray(batch.input_ids), jnp.asarray(batch.input_mask)),
        Targets(jnp.asarray(batch.target_ids), jnp.asarray(batch.target_mask)),
        Targets(jnp.asarray(batch.choice_ids), jnp.asarray(batch.choice_mask)),
    )


def their_inputs(pair, prompts, batch):
    prompt = prompts[torch.tensor(batch.prompt_ids).long()]
    embedded = pair.theirs.get_input_embeddings()(torch.tensor(batch.input_ids).long())
    seen = torch.cat(
        [torch.ones(prompt.shape[:2], dtype=bool), torch.tensor(batch.input_mask)], dim=1
    )
    return {"inputs_embeds": torch.cat([prompt, embedded], dim=1), "attention_mask": seen.long()}


def their_labels(ids, mask):
    return torch.tensor(np.where(mask, ids, -100)).long()


def test_both_sides_hold_the_same_output_layer(pair):
    # transformers >= 5 declares every T5 tied and only keeps the output layer of a checkpoint apart when it
    # differs from the embedding; whether it scales is read from tie_word_embeddings as the file has it.
    tied, scaled = pair.backbone.config.tied, pair.backbone.config.scaled
    head, shared = pair.theirs.lm_head.weight, pair.theirs.shared.weight
    assert (head is shared) == tied
    assert pair.theirs.config.scale_decoder_outputs == scaled
    assert np.array_equal(head.detach(), (pair.ours.embedding if tied else pair.ours.head)[...])
    assert np.array_equal(shared.detach(), pair.ours.embedding[...])


def test_logits_loss_and_prompt_gradient_agree(pair, prompts, batch):
    prompt_ids, inputs, targets, _ = our_batch(batch)

    @jax.jit
    def run(stack, inputs, targets):
        def loss_and_logits(stack):
            encoded = pair.ours.read(Soft(stack), prompt_ids, inputs)
            started = jnp.pad(targets.ids[:, :-1], ((0, 0), (1, 0)))
            logits = pair.ours.logits(pair.ours.decode(encoded, started[:, None]))[:, 0]
            losses = pair.ours.token_losses(Soft(stack), prompt_ids, inputs, targets)
            return losses.sum() / targets.mask.sum().astype(jnp.float32), logits

        return jax.value_and_grad(loss_and_logits, has_aux=True)(stack)

    (loss, logits), gradient = run(jnp.asarray(prompts), inputs, targets)

    stack = torch.tensor(prompts, requires_grad=True)
    labels = their_labels(batch.target_ids, batch.target_mask)
    out = pair.theirs(**their_inputs(pair, stack, batch), labels=labels)
    out.loss.backward()

    assert_close(logits[batch.target_mask], out.logits[batch.target_mask].detach(), terms=TERMS)
    assert_close(loss, out.loss.detach(), terms=TERMS)
    if prompts.size:
        assert_close(gradient, stack.grad, terms=TERMS)


def test_choice_scores_are_summed_log_probabilities(pair, prompts, batch):
    prompt_ids, inputs, _, choices = our_batch(batch)
    ours = jax.jit(pair.ours.choice_scores)(Soft(jnp.asarray(prompts)), prompt_ids, inputs, choices)
    scores = []
    with torch.no_grad():
        given = their_inputs(pair, torch.tensor(prompts), batch)
        for c in range(batch.choice_ids.shape[1]):
            ids, mask = batch.choice_ids[:, c], torch.tensor(batch.choice_mask[:, c])
            logits = pair.theirs(**given, labels=their_labels(ids, mask.numpy())).logits
            picked = logits.log_softmax(-1).gather(-1, torch.tensor(ids).long()[..., None])[..., 0]
            scores.append((picked * mask).sum(-1))
    assert_close(ours, torch.stack(scores, dim=1), terms=TERMS)


@pytest.mark.parametrize("way", WAYS, ids=repr_of)
def test_decoding_agrees_token_for_token(pair, prompts, batch, way):
    prompt_ids, inputs, *_ = our_batch(batch)
    ours = decoding_of(pair.ours, way)(Soft(jnp.asarray(prompts)), prompt_ids, inputs, NEW_TOKENS)
    theirs = pair.theirs.generate(
        **their_inputs(pair, torch.tensor(prompts), batch),
        **their_way(way),
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        use_cache=False,  # its cache takes the decoder to be as deep as the encoder
    )[:, 1:]
    padded = np.zeros(ours.shape, np.int32)
    padded[:, : theirs.shape[1]] = theirs
    ends = np.cumsum(padded == pair.backbone.config.eos_token_id, axis=1)
    padded[:, 1:][ends[:, :-1] > 0] = 0  # beam search fills up with end tokens there
    assert np.array_equal(ours, padded)
    if way == GREEDY:
        ended = (padded == pair.backbone.config.eos_token_id).any(axis=1)
        assert ended.any()
        assert not ended.all()


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 20)])
def test_position_buckets_agree_far_beyond_the_largest_distance(
    bidirectional, buckets, max_distance
):
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(700)[None, :] - torch.arange(600)[:, None]
    theirs = T5Attention._relative_position_bucket(distance, bidirectional, buckets, max_distance)
    ours = relative_position_buckets(
        600, 700, bidirectional=bidirectional, buckets=buckets, max_distance=max_distance
    )
    assert np.array_equal(ours, theirs)
