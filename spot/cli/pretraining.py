"""``spot pretrain``: a small backbone of one's own, from text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spot.cli.options import JsonOption, finite, takes
from spot.cli.output import errors, print_json, say
from spot.training.settings import LENGTH, SEED, WHOLE


@takes(out=JsonOption)
def pretrain(
    corpora: Annotated[
        list[Path], typer.Argument(help="Text files (.gz too): a paragraph a line, blank between documents.")
    ],
    *,
    folder: Annotated[Path, typer.Option(help="Where everything goes; a second call resumes.")],
    span_steps: Annotated[int, typer.Option(help="Steps of span corruption.", min=0, max=WHOLE)] = 10_000,
    adaptation_steps: Annotated[int, typer.Option(help="Steps of prefix-LM adaptation.", min=0, max=WHOLE)] = 1_000,
    supervised_steps: Annotated[int, typer.Option(help="Steps of supervised tasks.", min=0, max=WHOLE)] = 0,
    supervised: Annotated[
        list[Path], typer.Option(help="JSON lines of task, input and target; give it several times.")
    ] = [],  # noqa: B006
    corpus_pairs: Annotated[
        int,
        typer.Option(
            help="Also draw so many examples of each self-supervised task from the corpora.", min=0, max=WHOLE
        ),
    ] = 0,
    vocab_size: Annotated[
        int, typer.Option(help="Vocabulary, 100 sentinels included.", min=101, max=10 * LENGTH)
    ] = 4096,
    width: Annotated[int, typer.Option(help="Model width H.", min=1, max=LENGTH)] = 256,
    heads: Annotated[int, typer.Option(help="Attention heads.", min=1, max=LENGTH)] = 4,
    head_width: Annotated[int, typer.Option(help="Width of a head.", min=1, max=LENGTH)] = 32,
    hidden: Annotated[int, typer.Option(help="Width of the feed-forward layers.", min=1, max=LENGTH)] = 512,
    layers: Annotated[int, typer.Option(help="Encoder layers.", min=1, max=LENGTH)] = 4,
    decoder_layers: Annotated[int, typer.Option(help="Decoder layers.", min=1, max=LENGTH)] = 2,
    batch_size: Annotated[int, typer.Option(help="Examples a step.", min=1, max=LENGTH)] = 16,
    input_length: Annotated[int, typer.Option(help="Input tokens of an example.", min=1, max=LENGTH)] = 128,
    learning_rate: Annotated[
        float,
        typer.Option(help="Peak learning rate, relative to the weights' scale.", min=0, max=WHOLE, callback=finite),
    ] = 0.02,
    seed: Annotated[int, typer.Option(help="Seed of weights, masks and order.", min=0, max=SEED)] = 0,
    float32: Annotated[bool, typer.Option("--float32", help="float32 products instead of bfloat16.")] = False,
    out: JsonOption,
) -> None:
    """Pre-train a small T5 1.1 on text: span corruption, LM adaptation, then supervised tasks."""
    from spot.backbone.config import T5Config
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
    plan = Pretraining(
        config=T5Config(
            vocab_size=vocab_size,
            d_model=width,
            d_kv=head_width,
            d_ff=hidden,
            num_layers=layers,
            num_decoder_layers=decoder_layers,
            num_heads=heads,
        ),
        span_steps=span_steps,
        adaptation_steps=adaptation_steps,
        supervised_steps=supervised_steps,
        batch_size=batch_size,
        input_length=input_length,
        learning_rate=learning_rate,
        seed=seed,
        bfloat16=not float32,
    )
    model = pretrain(
        plan,
        corpora,
        folder,
        supervised=read_supervised(supervised) | sentence_tasks(read_lines(corpora), corpus_pairs, seed=seed),
        reporter=lambda phase: make_reporter(phase, errors()),
    )
    if out.json:
        print_json({"model": str(model)})
    else:
        say(f"model in {model}; use it with --backbone {model}")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("pretrain", epilog="Example: spot pretrain wikipedia.txt.gz --folder pretraining --span-steps 10000")(
        pretrain
    )
