"""``spot demo``: the whole job on a task of one's own, by the commands that one would give."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from spot.cli.output import say
from spot.errors import SpotError

TASK = "living"
ROWS = {"train": 64, "dev": 32, "test": 100}
"""Rows of the demo's files, by split."""

LONGEST = 58
"""Characters of a text; longer ones are left out, so that steps are short."""

TASK_FILE = """\
name = "{task}"
family = "topic"
metrics = ["accuracy"]

[data]
train = "train.csv"
dev = "dev.csv"
test = "test.csv"

[format]
template = "definition: {{text}}"
label = "label"

[labels]
animal = "animal"
food = "food"
person = "person"
plant = "plant"
"""

NEW_TEXTS = (
    "definition: small brown bird that sings at night",
    "definition: someone who repairs shoes",
    "definition: soft white cheese made from the milk of goats",
)


@dataclasses.dataclass(frozen=True)
class World:
    """What the demo runs on.

    Attributes:
        fill: commands that fill the bank with sources.
        transfer: options of the transfer beside the task and the bank.
    """

    fill: Sequence[Sequence[str]]
    transfer: Sequence[str]


QUICK = ("--preset", "quick", "--steps", "60", "--key-step", "30", "--evaluate-every", "20")

WORLDS = {
    "smollm2": World(
        fill=[["bank", "pull", "smollm2"]],
        transfer=[
            *("--similarity", "text", "--top-k", "3", "--restarts", "3", "--seeds", "2"),
            *("--steps", "12", "--evaluate-every", "4", "--batch-size", "4"),
        ],
    ),
    "tiny": World(
        fill=[["train-source", "wn_noun_topic", "wn_pos", "wn_verb_topic", "wn_isa", *QUICK]],
        transfer=["--top-k", "3", "--restarts", "3", "--seeds", "2", *QUICK],
    ),
}
"""By backbone: SmolLM2-135M with the bank that comes with this package, or the embedded model and a bank made now."""


def demo(
    backbone: Annotated[
        str,
        typer.Option(help="smollm2 or tiny; by default smollm2 where it is installed."),
    ] = "",
    folder: Annotated[Path, typer.Option(help="Where its files and its bank go.")] = Path("demo"),
) -> None:
    """The main job on a small task in files of one's own: bank, ranking, transfer, control, predictions."""
    from tasks.choices import choose

    chosen = choose(backbone or installed(), WORLDS, "backbone of the demo", error=SpotError)
    world = WORLDS[chosen]
    say(
        f"== a task of your own: {ROWS['train']} labelled definitions in {folder}/train.csv, and a task file"
    )
    write_task(folder)
    say((folder / f"{TASK}.toml").read_text(encoding="utf-8"))
    with_backbone = () if chosen == "tiny" else ("--backbone", chosen)
    bank = ("--bank", str(folder / "bank.sqlite"))
    say("== a bank of sources")
    for command in world.fill:
        spot(*command, *(with_backbone if command[0] != "bank" else ()), *bank)
    say(
        "== which sources help, and how much: the best of three against as many restarts without transfer"
    )
    spot("transfer", f"{folder / TASK}.toml", *world.transfer, *with_backbone, *bank)
    say("== three new texts")
    choices = "animal,food,person,plant"
    spot(
        "predict",
        *NEW_TEXTS,
        "--prompt",
        f"{TASK}@best",
        "--choices",
        choices,
        *with_backbone,
        *bank,
    )
    say("== next, try:")
    options = shlex.join([*with_backbone, *bank])
    for line in (
        f"spot bank tasks {shlex.join(bank)}",
        f"spot bank transfers {shlex.join(bank)}",
        f"spot transfer wn_opposite --top-k 3 {options}",
        "spot init-task mine.toml",
    ):
        say(f"   {line}")


def installed() -> str:
    """``smollm2`` where its package and what reads it are installed, else ``tiny``, with the reason in a line."""
    from spot.backbone.load import find_model

    try:
        find_model("smollm2")
    except SpotError as error:
        say(f"the embedded model, since {error}")
        return "tiny"
    return "smollm2"


def write_task(folder: Path) -> None:
    """A small task in the files that a user would have: CSV and TOML."""
    import csv

    from tasks import get_task
    from tasks.task import Split

    folder.mkdir(parents=True, exist_ok=True)
    task = get_task("wn_living")
    for split in Split:
        rows = [
            (example.inputs.removeprefix("definition: "), example.target)
            for example in task.examples(split)
        ]
        short = [(text, label) for text, label in rows if len(text) <= LONGEST]
        with (folder / f"{split.value}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *short[: ROWS[split.value]]])
    (folder / f"{TASK}.toml").write_text(TASK_FILE.format(task=TASK), encoding="utf-8")


def spot(*arguments: str) -> None:
    """Show a command and run it.

    Raises:
        typer.Exit: it failed, and has said why.
    """
    say(f"$ spot {shlex.join(arguments)}")
    sys.stdout.flush()
    program = "from spot.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program, *arguments], env=os.environ, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)
    say()


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("demo", epilog="Example: spot demo --backbone tiny")(demo)
