"""``spot embed``: prompt and text as tensors for servers."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated

import typer

from spot.cli.groups import takes_groups
from spot.cli.options import BackboneOption, BankOption, JsonOption
from spot.cli.output import print_json, say
from spot.cli.prompts import (
    PromptOption,
    find_prompt,
    form_of,
    given_texts,
    prompt_for,
    refuse_bank,
)


@takes_groups
def embed(
    context: typer.Context,
    texts: Annotated[
        list[str] | None, typer.Argument(help="Inputs; without any, lines of stdin.")
    ] = None,
    *,
    prompt: PromptOption = "",
    path: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Write tensors 0, 1, ... [tokens, width] to this .safetensors file."
        ),
    ] = None,
    bank: BankOption,
    where: BackboneOption,
    out: JsonOption,
) -> None:
    """Embed prompt and texts together, for servers that take prompt_embeds of a decoder-only model.

    Prints a line of base64 a text: the tensor as torch.save writes it, as vLLM's completions take it.
    """
    from spot.backbone.torch_tensor import torch_tensor
    from spot.inference.embedding import prompt_embeds
    from spot.prompts.write import write_tensors

    refuse_bank(context, [prompt])
    inputs = given_texts(texts)
    file = find_prompt(prompt, bank)
    backbone = where.load()
    embedded = prompt_embeds(backbone, prompt_for(backbone, file), inputs, form=form_of(file))
    if path is not None:
        write_tensors(
            path,
            {str(place): values for place, values in enumerate(embedded)},
            {"backbone": backbone.name, "fingerprint": backbone.fingerprint},
        )
        say(f"wrote {path}: {len(embedded)} tensors")
        return
    encoded = [base64.b64encode(torch_tensor(values)).decode() for values in embedded]
    if out.json:
        rows = zip(inputs, embedded, encoded, strict=True)
        print_json(
            [
                {"input": text, "shape": list(values.shape), "prompt_embeds": line}
                for text, values, line in rows
            ]
        )
        return
    for line in encoded:
        say(line)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    example = "spot embed 'review: a fine film' --prompt mr@best --backbone smollm2"
    app.command("embed", epilog=f"Example: {example}")(embed)
