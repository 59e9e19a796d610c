"""``spot recycle``: a prompt of one backbone for another."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spot.cli.groups import takes_groups
from spot.cli.options import BackboneOption, BankOption, JsonOption
from spot.cli.output import print_json, say
from spot.cli.prompts import PromptsOption, find_prompt, form_of, prompt_for, refuse_bank

if TYPE_CHECKING:
    import numpy as np

    from bank import Bank
    from spot.backbone.load import Backbone
    from spot.prompts.files import PromptFile
    from spot.prompts.recycling import Recycler

KEPT = ("task", "seed")
"""What a recycled prompt still is."""


@takes_groups
def recycle(
    context: typer.Context,
    *,
    prompt: PromptsOption = None,
    to: Annotated[
        str, typer.Option("--to", help="The backbone that the prompt shall be for, as --backbone.")
    ],
    by: Annotated[
        str,
        typer.Option(
            help="linear (least squares), combination (of the nearest pieces) or network (one hidden layer)."
        ),
    ] = "linear",
    path: Annotated[
        Path | None, typer.Option("--out", help="Where one prompt goes, a file .safetensors.")
    ] = None,
    into: Annotated[
        str, typer.Option(help="A bank that takes all prompts in, each as a source of its task.")
    ] = "",
    bank: BankOption,
    where: BackboneOption,
    out: JsonOption,
) -> None:
    """Map prompts of --backbone to another model, by the pieces that both vocabularies share; nothing is trained on a
    task.

    File and bank say where a prompt comes from. Evaluate it, or start a run from it: --init file:PATH, or --start RUN.
    The bank of --into keeps the map too, and does not have it fitted again for the same two models.
    """
    from bank import Bank
    from spot.backbone.load import load_backbone
    from spot.errors import SpotError
    from spot.prompts.recycling import MAPS
    from tasks.choices import choose

    choose(by, MAPS, "map", error=SpotError)
    names = list(prompt or [])
    _check(names, path, into)
    refuse_bank(context, names)
    files = [find_prompt(name, bank) for name in names]
    for name, file in zip(names, files, strict=True):
        if (form := form_of(file)) != "prompt":
            raise SpotError(
                f"{name}: is of the form {form}; vectors of plain prompts alone are places of words, and are mapped"
            )
    source = where.load()
    values = [prompt_for(source, file) for file in files]
    target = load_backbone(to, dtype=where.dtype or "float32")
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(Bank.open(into)) if into else None
        recycler, kept = _held_or_fitted(opened, source, target, by)
        mapped = _mapped(values, files, recycler, source, target, kept)
        if opened is not None:
            places = [_import(opened, one, target) for one in mapped]
        elif path is not None:
            places = [_write(path, mapped[0])]
    if out.json:
        print_json(
            {
                "map": kept,
                "shared pieces": recycler.shared,
                "held-out cosine": recycler.cosine,
                "held-out error": recycler.error,
                "prompts": [
                    dict(one.metadata) | {"kept as": place}
                    for one, place in zip(mapped, places, strict=True)
                ],
            }
        )
        return
    if kept:
        say(f"map {kept[:12]} is kept in {into}")
    say(
        f"{recycler.shared} shared pieces; on those held out, cosine {recycler.cosine:.3f} to the true rows, "
        f"{100 * recycler.error:.0f} % of their variance not explained"
    )
    for name, place in zip(names, places, strict=True):
        if path is not None:
            say(
                f"wrote {place}: use it with --backbone {target.name}, as --prompt or --init file:{place}"
            )
        else:
            say(f"{name}: run {place[:12]} in {into}: use it with --backbone {target.name}")


def _check(names: list[str], path: Path | None, into: str) -> None:
    """Refuse what names no prompt, or no single place for all of them.

    Raises:
        SpotError: it does.
    """
    from spot.errors import SpotError

    if not names:
        raise SpotError("no prompt to map; name one by --prompt")
    if (path is None) == (not into):
        raise SpotError("say where prompts go: one to a file by --out, or any number --into a bank")
    if path is not None and len(names) > 1:
        raise SpotError(f"{path}: takes one prompt; several go --into a bank")
    if path is not None and path.suffix != ".safetensors":
        raise SpotError(
            f"{path}: the prompt goes into a file .safetensors, which says where it comes from"
        )


def _held_or_fitted(
    bank: Bank | None, source: Backbone, target: Backbone, by: str
) -> tuple[Recycler, str | None]:
    """The map that a bank holds, or one that is fitted and put there if one is given; with its digest, where it is
    kept."""
    from bank import RecyclerRecord
    from spot.prompts.recycling import MAPS, Recycler, fit_recycler
    from spot.training.recipe import backbone_record

    found = bank and bank.recycler(source.fingerprint, target.fingerprint, by)
    if found:
        digest, held = found
        return Recycler(by, held.numbers, held.shared, held.cosine, held.error), digest
    fitted = fit_recycler(source, target, by)
    if bank is None or not MAPS[by].kept:
        return fitted, None
    record = RecyclerRecord(
        source=backbone_record(source),
        target=backbone_record(target),
        method=by,
        shared=fitted.shared,
        cosine=fitted.cosine,
        error=fitted.error,
        numbers=fitted.numbers,
    )
    return fitted, bank.record_recycler(record)


def _mapped(
    prompts: Sequence[np.ndarray],
    files: Sequence[PromptFile | None],
    recycler: Recycler,
    source: Backbone,
    target: Backbone,
    digest: str | None,
) -> list[PromptFile]:
    """Prompts ``[P, H]`` for the other model, with what they were made of."""
    from bank.vectors import prompt_sha256

    by = {"recycled_by": recycler.method} | ({"recycled_by_map": digest} if digest else {})
    mapped = []
    for prompt, file in zip(prompts, files, strict=True):
        assert file is not None  # one was named
        facts = {
            "backbone": target.name,
            "fingerprint": target.fingerprint,
            "recycled_from": prompt_sha256(prompt),
            "recycled_from_backbone": source.name,
            "recycled_from_fingerprint": source.fingerprint,
        }
        kept = {name: file.metadata[name] for name in KEPT if name in file.metadata}
        made = recycler.recycle(prompt)
        mapped.append(
            dataclasses.replace(file, prompt=made, metadata={**kept, **facts, **by}, start=None)
        )
    return mapped


def _write(path: Path, mapped: PromptFile) -> str:
    """Write it; returns where."""
    from spot.prompts.write import write_prompt

    write_prompt(path, mapped.prompt, mapped.metadata)
    return str(path)


def _import(bank: Bank, mapped: PromptFile, target: Backbone) -> str:
    """Put it into a bank, with where it comes from; returns its run."""
    from bank import TaskRecord
    from bank.files import import_prompt
    from spot.cli.bank_prompts import origin_of
    from spot.training.recipe import backbone_record

    return import_prompt(
        bank,
        mapped.prompt,
        task=TaskRecord(name=mapped.metadata.get("task", "unknown"), family="imported"),
        backbone=backbone_record(target),
        seed=mapped.number("seed") or 0,
        origin=origin_of(mapped),
    )


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    example = (
        "spot recycle --prompt sst2@best --backbone smollm2 --to t5-small --out sst2.safetensors"
    )
    app.command("recycle", epilog=f"Example: {example}")(recycle)
