"""A tiny random T5 in a folder, small tasks in files, and a recipe of a few steps."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from pathlib import Path

import flax.nnx as nnx
import pytest

from spot.backbone.config import T5Config
from spot.backbone.export import save_backbone
from spot.backbone.load import Backbone, load_backbone
from spot.backbone.random import random_model
from spot.backbone.tokenizer import train_sentencepiece
from spot.training import pretrain_data
from spot.training.recipe import Recipe
from spot.training.task_data import TaskData
from tasks import get_task
from tasks.task import Task

VOCABULARY = 200
CONFIG = T5Config(
    vocab_size=VOCABULARY,
    d_model=16,
    d_kv=5,
    d_ff=44,
    num_layers=1,
    num_decoder_layers=1,
    num_heads=3,
)
SYLLABLES = [consonant + vowel for consonant in "klmnprst" for vowel in "aeiou"]
CUES = {"good": ("kamo", "rilu"), "bad": ("tepo", "nusa")}


def sentences(count: int, *, seed: int) -> list[str]:
    """Sentences of an invented language."""
    rng = random.Random(seed)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 3))) for _ in range(300)]
    words += [word for label, cues in CUES.items() for word in (label, *cues)]
    return [" ".join(rng.choices(words, k=rng.randint(3, 12))) + "." for _ in range(count)]


def write_task(
    folder: Path, name: str, *, seed: int = 0, sizes: tuple[int, int, int] = (64, 32, 32)
) -> Path:
    """A task file with its data: the first word of a text decides its label, and ``seed`` what follows."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"{name} {seed}")
    for split, size in zip(("train", "dev", "test"), sizes, strict=True):
        with (folder / f"{name}_{split}.csv").open("w", newline="", encoding="utf-8") as out:
            rows = csv.writer(out)
            rows.writerow(["text", "label"])
            for _ in range(size):
                label = rng.choice(list(CUES))
                rest = rng.choices(SYLLABLES, k=rng.randint(1, 5))
                rows.writerow([" ".join([rng.choice(CUES[label]), *rest]), label])
    path = folder / f"{name}.toml"
    files = "".join(f'{split} = "{name}_{split}.csv"\n' for split in ("train", "dev", "test"))
    path.write_text(
        f'name = "{name}"\nfamily = "cues"\nmetrics = ["accuracy"]\n[data]\n{files}'
        '[format]\ntemplate = "text: {text}"\nlabel = "label"\n[labels]\nbad = "bad"\ngood = "good"\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random T5 whose end token comes up at times and whose answers differ from input to input."""
    folder = tmp_path_factory.mktemp("backbone")
    model = random_model(CONFIG, seed=3)
    larger = {"EncDecAttention.q.weight": 6.0, "EncDecAttention.o.weight": 12.0, "wo.weight": 4.0}
    for _, weight in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        name = weight.get_metadata("tensor")
        if name.startswith("decoder"):
            weight[...] = (
                next((by for part, by in larger.items() if name.endswith(part)), 1.0) * weight[...]
            )
        elif name == "lm_head.weight":
            weight[...] = weight[...].at[CONFIG.eos_token_id].multiply(1.5)
    pieces = train_sentencepiece(sentences(600, seed=1), size=VOCABULARY, sample=600)
    save_backbone(model, folder, tokenizer_model=pieces)
    return folder


@pytest.fixture(scope="session")
def backbone(backbone_folder: Path, session_cache: Path) -> Backbone:
    return load_backbone(str(backbone_folder))


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(
        prompt_length=4,
        batch_size=8,
        steps=40,
        key_step=20,
        evaluate_every=10,
        max_input=16,
        max_target=8,
    )


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return get_task(str(write_task(tmp_path_factory.mktemp("task"), "cues")))


@pytest.fixture(scope="session")
def data(task: Task, backbone: Backbone, recipe: Recipe) -> TaskData:
    return TaskData(task, backbone, recipe)


@pytest.fixture(scope="module")
def small_blocks() -> Iterator[None]:
    """Every seventh block of 512 tokens is held out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain_data, "HELD_OUT_BLOCK", 512)
        patch.setattr(pretrain_data, "HELD_OUT_EVERY", 7)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, small_blocks: None) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(sentences(1500, seed=2)), encoding="utf-8")
    return path
