"""``spot bank export``, ``import`` and ``add-texts``: prompts into files and out of them, and words of their tasks.

Imports no JAX.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spot.cli.groups import takes_groups
from spot.cli.options import BankOption, DataOption, JsonOption
from spot.training.settings import SEED, WHOLE

if TYPE_CHECKING:
    from spot.prompts.files import PromptFile


def add_to(app: typer.Typer) -> None:
    for name, command, example in (
        ("export", export, "spot bank export 1f3a9c0b2d44 sst2.safetensors --kind value"),
        (
            "import",
            import_file,
            "spot bank import mrpc.npy --task mrpc --backbone google/t5-base-lm-adapt",
        ),
        ("add-texts", add_task_texts, "spot bank add-texts sst2 my_task.toml --data-dir data"),
    ):
        app.command(name, epilog=f"Example: {example}")(command)


@takes_groups
def export(
    name: Annotated[
        str,
        typer.Argument(
            help="A prompt's address, or the digest of a run, where a start is enough; or TASK@TAG."
        ),
    ],
    path: Annotated[
        Path,
        typer.Argument(
            help="File to write, .npy or .safetensors; without an ending, the folder of a PEFT adapter."
        ),
    ],
    *,
    kind: Annotated[
        str,
        typer.Option(
            help="Which prompt of a run: value, also if left out, key, or own, its part beside a shared one."
        ),
    ] = "",
    format: Annotated[
        str, typer.Option(help="npy, safetensors or peft (a folder); else the name says it.")
    ] = "",
    bank: BankOption,
    out: JsonOption,
) -> None:
    """Write a prompt [P, H] to a file; all formats but .npy carry what is known about it."""
    from bank.files import exported
    from spot.prompts.write import write_prompt

    with bank.open() as opened:
        export = exported(opened, name, kind=kind)
    write_prompt(
        path,
        export.prompt,
        export.metadata,
        format=format,
        config=export.config,
        start=export.start,
    )
    shape = list(export.prompt.shape)
    out.report({"path": str(path), "shape": shape}, f"wrote {path} {shape}")


@takes_groups
def import_file(
    path: Annotated[
        Path,
        typer.Argument(
            help="A prompt [P, H]: .npy, .safetensors, .pt or .bin, or the folder of a PEFT adapter."
        ),
    ],
    *,
    task: Annotated[str, typer.Option(help="Task it was trained on.")],
    family: Annotated[str, typer.Option(help="Family of the task.")] = "imported",
    backbone: Annotated[
        str, typer.Option(help="Name of the model it was trained for; else what the file says.")
    ] = "",
    fingerprint: Annotated[
        str,
        typer.Option(
            help="Fingerprint of that model, as `spot doctor` prints it; else what the file says; else its name "
            "stands in."
        ),
    ] = "",
    width: Annotated[
        int | None,
        typer.Option(
            help="How wide that model is, which PEFT's prefixes do not say.", min=1, max=WHOLE
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed it was trained with; else what the file says, or 0.", min=0, max=SEED
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Its early prompt; else the prompt stands in for its own key."),
    ] = None,
    bank: BankOption,
    out: JsonOption,
) -> None:
    """Store a prompt that others trained. It is never ranked against keys trained here."""
    from bank import TaskRecord
    from bank.files import import_prompt
    from spot.prompts.files import read_prompt
    from spot.prompts.made_for import backbone_of, check_backbone

    value = _of_width(read_prompt(path).alone(), width)
    early = _of_width(read_prompt(key).alone(), width) if key else None
    model = backbone_of(value, name=backbone, fingerprint=fingerprint)
    check_backbone(value, model)
    if early:
        check_backbone(early, model)
    with bank.open(create=True) as opened:
        run = import_prompt(
            opened,
            value.prompt,
            task=TaskRecord(name=task, family=family),
            backbone=model,
            form=value.form,
            key=early.prompt if early else None,
            seed=seed if seed is not None else value.number("seed") or 0,
            origin=origin_of(value),
        )
    out.report({"bank": str(opened), "run": run}, f"stored as run {run[:12]} in {opened}")


def _of_width(file: PromptFile, width: int | None) -> PromptFile:
    """The same for a model of that width, where one is given.

    Raises:
        PromptError: the prompt has another width.
    """
    from spot.errors import PromptError

    sized = file.for_width(width) if width else file
    if width and sized.prompt.shape[-1] != width:
        raise PromptError(f"{file.path}: is {sized.prompt.shape[-1]} wide, and --width {width}")
    return sized


def origin_of(file: PromptFile) -> str:
    """Where a prompt comes from: its file, and the prompt of another model that it was made of."""
    parent = file.metadata.get("recycled_from")
    if parent is None:
        return file.path.name
    model = file.metadata.get("recycled_from_backbone", "another model")
    by = f" by map {file.metadata['recycled_by_map']}" if "recycled_by_map" in file.metadata else ""
    return f"{file.path.name}, recycled from {parent} of {model}{by}"


@takes_groups
def add_task_texts(
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tasks of the bank, or paths of their files; all that lack words if left out."
        ),
    ] = None,
    *,
    data: DataOption,
    bank: BankOption,
    out: JsonOption,
) -> None:
    """Add what a bank lacks of its tasks' texts, read from their training data: hashes and counts of words.

    By these the measure text ranks, and tasks that share texts are known. Training adds them; older banks lack some.
    """
    from spot.transfer.texts import add_texts
    from tasks import TaskError

    told: dict[str, str] = {}
    with bank.open(write=True) as opened:
        for name in tasks or opened.lacking_texts():
            try:
                added = add_texts(opened, name, data.folder, allow_partial=data.allow_partial_data)
            except TaskError as error:
                if tasks:
                    raise
                told[name] = f"not added ({error})"
            else:
                told[name] = "added" if added else "has its texts already"
        lines = [f"{name}: {what}" for name, what in told.items()]
        none = f"no task of {opened} lacks its texts"
        out.report({"bank": str(opened), "tasks": told}, *(lines or [none]))
