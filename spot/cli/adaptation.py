"""``spot adapt``: a T5 that learns to go on with text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from spot.cli.groups import takes_groups
from spot.cli.options import BackboneOption, JsonOption
from spot.cli.output import errors, print_json, say
from spot.cli.recipes import finite
from spot.training.settings import LENGTH, SEED, WHOLE


@dataclasses.dataclass(frozen=True)
class AdaptationOptions:
    """How; defaults are those of :class:`spot.training.adapt.Adaptation`."""

    objective: Annotated[
        str, typer.Option(help="prefix_lm (go on with a text) or span_corruption.")
    ] = "prefix_lm"
    steps: Annotated[
        int, typer.Option(help="Training steps; 0 trains nothing.", min=0, max=WHOLE)
    ] = 10_000
    batch_size: Annotated[int, typer.Option(help="Examples a step.", min=1, max=LENGTH)] = 16
    input_length: Annotated[
        int, typer.Option(help="Input tokens of an example; T5 had 512.", min=16, max=LENGTH)
    ] = 128
    learning_rate: Annotated[
        float,
        typer.Option(
            help="Constant, relative to the weights' scale.", min=0, max=WHOLE, callback=finite
        ),
    ] = 0.001
    seed: Annotated[int, typer.Option(help="Of cuts, masks and order.", min=0, max=SEED)] = 0
    evaluate_every: Annotated[
        int, typer.Option(help="Steps between looks at the held-out loss.", min=1, max=WHOLE)
    ] = 500
    sentinel: Annotated[
        bool,
        typer.Option(
            "--sentinel",
            help="Have all targets of the model begin with <extra_id_0>, which a T5 that was trained on span "
            "corruption alone begins all its texts with.",
        ),
    ] = False


@takes_groups
def adapt(
    corpora: Annotated[
        list[Path] | None,
        typer.Argument(help="Text files (.gz too): a paragraph a line, blank between documents."),
    ] = None,
    *,
    folder: Annotated[Path, typer.Option(help="Where everything goes; a second call resumes.")],
    options: AdaptationOptions,
    where: BackboneOption,
    out: JsonOption,
) -> None:
    """Adapt a T5 to go on with text, which prompts need (Lester et al. 2021), and save it in Hugging Face's format."""
    from spot.paths import prepare_folders
    from spot.training.adapt import Adaptation, adapt
    from spot.training.progress import make_reporter

    prepare_folders(folder)
    adaptation = Adaptation(**dataclasses.asdict(options))
    adapted = adapt(
        where.load(), adaptation, corpora or [], folder, reporter=make_reporter("adapt", errors())
    )
    if out.json:
        print_json(
            {
                "model": str(adapted.folder),
                "held-out loss before": adapted.before,
                "held-out loss after": adapted.after,
            }
        )
        return
    if adapted.after is not None:
        say(f"held-out loss a token: {adapted.before:.3f} before, {adapted.after:.3f} after")
    say(f"model in {adapted.folder}; use it with --backbone {adapted.folder}")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    example = "spot adapt wikipedia.txt.gz --backbone google/t5-v1_1-small --folder adapted"
    app.command("adapt", epilog=f"Example: {example}")(adapt)
