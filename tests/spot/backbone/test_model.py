"""Properties of the prompted forward that hold for any weights."""

import dataclasses

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.batch import Inputs, Targets
from spot.backbone.layers import Dropout, drop
from spot.backbone.soft import PROMPT_BLIND, TEXT_BLIND, Soft, stack
from spot.backbone.t5 import Attention
from spot.errors import BackboneError
from tests.closeness import assert_close
from tests.spot.backbone.conftest import CONFIGS, greedy_of, make_case

TERMS = 300
"""Additions on the longest way through two layers and the softmax over the vocabulary."""
NEW_TOKENS = 6


def padded(tokens, extra):
    """The same tokens with ``extra`` columns of hidden noise behind them."""
    ids = jnp.pad(tokens.ids, ((0, 0), (0, extra)), constant_values=7)
    return tokens._replace(ids=ids, mask=jnp.pad(tokens.mask, ((0, 0), (0, extra))))


def losses_of(case, prompts=None, prompt_ids=None, inputs=None, targets=None):
    return case.token_losses(
        case.soft if prompts is None else Soft(prompts),
        case.prompt_ids if prompt_ids is None else prompt_ids,
        inputs or case.inputs,
        targets or case.targets,
    )


def test_a_decoder_state_depends_on_its_own_and_earlier_inputs_only(case):
    encoded = case.model.read(case.soft, case.prompt_ids, case.inputs)
    encoded = jax.tree.map(lambda x: x[:1], encoded)
    ids = jnp.arange(3, 8)
    graph, weights = nnx.split(case.model)

    def states(weights):
        hidden = nnx.merge(graph, weights).decode(encoded, ids[None, None])[0, 0]
        return jnp.square(hidden + 1.0).sum(axis=-1)

    by_weights = jax.jit(jax.jacrev(states))(weights)
    influence = np.abs(by_weights.embedding[...][:, ids]).max(axis=-1)
    assert (influence[np.triu_indices(5, 1)] == 0).all()
    assert (influence[np.tril_indices(5)] > 0).all()


def test_later_targets_leave_earlier_losses_alone(case):
    before = losses_of(case)
    changed = case.targets._replace(ids=case.targets.ids.at[:, 2:].set(9))
    after = losses_of(case, targets=changed)
    assert np.array_equal(before[:, :2], after[:, :2])
    assert not np.array_equal(before[:, 2:], after[:, 2:])


@pytest.mark.parametrize("extra", [1, 5])
def test_padding_changes_no_loss(case, extra):
    before = losses_of(case)
    wider = losses_of(case, inputs=padded(case.inputs, extra), targets=padded(case.targets, extra))
    assert_close(wider[:, : before.shape[1]], before, terms=TERMS)
    assert not wider[:, before.shape[1] :].any()


def test_losses_are_zero_at_padding_and_positive_elsewhere(case):
    losses = losses_of(case)
    assert losses.dtype == jnp.float32
    assert np.array_equal(losses > 0, case.targets.mask)


def test_losses_follow_a_permutation_of_the_batch(case):
    order = jnp.array([2, 0, 3, 1])
    inputs, targets = jax.tree.map(lambda x: x[order], (case.inputs, case.targets))
    permuted = losses_of(case, prompt_ids=case.prompt_ids[order], inputs=inputs, targets=targets)
    assert_close(permuted, losses_of(case)[order], terms=TERMS)


def test_a_prompt_of_the_stack_reaches_only_the_rows_that_use_it(case):
    def row_losses(prompts):
        return case.model.token_losses(
            Soft(prompts), case.prompt_ids, case.inputs, case.targets
        ).sum(axis=-1)

    influence = np.abs(jax.jit(jax.jacrev(row_losses))(case.prompts)).max(axis=(2, 3))
    assert np.array_equal(influence > 0, np.arange(3) == np.asarray(case.prompt_ids)[:, None])


def test_a_prompt_of_embedded_tokens_is_those_tokens(case):
    rng = np.random.default_rng(6)
    ids = jnp.asarray(rng.integers(2, 100, (4, 6)), jnp.int32)
    bare = losses_of(
        case, prompts=jnp.zeros((3, 0, 16)), inputs=Inputs(ids, jnp.ones((4, 6), bool))
    )
    prompts = case.model.embedding[...][ids[:, :2]]
    rest = Inputs(ids[:, 2:], jnp.ones((4, 4), bool))
    prompted = losses_of(case, prompts=prompts, prompt_ids=jnp.arange(4), inputs=rest)
    assert_close(prompted, bare, terms=TERMS)


def test_a_choice_scores_minus_the_sum_of_its_own_losses(case):
    scores = case.choice_scores(case.soft, case.prompt_ids, case.inputs, case.choices)
    for c in range(scores.shape[1]):
        apart = Targets(case.choices.ids[:, c], case.choices.mask[:, c])
        assert_close(scores[:, c], -losses_of(case, targets=apart).sum(axis=-1), terms=TERMS)


def test_a_choice_without_tokens_scores_minus_infinity(case):
    mask = case.choices.mask.at[1, 2].set(False)
    scores = case.choice_scores(
        case.soft, case.prompt_ids, case.inputs, case.choices._replace(mask=mask)
    )
    assert np.array_equal(np.argwhere(~np.isfinite(scores)), [[1, 2]])
    assert scores[1, 2] == -jnp.inf


def test_greedy_tokens_are_the_best_of_a_teacher_forced_replay(case):
    output = case.greedy(case.soft, case.prompt_ids, case.inputs, NEW_TOKENS)
    encoded = case.model.read(case.soft, case.prompt_ids, case.inputs)
    started = jnp.pad(output[:, :-1], ((0, 0), (1, 0)))
    replayed = case.model.logits(case.model.decode(encoded, started[:, None]))[:, 0].argmax(axis=-1)
    live = np.cumsum(np.asarray(output) == case.model.config.eos_token_id, axis=1) == 0
    assert np.array_equal(np.where(live, replayed, 0), np.where(live, output, 0))
    assert len(np.unique(output)) > 2


def test_greedy_pads_after_the_end_token_and_leaves_other_rows_alone(case):
    free = np.asarray(case.greedy(case.soft, case.prompt_ids, case.inputs, NEW_TOKENS))
    end = int(free[0, 2])
    graph, weights = nnx.split(case.model)
    ending = nnx.merge(graph, weights)
    ending.config = dataclasses.replace(ending.config, eos_token_id=end, pad_token_id=139)
    output = greedy_of(ending)(case.soft, case.prompt_ids, case.inputs, NEW_TOKENS)
    ended_before = np.cumsum(free == end, axis=1) - (free == end) > 0
    assert ended_before.any()
    assert np.array_equal(output, np.where(ended_before, 139, free))


def test_greedy_stops_at_each_of_several_end_tokens(case):
    free = np.asarray(case.greedy(case.soft, case.prompt_ids, case.inputs, NEW_TOKENS))
    first, second = int(free[0, 2]), int(free[1, 1])
    graph, weights = nnx.split(case.model)
    ending = nnx.merge(graph, weights)
    ending.config = dataclasses.replace(
        ending.config, eos_token_id=first, more_end_token_ids=(second,), pad_token_id=139
    )
    output = greedy_of(ending)(case.soft, case.prompt_ids, case.inputs, NEW_TOKENS)
    ends = np.isin(free, [first, second])
    ended_before = np.cumsum(ends, axis=1) - ends > 0
    assert np.array_equal(output, np.where(ended_before, 139, free))
    assert (np.asarray(output)[:2] == 139).any(axis=1).all()


@pytest.mark.parametrize("name", ["v1.0", "v1.1"])
def test_scaling_is_a_fact_apart_from_tying(name):
    model = make_case(CONFIGS[name]).model
    graph, weights = nnx.split(model)
    other = nnx.merge(graph, weights)
    other.config = dataclasses.replace(model.config, scaled=not model.config.scaled)
    hidden = jax.random.normal(jax.random.key(0), (3, 16))
    scaled, plain = (
        m.logits(hidden) for m in sorted((model, other), key=lambda m: not m.config.scaled)
    )
    assert_close(scaled, plain * 16**-0.5)


def test_dropping_nothing_changes_nothing(case):
    none = Dropout(0.0, jax.random.split(jax.random.key(0), 4))
    dropped = case.model.token_losses(case.soft, case.prompt_ids, case.inputs, case.targets, none)
    assert_close(dropped, losses_of(case), terms=TERMS)


def test_dropout_keeps_the_mean_and_differs_between_sites():
    dropout = Dropout(0.25, jax.random.split(jax.random.key(3), 200))
    ones = jnp.ones((200, 3, 200))
    first, second = drop(ones, dropout, 0), drop(ones, dropout, 1)
    assert first.mean() == pytest.approx(1.0, abs=0.02)
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, drop(ones, dropout, 0))
    assert np.array_equal(first[:, 0], first[:, 1]), (
        "a feature is dropped at all positions of a row"
    )


def test_noise_of_a_row_does_not_depend_on_its_batch_or_padding(case):
    dropout = Dropout(0.3, jax.random.split(jax.random.key(5), 4))
    together = case.model.token_losses(
        case.soft, case.prompt_ids, case.inputs, case.targets, dropout
    )
    wide = Inputs(*(jnp.pad(part, ((0, 0), (0, 7))) for part in case.inputs))
    padded = case.model.token_losses(case.soft, case.prompt_ids, wide, case.targets, dropout)
    alone = [
        case.model.token_losses(
            Soft(case.prompts[case.prompt_ids[row]][None]),
            jnp.zeros(1, jnp.int32),
            jax.tree.map(lambda part, row=row: part[row : row + 1], case.inputs),
            jax.tree.map(lambda part, row=row: part[row : row + 1], case.targets),
            dropout._replace(keys=dropout.keys[row : row + 1]),
        )[0]
        for row in range(4)
    ]
    assert_close(padded, together, terms=TERMS)
    assert_close(np.stack(alone), together, terms=TERMS)
    assert not np.allclose(together, losses_of(case), rtol=1e-2)


def test_z_loss_adds_the_square_of_the_softmax_sum(case):
    plain, weighted = (
        case.model.token_losses(case.soft, case.prompt_ids, case.inputs, case.targets, None, weight)
        for weight in (0.0, 0.5)
    )
    once = case.model.token_losses(case.soft, case.prompt_ids, case.inputs, case.targets, None, 1.0)
    assert_close(once - plain, 2 * (weighted - plain), terms=TERMS, scale=float(once.max()))
    assert (np.asarray(once - plain)[np.asarray(case.targets.mask)] > 0).all()
    assert not np.asarray(once)[~np.asarray(case.targets.mask)].any()


@pytest.mark.parametrize("name", ["v1.0", "v1.1"])
def test_absorbed_cross_attention_is_the_plain_one(name, monkeypatch):
    case = make_case(CONFIGS[name])
    results = []
    for absorbs in (True, False):
        monkeypatch.setattr(
            Attention, "absorbs", lambda _self, _queries, _hidden, absorbs=absorbs: absorbs
        )

        def total(prompts):
            return case.model.token_losses(
                Soft(prompts), case.prompt_ids, case.inputs, case.targets
            ).sum()

        loss, gradient = jax.jit(jax.value_and_grad(total))(case.prompts)
        scores = jax.jit(
            lambda: case.model.choice_scores(case.soft, case.prompt_ids, case.inputs, case.choices)
        )()
        tokens = greedy_of(case.model)(case.soft, case.prompt_ids, case.inputs, NEW_TOKENS)
        results.append((loss, gradient, scores, tokens))
    for absorbed, plain in zip(*results, strict=True):
        assert_close(absorbed, plain, terms=TERMS)


def test_few_queries_over_many_tokens_are_absorbed():
    attention = make_case(CONFIGS["v1.1"]).model.decoder[0].cross_attention
    assert attention.absorbs(1, jnp.zeros((1, 200, 16)))
    assert not attention.absorbs(100, jnp.zeros((1, 200, 16)))


def test_prompts_of_different_length_share_a_stack(case):
    rng = np.random.default_rng(8)
    short = rng.normal(size=(1, 2, 16)).astype(np.float32)
    together = stack([Soft(np.asarray(case.prompts)), Soft(short)])
    assert together.tokens.shape == (4, 4, 16)
    prompt_ids = jnp.array([0, 3, 2, 3])
    losses = case.token_losses(together, prompt_ids, case.inputs, case.targets)
    alone = case.token_losses(Soft(short), jnp.zeros(4, jnp.int32), case.inputs, case.targets)
    whole = case.token_losses(case.soft, jnp.array([0, 0, 2, 2]), case.inputs, case.targets)
    assert_close(losses[1::2], alone[1::2], terms=TERMS)
    assert_close(losses[::2], whole[::2], terms=TERMS)
    tokens = case.greedy(together, prompt_ids, case.inputs, NEW_TOKENS)
    of_short = case.greedy(Soft(short), jnp.zeros(4, jnp.int32), case.inputs, NEW_TOKENS)
    assert np.array_equal(tokens[1::2], of_short[1::2])


def test_a_prepared_stack_reads_as_it_is(case):
    lengths = jnp.array([4, 2, 3], jnp.int32)
    for soft in (case.soft, case.soft._replace(lengths=lengths)):
        prepared = jax.jit(case.model.prepare)(soft)
        before, after = (
            case.token_losses(one, case.prompt_ids, case.inputs, case.targets)
            for one in (soft, prepared)
        )
        assert_close(after, before, terms=TERMS)


def test_states_before_further_layers_replace_those_of_the_prompt(case):
    """Where they are what the layers below compute of the prompt alone, a decoder-only model notices nothing."""
    layers = case.model.config.layers
    rng = np.random.default_rng(9)
    states = jnp.asarray(rng.normal(size=(3, layers - 1, 4, 16)), jnp.float32)
    deep = case.soft._replace(layers=states)
    losses = case.token_losses(deep, case.prompt_ids, case.inputs, case.targets)
    if layers == 1:
        assert_close(losses, losses_of(case), terms=TERMS)
        return
    assert not np.allclose(losses, losses_of(case), rtol=1e-3)

    def total(soft):
        return case.model.token_losses(soft, case.prompt_ids, case.inputs, case.targets).sum()

    gradient = jax.jit(jax.grad(total))(deep)
    used = np.isin(np.arange(3), np.asarray(case.prompt_ids))
    assert np.array_equal(np.abs(gradient.layers).max(axis=(1, 2, 3)) > 0, used)
    assert np.array_equal(np.abs(gradient.tokens).max(axis=(1, 2)) > 0, used)


@pytest.mark.parametrize("leaf", ["tokens", "lengths", "layers", "ids"])
def test_shapes_that_do_not_fit_are_named(case, leaf):
    changes = {
        "tokens": {"tokens": jnp.zeros((3, 4, 15))},
        "lengths": {"lengths": jnp.zeros(2, jnp.int32)},
        "layers": {"layers": jnp.zeros((3, 9, 4, 16))},
    }
    ids = case.prompt_ids[:2] if leaf == "ids" else case.prompt_ids
    with pytest.raises(BackboneError, match=r"has shape .*expected"):
        case.model.token_losses(
            case.soft._replace(**changes.get(leaf, {})), ids, case.inputs, case.targets
        )


def advanced(model, encoded, tokens):
    """Logits ``[B, C, L, V]`` after every one of ``tokens[B, C, L]``, fed one at a time."""
    _, candidates, length = tokens.shape
    cache, steps = model.start_cache(encoded, length, candidates), []
    for step in range(length):
        hidden, cache = model.advance(encoded, cache, tokens[..., step], jnp.int32(step))
        steps.append(model.logits(hidden))
    return np.stack(steps, axis=2)


def test_candidates_that_differ_advance_as_each_alone(case):
    encoded = case.model.read(case.soft, case.prompt_ids, case.inputs)
    tokens = jnp.asarray(np.random.default_rng(4).integers(2, 140, (4, 2, NEW_TOKENS)), jnp.int32)
    together = advanced(case.model, encoded, tokens)
    for c in range(2):
        assert_close(
            together[:, c], advanced(case.model, encoded, tokens[:, c : c + 1])[:, 0], terms=TERMS
        )
    replayed = case.model.logits(case.model.decode(encoded, tokens))
    assert_close(together, replayed, terms=TERMS)
    assert np.abs(together[:, 0] - together[:, 1])[:, 1:].max(axis=-1).min() > 1e-3


# -- units ---------------------------------------------------------------------------------------------------


def test_units_fire_where_the_activation_function_gives_more_than_zero(case, monkeypatch):
    """At the token that begins an answer, behind nothing but the prompt."""
    given = []

    def seen(function):
        return lambda x: given.append(function(x)) or given[-1]

    for block in getattr(case.model, "decoder", ()):
        monkeypatch.setattr(block.feed_forward, "activation", seen(block.feed_forward.activation))
    monkeypatch.setattr(jax.nn, "silu", seen(jax.nn.silu))
    nothing = Inputs(jnp.zeros((3, 5), jnp.int32), jnp.zeros((3, 5), bool))
    memory = case.model.read(case.soft, jnp.arange(3), nothing)
    given.clear()
    case.model.decode(memory, jnp.full((3, 1, 1), case.model.config.start_token_id))
    expected = np.stack([np.asarray(values)[:, 0] > 0 for values in given], axis=1)
    found = np.asarray(case.model.activated(case.soft))
    assert found.shape[2] == 24
    assert np.array_equal(found, expected)
    assert 0.1 < found.mean() < 0.9


def test_units_of_a_prompt_are_those_of_its_own_tokens_however_it_is_padded(case):
    together = np.asarray(case.model.activated(stack([Soft(case.prompts[:1, :2]), case.soft])))
    assert np.array_equal(together[0], case.model.activated(Soft(case.prompts[:1, :2]))[0])
    assert np.array_equal(together[1:], case.model.activated(case.soft))
    assert not np.array_equal(together[0], together[1])


def test_what_is_blind_sees_nothing_of_the_other(case):
    """Read by the prompt without its text, or by the text without its prompt; what is decoded sees both.

    What is blind is as it would be beside any other text, or behind any other prompt.
    """
    other = Inputs(jnp.where(case.inputs.mask, (case.inputs.ids + 5) % 140, 0), case.inputs.mask)
    elsewhere = case.prompts[::-1] + 1.0

    def read(blind, prompts, inputs):
        """Of every layer's keys, or of the encoder, those of prompts and those of texts."""
        soft = Soft(prompts, blind=jnp.full(3, blind, jnp.int32))
        memory = jax.jit(case.model.read)(soft, case.prompt_ids, inputs)
        leaves = memory.layers if case.model.config.reads_prompts_once else [[memory.hidden]]
        kept = [np.asarray(leaf) for pair in leaves for leaf in pair]
        return [
            np.concatenate([leaf[..., part, :].ravel() for leaf in kept])
            for part in (slice(0, 4), slice(4, None))
        ]

    plain = read(0, case.prompts, case.inputs)
    unseeing = read(PROMPT_BLIND, case.prompts, case.inputs)
    beside = read(PROMPT_BLIND, case.prompts, other)
    assert_close(unseeing[0], beside[0], terms=300)
    if not case.model.config.reads_prompts_once:
        assert not np.allclose(plain[0], unseeing[0], atol=1e-3)
    unled = read(TEXT_BLIND, case.prompts, case.inputs)
    behind = read(TEXT_BLIND, elsewhere, case.inputs)
    assert_close(unled[1], behind[1], terms=300)
    if case.model.config.layers > 1 or not case.model.config.reads_prompts_once:
        assert not np.allclose(plain[1], unled[1], atol=1e-3)
    soft = Soft(case.prompts, blind=jnp.zeros(3, jnp.int32))
    expected = case.token_losses(case.soft, case.prompt_ids, case.inputs, case.targets)
    same = case.token_losses(soft, case.prompt_ids, case.inputs, case.targets)
    assert_close(same, expected, terms=300)
