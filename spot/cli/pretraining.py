"""``spot pretrain``: a small backbone of one's own, from text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spot.cli.groups import takes_groups
from spot.cli.options import JsonOption
from spot.cli.output import errors, print_json, say
from spot.cli.recipes import finite
from spot.training.settings import LENGTH, SEED, WHOLE

if TYPE_CHECKING:
    from spot.backbone.config import T5Config


@dataclasses.dataclass(frozen=True)
class Phases:
    """How long each phase is, and on what."""

    span_steps: Annotated[int, typer.Option(help="Steps of span corruption.", min=0, max=WHOLE)] = (
        10_000
    )
    adaptation_steps: Annotated[
        int, typer.Option(help="Steps of prefix-LM adaptation.", min=0, max=WHOLE)
    ] = 1_000
    supervised_steps: Annotated[
        int, typer.Option(help="Steps of supervised tasks.", min=0, max=WHOLE)
    ] = 0
    batch_size: Annotated[int, typer.Option(help="Examples a step.", min=1, max=LENGTH)] = 16
    input_length: Annotated[
        int, typer.Option(help="Input tokens of an example.", min=1, max=LENGTH)
    ] = 128
    learning_rate: Annotated[
        float,
        typer.Option(
            help="Peak learning rate, relative to the weights' scale.",
            min=0,
            max=WHOLE,
            callback=finite,
        ),
    ] = 0.02
    seed: Annotated[
        int, typer.Option(help="Seed of weights, masks and order.", min=0, max=SEED)
    ] = 0


@dataclasses.dataclass(frozen=True)
class Shape:
    """The model's sizes."""

    vocab_size: Annotated[
        int, typer.Option(help="Vocabulary, 100 sentinels included.", min=101, max=10 * LENGTH)
    ] = 4096
    width: Annotated[int, typer.Option(help="Model width H.", min=1, max=LENGTH)] = 256
    heads: Annotated[int, typer.Option(help="Attention heads.", min=1, max=LENGTH)] = 4
    head_width: Annotated[int, typer.Option(help="Width of a head.", min=1, max=LENGTH)] = 32
    hidden: Annotated[
        int, typer.Option(help="Width of the feed-forward layers.", min=1, max=LENGTH)
    ] = 512
    layers: Annotated[int, typer.Option(help="Encoder layers.", min=1, max=LENGTH)] = 4
    decoder_layers: Annotated[int, typer.Option(help="Decoder layers.", min=1, max=LENGTH)] = 2

    def config(self) -> T5Config:
        """T5 1.1 of these sizes.

        Raises:
            BackboneError: sizes that make no model.
        """
        from spot.backbone.config import T5Config

        return T5Config(
            vocab_size=self.vocab_size,
            d_model=self.width,
            d_kv=self.head_width,
            d_ff=self.hidden,
            num_layers=self.layers,
            num_decoder_layers=self.decoder_layers,
            num_heads=self.heads,
        )


@takes_groups
def pretrain(
    corpora: Annotated[
        list[Path],
        typer.Argument(help="Text files (.gz too): a paragraph a line, blank between documents."),
    ],
    *,
    folder: Annotated[Path, typer.Option(help="Where everything goes; a second call resumes.")],
    supervised: Annotated[
        list[Path],
        typer.Option(help="JSON lines of task, input and target; give it several times."),
    ] = [],  # noqa: B006
    corpus_pairs: Annotated[
        int,
        typer.Option(
            help="Also draw so many examples of each self-supervised task from the corpora.",
            min=0,
            max=WHOLE,
        ),
    ] = 0,
    float32: Annotated[
        bool, typer.Option("--float32", help="float32 products instead of bfloat16.")
    ] = False,
    phases: Phases,
    shape: Shape,
    out: JsonOption,
) -> None:
    """Pre-train a small T5 1.1 on text: span corruption, LM adaptation, then supervised tasks."""
    from spot.backbone.process import prepare_process
    from spot.paths import prepare_folders
    from spot.training.pretrain import pretrain
    from spot.training.pretrain_data import read_supervised
    from spot.training.pretrain_plan import Pretraining
    from spot.training.progress import make_reporter
    from tasks.objectives import read_lines
    from tasks.sentences import sentence_tasks

    prepare_folders(folder)
    prepare_process()
    model = pretrain(
        Pretraining(config=shape.config(), bfloat16=not float32, **dataclasses.asdict(phases)),
        corpora,
        folder,
        supervised=read_supervised(supervised)
        | sentence_tasks(read_lines(corpora), corpus_pairs, seed=phases.seed),
        reporter=lambda phase: make_reporter(phase, errors()),
    )
    if out.json:
        print_json({"model": str(model)})
    else:
        say(f"model in {model}; use it with --backbone {model}")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "pretrain",
        epilog="Example: spot pretrain wikipedia.txt.gz --folder pretraining --span-steps 10000",
    )(pretrain)
