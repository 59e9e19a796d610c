"""``spot recycle``: a prompt of one backbone for another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spot.cli.groups import takes_groups
from spot.cli.options import BackboneOption, BankOption, JsonOption
from spot.cli.output import print_json, say
from spot.cli.prompts import PromptOption, find_prompt, prompt_for, refuse_bank


@takes_groups
def recycle(
    context: typer.Context,
    *,
    prompt: PromptOption = "",
    to: Annotated[
        str, typer.Option("--to", help="The backbone that the prompt shall be for, as --backbone.")
    ],
    by: Annotated[
        str,
        typer.Option(
            help="linear (least squares), combination (of the nearest pieces) or network (one hidden layer)."
        ),
    ] = "linear",
    path: Annotated[Path, typer.Option("--out", help="Where it goes, a file .safetensors.")],
    bank: BankOption,
    where: BackboneOption,
    out: JsonOption,
) -> None:
    """Map a prompt of --backbone to another model, by the pieces that both vocabularies share; nothing is trained on a
    task.

    The file says where the prompt comes from. Evaluate it, or start a run from it with --init file:PATH.
    """
    from bank.vectors import prompt_sha256
    from spot.backbone.load import load_backbone
    from spot.errors import SpotError
    from spot.prompts.recycling import MAPS, fit_recycler
    from spot.prompts.write import write_prompt
    from tasks.choices import choose

    choose(by, MAPS, "map", error=SpotError)
    if not prompt:
        raise SpotError("no prompt to map; name one by --prompt")
    if path.suffix != ".safetensors":
        raise SpotError(
            f"{path}: the prompt goes into a file .safetensors, which says where it comes from"
        )
    refuse_bank(context, [prompt])
    file = find_prompt(prompt, bank)
    source = where.load()
    values = prompt_for(source, file)
    target = load_backbone(to, dtype=where.dtype or "float32")
    recycler = fit_recycler(source, target, by)
    mapped = recycler.recycle(values)
    facts = {
        "backbone": target.name,
        "fingerprint": target.fingerprint,
        "recycled_from": prompt_sha256(values),
        "recycled_from_backbone": source.name,
        "recycled_from_fingerprint": source.fingerprint,
        "recycled_by": by,
    }
    known = file.metadata if file else {}
    kept = {name: known[name] for name in ("task", "seed") if name in known}
    write_prompt(path, mapped, kept | facts)
    if out.json:
        print_json(
            facts
            | {
                "shared pieces": recycler.shared,
                "held-out cosine": recycler.cosine,
                "held-out error": recycler.error,
                "file": str(path),
            }
        )
        return
    say(
        f"{recycler.shared} shared pieces; on those held out, cosine {recycler.cosine:.3f} to the true rows, "
        f"{100 * recycler.error:.0f} % of their variance not explained"
    )
    say(f"wrote {path}: use it with --backbone {target.name}, as --prompt or --init file:{path}")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    example = (
        "spot recycle --prompt sst2@best --backbone smollm2 --to t5-small --out sst2.safetensors"
    )
    app.command("recycle", epilog=f"Example: {example}")(recycle)
