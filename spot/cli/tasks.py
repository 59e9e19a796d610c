"""Commands about tasks: list them, show one, start a task file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from spot.cli.groups import refuse_given, takes_groups
from spot.cli.options import DataOption, JsonOption, find_tasks
from spot.cli.output import PARTIAL_DATA, print_json, print_rows, say


@takes_groups
def list_tasks(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Show one task with examples.")] = "",
    *,
    family: Annotated[str, typer.Option(help="Only tasks of this family.")] = "",
    data: DataOption,
    out: JsonOption,
) -> None:
    """List tasks, or show one with its splits and first examples."""
    if name:
        refuse_given(context, ["family"], "one task is shown by its name")
        _show(name, data, out)
        return
    refuse_given(context, ["data_dir", "allow_partial_data"], "data is read where a task is named")
    from tasks import registry

    rows = [
        {
            "task": task.name,
            "family": task.family,
            "metrics": ", ".join(task.metrics),
            "labels": ", ".join(task.labels[:4]) + (", ..." if len(task.labels) > 4 else ""),
            "source": task.source.describe(),
        }
        for task in registry().values()
        if not family or task.family == family
    ]
    if out.json:
        print_json(rows)
    else:
        print_rows(rows, empty=f"no task of family {family!r}")


def _show(name: str, data: DataOption, out: JsonOption) -> None:
    from tasks.overlaps import overlapping
    from tasks.task import Split, most_frequent_target

    (task,) = find_tasks([name])
    splits = {split: data.examples(task, split) for split in Split}
    most_frequent = most_frequent_target(splits[Split.TRAIN])
    test = splits[Split.TEST]
    facts = task.describe() | {
        "sizes": {split.value: len(examples) for split, examples in splits.items()},
        "most frequent target": most_frequent,
        "its test score": task.score([most_frequent] * len(test), test)["score"],
        "shares texts with": list(overlapping(task.name)),
    }
    facts |= {PARTIAL_DATA: True} if data.is_partial(task) else {}
    skipped = {part: dict(counts) for part, counts in task.source.skipped.items() if counts}
    facts |= {"skipped rows": skipped} if skipped else {}
    if out.json:
        samples = [{"inputs": e.inputs, "target": e.target} for e in splits[Split.TRAIN][:3]]
        print_json({"task": task.name} | facts | {"examples": samples})
        return
    say(task.name)
    for fact, value in facts.items():
        say(f"  {fact}: {value}")
    for example in splits[Split.TRAIN][:3]:
        say(f"\n  {example.inputs}\n  -> {example.target}")


@takes_groups
def init_task(
    path: Annotated[Path, typer.Argument(help="Where to write it, ending in .toml.")],
    train: Annotated[
        Path | None,
        typer.Option(help="Your training rows; columns and labels are guessed from your data."),
    ] = None,
    dev: Annotated[Path | None, typer.Option(help="Your development rows.")] = None,
    test: Annotated[Path | None, typer.Option(help="Your test rows.")] = None,
    label: Annotated[
        str, typer.Option(help="The column that the model shall write, where no guess is sure.")
    ] = "",
    encoding: Annotated[
        str, typer.Option(help="Encoding of your rows, such as latin-1, where it is not UTF-8.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    *,
    out: JsonOption,
) -> None:
    """Write a commented task file to start from, or one that fits your data."""
    from tasks.errors import TaskError, shown
    from tasks.guess import guess
    from tasks.metrics import is_number
    from tasks.taskfile import example_task_file, guessed_task_file

    if path.suffix != ".toml":
        raise TaskError(f"{path}: a task file's name ends in .toml")
    if path.exists() and not force:
        raise TaskError(f"{path}: exists already; choose another name, or give --force")
    if train is None:
        if dev or test or label or encoding:
            raise TaskError(
                "--dev, --test, --label and --encoding go with --train, the file that is looked into"
            )
        path.write_text(example_task_file(path.stem), encoding="utf-8")
        out.report({"path": str(path)}, f"wrote {path}; edit it, then: spot tasks {path}")
        return
    others = [file for file in (dev, test) if file is not None]
    guessed = guess(train, label, others, encoding=encoding)
    parts = {"train": train, "dev": dev, "test": test}
    files = {
        part: os.path.relpath(file.resolve(), path.parent.resolve()).replace(os.sep, "/")
        for part, file in parts.items()
        if file is not None
    }
    path.write_text(guessed_task_file(path.stem, guessed, files), encoding="utf-8")
    reads, count = ", ".join(guessed.texts), len(guessed.labels)
    what = "the first answer of" if guessed.several else "the text of"
    writes = f"one of {count} labels of" if count else what
    lines = [f"wrote {path}: reads {reads}, writes {writes} {guessed.label}"]
    if guessed.lacking:
        lacking = ", ".join(map(shown, guessed.lacking))
        lines.append(f"rows whose {guessed.label} is {lacking} have no label, and are left out")
    if guessed.untrained:
        missing = ", ".join(map(shown, guessed.untrained))
        lines.append(f"in no training row, so that they cannot be learnt: {missing}")
    if any(map(is_number, guessed.labels.values())):
        lines.append(
            "labels that are numbers say nothing to a model: give them words under [labels]"
        )
    document = {
        "path": str(path),
        "texts": list(guessed.texts),
        "label": guessed.label,
        "labels": guessed.labels,
        "several": guessed.several,
        "lacking": list(guessed.lacking),
        "untrained": list(guessed.untrained),
    }
    out.report(document, *lines, f"look at it, then: spot tasks {path}")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(
        "tasks",
        epilog="Example: spot tasks --family sentiment, or: spot tasks sst2 --data-dir data",
    )(list_tasks)
    app.command("init-task", epilog="Example: spot init-task reviews.toml --train reviews.csv")(
        init_task
    )
